// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The kernel's read-only data, from tables of operations to names, against what its vendor built:
 * once a kernel is up it has no reason to change a byte of it. Where there is no reference, against
 * hashes of what stood there at first sight, and sums that tell which word it is that changed, and
 * from what, as long as one does at a time: the hash, that nobody can foresee, has the last word.
 */
#include "rodata.h"

#include "../reference.h"
#include "../text.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PART_BYTES = 64 << 10,
	PARTS = 8, /* in a look */
	RODATA_MAX = 64 << 20,
	GRAIN_BYTES = 1024, /* that a hash is of */
	WORD_BYTES = RODATA_WORD_BYTES,
	SPOTS_MAX = 32, /* more of them tell no more */
	TABLES = 3,
};

/* Lie among it, and are another check's: one change is told once. */
static const char *const tables[TABLES] = { "sys_call_table", "ia32_sys_call_table",
					    "x32_sys_call_table" };

_Static_assert(crypto_shorthash_BYTES == sizeof(uint64_t), "a hash is kept as a number");
_Static_assert(WORD_BYTES == sizeof(uint64_t), "words are summed as numbers");

/* What a grain was like at first sight. */
struct grain {
	uint64_t hash;
	uint64_t sum, weighted; /* of its words, and of each by its index */
};

/* What differs: a word, or a grain in which more than one does. */
struct spot {
	uint64_t gva;
	bool word;
	uint8_t expected[WORD_BYTES], observed[WORD_BYTES];
};

struct rodata {
	const struct ka_text *vendor;	 /* NULL: grains of what was there first */
	uint64_t start, end, next, seen; /* GVAs; seen: the grains up to there are made */
	struct {
		uint64_t start, end; /* the same: this kernel has it not */
	} tables[TABLES];
	bool passed;		  /* all of it was looked at */
	struct rodata_init *init; /* what is read-only once the kernel is up; NULL: not known */
	struct grain *grains;
	uint8_t key[crypto_shorthash_KEYBYTES];
	struct spot spots[SPOTS_MAX], before[SPOTS_MAX]; /* of this look, and of the one before */
	size_t count, before_count;
	uint8_t bytes[PART_BYTES];
};

static void rodata_release(void *state)
{
	struct rodata *rodata = state;

	if (!rodata)
		return;
	rodata_init_release(rodata->init);
	free(rodata->grains);
	free(rodata);
}

/* Where it lies, but for what the kernel writes while it starts (ro_after_init). */
static int find_range(const struct audit_view *view, struct rodata *rodata)
{
	const struct ka_kernel *kernel = view->kernel;

	if (view->reference)
		rodata->vendor = references_rodata(view->references, view->reference);
	if (rodata->vendor) {
		ka_text_range(rodata->vendor, &rodata->start, &rodata->end);
		rodata->start += kernel->slide;
		rodata->end += kernel->slide;
	} else if (ka_kernel_symbol(kernel, "__start_rodata", &rodata->start) ||
		   ka_kernel_symbol(kernel, "__start_ro_after_init", &rodata->end)) {
		return -ENODATA;
	}
	return rodata->start < kernel->base || rodata->end > kernel->image_end ||
			       rodata->end <= rodata->start ||
			       rodata->end - rodata->start > RODATA_MAX
		       ? -ENODATA
		       : 0;
}

static void find_tables(const struct audit_view *view, struct rodata *rodata)
{
	for (int i = 0; i < TABLES; i++) {
		uint64_t start, end;

		if (ka_kernel_symbol(view->kernel, tables[i], &start) ||
		    ka_kernel_symbol_end(view->kernel, start, &end))
			continue;
		rodata->tables[i].start = start;
		rodata->tables[i].end = end;
	}
}

static bool in_table(const struct rodata *rodata, uint64_t gva)
{
	for (int i = 0; i < TABLES; i++)
		if (gva >= rodata->tables[i].start && gva < rodata->tables[i].end)
			return true;
	return false;
}

static int rodata_prepare(const struct audit_view *view, void **ret_state)
{
	struct rodata *rodata = calloc(1, sizeof(*rodata));
	int err = rodata ? find_range(view, rodata) : -ENOMEM;

	if (!err && !rodata->vendor) {
		rodata->grains = calloc((rodata->end - rodata->start) / GRAIN_BYTES + 1,
					sizeof(rodata->grains[0]));
		err = rodata->grains ? 0 : -ENOMEM;
		crypto_shorthash_keygen(rodata->key);
	}
	if (!err && rodata_init_prepare(view, &rodata->init) == -ENOMEM)
		err = -ENOMEM;
	if (err) {
		rodata_release(rodata);
		return err;
	}
	find_tables(view, rodata);
	rodata->next = rodata->seen = rodata->start;
	*ret_state = rodata;
	return 0;
}

/* ---- what differs --------------------------------------------------------------------------- */

static struct spot *spot_at(struct rodata *rodata, uint64_t gva)
{
	for (size_t i = 0; i < rodata->count; i++)
		if (rodata->spots[i].gva == gva)
			return &rodata->spots[i];
	return NULL;
}

static void add_spot(void *ctx, uint64_t gva, const uint8_t *expected, const uint8_t *observed)
{
	struct rodata *rodata = ctx;
	struct spot *spot;

	if (spot_at(rodata, gva) || rodata->count == SPOTS_MAX)
		return;
	spot = &rodata->spots[rodata->count++];
	*spot = (struct spot){ .gva = gva, .word = true };
	memcpy(spot->expected, expected, WORD_BYTES);
	memcpy(spot->observed, observed, WORD_BYTES);
}

/* In place of its first word, if that is one already. */
static void add_grain(struct rodata *rodata, uint64_t gva)
{
	struct spot *spot = spot_at(rodata, gva);

	if (!spot && rodata->count == SPOTS_MAX)
		return;
	if (!spot)
		spot = &rodata->spots[rodata->count++];
	*spot = (struct spot){ .gva = gva };
}

/* The whole word, which its first byte that differs may be in the middle of. */
static void add_word(struct rodata *rodata, const struct ka_text_difference *found, uint64_t slide,
		     uint64_t from, uint64_t to)
{
	uint64_t at = found->address & ~(uint64_t)(WORD_BYTES - 1);
	size_t before;
	uint8_t expected[WORD_BYTES], observed[WORD_BYTES];

	/* The last bytes may be less than a word. */
	if (to - at < WORD_BYTES)
		at = to - WORD_BYTES;
	if (at < from || in_table(rodata, at + slide))
		return;
	before = found->address - at;
	memcpy(observed, rodata->bytes + (at - from), WORD_BYTES);
	memcpy(expected, observed, before);
	memcpy(expected + before, found->expected, WORD_BYTES - before);
	add_spot(rodata, at + slide, expected, observed);
}

static void compare_with_vendor(struct rodata *rodata, const struct audit_view *view, uint64_t from,
				uint64_t to)
{
	struct ka_text_boot boot = { .slide = view->kernel->slide };
	struct ka_text_difference found[SPOTS_MAX];
	size_t count;

	from -= boot.slide;
	to -= boot.slide;
	count = ka_text_compare(rodata->vendor, &boot, from, rodata->bytes, to - from, from, to,
				found, SPOTS_MAX);
	for (size_t i = 0; i < count && i < SPOTS_MAX; i++)
		add_word(rodata, &found[i], boot.slide, from, to);
}

/* So that they make no difference to a hash. */
static void blank_tables(struct rodata *rodata, uint64_t from, uint64_t to)
{
	for (int i = 0; i < TABLES; i++) {
		uint64_t start = rodata->tables[i].start > from ? rodata->tables[i].start : from;
		uint64_t end = rodata->tables[i].end < to ? rodata->tables[i].end : to;

		if (start < end)
			memset(rodata->bytes + (start - from), 0, end - start);
	}
}

static struct grain grain_of(const struct rodata *rodata, const uint8_t *bytes, size_t len)
{
	struct grain grain = { 0 };

	crypto_shorthash((unsigned char *)&grain.hash, bytes, len, rodata->key);
	for (size_t i = 0; i < len / WORD_BYTES; i++) {
		uint64_t word;

		memcpy(&word, bytes + i * WORD_BYTES, WORD_BYTES);
		grain.sum += word;
		grain.weighted += i * word;
	}
	return grain;
}

/*
 * The words that are known to have changed, from a look that found them changed alone. They are put
 * back in what was read, so that the next one can be found as well.
 */
static void put_back(struct rodata *rodata, const struct spot *spots, size_t count, uint64_t gva,
		     uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < count; i++) {
		const struct spot *spot = &spots[i];
		uint8_t *word;

		if (!spot->word || spot->gva < gva || spot->gva - gva > len - WORD_BYTES)
			continue;
		word = bytes + (spot->gva - gva);
		if (!memcmp(word, spot->expected, WORD_BYTES))
			continue;
		add_spot(rodata, spot->gva, spot->expected, word);
		memcpy(word, spot->expected, WORD_BYTES);
	}
}

/* Finds the one word that changed: with what it was before, the hash is right again. */
static bool find_word(struct rodata *rodata, const struct grain *first, const struct grain *now,
		      uint64_t gva, uint8_t *bytes, size_t len)
{
	uint64_t changed = now->sum - first->sum, weighted = now->weighted - first->weighted;

	for (uint64_t i = 0; changed && i < len / WORD_BYTES; i++) {
		uint8_t *word = bytes + i * WORD_BYTES, observed[WORD_BYTES];
		uint64_t is, was;

		if (i * changed != weighted)
			continue;
		memcpy(observed, word, WORD_BYTES);
		memcpy(&is, word, WORD_BYTES);
		was = is - changed;
		memcpy(word, &was, WORD_BYTES);
		if (grain_of(rodata, bytes, len).hash == first->hash) {
			add_spot(rodata, gva + i * WORD_BYTES, word, observed);
			return true;
		}
		memcpy(word, observed, WORD_BYTES);
	}
	return false;
}

static void compare_grain(struct rodata *rodata, const struct grain *first, uint64_t gva,
			  uint8_t *bytes, size_t len)
{
	struct grain now = grain_of(rodata, bytes, len);

	if (now.hash == first->hash)
		return;
	if (len >= WORD_BYTES) {
		put_back(rodata, rodata->before, rodata->before_count, gva, bytes, len);
		put_back(rodata, rodata->spots, rodata->count, gva, bytes, len);
		now = grain_of(rodata, bytes, len);
	}
	if (now.hash != first->hash && !find_word(rodata, first, &now, gva, bytes, len))
		add_grain(rodata, gva);
}

static void compare_with_first(struct rodata *rodata, uint64_t from, uint64_t to)
{
	blank_tables(rodata, from, to);
	for (uint64_t gva = from, len; gva < to; gva += len) {
		struct grain *first = &rodata->grains[(gva - rodata->start) / GRAIN_BYTES];
		uint8_t *bytes = rodata->bytes + (gva - from);

		len = to - gva < GRAIN_BYTES ? to - gva : GRAIN_BYTES;
		if (gva >= rodata->seen)
			*first = grain_of(rodata, bytes, len);
		else
			compare_grain(rodata, first, gva, bytes, len);
	}
	if (to > rodata->seen)
		rodata->seen = to;
}

static int compare(struct rodata *rodata, const struct audit_view *view, uint64_t from, uint64_t to)
{
	int err = ka_gva_read(view->vm, &view->kernel->paging, from, rodata->bytes, to - from);

	if (err)
		return err;
	if (rodata->vendor)
		compare_with_vendor(rodata, view, from, to);
	else
		compare_with_first(rodata, from, to);
	return 0;
}

static int compare_spot(struct rodata *rodata, const struct audit_view *view, uint64_t gva)
{
	uint64_t len = WORD_BYTES;

	if (rodata_init_has(rodata->init, gva))
		return rodata_init_again(rodata->init, view, gva, add_spot, rodata);
	if (!rodata->vendor) {
		gva -= (gva - rodata->start) % GRAIN_BYTES;
		len = GRAIN_BYTES;
	}
	return compare(rodata, view, gva, rodata->end - gva < len ? rodata->end : gva + len);
}

/* What differed is looked at in each look, so that it is soon told what became of it. */
static int compare_again(struct rodata *rodata, const struct audit_view *view)
{
	int err = 0;

	memcpy(rodata->before, rodata->spots, sizeof(rodata->before));
	rodata->before_count = rodata->count;
	rodata->count = 0;
	for (size_t i = 0; !err && i < rodata->before_count; i++)
		err = compare_spot(rodata, view, rodata->before[i].gva);
	return err;
}

static int compare_next(struct rodata *rodata, const struct audit_view *view)
{
	uint64_t to =
		rodata->end - rodata->next > PART_BYTES ? rodata->next + PART_BYTES : rodata->end;
	int err = compare(rodata, view, rodata->next, to);

	if (err)
		return err;
	rodata->passed |= to == rodata->end;
	rodata->next = to == rodata->end ? rodata->start : to;
	return 0;
}

/* ---- what is told --------------------------------------------------------------------------- */

/* Pointers into the image are told by name. */
static void tell_word(const struct ka_kernel *kernel, const struct spot *spot,
		      const char *otherwise, struct difference *difference)
{
	uint64_t was, is;

	memcpy(&was, spot->expected, sizeof(was));
	memcpy(&is, spot->observed, sizeof(is));
	if (ka_symbols_64bit(kernel->symbols) && was >= kernel->base && was < kernel->image_end) {
		difference->target = is;
		audit_symbol_text(kernel, was, difference->expected_text,
				  sizeof(difference->expected_text));
		audit_symbol_text(kernel, is, difference->observed_text,
				  sizeof(difference->observed_text));
		snprintf(difference->what, sizeof(difference->what), "leads to %.80s",
			 difference->observed_text);
		return;
	}
	text_bytes(difference->expected_text, spot->expected, WORD_BYTES);
	text_bytes(difference->observed_text, spot->observed, WORD_BYTES);
	snprintf(difference->what, sizeof(difference->what), "is not what %s", otherwise);
}

static void tell(const struct rodata *rodata, const struct audit_view *view,
		 const struct spot *spot, struct audit_result *result)
{
	struct difference *difference =
		audit_add(result, CHECK_RODATA, OBJECT_RODATA, spot->gva - view->kernel->base);

	if (!difference)
		return;
	difference->gva = spot->gva;
	difference->problem = "changed";
	audit_symbol_text(view->kernel, spot->gva, difference->name, sizeof(difference->name));
	if (spot->word) {
		tell_word(view->kernel, spot,
			  rodata->vendor && !rodata_init_has(rodata->init, spot->gva)
				  ? "its vendor built"
				  : "it was at first sight",
			  difference);
		return;
	}
	snprintf(difference->what, sizeof(difference->what),
		 "or what follows within %d bytes is not as at first sight", GRAIN_BYTES);
	strcpy(difference->expected_text, "as at first sight");
	strcpy(difference->observed_text, "changed");
}

static int rodata_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	struct rodata *rodata = state;
	int err = compare_again(rodata, view);

	for (int i = 0; !err && i < PARTS; i++)
		err = compare_next(rodata, view);
	if (!err && rodata->init)
		err = rodata_init_look(rodata->init, view, add_spot, rodata);
	if (err)
		return err;
	for (size_t i = 0; i < rodata->count; i++)
		tell(rodata, view, &rodata->spots[i], result);
	if (!rodata->passed)
		result->gap = "the first look at the kernel's read-only data is under way";
	else if (!rodata->vendor)
		result->gap = "no reference has it: it is held against what it was at first sight";
	else if (!rodata->init)
		result->gap =
			"the guest's kernel does not tell what it makes read-only once it is up";
	else if (!rodata_init_complete(rodata->init))
		result->gap = "what the kernel makes read-only once it is up is writable, or not "
			      "looked at yet";
	return 0;
}

const struct audit audit_rodata = {
	.period_ms = 500,
	.without_types = true,
	.prepare = rodata_prepare,
	.look = rodata_look,
	.release = rodata_release,
};
