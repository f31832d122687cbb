// SPDX-License-Identifier: LGPL-2.1-or-later
/* From a write to a table of the guest until the event stands on the monitor's standard output. */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "native/tinyvm.h"

enum { WRITES = 40, GATE = GUEST_IDT + 0x80 * 16, WAIT_MS = 30000 };

static FILE *events;
static pid_t monitor;

static int monitor_start(pid_t vm, const char *interval)
{
	char selector[24];
	int fds[2];

	snprintf(selector, sizeof(selector), "%d", vm);
	if (pipe(fds))
		return -errno;
	monitor = fork();
	if (!monitor) {
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		execl("build/kvmbpf-monitor", "kvmbpf-monitor", "--interval", interval, "--store",
		      ":memory:", "--vm", selector, NULL);
		_exit(127);
	}
	close(fds[1]);
	events = fdopen(fds[0], "r");
	return events && monitor > 0 ? 0 : -errno;
}

/* The next line with this word in it. Lines come whole. */
static int wait_for(const char *word)
{
	struct pollfd fd = { .fd = fileno(events), .events = POLLIN };
	char *line = NULL;
	size_t size = 0;
	int err = -ETIMEDOUT;

	setvbuf(events, NULL, _IONBF, 0);
	while (err == -ETIMEDOUT && poll(&fd, 1, WAIT_MS) > 0) {
		if (getline(&line, &size, events) < 0)
			err = -EPIPE;
		else if (strstr(line, word))
			err = 0;
	}
	free(line);
	return err;
}

static int write_once(struct tinyvm *vm, uint64_t *ret_ns)
{
	/* At any moment of the interval. */
	const struct timespec pause = { .tv_nsec = random() % 200000000 };
	uint64_t before = tinyvm_peek64(vm, GATE), begin;
	int err;

	nanosleep(&pause, NULL);
	begin = now_ns();
	tinyvm_poke64(vm, GATE, before ^ 0x1000);
	err = wait_for("integrity.violation");
	*ret_ns = now_ns() - begin;
	tinyvm_poke64(vm, GATE, before);
	return err ? err : wait_for("integrity.restored");
}

static int measure(const char *interval, double limit_ms)
{
	const struct tinyvm_options options = { .irqchip = true };
	struct row row = { .backend = "polled", .unit = "ms", .goal = limit_ms };
	static uint64_t samples[WRITES];
	struct tinyvm vm = { 0 };
	char name[64];
	int err = tinyvm_start(&options, &vm);

	if (!err)
		err = monitor_start(vm.pid, interval);
	if (!err)
		err = wait_for("baseline.recorded");
	for (int i = 0; i < WRITES && !err; i++)
		err = write_once(&vm, &samples[i]);
	if (!err) {
		snprintf(name, sizeof(name), "write to event, interval %s", interval);
		row.name = name;
		samples_summary(samples, WRITES, &row.value, &row.p99);
		row.value /= 1000;
		row.p99 /= 1000;
		rows_add(&row);
	}
	if (monitor > 0) {
		kill(monitor, SIGTERM);
		waitpid(monitor, NULL, 0);
	}
	if (events)
		fclose(events);
	tinyvm_kill(&vm);
	return err;
}

int bench_latency(void)
{
	int err = measure("100ms", 100);

	if (!err)
		rows_skip("write to event, tracked", "needs the kernel module: see the lab");
	return err;
}
