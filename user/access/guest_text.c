// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The text of a guest's kernel as it is now, where no vendor's image is at hand: what the kernel can
 * still patch once it runs is put back as its image had it, and its lists of such places are read.
 *
 * All of it is the guest's: lists are bounded, and what they name outside of the text is left out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_text.h"
#include "module_place.h"
#include "patch_probe.h"
#include "symbols.h"

enum {
	TEXT_MAX = 128 << 20,
	CALLS_MAX = 65536, /* out of the text, that are looked into; of small ones fewer: */
	CALLS_LEAST = 64,
	CALL_BYTES = 128, /* that much of the text for each */
	BRANCH_BYTES = 5,
	OP_CALL = 0xe8,
	OP_JMP32 = 0xe9,
	OP_INT3 = 0xcc,
	STATIC_CALL_ENTRY = 8,
	STATIC_CALL_TAIL = 1, /* flags in the lowest bits of its key */
	JUMP_ENTRY = 16,
	FUNCTION_ALIGNMENT = 16,
	ENDBR_BYTES = 4,
};

/* What is read, from a symbol to another one. */
static const struct {
	const char *name, *start, *stop;
} lists[] = {
	{ "jump_table", "__start___jump_table", "__stop___jump_table" },
	{ "static_call_sites", "__start_static_call_sites", "__stop_static_call_sites" },
	{ "optprobe_template", "optprobe_template_entry", "optprobe_template_end" },
	{ ".smp_locks", "__smp_locks", "__smp_locks_end" },
};

/* Kept, and used again once there is a second CPU, where there was but one at first. */
static bool has_list(struct ka_vm *vm, const struct ka_kernel *kernel, size_t i)
{
	uint8_t patched = 0;

	return strcmp(lists[i].name, ".smp_locks") ||
	       (!ka_symbol_read(vm, kernel, "uniproc_patched", &patched, 1) && patched == 1);
}

/* `start` is link-time. A list that takes half as much as the text it is of is none. */
static int list_read(struct ka_vm *vm, const struct ka_kernel *kernel,
		     struct ka_reference *reference, const char *name, uint64_t start, uint64_t len)
{
	uint8_t *bytes;
	int err;

	if (!len)
		return 0;
	if (len > reference_find(reference, ".text")->len / 2)
		return -EBADMSG;
	bytes = malloc(len);
	if (!bytes)
		return -ENOMEM;
	err = ka_gva_read(vm, &kernel->paging, start + kernel->slide, bytes, len);
	if (err) {
		free(bytes);
		return err;
	}
	return reference_adopt(reference, name, start, bytes, len);
}

static int lists_read(struct ka_vm *vm, const struct ka_kernel *kernel,
		      struct ka_reference *reference)
{
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(lists) / sizeof(lists[0]); i++) {
		uint64_t start, stop;

		if (ka_symbols_find(kernel->symbols, lists[i].start, &start) ||
		    ka_symbols_find(kernel->symbols, lists[i].stop, &stop) ||
		    !has_list(vm, kernel, i))
			continue;
		err = list_read(vm, kernel, reference, lists[i].name, start, stop - start);
	}
	return err;
}

/* ---- as it was built ------------------------------------------------------------------------ */

static uint64_t relative_at(const struct ka_section *list, size_t at)
{
	int32_t distance;

	memcpy(&distance, list->bytes + at, sizeof(distance));
	return list->address + at + (uint64_t)(int64_t)distance;
}

static uint8_t *place_at(const struct ka_section *text, const struct ka_section *list, size_t at,
			 uint64_t *ret_address)
{
	*ret_address = relative_at(list, at);
	if (*ret_address < text->address || *ret_address - text->address >= text->len ||
	    text->len - (*ret_address - text->address) < BRANCH_BYTES)
		return NULL;
	return (uint8_t *)text->bytes + (*ret_address - text->address);
}

/* A breakpoint stands where the kernel patches, for a moment. */
static int labels_stand(const struct ka_section *text, const struct ka_section *list)
{
	uint64_t address;

	for (size_t at = 0; list && at + JUMP_ENTRY <= list->len; at += JUMP_ENTRY) {
		const uint8_t *place = place_at(text, list, at, &address);

		if (place && place[0] == OP_INT3)
			return -EAGAIN;
	}
	return 0;
}

/* Which kind of call it is, and so what it may become, is told by the code that was built alone: a CALL or
 * JMP to its trampoline. A conditional one stays one. */
static int static_calls_build(const struct ka_section *text, const struct ka_section *list)
{
	for (size_t at = 0; list && at + STATIC_CALL_ENTRY <= list->len; at += STATIC_CALL_ENTRY) {
		uint64_t address;
		uint8_t *place = place_at(text, list, at, &address);
		/* Modules may have the list at any address. */
		bool tail = relative_at(list, at + 4) & STATIC_CALL_TAIL;
		uint8_t op = tail ? OP_JMP32 : OP_CALL;

		if (!place)
			continue;
		if (place[0] == OP_INT3)
			return -EAGAIN;
		if (place[0] == op || (tail && place[0] == 0x0f && (place[1] & 0xf0) == 0x80))
			continue;
		memset(place, 0, BRANCH_BYTES);
		place[0] = op;
	}
	return 0;
}

static int text_build(struct ka_reference *reference, const struct ka_tracing *tracing)
{
	const struct ka_section *text = reference_find(reference, ".text");
	struct ka_text_boot boot = { .tracing = tracing };
	int err = labels_stand(text, reference_find(reference, "jump_table"));

	patch_undo_probes(NULL, &boot, text->address, (uint8_t *)text->bytes, text->len);
	return err ? err
		   : static_calls_build(text, reference_find(reference, "static_call_sites"));
}

/* Reads the guest for the judge: what ftrace sends functions through. */
struct reading {
	struct ka_vm *vm;
	const struct ka_kernel *kernel;
};

static int read_guest(void *ctx, uint64_t address, void *buf, size_t len)
{
	const struct reading *reading = ctx;

	return ka_gva_read(reading->vm, &reading->kernel->paging, address + reading->kernel->slide,
			   buf, len);
}

/* Where the CALL or JMP at an address of a text leads; does it leave that text, and its kernel's? */
static bool leaves(const struct patch_judge *judge, uint64_t address, const uint8_t *bytes)
{
	const struct ka_section *texts[] = { judge->text,
					     judge->kernel ? judge->kernel->text : judge->text };
	uint64_t target;
	int32_t distance;

	memcpy(&distance, bytes + 1, sizeof(distance));
	target = address + BRANCH_BYTES + (uint64_t)(int64_t)distance;
	for (size_t i = 0; i < 2; i++)
		if (target - texts[i]->address < texts[i]->len)
			return false;
	return true;
}

/* Modules have no names here. */
static bool may_begin_function(const struct patch_judge *judge, uint64_t address)
{
	uint64_t offset = 0;

	return judge->kernel ||
	       (ka_symbols_name(judge->reference->symbols, address, &offset) && !offset);
}

static unsigned int calls_allowed(const struct ka_section *text)
{
	uint64_t calls = CALLS_LEAST + text->len / CALL_BYTES;

	return calls < CALLS_MAX ? (unsigned int)calls : CALLS_MAX;
}

/*
 * Functions that are traced just now call ftrace where they begin, or behind their ENDBR. Each call that
 * leaves the text is looked into in the guest: -EAGAIN, they are too many.
 */
static int untrace(const struct patch_judge *judge, struct ka_text_boot *boot)
{
	static const uint8_t nop[BRANCH_BYTES] = { 0x0f, 0x1f, 0x44, 0, 0 };
	const struct ka_section *text = judge->text;
	uint64_t offset = -text->address % FUNCTION_ALIGNMENT;
	unsigned int calls = calls_allowed(text), behind = 0;

	while (offset + behind + BRANCH_BYTES <= text->len) {
		uint8_t *bytes = (uint8_t *)text->bytes + offset + behind;
		const struct patch_site site = { .address = text->address + offset + behind,
						 .kind = KA_PATCH_FTRACE,
						 .length = BRANCH_BYTES };

		if (bytes[0] == OP_CALL || bytes[0] == OP_JMP32) {
			bool leads_out = leaves(judge, site.address, bytes);
			bool looked_into =
				leads_out && may_begin_function(judge, site.address - behind);

			if (looked_into && !calls--)
				return -EAGAIN;
			if ((looked_into || !leads_out) &&
			    patch_accepts(judge, boot, &site, bytes))
				memcpy(bytes, nop, sizeof(nop));
		}
		offset += behind ? FUNCTION_ALIGNMENT : 0;
		behind = ENDBR_BYTES - behind;
	}
	return 0;
}

/* ---- all of it ------------------------------------------------------------------------------ */

/* Takes the bytes over, also on failure; -EBADMSG: they lie around the end of all addresses. */
static int reference_new(const struct ka_kernel *kernel, uint64_t start, uint8_t *bytes,
			 uint64_t len, struct ka_reference **ret_reference)
{
	struct ka_reference *reference = calloc(1, sizeof(*reference));
	int err;

	if (!reference) {
		free(bytes);
		return -ENOMEM;
	}
	reference->of_guest = true;
	reference->symbols = (struct ka_symbols *)kernel->symbols;
	err = reference_adopt(reference, ".text", start - kernel->slide, bytes, len);
	if (err) {
		ka_reference_free(reference);
		return err;
	}
	*ret_reference = reference;
	return 0;
}

/* Takes the reference over, also on failure. `kernel_text`: that of a module's kernel. */
static int text_make(struct ka_vm *vm, const struct ka_kernel *kernel,
		     const struct ka_text *kernel_text, struct ka_reference *reference,
		     const struct ka_tracing *tracing, struct ka_text **ret_text)
{
	struct ka_text *text = calloc(1, sizeof(*text));
	struct reading reading = { vm, kernel };
	struct ka_text_boot boot = {
		.slide = kernel->slide, .read = read_guest, .ctx = &reading, .tracing = tracing
	};
	int err = text ? text_build(reference, tracing) : -ENOMEM;

	if (!err)
		err = patch_judge_create(reference, kernel_text ? &kernel_text->judge : NULL,
					 &text->judge);
	if (err) {
		ka_reference_free(reference);
		free(text);
		return err;
	}
	text->own = reference;
	err = untrace(&text->judge, &boot);
	if (err) {
		ka_text_free(text);
		return err;
	}
	*ret_text = text;
	return 0;
}

int ka_text_from_guest(struct ka_vm *vm, const struct ka_kernel *kernel, uint8_t *bytes,
		       const struct ka_tracing *tracing, struct ka_text **ret_text)
{
	uint64_t len = kernel->text_end - kernel->text_start;
	struct ka_reference *reference = NULL;
	int err;

	if (!kernel->symbols || !ka_symbols_64bit(kernel->symbols) ||
	    kernel->text_end <= kernel->text_start || len > TEXT_MAX) {
		free(bytes);
		return -ENODATA;
	}
	err = reference_new(kernel, kernel->text_start, bytes, len, &reference);
	if (!err)
		err = lists_read(vm, kernel, reference);
	if (err) {
		ka_reference_free(reference);
		return err;
	}
	return text_make(vm, kernel, NULL, reference, tracing, ret_text);
}

/* ---- modules -------------------------------------------------------------------------------- */

static int module_lists_read(struct ka_vm *vm, const struct ka_kernel *kernel,
			     const struct ka_place_layout *layout, uint64_t gva,
			     struct ka_reference *reference)
{
	static const struct {
		const char *name;
		uint64_t entry;
	} kinds[MODULE_LISTS] = { [MODULE_JUMPS] = { "jump_table", JUMP_ENTRY },
				  [MODULE_CALLS] = { "static_call_sites", STATIC_CALL_ENTRY } };
	struct structs guest = structs_of(vm, kernel);
	struct module_list found[MODULE_LISTS];
	int err = module_lists(&guest, layout, gva, found);

	for (int i = 0; !err && i < MODULE_LISTS; i++)
		err = list_read(vm, kernel, reference, kinds[i].name, found[i].gva - kernel->slide,
				found[i].gva ? found[i].entries * kinds[i].entry : 0);
	return err;
}

int ka_module_text_from_guest(struct ka_vm *vm, const struct ka_kernel *kernel,
			      const struct ka_text *kernel_text,
			      const struct ka_place_layout *layout, const struct ka_module *module,
			      uint8_t *bytes, const struct ka_tracing *tracing,
			      struct ka_text **ret_text)
{
	struct ka_reference *reference = NULL;
	int err = reference_new(kernel, module->text_start, bytes, module->text_size, &reference);

	if (!err)
		err = module_lists_read(vm, kernel, layout, module->gva, reference);
	if (err) {
		ka_reference_free(reference);
		return err;
	}
	reference->kernel = kernel_text->judge.reference;
	return text_make(vm, kernel, kernel_text, reference, tracing, ret_text);
}
