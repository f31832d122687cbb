/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The symbols of one kernel: names to addresses and back, from any file that it comes with.
 *
 * Addresses are those of the file: of an image as it was linked, without KASLR. A table does not
 * change once it is made, so threads may share it.
 */
#ifndef KVMACCESS_SYMBOLS_H
#define KVMACCESS_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ka_symbols;

struct symbols_entry {
	uint64_t addr;
	const char *name; /* as long as the table lives */
	char type;	  /* as nm(1) prints it; 'A' is absolute: a value or a per-CPU offset */
};

/*
 * Loads symbols from @path, whose kind is told by its contents: an ELF vmlinux with a symbol table
 * or with kallsyms tables inside, a bzImage as distributions package it, a System.map or the text
 * of /proc/kallsyms, of which modules' symbols are left out. Blocks on the file; a packaged kernel
 * takes most of a second to unpack.
 *
 * Besides the errors of open(2) and read(2): -ENOEXEC, none of these formats; -EBADMSG, damaged;
 * -ENODATA, the stub that Debian packages as System.map; -EPERM, all addresses are zero, as
 * /proc/kallsyms shows them without privilege; -ENOMSG, an ELF file without symbols;
 * -EPROTONOSUPPORT, compressed or laid out in a way that is not known here; -EFBIG, unreasonably
 * large. symbols_error() words them.
 */
int symbols_load(const char *path, struct ka_symbols **ret_symbols);

/* Frees a table; NULL is ignored. */
void symbols_free(struct ka_symbols *symbols);

/* One sentence for what symbols_load() returned. */
const char *symbols_error(int err);

/* -ENOENT if there is no such symbol, -ENOTUNIQ if several of that name differ in address. */
int symbols_find(const struct ka_symbols *symbols, const char *name, uint64_t *ret_addr);

/*
 * Name of the nearest symbol at or below @addr, and how far below it lies. Among several at one
 * address it is always the same one: a system call's __x64_ name, else global before local before
 * weak before section boundaries. NULL if @addr lies outside the kernel image or behind the end of
 * a section that no symbol covers. Per-CPU offsets and absolute values are never returned.
 */
const char *symbols_name(const struct ka_symbols *symbols, uint64_t addr, uint64_t *ret_offset);

/* All symbols, ordered by address, then as symbols_name() prefers them. */
size_t symbols_count(const struct ka_symbols *symbols);
struct symbols_entry symbols_at(const struct ka_symbols *symbols, size_t index);

/* The GNU build-id of the image; false if it is not known. */
bool symbols_build_id(const struct ka_symbols *symbols, const uint8_t **ret_id, size_t *ret_len);

/* First address of the image and the first one behind it. */
void symbols_image(const struct ka_symbols *symbols, uint64_t *ret_start, uint64_t *ret_end);

/* 32 or 64. */
unsigned int symbols_bits(const struct ka_symbols *symbols);

/* Such as "6.1.0-50-amd64"; NULL if it is not known. */
const char *symbols_release(const struct ka_symbols *symbols);

/* "vmlinuz", "vmlinux", "System.map" or "kallsyms". */
const char *symbols_source(const struct ka_symbols *symbols);

#endif
