/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A kernel module's file as its vendor built it, and where the kernel puts its sections. */
#ifndef KVMACCESS_MODULE_IMAGE_H
#define KVMACCESS_MODULE_IMAGE_H

#include <gelf.h>

#include "kvmaccess.h"

struct module_section {
	const char *name;
	const uint8_t *bytes; /* NULL: it has none in the file */
	uint64_t size, align;
	uint64_t offset; /* in its region */
	uint32_t type;
	int8_t region;	    /* enum ka_module_region; < 0: it is not there once the module runs */
	bool leads_nowhere; /* has relocations to such; of read-only data only */
};

struct ka_module_image {
	char *bytes;
	size_t len;
	Elf *elf;
	char name[KA_MODULE_NAME_MAX], release[65], build_id[41];
	struct module_section *sections; /* by the file's index */
	size_t count;
	Elf_Data *symbols;
	size_t symbol_count, symbol_names; /* the latter is the section of names */
	uint64_t region_size[KA_MODULE_REGIONS];
};

const struct module_section *module_section(const struct ka_module_image *image, const char *name);
/* Relocations of a section; NULL: it has none. */
Elf_Data *module_relocations(const struct ka_module_image *image, size_t section);
/* Offset of the first word from `from` on that leads to what is not there; the size: none. */
uint64_t module_next_nowhere(const struct ka_module_image *image, size_t section, uint64_t from);
const char *module_symbol_name(const struct ka_module_image *image, const GElf_Sym *symbol);
/* -ENOENT: the section is not there once the module runs. */
int module_address(const struct ka_module_image *image, const struct ka_module_place *place,
		   size_t section, uint64_t *ret_gva);

#endif
