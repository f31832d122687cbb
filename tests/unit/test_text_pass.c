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
