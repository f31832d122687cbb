/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The groups of measurements; each adds its rows. 0 or -errno. */
#ifndef TESTS_BENCH_H
#define TESTS_BENCH_H

#include <stdbool.h>

#include "rows.h"

/* Is memory that is not mapped read through the direct map here? Where not, by process_vm_readv(). */
bool bench_has_direct(void);

int bench_calls(void);
int bench_daemon(void);
int bench_dump(void);
int bench_exits(void);
int bench_latency(void);
int bench_sinks(void);

#endif
