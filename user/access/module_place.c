// SPDX-License-Identifier: LGPL-2.1-or-later
/* Where the parts of a module lie in a guest, as the kernel's struct module has it. */
#include <errno.h>
#include <stdlib.h>

#include "module_image.h"
#include "module_place.h"
#include "structs.h"

struct ka_place_layout {
	struct ka_member base[KA_MODULE_REGIONS], text_size, percpu;
	struct ka_member list[MODULE_LISTS], entries[MODULE_LISTS];
	bool single, has_percpu, has_lists;
};

static bool find_regions(const struct ka_types *types, unsigned int word,
			 struct ka_place_layout *layout)
{
	/* 6.4 (ac3b43283923, "module: replace module_layout with module_memory"): MOD_TEXT,
	 * MOD_DATA, MOD_RODATA, MOD_RO_AFTER_INIT. */
	if (STRUCTS_FIND(types, { "module", "mem[0].base", &layout->base[KA_MODULE_TEXT], word },
			 { "module", "mem[2].base", &layout->base[KA_MODULE_RODATA], word },
			 { "module", "mem[3].base", &layout->base[KA_MODULE_RO_AFTER_INIT], word },
			 { "module", "mem[1].base", &layout->base[KA_MODULE_DATA], word },
			 { "module", "mem[0].size", &layout->text_size, 4 }))
		return true;
	layout->single = true;
	return STRUCTS_FIND(types,
			    { "module", "core_layout.base", &layout->base[KA_MODULE_TEXT], word },
			    { "module", "core_layout.text_size", &layout->text_size, 4 });
}

int ka_place_layout_new(const struct ka_kernel *kernel, const struct ka_types *types,
			struct ka_place_layout **ret_layout)
{
	unsigned int word = structs_word(kernel);
	struct ka_place_layout layout = { 0 };

	if (word != 8 || !find_regions(types, word, &layout))
		return -ENODATA;
	layout.has_percpu =
		STRUCTS_FIND(types, { "module", "percpu", &layout.percpu, word });
	layout.has_lists =
		STRUCTS_FIND(types, { "module", "jump_entries", &layout.list[MODULE_JUMPS], word },
			     { "module", "num_jump_entries", &layout.entries[MODULE_JUMPS], 4 },
			     { "module", "static_call_sites", &layout.list[MODULE_CALLS], word },
			     { "module", "num_static_call_sites", &layout.entries[MODULE_CALLS], 4 });
	*ret_layout = malloc(sizeof(layout));
	if (!*ret_layout)
		return -ENOMEM;
	**ret_layout = layout;
	return 0;
}

void ka_place_layout_free(struct ka_place_layout *layout)
{
	free(layout);
}

int module_lists(const struct structs *guest, const struct ka_place_layout *layout, uint64_t gva,
		 struct module_list ret_lists[static MODULE_LISTS])
{
	struct ka_piece pieces[2 * MODULE_LISTS];

	if (!layout->has_lists)
		return -ENODATA;
	for (int i = 0; i < MODULE_LISTS; i++) {
		pieces[2 * i] = (struct ka_piece){ .address = gva + layout->list[i].offset,
						   .buf = &ret_lists[i].gva,
						   .len = 8 };
		pieces[2 * i + 1] = (struct ka_piece){ .address = gva + layout->entries[i].offset,
						       .buf = &ret_lists[i].entries,
						       .len = 4 };
	}
	return structs_readv(guest, pieces, 2 * MODULE_LISTS);
}

/* In a struct module before Linux 6.4 all regions are one piece of memory. */
static void place_fill(const struct ka_module_image *image, struct ka_module_place *place)
{
	uint64_t at = place->base[KA_MODULE_TEXT];

	for (int i = 0; i < KA_MODULE_REGIONS; i++) {
		place->base[i] = at;
		at = (at + image->region_size[i] + 4095) & ~4095ull;
	}
}

int ka_module_place_read(struct ka_vm *vm, const struct ka_kernel *kernel,
			 const struct ka_place_layout *layout, const struct ka_module_image *image,
			 uint64_t gva, struct ka_module_place *ret_place)
{
	struct structs guest = structs_of(vm, kernel);
	struct ka_module_place place = { .single = layout->single };
	struct ka_piece pieces[KA_MODULE_REGIONS + 2];
	size_t count = 0;
	int err;

	for (int i = 0; i < (layout->single ? 1 : KA_MODULE_REGIONS); i++)
		pieces[count++] = (struct ka_piece){ .address = gva + layout->base[i].offset,
						     .buf = &place.base[i],
						     .len = 8 };
	pieces[count++] = (struct ka_piece){ .address = gva + layout->text_size.offset,
					     .buf = &place.text_size,
					     .len = 4 };
	if (layout->has_percpu)
		pieces[count++] = (struct ka_piece){ .address = gva + layout->percpu.offset,
						     .buf = &place.percpu,
						     .len = 8 };
	err = structs_readv(&guest, pieces, count);
	if (err)
		return err;
	if (place.single)
		place_fill(image, &place);
	*ret_place = place;
	return 0;
}
