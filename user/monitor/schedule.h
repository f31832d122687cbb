/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When each guest is looked at: many in one turn, since waking up costs more than looking, and not
 * all of them at once.
 */
#ifndef MONITOR_SCHEDULE_H
#define MONITOR_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

struct guest;

enum { SCHEDULE_TURNS = 16, SCHEDULE_TURN_GUESTS = 256 };

/* Guests that are looked at together, once an interval. */
struct turn {
	struct guest **guests;
	size_t count, max;
	size_t left; /* guests[0 … left - 1] are still to be looked at, in a turn under way */
	uint64_t due_ns;
};

struct schedule {
	uint64_t interval_ns, begin_ns;
	struct turn turns[SCHEDULE_TURNS];
};

/* Times are of CLOCK_MONOTONIC. */
void schedule_init(struct schedule *schedule, uint64_t interval_ns, uint64_t now_ns);
/* Another interval, from now on. Between turns. */
void schedule_change(struct schedule *schedule, uint64_t interval_ns, uint64_t now_ns);
void schedule_deinit(struct schedule *schedule);

/* Into the first turn with room, or where all are full the smallest. -ENOMEM. */
int schedule_add(struct schedule *schedule, struct guest *guest, uint64_t now_ns);
/* Also while its turn is under way: one that was looked at may then come up again. */
void schedule_remove(struct schedule *schedule, const struct guest *guest);

/* When the next turn is due; UINT64_MAX: there are no guests. */
uint64_t schedule_next(const struct schedule *schedule);
/* Begins the turn that is due for the longest time; NULL: none is. */
struct turn *schedule_begin(struct schedule *schedule, uint64_t now_ns);
/* The next guest of a turn under way, or NULL. */
struct guest *schedule_guest(struct turn *turn);
/* When it is due again; times that have passed already are left out. */
void schedule_end(const struct schedule *schedule, struct turn *turn, uint64_t now_ns);

#endif
