// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reads of the guest kernel's structs, as audits need them. */
#include "records.h"
#include "../text.h"

#include <string.h>

enum { STRING_MAX = 64, PAGE_BYTES = 4096 };

bool records_find(const struct ka_types *types, const struct records_member *members, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct records_member *member = &members[i];

		if (ka_types_member(types, member->type, member->path, member->ret_member))
			return false;
		if (member->size && member->ret_member->size != member->size)
			return false;
	}
	return true;
}

int records_read(const struct audit_view *view, struct ka_piece *pieces, size_t count)
{
	int err;

	for (size_t i = 0; i < count; i++)
		pieces[i].paging = &view->kernel->paging;
	err = ka_readv(view->vm, pieces, count);
	for (size_t i = 0; !err && i < count; i++)
		err = pieces[i].error;
	return err;
}

int records_read_word(const struct audit_view *view, uint64_t gva, uint64_t *ret_word)
{
	uint64_t word = 0;
	struct ka_piece piece = { .address = gva, .buf = &word, .len = records_word(view) };
	int err = records_read(view, &piece, 1);

	if (!err)
		*ret_word = word;
	return err;
}

void records_read_string(const struct audit_view *view, uint64_t gva, char *buf, size_t size)
{
	char raw[STRING_MAX + 1] = "";
	uint32_t page = PAGE_BYTES - (uint32_t)(gva & (PAGE_BYTES - 1));
	uint32_t room = page < STRING_MAX ? page : STRING_MAX;
	/* What follows the string need not be there: in two parts, at the end of a page. */
	struct ka_piece pieces[] = {
		{ .address = gva, .buf = raw, .len = room },
		{ .address = gva + room, .buf = raw + room, .len = STRING_MAX - room },
	};
	bool two = room < STRING_MAX;

	pieces[0].paging = pieces[1].paging = &view->kernel->paging;
	if (!gva || ka_readv(view->vm, pieces, two ? 2 : 1) || pieces[0].error)
		raw[0] = '\0';
	else if (two && pieces[1].error)
		raw[room] = '\0';
	text_clean(buf, size, raw);
}

uint64_t records_word_at(const struct audit_view *view, const uint8_t *bytes)
{
	uint64_t word = 0;

	memcpy(&word, bytes, records_word(view));
	return word;
}
