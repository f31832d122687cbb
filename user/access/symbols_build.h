/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the parsers of the several formats fill a symbol table. */
#ifndef KVMACCESS_SYMBOLS_BUILD_H
#define KVMACCESS_SYMBOLS_BUILD_H

#include "symbols.h"

enum {
	SYMBOLS_NAME_MAX = 1023, /* the kernel's own limit is 511, since 6.1 */
	SYMBOLS_BUILD_ID_MAX = 64,
	SYMBOLS_RELEASE_MAX = 64, /* __NEW_UTS_LEN */
	SYMBOLS_COUNT_MAX = 4 << 20,
};

/* An empty table. Until symbols_seal() it can be filled and freed, and nothing else. */
int symbols_create(struct ka_symbols **ret_symbols);

/* -ENAMETOOLONG, -EFBIG (too many) or -ENOMEM. @name need not end in NUL. */
int symbols_add(struct ka_symbols *symbols, uint64_t addr, char type, const char *name, size_t len);

/* Drops what was added after the table held @count symbols. */
void symbols_truncate(struct ka_symbols *symbols, size_t count);

/* Takes @slide off the addresses of the kernel's half: from where it runs to where it was linked. */
void symbols_rebase(struct ka_symbols *symbols, uint64_t slide);

/* @source must be a constant. */
void symbols_set_source(struct ka_symbols *symbols, const char *source);
void symbols_set_bits(struct ka_symbols *symbols, unsigned int bits);
void symbols_set_image(struct ka_symbols *symbols, uint64_t start, uint64_t end);
void symbols_set_release(struct ka_symbols *symbols, const char *release, size_t len);
void symbols_set_build_id(struct ka_symbols *symbols, const uint8_t *id, size_t len);
/* Where in the guest's memory the kernel said where its tables are. */
void symbols_set_vmcoreinfo(struct ka_symbols *symbols, uint64_t gpa);

/* Sorts and indexes. An image that was not set is taken from _text and _end, else from the symbols. */
int symbols_seal(struct ka_symbols *symbols);

static inline void symbols_freep(struct ka_symbols **symbols)
{
	ka_symbols_free(*symbols);
}

#endif
