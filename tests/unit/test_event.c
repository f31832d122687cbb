// SPDX-License-Identifier: LGPL-2.1-or-later
/* The form of events, and sinks that do not take them. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "monitor/event.h"
#include "monitor/sink.h"

static struct event_stream stream;
static char line[EVENT_LINE_MAX * 2];
static size_t line_len;

static int take(void *ctx, const char *text, size_t len, enum severity severity)
{
	(void)ctx, (void)severity;
	cr_assert_lt(len, sizeof(line));
	memcpy(line, text, len);
	line[len] = '\0';
	line_len = len;
	return 0;
}

static void setup(void)
{
	stream = (struct event_stream){ .write = take };
	cr_assert_eq(event_stream_init(&stream), 0);
}

TestSuite(event, .init = setup);

static json_t *emitted(json_t *event)
{
	json_t *back;

	cr_assert_eq(event_emit(&stream, event), 0);
	back = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
	cr_assert_not_null(back);
	return back;
}

Test(event, one_line_with_the_common_fields)
{
	json_t *back = emitted(event_new(&stream, "vm.gone", SEVERITY_HIGH, 1767323045123456789ull,
					 81233000000, "gone"));

	cr_assert_eq(strchr(line, '\n'), line + line_len - 1);
	cr_assert_str_eq(json_string_value(json_object_get(back, "schema")), "kvmbpf.event/1");
	cr_assert_str_eq(json_string_value(json_object_get(back, "time")),
			 "2026-01-02T03:04:05.123456789Z");
	cr_assert_str_eq(json_string_value(json_object_get(back, "mono_ns")), "81233000000");
	cr_assert_str_eq(json_string_value(json_object_get(back, "severity")), "high");
	cr_assert_eq(json_integer_value(json_object_get(back, "severity_id")), 4);
	cr_assert(json_is_false(json_object_get(back, "truncated")));
	json_decref(back);
}

Test(event, seq_has_no_gaps)
{
	for (int i = 0; i < 3; i++) {
		json_t *back = emitted(event_new(&stream, "t", SEVERITY_INFO, 1, 1, "m"));

		cr_assert_eq(json_integer_value(json_object_get(back, "seq")), i);
		json_decref(back);
	}
}

Test(event, hostile_message_stays_on_one_line)
{
	json_t *back = emitted(
		event_new(&stream, "t", SEVERITY_INFO, 1, 1, "a\n{\"b\":1}\x1b[2J\xff\"\\"));

	cr_assert_eq(strchr(line, '\n'), line + line_len - 1);
	cr_assert_null(strchr(line, 0x1b));
	cr_assert_str_eq(json_string_value(json_object_get(back, "message")),
			 "a\n{\"b\":1}\x1b[2J\xef\xbf\xbd\"\\");
	json_decref(back);
}

Test(event, too_long_is_cut_and_says_so)
{
	json_t *event = event_new(&stream, "t", SEVERITY_INFO, 1, 1, "m"), *list = json_array(),
	       *back;

	for (int i = 0; i < 4000; i++)
		json_array_append_new(list, event_hex(i));
	json_object_set_new(event, "checks", list);
	back = emitted(event);
	cr_assert_leq(line_len, EVENT_LINE_MAX);
	cr_assert(json_is_true(json_object_get(back, "truncated")));
	cr_assert_null(json_object_get(back, "checks"));
	json_decref(back);
}

/* ---- sinks ---- */

static struct sink *pipe_sink(int *ret_reader)
{
	struct sink *sink;
	int fds[2], saved = dup(STDOUT_FILENO);

	cr_assert_eq(pipe(fds), 0);
	dup2(fds[1], STDOUT_FILENO);
	cr_assert_eq(sink_open(NULL, &sink), 0);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	close(fds[1]);
	*ret_reader = fds[0];
	return sink;
}

Test(sink, a_reader_that_sleeps_does_not_block_and_violations_stay)
{
	static char text[EVENT_LINE_MAX];
	struct sink_counters counters;
	struct sink *sink;
	int reader;

	sink = pipe_sink(&reader);
	memset(text, 'x', sizeof(text));
	for (int i = 0; i < 100; i++)
		cr_assert_eq(sink_write(sink, text, sizeof(text), SEVERITY_CRITICAL), 0);
	for (int i = 0; i < 2 * SINK_QUEUE_MAX / EVENT_LINE_MAX; i++)
		cr_assert_eq(sink_write(sink, text, sizeof(text), SEVERITY_INFO), 0);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(sink_write(sink, text, sizeof(text), SEVERITY_CRITICAL), 0);
	sink_counters(sink, &counters);
	cr_assert_leq(counters.queued_bytes, SINK_QUEUE_MAX);
	cr_assert_gt(counters.dropped, 0);
	cr_assert_eq(counters.delivered + counters.queued + counters.dropped,
		     200 + 2 * SINK_QUEUE_MAX / EVENT_LINE_MAX);
	cr_assert_geq(counters.delivered + counters.queued, 200);
	sink_close(sink);
	close(reader);
}

Test(sink, lines_come_out_whole_and_in_order)
{
	struct sink *sink;
	char text[32], back[32];
	FILE *file;
	int reader, next = 0;

	sink = pipe_sink(&reader);
	for (int i = 0; i < 20000; i++) {
		int len = snprintf(text, sizeof(text), "line %d\n", i);

		cr_assert_eq(sink_write(sink, text, (size_t)len, SEVERITY_INFO), 0);
	}
	file = fdopen(reader, "r");
	while (next < 20000) {
		/* As much as the pipe has, then more. */
		cr_assert_not_null(fgets(back, sizeof(back), file));
		snprintf(text, sizeof(text), "line %d\n", next++);
		cr_assert_str_eq(back, text);
		if (next % 100 == 0)
			cr_assert_geq(sink_flush(sink), 0);
	}
	sink_close(sink);
	fclose(file);
}

Test(sink, stdout_in_a_file_shares_its_offset)
{
	char path[] = "/tmp/kvmbpf-sink-XXXXXX", back[16] = "";
	int fd = mkstemp(path), saved = dup(STDOUT_FILENO);
	struct sink *sink;

	dup2(fd, STDOUT_FILENO);
	cr_assert_eq(sink_open(NULL, &sink), 0);
	cr_assert_eq(sink_write(sink, "ours\n", 5, SEVERITY_INFO), 0);
	cr_assert_eq(write(STDOUT_FILENO, "next\n", 5), 5);
	dup2(saved, STDOUT_FILENO);
	sink_close(sink);
	cr_assert_eq(pread(fd, back, sizeof(back), 0), 10);
	cr_assert_str_eq(back, "ours\nnext\n");
	close(fd);
	unlink(path);
}

Test(sink, a_reader_that_left_is_an_error)
{
	struct sink *sink;
	int reader;

	signal(SIGPIPE, SIG_IGN);
	sink = pipe_sink(&reader);
	close(reader);
	cr_assert_eq(sink_write(sink, "x\n", 2, SEVERITY_INFO), -EPIPE);
	sink_close(sink);
}

Test(sink, reopen_follows_a_rotation)
{
	char path[] = "/tmp/kvmbpf-sink-XXXXXX", old[64];
	struct sink *sink;
	int fd = mkstemp(path);

	close(fd);
	snprintf(old, sizeof(old), "%s.1", path);
	cr_assert_eq(sink_open(path, &sink), 0);
	cr_assert_eq(sink_write(sink, "one\n", 4, SEVERITY_INFO), 0);
	cr_assert_eq(rename(path, old), 0);
	cr_assert_eq(sink_write(sink, "two\n", 4, SEVERITY_INFO), 0);
	cr_assert_eq(sink_reopen(sink), 0);
	cr_assert_eq(sink_write(sink, "three\n", 6, SEVERITY_INFO), 0);
	sink_close(sink);
	fd = open(path, O_RDONLY);
	cr_assert_eq(lseek(fd, 0, SEEK_END), 6);
	close(fd);
	fd = open(old, O_RDONLY);
	cr_assert_eq(lseek(fd, 0, SEEK_END), 8);
	close(fd);
	unlink(path);
	unlink(old);
}
