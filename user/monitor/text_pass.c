// SPDX-License-Identifier: LGPL-2.1-or-later
/* Deals the parts of a guest's text out, one pass after the other. */
#include "text_pass.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static void shuffle(struct text_pass *pass)
{
	for (size_t left = pass->parts; left > 1; left--) {
		size_t chosen = randombytes_uniform((uint32_t)left);
		uint16_t part = pass->order[chosen];

		pass->order[chosen] = pass->order[left - 1];
		pass->order[left - 1] = part;
	}
}

static void begin(struct text_pass *pass, uint64_t now_ns)
{
	pass->at = 0;
	pass->since_ns = now_ns;
	shuffle(pass);
}

int text_pass_init(struct text_pass *pass, size_t parts, uint64_t now_ns)
{
	struct text_pass made = { .parts = parts };

	if (!parts || parts > UINT16_MAX)
		return -E2BIG;
	made.order = calloc(parts, sizeof(*made.order));
	made.seen_ns = calloc(parts, sizeof(*made.seen_ns));
	made.written = calloc(parts, sizeof(*made.written));
	if (!made.order || !made.seen_ns || !made.written) {
		text_pass_free(&made);
		return -ENOMEM;
	}
	for (size_t i = 0; i < parts; i++)
		made.order[i] = (uint16_t)i;
	begin(&made, now_ns);
	*pass = made;
	return 0;
}

void text_pass_free(struct text_pass *pass)
{
	free(pass->order);
	free(pass->seen_ns);
	free(pass->written);
	memset(pass, 0, sizeof(*pass));
}

size_t text_pass_next(struct text_pass *pass, uint64_t now_ns)
{
	if (pass->at == pass->parts)
		begin(pass, now_ns);
	return pass->order[pass->at++];
}

static uint64_t due_ns(const struct text_written *written)
{
	uint64_t settled_ns = written->last_ns + TEXT_SETTLE_NS;
	uint64_t most_ns = written->first_ns + TEXT_SETTLE_MOST_NS;

	return settled_ns < most_ns ? settled_ns : most_ns;
}

void text_pass_seen(struct text_pass *pass, size_t part, uint64_t now_ns)
{
	struct text_written *written;

	if (part >= pass->parts)
		return;
	pass->seen_ns[part] = now_ns;
	written = &pass->written[part];
	if (written->first_ns && now_ns >= due_ns(written)) {
		*written = (struct text_written){ 0 };
		pass->written_count--;
	}
}

void text_pass_wrote(struct text_pass *pass, size_t part, uint64_t now_ns)
{
	struct text_written *written;

	if (part >= pass->parts)
		return;
	written = &pass->written[part];
	if (!written->first_ns) {
		written->first_ns = now_ns;
		pass->written_count++;
	}
	written->last_ns = now_ns;
}

void text_pass_wrote_any(struct text_pass *pass, uint64_t now_ns)
{
	for (size_t i = 0; i < pass->parts; i++)
		text_pass_wrote(pass, i, now_ns);
}

bool text_pass_due(const struct text_pass *pass, size_t *ret_part, uint64_t *ret_due_ns)
{
	uint64_t soonest_ns = UINT64_MAX;

	for (size_t i = 0; pass->written_count && i < pass->parts; i++) {
		if (!pass->written[i].first_ns || due_ns(&pass->written[i]) >= soonest_ns)
			continue;
		soonest_ns = due_ns(&pass->written[i]);
		*ret_part = i;
	}
	*ret_due_ns = soonest_ns;
	return soonest_ns != UINT64_MAX;
}

bool text_pass_behind(const struct text_pass *pass, uint64_t now_ns)
{
	uint64_t elapsed_ns = now_ns - pass->since_ns;

	if (elapsed_ns > TEXT_PASS_NS)
		elapsed_ns = TEXT_PASS_NS;
	return pass->at * TEXT_PASS_NS < elapsed_ns * pass->parts;
}

bool text_pass_oldest(const struct text_pass *pass, uint64_t now_ns, uint64_t *ret_age_ns)
{
	uint64_t oldest_ns = now_ns;

	for (size_t i = 0; i < pass->parts; i++)
		if (pass->seen_ns[i] < oldest_ns)
			oldest_ns = pass->seen_ns[i];
	*ret_age_ns = now_ns - oldest_ns;
	return pass->parts && oldest_ns;
}
