/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Results: printed as they come, and kept for build/bench.json. */
#ifndef TESTS_BENCH_ROWS_H
#define TESTS_BENCH_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum better { BETTER_LESS, BETTER_MORE };

struct row {
	const char *name, *backend, *unit;
	double value;         /* a median, where there are samples */
	double p99;           /* 0: a single figure */
	double goal;          /* 0: none */
	bool none_wanted;     /* the goal is 0 */
	enum better better;
	double reference;     /* to compare with, in the same unit; 0: none */
	const char *reference_of;
	double peer;          /* LibVMI's best, not taken in this run (docs/performance.md); 0: none */
};

void rows_begin(void);
/* An emulated host's times are not held against goals, the paper or others. */
void rows_add(const struct row *row);
/* A row that could not be measured here, and why. */
void rows_skip(const char *name, const char *reason);
/* Writes those so far; how many missed their goal. -errno. */
int rows_save(const char *path);
void rows_end(void);

uint64_t now_ns(void);
/* Sorts; the median and the 99th percentile of nanoseconds, in µs. */
void samples_summary(uint64_t *samples, size_t count, double *ret_median, double *ret_p99);

#endif
