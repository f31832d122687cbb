/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a kernel build should look like: parts of its vendor's image, by link-time address. */
#ifndef KVMACCESS_REFERENCE_H
#define KVMACCESS_REFERENCE_H

#include "kvmaccess.h"

struct ka_reference {
	char build_id[41], release[65];
	struct ka_symbols *symbols;
	struct ka_section sections[KA_SECTIONS_MAX]; /* their bytes are ours */
	size_t count;
	/* Of a module: that of its kernel, whose symbols and templates are used, too. */
	const struct ka_reference *kernel;
	/* Of a guest's own memory: `symbols` are borrowed, and there is no list of ftrace's places. */
	bool of_guest;
};

/* Names of the parts that are not sections of the file. */
#define REFERENCE_RODATA "rodata"
#define REFERENCE_RELOCS_32 "relocs_32"
#define REFERENCE_RELOCS_INVERSE_32 "relocs_inverse_32"
#define REFERENCE_RELOCS_64 "relocs_64"

/* NULL: the image has no such part. */
const struct ka_section *reference_find(const struct ka_reference *reference, const char *name);
/* The same with what a module's kernel has. */
const struct ka_section *reference_find_shared(const struct ka_reference *reference,
					       const char *name);
/* As ka_symbols_find() and ka_symbols_name(), with the kernel's symbols. 0, NULL: none. */
uint64_t reference_symbol(const struct ka_reference *reference, const char *name);
const char *reference_name(const struct ka_reference *reference, uint64_t address,
			   uint64_t *ret_offset);
/* Takes the bytes over, also on failure. */
int reference_adopt(struct ka_reference *reference, const char *name, uint64_t address,
		    uint8_t *bytes, size_t len);
/* The link-time address that 4 bytes of a list of relocations stand for. */
uint64_t reference_address(const struct ka_reference *reference, uint32_t word);

#endif
