/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Symbols from the kallsyms tables that a kernel carries in its read-only data, be it in an image
 * file or in a running guest's memory.
 *
 * Layouts (scripts/kallsyms.c), each aligned to a word:
 *	4.6 to 6.3	offsets, relative_base, num_syms, names, markers, [seqs_of_names,]
 *			token_table, token_index
 *	since 6.4	num_syms, names, markers, token_table, token_index, offsets,
 *			relative_base, seqs_of_names (404bad70fcf7)
 *	since 7.0	the same without relative_base: offsets count from their own place, and
 *			no table is aligned to more than 4 bytes (a081b5789255)
 */
#ifndef KVMACCESS_KALLSYMS_H
#define KVMACCESS_KALLSYMS_H

#include "symbols.h"

/* A stretch of a kernel's memory that holds all the tables; a copy, which no guest can change. */
struct kallsyms_image {
	const uint8_t *bytes;
	size_t len;
	uint64_t base;	   /* address of the first byte; a multiple of 8 */
	unsigned int bits; /* 32 or 64 */
};

/* Addresses of the tables, as a running kernel has them in its vmcoreinfo. */
struct kallsyms_tables {
	uint64_t num_syms;
	uint64_t names;
	uint64_t markers; /* 0: not known, and not checked */
	uint64_t token_table;
	uint64_t token_index;
	uint64_t offsets;
	uint64_t relative_base; /* 0: offsets count from their own place */
};

/*
 * Finds the tables by their structure. -ENOENT: there are none; -EPROTONOSUPPORT: there are names,
 * but no addresses in a known layout; -E2BIG: given up, no kernel makes the search that long;
 * -EINVAL: the base is not aligned.
 */
int kallsyms_locate(const struct kallsyms_image *image, struct kallsyms_tables *ret_tables);

/*
 * Adds what the tables say to @symbols. -EBADMSG if they are not consistent: a table leaves the
 * image, a name is not printable, addresses do not ascend.
 */
int kallsyms_parse(const struct kallsyms_image *image, const struct kallsyms_tables *tables,
		   struct ka_symbols *symbols);

#endif
