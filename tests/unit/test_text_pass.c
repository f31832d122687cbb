// SPDX-License-Identifier: LGPL-2.1-or-later
/* The order and the pace in which the parts of a text are looked at. */
#include "monitor/text_pass.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum { PARTS = 240 };

#define S 1000000000ull

static struct text_pass pass;

static void begin(void)
{
	cr_assert_eq(text_pass_init(&pass, PARTS, S), 0);
}

static void finish(void)
{
	text_pass_free(&pass);
}

TestSuite(text_pass, .init = begin, .fini = finish);

Test(text_pass, each_pass_has_every_part_once_in_another_order)
{
	size_t first[PARTS], seen[PARTS] = { 0 };
	size_t same = 0;

	for (size_t i = 0; i < PARTS; i++)
		seen[first[i] = text_pass_next(&pass, S)]++;
	for (size_t i = 0; i < PARTS; i++)
		same += first[i] == text_pass_next(&pass, 2 * S);
	for (size_t i = 0; i < PARTS; i++)
		cr_assert_eq(seen[i], 1);
	/* One in 240 by chance. */
	cr_assert_lt(same, PARTS / 4);
}

Test(text_pass, a_minute_is_enough)
{
	uint64_t now = S;

	for (; now < 61 * S; now += S)
		while (text_pass_behind(&pass, now))
			text_pass_next(&pass, now);
	while (text_pass_behind(&pass, now))
		text_pass_next(&pass, now);
	cr_assert_eq(pass.at, PARTS);
	cr_assert_not(text_pass_behind(&pass, 10 * now));
}

Test(text_pass, what_was_missed_is_not_made_up_for_in_one_go)
{
	cr_assert(text_pass_behind(&pass, 1000 * S));
	for (size_t i = 0; i < PARTS; i++)
		text_pass_next(&pass, 1000 * S);
	cr_assert_not(text_pass_behind(&pass, 1000 * S));
	text_pass_next(&pass, 1000 * S);
	cr_assert_not(text_pass_behind(&pass, 1000 * S));
}

Test(text_pass, oldest_part_is_known_once_all_were_seen)
{
	uint64_t age;

	for (size_t i = 0; i < PARTS; i++) {
		cr_assert_not(text_pass_oldest(&pass, 9 * S, &age));
		text_pass_seen(&pass, i, i == 7 ? 3 * S : 8 * S);
	}
	cr_assert(text_pass_oldest(&pass, 9 * S, &age));
	cr_assert_eq(age, 6 * S);
	text_pass_seen(&pass, PARTS, 9 * S);
	text_pass_seen(&pass, 7, 9 * S);
	cr_assert(text_pass_oldest(&pass, 9 * S, &age));
	cr_assert_eq(age, S);
}

#define MS (S / 1000)

Test(text_pass, what_was_written_is_due_once_it_settled)
{
	uint64_t due;
	size_t part;

	cr_assert_not(text_pass_due(&pass, &part, &due));
	text_pass_wrote(&pass, 3, 10 * S);
	text_pass_wrote(&pass, 5, 10 * S + 10 * MS);
	text_pass_wrote(&pass, 3, 10 * S + 50 * MS);
	cr_assert(text_pass_due(&pass, &part, &due));
	cr_assert_eq(part, 5);
	cr_assert_eq(due, 10 * S + 110 * MS);
	/* What is seen before that may have been in the midst of it. */
	text_pass_seen(&pass, 5, 10 * S + 109 * MS);
	cr_assert(text_pass_due(&pass, &part, &due));
	cr_assert_eq(part, 5);
	text_pass_seen(&pass, 5, 10 * S + 110 * MS);
	cr_assert(text_pass_due(&pass, &part, &due));
	cr_assert_eq(part, 3);
	cr_assert_eq(due, 10 * S + 150 * MS);
	text_pass_seen(&pass, 3, 11 * S);
	cr_assert_not(text_pass_due(&pass, &part, &due));
}

Test(text_pass, writes_without_end_put_nothing_off_for_long)
{
	uint64_t due = 0;
	size_t part;

	for (unsigned int i = 0; i < 100; i++)
		text_pass_wrote(&pass, 7, 10 * S + i * 50 * MS);
	cr_assert(text_pass_due(&pass, &part, &due));
	cr_assert_eq(due, 11 * S);
}

Test(text_pass, after_a_loss_each_part_is_due)
{
	uint64_t due;
	size_t part;

	text_pass_wrote_any(&pass, 10 * S);
	text_pass_wrote(&pass, PARTS, 10 * S);
	for (size_t i = 0; i < PARTS; i++) {
		cr_assert(text_pass_due(&pass, &part, &due));
		text_pass_seen(&pass, part, 11 * S);
	}
	cr_assert_not(text_pass_due(&pass, &part, &due));
}

Test(text_pass, sizes_that_cannot_be)
{
	struct text_pass other = { 0 };
	uint64_t age;

	cr_assert_eq(text_pass_init(&other, 0, 0), -E2BIG);
	cr_assert_eq(text_pass_init(&other, 65536, 0), -E2BIG);
	cr_assert_not(text_pass_oldest(&other, S, &age));
	cr_assert_not(text_pass_behind(&other, S));
	cr_assert_eq(text_pass_init(&other, 1, 0), 0);
	cr_assert_eq(text_pass_next(&other, S), 0);
	cr_assert_eq(text_pass_next(&other, S), 0);
	text_pass_free(&other);
}
