/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* XArrays of the guest's kernel, in which it keeps what it gives numbers to. */
#ifndef KVMACCESS_XARRAY_H
#define KVMACCESS_XARRAY_H

#include "structs.h"

struct xarray_layout {
	struct ka_member head, slots, shift; /* xarray, xa_node */
};

bool xarray_layout_find(const struct ka_types *types, unsigned int word,
			struct xarray_layout *ret_layout);

/*
 * Calls `each` for each pointer in the array at `gva`, in the order of their numbers. -EAGAIN: it is
 * bent, or larger than can be; else what `each` returned.
 */
int xarray_walk(const struct structs *guest, const struct xarray_layout *layout, uint64_t gva,
		int (*each)(void *ctx, uint64_t entry), void *ctx);
/* What is under a number; 0: nothing. */
int xarray_find(const struct structs *guest, const struct xarray_layout *layout, uint64_t gva,
		uint32_t number, uint64_t *ret_entry);

#endif
