/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * In which order the parts of a guest's text are looked at, how soon, and how long ago each was.
 * Pure but for the random numbers. Times are CLOCK_MONOTONIC.
 */
#ifndef MONITOR_TEXT_PASS_H
#define MONITOR_TEXT_PASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All parts, in an order that nobody can tell, are to be seen once in so long. */
#define TEXT_PASS_NS (60 * 1000000000ull)
/* A part that was written is looked at once nothing was for so long, or after so long all the same. */
#define TEXT_SETTLE_NS (100 * 1000000ull)
#define TEXT_SETTLE_MOST_NS (1000 * 1000000ull)

/* Since the part was seen last; 0: not. */
struct text_written {
	uint64_t first_ns, last_ns;
};

struct text_pass {
	uint16_t *order;
	uint64_t *seen_ns; /* of each part; 0: never */
	struct text_written *written;
	size_t written_count; /* parts */
	size_t parts, at;  /* at: how many of the order are done */
	uint64_t since_ns; /* when this pass began */
};

/* Begins zeroed, or freed. -ENOMEM; -E2BIG: more than 65535 parts. */
int text_pass_init(struct text_pass *pass, size_t parts, uint64_t now_ns);
void text_pass_free(struct text_pass *pass);

/* The part that is next; after the last one another pass begins. */
size_t text_pass_next(struct text_pass *pass, uint64_t now_ns);
void text_pass_seen(struct text_pass *pass, size_t part, uint64_t now_ns);
/* What is seen later than it settled is written no more. */
void text_pass_wrote(struct text_pass *pass, size_t part, uint64_t now_ns);
/* All of them: which ones is not known. */
void text_pass_wrote_any(struct text_pass *pass, uint64_t now_ns);
/* The part that was written and is due first, and when. False: none was. */
bool text_pass_due(const struct text_pass *pass, size_t *ret_part, uint64_t *ret_due_ns);
/* At this pace it takes longer than it should. */
bool text_pass_behind(const struct text_pass *pass, uint64_t now_ns);
/* How long ago the part was seen that was not for longest. False: some never were. */
bool text_pass_oldest(const struct text_pass *pass, uint64_t now_ns, uint64_t *ret_age_ns);

#endif
