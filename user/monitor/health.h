/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the monitor itself does, as monitor.health events. */
#ifndef MONITOR_HEALTH_H
#define MONITOR_HEALTH_H

#include "guest.h"
#include "outputs.h"

struct health {
	uint64_t cycles_done, cycles_late, cycles_missed, cycles_pushed;
	uint64_t writes_lost_before; /* of VMs that are gone */
	uint64_t changes_lost;	     /* the ring buffer had no room for them */
	/* Cycles by state that no guest counts any more. */
	uint64_t checks_before[CHECKS][COVERAGE_STATES];
	uint64_t told_mono_ns; /* last time */
	/* As last told, to notice a change. */
	const char *state;
	size_t total, ok, blind;
	uint64_t changes_lost_told, dropped, missed, writes_lost;
	unsigned int failing; /* outputs */
};

/* What it looks at. */
struct health_view {
	struct event_stream *stream;
	struct guest *const *guests;
	size_t count;
	struct ka_host *host;
	struct outputs *outputs;
};

/*
 * Tells now: `state` "starting" or "stopping", or NULL to judge it ("ok", "degraded"). Many checks
 * make several events, told apart by "part". The counts of cycles by state begin anew.
 */
void health_tell(struct health *health, const struct health_view *view, const char *state);
/* Takes over what a guest that goes has counted. */
void health_forget(struct health *health, const struct guest *guest);
uint64_t health_writes_lost(const struct health *health, const struct health_view *view);
/* Has anything changed that is worth telling before it is due? */
bool health_changed(const struct health *health, const struct health_view *view);

#endif
