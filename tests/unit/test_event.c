// SPDX-License-Identifier: LGPL-2.1-or-later
/* The form of events. */
#include <criterion/criterion.h>
#include <string.h>

#include "monitor/event.h"

static struct event_stream stream;
static char line[EVENT_LINE_MAX * 2];
static size_t line_len;

static int take(void *ctx, const json_t *event, const char *text, size_t len,
		enum severity severity)
{
	(void)ctx, (void)event, (void)severity;
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
