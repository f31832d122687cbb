// SPDX-License-Identifier: LGPL-2.1-or-later
/* The table of a kernel's symbols: one arena of names, sorted by address and by name. */
#define _GNU_SOURCE
#include "symbols.h"
#include "symbols_build.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct symbol {
	uint64_t addr;
	uint32_t name; /* offset in the arena */
	char type;
	uint8_t rank;
};

struct ka_symbols {
	struct symbol *symbols; /* by address, rank, name */
	size_t count;
	size_t room;
	char *arena;
	size_t arena_len;
	size_t arena_room;
	uint32_t *by_name; /* first index of each hash of a name, NONE where there is none */
	uint32_t *next;	   /* the next index of the same hash, in the order of addresses */
	size_t by_name_mask;
	uint32_t *by_addr; /* the preferred symbol of each address inside the image */
	size_t by_addr_count;
	uint64_t image_start;
	uint64_t image_end;
	const char *source;
	unsigned int bits;
	bool has_vmcoreinfo;
	uint64_t vmcoreinfo; /* GPA */
	char build_id[2 * SYMBOLS_BUILD_ID_MAX + 1];
	char release[SYMBOLS_RELEASE_MAX + 1];
};

#define NONE UINT32_MAX

/* Which name speaks for an address that has several; lower is better. */
enum rank {
	RANK_SYSCALL,
	RANK_GLOBAL,
	RANK_LOCAL,
	RANK_WEAK,
	RANK_END, /* nothing between it and the next symbol has a name */
	RANK_BOUNDARY,
	RANK_ARTIFACT,
};

static bool starts_with(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool ends_with(const char *name, size_t len, const char *suffix)
{
	size_t suffix_len = strlen(suffix);

	return len >= suffix_len && memcmp(name + len - suffix_len, suffix, suffix_len) == 0;
}

static bool is_one_of(const char *name, const char *const *names)
{
	for (; *names; names++)
		if (strcmp(name, *names) == 0)
			return true;
	return false;
}

static bool is_artifact(const char *name)
{
	static const char *const prefixes[] = { "__pfx_", "__cfi_", "__kcfi_typeid_", ".L", "$" };
	size_t i;

	for (i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (starts_with(name, prefixes[i]))
			return true;
	return false;
}

/* Names that the linker script gives to the borders of sections. */
static bool is_boundary(const char *name, size_t len)
{
	static const char *const names[] = { "_text", "_stext",	      "_sinittext", "_sdata",
					     "_sbss", "__init_begin", "__init_end", NULL };

	if (len && (name[len - 1] == 't' || name[len - 1] == 'd') &&
	    (ends_with(name, len, "_start") || ends_with(name, len, "_end")))
		return true;
	return name[0] == '_' && (is_one_of(name, names) || starts_with(name, "__start_") ||
				  starts_with(name, "__stop_") || starts_with(name, "__end_"));
}

static enum rank symbol_rank(char type, const char *name, size_t len)
{
	static const char *const ends[] = { "_etext", "_einittext", "_edata", "_end", NULL };

	/* A table has hundreds of thousands: most are done with their first letter. */
	if (name[0] == '_' || name[0] == '.' || name[0] == '$') {
		if (starts_with(name, "__x64_sys_"))
			return RANK_SYSCALL;
		if (is_one_of(name, ends))
			return RANK_END;
		if (is_artifact(name))
			return RANK_ARTIFACT;
	}
	if (is_boundary(name, len))
		return RANK_BOUNDARY;
	if ((type | 0x20) == 'w' || (type | 0x20) == 'v')
		return RANK_WEAK;
	return islower((unsigned char)type) ? RANK_LOCAL : RANK_GLOBAL;
}

int symbols_create(struct ka_symbols **ret_symbols)
{
	struct ka_symbols *symbols = calloc(1, sizeof(*symbols));

	if (!symbols)
		return -ENOMEM;
	symbols->bits = 64;
	symbols->source = "System.map";
	*ret_symbols = symbols;
	return 0;
}

void ka_symbols_free(struct ka_symbols *symbols)
{
	if (!symbols)
		return;
	free(symbols->symbols);
	free(symbols->arena);
	free(symbols->by_name);
	free(symbols->next);
	free(symbols->by_addr);
	free(symbols);
}

static int symbols_reserve(struct ka_symbols *symbols, size_t name_len)
{
	if (symbols->count == symbols->room) {
		size_t room = symbols->room ? symbols->room * 2 : 1024;
		void *bigger = realloc(symbols->symbols, room * sizeof(*symbols->symbols));

		if (!bigger)
			return -ENOMEM;
		symbols->symbols = bigger;
		symbols->room = room;
	}
	if (symbols->arena_room - symbols->arena_len <= name_len) {
		size_t room = symbols->arena_room ? symbols->arena_room * 2 : 32768;
		void *bigger = realloc(symbols->arena, room);

		if (!bigger)
			return -ENOMEM;
		symbols->arena = bigger;
		symbols->arena_room = room;
	}
	return 0;
}

int symbols_add(struct ka_symbols *symbols, uint64_t addr, char type, const char *name, size_t len)
{
	struct symbol *symbol;
	char *copy;
	int err;

	if (len > SYMBOLS_NAME_MAX)
		return -ENAMETOOLONG;
	/* The arena stays below 4 GiB: its offsets have 32 bits. */
	if (symbols->count == SYMBOLS_COUNT_MAX || symbols->arena_len > UINT32_MAX / 2)
		return -EFBIG;
	err = symbols_reserve(symbols, len);
	if (err)
		return err;
	copy = symbols->arena + symbols->arena_len;
	memcpy(copy, name, len);
	copy[len] = '\0';
	symbol = &symbols->symbols[symbols->count++];
	*symbol = (struct symbol){
		.addr = addr,
		.name = symbols->arena_len,
		.type = type,
		.rank = symbol_rank(type, copy, len),
	};
	symbols->arena_len += len + 1;
	return 0;
}

void symbols_truncate(struct ka_symbols *symbols, size_t count)
{
	if (count >= symbols->count)
		return;
	symbols->arena_len = symbols->symbols[count].name;
	symbols->count = count;
}

void symbols_set_source(struct ka_symbols *symbols, const char *source)
{
	symbols->source = source;
}

void symbols_set_bits(struct ka_symbols *symbols, unsigned int bits)
{
	symbols->bits = bits;
}

void symbols_set_image(struct ka_symbols *symbols, uint64_t start, uint64_t end)
{
	symbols->image_start = start;
	symbols->image_end = end;
}

void symbols_set_release(struct ka_symbols *symbols, const char *release, size_t len)
{
	if (len > SYMBOLS_RELEASE_MAX)
		return;
	memcpy(symbols->release, release, len);
	symbols->release[len] = '\0';
}

void symbols_set_build_id(struct ka_symbols *symbols, const uint8_t *id, size_t len)
{
	if (len > SYMBOLS_BUILD_ID_MAX)
		return;
	for (size_t i = 0; i < len; i++)
		sprintf(&symbols->build_id[2 * i], "%02x", id[i]);
}

void symbols_set_vmcoreinfo(struct ka_symbols *symbols, uint64_t gpa)
{
	symbols->has_vmcoreinfo = true;
	symbols->vmcoreinfo = gpa;
}

static const char *symbol_name(const struct ka_symbols *symbols, const struct symbol *symbol)
{
	return symbols->arena + symbol->name;
}

/* Fewer leading underscores, then shorter, then by letters: "memcpy" before "__memcpy". */
static int compare_taste(const char *a, const char *b)
{
	size_t score_a = strspn(a, "_") * 1024 + strlen(a);
	size_t score_b = strspn(b, "_") * 1024 + strlen(b);

	if (score_a != score_b)
		return score_a < score_b ? -1 : 1;
	return strcmp(a, b);
}

static int compare_address(const void *left, const void *right, void *arg)
{
	const struct symbol *a = left, *b = right;

	if (a->addr != b->addr)
		return a->addr < b->addr ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return compare_taste(symbol_name(arg, a), symbol_name(arg, b));
}

/* Most sources come sorted by address: then only the names of one address are to be sorted. */
static void sort_symbols(struct ka_symbols *symbols)
{
	struct symbol *all = symbols->symbols;
	size_t i, same;

	for (i = 1; i < symbols->count && all[i - 1].addr <= all[i].addr; i++)
		;
	if (i < symbols->count) {
		qsort_r(all, symbols->count, sizeof(*all), compare_address, symbols);
		return;
	}
	for (i = 0; i < symbols->count; i += same) {
		for (same = 1; i + same < symbols->count && all[i + same].addr == all[i].addr;)
			same++;
		if (same > 1)
			qsort_r(all + i, same, sizeof(*all), compare_address, symbols);
	}
}

/* FNV-1a. A guest that makes its names collide makes lookups slow, in its own table. */
static uint32_t name_hash(const char *name)
{
	uint32_t hash = 2166136261u;

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 16777619u;
	return hash;
}

static int index_names(struct ka_symbols *symbols)
{
	size_t room = 1;

	while (room < symbols->count)
		room *= 2;
	symbols->by_name_mask = room - 1;
	symbols->by_name = malloc(room * sizeof(*symbols->by_name));
	symbols->next = malloc(symbols->count * sizeof(*symbols->next));
	if (!symbols->by_name || !symbols->next)
		return -ENOMEM;
	memset(symbols->by_name, 0xff, room * sizeof(*symbols->by_name));
	for (size_t i = symbols->count; i-- > 0;) {
		uint32_t hash = name_hash(symbol_name(symbols, &symbols->symbols[i]));

		symbols->next[i] = symbols->by_name[hash & symbols->by_name_mask];
		symbols->by_name[hash & symbols->by_name_mask] = i;
	}
	return 0;
}

static bool in_kernel_half(const struct ka_symbols *symbols, uint64_t addr)
{
	return symbols->bits == 64 ? addr >> 63 : addr >= 0x40000000;
}

void symbols_rebase(struct ka_symbols *symbols, uint64_t slide)
{
	for (size_t i = 0; i < symbols->count; i++)
		if (in_kernel_half(symbols, symbols->symbols[i].addr))
			symbols->symbols[i].addr -= slide;
}

/* Per-CPU offsets that are typed like data are told by their addresses, below the image. */
static bool is_absolute(const struct symbol *symbol)
{
	return symbol->type == 'A' || symbol->type == 'a';
}

static void find_image(struct ka_symbols *symbols)
{
	uint64_t start = 0, end = 0;
	size_t i;

	if (symbols->image_end)
		return;
	for (i = 0; i < symbols->count; i++) {
		const struct symbol *symbol = &symbols->symbols[i];

		if (is_absolute(symbol) || !in_kernel_half(symbols, symbol->addr))
			continue;
		if (!start)
			start = symbol->addr;
		/* Wraps to 0, an empty image, for a symbol at the very last byte only. */
		end = symbol->addr + 1;
	}
	ka_symbols_find(symbols, "_stext", &start);
	ka_symbols_find(symbols, "_text", &start);
	ka_symbols_find(symbols, "_end", &end);
	symbols_set_image(symbols, start, end);
}

static int index_addresses(struct ka_symbols *symbols)
{
	const struct symbol *last = NULL;
	size_t i;

	symbols->by_addr = calloc(symbols->count + 1, sizeof(*symbols->by_addr));
	if (!symbols->by_addr)
		return -ENOMEM;
	for (i = 0; i < symbols->count; i++) {
		const struct symbol *symbol = &symbols->symbols[i];

		if (is_absolute(symbol) || symbol->addr < symbols->image_start ||
		    symbol->addr >= symbols->image_end)
			continue;
		if (last && last->addr == symbol->addr)
			continue;
		last = symbol;
		symbols->by_addr[symbols->by_addr_count++] = i;
	}
	return 0;
}

int symbols_seal(struct ka_symbols *symbols)
{
	int err;

	if (!symbols->count)
		return 0;
	sort_symbols(symbols);
	err = index_names(symbols);
	if (err)
		return err;
	find_image(symbols);
	return index_addresses(symbols);
}

static int find(const struct ka_symbols *symbols, const char *name, bool global,
		uint64_t *ret_addr)
{
	const struct symbol *found = NULL;
	uint32_t i = NONE;

	if (symbols->by_name)
		i = symbols->by_name[name_hash(name) & symbols->by_name_mask];
	for (; i != NONE; i = symbols->next[i]) {
		const struct symbol *symbol = &symbols->symbols[i];

		if (strcmp(symbol_name(symbols, symbol), name) ||
		    (global && (symbol->type < 'A' || symbol->type > 'Z')))
			continue;
		if (found && symbol->addr != found->addr)
			return -ENOTUNIQ;
		found = symbol;
	}
	if (!found)
		return -ENOENT;
	*ret_addr = found->addr;
	return 0;
}

int ka_symbols_find(const struct ka_symbols *symbols, const char *name, uint64_t *ret_addr)
{
	return find(symbols, name, false, ret_addr);
}

int symbols_find_global(const struct ka_symbols *symbols, const char *name, uint64_t *ret_addr)
{
	return find(symbols, name, true, ret_addr);
}

/* Has it this name at this address? *ret_other: where else; 0: nowhere. */
static bool stands_at(const struct ka_symbols *symbols, const char *name, uint64_t addr,
		      uint64_t *ret_other)
{
	uint32_t i = NONE;

	*ret_other = 0;
	if (symbols->by_name)
		i = symbols->by_name[name_hash(name) & symbols->by_name_mask];
	for (; i != NONE; i = symbols->next[i]) {
		const struct symbol *symbol = &symbols->symbols[i];

		if (strcmp(symbol_name(symbols, symbol), name))
			continue;
		if (symbol->addr == addr)
			return true;
		*ret_other = symbol->addr;
	}
	return false;
}

size_t ka_symbols_compare(const struct ka_symbols *symbols, const struct ka_symbols *others,
			  struct ka_symbol_difference *differences, size_t max)
{
	size_t found = 0;

	for (size_t i = 0; i < others->count; i++) {
		const struct symbol *symbol = &others->symbols[i];
		const char *name = symbol_name(others, symbol);
		uint64_t address;

		if (is_absolute(symbol) || !in_kernel_half(others, symbol->addr) ||
		    stands_at(symbols, name, symbol->addr, &address) || !address)
			continue;
		if (found < max) {
			differences[found].address = address;
			differences[found].other = symbol->addr;
			snprintf(differences[found].name, sizeof(differences[found].name), "%s",
				 name);
		}
		found++;
	}
	return found;
}

const char *ka_symbols_name(const struct ka_symbols *symbols, uint64_t addr, uint64_t *ret_offset)
{
	size_t low = 0, high = symbols->by_addr_count;
	const struct symbol *symbol;

	if (addr < symbols->image_start || addr >= symbols->image_end)
		return NULL;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (symbols->symbols[symbols->by_addr[middle]].addr <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return NULL;
	symbol = &symbols->symbols[symbols->by_addr[low - 1]];
	if (symbol->rank == RANK_END && symbol->addr != addr)
		return NULL;
	*ret_offset = addr - symbol->addr;
	return symbol_name(symbols, symbol);
}

size_t symbols_count(const struct ka_symbols *symbols)
{
	return symbols->count;
}

struct symbols_entry symbols_at(const struct ka_symbols *symbols, size_t index)
{
	const struct symbol *symbol = &symbols->symbols[index];

	return (struct symbols_entry){
		.addr = symbol->addr,
		.name = symbol_name(symbols, symbol),
		.type = symbol->type,
	};
}

uint64_t symbols_next(const struct ka_symbols *symbols, uint64_t address)
{
	size_t low = 0, high = symbols_count(symbols);

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (symbols_at(symbols, middle).addr <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < symbols_count(symbols) ? symbols_at(symbols, low).addr : 0;
}

const char *ka_symbols_build_id(const struct ka_symbols *symbols)
{
	return symbols->build_id;
}

void symbols_image(const struct ka_symbols *symbols, uint64_t *ret_start, uint64_t *ret_end)
{
	*ret_start = symbols->image_start;
	*ret_end = symbols->image_end;
}

bool ka_symbols_64bit(const struct ka_symbols *symbols)
{
	return symbols->bits == 64;
}

const char *ka_symbols_release(const struct ka_symbols *symbols)
{
	return symbols->release;
}

const char *ka_symbols_source(const struct ka_symbols *symbols)
{
	return symbols->source;
}

int ka_symbols_vmcoreinfo(const struct ka_symbols *symbols, uint64_t *ret_gpa)
{
	if (!symbols->has_vmcoreinfo)
		return -ENODATA;
	*ret_gpa = symbols->vmcoreinfo;
	return 0;
}

size_t ka_symbols_count(const struct ka_symbols *symbols)
{
	return symbols->count;
}
