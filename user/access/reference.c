// SPDX-License-Identifier: LGPL-2.1-or-later
/* Takes out of a vendor's kernel image what tells how that kernel should look in a guest. */
#define _GNU_SOURCE
#include "reference.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elfimage.h"
#include "reference_unnamed.h"
#include "symbols.h"
#include "symbols_build.h"
#include "sysmap.h"
#include "vmlinux.h"

enum { BUILD_ID_HEX = 40, SYMBOL_LINE = 20 };

/* Sections of the file: the text, and those that list what the kernel patches in it. */
static const char *const file_sections[] = {
	".text",
	".altinstructions",
	".altinstr_replacement",
	".parainstructions",
	".retpoline_sites",
	".return_sites",
	".call_sites",
	".ibt_endbr_seal",
	".smp_locks",
};

/* And those that begin so: where the kernel puts constants into its code. */
static const char *const file_prefixes[] = {
	"runtime_shift_",
	"runtime_mask_",
	"runtime_ptr_",
};

/* Parts of larger sections, from a symbol to another one; NULL: to the next symbol. */
static const struct {
	const char *name, *start, *stop;
} symbol_ranges[] = {
	{ REFERENCE_RODATA, "__start_rodata", "__start_ro_after_init" },
	{ "mcount_loc", "__start_mcount_loc", "__stop_mcount_loc" },
	{ "jump_table", "__start___jump_table", "__stop___jump_table" },
	{ "static_call_sites", "__start_static_call_sites", "__stop_static_call_sites" },
	{ "call_thunk_template", "skl_call_thunk_template", "skl_call_thunk_tail" },
	{ "sys_call_table", "sys_call_table", NULL },
	{ "ia32_sys_call_table", "ia32_sys_call_table", NULL },
	{ "early_idts", "early_idts", NULL },
	{ "early_pf_idts", "early_pf_idts", NULL },
	{ "def_idts", "def_idts", NULL },
	{ "ist_idts", "ist_idts", NULL },
	{ "ia32_idt", "ia32_idt", NULL },
	{ "apic_idts", "apic_idts", NULL },
	{ "gdt_page", "gdt_page", NULL },
	{ "pv_ops", "pv_ops", NULL },
	{ "optprobe_template", "optprobe_template_entry", "optprobe_template_end" },
};

/* Where relocations count: what is compared, or copied into what is compared. */
static const char *const relocated_sections[] = {
	".text",
	".altinstr_replacement",
	"call_thunk_template",
	REFERENCE_RODATA,
};

const struct ka_section *reference_find(const struct ka_reference *reference, const char *name)
{
	for (size_t i = 0; i < reference->count; i++)
		if (!strcmp(reference->sections[i].name, name))
			return &reference->sections[i];
	return NULL;
}

const struct ka_section *reference_find_shared(const struct ka_reference *reference,
					       const char *name)
{
	return reference_find(reference->kernel ? reference->kernel : reference, name);
}

uint64_t reference_symbol(const struct ka_reference *reference, const char *name)
{
	uint64_t address = 0;

	if (ka_symbols_find(reference->symbols, name, &address) && reference->kernel)
		ka_symbols_find(reference->kernel->symbols, name, &address);
	return address;
}

const char *reference_name(const struct ka_reference *reference, uint64_t address,
			   uint64_t *ret_offset)
{
	const char *name = ka_symbols_name(reference->symbols, address, ret_offset);

	return !name && reference->kernel
		       ? ka_symbols_name(reference->kernel->symbols, address, ret_offset)
		       : name;
}

int reference_adopt(struct ka_reference *reference, const char *name, uint64_t address,
		    uint8_t *bytes, size_t len)
{
	struct ka_section *section = &reference->sections[reference->count];

	if (reference->count == KA_SECTIONS_MAX || reference_find(reference, name) ||
	    strlen(name) >= sizeof(section->name) || address + len < address) {
		free(bytes);
		return -EBADMSG;
	}
	*section = (struct ka_section){ .address = address, .bytes = bytes, .len = len };
	strcpy(section->name, name);
	reference->count++;
	return 0;
}

static int section_add(struct ka_reference *reference, const char *name, uint64_t address,
		       const void *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, bytes, len);
	return reference_adopt(reference, name, address, copy, len);
}

/* ---- from an image ------------------------------------------------------------------------- */

static int add_file_sections(struct ka_reference *reference, const struct vmlinux *image)
{
	struct ka_section section;
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(file_sections) / sizeof(file_sections[0]); i++) {
		err = vmlinux_section(image, file_sections[i], &section);
		if (!err)
			err = section_add(reference, section.name, section.address, section.bytes,
					  section.len);
		else if (err == -ENOENT)
			err = 0;
	}
	return err;
}

static int add_prefixed_sections(struct ka_reference *reference, const struct vmlinux *image)
{
	struct ka_section section;
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(file_prefixes) / sizeof(file_prefixes[0]); i++)
		for (size_t at = 0;
		     !err && !vmlinux_section_next(image, file_prefixes[i], &at, &section);)
			err = section_add(reference, section.name, section.address, section.bytes,
					  section.len);
	return err;
}

static int add_symbol_ranges(struct ka_reference *reference, const struct vmlinux *image)
{
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(symbol_ranges) / sizeof(symbol_ranges[0]); i++) {
		uint64_t start, stop;
		const uint8_t *bytes;

		if (ka_symbols_find(reference->symbols, symbol_ranges[i].start, &start))
			continue;
		if (!symbol_ranges[i].stop)
			stop = symbols_next(reference->symbols, start);
		else if (ka_symbols_find(reference->symbols, symbol_ranges[i].stop, &stop))
			continue;
		if (stop <= start)
			continue;
		bytes = vmlinux_at(image, start, stop - start);
		if (bytes)
			err = section_add(reference, symbol_ranges[i].name, start, bytes,
					  stop - start);
	}
	return err;
}

uint64_t reference_address(const struct ka_reference *reference, uint32_t word)
{
	return ka_symbols_64bit(reference->symbols) ? (uint64_t)(int32_t)word : word;
}

/* Kernels without CONFIG_KALLSYMS_ALL, such as Debian's 32-bit ones, name no data. */
static int add_unnamed(struct ka_reference *reference, const struct vmlinux *image)
{
	int (*const find[])(const struct ka_reference *reference, const struct vmlinux *image,
			    struct ka_section *ret_section) = {
		reference_find_syscalls,
		reference_find_idts,
		reference_find_gdt,
	};
	struct ka_section section;
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(find) / sizeof(find[0]); i++)
		if (!find[i](reference, image, &section))
			err = section_add(reference, section.name, section.address, section.bytes,
					  section.len);
	return err;
}

static bool is_relocated(const struct ka_reference *reference, uint64_t address)
{
	for (size_t i = 0; i < sizeof(relocated_sections) / sizeof(relocated_sections[0]); i++) {
		const struct ka_section *section = reference_find(reference, relocated_sections[i]);

		if (section && address >= section->address &&
		    address - section->address < section->len)
			return true;
	}
	return false;
}

static int compare_words(const void *left, const void *right)
{
	uint32_t a, b;

	memcpy(&a, left, 4);
	memcpy(&b, right, 4);
	return a < b ? -1 : a > b;
}

/* Only those that count, in ascending order. */
static int add_relocs(struct ka_reference *reference, const char *name, const uint8_t *words,
		      size_t count)
{
	uint8_t *kept = malloc(count * 4 + 1);
	size_t len = 0;

	if (!kept)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		uint32_t word;

		memcpy(&word, words + 4 * i, 4);
		if (!is_relocated(reference, reference_address(reference, word)))
			continue;
		memcpy(kept + len, words + 4 * i, 4);
		len += 4;
	}
	qsort(kept, len / 4, 4, compare_words);
	return reference_adopt(reference, name, 0, kept, len);
}

static int add_all_relocs(struct ka_reference *reference, const struct vmlinux *image)
{
	struct vmlinux_relocs relocs;
	int err = vmlinux_relocs(image, &relocs);

	/* A vmlinux has none: its text can then be held against a guest without KASLR only. */
	if (err)
		return err == -ENODATA ? 0 : err;
	err = add_relocs(reference, REFERENCE_RELOCS_32, relocs.words32, relocs.count32);
	if (!err)
		err = add_relocs(reference, REFERENCE_RELOCS_INVERSE_32, relocs.inverse32,
				 relocs.count_inverse32);
	if (!err)
		err = add_relocs(reference, REFERENCE_RELOCS_64, relocs.words64, relocs.count64);
	return err;
}

/* As System.map has them. */
static int add_symbols(struct ka_reference *reference)
{
	size_t count = symbols_count(reference->symbols), room = 1, len = 0;
	char *text;

	for (size_t i = 0; i < count; i++)
		room += SYMBOL_LINE + strlen(symbols_at(reference->symbols, i).name);
	text = malloc(room);
	if (!text)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		struct symbols_entry entry = symbols_at(reference->symbols, i);

		len += sprintf(text + len,
			       ka_symbols_64bit(reference->symbols) ? "%016llx %c %s\n"
								    : "%08llx %c %s\n",
			       (unsigned long long)entry.addr, entry.type, entry.name);
	}
	return reference_adopt(reference, KA_SECTION_SYMBOLS, 0, (uint8_t *)text, len);
}

static int load_symbols(const struct vmlinux *image, struct ka_symbols **ret_symbols)
{
	__attribute__((cleanup(symbols_freep))) struct ka_symbols *symbols = NULL;
	int err = symbols_create(&symbols);

	if (!err)
		err = elfimage_parse(image->bytes, image->len, symbols);
	if (!err)
		err = symbols_seal(symbols);
	if (err)
		return err;
	*ret_symbols = symbols;
	symbols = NULL;
	return 0;
}

static void reference_freep(struct ka_reference **reference)
{
	ka_reference_free(*reference);
}

int ka_reference_derive(const char *path, struct ka_reference **ret_reference)
{
	__attribute__((cleanup(reference_freep))) struct ka_reference *reference =
		calloc(1, sizeof(*reference));
	__attribute__((cleanup(vmlinux_close))) struct vmlinux image = { 0 };
	int err = reference ? vmlinux_open(path, &image) : -ENOMEM;

	if (!err)
		err = load_symbols(&image, &reference->symbols);
	if (err)
		return err;
	snprintf(reference->build_id, sizeof(reference->build_id), "%s",
		 ka_symbols_build_id(reference->symbols));
	snprintf(reference->release, sizeof(reference->release), "%s",
		 ka_symbols_release(reference->symbols));
	/* By what else would it be found? */
	if (strlen(reference->build_id) != BUILD_ID_HEX)
		return -ENODATA;
	err = add_file_sections(reference, &image);
	if (!err)
		err = add_prefixed_sections(reference, &image);
	if (!err)
		err = add_symbol_ranges(reference, &image);
	if (!err)
		err = add_unnamed(reference, &image);
	if (!err)
		err = add_all_relocs(reference, &image);
	if (!err)
		err = add_symbols(reference);
	if (err)
		return err;
	*ret_reference = reference;
	reference = NULL;
	return 0;
}

/* ---- from what was kept of one ------------------------------------------------------------- */

static int build_id_parse(const char *hex, uint8_t *ret_bytes)
{
	for (size_t i = 0; i < BUILD_ID_HEX / 2; i++)
		if (sscanf(hex + 2 * i, "%2hhx", &ret_bytes[i]) != 1)
			return -EBADMSG;
	return 0;
}

static int parse_symbols(struct ka_reference *reference)
{
	const struct ka_section *text = reference_find(reference, KA_SECTION_SYMBOLS);
	uint8_t build_id[BUILD_ID_HEX / 2];
	int err = text ? symbols_create(&reference->symbols) : -EBADMSG;

	if (!err)
		err = sysmap_parse((const char *)text->bytes, text->len, reference->symbols);
	if (!err)
		err = build_id_parse(reference->build_id, build_id);
	if (err)
		return err;
	symbols_set_build_id(reference->symbols, build_id, sizeof(build_id));
	symbols_set_release(reference->symbols, reference->release, strlen(reference->release));
	symbols_set_source(reference->symbols, "reference");
	return symbols_seal(reference->symbols);
}

int ka_reference_add(struct ka_reference *reference, const struct ka_section *sections, size_t count)
{
	int err = 0;

	for (size_t i = 0; !err && i < count; i++)
		err = section_add(reference, sections[i].name, sections[i].address,
				  sections[i].bytes, sections[i].len);
	return err;
}

int ka_reference_create(const char *build_id, const char *release,
			const struct ka_section *sections, size_t count,
			struct ka_reference **ret_reference)
{
	__attribute__((cleanup(reference_freep))) struct ka_reference *reference =
		calloc(1, sizeof(*reference));
	int err = reference ? 0 : -ENOMEM;

	if (!err && (strlen(build_id) != BUILD_ID_HEX || strlen(release) > SYMBOLS_RELEASE_MAX))
		err = -EBADMSG;
	if (err)
		return err;
	strcpy(reference->build_id, build_id);
	strcpy(reference->release, release);
	err = ka_reference_add(reference, sections, count);
	if (!err)
		err = parse_symbols(reference);
	if (err)
		return err;
	*ret_reference = reference;
	reference = NULL;
	return 0;
}

void ka_reference_free(struct ka_reference *reference)
{
	if (!reference)
		return;
	for (size_t i = 0; i < reference->count; i++)
		free((void *)reference->sections[i].bytes);
	if (!reference->of_guest)
		ka_symbols_free(reference->symbols);
	free(reference);
}

const char *ka_reference_build_id(const struct ka_reference *reference)
{
	return reference->build_id;
}

const char *ka_reference_release(const struct ka_reference *reference)
{
	return reference->release;
}

const struct ka_symbols *ka_reference_symbols(const struct ka_reference *reference)
{
	return reference->symbols;
}

const struct ka_section *ka_reference_sections(const struct ka_reference *reference,
					       size_t *ret_count)
{
	*ret_count = reference->count;
	return reference->sections;
}
