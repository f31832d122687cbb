/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* All sinks of the monitor, and the spool that feeds them. */
#ifndef MONITOR_OUTPUTS_H
#define MONITOR_OUTPUTS_H

#include "sink.h"

struct outputs;

/* `on_gone`: nobody will read this sink any more. */
int outputs_new(sd_event *event, void (*on_gone)(void *ctx, struct sink *sink), void *ctx,
		struct outputs **ret_outputs);
/* Takes the sink over, also on failure. */
int outputs_add(struct outputs *outputs, struct sink *sink);
/* After the last one; says on stderr why it fails. `spool_path` NULL: all is kept in memory. */
int outputs_start(struct outputs *outputs, const char *spool_path, uint64_t spool_max);
void outputs_close(struct outputs *outputs);

/* ---- later changes ---- */

/* NULL: there are no more. */
struct sink *outputs_sink_at(const struct outputs *outputs, size_t index);
/* Is there a spool on disk? */
bool outputs_lasting(const struct outputs *outputs);
/* Ends and frees a sink. What waits for it stays for a lasting one of this name, or is forgotten. */
void outputs_remove(struct outputs *outputs, struct sink *sink, bool forget);
/* Adds and starts one; takes it over, also on failure. */
int outputs_enter(struct outputs *outputs, struct sink *sink);

/*
 * Takes an event and its line for all sinks whose filter lets it through. It is on disk, and then
 * on its way, before the event loop looks at anything else; this call does not wait for it.
 */
int outputs_offer(struct outputs *outputs, const json_t *event, const char *line, size_t len,
		  enum severity severity);
/* What timers are for: what is delivered is written down, and a full disk tried again. */
void outputs_tick(struct outputs *outputs);
/* Does nothing wait for a sink, and does none fail? */
bool outputs_empty(const struct outputs *outputs);
/* Opens files again after their rotation. */
void outputs_reopen(struct outputs *outputs);
/* Runs the event loop until all have what they can get, or this long; true if nothing is lost. */
bool outputs_drain(struct outputs *outputs, unsigned int timeout_ms);

/* ---- health ---- */

struct outputs_health {
	uint64_t dropped;
	unsigned int failing; /* sinks, and the spool */
};

/* Of one sink, in this run. */
struct outputs_sink {
	const char *name;
	uint64_t delivered, queued, queued_bytes, dropped, rejected, failing;
};

/* False: there are no more. */
bool outputs_sink_get(struct outputs *outputs, size_t index, struct outputs_sink *ret_sink);
/* Returns the most that the spool takes; 0 where all is kept in memory. */
uint64_t outputs_spool(struct outputs *outputs, struct spool_counters *ret_counters);
void outputs_health(struct outputs *outputs, struct outputs_health *ret_health);
json_t *outputs_sinks_json(struct outputs *outputs);
/* NULL where all is kept in memory. */
json_t *outputs_spool_json(struct outputs *outputs);

#endif
