// SPDX-License-Identifier: LGPL-2.1-or-later
/* Holds a guest's kernel text against the image that its vendor built. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "insn.h"
#include "kernel_text.h"
#include "patch_probe.h"

enum { CHUNK = 4096, FTRACE_BYTES = 5 };

/* The guest's bytes at hand. */
struct window {
	const struct ka_text *text;
	struct ka_text_boot *boot;
	uint64_t address;
	const uint8_t *bytes; /* without what is explained by records of the guest's kernel */
	const uint8_t *seen;
	size_t len;
};

const char *ka_patch_kind_name(enum ka_patch_kind kind)
{
	static const char *const names[KA_PATCH_KINDS] = {
		[KA_PATCH_NONE] = "text",
		[KA_PATCH_ALTERNATIVE] = "alternative",
		[KA_PATCH_PARAVIRT] = "paravirt",
		[KA_PATCH_RETPOLINE] = "retpoline",
		[KA_PATCH_RETURN] = "return",
		[KA_PATCH_CALL] = "call",
		[KA_PATCH_CALL_THUNK] = "call_thunk",
		[KA_PATCH_STATIC_CALL] = "static_call",
		[KA_PATCH_STATIC_CALL_TRAMPOLINE] = "static_call_trampoline",
		[KA_PATCH_JUMP_LABEL] = "jump_label",
		[KA_PATCH_FTRACE] = "ftrace",
		[KA_PATCH_FTRACE_CALL] = "ftrace_call",
		[KA_PATCH_SMP_LOCK] = "smp_lock",
		[KA_PATCH_ENDBR] = "endbr",
		[KA_PATCH_RUNTIME_SHIFT] = "runtime_shift",
		[KA_PATCH_RUNTIME_MASK] = "runtime_mask",
		[KA_PATCH_RUNTIME_POINTER] = "runtime_pointer",
		[KA_PATCH_RUNTIME_LIMIT] = "runtime_limit",
	};

	return kind < KA_PATCH_KINDS ? names[kind] : names[KA_PATCH_NONE];
}

int ka_text_create(const struct ka_reference *reference, struct ka_text **ret_text)
{
	struct ka_text *text = calloc(1, sizeof(*text));
	int err = text ? patch_judge_create(reference, NULL, &text->judge) : -ENOMEM;

	if (err) {
		free(text);
		return err;
	}
	*ret_text = text;
	return 0;
}

int ka_rodata_create(const struct ka_reference *reference, struct ka_text **ret_text)
{
	struct ka_text *text = calloc(1, sizeof(*text));
	int err =
		text ? patch_judge_create_data(reference, REFERENCE_RODATA, &text->judge) : -ENOMEM;

	/* An image that cannot be moved says nothing of what is moved in it. */
	if (!err && (!text->judge.relocs_32 || !text->judge.relocs_32->len))
		err = -ENODATA;
	if (err) {
		free(text);
		return err;
	}
	*ret_text = text;
	return 0;
}

void ka_text_free(struct ka_text *text)
{
	if (!text)
		return;
	patch_judge_destroy(&text->judge);
	ka_reference_free(text->own);
	free(text);
}

void ka_text_range(const struct ka_text *text, uint64_t *ret_start, uint64_t *ret_end)
{
	*ret_start = text->judge.text->address;
	*ret_end = text->judge.text->address + text->judge.text->len;
}

size_t ka_text_sites(const struct ka_text *text, enum ka_patch_kind kind)
{
	const struct patch_sites *sites = &text->judge.sites;
	size_t count = 0;

	for (size_t i = 0; i < sites->count; i++)
		count += sites->site[i].kind == kind;
	return count;
}

static const uint8_t *window_at(const struct window *window, uint64_t address, size_t len)
{
	if (address < window->address || address - window->address > window->len ||
	    len > window->len - (address - window->address))
		return NULL;
	return window->bytes + (address - window->address);
}

/*
 * A kernel that runs has thrown its list of ftrace's places away. What it may put there is known all the
 * same, so that any of the NOPs which stand there in a guest's own text may be one.
 */
static uint64_t explain_nop(const struct window *window, uint64_t address)
{
	const struct patch_judge *judge = &window->text->judge;
	const struct patch_site site = { .address = address,
					 .kind = KA_PATCH_FTRACE,
					 .length = FTRACE_BYTES };
	const uint8_t *bytes = window_at(window, address, FTRACE_BYTES);
	uint8_t taken[FTRACE_BYTES];

	if (!judge->reference->of_guest || !bytes ||
	    !patch_source(judge, 0, address, taken, sizeof(taken)) || !patch_is_ftrace_nop(taken))
		return 0;
	return patch_accepts(judge, window->boot, &site, bytes) ? address + FTRACE_BYTES : 0;
}

/*
 * The site that accounts for a byte: *ret_kind is that of one which covers it, and the result what
 * it ends at, or 0 if none accepts what the guest has.
 */
static uint64_t explain(const struct window *window, uint64_t address,
			const struct patch_site **ret_site)
{
	const struct patch_sites *sites = &window->text->judge.sites;
	size_t i = patch_sites_from(sites, address > UINT8_MAX ? address - UINT8_MAX : 0);

	*ret_site = NULL;
	for (; i < sites->count && sites->site[i].address <= address; i++) {
		const struct patch_site *site = &sites->site[i];
		const uint8_t *bytes = window_at(window, site->address, site->length);

		if (address - site->address >= site->length)
			continue;
		if (!*ret_site)
			*ret_site = site;
		if (bytes && patch_accepts(&window->text->judge, window->boot, site, bytes))
			return site->address + site->length;
	}
	return explain_nop(window, address);
}

/* Where a branch at the beginning of the difference, or of its site, leads. */
static uint64_t target_of(const struct window *window, uint64_t address)
{
	struct insn insn;
	const uint8_t *bytes = window_at(window, address, 1);
	size_t room = bytes ? window->len - (address - window->address) : 0;

	if (!bytes || !insn_decode(bytes, room, window->text->judge.is_64bit, &insn) ||
	    !insn_is_relative_branch(&insn))
		return 0;
	return address + insn.length +
	       (uint64_t)(insn.imm_size == 1
				  ? (int64_t)(int8_t)bytes[insn.imm_at]
				  : (int64_t)(int32_t)(bytes[insn.imm_at] |
						       bytes[insn.imm_at + 1] << 8 |
						       bytes[insn.imm_at + 2] << 16 |
						       (uint32_t)bytes[insn.imm_at + 3] << 24));
}

static void describe(const struct window *window, const struct patch_site *site, uint64_t address,
		     uint64_t end, struct ka_text_difference *ret_difference)
{
	const struct ka_section *text = window->text->judge.text;
	uint64_t start = site ? site->address : address;
	size_t len;

	*ret_difference = (struct ka_text_difference){
		.address = start,
		.kind = site ? site->kind : KA_PATCH_NONE,
		.len = (uint32_t)(end - start),
		.target = target_of(window, start),
	};
	if (!window_at(window, start, 1))
		return;
	len = window->address + window->len - start;
	if (len > KA_TEXT_DIFFERENCE_BYTES)
		len = KA_TEXT_DIFFERENCE_BYTES;
	if (len > text->address + text->len - start)
		len = text->address + text->len - start;
	patch_source(&window->text->judge, window->boot->slide, start, ret_difference->expected,
		     len);
	memcpy(ret_difference->observed, window->seen + (start - window->address), len);
}

/* First byte in [from, to) that is not as in the image; `to`: none. */
static uint64_t first_different(const struct window *window, uint64_t from, uint64_t to)
{
	uint8_t expected[CHUNK];

	while (from < to) {
		size_t len = to - from < CHUNK ? to - from : CHUNK;
		const uint8_t *bytes = window_at(window, from, len);

		if (!bytes ||
		    !patch_source(&window->text->judge, window->boot->slide, from, expected, len))
			return from;
		for (size_t i = 0; memcmp(expected, bytes, len) && i < len; i++)
			if (expected[i] != bytes[i])
				return from + i;
		from += len;
	}
	return to;
}

/* Of bytes that no place explains: up to the first that is as in the image again. */
static uint64_t end_of_difference(const struct window *window, uint64_t from, uint64_t to)
{
	uint64_t end = from + 1;

	while (end < to && first_different(window, end, end + 1) == end)
		end++;
	return end;
}

static size_t window_compare(const struct window *window, uint64_t from, uint64_t to,
			     struct ka_text_difference *differences, size_t max)
{
	size_t found = 0;

	while ((from = first_different(window, from, to)) < to) {
		const struct patch_site *site;
		uint64_t end = explain(window, from, &site);

		if (!end) {
			end = site ? site->address + site->length
				   : end_of_difference(window, from, to);
			if (found < max)
				describe(window, site, from, end, &differences[found]);
			found++;
		}
		from = end;
	}
	return found;
}

size_t ka_text_compare(const struct ka_text *text, struct ka_text_boot *boot, uint64_t address,
		       const uint8_t *bytes, size_t len, uint64_t from, uint64_t to,
		       struct ka_text_difference *differences, size_t max)
{
	struct window window = { text, boot, address, bytes, bytes, len };
	uint8_t *undone = patch_has_probes(boot, address, len) ? malloc(len) : NULL;
	size_t found;

	if (undone) {
		memcpy(undone, bytes, len);
		patch_undo_probes(&text->judge, boot, address, undone, len);
		window.bytes = undone;
	}
	found = window_compare(&window, from, to, differences, max);
	free(undone);
	return found;
}
