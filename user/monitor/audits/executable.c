// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Executable memory of the kernel that belongs to nobody: what is left of a module that took itself out
 * of every record. And memory that can be executed and written at once.
 *
 * The page tables are walked in parts, one part a look. What was found unexplained in a whole walk must
 * stay so for a while in which the guest ran: a module's code, for one, stays mapped for as long as the
 * kernel waits for its readers, though no record has it any more.
 */
#include "../audit.h"
#include "../clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_NS (10 * NS_PER_S)
#define PAGE_SIZE 4096ULL

enum {
	TABLES_PER_LOOK = 256,
	OWNED_MAX = 8192,
	SUSPECTS_MAX = 64,
	UNOWNED_MAX = 512,
	READ_PAGES = 64,   /* at once */
	WALK_PAGES = 4096, /* that belong to nobody, in one walk */
	TICKS_MIN = 100, /* that the guest's clock must have made meanwhile */
};

struct suspect {
	struct ka_code_range range;
	uint64_t since_ns, since_ticks;
};

/* What is suspect, of one walk. */
struct islands {
	struct ka_code_range islands[SUSPECTS_MAX];
	size_t count, pages_left;
};

struct code {
	struct ka_kernel_map *map;
	struct ka_code_layout *layout;
	uint64_t jiffies;  /* GVA */
	bool walked;	   /* once at least */
	bool all;	   /* and all that belongs to nobody was looked at */
	struct suspect suspects[SUSPECTS_MAX];
	size_t count;
	struct ka_code_range owned[OWNED_MAX];
	size_t owned_count;
	uint8_t bytes[READ_PAGES * PAGE_SIZE];
};

static void code_release(void *state)
{
	struct code *code = state;

	if (!code)
		return;
	ka_kernel_map_free(code->map);
	ka_code_layout_free(code->layout);
	free(code);
}

static int code_prepare(const struct audit_view *view, void **ret_state)
{
	struct code *code = calloc(1, sizeof(*code));
	int err = code ? 0 : -ENOMEM;

	if (!err && ka_kernel_symbol(view->kernel, "jiffies_64", &code->jiffies) &&
	    ka_kernel_symbol(view->kernel, "jiffies", &code->jiffies))
		err = -ENODATA;
	if (!err)
		err = ka_kernel_map_new(view->kernel, &code->map);
	if (!err)
		err = ka_code_layout_new(view->kernel, view->types, &code->layout);
	if (err) {
		code_release(code);
		return err;
	}
	*ret_state = code;
	return 0;
}

/*
 * Pages of which the kernel keeps no record: those in which it puts indirect jumps against ITS, and since
 * 6.14 free memory for code. They hold nothing but such jumps (JMP *reg) between INT3, which is no use to
 * anybody else.
 */
static bool is_thunks(const uint8_t bytes[static PAGE_SIZE])
{
	size_t i = 0;

	while (i < PAGE_SIZE) {
		size_t at = i;

		if (bytes[i] == 0xcc) {
			i++;
			continue;
		}
		at += bytes[at] == 0x41;
		if (at + 1 >= PAGE_SIZE || bytes[at] != 0xff || (bytes[at + 1] & 0xf8) != 0xe0)
			return false;
		i = at + 2;
	}
	return true;
}

static bool is_owned(const struct code *code, uint64_t gva)
{
	for (size_t i = 0; i < code->owned_count; i++)
		if (gva >= code->owned[i].start && gva < code->owned[i].end)
			return true;
	return false;
}

/* Can it be executed, and written where that is the matter, at this moment? */
static bool has_rights(const struct audit_view *view, uint64_t gva, bool writable)
{
	struct ka_translation translation;

	return !ka_translate(view->vm, &view->kernel->paging, gva, &translation) &&
	       (translation.rights & KA_RIGHT_EXEC) &&
	       (!writable || (translation.rights & KA_RIGHT_WRITE));
}

/* Of pages that were read. What could not be read is no thunk. */
static bool is_suspect_page(const struct code *code, const struct audit_view *view, uint64_t gva,
			    const uint8_t *bytes, bool writable)
{
	if (!writable && ((bytes && is_thunks(bytes)) || is_owned(code, gva)))
		return false;
	return has_rights(view, gva, writable);
}

/* How many pages from gva on were read into code->bytes: 0, not even the first. */
static size_t read_pages(struct code *code, const struct audit_view *view, uint64_t gva, size_t count)
{
	const struct ka_paging *paging = &view->kernel->paging;

	count = count > READ_PAGES ? READ_PAGES : count;
	if (!ka_gva_read(view->vm, paging, gva, code->bytes, count * PAGE_SIZE))
		return count;
	return !ka_gva_read(view->vm, paging, gva, code->bytes, PAGE_SIZE);
}

static bool island_extend(struct islands *islands, const struct ka_code_range *range, uint64_t gva)
{
	struct ka_code_range *last = islands->count ? &islands->islands[islands->count - 1] : NULL;

	if (last && last->end == gva && last->writable == range->writable) {
		last->end += PAGE_SIZE;
		return true;
	}
	if (islands->count == SUSPECTS_MAX)
		return false;
	islands->islands[islands->count++] =
		(struct ka_code_range){ gva, gva + PAGE_SIZE, range->writable };
	return true;
}

/* Adds what of the range is suspect as it is now. False: that is too much to look at. */
static bool find_suspects(struct code *code, const struct audit_view *view,
			  const struct ka_code_range *range, struct islands *islands)
{
	uint64_t gva = range->start;

	while (gva < range->end) {
		size_t left = (range->end - gva) / PAGE_SIZE;
		size_t got = range->writable ? 0 : read_pages(code, view, gva, left);
		size_t count = got ? got : 1;

		if (count > islands->pages_left)
			return false;
		islands->pages_left -= count;
		for (size_t i = 0; i < count; i++, gva += PAGE_SIZE)
			if (is_suspect_page(code, view, gva, got ? code->bytes + i * PAGE_SIZE : NULL,
					    range->writable) &&
			    !island_extend(islands, range, gva))
				return false;
	}
	return true;
}

/* The oldest that it overlaps: its first page may come and go. */
static const struct suspect *known_suspect(const struct suspect *suspects, size_t count,
					   const struct ka_code_range *range)
{
	const struct suspect *oldest = NULL;

	for (size_t i = 0; i < count; i++)
		if (suspects[i].range.start < range->end && range->start < suspects[i].range.end &&
		    suspects[i].range.writable == range->writable &&
		    (!oldest || suspects[i].since_ns < oldest->since_ns))
			oldest = &suspects[i];
	return oldest;
}

/* Those of this walk; those that were there before keep their age. */
static void suspects_take(struct code *code, const struct islands *islands, uint64_t ticks)
{
	struct suspect now[SUSPECTS_MAX];

	for (size_t i = 0; i < islands->count; i++) {
		const struct suspect *known =
			known_suspect(code->suspects, code->count, &islands->islands[i]);

		now[i] = known ? *known
			       : (struct suspect){ .since_ns = clock_mono(), .since_ticks = ticks };
		now[i].range = islands->islands[i];
	}
	memcpy(code->suspects, now, islands->count * sizeof(now[0]));
	code->count = islands->count;
}

/* At the end of a walk. What is writable is suspect whoever owns it. */
static void walk_judge(struct code *code, const struct audit_view *view, uint64_t ticks)
{
	struct islands islands = { .pages_left = WALK_PAGES };
	struct ka_code_range unowned[UNOWNED_MAX];
	size_t mapped, count;
	const struct ka_code_range *ranges = ka_kernel_map_ranges(code->map, &mapped);
	bool all;

	count = ka_code_unowned(ranges, mapped, code->owned, code->owned_count, unowned, UNOWNED_MAX);
	all = count <= UNOWNED_MAX;
	for (size_t i = 0; i < count && i < UNOWNED_MAX; i++)
		if (!unowned[i].writable)
			all &= find_suspects(code, view, &unowned[i], &islands);
	for (size_t i = 0; i < mapped; i++)
		if (ranges[i].writable)
			all &= find_suspects(code, view, &ranges[i], &islands);
	suspects_take(code, &islands, ticks);
	code->walked = true;
	code->all = all;
}

/* Still, after long enough: any of its first pages tells. */
static bool is_settled(struct code *code, const struct audit_view *view, const struct suspect *suspect,
		       uint64_t ticks)
{
	struct islands islands = { .pages_left = READ_PAGES };
	struct ka_code_range first = suspect->range;

	if (first.end - first.start > READ_PAGES * PAGE_SIZE)
		first.end = first.start + READ_PAGES * PAGE_SIZE;
	return clock_mono() - suspect->since_ns >= SETTLE_NS &&
	       ticks - suspect->since_ticks >= TICKS_MIN &&
	       find_suspects(code, view, &first, &islands) && islands.count;
}

static void add_code(struct audit_result *result, const struct ka_code_range *range)
{
	struct difference *difference = audit_add(result, CHECK_CODE, OBJECT_EXECUTABLE, range->start);

	if (!difference)
		return;
	snprintf(difference->name, sizeof(difference->name), "0x%016" PRIx64, range->start);
	difference->gva = range->start;
	difference->problem = range->writable ? "writable_code" : "unowned_code";
	snprintf(difference->what, sizeof(difference->what), "%s, %" PRIu64 " KiB",
		 range->writable ? "can be written, too"
				 : "belongs to nobody",
		 (range->end - range->start) / 1024);
	snprintf(difference->expected_text, sizeof(difference->expected_text), "%s",
		 range->writable ? "writable or executable" : "not executable, or of a known owner");
	snprintf(difference->observed_text, sizeof(difference->observed_text), "%s, up to 0x%" PRIx64,
		 range->writable ? "writable and executable" : "executable", range->end);
}

static int code_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	struct code *code = state;
	uint64_t ticks = 0;
	bool done = false;
	int err = ka_gva_read(view->vm, &view->kernel->paging, code->jiffies, &ticks, sizeof(ticks));

	if (!err)
		err = ka_kernel_map_walk(view->vm, code->map, TABLES_PER_LOOK, &done);
	if (!err && (done || code->count))
		err = ka_code_read(view->vm, view->kernel, code->layout, code->owned, OWNED_MAX,
				   &code->owned_count);
	if (err)
		return err;
	if (done)
		walk_judge(code, view, ticks);
	for (size_t i = 0; i < code->count; i++)
		if (is_settled(code, view, &code->suspects[i], ticks))
			add_code(result, &code->suspects[i].range);
	if (code->walked && !code->all)
		result->gap = "more of it belongs to nobody than is looked at";
	return code->walked ? 0 : -EAGAIN;
}

const struct audit audit_executable = {
	.prepare = code_prepare,
	.look = code_look,
	.release = code_release,
};
