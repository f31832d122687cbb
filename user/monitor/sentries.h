/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns that are left to the kernel: as long as all that there is to see of a turn's guests is
 * under seals that are intact, a sentry makes their looks, and this process sleeps.
 */
#ifndef MONITOR_SENTRIES_H
#define MONITOR_SENTRIES_H

#include "guest.h"
#include "health.h"
#include "metrics.h"
#include "schedule.h"

struct sentry_post {
	struct ka_sentry *sentry; /* NULL: none was needed so far */
	bool on;
	uint64_t first_ns; /* when its first round was due */
	struct ka_sentry_state told; /* what of it is counted among the looks of its guests */
	/* Turns without it after it did not last, and how many of them are left. */
	unsigned int wait, left;
};

struct sentries {
	struct ka_host *host; /* NULL: there are none */
	struct schedule *schedule;
	struct metrics *metrics;
	struct health *health;
	struct sentry_post posts[SCHEDULE_TURNS]; /* of the schedule's turns */
	struct ka_vm *vms[SCHEDULE_TURN_GUESTS];
};

/* After schedule_end() of a turn: leaves its next ones to a sentry, if that can be. */
void sentries_leave(struct sentries *sentries, struct turn *turn);
/* Takes it back: before it is taken. It is due when the kernel's next look would have been. */
void sentries_return(struct sentries *sentries, struct turn *turn);
/* Takes all back: before guests come, or what they are looked at for changes. */
void sentries_return_all(struct sentries *sentries);
/* Takes those back whose sentry stands no more. */
void sentries_wake(struct sentries *sentries);
/* Counts what sentries have looked at: before somebody reads it, or a guest goes. */
void sentries_fold(struct sentries *sentries);
/* Is each turn that has guests left to one? */
bool sentries_have_all(const struct sentries *sentries);
void sentries_deinit(struct sentries *sentries);

#endif
