// SPDX-License-Identifier: LGPL-2.1-or-later
/* Standard output and files that do not take lines, or are rotated. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/clock.h"
#include "monitor/event.h"
#include "monitor/sinks/sinks.h"

static sd_event *loop;
static struct outputs *outputs;
static struct sink *sink;
static bool gone;

static void take_down(void)
{
	outputs_close(outputs);
	sd_event_unref(loop);
}

TestSuite(sink, .fini = take_down, .timeout = 60);

static void on_gone(void *ctx, struct sink *which)
{
	(void)ctx, (void)which;
	gone = true;
}

static void start(struct sink *with)
{
	sink = with;
	cr_assert_eq(sd_event_new(&loop), 0);
	cr_assert_eq(outputs_new(loop, on_gone, NULL, &outputs), 0);
	cr_assert_eq(outputs_add(outputs, sink), 0);
	cr_assert_eq(outputs_start(outputs, NULL, 0), 0);
}

static void start_stdout(const char *path)
{
	struct sink *with;

	cr_assert_eq(sink_stdout_new(path, &with), 0);
	start(with);
}

/* A pipe in the place of standard output. */
static void pipe_start(int *ret_reader)
{
	int fds[2], saved = dup(STDOUT_FILENO);

	cr_assert_eq(pipe(fds), 0);
	dup2(fds[1], STDOUT_FILENO);
	start_stdout(NULL);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	close(fds[1]);
	*ret_reader = fds[0];
}

/* Offers a line of JSON that is made of this text. */
static void offer(const char *text, enum severity severity)
{
	json_t *event = json_pack("{s:s, s:i}", "message", text, "severity_id", severity);
	char *line = json_dumps(event, JSON_COMPACT);
	size_t len = strlen(line);

	line[len] = '\n';
	cr_assert_eq(outputs_offer(outputs, event, line, len + 1, severity), 0);
	json_decref(event);
	free(line);
}

static void loop_turn(void)
{
	while (sd_event_run(loop, 0) > 0)
		;
}

static void queue_of_sink(struct spool_queue *ret_queue)
{
	spool_queue(sink->spool, sink->bit, ret_queue);
}

/* As monitor.health tells it. */
static void expect_dropped(uint64_t dropped)
{
	json_t *sinks = outputs_sinks_json(outputs), *first = json_array_get(sinks, 0);
	struct outputs_health health;

	outputs_health(outputs, &health);
	cr_assert_eq(health.dropped, dropped);
	cr_assert_eq((uint64_t)json_integer_value(json_object_get(first, "dropped")), dropped);
	json_decref(sinks);
}

Test(sink, a_reader_that_sleeps_does_not_block_and_violations_stay)
{
	enum { ROUNDS = 2 * SPOOL_MEMORY_MAX / EVENT_LINE_MAX };
	static char text[EVENT_LINE_MAX];
	struct spool_queue queue;
	int reader;

	pipe_start(&reader);
	memset(text, 'x', sizeof(text) - 1);
	for (int i = 0; i < 100; i++)
		offer(text, SEVERITY_CRITICAL);
	loop_turn();
	for (int i = 0; i < ROUNDS; i++)
		offer(text, SEVERITY_INFO);
	loop_turn();
	for (int i = 0; i < 100; i++)
		offer(text, SEVERITY_CRITICAL);
	loop_turn();
	queue_of_sink(&queue);
	cr_assert_leq(queue.bytes, SPOOL_MEMORY_MAX);
	cr_assert_gt(queue.dropped, 0);
	cr_assert_eq(sink->delivered + queue.lines + queue.dropped, 200 + ROUNDS);
	cr_assert_geq(sink->delivered + queue.lines, 200);
	expect_dropped(queue.dropped);
	close(reader);
}

Test(sink, lines_come_out_whole_and_in_order)
{
	char text[32], back[80], expected[80];
	int reader, next = 0;
	FILE *file;

	pipe_start(&reader);
	for (int i = 0; i < 20000; i++) {
		snprintf(text, sizeof(text), "line %d", i);
		offer(text, SEVERITY_INFO);
	}
	loop_turn();
	file = fdopen(reader, "r");
	while (next < 20000) {
		/* As much as the pipe has, then more. */
		cr_assert_not_null(fgets(back, sizeof(back), file));
		snprintf(expected, sizeof(expected),
			 "{\"message\":\"line %d\",\"severity_id\":1}\n", next++);
		cr_assert_str_eq(back, expected);
		if (next % 50 == 0)
			loop_turn();
	}
	fclose(file);
}

Test(sink, stdout_in_a_file_shares_its_offset)
{
	char path[] = "/tmp/kvmbpf-sink-XXXXXX", back[64] = "";
	int fd = mkstemp(path), saved = dup(STDOUT_FILENO);

	dup2(fd, STDOUT_FILENO);
	start_stdout(NULL);
	offer("ours", SEVERITY_INFO);
	loop_turn();
	cr_assert_eq(write(STDOUT_FILENO, "next\n", 5), 5);
	dup2(saved, STDOUT_FILENO);
	cr_assert_gt(pread(fd, back, sizeof(back) - 1, 0), 10);
	cr_assert_str_eq(back, "{\"message\":\"ours\",\"severity_id\":1}\nnext\n");
	close(fd);
	unlink(path);
}

Test(sink, a_reader_that_left_is_told)
{
	int reader;

	signal(SIGPIPE, SIG_IGN);
	pipe_start(&reader);
	close(reader);
	offer("x", SEVERITY_INFO);
	loop_turn();
	cr_assert(gone);
}

static off_t size_of(const char *path)
{
	int fd = open(path, O_RDONLY);
	off_t size = lseek(fd, 0, SEEK_END);

	close(fd);
	return size;
}

Test(sink, reopen_follows_a_rotation)
{
	char path[] = "/tmp/kvmbpf-sink-XXXXXX", old[64];
	off_t one;

	close(mkstemp(path));
	snprintf(old, sizeof(old), "%s.1", path);
	start_stdout(path);
	offer("1", SEVERITY_INFO);
	loop_turn();
	one = size_of(path);
	cr_assert_gt(one, 0);
	cr_assert_eq(rename(path, old), 0);
	offer("2", SEVERITY_INFO);
	loop_turn();
	outputs_reopen(outputs);
	offer("3", SEVERITY_INFO);
	loop_turn();
	cr_assert_eq(size_of(path), one);
	cr_assert_eq(size_of(old), 2 * one);
	unlink(path);
	unlink(old);
}

/* ---- rotated files ---- */

static char folder[] = "/tmp/kvmbpf-file-XXXXXX", log_path[64];

static void start_file(void)
{
	static struct config_file config;
	struct sink *with;

	snprintf(log_path, sizeof(log_path), "%s/log", folder);
	config = (struct config_file){ .path = log_path };
	cr_assert_eq(sink_file_new(&config, &with), 0);
	snprintf(with->name, sizeof(with->name), "log");
	start(with);
}

static void remove_folder(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	cr_assert_eq(system(command), 0);
}

static void expect_log(const char *expected)
{
	char back[256] = "";
	FILE *file = fopen(log_path, "r");

	cr_assert_not_null(file);
	back[fread(back, 1, sizeof(back) - 1, file)] = '\0';
	fclose(file);
	cr_assert_str_eq(back, expected);
}

Test(sink, half_a_line_that_a_crash_left_is_taken_out)
{
	FILE *file;

	cr_assert_not_null(mkdtemp(folder));
	snprintf(log_path, sizeof(log_path), "%s/log", folder);
	file = fopen(log_path, "w");
	fputs("{\"a\":1}\n{\"a\":", file);
	fclose(file);
	start_file();
	offer("x", SEVERITY_INFO);
	loop_turn();
	expect_log("{\"a\":1}\n{\"message\":\"x\",\"severity_id\":1}\n");
	remove_folder();
}

Test(sink, a_file_that_cannot_be_made_is_tried_again)
{
	uint64_t end;

	/* The folder comes later. */
	cr_assert_not_null(mkdtemp(folder));
	remove_folder();
	start_file();
	offer("x", SEVERITY_INFO);
	loop_turn();
	cr_assert_str_eq(sink->error, strerror(ENOENT));
	cr_assert_eq(mkdir(folder, 0700), 0);
	end = clock_mono() + 10 * NS_PER_S;
	while (!sink->delivered && clock_mono() < end)
		cr_assert_geq(sd_event_run(loop, 100000), 0);
	cr_assert_eq(sink->delivered, 1);
	cr_assert_str_empty(sink->error);
	expect_log("{\"message\":\"x\",\"severity_id\":1}\n");
	remove_folder();
}
