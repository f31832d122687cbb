// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The places of a kernel's text that the kernel itself patches, as its image lists them. Lists name
 * a place by its distance from where the list does, or by its address.
 */
#include "patch_sites.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "insn.h"
#include "symbols.h"

enum {
	SITES_MAX = 4 << 20,
	DIRECT_CALL = 1 << 1, /* ALT_FLAG_DIRECT_CALL */
	CALL_BYTES = 5,
};

struct builder {
	const struct ka_reference *reference;
	struct patch_sites *sites;
	const struct ka_section *text, *replacements;
	bool is_64bit;
	unsigned int constants; /* lists of them */
};

static const uint8_t *bytes_at(const struct builder *builder, uint64_t address, size_t *ret_len)
{
	const struct ka_section *sections[] = { builder->text, builder->replacements };

	for (size_t i = 0; i < 2; i++) {
		const struct ka_section *section = sections[i];

		if (!section || address < section->address ||
		    address - section->address >= section->len)
			continue;
		*ret_len = section->len - (address - section->address);
		return section->bytes + (address - section->address);
	}
	return NULL;
}

static struct patch_site *site_add(struct builder *builder, enum ka_patch_kind kind,
				   uint64_t address, unsigned int length)
{
	struct patch_sites *sites = builder->sites;

	if (sites->count == sites->room) {
		size_t room = sites->room ? sites->room * 2 : 4096;
		void *bigger =
			room > SITES_MAX ? NULL : realloc(sites->site, room * sizeof(*sites->site));

		if (!bigger)
			return NULL;
		sites->site = bigger;
		sites->room = room;
	}
	sites->site[sites->count] =
		(struct patch_site){ .address = address, .kind = kind, .length = (uint8_t)length };
	return &sites->site[sites->count++];
}

/* A site of an instruction's length; those in code that is thrown away after boot are left out. */
static int site_of_insn(struct builder *builder, enum ka_patch_kind kind, uint64_t address)
{
	struct insn insn;
	size_t len;
	const uint8_t *bytes = bytes_at(builder, address, &len);

	if (!bytes)
		return 0;
	if (!insn_decode(bytes, len, builder->is_64bit, &insn))
		return -EBADMSG;
	return site_add(builder, kind, address, insn.length) ? 0 : -ENOMEM;
}

static int site_of_bytes(struct builder *builder, enum ka_patch_kind kind, uint64_t address,
			 unsigned int length)
{
	size_t len;

	if (!bytes_at(builder, address, &len))
		return 0;
	if (len < length)
		return -EBADMSG;
	return site_add(builder, kind, address, length) ? 0 : -ENOMEM;
}

static uint64_t relative_at(const struct builder *builder, const struct ka_section *list, size_t at)
{
	uint64_t address;
	int32_t distance;

	memcpy(&distance, list->bytes + at, 4);
	address = list->address + at + (uint64_t)(int64_t)distance;
	return builder->is_64bit ? address : (uint32_t)address;
}

static uint64_t address_at(const struct builder *builder, const struct ka_section *list, size_t at)
{
	uint64_t address = 0;

	memcpy(&address, list->bytes + at, builder->is_64bit ? 8 : 4);
	return address;
}

/* ---- the lists ----------------------------------------------------------------------------- */

/* Distances of 4 bytes each. `length` 0: of the instruction there. */
static const struct {
	const char *name;
	enum ka_patch_kind kind;
	unsigned int length;
} relative_lists[] = {
	{ ".retpoline_sites", KA_PATCH_RETPOLINE, 0 },
	{ ".return_sites", KA_PATCH_RETURN, 0 },
	{ ".call_sites", KA_PATCH_CALL, 0 },
	{ ".ibt_endbr_seal", KA_PATCH_ENDBR, 4 },
	{ ".smp_locks", KA_PATCH_SMP_LOCK, 1 },
};

/* Such distances, too: of constants that the kernel puts into its code, a list each. */
static const struct {
	const char *prefix;
	enum ka_patch_kind kind;
	unsigned int length;
} constant_lists[] = {
	{ "runtime_shift_", KA_PATCH_RUNTIME_SHIFT, 1 },
	{ "runtime_mask_", KA_PATCH_RUNTIME_MASK, 4 },
	{ "runtime_ptr_USER_PTR_MAX", KA_PATCH_RUNTIME_LIMIT, 8 },
	{ "runtime_ptr_", KA_PATCH_RUNTIME_POINTER, 8 },
};

static int add_relative(struct builder *builder)
{
	int err = 0;

	for (size_t i = 0; i < sizeof(relative_lists) / sizeof(relative_lists[0]); i++) {
		const struct ka_section *list =
			reference_find(builder->reference, relative_lists[i].name);

		for (size_t at = 0; !err && list && at + 4 <= list->len; at += 4) {
			uint64_t address = relative_at(builder, list, at);

			err = relative_lists[i].length
				      ? site_of_bytes(builder, relative_lists[i].kind, address,
						      relative_lists[i].length)
				      : site_of_insn(builder, relative_lists[i].kind, address);
		}
	}
	return err;
}

static int add_constant(struct builder *builder, const struct ka_section *list,
			enum ka_patch_kind kind, unsigned int length)
{
	struct patch_sites *sites = builder->sites;
	int err = 0;

	if (builder->constants == KA_RUNTIME_CONSTANTS_MAX)
		return -EBADMSG;
	for (size_t at = 0; !err && at + 4 <= list->len; at += 4) {
		size_t before = sites->count;

		err = site_of_bytes(builder, kind, relative_at(builder, list, at), length);
		if (!err && sites->count > before)
			sites->site[before].index = builder->constants;
	}
	builder->constants++;
	return err;
}

static int add_constants(struct builder *builder)
{
	const struct ka_reference *reference = builder->reference;
	int err = 0;

	for (size_t i = 0; !err && i < reference->count; i++)
		for (size_t k = 0; k < sizeof(constant_lists) / sizeof(constant_lists[0]); k++) {
			const char *prefix = constant_lists[k].prefix;

			if (strncmp(reference->sections[i].name, prefix, strlen(prefix)))
				continue;
			err = add_constant(builder, &reference->sections[i], constant_lists[k].kind,
					   constant_lists[k].length);
			break;
		}
	return err;
}

static int add_ftrace(struct builder *builder)
{
	const struct ka_section *list = reference_find(builder->reference, "mcount_loc");
	size_t size = builder->is_64bit ? 8 : 4;
	int err = 0;

	for (size_t at = 0; !err && list && at + size <= list->len; at += size)
		err = site_of_bytes(builder, KA_PATCH_FTRACE, address_at(builder, list, at),
				    CALL_BYTES);
	return err;
}

/* struct paravirt_patch_site: address, type, length, and padding to a multiple of an address. */
static int add_paravirt(struct builder *builder)
{
	const struct ka_section *list = reference_find(builder->reference, ".parainstructions");
	size_t size = builder->is_64bit ? 8 : 4;
	int err = 0;

	for (size_t at = 0; !err && list && at + size + 2 <= list->len; at += 2 * size)
		err = site_of_bytes(builder, KA_PATCH_PARAVIRT, address_at(builder, list, at),
				    list->bytes[at + size + 1]);
	return err;
}

/* A site of an instruction and the address that belongs to it. */
static int site_with_target(struct builder *builder, enum ka_patch_kind kind, uint64_t address,
			    uint64_t target)
{
	struct patch_sites *sites = builder->sites;
	size_t before = sites->count;
	int err = site_of_insn(builder, kind, address);

	if (!err && sites->count > before) {
		sites->site[before].index = (uint32_t)sites->targets;
		sites->target[sites->targets++] = target;
	}
	return err;
}

/* struct jump_entry: code, target, and a key as long as an address. */
static int add_jump_labels(struct builder *builder, const struct ka_section *list)
{
	size_t size = builder->is_64bit ? 16 : 12;
	int err = 0;

	for (size_t at = 0; !err && list && at + size <= list->len; at += size)
		err = site_with_target(builder, KA_PATCH_JUMP_LABEL, relative_at(builder, list, at),
				       relative_at(builder, list, at + 4));
	return err;
}

/*
 * Keys and trampolines go by the name of the call: __SCK__name, __SCT__name. A module that may not
 * have the key of a kernel's call names its trampoline in its place.
 */
static uint64_t trampoline_of(const struct builder *builder, uint64_t key)
{
	uint64_t offset = 0;
	const char *name = reference_name(builder->reference, key, &offset);
	char other[512];

	if (!name || offset || strlen(name) >= sizeof(other))
		return 0;
	if (!strncmp(name, "__SCT__", 7))
		return key;
	if (strncmp(name, "__SCK__", 7))
		return 0;
	strcpy(other, name);
	other[4] = 'T';
	return reference_symbol(builder->reference, other);
}

/* struct static_call_site: code, and the key with flags in its lowest bits. */
static int add_static_calls(struct builder *builder, const struct ka_section *list)
{
	int err = 0;

	for (size_t at = 0; !err && list && at + 8 <= list->len; at += 8)
		err = site_with_target(
			builder, KA_PATCH_STATIC_CALL, relative_at(builder, list, at),
			trampoline_of(builder, relative_at(builder, list, at + 4) & ~3ull));
	return err;
}

static int add_with_targets(struct builder *builder)
{
	const struct ka_section *labels = reference_find(builder->reference, "jump_table");
	const struct ka_section *calls = reference_find(builder->reference, "static_call_sites");
	size_t room = 1 + (labels ? labels->len / 12 : 0) + (calls ? calls->len / 8 : 0);
	int err;

	builder->sites->target = calloc(room, sizeof(*builder->sites->target));
	if (!builder->sites->target)
		return -ENOMEM;
	err = add_jump_labels(builder, labels);
	return err ? err : add_static_calls(builder, calls);
}

/* Trampolines of static calls, and the calls in ftrace's own, are listed by their names alone. */
static int add_named(struct builder *builder)
{
	const struct ka_symbols *symbols = builder->reference->symbols;
	int err = 0;

	/* Those of a guest's module have no names. */
	if (builder->reference->of_guest && builder->reference->kernel)
		return 0;
	for (size_t i = 0; !err && i < symbols_count(symbols); i++) {
		struct symbols_entry entry = symbols_at(symbols, i);

		if (!strncmp(entry.name, "__SCT__", 7))
			err = site_of_bytes(builder, KA_PATCH_STATIC_CALL_TRAMPOLINE, entry.addr,
					    CALL_BYTES);
		else if (!strcmp(entry.name, "ftrace_call") ||
			 !strcmp(entry.name, "ftrace_regs_call") ||
			 !strcmp(entry.name, "ftrace_graph_call"))
			err = site_of_bytes(builder, KA_PATCH_FTRACE_CALL, entry.addr, CALL_BYTES);
	}
	return err;
}

/* Functions that leave room before them for the thunk that counts calls. */
static int add_call_pads(struct builder *builder)
{
	const struct ka_section *thunk =
		reference_find_shared(builder->reference, "call_thunk_template");
	const struct ka_symbols *symbols = builder->reference->symbols;
	int err = 0;

	for (size_t i = 0; !err && thunk && thunk->len < 64 && i < symbols_count(symbols); i++) {
		uint64_t pad = symbols_at(symbols, i).addr - thunk->len;
		size_t len, nops = 0;
		const uint8_t *bytes = bytes_at(builder, pad, &len);

		while (bytes && nops < thunk->len && nops < len && bytes[nops] == 0x90)
			nops++;
		if (nops == thunk->len)
			err = site_of_bytes(builder, KA_PATCH_CALL_THUNK, pad,
					    (unsigned int)thunk->len);
	}
	return err;
}

/* ---- alternatives -------------------------------------------------------------------------- */

/* struct alt_instr: two distances, a feature (with flags since Linux 6.3), two lengths. */
static bool alternatives_fit(const struct builder *builder, const struct ka_section *list,
			     size_t size)
{
	size_t len;

	if (list->len % size)
		return false;
	for (size_t at = 0; at < list->len; at += size) {
		unsigned int replaced = list->bytes[at + size - 2];
		unsigned int length = list->bytes[at + size - 1];

		if (length > replaced && size == 12)
			return false;
		if (length &&
		    (!bytes_at(builder, relative_at(builder, list, at + 4), &len) || len < length))
			return false;
	}
	return true;
}

static int alternative_add(struct builder *builder, const struct ka_section *list, size_t at,
			   size_t size)
{
	struct patch_sites *sites = builder->sites;
	struct patch_site *last = sites->count ? &sites->site[sites->count - 1] : NULL;
	uint64_t address = relative_at(builder, list, at);
	unsigned int length = list->bytes[at + size - 2];
	size_t len;

	if (!bytes_at(builder, address, &len))
		return 0;
	if (len < length)
		return -EBADMSG;
	/* Consecutive entries of one place are alternatives to each other. */
	if (!last || last->kind != KA_PATCH_ALTERNATIVE || last->address != address ||
	    last->count == UINT8_MAX) {
		last = site_add(builder, KA_PATCH_ALTERNATIVE, address, length);
		if (!last)
			return -ENOMEM;
		last->index = (uint32_t)sites->alternatives;
	}
	if (length > last->length)
		last->length = (uint8_t)length;
	last->count++;
	sites->alternative[sites->alternatives++] = (struct patch_alternative){
		.replacement = relative_at(builder, list, at + 4),
		.length = list->bytes[at + size - 1],
		.direct_call = size == 14 && (list->bytes[at + 10] & DIRECT_CALL),
	};
	return 0;
}

static int add_alternatives(struct builder *builder)
{
	const struct ka_section *list = reference_find(builder->reference, ".altinstructions");
	size_t size = 0;
	int err = 0;

	if (!list)
		return 0;
	for (size_t candidate = 12; !size && candidate <= 14; candidate += 2)
		if (alternatives_fit(builder, list, candidate))
			size = candidate;
	if (!size)
		return -EBADMSG;
	builder->sites->alternative =
		calloc(list->len / size + 1, sizeof(*builder->sites->alternative));
	if (!builder->sites->alternative)
		return -ENOMEM;
	for (size_t at = 0; !err && at < list->len; at += size)
		err = alternative_add(builder, list, at, size);
	return err;
}

/* ---- all of them --------------------------------------------------------------------------- */

static int compare_sites(const void *left, const void *right)
{
	const struct patch_site *a = left, *b = right;

	if (a->address != b->address)
		return a->address < b->address ? -1 : 1;
	if (a->length != b->length)
		return a->length > b->length ? -1 : 1;
	return (int)a->kind - (int)b->kind;
}

int patch_sites_create(const struct ka_reference *reference, struct patch_sites *ret_sites)
{
	static int (*const steps[])(struct builder * builder) = {
		add_alternatives, add_relative,	    add_constants, add_ftrace,
		add_paravirt,	  add_with_targets, add_named,	   add_call_pads,
	};
	struct patch_sites sites = { 0 };
	struct builder builder = {
		.reference = reference,
		.sites = &sites,
		.text = reference_find(reference, ".text"),
		.replacements = reference_find(reference, ".altinstr_replacement"),
		.is_64bit = ka_symbols_64bit(reference->symbols),
	};
	int err = builder.text ? 0 : -ENODATA;

	for (size_t i = 0; !err && i < sizeof(steps) / sizeof(steps[0]); i++)
		err = steps[i](&builder);
	if (err) {
		patch_sites_destroy(&sites);
		return err;
	}
	if (sites.count)
		qsort(sites.site, sites.count, sizeof(*sites.site), compare_sites);
	*ret_sites = sites;
	return 0;
}

void patch_sites_destroy(struct patch_sites *sites)
{
	free(sites->site);
	free(sites->alternative);
	free(sites->target);
}

size_t patch_sites_from(const struct patch_sites *sites, uint64_t address)
{
	size_t low = 0, high = sites->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (sites->site[middle].address < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}
