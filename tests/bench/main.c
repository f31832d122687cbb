// SPDX-License-Identifier: LGPL-2.1-or-later
/* make bench: measures on this machine, prints a table, writes build/bench.json. */
#include "bench.h"

#include <kvmaccess.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *name;
	int (*run)(void);
} groups[] = {
	{ "calls", bench_calls },
	{ "dump", bench_dump },
	{ "exits", bench_exits },
	{ "guest", bench_guest },
	{ "requests", bench_requests },
	{ "latency", bench_latency },
	{ "sinks", bench_sinks },
	{ "sentry", bench_sentry },
	{ "daemon", bench_daemon },
};

bool bench_has_direct(void)
{
	static struct ka_probe probe;

	if (!probe.count)
		ka_probe(&probe);
	for (size_t i = 0; i < probe.count; i++)
		if (!strcmp(probe.feature[i].name, "direct_memory"))
			return probe.feature[i].state == KA_FEATURE_ON;
	return false;
}

bool bench_is_lab(void)
{
	return getenv("BENCH_LAB");
}

/* All groups, or those named. */
static bool is_wanted(const char *group, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], group))
			return true;
	return argc == 1;
}

int main(int argc, char **argv)
{
	int missed = 0, status = 0;

	if (geteuid() || access("/dev/kvm", R_OK | W_OK)) {
		fprintf(stderr, "bench: needs root and /dev/kvm\n");
		return 77;
	}
	rows_begin();
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		int err;

		if (!is_wanted(groups[i].name, argc, argv))
			continue;
		err = groups[i].run();
		if (err) {
			rows_skip(groups[i].name, strerror(-err));
			status = 1;
		}
		/* What was measured is kept, if the rest is not waited for. */
		missed = rows_save("build/bench.json");
	}
	rows_end();
	if (missed < 0)
		return 1;
	printf("\n%d goals missed; build/bench.json has the rows\n", missed);
	return status;
}
