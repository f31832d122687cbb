// SPDX-License-Identifier: LGPL-2.1-or-later
/* Structs of the guest's kernel: where their members lie, and their words and links read. */
#include "structs.h"

#include <string.h>

bool structs_find(const struct ka_types *types, const struct structs_member *members, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct structs_member *member = &members[i];

		if (ka_types_member(types, member->type, member->path, member->ret_member))
			return false;
		if (member->size && member->ret_member->size != member->size)
			return false;
	}
	return true;
}

unsigned int structs_word(const struct ka_kernel *kernel)
{
	return ka_symbols_64bit(kernel->symbols) ? 8 : 4;
}

struct structs structs_of(struct ka_vm *vm, const struct ka_kernel *kernel)
{
	return (struct structs){
		.vm = vm,
		.kernel = kernel,
		.word = structs_word(kernel),
	};
}

int structs_readv(const struct structs *guest, struct ka_piece *pieces, size_t count)
{
	int err;

	for (size_t i = 0; i < count; i++)
		pieces[i].paging = &guest->kernel->paging;
	err = ka_readv(guest->vm, pieces, count);
	for (size_t i = 0; !err && i < count; i++)
		err = pieces[i].error;
	return err;
}

int structs_read_word(const struct structs *guest, uint64_t gva, uint64_t *ret_word)
{
	uint64_t word = 0;
	struct ka_piece piece = { .address = gva, .buf = &word, .len = guest->word };
	int err = structs_readv(guest, &piece, 1);

	if (!err)
		*ret_word = word;
	return err;
}

struct structs_links structs_links(const struct structs *guest, const uint8_t bytes[16])
{
	struct structs_links links = {};

	memcpy(&links.next, bytes, guest->word);
	memcpy(&links.prev, bytes + guest->word, guest->word);
	return links;
}

int structs_read_links(const struct structs *guest, uint64_t gva, struct structs_links *ret_links)
{
	uint8_t bytes[16];
	struct ka_piece piece = { .address = gva, .buf = bytes, .len = 2 * guest->word };
	int err = structs_readv(guest, &piece, 1);

	if (!err)
		*ret_links = structs_links(guest, bytes);
	return err;
}
