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
#include <sys/epoll.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "native/tinyvm.h"

enum { VMS_MAX = 2000, FLOOR_S = 20, START_S = 180 };
/*
 * In a VM's first minute it is asked again who it is, and how many there are is looked up again. Then a
 * minute in which all that is done once a minute is done; of few VMs two, for what is done each second one.
 */
enum { MANY = 100, SETTLE_S = 64, WATCH_S = 120, MANY_WATCH_S = 60 };

static struct tinyvm vms[VMS_MAX];
static size_t vm_count;
static char events_path[64], store_path[64];
static const char state_word[] = " looks: "; /* in what it logs of its state */

static void sleep_s(unsigned int seconds)
{
	struct timespec time = { .tv_sec = seconds };

	while (nanosleep(&time, &time) < 0 && errno == EINTR)
		;
}

static void drop_all(void)
{
	while (vm_count)
		tinyvm_kill(&vms[--vm_count]);
}

/* Those that are there stay, if they are alike. */
static int grow_to(size_t count, enum tinyvm_backing backing, unsigned int vcpus)
{
	const struct tinyvm_options options = {
		.irqchip = true, .backing = backing, .vcpus = vcpus
	};
	int err = 0;

	if (vm_count && (vm_count > count || vms[0].options.backing != backing ||
			 vms[0].options.vcpus != vcpus))
		drop_all();
	for (; vm_count < count && !err; vm_count += !err)
		err = tinyvm_start(&options, &vms[vm_count]);
	return err;
}

static pid_t monitor_start(const char *interval)
{
	int out = open(events_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	pid_t pid;

	/* On disk, as it is used: one in memory would be counted as the monitor's. */
	unlink(store_path);
	pid = fork();
	if (pid) {
		close(out);
		return pid;
	}
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	execl("build/kvmbpf-monitor", "kvmbpf-monitor", "--interval", interval, "--store",
	      store_path, NULL);
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

/* What the monitor last said of itself: how many of its looks came late so far. */
static unsigned long late_so_far(void)
{
	unsigned long late = 0;
	char *line = NULL;
	size_t size = 0;
	FILE *file = fopen(events_path, "re");

	while (file && getline(&line, &size, file) > 0) {
		const char *at = strstr(line, state_word);

		if (at)
			sscanf(at, " looks: %*u made, %lu late", &late);
	}
	free(line);
	if (file)
		fclose(file);
	return late;
}

static int wait_for(const char *word, uint64_t begin, size_t count, double *ret_ms)
{
	while (events_count(word) < count) {
		const struct timespec pause = { .tv_nsec = 5000000 };

		if (now_ns() - begin > START_S * 1000000000ULL)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
	*ret_ms = (now_ns() - begin) / 1e6;
	return 0;
}

/* Has the monitor say so now. */
static int late_ask(pid_t pid, unsigned long *ret_late)
{
	size_t told = events_count(state_word);
	double ms;
	int err;

	kill(pid, SIGUSR2);
	err = wait_for(state_word, now_ns(), told + 1, &ms);
	*ret_late = late_so_far();
	return err;
}

static int wait_for_baselines(uint64_t begin, size_t count, double *ret_ms)
{
	return wait_for("\"baseline.recorded\"", begin, count, ret_ms);
}

struct watch {
	size_t count;
	const char *interval;
	enum tinyvm_backing backing;
	unsigned int vcpus;
	double goal_percent, goal_mib;
};

/* Interrupts are no process's, nor are those that an epoll_wait() ends by. */
static void watch_rows(const struct watch *watch, double percent, double besides, double mib,
		       unsigned long late)
{
	const char *backend = watch->backing == TINYVM_MEMFD ? "mapped RAM" :
			      bench_has_direct()	     ? "direct map" :
							       "process_vm_readv";
	struct row row = { .backend = backend,
			   .unit = "% of one CPU",
			   .value = percent,
			   .goal = watch->goal_percent };
	char name[64];

	snprintf(name, sizeof(name), "%zu VMs of %u vCPUs every %s", watch->count, watch->vcpus,
		 watch->interval);
	row.name = name;
	if (watch->count == 1 && !strcmp(watch->interval, "1s")) {
		row.reference = 0.37;
		row.reference_of = "the paper";
	}
	rows_add(&row);
	rows_add(&(struct row){ .name = name,
				.backend = backend,
				.unit = "% besides, timers' interrupts",
				.value = besides });
	rows_add(&(struct row){ .name = name,
				.backend = backend,
				.unit = "MiB anonymous",
				.value = mib,
				.goal = watch->goal_mib });
	rows_add(&(struct row){ .name = name,
				.backend = backend,
				.unit = "late cycles",
				.value = late,
				.none_wanted = true });
}

/* What the monitor took so far: its own time on a CPU and its sentries', and how many timer interrupts these had. */
static int taken(pid_t pid, uint64_t *ret_ns, uint64_t *ret_interrupts)
{
	int err = bench_sentries_ran(ret_interrupts, ret_ns);

	*ret_ns += cpu_ns(pid);
	return err;
}

static int watch(const struct watch *watch, double *ret_percent)
{
	int err = grow_to(watch->count, watch->backing, watch->vcpus);
	const unsigned int watch_s = watch->count >= MANY ? MANY_WATCH_S : WATCH_S;
	unsigned long late_before = 0, late = 0;
	uint64_t begin, used, used_before, interrupts, interrupts_before;
	double ms, interrupt_ns, elapsed_ns, percent = 0, besides = 0, mib = 0;
	pid_t pid;

	if (!err)
		err = bench_interrupt(&interrupt_ns);
	if (err)
		return err;
	begin = now_ns();
	pid = monitor_start(watch->interval);
	err = wait_for_baselines(begin, watch->count, &ms);
	if (!err) {
		sleep_s(SETTLE_S / 2);
		err = late_ask(pid, &late_before);
		sleep_s(SETTLE_S / 2);
	}
	if (!err)
		err = taken(pid, &used_before, &interrupts_before);
	if (!err) {
		begin = now_ns();
		sleep_s(watch_s);
		err = taken(pid, &used, &interrupts);
		elapsed_ns = (double)(now_ns() - begin);
		percent = 100 * (used - used_before) / elapsed_ns;
		besides = 100 * (interrupts - interrupts_before) * interrupt_ns / elapsed_ns;
		mib = anonymous_mib(pid);
	}
	if (!err)
		err = late_ask(pid, &late);
	monitor_stop(pid);
	if (err)
		return err;
	watch_rows(watch, percent, besides, mib, late - late_before);
	*ret_percent = percent;
	return 0;
}

/* Each VM is looked at as soon as it is told; a baseline waits until the guest stood still. */
static int start_time(size_t count, double goal_ms)
{
	struct row row = { .backend = "daemon", .unit = "ms", .goal = goal_ms };
	uint64_t begin = now_ns();
	char name[64];
	pid_t pid;
	int err = grow_to(count, TINYVM_ANONYMOUS, 1);

	if (err)
		return err;
	begin = now_ns();
	pid = monitor_start("1s");
	err = wait_for("\"vm.discovered\"", begin, count, &row.value);
	snprintf(name, sizeof(name), "start to %zu VMs looked at", count);
	row.name = name;
	if (!err)
		rows_add(&row);
	if (!err)
		err = wait_for_baselines(begin, count, &row.value);
	monitor_stop(pid);
	if (err)
		return err;
	snprintf(name, sizeof(name), "start to %zu baselines", count);
	row.goal = 0;
	rows_add(&row);
	return 0;
}

/*
 * What no daemon can do without: to wake up once a second, and to read 4 KiB from each VM's process
 * then. In a process of its own, in the same run as the rows that it stands beside.
 */
static void floor_run(size_t count)
{
	static uint8_t bytes[4096];
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event none;

	for (;;) {
		epoll_wait(epoll, &none, 1, 1000);
		for (size_t i = 0; i < count; i++) {
			struct iovec local = { bytes, sizeof(bytes) },
				     remote = { (void *)(vms[i].ram + GUEST_IDT), sizeof(bytes) };

			process_vm_readv(vms[i].pid, &local, 1, &remote, 1, 0);
		}
	}
}

static int floor_rows(size_t count)
{
	struct row row = { .backend = count ? "process_vm_readv" : "epoll_wait",
			   .unit = "% of one CPU" };
	uint64_t used, begin;
	char name[64];
	pid_t pid;
	int err = count ? grow_to(count, TINYVM_ANONYMOUS, 1) : 0;

	if (err)
		return err;
	pid = fork();
	if (!pid)
		floor_run(count);
	sleep_s(2);
	used = cpu_ns(pid);
	begin = now_ns();
	sleep_s(FLOOR_S);
	row.value = 100.0 * (cpu_ns(pid) - used) / (now_ns() - begin);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	snprintf(name, sizeof(name),
		 count ? "4 KiB of %zu processes every 1s, and no more"
		       : "waking up every 1s, and no more",
		 count);
	row.name = name;
	rows_add(&row);
	return 0;
}

static const struct watch watches[] = {
	{ 1, "1s", TINYVM_ANONYMOUS, 1, 0.003, 0 },
	{ 1, "100ms", TINYVM_ANONYMOUS, 1, 0, 0 },
	{ 10, "1s", TINYVM_ANONYMOUS, 1, 0, 0 },
	{ 100, "1s", TINYVM_ANONYMOUS, 1, 0, 0 },
	{ 1000, "1s", TINYVM_ANONYMOUS, 1, 0.5, 64 },
	{ 1, "1s", TINYVM_MEMFD, 1, 0.003, 0 },
	{ 1000, "1s", TINYVM_MEMFD, 1, 0.5, 64 },
	{ 10, "1s", TINYVM_ANONYMOUS, 4, 0, 0 },
	{ 10, "1s", TINYVM_ANONYMOUS, GUEST_VCPUS_MAX, 0, 0 },
	{ 2000, "1s", TINYVM_ANONYMOUS, 1, 0, 0 },
};

int bench_daemon(void)
{
	double percent, of_100 = 0, of_1000 = 0;
	int err = 0;

	snprintf(events_path, sizeof(events_path), "/tmp/kvmbpf-bench-%d", getpid());
	snprintf(store_path, sizeof(store_path), "/tmp/kvmbpf-bench-%d.db", getpid());
	/* Before there is a monitor. */
	err = bench_interrupt(&(double){ 0 });
	if (!err)
		err = floor_rows(0);
	for (size_t i = 0; i < sizeof(watches) / sizeof(watches[0]) && !err; i++) {
		err = watch(&watches[i], &percent);
		if (!err && watches[i].count == 1000 && !of_1000)
			err = floor_rows(1000);
		if (!err && watches[i].count == 100) {
			of_100 = percent;
			err = start_time(100, 500);
		}
		if (!err && watches[i].count == 1000 && !of_1000)
			of_1000 = percent;
	}
	if (!err)
		rows_add(&(struct row){ .name = "growth from 100 to 1000 VMs, a VM",
					.backend = "daemon",
					.unit = "times",
					.value = of_1000 / of_100 / 10,
					.goal = 1 });
	drop_all();
	unlink(events_path);
	unlink(store_path);
	return err;
}
