// SPDX-License-Identifier: GPL-2.0-only
/* Takes the kernel's taint flags back, those of its own loading among them. */
#include "rk.h"

#include <linux/workqueue.h>

static unsigned int for_ms; /* 0: until it is unloaded */
module_param(for_ms, uint, 0);

static unsigned long *mask, saved;
static void restore(struct work_struct *work);
static DECLARE_DELAYED_WORK(restorer, restore);

static void restore(struct work_struct *work)
{
	if (!saved)
		return;
	WRITE_ONCE(*mask, saved);
	saved = 0;
	pr_alert("rk taint off\n");
}

static int __init rk_init(void)
{
	mask = (void *)rk_lookup("tainted_mask");
	if (!mask)
		return -ENOENT;
	saved = *mask;
	WRITE_ONCE(*mask, 0);
	pr_alert("rk taint on\n");
	if (for_ms)
		schedule_delayed_work(&restorer, msecs_to_jiffies(for_ms));
	return 0;
}

static void __exit rk_exit(void)
{
	cancel_delayed_work_sync(&restorer);
	restore(NULL);
}

module_init(rk_init);
module_exit(rk_exit);
MODULE_DESCRIPTION("takes taint flags back");
MODULE_LICENSE("GPL");
