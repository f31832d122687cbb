// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The text of the guest's modules against what their vendor built: one module after the other, each as
 * soon as it is loaded. What was found to be in order is looked at again once its bytes change. Also
 * tells which modules came and went.
 */
#include "../audit.h"
#include "../clock.h"
#include "../reference.h"
#include "../text.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	MODULES_MAX = 512,
	PART_BYTES = 64 << 10,
	TEXT_MAX = 16 << 20,
	DIFFERENCES = 4, /* told of each module; more of them tell no more */
	NOTE_HEADER = 16,
	BUILD_ID_BYTES = 20,
	OPCODE_INT3 = 0xcc,
	SHOWN_BYTES = 16,
};

/* Where the kernel patches, a breakpoint stands for no longer than this. */
#define BREAKPOINT_NS NS_PER_S

/* A module that was there in the last look. */
struct known {
	struct ka_module module;
	const struct ka_module_image *image; /* NULL: none that is known is this one */
	struct ka_module_place place;
	char build_id[41];
	unsigned char hash[crypto_generichash_BYTES]; /* of its text when nothing differed */
	bool clean, seen, unseen; /* seen: in this look's list; unseen: its text is not compared */
	struct ka_text_difference differences[DIFFERENCES];
	size_t count;
	uint64_t breakpoint, breakpoint_ns; /* one that nothing explains, and since when */
};

struct module_text {
	struct ka_module_layout *layout;
	struct ka_place_layout *places;
	struct ka_tracing_layout *tracing;
	const struct audit_view *view; /* of the look at hand */
	struct ka_module read[MODULES_MAX];
	struct known known[MODULES_MAX];
	size_t count, next;
	bool counted; /* the modules of the first look are known */
	uint8_t bytes[PART_BYTES + 2 * KA_TEXT_MARGIN];
};

static void module_text_release(void *state)
{
	struct module_text *all = state;

	if (!all)
		return;
	ka_module_layout_free(all->layout);
	ka_place_layout_free(all->places);
	ka_tracing_layout_free(all->tracing);
	free(all);
}

static int module_text_prepare(const struct audit_view *view, void **ret_state)
{
	struct module_text *all = calloc(1, sizeof(*all));
	int err = all ? ka_module_layout_new(view->kernel, view->types, &all->layout) : -ENOMEM;

	if (!err)
		err = ka_place_layout_new(view->kernel, view->types, &all->places);
	if (!err && ka_tracing_layout_new(view->kernel, view->types, &all->tracing))
		all->tracing = NULL;
	if (err) {
		module_text_release(all);
		return err;
	}
	*ret_state = all;
	return 0;
}

static int read_guest(void *ctx, uint64_t address, void *buf, size_t len)
{
	const struct audit_view *view = ((struct module_text *)ctx)->view;

	return ka_gva_read(view->vm, &view->kernel->paging, address + view->kernel->slide, buf,
			   len);
}

/* ---- which modules -------------------------------------------------------------------------- */

/* Does its memory bear this image's build-id? */
static bool has_build_id(struct module_text *all, const struct known *known, char ret_id[41])
{
	uint8_t note[NOTE_HEADER + BUILD_ID_BYTES];
	const struct audit_view *view = all->view;
	uint64_t gva;

	if (ka_module_note(known->image, &known->place, &gva) ||
	    ka_gva_read(view->vm, &view->kernel->paging, gva, note, sizeof(note)))
		return false;
	text_bytes(ret_id, note + NOTE_HEADER, BUILD_ID_BYTES);
	return !strcmp(ret_id, ka_module_image_build_id(known->image));
}

/* *ret_reason: why no image is its; NULL: nothing is known of this kernel's modules. */
static void identify(struct module_text *all, struct known *known, const char **ret_reason)
{
	const struct audit_view *view = all->view;

	*ret_reason = NULL;
	known->image = references_module(view->references, view->reference, known->module.name);
	if (!known->image) {
		if (references_have_modules(view->references, view->reference))
			*ret_reason = "no module of this name came with its kernel's reference";
		return;
	}
	if (ka_module_place_read(view->vm, view->kernel, all->places, known->image,
				 known->module.gva, &known->place) ||
	    !has_build_id(all, known, known->build_id)) {
		*ret_reason = "its memory does not bear the build-id of the module of this name that "
			      "came with its kernel's reference";
		known->image = NULL;
		known->build_id[0] = '\0';
	}
}

static void add_change(struct audit_result *result, const struct known *known, bool loaded,
		       const char *reason, bool first)
{
	struct audit_change *change = audit_change_add(result, CHANGE_MODULE, loaded);

	if (!change)
		return;
	change->at_first_sight = first;
	change->reference = known->image;
	change->reason = reason;
	change->text_start = known->module.text_start;
	change->text_size = known->module.text_size;
	change->taints = known->module.taints;
	text_clean(change->name, sizeof(change->name), known->module.name);
	strcpy(change->build_id, known->build_id);
}

static struct known *find(struct module_text *all, const struct ka_module *module)
{
	for (size_t i = 0; i < all->count; i++)
		if (all->known[i].module.gva == module->gva &&
		    all->known[i].module.text_start == module->text_start &&
		    !strcmp(all->known[i].module.name, module->name))
			return &all->known[i];
	return NULL;
}

/* One that is not up yet, or goes, is none. Those of the first look are told where unknown. */
static void take_modules(struct module_text *all, size_t count, struct audit_result *result)
{
	bool first = !all->counted;
	const char *reason;

	for (size_t i = 0; i < all->count; i++)
		all->known[i].seen = false;
	for (size_t i = 0; i < count; i++) {
		struct known *known = find(all, &all->read[i]);

		if (all->read[i].state != KA_MODULE_LIVE)
			continue;
		if (known) {
			known->seen = true;
			continue;
		}
		if (all->count == MODULES_MAX)
			break;
		known = &all->known[all->count++];
		*known = (struct known){ .module = all->read[i], .seen = true };
		identify(all, known, &reason);
		if (!first || reason)
			add_change(result, known, true, reason, first);
	}
	for (size_t i = 0; i < all->count;) {
		if (all->known[i].seen) {
			i++;
			continue;
		}
		add_change(result, &all->known[i], false, NULL, false);
		all->known[i] = all->known[--all->count];
	}
	all->counted = true;
}

/* ---- their text ----------------------------------------------------------------------------- */

static int hash_text(struct module_text *all, const struct known *known,
		     unsigned char hash[static crypto_generichash_BYTES])
{
	const struct audit_view *view = all->view;
	crypto_generichash_state state;
	int err = 0;

	crypto_generichash_init(&state, NULL, 0, crypto_generichash_BYTES);
	for (uint32_t at = 0, len; !err && at < known->place.text_size; at += len) {
		len = known->place.text_size - at < PART_BYTES ? known->place.text_size - at
							       : PART_BYTES;
		err = ka_gva_read(view->vm, &view->kernel->paging,
				  known->place.base[KA_MODULE_TEXT] + at, all->bytes, len);
		if (!err)
			crypto_generichash_update(&state, all->bytes, len);
	}
	crypto_generichash_final(&state, hash, crypto_generichash_BYTES);
	return err;
}

static int resolve(void *ctx, const char *name, uint64_t *ret_gva)
{
	const struct module_text *all = ctx;

	for (size_t i = 0; i < all->count; i++)
		if (all->known[i].image &&
		    !ka_module_symbol(all->known[i].image, &all->known[i].place, name, ret_gva))
			return 0;
	return -ENOENT;
}

/* One part; what differs is held against what the guest's kernel has recorded. */
static int compare_part(struct module_text *all, const struct ka_text *text, uint64_t from,
			uint64_t to, struct ka_text_difference *differences, size_t *ret_count)
{
	const struct audit_view *view = all->view;
	struct ka_text_boot boot = { .slide = view->kernel->slide, .read = read_guest, .ctx = all };
	struct ka_tracing *tracing = NULL;
	uint64_t start, end, address, last;
	size_t count;
	int err;

	ka_text_range(text, &start, &end);
	address = from - start > KA_TEXT_MARGIN ? from - KA_TEXT_MARGIN : start;
	last = end - to > KA_TEXT_MARGIN ? to + KA_TEXT_MARGIN : end;
	err = read_guest(all, address, all->bytes, last - address);
	if (err)
		return err;
	count = ka_text_compare(text, &boot, address, all->bytes, last - address, from, to,
				differences, DIFFERENCES);
	if (count && all->tracing &&
	    !ka_tracing_read(view->vm, view->kernel, all->tracing, &tracing)) {
		boot.tracing = tracing;
		count = ka_text_compare(text, &boot, address, all->bytes, last - address, from, to,
					differences, DIFFERENCES);
		ka_tracing_free(tracing);
	}
	*ret_count = count < DIFFERENCES ? count : DIFFERENCES;
	return 0;
}

/* All of it; what differs is read a second time, which decides. */
static int compare(struct module_text *all, const struct ka_text *text, struct known *known)
{
	struct ka_text_difference found[DIFFERENCES];
	uint64_t start, end, to;
	size_t count, total = 0;
	int err = 0;

	ka_text_range(text, &start, &end);
	for (uint64_t from = start; !err && from < end && total < DIFFERENCES; from = to) {
		to = end - from > PART_BYTES ? from + PART_BYTES : end;
		count = 1;
		for (int i = 0; !err && count && i < 2; i++)
			err = compare_part(all, text, from, to, found, &count);
		for (size_t i = 0; !err && i < count && total < DIFFERENCES; i++)
			known->differences[total++] = found[i];
	}
	if (!err)
		known->count = total;
	return err;
}

/* One that may be gone the next time is no difference yet. */
static void put_off_breakpoint(struct known *known)
{
	const struct ka_text_difference *first = &known->differences[0];
	uint64_t now = clock_mono();

	if (known->count != 1 || first->observed[0] != OPCODE_INT3 ||
	    first->expected[0] == OPCODE_INT3) {
		known->breakpoint = 0;
		return;
	}
	if (known->breakpoint != first->address) {
		known->breakpoint = first->address;
		known->breakpoint_ns = now;
	}
	if (now - known->breakpoint_ns < BREAKPOINT_NS)
		known->count = 0;
}

/* Its text is made anew each time: it belongs to one place in one guest, and would be too much to keep. */
static int look_at(struct module_text *all, const struct ka_text *kernel, struct known *known)
{
	unsigned char hash[crypto_generichash_BYTES];
	struct ka_text *text;
	int err;

	known->unseen = known->place.text_size > TEXT_MAX;
	if (!known->image || known->unseen)
		return 0;
	err = hash_text(all, known, hash);
	if (err || (known->clean && !memcmp(hash, known->hash, sizeof(hash))))
		return err;
	err = ka_module_text_create(kernel, known->image, &known->place, all->view->kernel->slide,
				    resolve, all, &text);
	known->unseen = err == -ENODATA || err == -EBADMSG;
	if (err)
		return known->unseen ? 0 : err;
	err = compare(all, text, known);
	ka_text_free(text);
	if (err)
		return err;
	known->clean = !known->count;
	put_off_breakpoint(known);
	memcpy(known->hash, hash, sizeof(hash));
	return 0;
}

/* ---- what is told --------------------------------------------------------------------------- */

static void add_difference(struct module_text *all, const struct known *known,
			   const struct ka_text_difference *found, struct audit_result *result)
{
	uint64_t gva = found->address + all->view->kernel->slide;
	struct difference *difference =
		audit_add(result, CHECK_MODULE_TEXT, OBJECT_MODULE_TEXT, gva);

	if (!difference)
		return;
	text_clean(difference->name, sizeof(difference->name), known->module.name);
	difference->gva = gva;
	difference->problem = "changed";
	snprintf(difference->what, sizeof(difference->what),
		 "has other text at its byte 0x%llx than its vendor built (%s)",
		 (unsigned long long)(gva - known->module.text_start),
		 ka_patch_kind_name(found->kind));
	text_bytes(difference->expected_text, found->expected, SHOWN_BYTES);
	text_bytes(difference->observed_text, found->observed, SHOWN_BYTES);
}

static int module_text_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	struct module_text *all = state;
	const struct ka_text *kernel = references_text(view->references, view->reference);
	uint32_t views = 0;
	size_t count = 0;
	int err = ka_modules_read(view->vm, view->kernel, all->layout, all->read, MODULES_MAX,
				  &count, &views);

	if (err)
		return err;
	all->view = view;
	take_modules(all, count, result);
	/* What differs is looked at again each time, so that it is soon told what became of it. */
	for (size_t i = 0; kernel && !err && i < all->count; i++)
		if (all->known[i].count || all->known[i].breakpoint)
			err = look_at(all, kernel, &all->known[i]);
	for (size_t i = 0; kernel && !err && i < all->count; i++) {
		struct known *known = &all->known[all->next++ % all->count];

		if (!known->image || known->count)
			continue;
		err = look_at(all, kernel, known);
		break;
	}
	for (size_t i = 0; i < all->count; i++)
		for (size_t d = 0; d < all->known[i].count; d++)
			add_difference(all, &all->known[i], &all->known[i].differences[d], result);
	for (size_t i = 0; i < all->count; i++)
		if (!all->known[i].image || all->known[i].unseen)
			result->gap = "not every module has a reference that it could be held "
				      "against, or is one that can be";
	/* A module that went meanwhile cannot be read; the next look knows. */
	return err == -EOWNERDEAD || err == -ENOMEM ? err : 0;
}

const struct audit audit_module_text = {
	.period_ms = 1000,
	.prepare = module_text_prepare,
	.look = module_text_look,
	.release = module_text_release,
};
