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

#include "kvmaccess.h"

struct symbols_entry {
	uint64_t addr;
	const char *name; /* as long as the table lives */
	char type;	  /* as nm(1) prints it; 'A' is absolute: a value or a per-CPU offset */
};

/* All symbols, ordered by address, then as ka_symbols_name() prefers them. */
size_t symbols_count(const struct ka_symbols *symbols);
struct symbols_entry symbols_at(const struct ka_symbols *symbols, size_t index);

/* As ka_symbols_find(), of those that are global: what modules are linked to. */
int symbols_find_global(const struct ka_symbols *symbols, const char *name, uint64_t *ret_addr);

/* First address of a symbol above this one, or 0. */
uint64_t symbols_next(const struct ka_symbols *symbols, uint64_t address);

/* First address of the image and the first one behind it. */
void symbols_image(const struct ka_symbols *symbols, uint64_t *ret_start, uint64_t *ret_end);

#endif
