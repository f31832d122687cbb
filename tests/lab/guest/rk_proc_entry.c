// SPDX-License-Identifier: GPL-2.0-only
/* Gives the entry /proc/modules a copy of its operations, with a function of its own for its opening. */
#include <linux/proc_fs.h>
#include <linux/rbtree.h>
#include <linux/string.h>
#include <linux/version.h>

#include "rk.h"

/* fs/proc/internal.h of Linux 6.1 to 7.3. */
struct entry {
	atomic_t in_use;
	refcount_t references;
	struct list_head openers;
	spinlock_t openers_lock;
	struct completion *unloaded;
	const struct inode_operations *inode_ops;
	const struct proc_ops *ops;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
	const void *dentry_ops;
#endif
	const void *seq_ops, *write, *data;
	unsigned int state_size, inode;
	nlink_t links;
	kuid_t uid;
	kgid_t gid;
	loff_t size;
	struct entry *parent;
	struct rb_root below;
	struct rb_node node;
	char *name;
};

static struct proc_ops copy;
static const struct proc_ops *original;
static struct entry *entry;

static int opened(struct inode *inode, struct file *file)
{
	return original->proc_open(inode, file);
}

static int on(void)
{
	struct entry *root = (void *)rk_lookup("proc_root");
	struct rb_node *node = root ? rb_first(&root->below) : NULL;

	while (node && strcmp(rb_entry(node, struct entry, node)->name, "modules"))
		node = rb_next(node);
	if (!node)
		return -ENOENT;
	entry = rb_entry(node, struct entry, node);
	original = entry->ops;
	copy = *original;
	copy.proc_open = opened;
	WRITE_ONCE(entry->ops, &copy);
	return 0;
}

static void off(void)
{
	WRITE_ONCE(entry->ops, original);
	synchronize_rcu();
}

RK_MODULE(proc_entry, on, off);
