/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Objects that differ, from the first sight until they are restored; repeats are folded. */
#ifndef MONITOR_FINDING_H
#define MONITOR_FINDING_H

#include "difference.h"

#include <stddef.h>

enum { FINDING_ID_MAX = 33, FINDINGS_MAX = 4096 };

struct finding {
	char id[FINDING_ID_MAX];
	struct difference difference;	      /* as last seen */
	uint64_t first_seen_ns, last_seen_ns; /* CLOCK_REALTIME */
	uint64_t opened_mono_ns, reported_mono_ns;
	uint64_t count;	     /* times seen */
	bool news;	     /* told as it opens or changes, not as a reminder */
	uint64_t round;	     /* in which it was last seen */
	uint64_t last_ok_ns; /* of its check when it opened; 0: never */
};

/* What became of a difference that was reported. */
enum finding_news {
	FINDING_OPENED,	  /* tell */
	FINDING_CHANGED,  /* was open with another value: tell */
	FINDING_REMINDER, /* open for long: tell again */
	FINDING_FOLDED,	  /* counted only */
};

struct finding_table {
	struct finding *findings;
	size_t count, max;
	uint64_t round;
	uint64_t reminder_ns;
	uint64_t suppressed; /* differences beyond FINDINGS_MAX */
	uint64_t changes;    /* grows as findings open, change and are closed */
};

/* Whose findings they are: enters each id. */
struct finding_owner {
	const char *host_id, *vm_id;
	unsigned int generation;
};

void finding_table_deinit(struct finding_table *table);

/* Begins a round: what is not seen in it can be swept. */
void finding_round(struct finding_table *table);

/*
 * Enters a difference. *ret_finding points into the table until the next call.
 * Errors: -ENOMEM, -ENOSPC (table full: counted in `suppressed`).
 */
int finding_report(struct finding_table *table, const struct finding_owner *owner,
		   const struct difference *difference, uint64_t real_ns, uint64_t mono_ns,
		   struct finding **ret_finding, enum finding_news *ret_news);

/* Which findings a look at the guest speaks for. */
struct finding_scope {
	enum check_id check;
	int vcpu;	/* OBJECT_SHARED: shared objects */
	int table;	/* -1: any */
	bool registers; /* true: a place (GDTR, IDTR, table); false: entries and bits */
	uint64_t from, to; /* indices that were looked at; to 0: all */
};

bool finding_in_scope(const struct finding_scope *scope, const struct object_key *object);

/* Takes one finding of this scope that this round did not see out of the table. False: no more. */
bool finding_sweep(struct finding_table *table, const struct finding_scope *scope,
		   struct finding *ret_finding);
/* Takes any out of the table. */
bool finding_pop(struct finding_table *table, struct finding *ret_finding);
/* NULL: not open. */
struct finding *finding_find(struct finding_table *table, const struct object_key *object);
void finding_remove(struct finding_table *table, struct finding *finding);

#endif
