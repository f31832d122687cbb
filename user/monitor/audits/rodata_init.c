// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the kernel writes while it starts, and makes read-only then (ro_after_init): pointers to the
 * machine's and the CPU's functions, tables of security modules, keys of static calls and jump
 * labels. No image says what is there in the end, so each page is held against what it was when it
 * was first seen read-only: from then on the kernel cannot write to it either.
 */
#include "rodata.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	INIT_PAGE_BYTES = 4096,
	INIT_PAGES = 64, /* in a look */
	INIT_BYTES_MAX = 4 << 20,
};

struct rodata_init {
	uint64_t start, end, next; /* GVAs, of whole pages */
	uint64_t from, to;	   /* what of them is of it */
	uint8_t *first;		   /* as it was then */
	bool *seen;		   /* of each page: that is known */
	uint8_t bytes[INIT_PAGE_BYTES];
};

int rodata_init_prepare(const struct audit_view *view, struct rodata_init **ret_init)
{
	const struct ka_kernel *kernel = view->kernel;
	struct rodata_init *init = calloc(1, sizeof(*init));

	if (!init)
		return -ENOMEM;
	if (ka_kernel_symbol(kernel, "__start_ro_after_init", &init->from) ||
	    ka_kernel_symbol(kernel, "__end_ro_after_init", &init->to) || init->to <= init->from ||
	    init->from < kernel->base || init->to > kernel->image_end ||
	    init->to - init->from > INIT_BYTES_MAX) {
		free(init);
		return -ENODATA;
	}
	init->from &= ~(uint64_t)(RODATA_WORD_BYTES - 1);
	init->to &= ~(uint64_t)(RODATA_WORD_BYTES - 1);
	init->start = init->next = init->from & ~(uint64_t)(INIT_PAGE_BYTES - 1);
	init->end = (init->to + INIT_PAGE_BYTES - 1) & ~(uint64_t)(INIT_PAGE_BYTES - 1);
	init->first = malloc(init->end - init->start);
	init->seen = calloc((init->end - init->start) / INIT_PAGE_BYTES, sizeof(init->seen[0]));
	if (!init->first || !init->seen) {
		rodata_init_release(init);
		return -ENOMEM;
	}
	*ret_init = init;
	return 0;
}

void rodata_init_release(struct rodata_init *init)
{
	if (!init)
		return;
	free(init->first);
	free(init->seen);
	free(init);
}

bool rodata_init_has(const struct rodata_init *init, uint64_t gva)
{
	return init && gva >= init->from && gva < init->to;
}

bool rodata_init_complete(const struct rodata_init *init)
{
	for (uint64_t page = init->start; page < init->end; page += INIT_PAGE_BYTES)
		if (!init->seen[(page - init->start) / INIT_PAGE_BYTES])
			return false;
	return true;
}

static void compare_words(const struct rodata_init *init, uint64_t from, uint64_t to,
			  const uint8_t *now, rodata_add *add, void *ctx)
{
	const uint8_t *first = init->first + (from - init->start);

	if (!memcmp(first, now, to - from))
		return;
	for (uint64_t at = 0; at < to - from; at += RODATA_WORD_BYTES)
		if (memcmp(first + at, now + at, RODATA_WORD_BYTES))
			add(ctx, from + at, first + at, now + at);
}

/* 1: the kernel cannot write there. */
static int is_read_only(const struct audit_view *view, uint64_t gva)
{
	struct ka_translation translation;
	int err = ka_translate(view->vm, &view->kernel->paging, gva, &translation);

	return err ? err : !(translation.rights & KA_RIGHT_WRITE);
}

static int look_at_page(struct rodata_init *init, const struct audit_view *view, uint64_t page,
			rodata_add *add, void *ctx)
{
	bool *seen = &init->seen[(page - init->start) / INIT_PAGE_BYTES];
	uint64_t from = page > init->from ? page : init->from;
	uint64_t to = page + INIT_PAGE_BYTES < init->to ? page + INIT_PAGE_BYTES : init->to;
	int r = *seen ? 1 : is_read_only(view, page);

	/* It is not up yet. */
	if (r <= 0 || from >= to)
		return r < 0 ? r : 0;
	r = ka_gva_read(view->vm, &view->kernel->paging, from, init->bytes, to - from);
	if (r)
		return r;
	if (*seen)
		compare_words(init, from, to, init->bytes, add, ctx);
	else
		memcpy(init->first + (from - init->start), init->bytes, to - from);
	*seen = true;
	return 0;
}

int rodata_init_look(struct rodata_init *init, const struct audit_view *view, rodata_add *add,
		     void *ctx)
{
	int err = 0;

	for (int i = 0; !err && i < INIT_PAGES; i++) {
		err = look_at_page(init, view, init->next, add, ctx);
		if (err)
			break;
		init->next += INIT_PAGE_BYTES;
		if (init->next < init->end)
			continue;
		init->next = init->start;
		break;
	}
	return err;
}

int rodata_init_again(struct rodata_init *init, const struct audit_view *view, uint64_t gva,
		      rodata_add *add, void *ctx)
{
	int err = ka_gva_read(view->vm, &view->kernel->paging, gva, init->bytes, RODATA_WORD_BYTES);

	if (!err)
		compare_words(init, gva, gva + RODATA_WORD_BYTES, init->bytes, add, ctx);
	return err;
}
