/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where events go. Each kind of sink (sinks/) is a table of functions; what is common to all is
 * here: a sink is opened, is handed lines from the spool, says which have arrived, and when it
 * fails it is closed, opened again after a while, and handed the rest anew.
 */
#ifndef MONITOR_SINK_H
#define MONITOR_SINK_H

#include "config.h"
#include "format.h"
#include "spool.h"

#include <stdbool.h>
#include <systemd/sd-event.h>

struct sink;

/* A line as a sink is handed it. */
struct sink_line {
	uint64_t position;
	const json_t *event; /* as kvmbpf.event/1 */
	const char *text;    /* in the sink's format, with the newline */
	size_t len;
};

/* None of these waits for anything. */
struct sink_ops {
	/* Begins to open, and calls sink_opened() now or later. -errno: it cannot. */
	int (*open)(struct sink *sink);
	/*
	 * 0: taken, sink_delivered() follows. -EAGAIN: not now, sink_ready() follows. Other errors
	 * are as sink_failed(), which may also come at any time later.
	 */
	int (*send)(struct sink *sink, const struct sink_line *line);
	/* Optional: there is nothing more to send for now. */
	void (*flush)(struct sink *sink);
	/* Ends what open() began, at any stage; what was not delivered is forgotten. */
	void (*close)(struct sink *sink);
	/* Optional: the file behind it may have been renamed. On failure the old one stays. */
	int (*reopen)(struct sink *sink);
	void (*free)(struct sink *sink);
	unsigned int window; /* lines that may be on their way */
};

enum sink_state { SINK_CLOSED, SINK_OPENING, SINK_OPEN };

enum { SINK_NAME_MAX = 64, SINK_ERROR_MAX = 200 };

/* The first member of each kind's own struct. */
struct sink {
	const struct sink_ops *ops;
	char name[256];
	bool lasting; /* what it does not get in this run, it gets in the next */
	enum format format;
	bool pretty;
	struct filter filter;
	/* What it was made from, and who holds that; NULL: the command line. */
	const struct config_sink *config;
	struct config_set *configs;

	sd_event *event;
	struct spool *spool;
	unsigned int bit;
	enum sink_state state;
	sd_event_source *retry, *turn;
	unsigned int failures;	    /* in a row */
	unsigned int retry_after_s; /* as the receiver asks, for the next time only */
	uint64_t position;	    /* of the last line that was handed over */
	unsigned int in_flight;
	bool pumping;
	bool gone; /* nobody will read any more: it is not opened again */
	uint64_t delivered, rejected;
	char error[SINK_ERROR_MAX]; /* last one; empty once a line arrives */
	void (*on_gone)(void *ctx, struct sink *sink);
	void *ctx;
};

/* ---- for its owner ---- */

/* Enters it in the spool; opened at the first sink_pump(). */
int sink_start(struct sink *sink, sd_event *event, struct spool *spool);
/* Hands over what waits, as far as it goes. */
void sink_pump(struct sink *sink);
/* Has it got all it can get for now? */
bool sink_idle(const struct sink *sink);
void sink_free(struct sink *sink);
const char *sink_state_name(const struct sink *sink);

/* ---- for its kind ---- */

void sink_opened(struct sink *sink);
/* It takes lines again. */
void sink_ready(struct sink *sink);
void sink_delivered(struct sink *sink, uint64_t position);
/* The receiver will never take this line: it is dropped, and counted. */
void sink_rejected(struct sink *sink, uint64_t position, const char *why);
/* Something is wrong, and it works on it by itself. */
void sink_troubled(struct sink *sink, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void sink_failed(struct sink *sink, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What is on its way is to be handed over again, at once. */
void sink_again(struct sink *sink);
/* The reader is gone for good. */
void sink_gone(struct sink *sink);

#endif
