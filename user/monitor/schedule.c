// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which guests come up together, and when. Pure code. */
#include "schedule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void schedule_init(struct schedule *schedule, uint64_t interval_ns, uint64_t now_ns)
{
	*schedule = (struct schedule){ .interval_ns = interval_ns, .begin_ns = now_ns };
}

void schedule_deinit(struct schedule *schedule)
{
	for (int i = 0; i < SCHEDULE_TURNS; i++)
		free(schedule->turns[i].guests);
	memset(schedule, 0, sizeof(*schedule));
}

/* Where in the interval a turn is: 0, 1/2, 1/4, 3/4, …, so that few turns are far apart, too. */
static uint64_t turn_offset(const struct schedule *schedule, unsigned int index)
{
	unsigned int place = 0;

	for (unsigned int bit = 1; bit < SCHEDULE_TURNS; bit *= 2)
		place = place * 2 + !!(index & bit);
	return schedule->interval_ns / SCHEDULE_TURNS * place;
}

void schedule_change(struct schedule *schedule, uint64_t interval_ns, uint64_t now_ns)
{
	schedule->interval_ns = interval_ns;
	schedule->begin_ns = now_ns;
	for (unsigned int i = 0; i < SCHEDULE_TURNS; i++)
		schedule->turns[i].due_ns = now_ns + turn_offset(schedule, i);
}

static unsigned int turn_choose(const struct schedule *schedule)
{
	unsigned int smallest = 0;

	for (unsigned int i = 0; i < SCHEDULE_TURNS; i++) {
		if (schedule->turns[i].count < SCHEDULE_TURN_GUESTS)
			return i;
		if (schedule->turns[i].count < schedule->turns[smallest].count)
			smallest = i;
	}
	return smallest;
}

static int turn_reserve(struct turn *turn)
{
	size_t max = turn->max ? turn->max * 2 : 16;
	struct guest **guests;

	if (turn->count < turn->max)
		return 0;
	guests = reallocarray(turn->guests, max, sizeof(*guests));
	if (!guests)
		return -ENOMEM;
	turn->guests = guests;
	turn->max = max;
	return 0;
}

int schedule_add(struct schedule *schedule, struct guest *guest, uint64_t now_ns)
{
	unsigned int index = turn_choose(schedule);
	struct turn *turn = &schedule->turns[index];
	int r = turn_reserve(turn);

	if (r < 0)
		return r;
	if (!turn->count) {
		turn->due_ns = schedule->begin_ns + turn_offset(schedule, index);
		if (turn->due_ns <= now_ns)
			schedule_end(schedule, turn, now_ns);
	}
	turn->guests[turn->count++] = guest;
	return 0;
}

void schedule_remove(struct schedule *schedule, const struct guest *guest)
{
	for (int i = 0; i < SCHEDULE_TURNS; i++) {
		struct turn *turn = &schedule->turns[i];

		for (size_t j = 0; j < turn->count; j++) {
			if (turn->guests[j] != guest)
				continue;
			turn->guests[j] = turn->guests[--turn->count];
			if (turn->left > turn->count)
				turn->left = turn->count;
			return;
		}
	}
}

uint64_t schedule_next(const struct schedule *schedule)
{
	uint64_t next = UINT64_MAX;

	for (int i = 0; i < SCHEDULE_TURNS; i++)
		if (schedule->turns[i].count && schedule->turns[i].due_ns < next)
			next = schedule->turns[i].due_ns;
	return next;
}

struct turn *schedule_begin(struct schedule *schedule, uint64_t now_ns)
{
	uint64_t next = schedule_next(schedule);

	if (next > now_ns)
		return NULL;
	for (int i = 0; i < SCHEDULE_TURNS; i++) {
		struct turn *turn = &schedule->turns[i];

		if (!turn->count || turn->due_ns != next)
			continue;
		turn->left = turn->count;
		return turn;
	}
	return NULL;
}

struct guest *schedule_guest(struct turn *turn)
{
	return turn->left ? turn->guests[--turn->left] : NULL;
}

void schedule_end(const struct schedule *schedule, struct turn *turn, uint64_t now_ns)
{
	uint64_t behind = now_ns > turn->due_ns ? now_ns - turn->due_ns : 0;

	turn->left = 0;
	turn->due_ns += schedule->interval_ns * (1 + behind / schedule->interval_ns);
}
