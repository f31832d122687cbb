// SPDX-License-Identifier: LGPL-2.1-or-later
/* Unit tests of when guests are looked at. */
#include <criterion/criterion.h>

#include "monitor/schedule.h"

enum { INTERVAL = 1600, BEGIN = 1000000 };

static struct schedule schedule;
static char places[4096];

static struct guest *guest(size_t i)
{
	return (struct guest *)&places[i];
}

static void begin(void)
{
	schedule_init(&schedule, INTERVAL, BEGIN);
}

static void end(void)
{
	schedule_deinit(&schedule);
}

TestSuite(schedule, .init = begin, .fini = end);

static void add(size_t count, uint64_t now_ns)
{
	for (size_t i = 0; i < count; i++)
		cr_assert_eq(schedule_add(&schedule, guest(i), now_ns), 0);
}

/* How often each guest comes up until then. */
static void run_until(uint64_t end_ns, unsigned int *seen)
{
	struct guest *next;
	struct turn *turn;
	uint64_t now;

	while ((now = schedule_next(&schedule)) < end_ns) {
		turn = schedule_begin(&schedule, now);
		cr_assert_not_null(turn);
		while ((next = schedule_guest(turn)))
			seen[(char *)next - places]++;
		schedule_end(&schedule, turn, now);
	}
}

Test(schedule, without_guests_nothing_is_due)
{
	cr_assert_eq(schedule_next(&schedule), UINT64_MAX);
	cr_assert_null(schedule_begin(&schedule, UINT64_MAX));
}

Test(schedule, each_guest_comes_up_once_an_interval)
{
	static unsigned int seen[3000];

	add(3000, BEGIN);
	run_until(BEGIN + INTERVAL + 10 * INTERVAL, seen);
	for (size_t i = 0; i < 3000; i++)
		cr_assert(seen[i] == 10 || seen[i] == 11, "guest %zu: %u times", i, seen[i]);
}

Test(schedule, few_guests_share_one_turn)
{
	add(SCHEDULE_TURN_GUESTS, BEGIN);
	cr_assert_eq(schedule_begin(&schedule, BEGIN + INTERVAL)->count, SCHEDULE_TURN_GUESTS);
}

Test(schedule, many_guests_are_spread)
{
	add(2 * SCHEDULE_TURN_GUESTS, BEGIN);
	cr_assert_eq(schedule.turns[0].count, SCHEDULE_TURN_GUESTS);
	cr_assert_eq(schedule.turns[1].due_ns - BEGIN, INTERVAL / 2);
	cr_assert_eq(schedule.turns[0].due_ns - BEGIN, INTERVAL);
}

Test(schedule, a_late_turn_keeps_its_place_and_leaves_out_what_it_missed)
{
	struct turn *turn;

	add(1, BEGIN);
	turn = schedule_begin(&schedule, BEGIN + 3 * INTERVAL + 5);
	cr_assert_not_null(turn);
	schedule_end(&schedule, turn, BEGIN + 3 * INTERVAL + 5);
	cr_assert_eq(turn->due_ns, BEGIN + 4 * INTERVAL);
}

Test(schedule, removal_during_a_turn_skips_no_other_guest)
{
	bool seen[10] = { false };
	struct turn *turn;
	struct guest *next;

	add(10, BEGIN);
	turn = schedule_begin(&schedule, BEGIN + INTERVAL);
	for (int i = 0; i < 3; i++)
		seen[(char *)schedule_guest(turn) - places] = true;
	schedule_remove(&schedule, guest(2));  /* still to come */
	schedule_remove(&schedule, guest(9));  /* seen */
	schedule_remove(&schedule, guest(6));  /* still to come, next */
	while ((next = schedule_guest(turn)))
		seen[(char *)next - places] = true;
	for (int i = 0; i < 10; i++)
		cr_assert_eq(seen[i], i != 2 && i != 6, "guest %d", i);
}

Test(schedule, a_turn_that_lost_its_guests_takes_new_ones)
{
	add(1, BEGIN);
	schedule_remove(&schedule, guest(0));
	cr_assert_eq(schedule_next(&schedule), UINT64_MAX);
	add(1, BEGIN + 10 * INTERVAL + 7);
	cr_assert_eq(schedule_next(&schedule), BEGIN + 11 * INTERVAL);
}

Test(schedule, another_interval_holds_from_then_on)
{
	struct turn *turn;

	add(3, BEGIN);
	schedule_change(&schedule, 2 * INTERVAL, BEGIN + 100);
	cr_assert_eq(schedule_next(&schedule), BEGIN + 100);
	turn = schedule_begin(&schedule, BEGIN + 100);
	cr_assert_not_null(turn);
	cr_assert_eq(turn->left, 3);
	schedule_end(&schedule, turn, BEGIN + 101);
	cr_assert_eq(schedule_next(&schedule), BEGIN + 100 + 2 * INTERVAL);
}
