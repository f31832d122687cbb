/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The stream of events: what all of them carry, and their form as a line of JSON. */
#ifndef MONITOR_EVENT_H
#define MONITOR_EVENT_H

#include "check.h"
#include "text.h"

#include <jansson.h>

enum { EVENT_LINE_MAX = 16 * 1024 };

struct event_host {
	char id[TEXT_UUID_MAX]; /* hash of the machine id */
	char boot_id[TEXT_UUID_MAX];
	char name[256];
};

struct event_stream {
	struct event_host host;
	char run_id[TEXT_UUID_MAX];
	char version[32];
	uint64_t seq;
	char line[2 * EVENT_LINE_MAX]; /* where events are rendered */
	/* Takes each event, and its line, newline included. */
	int (*write)(void *ctx, const json_t *event, const char *line, size_t len,
		     enum severity severity);
	void *ctx;
};

/* Fills host, run_id and version. */
int event_stream_init(struct event_stream *stream);

/* One event that begins with the common fields; fill it and hand it to event_emit(). */
json_t *event_new(struct event_stream *stream, const char *type, enum severity severity,
		  uint64_t real_ns, uint64_t mono_ns, const char *message);

/*
 * Renders, writes and frees the event. An event over EVENT_LINE_MAX loses its lists and then its
 * details, and says truncated:true. Errors: -ENOMEM, -EMSGSIZE (twice as long even so), and those
 * of write.
 */
int event_emit(struct event_stream *stream, json_t *event);

/* A string that may come from a guest or VMM: cleaned, at most 256 bytes. */
json_t *event_string(const char *text);
/* Those of a VM as an object; `labels` as ka_vm_info has them. */
json_t *event_labels(const char *labels);
json_t *event_hex(uint64_t value);
json_t *event_time(uint64_t real_ns);

#endif
