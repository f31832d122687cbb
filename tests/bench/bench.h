/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The groups of measurements; each adds its rows. 0 or -errno. */
#ifndef TESTS_BENCH_H
#define TESTS_BENCH_H

#include <stdbool.h>

#include "rows.h"

/* Is memory that is not mapped read through the direct map here? Where not, by process_vm_readv(). */
bool bench_has_direct(void);

/* On an emulated host (make bench-lab), where only ratios mean something and all takes 60 times as
 * long. BENCH_LAB in the environment says so, and the commit. */
bool bench_is_lab(void);

/* What a timer's interrupt takes from a CPU; 0 where there are no sentries. Adds its rows the first time. */
int bench_interrupt(double *ret_ns);
/* Interrupts and time of the sentries of all that watch this host, so far. */
int bench_sentries_ran(uint64_t *ret_runs, uint64_t *ret_ns);

int bench_calls(void);
int bench_daemon(void);
int bench_dump(void);
int bench_exits(void);
int bench_guest(void);
int bench_latency(void);
int bench_requests(void);
int bench_sentry(void);
int bench_sinks(void);

#endif
