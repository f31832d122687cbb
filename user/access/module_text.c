// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the text and read-only data of a module should be where it lies in a guest: its sections,
 * laid out and relocated as the kernel's loader does it (arch/x86/kernel/module.c), less the
 * kernel's slide, so that the kernel and its modules are told of in one address space.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_text.h"
#include "module_image.h"
#include "symbols_build.h"

enum { PAGE = 4096, RELOCS_MAX = 1 << 20 };

/* Of what is gone once the module runs: nothing that stays refers to it. */
static const uint64_t nowhere = 1ull << 40;

/* Words that KASLR moves, as a reference has them. */
struct words {
	uint32_t *word;
	size_t count, room;
};

struct builder {
	const struct ka_text *kernel;
	const struct ka_module_image *image;
	const struct ka_module_place *place;
	uint64_t slide;
	ka_module_resolve resolve;
	void *ctx;
	struct ka_reference *reference;
	struct words words_32, inverse_32, words_64;
};

/* ---- symbols -------------------------------------------------------------------------------- */

static bool is_moved(uint64_t value)
{
	return value >= 0xffffffff80000000ull;
}

/* Where a section lies, less the slide. */
static uint64_t section_address(const struct builder *builder, size_t section)
{
	uint64_t gva;

	if (module_address(builder->image, builder->place, section, &gva))
		return nowhere;
	return is_moved(gva) ? gva - builder->slide : gva;
}

static int symbol_outside(const struct builder *builder, const GElf_Sym *symbol,
			  uint64_t *ret_value)
{
	const char *name = module_symbol_name(builder->image, symbol);
	uint64_t gva;

	if (!name)
		return -EBADMSG;
	if (!symbols_find_global(builder->kernel->judge.reference->symbols, name, ret_value))
		return 0;
	if (builder->resolve && !builder->resolve(builder->ctx, name, &gva)) {
		*ret_value = is_moved(gva) ? gva - builder->slide : gva;
		return 0;
	}
	if (GELF_ST_BIND(symbol->st_info) != STB_WEAK)
		return -ENODATA;
	*ret_value = 0;
	return 0;
}

static int symbol_value(const struct builder *builder, size_t index, uint64_t *ret_value)
{
	GElf_Sym symbol;

	if (!builder->image->symbols || index >= builder->image->symbol_count ||
	    !gelf_getsym(builder->image->symbols, (int)index, &symbol))
		return -EBADMSG;
	if (symbol.st_shndx == SHN_UNDEF)
		return symbol_outside(builder, &symbol, ret_value);
	if (symbol.st_shndx == SHN_ABS)
		*ret_value = symbol.st_value;
	else if (symbol.st_shndx < builder->image->count)
		*ret_value = section_address(builder, symbol.st_shndx) + symbol.st_value;
	else
		return -EBADMSG;
	return 0;
}

static int symbols_take(struct builder *builder)
{
	const struct ka_module_image *image = builder->image;
	struct ka_symbols *symbols;
	int err = symbols_create(&symbols);

	if (err)
		return err;
	builder->reference->symbols = symbols;
	symbols_set_bits(symbols, 64);
	symbols_set_source(symbols, "reference");
	symbols_set_image(symbols, 0xffffffff80000000ull, UINT64_MAX);
	for (size_t i = 1; !err && i < image->symbol_count; i++) {
		bool local;
		GElf_Sym symbol;
		const char *name;

		if (!gelf_getsym(image->symbols, (int)i, &symbol))
			return -EBADMSG;
		name = module_symbol_name(image, &symbol);
		local = GELF_ST_BIND(symbol.st_info) == STB_LOCAL;
		if (!name || !name[0] || !symbol.st_shndx || symbol.st_shndx >= image->count ||
		    GELF_ST_TYPE(symbol.st_info) == STT_SECTION ||
		    image->sections[symbol.st_shndx].region < 0)
			continue;
		err = symbols_add(symbols,
				  section_address(builder, symbol.st_shndx) + symbol.st_value,
				  local ? 't' : 'T', name, strlen(name));
	}
	return err ? err : symbols_seal(symbols);
}

/* ---- relocations ---------------------------------------------------------------------------- */

static int words_add(struct words *words, uint64_t address)
{
	if (words->count == words->room) {
		size_t room = words->room ? words->room * 2 : 64;
		void *bigger = room > RELOCS_MAX
				       ? NULL
				       : realloc(words->word, room * sizeof(*words->word));

		if (!bigger)
			return -ENOMEM;
		words->word = bigger;
		words->room = room;
	}
	words->word[words->count++] = (uint32_t)address;
	return 0;
}

/* A word at `address`, whose bytes are at `at`, with `room` bytes to the section's end. */
static int relocate_word(struct builder *builder, const GElf_Rela *rela, uint64_t address,
			 uint8_t *at, size_t room, bool keep)
{
	unsigned int type = GELF_R_TYPE(rela->r_info);
	size_t size = type == R_X86_64_64 || type == R_X86_64_PC64 ? 8 : 4;
	struct words *words = NULL;
	uint64_t symbol, value;
	int err;

	if (type == R_X86_64_NONE)
		return 0;
	if (room < size)
		return -EBADMSG;
	err = symbol_value(builder, GELF_R_SYM(rela->r_info), &symbol);
	if (err)
		return err;
	value = symbol + (uint64_t)rela->r_addend;
	switch (type) {
	case R_X86_64_64:
		words = is_moved(symbol) ? &builder->words_64 : NULL;
		break;
	case R_X86_64_32:
	case R_X86_64_32S:
		words = is_moved(symbol) ? &builder->words_32 : NULL;
		break;
	case R_X86_64_PC64:
	case R_X86_64_PC32:
	case R_X86_64_PLT32:
		value -= address;
		words = is_moved(symbol) ? NULL : &builder->inverse_32;
		break;
	default:
		return -EBADMSG;
	}
	memcpy(at, &value, size);
	return keep && words ? words_add(words, address) : 0;
}

/* `keep`: what KASLR moves is told in the reference. */
static int relocate(struct builder *builder, size_t section, uint64_t address, uint8_t *bytes,
		    bool keep)
{
	Elf_Data *data = module_relocations(builder->image, section);
	uint64_t size = builder->image->sections[section].size;
	size_t count = data ? data->d_size / sizeof(Elf64_Rela) : 0;
	int err = 0;

	for (size_t i = 0; !err && i < count; i++) {
		GElf_Rela rela;

		if (!gelf_getrela(data, (int)i, &rela) || rela.r_offset >= size)
			return -EBADMSG;
		err = relocate_word(builder, &rela, address + rela.r_offset, bytes + rela.r_offset,
				    size - rela.r_offset, keep);
	}
	return err;
}

/* ---- sections ------------------------------------------------------------------------------- */

/* A region as one section; between its sections, and to the end of its last page, is nothing. */
static int take_region(struct builder *builder, enum ka_module_region region,
		       bool (*wanted)(const char *name), const char *name, uint64_t len)
{
	const struct ka_module_image *image = builder->image;
	uint64_t base = builder->place->base[region] - builder->slide;
	uint8_t *bytes = len ? calloc(1, len) : NULL;
	int err = bytes ? 0 : len ? -ENOMEM : -ENODATA;

	for (size_t i = 1; !err && i < image->count; i++) {
		const struct module_section *section = &image->sections[i];

		if (section->region != (int)region || !section->bytes || !section->size ||
		    (wanted && !wanted(section->name)))
			continue;
		memcpy(bytes + section->offset, section->bytes, section->size);
		err = relocate(builder, i, base + section->offset, bytes + section->offset, true);
	}
	if (err) {
		free(bytes);
		return err;
	}
	return reference_adopt(builder->reference, name, base, bytes, len);
}

/* Lists of places that the kernel patches, as a kernel's image has them. */
static int take_lists(struct builder *builder)
{
	static const char *const lists[][2] = {
		{ ".altinstructions", ".altinstructions" },
		{ ".parainstructions", ".parainstructions" },
		{ ".retpoline_sites", ".retpoline_sites" },
		{ ".return_sites", ".return_sites" },
		{ ".call_sites", ".call_sites" },
		{ ".ibt_endbr_seal", ".ibt_endbr_seal" },
		{ ".smp_locks", ".smp_locks" },
		{ "__mcount_loc", "mcount_loc" },
		{ "__jump_table", "jump_table" },
		{ ".static_call_sites", "static_call_sites" },
	};
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(lists) / sizeof(lists[0]); i++) {
		const struct module_section *section = module_section(builder->image, lists[i][0]);
		uint64_t address;
		uint8_t *bytes;
		size_t index;

		if (!section || !section->bytes || !section->size)
			continue;
		bytes = malloc(section->size);
		if (!bytes)
			return -ENOMEM;
		index = (size_t)(section - builder->image->sections);
		address = section_address(builder, index);
		memcpy(bytes, section->bytes, section->size);
		err = relocate(builder, index, address, bytes, false);
		if (err)
			free(bytes);
		else
			err = reference_adopt(builder->reference, lists[i][1], address, bytes,
					      section->size);
	}
	return err;
}

static int compare_words(const void *left, const void *right)
{
	uint32_t a, b;

	memcpy(&a, left, 4);
	memcpy(&b, right, 4);
	return a < b ? -1 : a > b;
}

static int take_words(struct builder *builder, const char *name, struct words *words)
{
	uint8_t *bytes = (uint8_t *)words->word;

	if (!words->count)
		return 0;
	qsort(bytes, words->count, 4, compare_words);
	words->word = NULL;
	return reference_adopt(builder->reference, name, 0, bytes, words->count * 4);
}

static int take_all_words(struct builder *builder)
{
	int err = take_words(builder, REFERENCE_RELOCS_32, &builder->words_32);

	if (!err)
		err = take_words(builder, REFERENCE_RELOCS_INVERSE_32, &builder->inverse_32);
	if (!err)
		err = take_words(builder, REFERENCE_RELOCS_64, &builder->words_64);
	return err;
}

/* ---- read-only data ------------------------------------------------------------------------- */

/*
 * Sections that nobody writes to once the module runs. The others of that region are left out:
 * tables that the kernel sorts as it loads a module (exceptions, unwinding, ftrace's places), lists
 * of places that it patches, which are of use to it only then, and notes.
 */
static bool stays_as_built(const char *name)
{
	static const char *const begins[] = { ".rodata", ".data.rel.ro", "__param", "__ksymtab",
					      "__kcrctab" };

	for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++)
		if (!strncmp(name, begins[i], strlen(begins[i])))
			return true;
	return false;
}

/*
 * Of a section: what lies between words that lead to what is gone once the module runs (libata and
 * btrfs have such). Where they led, only the guest knows.
 */
static bool section_part(const struct ka_module_image *image, size_t section, size_t *index,
			 uint64_t *ret_from, uint64_t *ret_to)
{
	uint64_t size = image->sections[section].size, to;

	for (uint64_t from = 0; from < size; from = to + sizeof(uint64_t)) {
		to = module_next_nowhere(image, section, from);
		if (to == from || (*index)--)
			continue;
		*ret_from = from;
		*ret_to = to;
		return true;
	}
	return false;
}

int ka_module_rodata_part(const struct ka_module_image *image, const struct ka_module_place *place,
			  size_t index, uint64_t *ret_start, uint64_t *ret_end)
{
	for (size_t i = 1; i < image->count; i++) {
		const struct module_section *section = &image->sections[i];
		uint64_t base = place->base[KA_MODULE_RODATA] + section->offset, from, to;

		if (section->region != KA_MODULE_RODATA || !section->bytes || !section->size ||
		    !stays_as_built(section->name) || !section_part(image, i, &index, &from, &to))
			continue;
		*ret_start = base + from;
		*ret_end = base + to;
		return 0;
	}
	return -ENOENT;
}

/* ---- a module where it lies ----------------------------------------------------------------- */

static int builder_init(struct builder *builder)
{
	builder->reference = calloc(1, sizeof(*builder->reference));
	if (!builder->reference)
		return -ENOMEM;
	builder->reference->kernel = builder->kernel->judge.reference;
	memcpy(builder->reference->build_id, builder->image->build_id,
	       sizeof(builder->reference->build_id));
	return symbols_take(builder);
}

/* Takes the reference over, also on failure. `section`: of data, NULL for the text. */
static int text_make(const struct builder *builder, const char *section, int err,
		     struct ka_text **ret_text)
{
	struct ka_text *text = err ? NULL : calloc(1, sizeof(*text));

	free(builder->words_32.word);
	free(builder->inverse_32.word);
	free(builder->words_64.word);
	if (!err && !text)
		err = -ENOMEM;
	if (!err && section)
		err = patch_judge_create_data(builder->reference, section, &text->judge);
	else if (!err)
		err = patch_judge_create(builder->reference, &builder->kernel->judge, &text->judge);
	if (err) {
		free(text);
		ka_reference_free(builder->reference);
		return err;
	}
	text->own = builder->reference;
	*ret_text = text;
	return 0;
}

int ka_module_text_create(const struct ka_text *kernel, const struct ka_module_image *image,
			  const struct ka_module_place *place, uint64_t slide,
			  ka_module_resolve resolve, void *ctx, struct ka_text **ret_text)
{
	struct builder builder = { .kernel = kernel,
				   .image = image,
				   .place = place,
				   .slide = slide,
				   .resolve = resolve,
				   .ctx = ctx };
	uint64_t len = image->region_size[KA_MODULE_TEXT],
		 pages = (len + PAGE - 1) & ~(PAGE - 1ull);
	int err;

	/* What the kernel says of its size must be what the file makes of it. */
	if (place->text_size != len && place->text_size != pages)
		return -EBADMSG;
	err = builder_init(&builder);
	if (!err)
		err = take_region(&builder, KA_MODULE_TEXT, NULL, ".text", pages);
	if (!err)
		err = take_lists(&builder);
	if (!err)
		err = take_all_words(&builder);
	return text_make(&builder, NULL, err, ret_text);
}

int ka_module_rodata_create(const struct ka_text *kernel, const struct ka_module_image *image,
			    const struct ka_module_place *place, uint64_t slide,
			    ka_module_resolve resolve, void *ctx, struct ka_text **ret_text)
{
	struct builder builder = { .kernel = kernel,
				   .image = image,
				   .place = place,
				   .slide = slide,
				   .resolve = resolve,
				   .ctx = ctx };
	int err = builder_init(&builder);

	if (!err)
		err = take_region(&builder, KA_MODULE_RODATA, stays_as_built, REFERENCE_RODATA,
				  image->region_size[KA_MODULE_RODATA]);
	if (!err)
		err = take_all_words(&builder);
	return text_make(&builder, REFERENCE_RODATA, err, ret_text);
}
