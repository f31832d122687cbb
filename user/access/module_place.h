/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists of places in a module's text that the kernel patches, as its struct module has them. */
#ifndef KVMACCESS_MODULE_PLACE_H
#define KVMACCESS_MODULE_PLACE_H

#include "structs.h"

enum { MODULE_JUMPS, MODULE_CALLS, MODULE_LISTS };

struct module_list {
	uint64_t gva; /* 0: it has none */
	uint32_t entries;
};

/* Of the struct module at `gva`. -ENODATA: these types do not tell. */
int module_lists(const struct structs *guest, const struct ka_place_layout *layout, uint64_t gva,
		 struct module_list ret_lists[static MODULE_LISTS]);

#endif
