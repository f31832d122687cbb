/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lines that wait for their sinks: in memory, and on disk (SQLite) where a sink is to lose nothing.
 * Each line knows which sinks still want it, and is gone when none does.
 */
#ifndef MONITOR_SPOOL_H
#define MONITOR_SPOOL_H

#include "check.h"

#include <jansson.h>
#include <stddef.h>

struct spool;

enum {
	SPOOL_SINKS_MAX = 62,
	SPOOL_MEMORY_MAX = 16 * 1024 * 1024,
	SPOOL_ERROR_MAX = 512,
};

struct spool_counters {
	uint64_t lines, bytes; /* on disk */
	uint64_t unsaved;      /* lines that are to be on disk, and are not */
	int error;	       /* 0, or why that is: -errno */
};

/* What waits for one sink. */
struct spool_queue {
	uint64_t lines, bytes, dropped;
};

/*
 * Takes or makes the file at `path`; NULL: memory only. Over `disk_max` bytes of lines on disk, or
 * SPOOL_MEMORY_MAX in memory, the oldest of the lowest severity is dropped.
 * Errors: -EBUSY (another monitor has it), -EBADMSG (no spool, or damaged), -ENOENT (its folder),
 * -EIO; `ret_error` says more.
 */
int spool_open(const char *path, uint64_t disk_max, struct spool **ret_spool,
	       char ret_error[static SPOOL_ERROR_MAX]);
void spool_close(struct spool *spool);

/*
 * Enters a sink and gives it its bit. What waits on disk for a `lasting` one of this name is found
 * again; others begin anew in each run. -ENOSPC: too many.
 */
int spool_sink_add(struct spool *spool, const char *name, bool lasting, unsigned int *ret_bit);
/* After the last one: forgets what waits for sinks that are no more. */
int spool_sinks_done(struct spool *spool);

/* Forgets a sink, and what waits for it. On failure what is on disk for it stays until the next
 * start. */
int spool_sink_remove(struct spool *spool, unsigned int bit);

/*
 * Takes a line, into memory; `wanted` is the set of bits of the sinks that it is for. `event` is
 * what it says, for those who are handed it soon; NULL: they read it. -ENOMEM.
 */
int spool_add(struct spool *spool, const json_t *event, const char *text, size_t len,
	      enum severity severity, uint64_t wanted);
/* Writes to disk what was added and delivered since. On failure all stays and is tried again. */
int spool_commit(struct spool *spool);

/* A line as spool_next() finds it, valid until it is delivered, or the next call. */
struct spool_line {
	uint64_t position;
	const json_t *event; /* NULL: it is to be read from the text */
	const char *text;
	size_t len;
};

/* The first after *position that this sink waits for. -ENOENT: none; *position tells how far that
 * is known. */
int spool_next(struct spool *spool, unsigned int bit, uint64_t *position,
	       struct spool_line *ret_line);
/* This sink has it. */
void spool_delivered(struct spool *spool, unsigned int bit, uint64_t position);
/* Half of this line is written: it must not be dropped. 0: none. */
void spool_hold(struct spool *spool, uint64_t position);

void spool_queue(const struct spool *spool, unsigned int bit, struct spool_queue *ret_queue);
void spool_counters(const struct spool *spool, struct spool_counters *ret_counters);

#endif
