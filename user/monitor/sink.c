// SPDX-License-Identifier: LGPL-2.1-or-later
/* Feeds sinks from the spool, and opens them again when they fail. */
#include "sink.h"

#include "cleanup.h"
#include "clock.h"
#include "log.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { RETRY_MIN_MS = 500, RETRY_MAX_MS = 30000, RETRY_ACCURACY_US = 10000, TURN_MAX = 256 };

/* What was delivered, the spool knows; the rest is handed over anew. */
static void rewind_position(struct sink *sink)
{
	spool_commit(sink->spool);
	sink->in_flight = 0;
	sink->position = 0;
}

static void sink_close(struct sink *sink)
{
	sink->retry = sd_event_source_disable_unref(sink->retry);
	if (sink->state != SINK_CLOSED)
		sink->ops->close(sink);
	sink->state = SINK_CLOSED;
	rewind_position(sink);
}

static void sink_open(struct sink *sink)
{
	int r;

	sink->state = SINK_OPENING;
	r = sink->ops->open(sink);
	if (r < 0 && sink->state != SINK_CLOSED)
		sink_failed(sink, "%s", strerror(-r));
}

static int on_retry(sd_event_source *source, uint64_t usec, void *ctx)
{
	struct sink *sink = ctx;

	(void)source, (void)usec;
	sink->retry = sd_event_source_disable_unref(sink->retry);
	sink_open(sink);
	return 0;
}

/* Doubles with each failure, up to a limit; the upper half of it is random. */
static uint64_t retry_ms(unsigned int failures)
{
	uint64_t ms = RETRY_MIN_MS;

	while (failures-- > 1 && ms < RETRY_MAX_MS)
		ms *= 2;
	ms = ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
	return ms / 2 + randombytes_uniform((uint32_t)ms / 2);
}

static void set_error(struct sink *sink, const char *format, va_list args)
{
	bool news = !sink->error[0];

	vsnprintf(sink->error, sizeof(sink->error), format, args);
	if (news)
		log_warning("sink %s: %s; trying again", sink->name, sink->error);
}

void sink_troubled(struct sink *sink, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	set_error(sink, format, args);
	va_end(args);
}

void sink_failed(struct sink *sink, const char *format, ...)
{
	uint64_t wait_ms;
	va_list args;

	va_start(args, format);
	set_error(sink, format, args);
	va_end(args);
	if (sink->state == SINK_CLOSED)
		return;
	sink_close(sink);
	wait_ms = retry_ms(++sink->failures);
	if (wait_ms < sink->retry_after_s * 1000ull)
		wait_ms = sink->retry_after_s * 1000ull;
	sink->retry_after_s = 0;
	if (sd_event_add_time_relative(sink->event, &sink->retry, CLOCK_MONOTONIC,
				       wait_ms * NS_PER_MS / NS_PER_US, RETRY_ACCURACY_US, on_retry,
				       sink) < 0)
		log_error("sink %s: no timer: it is not opened again", sink->name);
}

void sink_again(struct sink *sink)
{
	rewind_position(sink);
	sink_pump(sink);
}

void sink_gone(struct sink *sink)
{
	snprintf(sink->error, sizeof(sink->error), "its reader is gone");
	sink->gone = true;
	sink_close(sink);
	sink->on_gone(sink->ctx, sink);
}

void sink_opened(struct sink *sink)
{
	sink->state = SINK_OPEN;
	sink_pump(sink);
}

void sink_ready(struct sink *sink)
{
	sink_pump(sink);
}

static void sink_took(struct sink *sink, uint64_t position)
{
	sink->in_flight -= sink->in_flight > 0;
	spool_delivered(sink->spool, sink->bit, position);
	sink->failures = 0;
}

void sink_delivered(struct sink *sink, uint64_t position)
{
	sink->delivered++;
	if (sink->error[0])
		log_info("sink %s: delivers again", sink->name);
	sink->error[0] = '\0';
	sink_took(sink, position);
}

void sink_rejected(struct sink *sink, uint64_t position, const char *why)
{
	sink->rejected++;
	log_warning("sink %s: refuses an event: %s", sink->name, why);
	snprintf(sink->error, sizeof(sink->error), "%s", why);
	sink_took(sink, position);
}

static int hand_over(struct sink *sink, const struct spool_line *line)
{
	struct sink_line handed = { .position = line->position,
				    .text = line->text,
				    .len = line->len };
	/* It may be delivered, and gone from the spool, before it is done with here. */
	json_t *event = line->event ? json_incref((json_t *)line->event)
				    : json_loadb(line->text, line->len, 0, NULL);
	_cleanup_free_ char *text = NULL;
	int r;

	if (!event) {
		sink_rejected(sink, line->position, "not an event: the spool is damaged");
		return 0;
	}
	if (sink->format != FORMAT_NATIVE || sink->pretty) {
		text = format_text(sink->format, event, sink->pretty, &handed.len);
		handed.text = text;
	}
	handed.event = event;
	sink->in_flight++;
	r = handed.text ? sink->ops->send(sink, &handed) : -ENOMEM;
	if (r < 0)
		sink->in_flight -= sink->in_flight > 0;
	json_decref(event);
	return r;
}

/* A long backlog must not keep the loop from looking at guests: the rest comes in another turn. */
static int pump_turn(struct sink *sink)
{
	struct spool_line line;
	unsigned int count = 0;
	int r = 0;

	while (!r && sink->state == SINK_OPEN && sink->in_flight < sink->ops->window) {
		uint64_t before = sink->position;

		if (spool_next(sink->spool, sink->bit, &sink->position, &line) < 0)
			return -ENOENT;
		if (count++ < TURN_MAX)
			r = hand_over(sink, &line);
		if (r < 0 || count > TURN_MAX) {
			sink->position = before;
			return r;
		}
	}
	return r;
}

static int on_turn(sd_event_source *source, void *ctx)
{
	(void)source;
	sink_pump(ctx);
	return 0;
}

void sink_pump(struct sink *sink)
{
	int r;

	if (sink->state == SINK_CLOSED && !sink->retry && !sink->gone)
		sink_open(sink);
	if (sink->pumping || sink->state != SINK_OPEN)
		return;
	sink->pumping = true;
	r = pump_turn(sink);
	sink->pumping = false;
	if (sink->state != SINK_OPEN)
		return;
	if (r < 0 && r != -EAGAIN && r != -ENOENT) {
		sink_failed(sink, "%s", strerror(-r));
		return;
	}
	if (sink->ops->flush)
		sink->ops->flush(sink);
	if (!r && sink->state == SINK_OPEN && sink->in_flight < sink->ops->window)
		sd_event_source_set_enabled(sink->turn, SD_EVENT_ONESHOT);
}

int sink_start(struct sink *sink, sd_event *event, struct spool *spool)
{
	int r = sd_event_add_defer(event, &sink->turn, on_turn, sink);

	sink->event = sd_event_ref(event);
	sink->spool = spool;
	return r < 0 ? r : spool_sink_add(spool, sink->name, sink->lasting, &sink->bit);
}

bool sink_idle(const struct sink *sink)
{
	struct spool_queue queue;

	spool_queue(sink->spool, sink->bit, &queue);
	if (sink->gone || !queue.lines)
		return true;
	return sink->lasting &&
	       (sink->state == SINK_CLOSED || (sink->state == SINK_OPEN && !sink->in_flight));
}

void sink_free(struct sink *sink)
{
	if (!sink)
		return;
	if (sink->spool)
		sink_close(sink);
	sd_event_source_disable_unref(sink->turn);
	sd_event_unref(sink->event);
	config_free(sink->configs);
	sink->ops->free(sink);
}

const char *sink_state_name(const struct sink *sink)
{
	return sink->state == SINK_OPEN	     ? "open"
	       : sink->state == SINK_OPENING ? "opening"
					     : "closed";
}
