// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the daemon costs: its own time on a CPU, as the scheduler counts it in nanoseconds, while it
 * watches idle tiny guests, each in a process of its own.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "native/tinyvm.h"

enum { VMS_MAX = 2000, SETTLE_S = 6, WATCH_S = 20, START_S = 30 };

static struct tinyvm vms[VMS_MAX];
static size_t vm_count;
static char events_path[64];

static void sleep_s(unsigned int seconds)
{
	struct timespec time = { .tv_sec = seconds };

	while (nanosleep(&time, &time) < 0 && errno == EINTR)
		;
}

static int grow_to(size_t count)
{
	for (; vm_count < count; vm_count++) {
		const struct tinyvm_options options = { .irqchip = true };
		int err = tinyvm_start(&options, &vms[vm_count]);

		if (err)
			return err;
	}
	return 0;
}

static void drop_all(void)
{
	while (vm_count)
		tinyvm_kill(&vms[--vm_count]);
}

static pid_t monitor_start(const char *interval)
{
	int out = open(events_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	pid_t pid = fork();

	if (pid) {
		close(out);
		return pid;
	}
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	execl("build/kvmbpf-monitor", "kvmbpf-monitor", "--interval", interval, "--store",
	      ":memory:", NULL);
	_exit(127);
}

static void monitor_stop(pid_t pid)
{
	kill(pid, SIGTERM);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* Nanoseconds on a CPU so far; 0: it is gone. */
static uint64_t cpu_ns(pid_t pid)
{
	unsigned long long ns = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	file = fopen(path, "re");
	if (file && fscanf(file, "%llu", &ns) != 1)
		ns = 0;
	if (file)
		fclose(file);
	return ns;
}

/* MiB of anonymous memory. */
static double anonymous_mib(pid_t pid)
{
	char path[64], line[256];
	unsigned long kib = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "RssAnon: %lu", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib / 1024.0;
}

/* How often a word stands in what the monitor printed. */
static size_t events_count(const char *word)
{
	char *line = NULL;
	size_t size = 0, count = 0;
	FILE *file = fopen(events_path, "re");

	while (file && getline(&line, &size, file) > 0)
		count += strstr(line, word) != NULL;
	free(line);
	if (file)
		fclose(file);
	return count;
}

static int wait_for_baselines(uint64_t begin, size_t count, double *ret_ms)
{
	while (events_count("\"baseline.recorded\"") < count) {
		const struct timespec pause = { .tv_nsec = 5000000 };

		if (now_ns() - begin > START_S * 1000000000ULL)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
	*ret_ms = (now_ns() - begin) / 1e6;
	return 0;
}

static int watch(size_t count, const char *interval, double goal_percent, double goal_mib)
{
	struct row row = { .unit = "% of one CPU", .goal = goal_percent };
	char name[64];
	uint64_t begin, used;
	double ms;
	pid_t pid;
	int err = grow_to(count);

	if (err)
		return err;
	begin = now_ns();
	pid = monitor_start(interval);
	err = wait_for_baselines(begin, count, &ms);
	if (!err) {
		sleep_s(SETTLE_S);
		used = cpu_ns(pid);
		begin = now_ns();
		sleep_s(WATCH_S);
		used = cpu_ns(pid) - used;
		snprintf(name, sizeof(name), "%zu VMs every %s", count, interval);
		row.name = name;
		row.backend = "daemon";
		row.value = 100.0 * used / (now_ns() - begin);
		if (count == 1 && !strcmp(interval, "1s")) {
			row.reference = 0.37;
			row.reference_of = "the paper";
		}
		rows_add(&row);
		row = (struct row){ .name = name, .backend = "daemon", .unit = "MiB anonymous",
				    .value = anonymous_mib(pid), .goal = goal_mib };
		rows_add(&row);
	}
	monitor_stop(pid);
	return err;
}

static int start_time(size_t count, double goal_ms)
{
	struct row row = { .backend = "daemon", .unit = "ms", .goal = goal_ms };
	char name[64];
	pid_t pid;
	int err = grow_to(count);

	if (err)
		return err;
	pid = monitor_start("1s");
	err = wait_for_baselines(now_ns(), count, &row.value);
	monitor_stop(pid);
	if (err)
		return err;
	snprintf(name, sizeof(name), "start to %zu baselines", count);
	row.name = name;
	rows_add(&row);
	return 0;
}

int bench_daemon(void)
{
	int err;

	snprintf(events_path, sizeof(events_path), "/tmp/kvmbpf-bench-%d", getpid());
	err = watch(1, "1s", 0.003, 0);
	if (!err)
		err = watch(1, "100ms", 0, 0);
	if (!err)
		err = watch(10, "1s", 0, 0);
	if (!err)
		err = watch(100, "1s", 0, 0);
	if (!err)
		err = start_time(100, 0);
	if (!err)
		err = watch(1000, "1s", 0.5, 64);
	drop_all();
	unlink(events_path);
	return err;
}
