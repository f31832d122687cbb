/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What others can ask of a running monitor: its state as JSON, its numbers for Prometheus. */
#ifndef MONITOR_PUBLISH_H
#define MONITOR_PUBLISH_H

#include "metrics.h"
#include "status.h"

struct publish;

/* Where it looks; all of it outlives it. */
struct publish_source {
	const struct metrics *metrics;
	const struct health *health;
	const struct watch *watch;
	struct health_view (*view)(void *ctx);
	void *ctx;
};

/*
 * Opens what the configuration asks for, and the socket of `kvmbpf status` where its folder is
 * there. Says on stderr why it fails.
 */
int publish_new(sd_event *event, const struct config *config, const struct publish_source *source,
		struct publish **ret_publish);
/* Do both ask for the same? */
bool publish_same(const struct config *a, const struct config *b);
/* Once a second: the text file is written when it is due. */
void publish_tick(struct publish *publish);
/* When there is something to do again, CLOCK_MONOTONIC; UINT64_MAX: never. */
uint64_t publish_due(const struct publish *publish);
void publish_free(struct publish *publish);

#endif
