/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Findings that were open when the monitor ended, so that one which is gone by the next look is told as
 * restored. One that is still there is a finding again, under the same id. Those of tables and registers
 * at the first look; those of the text, of callbacks and of who hides once their checks looked for a minute.
 * Of other checks a new monitor cannot tell: they go by what they see first, or settle.
 */
#ifndef MONITOR_KEPT_H
#define MONITOR_KEPT_H

#include "finding.h"

#include <jansson.h>

struct guest;

struct kept_finding {
	unsigned int generation;
	struct object_key object;
	json_t *event; /* that tells its end, as of then */
};

struct kept {
	char *path; /* NULL: nothing is kept */
	struct kept_finding *findings;
	size_t count;
	uint64_t taken;    /* how many are no longer there */
	uint64_t since_ns; /* CLOCK_MONOTONIC: of the start */
	uint64_t saved; /* of what was open when they were written last */
};

/* Those of the file, which need not be there; what is wrong with it is logged. Errors: -ENOMEM. */
int kept_init(struct kept *kept, const char *store);
void kept_deinit(struct kept *kept);

/* Writes them anew, with what is open of these guests, if that has changed. */
void kept_save(struct kept *kept, struct guest *const *guests, size_t count);

/* One of this VM that this look says to be no more: of another boot, or of this scope and not open.
 * False: none. The caller has the reference on its event. */
bool kept_take(struct kept *kept, struct guest *guest, const struct finding_scope *scope,
	       struct kept_finding *ret_finding);

#endif
