// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * XArrays of the guest's kernel (include/linux/xarray.h), in which it keeps what it gives numbers to.
 *
 * Nodes are the guest's: walks are bounded in depth and in nodes.
 */
#include "xarray.h"

#include <errno.h>
#include <string.h>

enum {
	SLOTS = 64, /* of an xa_node, XA_CHUNK_SIZE without CONFIG_BASE_SMALL */
	NODES_MAX = 1 << 17,
	DEPTH_MAX = 6 * SLOTS, /* nodes that wait: a level of 64 each for 32-bit indices */
	SHIFT_MAX = 30,
};

bool xarray_layout_find(const struct ka_types *types, unsigned int word,
			struct xarray_layout *ret_layout)
{
	return STRUCTS_FIND(types, { "xarray", "xa_head", &ret_layout->head, word },
			    { "xa_node", "slots", &ret_layout->slots, SLOTS * word },
			    { "xa_node", "shift", &ret_layout->shift, 1 });
}

/* Pointers to nodes have bit 1 set; small values are marks of the tree itself. */
static bool is_node(uint64_t entry)
{
	return (entry & 3) == 2 && entry > 4096;
}

/* Its entries go on top of those that wait, the first of them topmost. */
static int open_node(const struct structs *guest, const struct xarray_layout *layout, uint64_t node,
		     uint64_t *waiting, size_t *depth)
{
	uint8_t bytes[SLOTS * 8];
	struct ka_piece piece = { .address = node - 2 + layout->slots.offset,
				  .buf = bytes,
				  .len = layout->slots.size };
	int err = structs_readv(guest, &piece, 1);

	for (int i = SLOTS - 1; !err && i >= 0; i--) {
		uint64_t entry = 0;

		memcpy(&entry, bytes + i * guest->word, guest->word);
		if (!entry || (entry & 3 && !is_node(entry)))
			continue;
		if (*depth == DEPTH_MAX)
			return -EAGAIN;
		waiting[(*depth)++] = entry;
	}
	return err;
}

int xarray_walk(const struct structs *guest, const struct xarray_layout *layout, uint64_t gva,
		int (*each)(void *ctx, uint64_t entry), void *ctx)
{
	uint64_t waiting[DEPTH_MAX];
	size_t depth, nodes = 0;
	int err = structs_read_word(guest, gva + layout->head.offset, &waiting[0]);

	depth = !err && waiting[0] ? 1 : 0;
	while (!err && depth) {
		uint64_t entry = waiting[--depth];

		if (!is_node(entry))
			err = each(ctx, entry);
		else if (nodes++ == NODES_MAX)
			err = -EAGAIN;
		else
			err = open_node(guest, layout, entry, waiting, &depth);
	}
	return err;
}

int xarray_find(const struct structs *guest, const struct xarray_layout *layout, uint64_t gva,
		uint32_t number, uint64_t *ret_entry)
{
	uint8_t shift = UINT8_MAX;
	uint64_t entry;
	int err = structs_read_word(guest, gva + layout->head.offset, &entry);

	while (!err && is_node(entry)) {
		uint8_t above = shift;
		struct ka_piece piece = { .address = entry - 2 + layout->shift.offset,
					  .buf = &shift,
					  .len = 1 };

		err = structs_readv(guest, &piece, 1);
		if (err || shift >= above || shift > SHIFT_MAX)
			return err ? err : -EAGAIN;
		err = structs_read_word(guest,
					entry - 2 + layout->slots.offset +
						(number >> shift) % SLOTS * guest->word,
					&entry);
	}
	if (!err)
		*ret_entry = entry & 3 ? 0 : entry;
	return err;
}
