/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Places of a kernel's text that tests try. */
#ifndef TESTS_UNIT_PATCH_SAMPLE_H
#define TESTS_UNIT_PATCH_SAMPLE_H

#include "access/patch_judge.h"

/* The n-th place of a kind that lies before `end`, `tries` of them spread over all; NULL: no more. */
static inline const struct patch_site *patch_sample(const struct patch_judge *judge, uint64_t end,
						    size_t tries, enum ka_patch_kind kind,
						    size_t n)
{
	size_t total = 0, seen = 0, wanted;

	for (size_t i = 0; i < judge->sites.count; i++)
		total += judge->sites.site[i].kind == kind && judge->sites.site[i].address < end;
	wanted = n * (total > tries ? total / tries : 1);
	for (size_t i = 0; n < tries && i < judge->sites.count; i++) {
		const struct patch_site *site = &judge->sites.site[i];

		if (site->kind == kind && site->address < end && seen++ == wanted)
			return site;
	}
	return NULL;
}

#endif
