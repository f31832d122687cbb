// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The page tables that map the kernel's image, and those of the kernel half that could map it again:
 * text and read-only data stay where they are and cannot be written, data cannot be executed, and no
 * other mapping lets the text be written. The image is looked at whole in each look, the rest in
 * parts.
 */
#include "../audit.h"

#include "../cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	LEVELS_MAX = 5,
	ENTRIES = 512,
	PAGE_BYTES = 4096,
	HALF = ENTRIES / 2,	/* the kernel's */
	TABLES_PER_LOOK = 64,	/* of the kernel half; a read each */
	TABLES_PER_WALK = 1 << 17,
	ALIASES_MAX = 16,
	TOLD_MAX = 8,		/* pages of a range, in one look */
};

#define BIT(number) (1ull << (number))
#define ENTRY_PRESENT BIT(0)
#define ENTRY_WRITE BIT(1)
#define ENTRY_LARGE BIT(7)
#define ENTRY_NX BIT(63)
#define ENTRY_FRAME 0x000ffffffffff000ull

/* Where 64-bit Linux maps its image: __START_KERNEL_map. */
static const uint64_t image_map = 0xffffffff80000000;

enum { MAY_WRITE = 1, MAY_EXECUTE = 2 };

static const struct {
	const char *start, *end, *what;
	unsigned int rights; /* that no page of it has */
} ranges_known[] = {
	{ "_stext", "_etext", "text", MAY_WRITE },
	{ "__start_rodata", "__end_rodata", "read-only data", MAY_WRITE | MAY_EXECUTE },
	{ "_sdata", "_edata", "data", MAY_EXECUTE },
};
enum { RANGES = array_size(ranges_known) };

struct range {
	uint64_t start, end;	 /* whole pages; none where they are the same */
	unsigned int forbidden; /* that this kernel, too, keeps from it */
};

/* Where the walk of the kernel half is: the tables on the way, and the next entry in each. */
struct step {
	uint64_t table[ENTRIES];
	unsigned int next;
	bool write; /* by all levels above */
};

struct page_tables {
	unsigned int levels;
	int64_t phys_base;
	struct range range[RANGES];
	bool begun; /* `forbidden` is what the first look found */
	struct step step[LEVELS_MAX];
	unsigned int depth; /* steps in use; 0: begin anew */
	uint64_t tables;    /* read in this walk */
	uint64_t alias[ALIASES_MAX];
	size_t alias_count;
};

/* ---- what is known -------------------------------------------------------------------------- */

static int tables_prepare(const struct audit_view *view, void **ret_state)
{
	const struct ka_kernel *kernel = view->kernel;
	struct page_tables *state;

	if (kernel->paging.mode != KA_PAGING_4LEVEL && kernel->paging.mode != KA_PAGING_5LEVEL)
		return -ENODATA;
	state = calloc(1, sizeof(*state));
	if (!state)
		return -ENOMEM;
	state->levels = kernel->paging.mode == KA_PAGING_5LEVEL ? 5 : 4;
	state->phys_base = kernel->phys_base;
	for (size_t i = 0; i < RANGES; i++) {
		struct range *range = &state->range[i];
		uint64_t start = 0, end = 0;

		if (ka_kernel_symbol(kernel, ranges_known[i].start, &start) ||
		    ka_kernel_symbol(kernel, ranges_known[i].end, &end) || start < kernel->base ||
		    end > kernel->image_end || end < start)
			continue;
		range->start = (start + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
		range->end = end & ~(uint64_t)(PAGE_BYTES - 1);
		range->forbidden = ranges_known[i].rights;
	}
	if (state->range[0].start >= state->range[0].end) {
		free(state);
		return -ENODATA;
	}
	*ret_state = state;
	return 0;
}

static uint64_t frame_expected(const struct page_tables *state, uint64_t gva)
{
	return gva - image_map + (uint64_t)state->phys_base;
}

/* Does any frame of the kernel's text lie in these? */
static bool is_text_frame(const struct page_tables *state, uint64_t frame, uint64_t size)
{
	uint64_t start = frame_expected(state, state->range[0].start),
		 end = frame_expected(state, state->range[0].end);

	return frame < end && frame + size > start;
}

static uint64_t entry_span(const struct page_tables *state, unsigned int depth)
{
	return BIT(12 + 9 * (state->levels - 1 - depth));
}

static bool is_leaf(const struct page_tables *state, unsigned int depth, uint64_t entry)
{
	/* The two levels at the bottom of which the upper one may have it: 1 GiB and 2 MiB. */
	return depth + 1 == state->levels ||
	       (entry & ENTRY_LARGE && depth + 3 >= state->levels);
}

/* ---- the image ------------------------------------------------------------------------------ */

static void tell(struct audit_result *result, const struct audit_view *view, uint64_t gva,
		 const char *problem, const char *what, uint64_t gpa)
{
	struct difference *difference =
		audit_add(result, CHECK_PAGE_TABLES, OBJECT_PAGE, gva / PAGE_BYTES);
	uint64_t offset = 0;
	const char *name = ka_kernel_name(view->kernel, gva, &offset);

	if (!difference)
		return;
	difference->gva = gva;
	difference->gpa = gpa;
	difference->problem = problem;
	if (name)
		snprintf(difference->name, sizeof(difference->name), "%.40s+0x%" PRIx64, name,
			 offset);
	else
		snprintf(difference->name, sizeof(difference->name), "0x%016" PRIx64, gva);
	snprintf(difference->what, sizeof(difference->what), "%s", what);
	snprintf(difference->observed_text, sizeof(difference->observed_text), "gpa 0x%016" PRIx64,
		 gpa);
}

/* What a look has seen of a range. */
struct seen {
	unsigned int always, told; /* rights that all of its pages have */
};

static unsigned int rights_of(uint64_t entry)
{
	return (entry & ENTRY_WRITE ? MAY_WRITE : 0) | (entry & ENTRY_NX ? 0 : MAY_EXECUTE);
}

static void judge_page(const struct page_tables *state, const struct audit_view *view, size_t which,
		       uint64_t gva, uint64_t gpa, unsigned int rights, struct seen *seen,
		       struct audit_result *result)
{
	unsigned int wide = rights & state->range[which].forbidden;
	char what[96];

	seen->always &= rights;
	if (!state->begun || seen->told >= TOLD_MAX)
		return;
	if (gpa != frame_expected(state, gva)) {
		snprintf(what, sizeof(what), "of the kernel's %s is mapped to another place",
			 ranges_known[which].what);
		tell(result, view, gva, "moved", what, gpa);
	} else if (wide) {
		snprintf(what, sizeof(what), "of the kernel's %s can be %s",
			 ranges_known[which].what, wide & MAY_WRITE ? "written" : "executed");
		tell(result, view, gva, "rights", what, gpa);
	} else {
		return;
	}
	seen->told++;
}

/* The small pages of a table, in one read, from the one that `first` translates on. */
static int look_table(const struct page_tables *state, const struct audit_view *view, size_t which,
		      uint64_t *gva, const struct ka_translation *first, struct seen *seen,
		      struct audit_result *result)
{
	uint64_t at = first->step[first->depth - 1].gpa, table[ENTRIES];
	unsigned int above = MAY_WRITE | MAY_EXECUTE;
	int err = ka_gpa_read(view->vm, at & ENTRY_FRAME, table, sizeof(table));

	if (err)
		return err;
	for (unsigned int i = 0; i + 1 < first->depth; i++)
		above &= rights_of(first->step[i].entry);
	for (size_t i = at % PAGE_BYTES / 8; i < ENTRIES && *gva < state->range[which].end; i++) {
		if (!(table[i] & ENTRY_PRESENT))
			return -EFAULT;
		judge_page(state, view, which, *gva, table[i] & ENTRY_FRAME,
			   above & rights_of(table[i]), seen, result);
		*gva += PAGE_BYTES;
	}
	return 0;
}

static int look_range(struct page_tables *state, const struct audit_view *view, size_t which,
		      struct audit_result *result)
{
	struct range *range = &state->range[which];
	struct seen seen = { .always = MAY_WRITE | MAY_EXECUTE };
	uint64_t gva = range->start;

	while (gva < range->end) {
		struct ka_translation translation;
		int err = ka_translate(view->vm, &view->kernel->paging, gva, &translation);

		if (err)
			return err;
		if (translation.page_size == PAGE_BYTES) {
			err = look_table(state, view, which, &gva, &translation, &seen, result);
			if (err)
				return err;
			continue;
		}
		judge_page(state, view, which, gva, translation.gpa,
			   (translation.rights & KA_RIGHT_WRITE ? MAY_WRITE : 0) |
				   (translation.rights & KA_RIGHT_EXEC ? MAY_EXECUTE : 0),
			   &seen, result);
		gva = (gva & ~(translation.page_size - 1)) + translation.page_size;
	}
	/* A kernel that was told not to protect itself (rodata=off) has all of it so. */
	if (!state->begun)
		range->forbidden &= ~seen.always;
	return 0;
}

static int look_image(struct page_tables *state, const struct audit_view *view,
		      struct audit_result *result)
{
	int err = 0;

	/* Twice at first: once to learn what this kernel does not protect at all. */
	for (int round = state->begun ? 1 : 0; !err && round < 2; round++) {
		for (size_t i = 0; !err && i < RANGES; i++)
			err = look_range(state, view, i, result);
		state->begun |= !err;
	}
	return err;
}

/* ---- the kernel half ------------------------------------------------------------------------ */

/* The address that the entry at hand of each step leads to. */
static uint64_t walk_gva(const struct page_tables *state)
{
	uint64_t gva = state->levels == 5 ? 0 : 0xffff000000000000ull;

	for (unsigned int i = 0; i < state->depth; i++)
		gva |= (uint64_t)(state->step[i].next - 1) * entry_span(state, i);
	return state->levels == 5 ? gva | 0xfe00000000000000ull : gva;
}

static int walk_enter(struct page_tables *state, const struct audit_view *view, uint64_t table,
		      bool write)
{
	struct step *step = &state->step[state->depth];
	int err = ka_gpa_read(view->vm, table & ENTRY_FRAME, step->table, sizeof(step->table));

	if (err)
		return err;
	step->next = state->depth ? 0 : HALF;
	step->write = write;
	state->depth++;
	state->tables++;
	return 0;
}

static bool in_image_map(const struct page_tables *state, uint64_t gva)
{
	return gva >= state->range[0].start && gva < state->range[0].end;
}

static void walk_leaf(struct page_tables *state, uint64_t entry, bool write)
{
	uint64_t span = entry_span(state, state->depth - 1), gva = walk_gva(state);
	uint64_t frame = entry & ENTRY_FRAME & ~(span - 1);

	if (!write || !is_text_frame(state, frame, span) || in_image_map(state, gva) ||
	    state->alias_count == ALIASES_MAX)
		return;
	for (size_t i = 0; i < state->alias_count; i++)
		if (state->alias[i] == gva)
			return;
	state->alias[state->alias_count++] = gva;
}

/* A part of the walk. A table that cannot be read is none of RAM, and maps nothing of the text. */
static void walk(struct page_tables *state, const struct audit_view *view)
{
	uint64_t until = state->tables + TABLES_PER_LOOK;

	if (!state->depth) {
		state->tables = 0;
		until = TABLES_PER_LOOK;
		if (walk_enter(state, view, view->kernel->paging.root, true))
			return;
	}
	while (state->depth && state->tables < until) {
		struct step *step = &state->step[state->depth - 1];
		uint64_t entry;
		bool write;

		if (step->next == ENTRIES || state->tables > TABLES_PER_WALK) {
			state->depth = step->next == ENTRIES ? state->depth - 1 : 0;
			continue;
		}
		entry = step->table[step->next++];
		write = step->write && entry & ENTRY_WRITE;
		/* Nothing below it can be written. */
		if (!(entry & ENTRY_PRESENT) || !write)
			continue;
		if (is_leaf(state, state->depth - 1, entry))
			walk_leaf(state, entry, write);
		else
			walk_enter(state, view, entry, write);
	}
}

/* Those that were found, as they are now. */
static void look_aliases(struct page_tables *state, const struct audit_view *view,
			 struct audit_result *result)
{
	size_t kept = 0;

	for (size_t i = 0; i < state->alias_count; i++) {
		struct ka_translation now;
		uint64_t gva = state->alias[i];

		if (ka_translate(view->vm, &view->kernel->paging, gva, &now) ||
		    !(now.rights & KA_RIGHT_WRITE) ||
		    !is_text_frame(state, now.gpa & ~(now.page_size - 1), now.page_size))
			continue;
		state->alias[kept++] = gva;
		tell(result, view, gva, "alias",
		     "is a second mapping of the kernel's text, which can be written", now.gpa);
	}
	state->alias_count = kept;
}

static int tables_look(void *opaque, const struct audit_view *view, struct audit_result *result)
{
	struct page_tables *state = opaque;
	int err = look_image(state, view, result);

	if (err)
		return err;
	walk(state, view);
	look_aliases(state, view, result);
	return 0;
}

const struct audit audit_page_tables = {
	.without_types = true,
	.prepare = tables_prepare,
	.look = tables_look,
	.release = free,
};
