// SPDX-License-Identifier: LGPL-2.1-or-later
/* Unit tests of turns that are left to the kernel: that each look is made, or counted as missing. */
#include <criterion/criterion.h>
#include <kvmaccess.h>
#include <string.h>

static int fake_new(struct ka_host *host, struct ka_sentry **ret_sentry);
static int fake_stand(uint64_t first_ns, uint64_t period_ns, uint64_t rounds);
static void fake_relieve(void);
static void fake_read(struct ka_sentry_state *ret_state);

#define ka_sentry_new(host, ret_sentry) fake_new(host, ret_sentry)
#define ka_sentry_free(sentry) ((void)(sentry))
#define ka_sentry_stand(sentry, vms, count, first_ns, period_ns, rounds)                           \
	fake_stand(first_ns, period_ns, rounds)
#define ka_sentry_relieve(sentry) fake_relieve()
#define ka_sentry_read(sentry, ret_state) fake_read(ret_state)
#define sentries_fold tested_fold
#define sentries_have_all tested_have_all
#define sentries_leave tested_leave
#define sentries_return tested_return
#define sentries_return_all tested_return_all
#define sentries_wake tested_wake
#define sentries_deinit tested_deinit

#include "monitor/sentries.c"

enum { INTERVAL = 1000, FIRST = 100000 };

/* The kernel's part. */
static struct {
	struct ka_sentry_state state;
	uint64_t first_ns, period_ns, rounds;
	unsigned int stood;
} fake;

static int fake_new(struct ka_host *host, struct ka_sentry **ret_sentry)
{
	(void)host;
	*ret_sentry = (struct ka_sentry *)&fake;
	return 0;
}

static int fake_stand(uint64_t first_ns, uint64_t period_ns, uint64_t rounds)
{
	fake.first_ns = first_ns;
	fake.period_ns = period_ns;
	fake.rounds = rounds;
	fake.stood++;
	fake.state = (struct ka_sentry_state){ .stands = true };
	return 0;
}

static void fake_relieve(void)
{
	fake.state.stands = false;
}

static void fake_read(struct ka_sentry_state *ret_state)
{
	*ret_state = fake.state;
}

static struct watch watch = { .interval_ns = INTERVAL };
static struct guest guest;
static struct schedule schedule;
static struct metrics metrics;
static struct health health;
static struct sentries sentries;
static struct turn *turn;

/* Sealed, and nothing else is looked at. */
static void begin(void)
{
	guest.watch = &watch;
	guest.seal.is = true;
	schedule_init(&schedule, INTERVAL, FIRST);
	cr_assert_eq(schedule_add(&schedule, &guest, FIRST - 1), 0);
	turn = &schedule.turns[0];
	turn->due_ns = FIRST;
	sentries = (struct sentries){ .host = (struct ka_host *)&fake,
				      .schedule = &schedule,
				      .metrics = &metrics,
				      .health = &health };
	tested_leave(&sentries, turn);
	cr_assert_eq(fake.stood, 1);
	cr_assert(tested_have_all(&sentries));
	cr_assert_eq(fake.first_ns, FIRST);
	cr_assert_eq(fake.period_ns, INTERVAL);
	cr_assert_eq(turn->due_ns, FIRST + fake.rounds * INTERVAL);
}

static void end(void)
{
	schedule_deinit(&schedule);
}

TestSuite(sentries, .init = begin, .fini = end);

Test(sentries, whose_rounds_are_done_leave_the_next_look_to_the_turn)
{
	const uint64_t planned = turn->due_ns;

	fake.state.rounds = fake.rounds;
	fake.state.stands = false;
	tested_wake(&sentries);
	cr_assert_eq(turn->due_ns, planned);
	cr_assert_not(tested_have_all(&sentries));
	cr_assert_eq(health.cycles_done, fake.rounds);
	cr_assert_eq(guest.cycles, fake.rounds);
	cr_assert_eq(guest_may_be_left(&guest), 0);
}

Test(sentries, that_find_something_have_that_very_look_made_again)
{
	fake.state.rounds = 7;
	fake.state.stands = false;
	fake.state.broken = true;
	tested_wake(&sentries);
	cr_assert_eq(turn->due_ns, FIRST + 7 * INTERVAL);
	cr_assert_eq(health.cycles_done, 7);
}

Test(sentries, that_are_relieved_before_a_round_leave_it_to_the_turn)
{
	fake.state.rounds = 5;
	fake.state.missed = 2;
	fake.state.late = 1;
	tested_return_all(&sentries);
	cr_assert_eq(turn->due_ns, FIRST + 7 * INTERVAL);
	cr_assert_eq(health.cycles_done, 5);
	cr_assert_eq(health.cycles_missed, 2);
	cr_assert_eq(health.cycles_late, 1);
}

Test(sentries, that_stand_are_left_alone)
{
	const uint64_t planned = turn->due_ns;

	fake.state.rounds = 3;
	tested_wake(&sentries);
	cr_assert_eq(turn->due_ns, planned);
	cr_assert(tested_have_all(&sentries));
	/* What they have seen is counted once. */
	tested_fold(&sentries);
	tested_fold(&sentries);
	cr_assert_eq(health.cycles_done, 3);
	cr_assert_eq(metrics.sealed, 3);
	cr_assert_eq(guest.cycles, 3);
}

Test(sentries, that_did_not_last_are_tried_less_and_less)
{
	for (unsigned int i = 0; i < 200; i++) {
		fake.state.stands = false;
		fake.state.broken = true;
		tested_wake(&sentries);
		tested_leave(&sentries, turn);
	}
	cr_assert_lt(fake.stood, 10, "%u", fake.stood);
}
