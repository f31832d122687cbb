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
	TICKS_MIN = 100, /* that the guest's clock must have made meanwhile */
};

struct suspect {
	struct ka_code_range range;
	uint64_t since_ns, since_ticks;
};

struct code {
	struct ka_kernel_map *map;
	struct ka_code_layout *layout;
	uint64_t jiffies;  /* GVA */
	bool walked;	   /* once at least */
	struct suspect suspects[SUSPECTS_MAX];
	size_t count;
	struct ka_code_range owned[OWNED_MAX];
	size_t owned_count;
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
 * The kernel keeps no record of the pages in which it puts indirect jumps against ITS. They hold nothing
 * but such jumps (JMP *reg) between INT3, which is no use to anybody else.
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

/* Can this page be executed now, and is there more in it than the kernel's own thunks? */
static bool is_code(const struct audit_view *view, uint64_t gva, bool writable)
{
	const struct ka_paging *paging = &view->kernel->paging;
	struct ka_translation translation;
	uint8_t bytes[PAGE_SIZE];

	if (ka_translate(view->vm, paging, gva, &translation) ||
	    !(translation.rights & KA_RIGHT_EXEC))
		return false;
	if (writable)
		return translation.rights & KA_RIGHT_WRITE;
	return ka_gva_read(view->vm, paging, gva, bytes, sizeof(bytes)) || !is_thunks(bytes);
}

static bool is_owned(const struct code *code, uint64_t gva)
{
	for (size_t i = 0; i < code->owned_count; i++)
		if (gva >= code->owned[i].start && gva < code->owned[i].end)
			return true;
	return false;
}

/* As it is now. Of a range the first page that is still what was suspected tells. */
static bool is_suspect(const struct code *code, const struct audit_view *view,
		       const struct ka_code_range *range)
{
	uint64_t end = range->end - range->start > 64 * PAGE_SIZE ? range->start + 64 * PAGE_SIZE
								    : range->end;

	for (uint64_t gva = range->start; gva < end; gva += PAGE_SIZE)
		if ((range->writable || !is_owned(code, gva)) && is_code(view, gva, range->writable))
			return true;
	return false;
}

static const struct suspect *known_suspect(const struct suspect *suspects, size_t count,
					   const struct ka_code_range *range)
{
	for (size_t i = 0; i < count; i++)
		if (suspects[i].range.start == range->start &&
		    suspects[i].range.writable == range->writable)
			return &suspects[i];
	return NULL;
}

/* Those of this walk; those that were there before keep their age. */
static void suspects_take(struct code *code, const struct audit_view *view,
			  const struct ka_code_range *ranges, size_t count, uint64_t ticks)
{
	struct suspect now[SUSPECTS_MAX];
	size_t kept = 0;

	for (size_t i = 0; i < count && kept < SUSPECTS_MAX; i++) {
		const struct suspect *known;

		if (!is_suspect(code, view, &ranges[i]))
			continue;
		known = known_suspect(code->suspects, code->count, &ranges[i]);
		now[kept] = known ? *known
				  : (struct suspect){ .since_ns = clock_mono(), .since_ticks = ticks };
		now[kept++].range = ranges[i];
	}
	memcpy(code->suspects, now, kept * sizeof(now[0]));
	code->count = kept;
}

/* At the end of a walk. What is writable is suspect whoever owns it. */
static void walk_judge(struct code *code, const struct audit_view *view, uint64_t ticks)
{
	struct ka_code_range found[2 * SUSPECTS_MAX];
	size_t mapped, count;
	const struct ka_code_range *ranges = ka_kernel_map_ranges(code->map, &mapped);

	count = ka_code_unowned(ranges, mapped, code->owned, code->owned_count, found, SUSPECTS_MAX);
	if (count > SUSPECTS_MAX)
		count = SUSPECTS_MAX;
	for (size_t i = 0; i < mapped && count < 2 * SUSPECTS_MAX; i++)
		if (ranges[i].writable)
			found[count++] = ranges[i];
	suspects_take(code, view, found, count, ticks);
	code->walked = true;
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
	for (size_t i = 0; i < code->count; i++) {
		const struct suspect *suspect = &code->suspects[i];

		if (clock_mono() - suspect->since_ns >= SETTLE_NS &&
		    ticks - suspect->since_ticks >= TICKS_MIN &&
		    is_suspect(code, view, &suspect->range))
			add_code(result, &suspect->range);
	}
	return code->walked ? 0 : -EAGAIN;
}

const struct audit audit_executable = {
	.prepare = code_prepare,
	.look = code_look,
	.release = code_release,
};
