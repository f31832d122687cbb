// SPDX-License-Identifier: LGPL-2.1-or-later
/* Structs of the guest's kernel: where their members lie, and their words and links read. */
#include "structs.h"

#include <errno.h>
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

int structs_walk(const struct structs *guest, uint64_t head, uint32_t offset, size_t max,
		 int (*each)(void *ctx, uint64_t gva), void *ctx)
{
	struct structs_links links;
	uint64_t at = head;
	int err = structs_read_links(guest, head, &links);

	for (size_t i = 0; !err && links.next != head; i++) {
		uint64_t before = at;

		if (i == max)
			return -ENOBUFS;
		at = links.next;
		err = structs_read_links(guest, at, &links);
		/* Changed while it was read, or bent: the next try tells. */
		if (!err && links.prev != before)
			err = -EAGAIN;
		if (!err)
			err = each(ctx, at - offset);
	}
	return err;
}

/* Up to 6.14 per-CPU symbols are offsets from 0; since then they lie in the image. */
static bool is_offset(const struct ka_kernel *kernel, uint64_t symbol)
{
	return symbol < kernel->base - kernel->slide;
}

int structs_percpu(const struct ka_kernel *kernel, const char *name, uint64_t *ret_symbol)
{
	uint64_t symbol;
	int err = ka_symbols_find(kernel->symbols, name, &symbol);

	if (!err)
		*ret_symbol = is_offset(kernel, symbol) ? symbol : symbol + kernel->slide;
	return err;
}

int structs_read_cpus(const struct structs *guest, uint64_t bases[static STRUCTS_CPUS_MAX],
		      size_t *ret_count)
{
	uint8_t bytes[STRUCTS_CPUS_MAX * 8];
	uint64_t offsets, ids;
	uint32_t count = 1;
	struct ka_piece piece = { .buf = &count, .len = sizeof(count) };
	int err;

	if (ka_kernel_symbol(guest->kernel, "__per_cpu_offset", &offsets))
		return -ENODATA;
	/* Not there in a kernel that is built for a fixed number of them. */
	if (!ka_kernel_symbol(guest->kernel, "nr_cpu_ids", &ids)) {
		piece.address = ids;
		err = structs_readv(guest, &piece, 1);
		if (err)
			return err;
	}
	if (!count || count > STRUCTS_CPUS_MAX)
		return -ENOBUFS;
	piece = (struct ka_piece){ .address = offsets, .buf = bytes, .len = count * guest->word };
	err = structs_readv(guest, &piece, 1);
	for (uint32_t i = 0; !err && i < count; i++) {
		bases[i] = 0;
		memcpy(&bases[i], bytes + i * guest->word, guest->word);
	}
	if (!err)
		*ret_count = count;
	return err;
}
