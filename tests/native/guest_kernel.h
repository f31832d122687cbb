/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes a tiny guest look like a Linux kernel: names for what lies in its memory, in the files
 * that a kernel's symbols come in.
 */
#ifndef TESTS_NATIVE_GUEST_KERNEL_H
#define TESTS_NATIVE_GUEST_KERNEL_H

#include <kvmaccess.h>

#include "tinyvm.h"

/* GPAs of what a kernel has and the tiny guest has not by itself. */
#define KERNEL_HANDLERS (GUEST_TEXT + 0x2000) /* of system calls: names only, there is no code */
#define KERNEL_ETEXT (GUEST_TEXT + GUEST_TEXT_SIZE)
#define KERNEL_NOTES 0x210000
#define KERNEL_TABLE 0x230000
#define KERNEL_END GUEST_MEMORY_MIN

enum {
	KERNEL_HANDLER_SIZE = 16,
	KERNEL_CALLS = 200,
	KERNEL_TABLE_BYTES = 0x1000, /* up to the next symbol */
	KERNEL_NOTES_BYTES = 0x100,
	KERNEL_SYMBOLS_MAX = 320,
	KERNEL_BUILD_ID_BYTES = 20,
};

#define KERNEL_RELEASE "6.1.0-99-tiny"

struct guest_kernel {
	enum tinyvm_mode mode;
	uint64_t slide; /* where things are, less the files' addresses */
	size_t count;
	struct guest_symbol {
		char name[48];
		uint64_t gva;
	} symbol[KERNEL_SYMBOLS_MAX];
};

/* Gates, system call entry, image bounds, root of the page tables, notes, table and handlers. */
void guest_kernel_init(struct guest_kernel *kernel, enum tinyvm_mode mode, uint64_t slide);
/* Adds a symbol or moves it. */
void guest_kernel_set(struct guest_kernel *kernel, const char *name, uint64_t gva);
void guest_kernel_drop(struct guest_kernel *kernel, const char *name);
/* The system call table and the notes, which a 32-bit kernel's kallsyms do not name, nor _end. */
void guest_kernel_drop_data(struct guest_kernel *kernel);
/* Address of system call `number`'s handler. */
uint64_t guest_kernel_handler(enum tinyvm_mode mode, unsigned int number);

/* Vectors whose handlers have a name. */
enum { KERNEL_GATES = 9 };
extern const unsigned int guest_kernel_vector[KERNEL_GATES];

/* The kernel's symbols, through a file. ka_symbols_free() them. */
struct ka_symbols *guest_kernel_system_map(const struct guest_kernel *kernel);
/* build_id NULL: none. */
struct ka_symbols *guest_kernel_vmlinux(const struct guest_kernel *kernel, const uint8_t *build_id);

/* One ELF note of 4 + 12 + the padded lengths; returns its size. */
size_t guest_kernel_note(uint8_t *at, uint32_t type, const char *name, const void *desc,
			 uint32_t desc_len);

#endif
