// SPDX-License-Identifier: LGPL-2.1-or-later
/* The kernel's taint flags: it sets them, and never takes one back. */
#include "../audit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Letters of /proc/sys/kernel/tainted, bit by bit (kernel/panic.c, taint_flags). */
static const char letters[] = "PFSRMBUDAWCIOELKXTNJ";

struct taint {
	uint64_t gva;  /* of tainted_mask */
	uint64_t seen; /* bits that were set at any time in this boot */
};

static int taint_prepare(const struct audit_view *view, void **ret_state)
{
	struct taint taint = { 0 }, *state;

	if (ka_kernel_symbol(view->kernel, "tainted_mask", &taint.gva))
		return -ENODATA;
	state = malloc(sizeof(*state));
	if (!state)
		return -ENOMEM;
	*state = taint;
	*ret_state = state;
	return 0;
}

static void flags_text(char buf[static sizeof(letters) + 1], uint64_t flags)
{
	size_t len = 0;

	for (size_t bit = 0; bit < sizeof(letters) - 1; bit++)
		if (flags >> bit & 1)
			buf[len++] = letters[bit];
	if (!len)
		buf[len++] = '0';
	buf[len] = '\0';
}

static int taint_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	struct taint *taint = state;
	struct difference *difference;
	char lost[sizeof(letters) + 1];
	uint64_t mask = 0;
	int err = ka_gva_read(view->vm, &view->kernel->paging, taint->gva, &mask,
			      ka_symbols_64bit(view->kernel->symbols) ? 8 : 4);

	if (err)
		return err;
	taint->seen |= mask;
	if (mask == taint->seen)
		return 0;
	difference = audit_add(result, CHECK_TAINT, OBJECT_TAINT, 0);
	if (!difference)
		return 0;
	strcpy(difference->name, "tainted_mask");
	difference->gva = taint->gva;
	difference->problem = "cleared";
	flags_text(lost, taint->seen & ~mask);
	snprintf(difference->what, sizeof(difference->what),
		 "has lost flags that a kernel never takes back: %s", lost);
	flags_text(difference->expected_text, taint->seen);
	flags_text(difference->observed_text, mask);
	return 0;
}

const struct audit audit_taint = {
	.each_cycle = true,
	.without_types = true,
	.prepare = taint_prepare,
	.look = taint_look,
	.release = free,
};
