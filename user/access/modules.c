// SPDX-License-Identifier: LGPL-2.1-or-later
/* Modules of the guest's kernel, as its own list has them. */
#include <errno.h>
#include <string.h>

#include "kernel.h"

/* Where what we want of a struct module lies. */
struct layout {
	struct ka_member list, state, name, taints, text_base, text_size;
	unsigned int word;
};

static int layout_find(const struct ka_kernel *kernel, const struct ka_types *types,
		       struct layout *ret_layout)
{
	struct layout layout = { .word = ka_symbols_64bit(kernel->symbols) ? 8 : 4 };

	if (ka_types_member(types, "module", "list", &layout.list) ||
	    ka_types_member(types, "module", "state", &layout.state) ||
	    ka_types_member(types, "module", "name", &layout.name) ||
	    ka_types_member(types, "module", "taints", &layout.taints))
		return -ENODATA;
	/* 6.4 (ac3b43283923, "module: replace module_layout with module_memory"): MOD_TEXT is 0. */
	if (ka_types_member(types, "module", "mem[0].base", &layout.text_base) ||
	    ka_types_member(types, "module", "mem[0].size", &layout.text_size)) {
		if (ka_types_member(types, "module", "core_layout.base", &layout.text_base) ||
		    ka_types_member(types, "module", "core_layout.text_size", &layout.text_size))
			return -ENODATA;
	}
	/* What the guest's BTF says goes into buffers of these sizes. */
	if (layout.list.size != 2 * layout.word || layout.state.size != 4 ||
	    layout.name.size > KA_MODULE_NAME_MAX || layout.taints.size != layout.word ||
	    layout.text_base.size != layout.word || layout.text_size.size != 4)
		return -ENODATA;
	*ret_layout = layout;
	return 0;
}

/* The links of a list_head. */
struct links {
	uint64_t next, prev;
};

static struct links links_get(const struct layout *layout, const void *bytes)
{
	struct links links = {};

	memcpy(&links.next, bytes, layout->word);
	memcpy(&links.prev, (const char *)bytes + layout->word, layout->word);
	return links;
}

/* One module in one read. */
static int module_read(struct ka_vm *vm, const struct ka_kernel *kernel,
		       const struct layout *layout, uint64_t gva, struct ka_module *ret_module,
		       struct links *ret_links)
{
	struct ka_module module = { .gva = gva };
	uint8_t links[16] = {};
	struct ka_piece pieces[] = {
		{ .address = gva + layout->list.offset, .buf = links, .len = layout->list.size },
		{ .address = gva + layout->state.offset, .buf = &module.state, .len = 4 },
		{ .address = gva + layout->name.offset, .buf = module.name,
		  .len = layout->name.size },
		{ .address = gva + layout->taints.offset, .buf = &module.taints,
		  .len = layout->word },
		{ .address = gva + layout->text_base.offset, .buf = &module.text_start,
		  .len = layout->word },
		{ .address = gva + layout->text_size.offset, .buf = &module.text_size, .len = 4 },
	};
	size_t count = sizeof(pieces) / sizeof(pieces[0]);
	int err;

	for (size_t i = 0; i < count; i++)
		pieces[i].paging = &kernel->paging;
	err = ka_readv(vm, pieces, count);
	for (size_t i = 0; !err && i < count; i++)
		err = pieces[i].error;
	if (err)
		return err;
	module.name[sizeof(module.name) - 1] = '\0';
	*ret_links = links_get(layout, links);
	*ret_module = module;
	return 0;
}

static int list_read(struct ka_vm *vm, const struct ka_kernel *kernel, const struct layout *layout,
		     uint64_t head, struct ka_module *modules, size_t max, size_t *ret_count)
{
	uint64_t at = head, last;
	struct links links;
	uint8_t bytes[16];
	size_t count = 0;
	int err;

	err = ka_gva_read(vm, &kernel->paging, head, bytes, layout->list.size);
	if (err)
		return err;
	links = links_get(layout, bytes);
	last = links.prev;
	while (links.next != head) {
		uint64_t before = at;

		if (count == max)
			return -ENOBUFS;
		at = links.next;
		err = module_read(vm, kernel, layout, at - layout->list.offset, &modules[count],
				  &links);
		if (err == -EOWNERDEAD)
			return err;
		/* Changed while it was read, or bent: the next try tells. */
		if (err || links.prev != before)
			return -EAGAIN;
		count++;
	}
	if (at != last)
		return -EAGAIN;
	*ret_count = count;
	return 0;
}

int ka_modules_read(struct ka_vm *vm, const struct ka_kernel *kernel, const struct ka_types *types,
		    struct ka_module *modules, size_t max, size_t *ret_count)
{
	struct layout layout;
	uint64_t head;
	int err;

	if (ka_kernel_symbol(kernel, "modules", &head))
		return -ENODATA;
	err = layout_find(kernel, types, &layout);
	for (int tries = 0; !err && tries < 3; tries++) {
		err = list_read(vm, kernel, &layout, head, modules, max, ret_count);
		if (err != -EAGAIN)
			return err;
		err = 0;
	}
	return err ? err : -EAGAIN;
}

const struct ka_module *ka_module_at(const struct ka_module *modules, size_t count, uint64_t gva)
{
	for (size_t i = 0; i < count; i++)
		if (gva >= modules[i].text_start && gva - modules[i].text_start < modules[i].text_size)
			return &modules[i];
	return NULL;
}
