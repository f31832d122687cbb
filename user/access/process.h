/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What /proc says about a process. */
#ifndef KA_PROCESS_H
#define KA_PROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * When a process started, in clock ticks since boot: with the pid it names a process for good.
 * Errors: -ESRCH, -EBADMSG.
 */
int process_start_ticks(pid_t pid, uint64_t *ret_ticks);

/* The same from the text of /proc/PID/stat. */
int process_stat_start_ticks(const char *text, size_t len, uint64_t *ret_ticks);

#endif
