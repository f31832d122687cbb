/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where events go: stdout or a file, never waiting for the reader. */
#ifndef MONITOR_SINK_H
#define MONITOR_SINK_H

#include "check.h"

#include <stddef.h>

struct sink;

enum { SINK_QUEUE_MAX = 16 * 1024 * 1024 };

struct sink_counters {
	uint64_t queued, queued_bytes, delivered, dropped;
	int last_error; /* 0 or -errno */
};

/* NULL: stdout. A file is created with mode 0640 and appended to. */
int sink_open(const char *path, struct sink **ret_sink);
void sink_close(struct sink *sink);

/*
 * Queues a line and writes what can be written at once. If the reader is slow, lines wait in
 * memory, up to SINK_QUEUE_MAX; then the oldest of the lowest severity is dropped, and counted.
 * Errors: -ENOMEM, -EPIPE (the reader is gone for good).
 */
int sink_write(struct sink *sink, const char *line, size_t len, enum severity severity);
/* 0: all is written, 1: some waits, -EPIPE; other errors are counted and tried again. */
int sink_flush(struct sink *sink);
/* Flushes for at most this long. */
int sink_drain(struct sink *sink, unsigned int timeout_ms);
/* Opens the file again (after its rotation); nothing for stdout. The old one stays on failure. */
int sink_reopen(struct sink *sink);
/* To poll for writability; -1 for a regular file. */
int sink_fd(const struct sink *sink);
const char *sink_name(const struct sink *sink);
void sink_counters(const struct sink *sink, struct sink_counters *ret_counters);

#endif
