/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The clock of BPF programs and of this library. */
#ifndef KVMACCESS_CLOCK_H
#define KVMACCESS_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC, in nanoseconds, as bpf_ktime_get_ns(). */
static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

#endif
