// SPDX-License-Identifier: LGPL-2.1-or-later
/* Results: printed as they come, and kept for build/bench.json. */
#include "bench.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static json_t *rows;
static int missed;

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void samples_summary(uint64_t *samples, size_t count, double *ret_median, double *ret_p99)
{
	qsort(samples, count, sizeof(*samples), compare);
	*ret_median = (double)samples[count / 2] / 1000;
	*ret_p99 = (double)samples[count * 99 / 100] / 1000;
}

/* The first line of a file or of a command's output that has this word, from behind its colon. */
static void first_line(FILE *from, const char *word, char *ret_text, size_t size)
{
	char line[512];

	snprintf(ret_text, size, "unknown");
	while (from && fgets(line, sizeof(line), from)) {
		char *value = strchr(line, ':');

		if (strncmp(line, word, strlen(word)))
			continue;
		value = value && *word ? value + 2 : line;
		value[strcspn(value, "\n")] = '\0';
		snprintf(ret_text, size, "%.*s", (int)size - 1, value);
		break;
	}
}

static json_t *header(void)
{
	char cpu[128], commit[64];
	struct utsname name;
	FILE *cpuinfo = fopen("/proc/cpuinfo", "re");
	FILE *git = popen("git rev-parse --short HEAD 2>/dev/null", "re");

	first_line(cpuinfo, "model name", cpu, sizeof(cpu));
	first_line(git, "", commit, sizeof(commit));
	/* An emulated host has no git. */
	if (bench_is_lab())
		snprintf(commit, sizeof(commit), "%s", getenv("BENCH_LAB"));
	if (cpuinfo)
		fclose(cpuinfo);
	if (git)
		pclose(git);
	uname(&name);
	printf("%s, %ld CPUs, Linux %s, commit %s\n\n", cpu, sysconf(_SC_NPROCESSORS_ONLN),
	       name.release, commit);
	return json_pack("{s:s, s:s, s:I, s:s, s:s}", "name", "header", "cpu", cpu, "cpus",
			 (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "kernel", name.release,
			 "commit", commit);
}

void rows_begin(void)
{
	rows = json_array();
	json_array_append_new(rows, header());
	printf("%-58s %-18s %10s %10s %10s %10s  %s\n", "", "backend", "median", "p99", "goal",
	       "reference", "ratio");
}

/* What else the machine did meanwhile; the benchmark's own guests are idle, and it is one thread. */
static void note_load(void)
{
	json_t *header = json_array_get(rows, 0);
	double load, least, most;

	if (getloadavg(&load, 1) != 1)
		return;
	least = json_real_value(json_object_get(header, "load_least"));
	most = json_real_value(json_object_get(header, "load_most"));
	if (!json_object_get(header, "load_least") || load < least)
		json_object_set_new(header, "load_least", json_real(load));
	if (load > most)
		json_object_set_new(header, "load_most", json_real(load));
}

static void number(double value)
{
	if (value)
		printf(" %10.4g", value);
	else
		printf(" %10s", "-");
}

static void add(const struct row *row)
{
	bool less = row->better == BETTER_LESS;
	bool has_goal = row->goal || row->none_wanted;
	bool reached = !has_goal || (less ? row->value <= row->goal : row->value >= row->goal);
	double ratio = !row->reference || !row->value ? 0
		       : less			      ? row->reference / row->value
						      : row->value / row->reference;
	char name[96];

	snprintf(name, sizeof(name), "%s, %s", row->name, row->unit);
	printf("%-58s %-18s", name, row->backend);
	number(row->value);
	number(row->p99);
	if (row->none_wanted)
		printf(" %10s", "0");
	else
		number(row->goal);
	number(row->reference);
	if (ratio)
		printf("  %.1f x %s", ratio, row->reference_of);
	if (row->peer)
		printf("  LibVMI %.4g", row->peer);
	puts(reached ? "" : "  GOAL MISSED");
	fflush(stdout);
	missed += !reached;
	note_load();
	json_array_append_new(
		rows, json_pack("{s:s, s:s, s:s, s:s, s:f, s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "name",
				row->name, "tier", bench_is_lab() ? "lab" : "native tiny guests",
				"backend", row->backend,
				"unit", row->unit, "value",
				row->value, "p99", row->p99 ? json_real(row->p99) : json_null(),
				"goal", has_goal ? json_real(row->goal) : json_null(), "better",
				less ? "less" : "more", "reference",
				row->reference ? json_real(row->reference) : json_null(),
				"reference_of",
				row->reference ? json_string(row->reference_of) : json_null(),
				"ratio", ratio ? json_real(ratio) : json_null(), "peer",
				row->peer ? json_real(row->peer) : json_null()));
}

void rows_add(const struct row *row)
{
	struct row lab = *row;

	if (bench_is_lab()) {
		lab.goal = lab.peer = 0;
		lab.none_wanted = false;
		if (row->reference && !strcmp(row->reference_of, "the paper"))
			lab.reference = 0;
	}
	add(&lab);
}

void rows_skip(const char *name, const char *reason)
{
	printf("%-58s not measured: %s\n", name, reason);
	fflush(stdout);
}

int rows_save(const char *path)
{
	return json_dump_file(rows, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) ? -EIO : missed;
}

void rows_end(void)
{
	json_decref(rows);
}
