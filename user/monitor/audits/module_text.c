// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The text and read-only data of the guest's modules against what their vendor built: one module
 * after the other, each as soon as it is loaded. What was found to be in order is looked at again
 * once its bytes change. The text of one whose file is not known is held against what it was when it was
 * first seen. Also tells which modules came and went.
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
	TRIES = 16, /* to take a text at rest */
	TAKEN_MAX = 64 << 20, /* bytes of all of them */
	WORD_BYTES = 8,
};

enum part_kind { PART_TEXT, PART_RODATA, PARTS };

/* Where the kernel patches, a breakpoint stands for no longer than this. */
#define BREAKPOINT_NS NS_PER_S

/* What of a module is held against its file. */
struct part {
	unsigned char hash[crypto_generichash_BYTES]; /* of its bytes when nothing differed */
	bool clean, unseen;			      /* unseen: it is not compared */
	struct ka_text_difference differences[DIFFERENCES];
	size_t count;
};

/* A module that was there in the last look. */
struct known {
	struct ka_module module;
	const struct ka_module_image *image; /* NULL: none that is known is this one */
	struct ka_module_place place;
	/* Without an image: as it was first seen, once it was the same twice; owned. */
	struct ka_text *first;
	unsigned int tries;
	bool settled;
	char build_id[41];
	bool seen, looked; /* seen: in this look's list; looked: it has had its turn */
	struct part part[PARTS];
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
	size_t taken; /* bytes of texts of first sight */
	uint8_t bytes[PART_BYTES + 2 * KA_TEXT_MARGIN];
};

static void known_drop(struct module_text *all, struct known *known)
{
	if (known->first)
		all->taken -= known->module.text_size;
	ka_text_free(known->first);
	known->first = NULL;
}

static void module_text_release(void *state)
{
	struct module_text *all = state;

	if (!all)
		return;
	for (size_t i = 0; i < all->count; i++)
		known_drop(all, &all->known[i]);
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
		*ret_reason =
			"its memory does not bear the build-id of the module of this name that "
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
		known_drop(all, &all->known[i]);
		all->known[i] = all->known[--all->count];
	}
	all->counted = true;
}

/* ---- their text and read-only data ---------------------------------------------------------- */

/* The ranges of a part, GVAs, by index; -ENOENT: no more. */
static int range_of(const struct known *known, enum part_kind kind, size_t index,
		    uint64_t *ret_start, uint64_t *ret_end)
{
	if (kind == PART_RODATA)
		return ka_module_rodata_part(known->image, &known->place, index, ret_start,
					     ret_end);
	if (index)
		return -ENOENT;
	*ret_start = known->image ? known->place.base[KA_MODULE_TEXT] : known->module.text_start;
	*ret_end = *ret_start + (known->image ? known->place.text_size : known->module.text_size);
	return 0;
}

static int hash_range(struct module_text *all, crypto_generichash_state *state, uint64_t from,
		      uint64_t to)
{
	const struct audit_view *view = all->view;
	int err = 0;

	for (uint64_t len; !err && from < to; from += len) {
		len = to - from < PART_BYTES ? to - from : PART_BYTES;
		err = ka_gva_read(view->vm, &view->kernel->paging, from, all->bytes, len);
		if (!err)
			crypto_generichash_update(state, all->bytes, len);
	}
	return err;
}

static int hash_part(struct module_text *all, const struct known *known, enum part_kind kind,
		     unsigned char hash[static crypto_generichash_BYTES])
{
	crypto_generichash_state state;
	uint64_t start, end;
	int err = 0;

	crypto_generichash_init(&state, NULL, 0, crypto_generichash_BYTES);
	for (size_t i = 0; !err && !range_of(known, kind, i, &start, &end); i++)
		err = hash_range(all, &state, start, end);
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

/* A piece; what differs is held against what the guest's kernel has recorded. */
static int compare_piece(struct module_text *all, const struct ka_text *text, uint64_t from,
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

/* Adds what differs in a range, which a second read decides. */
static int compare_range(struct module_text *all, const struct ka_text *text, uint64_t from,
			 uint64_t end, struct part *part)
{
	struct ka_text_difference found[DIFFERENCES];
	size_t count;
	uint64_t to;
	int err = 0;

	for (; !err && from < end && part->count < DIFFERENCES; from = to) {
		to = end - from > PART_BYTES ? from + PART_BYTES : end;
		count = 1;
		for (int i = 0; !err && count && i < 2; i++)
			err = compare_piece(all, text, from, to, found, &count);
		for (size_t i = 0; !err && i < count && part->count < DIFFERENCES; i++)
			part->differences[part->count++] = found[i];
	}
	return err;
}

/* All of it. What is known of it stays if it cannot be read. */
static int compare(struct module_text *all, const struct ka_text *text, struct known *known,
		   enum part_kind kind)
{
	struct part found = known->part[kind];
	uint64_t slide = all->view->kernel->slide, start, end;
	int err = 0;

	found.count = 0;
	for (size_t i = 0; !err && !range_of(known, kind, i, &start, &end); i++)
		err = compare_range(all, text, start - slide, end - slide, &found);
	if (!err)
		known->part[kind] = found;
	return err;
}

/* One that may be gone the next time is no difference yet. */
static void put_off_breakpoint(struct known *known)
{
	struct part *text = &known->part[PART_TEXT];
	const struct ka_text_difference *first = &text->differences[0];
	uint64_t now = clock_mono();

	if (text->count != 1 || first->observed[0] != OPCODE_INT3 ||
	    first->expected[0] == OPCODE_INT3) {
		known->breakpoint = 0;
		return;
	}
	if (known->breakpoint != first->address) {
		known->breakpoint = first->address;
		known->breakpoint_ns = now;
	}
	if (now - known->breakpoint_ns < BREAKPOINT_NS)
		text->count = 0;
}

/* Its text is made anew each time: it belongs to one place in one guest, and would be too much to
 * keep. */
static int text_of(struct module_text *all, const struct ka_text *kernel, const struct known *known,
		   enum part_kind kind, struct ka_text **ret_text)
{
	uint64_t slide = all->view->kernel->slide;

	if (!known->image) {
		*ret_text = known->first;
		return 0;
	}
	return kind == PART_TEXT ? ka_module_text_create(kernel, known->image, &known->place, slide,
							 resolve, all, ret_text)
				 : ka_module_rodata_create(kernel, known->image, &known->place,
							   slide, resolve, all, ret_text);
}

static bool has_part(const struct known *known, enum part_kind kind)
{
	uint64_t start, end;

	return known->image ? !range_of(known, kind, 0, &start, &end)
			    : kind == PART_TEXT && known->first;
}

static int read_text(struct module_text *all, const struct known *known, uint8_t *bytes)
{
	const struct audit_view *view = all->view;

	return ka_gva_read(view->vm, &view->kernel->paging, known->module.text_start, bytes,
			   known->module.text_size);
}

/* Of one whose file is not known: its text as it is now. Without records lawful probes would be told. */
static int take_first(struct module_text *all, const struct ka_text *kernel, struct known *known)
{
	const struct audit_view *view = all->view;
	struct ka_tracing *tracing = NULL;
	uint8_t *bytes;
	int err;

	if (known->image || known->first || known->tries == TRIES || !all->tracing ||
	    !known->module.text_size || known->module.text_size > TEXT_MAX ||
	    known->module.text_size > TAKEN_MAX - all->taken)
		return 0;
	known->tries++;
	bytes = malloc(known->module.text_size);
	if (!bytes)
		return -ENOMEM;
	err = read_text(all, known, bytes);
	if (!err)
		err = ka_tracing_read(view->vm, view->kernel, all->tracing, &tracing);
	if (err) {
		free(bytes);
		return err;
	}
	err = ka_module_text_from_guest(view->vm, view->kernel, kernel, all->places,
					&known->module, bytes, tracing, &known->first);
	ka_tracing_free(tracing);
	if (!err)
		all->taken += known->module.text_size;
	return err == -ENOMEM || err == -EOWNERDEAD ? err : 0;
}

/* One that is not the same when it is looked at again was being patched: it is taken anew. */
static void settle(struct module_text *all, struct known *known)
{
	struct part *text = &known->part[PART_TEXT];

	if (!known->first || known->settled)
		return;
	known->settled = !text->count;
	if (known->settled)
		return;
	known_drop(all, known);
	*text = (struct part){ 0 };
	known->breakpoint = 0;
}

static int look_at_part(struct module_text *all, const struct ka_text *kernel, struct known *known,
			enum part_kind kind)
{
	unsigned char hash[crypto_generichash_BYTES];
	struct part *part = &known->part[kind];
	struct ka_text *text;
	int err;

	part->unseen = kind == PART_TEXT && known->place.text_size > TEXT_MAX;
	if (part->unseen || !has_part(known, kind))
		return 0;
	err = hash_part(all, known, kind, hash);
	if (err || (part->clean && !memcmp(hash, part->hash, sizeof(hash))))
		return err;
	err = text_of(all, kernel, known, kind, &text);
	part->unseen = err == -ENODATA || err == -EBADMSG;
	if (err)
		return part->unseen ? 0 : err;
	err = compare(all, text, known, kind);
	if (known->image)
		ka_text_free(text);
	if (err)
		return err;
	part->clean = !part->count;
	memcpy(part->hash, hash, sizeof(hash));
	return 0;
}

static int look_at(struct module_text *all, const struct ka_text *kernel, struct known *known)
{
	int err = take_first(all, kernel, known);

	if (!err)
		err = look_at_part(all, kernel, known, PART_TEXT);
	if (err)
		return err;
	settle(all, known);
	put_off_breakpoint(known);
	err = look_at_part(all, kernel, known, PART_RODATA);
	known->looked |= !err;
	return err;
}

/* Is there something that is soon to be told the end of? */
static bool is_open(const struct known *known)
{
	return known->part[PART_TEXT].count || known->part[PART_RODATA].count || known->breakpoint;
}

static bool is_unseen(const struct known *known)
{
	return (!known->image && !known->settled) || known->part[PART_TEXT].unseen ||
	       known->part[PART_RODATA].unseen;
}

/* ---- what is told --------------------------------------------------------------------------- */

static struct difference *add_difference(const struct known *known, enum object_kind kind,
					 uint64_t gva, struct audit_result *result)
{
	struct difference *difference = audit_add(result, CHECK_MODULE_TEXT, kind, gva);

	if (!difference)
		return NULL;
	text_clean(difference->name, sizeof(difference->name), known->module.name);
	difference->gva = gva;
	difference->problem = "changed";
	return difference;
}

static void add_text(struct module_text *all, const struct known *known,
		     const struct ka_text_difference *found, struct audit_result *result)
{
	uint64_t gva = found->address + all->view->kernel->slide;
	struct difference *difference = add_difference(known, OBJECT_MODULE_TEXT, gva, result);

	if (!difference)
		return;
	snprintf(difference->what, sizeof(difference->what),
		 "has other text at its byte 0x%llx than %s (%s)",
		 (unsigned long long)(gva - known->module.text_start),
		 known->image ? "its vendor built" : "at first sight",
		 ka_patch_kind_name(found->kind));
	text_bytes(difference->expected_text, found->expected, SHOWN_BYTES);
	text_bytes(difference->observed_text, found->observed, SHOWN_BYTES);
}

/* From the first byte that differs. */
static void add_rodata(struct module_text *all, const struct known *known,
		       const struct ka_text_difference *found, struct audit_result *result)
{
	uint64_t gva = found->address + all->view->kernel->slide;
	struct difference *difference = add_difference(known, OBJECT_MODULE_RODATA, gva, result);

	if (!difference)
		return;
	snprintf(difference->what, sizeof(difference->what),
		 "has other read-only data at their byte 0x%llx than its vendor built",
		 (unsigned long long)(gva - known->place.base[KA_MODULE_RODATA]));
	text_bytes(difference->expected_text, found->expected, WORD_BYTES);
	text_bytes(difference->observed_text, found->observed, WORD_BYTES);
}

static void tell(struct module_text *all, const struct known *known, struct audit_result *result)
{
	for (size_t i = 0; i < known->part[PART_TEXT].count; i++)
		add_text(all, known, &known->part[PART_TEXT].differences[i], result);
	for (size_t i = 0; i < known->part[PART_RODATA].count; i++)
		add_rodata(all, known, &known->part[PART_RODATA].differences[i], result);
}

static int module_text_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	struct module_text *all = state;
	const struct ka_text *kernel = view->reference
					       ? references_text(view->references, view->reference)
					       : view->first_text;
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
		if (is_open(&all->known[i]))
			err = look_at(all, kernel, &all->known[i]);
	for (size_t i = 0; kernel && !err && i < all->count; i++) {
		struct known *known = &all->known[all->next++ % all->count];

		if (is_open(known))
			continue;
		err = look_at(all, kernel, known);
		break;
	}
	for (size_t i = 0; i < all->count; i++)
		tell(all, &all->known[i], result);
	for (size_t i = 0; i < all->count; i++)
		if (!kernel || is_unseen(&all->known[i]))
			result->gap = "not every module has a reference that it could be held "
				      "against, or was at rest to be held against itself";
	for (size_t i = 0; !result->gap && i < all->count; i++)
		if (!all->known[i].looked)
			result->gap = "the first look at each module is under way";
	/* A module that went meanwhile cannot be read; the next look knows. */
	return err == -EOWNERDEAD || err == -ENOMEM ? err : 0;
}

const struct audit audit_module_text = {
	.period_ms = 1000,
	.prepare = module_text_prepare,
	.look = module_text_look,
	.release = module_text_release,
};
