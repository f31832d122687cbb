// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Modules of the guest's kernel, as each of its own records has them: the list, the tree in which
 * addresses are looked up, and sysfs. Who hides from one seldom hides from all.
 *
 * Every link is the guest's: walks are bounded by the number of modules that the caller takes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "structs.h"

enum {
	TRIES = 3,
	TREE_PER_MODULE = 8, /* nodes: one for each of its pieces of memory */
	SYSFS_OTHERS = 1024, /* folders of parts of the kernel itself */
	TREE_DEPTH_MAX = 64,
};

/* Where what we want of the kernel's structs lies. */
struct ka_module_layout {
	struct ka_member list, state, name, taints;
	struct ka_member text_base, text_size, init_base, init_size;
	struct ka_member tree, tree_owner, tree_node, left, right; /* mod_tree and its nodes */
	struct ka_member set_list, entry, sysfs_owner;		   /* module_kset and its objects */
	bool has_tree, has_sysfs;
};

static bool find_module(const struct ka_types *types, unsigned int word,
			struct ka_module_layout *layout)
{
	if (!STRUCTS_FIND(types, { "module", "list", &layout->list, 2 * word },
			  { "module", "state", &layout->state, 4 },
			  { "module", "name", &layout->name, 0 },
			  { "module", "taints", &layout->taints, word }) ||
	    layout->name.size > KA_MODULE_NAME_MAX)
		return false;
	/* 6.4 (ac3b43283923, "module: replace module_layout with module_memory"): MOD_TEXT is 0,
	 * MOD_INIT_TEXT 4. */
	return STRUCTS_FIND(types, { "module", "mem[0].base", &layout->text_base, word },
			    { "module", "mem[0].size", &layout->text_size, 4 },
			    { "module", "mem[4].base", &layout->init_base, word },
			    { "module", "mem[4].size", &layout->init_size, 4 }) ||
	       STRUCTS_FIND(types, { "module", "core_layout.base", &layout->text_base, word },
			    { "module", "core_layout.text_size", &layout->text_size, 4 },
			    { "module", "init_layout.base", &layout->init_base, word },
			    { "module", "init_layout.text_size", &layout->init_size, 4 });
}

static void find_views(const struct ka_types *types, unsigned int word,
		       struct ka_module_layout *layout)
{
	/* A latch tree is two trees, of which one is always whole. */
	layout->has_tree = STRUCTS_FIND(
		types, { "mod_tree_root", "root.tree[0].rb_node", &layout->tree, word },
		{ "mod_tree_node", "mod", &layout->tree_owner, word },
		{ "mod_tree_node", "node.node[0]", &layout->tree_node, 0 },
		{ "rb_node", "rb_left", &layout->left, word },
		{ "rb_node", "rb_right", &layout->right, word });
	layout->has_sysfs =
		STRUCTS_FIND(types, { "kset", "list", &layout->set_list, 2 * word },
			     { "module_kobject", "kobj.entry", &layout->entry, 2 * word },
			     { "module_kobject", "mod", &layout->sysfs_owner, word });
}

int ka_module_layout_new(const struct ka_kernel *kernel, const struct ka_types *types,
			 struct ka_module_layout **ret_layout)
{
	unsigned int word = structs_word(kernel);
	struct ka_module_layout layout = {};

	if (!find_module(types, word, &layout))
		return -ENODATA;
	find_views(types, word, &layout);
	*ret_layout = malloc(sizeof(layout));
	if (!*ret_layout)
		return -ENOMEM;
	**ret_layout = layout;
	return 0;
}

void ka_module_layout_free(struct ka_module_layout *layout)
{
	free(layout);
}

/* ---- what is read of the guest -------------------------------------------------------------- */

/* What all that reads has to do with. */
struct scan {
	struct structs guest;
	const struct ka_module_layout *layout;
	struct ka_module *modules;
	size_t count, max;
};

/* One module in one read. */
static int read_module(const struct scan *scan, uint64_t gva, struct ka_module *ret_module,
		       struct structs_links *ret_links)
{
	const struct ka_module_layout *layout = scan->layout;
	struct ka_module module = { .gva = gva };
	uint8_t links[16] = {};
	struct ka_piece pieces[] = {
		{ .address = gva + layout->list.offset, .buf = links, .len = layout->list.size },
		{ .address = gva + layout->state.offset, .buf = &module.state, .len = 4 },
		{ .address = gva + layout->name.offset,
		  .buf = module.name,
		  .len = layout->name.size },
		{ .address = gva + layout->taints.offset,
		  .buf = &module.taints,
		  .len = scan->guest.word },
		{ .address = gva + layout->text_base.offset,
		  .buf = &module.text_start,
		  .len = scan->guest.word },
		{ .address = gva + layout->text_size.offset, .buf = &module.text_size, .len = 4 },
		{ .address = gva + layout->init_base.offset,
		  .buf = &module.init_start,
		  .len = scan->guest.word },
		{ .address = gva + layout->init_size.offset, .buf = &module.init_size, .len = 4 },
	};
	int err = structs_readv(&scan->guest, pieces, sizeof(pieces) / sizeof(pieces[0]));

	if (err)
		return err;
	module.name[sizeof(module.name) - 1] = '\0';
	*ret_links = structs_links(&scan->guest, links);
	*ret_module = module;
	return 0;
}

/* ---- the three views ------------------------------------------------------------------------ */

/* Notes that a view has the module at `gva`, which the list need not have. */
static int note(struct scan *scan, uint64_t gva, uint32_t view)
{
	struct structs_links links;
	int err;

	for (size_t i = 0; i < scan->count; i++)
		if (scan->modules[i].gva == gva) {
			scan->modules[i].views |= view;
			return 0;
		}
	if (scan->count == scan->max)
		return -ENOBUFS;
	err = read_module(scan, gva, &scan->modules[scan->count], &links);
	if (err)
		return err;
	scan->modules[scan->count++].views = view;
	return 0;
}

static int scan_list(struct scan *scan)
{
	struct structs_links links;
	uint64_t head, at, last;
	int err;

	if (ka_kernel_symbol(scan->guest.kernel, "modules", &head))
		return -ENODATA;
	err = structs_read_links(&scan->guest, head, &links);
	if (err)
		return err;
	at = head;
	last = links.prev;
	while (links.next != head) {
		uint64_t before = at;

		if (scan->count == scan->max)
			return -ENOBUFS;
		at = links.next;
		err = read_module(scan, at - scan->layout->list.offset, &scan->modules[scan->count],
				  &links);
		if (err)
			return err;
		/* Changed while it was read, or bent: the next try tells. */
		if (links.prev != before)
			return -EAGAIN;
		scan->modules[scan->count++].views = KA_MODULE_LISTED;
	}
	return at == last ? 0 : -EAGAIN;
}

static int scan_tree_node(struct scan *scan, uint64_t node, uint64_t *ret_left, uint64_t *ret_right)
{
	const struct ka_module_layout *layout = scan->layout;
	uint64_t owner = 0, left = 0, right = 0;
	struct ka_piece pieces[] = {
		{ .address = node - layout->tree_node.offset + layout->tree_owner.offset,
		  .buf = &owner,
		  .len = scan->guest.word },
		{ .address = node + layout->left.offset, .buf = &left, .len = scan->guest.word },
		{ .address = node + layout->right.offset, .buf = &right, .len = scan->guest.word },
	};
	int err = structs_readv(&scan->guest, pieces, sizeof(pieces) / sizeof(pieces[0]));

	if (err)
		return err;
	*ret_left = left;
	*ret_right = right;
	return note(scan, owner, KA_MODULE_IN_TREE);
}

static int scan_tree(struct scan *scan)
{
	uint64_t waiting[TREE_DEPTH_MAX], root, next[2];
	size_t depth = 0, visited = 0;
	int err;

	if (!scan->layout->has_tree || ka_kernel_symbol(scan->guest.kernel, "mod_tree", &root))
		return -ENODATA;
	err = structs_read_word(&scan->guest, root + scan->layout->tree.offset, &waiting[0]);
	if (err)
		return err;
	depth = waiting[0] ? 1 : 0;
	while (depth) {
		if (visited++ == TREE_PER_MODULE * scan->max)
			return -EAGAIN;
		err = scan_tree_node(scan, waiting[--depth], &next[0], &next[1]);
		if (err)
			return err;
		for (int i = 0; i < 2; i++) {
			if (!next[i])
				continue;
			if (depth == TREE_DEPTH_MAX)
				return -EAGAIN;
			waiting[depth++] = next[i];
		}
	}
	return 0;
}

static int scan_sysfs(struct scan *scan)
{
	const struct ka_module_layout *layout = scan->layout;
	uint64_t set, head, owner;
	struct structs_links links;
	int err;

	if (!layout->has_sysfs || ka_kernel_symbol(scan->guest.kernel, "module_kset", &set))
		return -ENODATA;
	err = structs_read_word(&scan->guest, set, &set);
	if (err)
		return err;
	head = set + layout->set_list.offset;
	err = structs_read_links(&scan->guest, head, &links);
	for (size_t i = 0; !err && links.next != head; i++) {
		uint64_t object = links.next - layout->entry.offset;

		if (i == scan->max + SYSFS_OTHERS)
			return -EAGAIN;
		err = structs_read_word(&scan->guest, object + layout->sysfs_owner.offset, &owner);
		/* Parts of the kernel itself have a folder there, too, and no module. */
		if (!err && owner)
			err = note(scan, owner, KA_MODULE_IN_SYSFS);
		if (!err)
			err = structs_read_links(&scan->guest, links.next, &links);
	}
	return err;
}

static int scan_all(struct scan *scan, uint32_t *ret_views)
{
	uint32_t views = KA_MODULE_LISTED;
	int err;

	scan->count = 0;
	err = scan_list(scan);
	if (err)
		return err;
	err = scan_tree(scan);
	if (err && err != -ENODATA)
		return err;
	if (!err)
		views |= KA_MODULE_IN_TREE;
	err = scan_sysfs(scan);
	if (err && err != -ENODATA)
		return err;
	if (!err)
		views |= KA_MODULE_IN_SYSFS;
	*ret_views = views;
	return 0;
}

int ka_modules_read(struct ka_vm *vm, const struct ka_kernel *kernel,
		    const struct ka_module_layout *layout, struct ka_module *modules, size_t max,
		    size_t *ret_count, uint32_t *ret_views)
{
	struct scan scan = {
		.guest = structs_of(vm, kernel),
		.layout = layout,
		.modules = modules,
		.max = max,
	};
	int err = registers_refresh(vm);

	if (err)
		return err;
	for (int tries = 0; tries < TRIES; tries++) {
		err = scan_all(&scan, ret_views);
		if (!err)
			*ret_count = scan.count;
		if (!err || err == -EOWNERDEAD || err == -ENOBUFS || err == -ENODATA)
			return err;
	}
	return -EAGAIN;
}

static bool holds(uint64_t start, uint32_t size, uint64_t gva)
{
	return gva >= start && gva - start < size;
}

const struct ka_module *ka_module_at(const struct ka_module *modules, size_t count, uint64_t gva)
{
	for (size_t i = 0; i < count; i++)
		if (holds(modules[i].text_start, modules[i].text_size, gva) ||
		    holds(modules[i].init_start, modules[i].init_size, gva))
			return &modules[i];
	return NULL;
}
