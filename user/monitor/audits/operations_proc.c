// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Entries of /proc: which operations each has. Those of the kernel itself never get others; a
 * module may have entries of its own.
 */
#include "operations.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	FOLDERS_DEPTH_MAX = 6,
	TREE_DEPTH_MAX = 64,
	ENTRIES_MAX = 1 << 12,
	PATH_BYTES = 48,
	POINTERS = 3, /* of an entry */
};

/* Those that hide something worth it are the kernel's own from the start. */
static const char *const kernels_own[] = {
	"/proc/modules",      "/proc/kallsyms",	     "/proc/kmsg",     "/proc/kcore",
	"/proc/stat",	      "/proc/loadavg",	     "/proc/meminfo",  "/proc/version",
	"/proc/cpuinfo",      "/proc/cmdline",	     "/proc/devices",  "/proc/filesystems",
	"/proc/interrupts",   "/proc/iomem",	     "/proc/uptime",   "/proc/vmallocinfo",
	"/proc/net/tcp",      "/proc/net/tcp6",	     "/proc/net/udp",  "/proc/net/udp6",
	"/proc/net/raw",      "/proc/net/raw6",	     "/proc/net/unix", "/proc/net/dev",
	"/proc/net/route",    "/proc/net/ptype",     "/proc/net/arp",  "/proc/net/netlink",
	"/proc/net/sockstat", "/proc/net/protocols",
};

struct operations_proc {
	struct ka_member inode_ops, ops, seq, subdir, node, name; /* proc_dir_entry */
	struct ka_member left, right;				  /* rb_node */
	uint32_t ops_size, seq_size, inode_size;		  /* bytes of those tables */
	uint64_t root;
	uint64_t net; /* of the first network namespace; 0: not found */
	/* Entries that once had only operations of the kernel: their places and paths, hashed. */
	uint64_t known[ENTRIES_MAX];
	size_t known_count;
};

int operations_proc_prepare(const struct audit_view *view, struct operations_proc **ret_proc)
{
	struct operations_proc *proc = calloc(1, sizeof(*proc));
	unsigned int word = records_word(view);
	struct ka_member net;
	uint64_t init_net;

	if (!proc)
		return -ENOMEM;
	if (ka_kernel_symbol(view->kernel, "proc_root", &proc->root) ||
	    !RECORDS_FIND(view->types, { "proc_dir_entry", "proc_iops", &proc->inode_ops, word },
			  { "proc_dir_entry", "proc_ops", &proc->ops, word },
			  { "proc_dir_entry", "seq_ops", &proc->seq, word },
			  { "proc_dir_entry", "subdir.rb_node", &proc->subdir, word },
			  { "proc_dir_entry", "subdir_node", &proc->node, 0 },
			  { "proc_dir_entry", "name", &proc->name, word },
			  { "rb_node", "rb_left", &proc->left, word },
			  { "rb_node", "rb_right", &proc->right, word }) ||
	    ka_types_size(view->types, "proc_ops", &proc->ops_size) ||
	    ka_types_size(view->types, "seq_operations", &proc->seq_size) ||
	    ka_types_size(view->types, "inode_operations", &proc->inode_size)) {
		free(proc);
		return -ENODATA;
	}
	if (!ka_kernel_symbol(view->kernel, "init_net", &init_net) &&
	    RECORDS_FIND(view->types, { "net", "proc_net", &net, word }))
		proc->net = init_net + net.offset;
	*ret_proc = proc;
	return 0;
}

void operations_proc_release(struct operations_proc *proc)
{
	free(proc);
}

struct entry {
	uint64_t gva, subdir, left, right, name;
	uint64_t
		pointer[POINTERS]; /* to operations of inodes, of files, of what is shown in them */
};

static int entry_read(struct operations_look *look, const struct operations_proc *proc,
		      uint64_t node, struct entry *ret_entry)
{
	unsigned int word = records_word(look->view);
	struct entry entry = { .gva = node - proc->node.offset };
	const struct {
		uint64_t offset;
		uint64_t *to;
	} words[] = {
		{ proc->inode_ops.offset, &entry.pointer[0] },
		{ proc->ops.offset, &entry.pointer[1] },
		{ proc->seq.offset, &entry.pointer[2] },
		{ proc->subdir.offset, &entry.subdir },
		{ proc->name.offset, &entry.name },
		{ proc->node.offset + proc->left.offset, &entry.left },
		{ proc->node.offset + proc->right.offset, &entry.right },
	};
	struct ka_piece pieces[sizeof(words) / sizeof(words[0])];
	size_t count = sizeof(words) / sizeof(words[0]);
	int err;

	for (size_t i = 0; i < count; i++)
		pieces[i] = (struct ka_piece){ .address = entry.gva + words[i].offset,
					       .buf = words[i].to,
					       .len = word };
	err = operations_step(look) ? records_read(look->view, pieces, count) : -EAGAIN;
	if (!err)
		*ret_entry = entry;
	return err;
}

static bool in_image(const struct operations_look *look, uint64_t gva)
{
	return gva >= look->view->kernel->base && gva < look->view->kernel->image_end;
}

static bool is_kernels(const struct operations_look *look, const struct entry *entry)
{
	for (int i = 0; i < POINTERS; i++)
		if (entry->pointer[i] && !in_image(look, entry->pointer[i]))
			return false;
	return true;
}

/* FNV-1a: the memory of an entry that is gone may be another's. */
static uint64_t entry_key(const struct entry *entry, const char *path)
{
	uint64_t key = 0xcbf29ce484222325 ^ entry->gva;

	for (; *path; path++)
		key = (key ^ (uint8_t)*path) * 0x100000001b3;
	return key;
}

static bool is_known(struct operations_proc *proc, const struct entry *entry, const char *path,
		     bool kernels)
{
	uint64_t key = entry_key(entry, path);

	for (size_t i = 0; i < sizeof(kernels_own) / sizeof(kernels_own[0]); i++)
		if (!strcmp(kernels_own[i], path))
			return true;
	for (size_t i = 0; i < proc->known_count; i++)
		if (proc->known[i] == key)
			return true;
	if (kernels && proc->known_count < ENTRIES_MAX)
		proc->known[proc->known_count++] = key;
	return false;
}

/* Of single_show in the place of seq_ops, it is a function. */
static int judge_entry(struct operations_look *look, struct operations_proc *proc,
		       const struct entry *entry, const char *path)
{
	const uint32_t sizes[POINTERS] = { proc->inode_size, proc->ops_size, proc->seq_size };
	bool known = is_known(proc, entry, path, is_kernels(look, entry));
	int err = 0;

	look->name = path;
	look->rule = known ? OPERATIONS_KERNEL : OPERATIONS_LISTED;
	for (int i = 0; !err && i < POINTERS; i++) {
		uint64_t pointer = entry->pointer[i];

		if (!pointer || in_image(look, pointer))
			continue;
		if (i == POINTERS - 1 && guest_modules_at(look->view->modules, pointer))
			operations_pointer(look, entry->gva + proc->seq.offset, pointer);
		else
			err = operations_table(look, pointer, sizes[i]);
	}
	return err;
}

static int walk_folder(struct operations_look *look, struct operations_proc *proc, uint64_t root,
		       const char *path, unsigned int depth)
{
	uint64_t waiting[TREE_DEPTH_MAX] = { root };
	size_t count = root ? 1 : 0;
	struct entry entry;
	int err = 0;

	while (!err && count) {
		char name[PATH_BYTES], below[2 * PATH_BYTES];

		err = entry_read(look, proc, waiting[--count], &entry);
		if (err)
			break;
		records_read_string(look->view, entry.name, name, sizeof(name));
		snprintf(below, sizeof(below), "%.*s/%s", PATH_BYTES - 1, path, name);
		err = judge_entry(look, proc, &entry, below);
		if (!err && entry.subdir && depth < FOLDERS_DEPTH_MAX)
			err = walk_folder(look, proc, entry.subdir, below, depth + 1);
		if (count + 2 > TREE_DEPTH_MAX)
			return -EAGAIN;
		if (entry.left)
			waiting[count++] = entry.left;
		if (entry.right)
			waiting[count++] = entry.right;
	}
	return err;
}

int operations_proc_look(struct operations_look *look, struct operations_proc *proc)
{
	uint64_t tree, net;
	int err = records_read_word(look->view, proc->root + proc->subdir.offset, &tree);

	if (!err)
		err = walk_folder(look, proc, tree, "/proc", 0);
	if (err || !proc->net)
		return err;
	err = records_read_word(look->view, proc->net, &net);
	if (!err && net)
		err = records_read_word(look->view, net + proc->subdir.offset, &tree);
	return err || !net ? err : walk_folder(look, proc, tree, "/proc/net", 0);
}
