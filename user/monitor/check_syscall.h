/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compares system call tables. */
#ifndef MONITOR_CHECK_SYSCALL_H
#define MONITOR_CHECK_SYSCALL_H

#include <stddef.h>
#include <stdint.h>

/* Numbers of the entries that differ. Returns how many, and fills at most `max`. */
size_t syscall_differences(unsigned int entry_size, const uint8_t *expected,
			   const uint8_t *observed, size_t len, uint16_t *ret_index, size_t max);

#endif
