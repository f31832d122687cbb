/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What holds for every symbol table, whatever it was made from. */
#ifndef TESTS_FUZZ_SYMBOLS_H
#define TESTS_FUZZ_SYMBOLS_H

#include <errno.h>
#include <string.h>

#include "access/symbols_build.h"
#include "fuzz.h"

static inline void check_entry(const struct ka_symbols *symbols, struct symbols_entry entry)
{
	uint64_t addr = 0, offset = 0, start, end;
	const char *name;
	int err;

	CHECK(strlen(entry.name) <= SYMBOLS_NAME_MAX);
	err = ka_symbols_find(symbols, entry.name, &addr);
	CHECK(err == -ENOTUNIQ || (!err && addr == entry.addr));
	name = ka_symbols_name(symbols, entry.addr, &offset);
	symbols_image(symbols, &start, &end);
	if (entry.addr < start || entry.addr >= end) {
		CHECK(!name);
		return;
	}
	/* Only an absolute value has no name of its own. */
	CHECK((name && !offset) || entry.type == 'A' || entry.type == 'a');
}

static inline void check_symbols(const struct ka_symbols *symbols)
{
	size_t i, count = symbols_count(symbols);
	uint64_t before = 0, unused;

	for (i = 0; i < count; i++) {
		struct symbols_entry entry = symbols_at(symbols, i);

		CHECK(entry.addr >= before);
		before = entry.addr;
		check_entry(symbols, entry);
	}
	CHECK(ka_symbols_find(symbols, "no such symbol", &unused) == -ENOENT);
	ka_symbols_name(symbols, before + 1, &unused);
	ka_symbols_name(symbols, UINT64_MAX, &unused);
}

#endif
