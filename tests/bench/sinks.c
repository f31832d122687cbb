// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How many events a second go through a sink, the spool on disk before it included, until the last
 * has arrived: in a file, or at a syslog socket that a process of its own empties.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "monitor/clock.h"
#include "monitor/event.h"
#include "monitor/sinks/sinks.h"

/* As many at once as the guests of a busy host may cause in a turn. */
enum { EVENTS = 20000, EVENTS_AT_ONCE = 100, DRAIN_MS = 20000, SPOOL_MAX = 256 << 20 };

static char folder[] = "/tmp/kvmbpf-bench-XXXXXX";
static char file_path[64], spool_path[64], socket_path[64];
static char socket_address[80];

static int take_event(void *ctx, const json_t *event, const char *line, size_t len,
		      enum severity severity)
{
	return outputs_offer(ctx, event, line, len, severity);
}

/* About as long as the event of a changed gate. */
static int emit(struct event_stream *stream)
{
	json_t *event = event_new(stream, "integrity.violation", SEVERITY_CRITICAL, clock_real(),
				  clock_mono(), "vm-1: IDT gate 128 (entry_INT80_32) was changed");

	if (!event)
		return -ENOMEM;
	for (int i = 0; i < 12; i++) {
		char name[16];

		snprintf(name, sizeof(name), "detail_%d", i);
		json_object_set_new(event, name,
				    json_pack("{s:o, s:o, s:s}", "address",
					      event_hex(0xffffffff81000000 + (uint64_t)i), "value",
					      event_hex(0xffff888000000000), "symbol",
					      "asm_exc_page_fault+0x10"));
	}
	return event_emit(stream, event);
}

/* ---- where they arrive ---------------------------------------------------------------------- */

static size_t lines_in(const char *path)
{
	FILE *file = fopen(path, "re");
	size_t size = 0, count = 0;
	char *line = NULL;

	while (file && getline(&line, &size, file) > 0)
		count += strstr(line, "integrity.violation") != NULL;
	free(line);
	if (file)
		fclose(file);
	return count;
}

static int socket_new(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)))
		return -errno;
	return fd;
}

/* Counts what comes, for all to see. */
static pid_t receiver_start(int fd, size_t *received)
{
	static char message[1 << 16];
	pid_t pid = fork();

	while (!pid)
		if (recv(fd, message, sizeof(message), 0) > 0)
			__atomic_add_fetch(received, 1, __ATOMIC_RELAXED);
	return pid;
}

/* ---- a sink --------------------------------------------------------------------------------- */

/* outputs_drain() leaves what a slow reader has not taken yet on disk, for the next start. */
static int drain(struct outputs *outputs, sd_event *loop)
{
	uint64_t end = now_ns() + DRAIN_MS * 1000000ULL;
	struct outputs_sink sink;

	do {
		if (now_ns() > end)
			return -ETIMEDOUT;
		outputs_tick(outputs);
		if (sd_event_run(loop, 1000) < 0)
			return -EIO;
	} while (outputs_sink_get(outputs, 0, &sink) && sink.queued);
	return outputs_drain(outputs, DRAIN_MS) ? 0 : -EIO;
}

static int run(struct outputs *outputs, sd_event *loop)
{
	struct event_stream stream = { 0 };
	int err = event_stream_init(&stream);

	stream.write = take_event;
	stream.ctx = outputs;
	for (int i = 0; i < EVENTS && !err; i++) {
		err = emit(&stream);
		while (!err && i % EVENTS_AT_ONCE == 0 && sd_event_run(loop, 0) > 0)
			;
	}
	return err ? err : drain(outputs, loop);
}

static void on_gone(void *ctx, struct sink *sink)
{
	(void)ctx, (void)sink;
}

static int measure(const char *backend, struct sink *sink, size_t (*arrived)(void))
{
	struct outputs *outputs = NULL;
	uint64_t begin, used, wall;
	sd_event *loop = NULL;
	int err = sd_event_new(&loop);

	if (err >= 0)
		err = outputs_new(loop, on_gone, NULL, &outputs);
	snprintf(sink->name, sizeof(sink->name), "%s", backend);
	if (err >= 0)
		err = outputs_add(outputs, sink);
	if (err >= 0)
		err = outputs_start(outputs, spool_path, SPOOL_MAX);
	begin = now_ns();
	used = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	if (err >= 0)
		err = run(outputs, loop);
	wall = now_ns() - begin;
	used = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - used;
	outputs_close(outputs);
	sd_event_unref(loop);
	if (err < 0)
		return err;
	rows_add(&(struct row){ .name = "events through a sink", .backend = backend,
				.unit = "events/s", .value = EVENTS * 1e9 / wall,
				.goal = 10000, .better = BETTER_MORE });
	rows_add(&(struct row){ .name = "an event through a sink", .backend = backend,
				.unit = "µs of CPU", .value = used / 1e3 / EVENTS });
	rows_add(&(struct row){ .name = "events lost", .backend = backend, .unit = "events",
				.value = EVENTS - arrived(), .none_wanted = true });
	return 0;
}

static size_t in_file(void)
{
	return lines_in(file_path);
}

static int measure_file(void)
{
	struct config_file config = { .path = file_path };
	struct sink *sink;
	int err = sink_file_new(&config, &sink);

	return err ? err : measure("file", sink, in_file);
}

static size_t *received;

/* What was sent lies in the socket until the receiver has it. */
static size_t at_socket(void)
{
	const struct timespec pause = { .tv_nsec = 50000000 };

	for (int i = 0; i < 100 && __atomic_load_n(received, __ATOMIC_RELAXED) < EVENTS; i++)
		nanosleep(&pause, NULL);
	return __atomic_load_n(received, __ATOMIC_RELAXED);
}

static int measure_syslog(void)
{
	struct config_syslog config = { .address = socket_address };
	int fd = socket_new(), err = fd < 0 ? fd : 0;
	pid_t receiver = 0;
	struct sink *sink;

	received = mmap(NULL, sizeof(*received), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	if (!err && received == MAP_FAILED)
		err = -ENOMEM;
	if (!err)
		receiver = receiver_start(fd, received);
	if (!err)
		err = sink_syslog_new(&config, &sink);
	if (!err)
		err = measure("syslog", sink, at_socket);
	if (receiver > 0) {
		kill(receiver, SIGKILL);
		waitpid(receiver, NULL, 0);
	}
	if (fd >= 0)
		close(fd);
	return err;
}

int bench_sinks(void)
{
	char command[80];
	int err;

	if (!mkdtemp(folder))
		return -errno;
	snprintf(file_path, sizeof(file_path), "%s/events", folder);
	snprintf(spool_path, sizeof(spool_path), "%s/spool", folder);
	snprintf(socket_path, sizeof(socket_path), "%s/log", folder);
	snprintf(socket_address, sizeof(socket_address), "unix://%s", socket_path);
	err = measure_file();
	if (!err)
		err = measure_syslog();
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command) && !err ? -EIO : err;
}
