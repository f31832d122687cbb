/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A kernel image as its vendor ships it: its bytes by link-time address, and its relocations. */
#ifndef KVMACCESS_VMLINUX_H
#define KVMACCESS_VMLINUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvmaccess.h"

/* What the kernel adds to the words of its image when KASLR moves it, as vmlinux.relocs has it. */
struct vmlinux_relocs {
	const uint8_t *words32, *inverse32, *words64; /* link-time addresses, 4 bytes each */
	size_t count32, count_inverse32, count64;
};

struct vmlinux {
	void *bytes; /* the ELF file */
	size_t len;
	void *elf; /* Elf * */
	bool is_64bit;
	bool packaged; /* came in a vmlinuz */
};

/* As ka_symbols_load(); -ENOEXEC where the file is neither a vmlinuz nor a vmlinux. */
int vmlinux_open(const char *path, struct vmlinux *ret_image);
void vmlinux_close(struct vmlinux *image);

/* A section of the file; -ENOENT: there is none, or it has no bytes. */
int vmlinux_section(const struct vmlinux *image, const char *name, struct ka_section *ret_section);
/* The next one whose name begins so. Begin with *at 0; -ENOENT: no more, or one without bytes. */
int vmlinux_section_next(const struct vmlinux *image, const char *prefix, size_t *at,
			 struct ka_section *ret_section);
/* Bytes at a link-time address of a loaded section; NULL where there are not as many. */
const uint8_t *vmlinux_at(const struct vmlinux *image, uint64_t address, size_t len);

/*
 * The relocations lie behind the ELF file in a vmlinuz, and nowhere in a vmlinux. -ENODATA: none.
 * -EBADMSG: laid out in a way that is not known.
 */
int vmlinux_relocs(const struct vmlinux *image, struct vmlinux_relocs *ret_relocs);

#endif
