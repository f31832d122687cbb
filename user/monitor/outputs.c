// SPDX-License-Identifier: LGPL-2.1-or-later
/* Passes events through the spool to the sinks. */
#include "outputs.h"

#include "cleanup.h"
#include "clock.h"
#include "event.h"
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct outputs {
	sd_event *event;
	sd_event_source *work;
	struct spool *spool;
	char *path;
	uint64_t spool_max;
	struct sink **sinks;
	size_t count;
	void (*on_gone)(void *ctx, struct sink *sink);
	void *ctx;
};

static void work(struct outputs *outputs)
{
	struct spool_counters before, after;

	spool_counters(outputs->spool, &before);
	spool_commit(outputs->spool);
	spool_counters(outputs->spool, &after);
	if (after.error && !before.error)
		log_error("spool %s: %s; events wait in memory", outputs->path,
			  strerror(-after.error));
	else if (before.error && !after.error)
		log_info("spool %s: takes events again", outputs->path);
	for (size_t i = 0; i < outputs->count; i++)
		sink_pump(outputs->sinks[i]);
}

static int on_work(sd_event_source *source, void *ctx)
{
	(void)source;
	work(ctx);
	return 0;
}

int outputs_new(sd_event *event, void (*on_gone)(void *ctx, struct sink *sink), void *ctx,
		struct outputs **ret_outputs)
{
	struct outputs *outputs = calloc(1, sizeof(*outputs));
	int r;

	if (!outputs)
		return -ENOMEM;
	outputs->event = sd_event_ref(event);
	outputs->on_gone = on_gone;
	outputs->ctx = ctx;
	r = sd_event_add_defer(event, &outputs->work, on_work, outputs);
	/* Before guests are looked at again; not before there is a spool. */
	if (r >= 0)
		r = sd_event_source_set_priority(outputs->work, SD_EVENT_PRIORITY_IMPORTANT);
	if (r >= 0)
		r = sd_event_source_set_enabled(outputs->work, SD_EVENT_OFF);
	if (r < 0) {
		outputs_close(outputs);
		return r;
	}
	*ret_outputs = outputs;
	return 0;
}

int outputs_add(struct outputs *outputs, struct sink *sink)
{
	struct sink **sinks = reallocarray(outputs->sinks, outputs->count + 1, sizeof(*sinks));

	if (!sinks) {
		sink_free(sink);
		return -ENOMEM;
	}
	sink->on_gone = outputs->on_gone;
	sink->ctx = outputs->ctx;
	sinks[outputs->count++] = sink;
	outputs->sinks = sinks;
	return 0;
}

int outputs_start(struct outputs *outputs, const char *spool_path, uint64_t spool_max)
{
	char error[SPOOL_ERROR_MAX] = "";
	int r;

	outputs->spool_max = spool_max;
	outputs->path = spool_path ? strdup(spool_path) : NULL;
	if (spool_path && !outputs->path)
		return -ENOMEM;
	r = spool_open(spool_path, spool_max, &outputs->spool, error);
	if (r < 0)
		log_error("spool: %s", error[0] ? error : strerror(-r));
	for (size_t i = 0; !r && i < outputs->count; i++) {
		r = sink_start(outputs->sinks[i], outputs->event, outputs->spool);
		if (r < 0)
			log_error("sink %s: %s", outputs->sinks[i]->name,
				  r == -ENOSPC ? "too many sinks" : strerror(-r));
	}
	if (r < 0)
		return r;
	sd_event_source_set_enabled(outputs->work, SD_EVENT_ONESHOT);
	return spool_sinks_done(outputs->spool);
}

struct sink *outputs_sink_at(const struct outputs *outputs, size_t index)
{
	return index < outputs->count ? outputs->sinks[index] : NULL;
}

bool outputs_lasting(const struct outputs *outputs)
{
	return outputs->path;
}

void outputs_remove(struct outputs *outputs, struct sink *sink, bool forget)
{
	for (size_t i = 0; i < outputs->count; i++) {
		if (outputs->sinks[i] != sink)
			continue;
		memmove(&outputs->sinks[i], &outputs->sinks[i + 1],
			(outputs->count - i - 1) * sizeof(*outputs->sinks));
		outputs->count--;
		break;
	}
	if (forget)
		spool_sink_remove(outputs->spool, sink->bit);
	sink_free(sink);
}

int outputs_enter(struct outputs *outputs, struct sink *sink)
{
	int r = outputs_add(outputs, sink);

	if (r < 0)
		return r;
	r = sink_start(sink, outputs->event, outputs->spool);
	if (r < 0) {
		outputs->count--;
		sink_free(sink);
		return r;
	}
	sd_event_source_set_enabled(outputs->work, SD_EVENT_ONESHOT);
	return 0;
}

void outputs_close(struct outputs *outputs)
{
	if (!outputs)
		return;
	if (outputs->spool)
		spool_commit(outputs->spool);
	for (size_t i = 0; i < outputs->count; i++)
		sink_free(outputs->sinks[i]);
	free(outputs->sinks);
	sd_event_source_disable_unref(outputs->work);
	sd_event_unref(outputs->event);
	spool_close(outputs->spool);
	free(outputs->path);
	free(outputs);
}

int outputs_offer(struct outputs *outputs, const json_t *event, const char *line, size_t len,
		  enum severity severity)
{
	uint64_t wanted = 0;

	for (size_t i = 0; i < outputs->count; i++)
		if (filter_accepts(&outputs->sinks[i]->filter, event))
			wanted |= 1ull << outputs->sinks[i]->bit;
	sd_event_source_set_enabled(outputs->work, SD_EVENT_ONESHOT);
	return spool_add(outputs->spool, event, line, len, severity, wanted);
}

void outputs_tick(struct outputs *outputs)
{
	work(outputs);
}

bool outputs_empty(const struct outputs *outputs)
{
	struct spool_counters counters;
	struct spool_queue queue;

	spool_counters(outputs->spool, &counters);
	if (counters.error)
		return false;
	for (size_t i = 0; i < outputs->count; i++) {
		spool_queue(outputs->spool, outputs->sinks[i]->bit, &queue);
		if (queue.lines || outputs->sinks[i]->error[0])
			return false;
	}
	return true;
}

void outputs_reopen(struct outputs *outputs)
{
	for (size_t i = 0; i < outputs->count; i++) {
		struct sink *sink = outputs->sinks[i];
		int r = sink->ops->reopen && sink->state == SINK_OPEN ? sink->ops->reopen(sink) : 0;

		if (r < 0)
			log_error("sink %s cannot be opened again: %s; writing to the old file",
				  sink->name, strerror(-r));
	}
}

bool outputs_drain(struct outputs *outputs, unsigned int timeout_ms)
{
	uint64_t end = clock_mono() + timeout_ms * (uint64_t)NS_PER_MS, now;
	struct spool_counters counters;
	bool idle = false, lost = false;

	work(outputs);
	while (!idle && (now = clock_mono()) < end) {
		spool_commit(outputs->spool);
		idle = true;
		for (size_t i = 0; i < outputs->count; i++)
			idle &= sink_idle(outputs->sinks[i]);
		if (!idle && sd_event_run(outputs->event, (end - now) / NS_PER_US) < 0)
			break;
	}
	spool_commit(outputs->spool);
	spool_counters(outputs->spool, &counters);
	/* What is on disk is not. */
	for (size_t i = 0; i < outputs->count; i++)
		lost |= !outputs->sinks[i]->lasting && !sink_idle(outputs->sinks[i]);
	return !lost && !counters.unsaved;
}

/* ---- health -------------------------------------------------------------------------------- */

bool outputs_sink_get(struct outputs *outputs, size_t index, struct outputs_sink *ret_sink)
{
	struct spool_queue queue;
	const struct sink *sink;

	if (index >= outputs->count)
		return false;
	sink = outputs->sinks[index];
	spool_queue(outputs->spool, sink->bit, &queue);
	*ret_sink = (struct outputs_sink){ .name = sink->name,
					   .delivered = sink->delivered,
					   .queued = queue.lines,
					   .queued_bytes = queue.bytes,
					   .dropped = queue.dropped,
					   .rejected = sink->rejected,
					   .failing = sink->error[0] != 0 };
	return true;
}

uint64_t outputs_spool(struct outputs *outputs, struct spool_counters *ret_counters)
{
	spool_counters(outputs->spool, ret_counters);
	return outputs->path ? outputs->spool_max : 0;
}

void outputs_health(struct outputs *outputs, struct outputs_health *ret_health)
{
	struct spool_counters counters;

	spool_counters(outputs->spool, &counters);
	*ret_health = (struct outputs_health){ .failing = !!counters.error };
	for (size_t i = 0; i < outputs->count; i++) {
		struct spool_queue queue;

		spool_queue(outputs->spool, outputs->sinks[i]->bit, &queue);
		ret_health->dropped += queue.dropped + outputs->sinks[i]->rejected;
		ret_health->failing += outputs->sinks[i]->error[0] != 0;
	}
}

json_t *outputs_sinks_json(struct outputs *outputs)
{
	json_t *sinks = json_array();

	spool_commit(outputs->spool);
	for (size_t i = 0; i < outputs->count; i++) {
		const struct sink *sink = outputs->sinks[i];
		struct spool_queue queue;
		json_t *json;

		spool_queue(outputs->spool, sink->bit, &queue);
		json = json_pack("{s:o, s:s, s:I, s:I, s:I, s:I}", "name", event_string(sink->name),
				 "state", sink_state_name(sink), "queued", (json_int_t)queue.lines,
				 "queued_bytes", (json_int_t)queue.bytes, "delivered",
				 (json_int_t)sink->delivered, "dropped",
				 (json_int_t)(queue.dropped + sink->rejected));
		if (sink->error[0])
			json_object_set_new(json, "last_error", event_string(sink->error));
		json_array_append_new(sinks, json);
	}
	return sinks;
}

json_t *outputs_spool_json(struct outputs *outputs)
{
	struct spool_counters counters;
	json_t *json;

	if (!outputs->path)
		return NULL;
	spool_counters(outputs->spool, &counters);
	json = json_pack("{s:o, s:I, s:I, s:I, s:I}", "path", event_string(outputs->path), "lines",
			 (json_int_t)counters.lines, "bytes", (json_int_t)counters.bytes,
			 "max_bytes", (json_int_t)outputs->spool_max, "unsaved",
			 (json_int_t)counters.unsaved);
	if (counters.error)
		json_object_set_new(json, "last_error", json_string(strerror(-counters.error)));
	return json;
}
