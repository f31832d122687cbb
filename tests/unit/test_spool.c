// SPDX-License-Identifier: LGPL-2.1-or-later
/* What waits in the spool, through crashes, overflow and damage. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "monitor/spool.h"

static char folder[] = "/tmp/kvmbpf-spool-XXXXXX", path[64], error[SPOOL_ERROR_MAX];
static struct spool *spool;
static unsigned int one, two;

static void setup(void)
{
	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/spool.db", folder);
}

static void take_down(void)
{
	char command[80];

	spool_close(spool);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	cr_assert_eq(system(command), 0);
}

TestSuite(spool, .init = setup, .fini = take_down, .timeout = 60);

/* With two lasting sinks. */
static void spool_start(uint64_t max)
{
	cr_assert_eq(spool_open(path, max, &spool, error), 0, "%s", error);
	cr_assert_eq(spool_sink_add(spool, "one", true, &one), 0);
	cr_assert_eq(spool_sink_add(spool, "two", true, &two), 0);
	cr_assert_eq(spool_sinks_done(spool), 0);
}

static void add(const char *text, enum severity severity, uint64_t wanted)
{
	cr_assert_eq(spool_add(spool, NULL, text, strlen(text), severity, wanted), 0);
}

static void expect_next(unsigned int bit, uint64_t *position, const char *text)
{
	struct spool_line line;

	cr_assert_eq(spool_next(spool, bit, position, &line), 0, "no '%s'", text);
	cr_assert_eq(line.len, strlen(text));
	cr_assert_arr_eq(line.text, text, line.len);
}

static void expect_none(unsigned int bit, uint64_t position)
{
	struct spool_line line;

	cr_assert_eq(spool_next(spool, bit, &position, &line), -ENOENT);
}

static uint64_t waiting(unsigned int bit)
{
	struct spool_queue queue;

	spool_queue(spool, bit, &queue);
	return queue.lines;
}

Test(spool, what_was_committed_outlives_the_process)
{
	uint64_t at = 0;
	int status;
	pid_t pid = fork();

	if (!pid) {
		spool_start(1 << 20);
		add("a", SEVERITY_INFO, 1ull << one | 1ull << two);
		add("b", SEVERITY_INFO, 1ull << one);
		spool_commit(spool);
		spool_delivered(spool, one, 1);
		spool_commit(spool);
		_exit(0); /* as after SIGKILL: nothing is closed */
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	spool_start(1 << 20);
	expect_next(one, &at, "b");
	expect_none(one, at);
	at = 0;
	expect_next(two, &at, "a");
	expect_none(two, at);
	cr_assert_eq(waiting(one), 1);
}

Test(spool, a_line_is_gone_when_all_have_it)
{
	struct spool_counters counters;

	spool_start(1 << 20);
	add("a", SEVERITY_INFO, 1ull << one | 1ull << two);
	cr_assert_eq(spool_commit(spool), 0);
	spool_delivered(spool, one, 1);
	cr_assert_eq(spool_commit(spool), 0);
	spool_counters(spool, &counters);
	cr_assert_eq(counters.lines, 1);
	spool_delivered(spool, two, 1);
	cr_assert_eq(spool_commit(spool), 0);
	spool_counters(spool, &counters);
	cr_assert_eq(counters.lines, 0);
	cr_assert_eq(counters.bytes, 0);
}

Test(spool, overflow_drops_the_oldest_of_the_lowest_severity)
{
	struct spool_queue queue;
	uint64_t at = 0;

	spool_start(3);
	add("i", SEVERITY_INFO, 1ull << one);
	add("C", SEVERITY_CRITICAL, 1ull << one);
	add("h", SEVERITY_HIGH, 1ull << one);
	add("j", SEVERITY_INFO, 1ull << one);
	add("D", SEVERITY_CRITICAL, 1ull << one);
	cr_assert_eq(spool_commit(spool), 0);
	expect_next(one, &at, "C");
	expect_next(one, &at, "h");
	expect_next(one, &at, "D");
	expect_none(one, at);
	spool_queue(spool, one, &queue);
	cr_assert_eq(queue.dropped, 2);
	cr_assert_eq(queue.lines, 3);
}

Test(spool, overflow_drops_what_is_in_memory_as_well)
{
	struct spool_counters counters;
	struct spool_queue queue;
	uint64_t at = 0;

	spool_start(3);
	add("i", SEVERITY_INFO, 1ull << one);
	add("C", SEVERITY_CRITICAL, 1ull << one);
	add("h", SEVERITY_HIGH, 1ull << one);
	cr_assert_eq(spool_commit(spool), 0);
	add("D", SEVERITY_CRITICAL, 1ull << one);
	cr_assert_eq(spool_commit(spool), 0);
	for (const char *text = "ChD"; *text; text++) {
		expect_next(one, &at, (char[]){ *text, 0 });
		spool_delivered(spool, one, at);
	}
	expect_none(one, at);
	cr_assert_eq(spool_commit(spool), 0);
	spool_queue(spool, one, &queue);
	spool_counters(spool, &counters);
	cr_assert_eq(queue.dropped, 1);
	cr_assert_eq(queue.lines, 0);
	cr_assert_eq(queue.bytes, 0);
	cr_assert_eq(counters.lines, 0);
}

/* Some of these are in memory and on disk, some on disk alone. */
enum { LONG_LINE = 16 * 1024, LONG_LINES = 100 };

static const char *long_line(int number)
{
	static char text[LONG_LINE + 1];

	memset(text, 'x', LONG_LINE);
	text[snprintf(text, sizeof(text), "%d", number)] = 'x';
	return text;
}

Test(spool, lines_in_memory_and_on_disk_come_once_and_in_order)
{
	uint64_t at_one = 0, at_two = 0;

	spool_start(1 << 24);
	for (int i = 0; i < LONG_LINES; i++) {
		add(long_line(i), SEVERITY_INFO, 1ull << one | 1ull << two);
		if (i % 10 == 9)
			cr_assert_eq(spool_commit(spool), 0);
	}
	for (int i = 0; i < LONG_LINES; i++) {
		expect_next(one, &at_one, long_line(i));
		spool_delivered(spool, one, at_one);
	}
	for (int i = 0; i < LONG_LINES - 5; i++) {
		expect_next(two, &at_two, long_line(i));
		spool_delivered(spool, two, at_two);
	}
	cr_assert_eq(spool_commit(spool), 0);
	expect_none(one, at_one);
	cr_assert_eq(waiting(one), 0);
	cr_assert_eq(waiting(two), 5);
	spool_close(spool);
	spool_start(1 << 24);
	at_one = at_two = 0;
	expect_none(one, at_one);
	for (int i = LONG_LINES - 5; i < LONG_LINES; i++)
		expect_next(two, &at_two, long_line(i));
	expect_none(two, at_two);
}

Test(spool, who_keeps_up_is_handed_the_event_itself)
{
	json_t *event = json_string("a");
	struct spool_line line;
	uint64_t at = 0;

	spool_start(1 << 20);
	cr_assert_eq(spool_add(spool, event, "a", 1, SEVERITY_INFO, 1ull << one | 1ull << two), 0);
	cr_assert_eq(spool_commit(spool), 0);
	cr_assert_eq(spool_next(spool, one, &at, &line), 0);
	cr_assert_eq(line.event, event);
	spool_delivered(spool, one, at);
	spool_close(spool);
	cr_assert_eq(event->refcount, 1);
	json_decref(event);
	spool_start(1 << 20);
	at = 0;
	cr_assert_eq(spool_next(spool, two, &at, &line), 0);
	cr_assert_null(line.event);
}

Test(spool, nothing_waits_for_a_sink_that_was_taken_out)
{
	struct spool_counters counters;

	spool_start(1 << 20);
	add("a", SEVERITY_INFO, 1ull << one);
	add("b", SEVERITY_INFO, 1ull << one | 1ull << two);
	cr_assert_eq(spool_commit(spool), 0);
	spool_close(spool);
	cr_assert_eq(spool_open(path, 1 << 20, &spool, error), 0, "%s", error);
	cr_assert_eq(spool_sink_add(spool, "two", true, &two), 0);
	cr_assert_eq(spool_sinks_done(spool), 0);
	spool_counters(spool, &counters);
	cr_assert_eq(counters.lines, 1);
	cr_assert_eq(waiting(two), 1);
}

Test(spool, a_new_sink_inherits_nothing)
{
	unsigned int passing, three;

	spool_start(1 << 20);
	cr_assert_eq(spool_sink_add(spool, "stdout", false, &passing), 0);
	add("a", SEVERITY_INFO, 1ull << passing);
	cr_assert_eq(spool_commit(spool), 0);
	spool_close(spool);
	cr_assert_eq(spool_open(path, 1 << 20, &spool, error), 0, "%s", error);
	cr_assert_eq(spool_sink_add(spool, "three", true, &three), 0);
	cr_assert_eq(spool_sinks_done(spool), 0);
	cr_assert_eq(waiting(three), 0);
	expect_none(three, 0);
}

Test(spool, a_second_monitor_is_refused)
{
	struct spool *second;

	spool_start(1 << 20);
	cr_assert_eq(spool_open(path, 1 << 20, &second, error), -EBUSY);
}

Test(spool, what_is_no_spool_is_left_alone)
{
	char text[] = "SQLite format 3, or so it says, and then something else entirely", back[99];
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	cr_assert_eq(write(fd, text, sizeof(text)), sizeof(text));
	cr_assert_eq(spool_open(path, 1 << 20, &spool, error), -EBADMSG);
	cr_assert_eq(pread(fd, back, sizeof(back), 0), sizeof(text));
	cr_assert_str_eq(back, text);
	close(fd);
	spool = NULL;
}

Test(spool, without_a_file_lines_wait_in_memory)
{
	uint64_t at = 0;

	cr_assert_eq(spool_open(NULL, 0, &spool, error), 0);
	cr_assert_eq(spool_sink_add(spool, "one", true, &one), 0);
	cr_assert_eq(spool_sinks_done(spool), 0);
	add("a", SEVERITY_INFO, 1ull << one);
	cr_assert_eq(spool_commit(spool), 0);
	expect_next(one, &at, "a");
	spool_delivered(spool, one, at);
	expect_none(one, 0);
}

Test(spool, a_sink_that_is_removed_takes_nothing_of_the_others)
{
	struct spool_counters counters;
	struct spool_queue queue;
	unsigned int again;
	uint64_t at = 0;

	spool_start(1 << 20);
	add("for both", SEVERITY_INFO, 1ull << one | 1ull << two);
	add("for one", SEVERITY_INFO, 1ull << one);
	cr_assert_eq(spool_commit(spool), 0);
	add("for one, in memory", SEVERITY_INFO, 1ull << one);
	cr_assert_eq(spool_sink_remove(spool, one), 0);
	spool_counters(spool, &counters);
	cr_assert_eq(counters.lines, 1);
	expect_next(two, &at, "for both");
	cr_assert_eq(spool_sink_add(spool, "one", true, &again), 0);
	expect_none(again, 0);
	spool_queue(spool, again, &queue);
	cr_assert_eq(queue.lines, 0);
	spool_delivered(spool, two, at);
	cr_assert_eq(spool_commit(spool), 0);
	spool_counters(spool, &counters);
	cr_assert_eq(counters.lines, 0);
}
