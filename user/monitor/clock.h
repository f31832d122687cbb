/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two clocks, in nanoseconds. */
#ifndef MONITOR_CLOCK_H
#define MONITOR_CLOCK_H

#include <stdint.h>
#include <time.h>

enum { NS_PER_US = 1000, NS_PER_MS = 1000000 };
#define NS_PER_S 1000000000ull

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static inline uint64_t clock_real(void)
{
	return clock_ns(CLOCK_REALTIME);
}

static inline uint64_t clock_mono(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* What this thread has had of a CPU: work is paid by it, not by the time that others took. */
static inline uint64_t clock_thread(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* From the monotonic clock to the time of day. */
static inline uint64_t clock_real_of(uint64_t mono_ns)
{
	return clock_real() - (clock_mono() - mono_ns);
}

#endif
