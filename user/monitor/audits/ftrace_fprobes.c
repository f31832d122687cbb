// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Since 6.14 (4346ba160409, "fprobe: Rewrite fprobe on function-graph tracer") what fprobes call on is in
 * no ftrace_ops of theirs: each has an entry, by its address, in the kernel's fprobe_table.
 */
#include "ftrace_fprobes.h"

#include "code.h"
#include "records.h"
#include "../text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	FPROBE_BUCKETS_MAX = 1024, /* of 64, FPROBE_TABLE_SIZE */
	FPROBES_MAX = 4096, /* of all */
	FPROBE_NAME_MAX = 40,
};

/* What of the table is looked at: a power of two, as it is, that ends before the next symbol. */
static size_t fprobe_buckets(const struct audit_view *view, uint64_t table)
{
	size_t buckets = 1;
	uint64_t end;

	if (ka_kernel_symbol_end(view->kernel, table, &end) || end <= table)
		return 0;
	while (buckets * 2 <= FPROBE_BUCKETS_MAX && buckets * 2 * records_word(view) <= end - table)
		buckets *= 2;
	return buckets;
}

void fprobes_prepare(const struct audit_view *view, struct fprobes *ret_fprobes)
{
	unsigned int word = records_word(view);
	struct fprobes fprobes = { 0 };

	if (!RECORDS_FIND(view->types, { "fprobe", "entry_handler", &fprobes.entry, word },
			  { "fprobe", "exit_handler", &fprobes.exit, word }) ||
	    RECORDS_FIND(view->types, { "fprobe", "ops", &fprobes.link, 0 })) {
		*ret_fprobes = (struct fprobes){ 0 };
		return;
	}
	if (!RECORDS_FIND(view->types, { "fprobe_hlist", "hlist", &fprobes.link, 2 * word },
			  { "fprobe_hlist", "fp", &fprobes.probe, word },
			  { "fprobe_hlist", "size", &fprobes.count, 4 },
			  { "fprobe_hlist", "array", &fprobes.functions, 0 },
			  { "fprobe_hlist_node", "addr", &fprobes.address, word }) ||
	    ka_kernel_symbol(view->kernel, "fprobe_table", &fprobes.table))
		fprobes.table = 0;
	else
		fprobes.buckets = fprobe_buckets(view, fprobes.table);
	fprobes.missed = !fprobes.buckets;
	*ret_fprobes = fprobes;
}

/* One entry of the table, and the fprobe that it is of. */
struct fprobe_entry {
	uint64_t gva, next, probe, first, handlers[2];
	uint32_t count;
};

static int fprobe_read(const struct audit_view *view, const struct fprobes *fprobes, uint64_t gva,
		      struct fprobe_entry *ret_entry)
{
	unsigned int word = records_word(view);
	struct fprobe_entry entry = { .gva = gva - fprobes->link.offset };
	struct ka_piece pieces[] = {
		{ .address = gva, .buf = &entry.next, .len = word },
		{ .address = entry.gva + fprobes->probe.offset, .buf = &entry.probe, .len = word },
		{ .address = entry.gva + fprobes->count.offset, .buf = &entry.count, .len = 4 },
	};
	int err = records_read(view, pieces, sizeof(pieces) / sizeof(pieces[0]));
	struct ka_piece more[] = {
		{ .address = entry.probe + fprobes->entry.offset,
		  .buf = &entry.handlers[0],
		  .len = word },
		{ .address = entry.probe + fprobes->exit.offset,
		  .buf = &entry.handlers[1],
		  .len = word },
	};

	/* One that is being taken away has none. */
	if (!err && entry.probe)
		err = records_read(view, more, 2);
	if (!err && entry.count)
		err = records_read_word(view,
					entry.gva + fprobes->functions.offset +
						fprobes->address.offset,
					&entry.first);
	*ret_entry = entry;
	return err;
}

static void fprobe_name(const struct audit_view *view, const struct fprobe_entry *entry, char *buf, size_t size)
{
	const char *first = code_function_name(view, entry->first);
	char name[FPROBE_NAME_MAX];

	text_clean(name, sizeof(name), entry->count && first ? first : "unknown function");
	if (entry->count > 1)
		snprintf(buf, size, "%s and %u more", name, entry->count - 1);
	else
		snprintf(buf, size, "%s", name);
}

static void fprobe_tell(const struct audit_view *view, const struct fprobes *fprobes,
			  const struct fprobe_entry *entry, struct audit_result *result)
{
	uint64_t places[] = { entry->probe + fprobes->entry.offset,
			      entry->probe + fprobes->exit.offset };

	for (int i = 0; entry->probe && i < 2; i++) {
		struct difference *difference =
			code_is_foreign(view, entry->handlers[i])
				? audit_add(result, CHECK_FTRACE, OBJECT_FTRACE_CALLBACK, places[i])
				: NULL;

		if (!difference)
			continue;
		difference->gva = places[i];
		fprobe_name(view, entry, difference->name, sizeof(difference->name));
		code_tell(view, difference, entry->handlers[i], "fprobe");
	}
}

int fprobes_look(const struct audit_view *view, const struct fprobes *fprobes,
		 struct audit_result *result)
{
	unsigned int word = records_word(view);
	uint8_t heads[8 * FPROBE_BUCKETS_MAX];
	struct ka_piece piece = { .address = fprobes->table,
				  .buf = heads,
				  .len = (uint32_t)(fprobes->buckets * word) };
	size_t steps = 0;
	int err = 0;

	if (fprobes->missed)
		result->gap = "where this kernel has its fprobes is not known";
	if (fprobes->buckets)
		err = records_read(view, &piece, 1);
	for (size_t i = 0; !err && i < fprobes->buckets; i++) {
		struct fprobe_entry entry;

		for (uint64_t at = records_word_at(view, heads + i * word); !err && at; at = entry.next) {
			if (steps++ == FPROBES_MAX)
				return -EAGAIN;
			err = fprobe_read(view, fprobes, at, &entry);
			if (!err)
				fprobe_tell(view, fprobes, &entry, result);
		}
	}
	return err;
}
