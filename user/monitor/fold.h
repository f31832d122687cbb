/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Folds the writes to one object that follow each other closely: the first is told at once, the
 * rest of a burst in ever fewer reports with their count. Pure code.
 */
#ifndef MONITOR_FOLD_H
#define MONITOR_FOLD_H

#include "difference.h"

#include <kvmaccess.h>
#include <stddef.h>

enum { FOLDS_MAX = 4096 };

struct fold {
	struct object_key object;
	uint64_t count;		    /* writes that are not told yet */
	uint64_t first_ns, last_ns; /* of these; CLOCK_MONOTONIC */
	bool differed;		    /* one of these made the object differ, if for a moment */
	struct ka_write write;	    /* the last such, else the last */
	uint64_t tried[2];	    /* what the object held by it */
	uint64_t now[2];	    /* what it holds after all of them */
	uint64_t window_ns, due_ns; /* not told again before this */
};

struct fold_table {
	struct fold *folds;
	size_t count, max;
};

void fold_table_deinit(struct fold_table *table);

/* NULL: nothing was written there lately. */
struct fold *fold_find(struct fold_table *table, const struct object_key *object);

/* Was it written so lately that the writes tell more of it than a poll? */
bool fold_lives(struct fold_table *table, const struct object_key *object, uint64_t now_ns);

/* The same of any object, or one is not told yet. */
bool fold_any_lives(const struct fold_table *table, uint64_t now_ns);

/* What a write did to an object. */
struct fold_write {
	const struct ka_write *write;
	uint64_t tried[2]; /* what the object holds by it, or would, had it not been undone */
	uint64_t now[2];   /* what it holds */
	bool differs;	   /* what was tried is not as expected */
};

/* Errors: -ENOMEM, -ENOSPC. */
int fold_add(struct fold_table *table, const struct object_key *object,
	     const struct fold_write *write, uint64_t now_ns);

/* One that is to be told now; NULL: none is. */
struct fold *fold_due(struct fold_table *table, uint64_t now_ns);
/* It was: what comes next waits. */
void fold_told(struct fold *fold, uint64_t now_ns);
/* When the next is due; UINT64_MAX: nothing waits. */
uint64_t fold_next_ns(const struct fold_table *table);

#endif
