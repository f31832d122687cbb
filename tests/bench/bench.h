/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The groups of measurements; each adds its rows. 0 or -errno. */
#ifndef TESTS_BENCH_H
#define TESTS_BENCH_H

#include "rows.h"

int bench_calls(void);
int bench_daemon(void);
int bench_dump(void);
int bench_exits(void);
int bench_latency(void);
int bench_sinks(void);

#endif
