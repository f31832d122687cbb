// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hides from lsmod and /sys/module, as most rootkits do. After for_ms it is listed again; it cannot
 * be unloaded before.
 */
#include "rk.h"

#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/workqueue.h>

static unsigned int for_ms; /* 0: until power-off */
module_param(for_ms, uint, 0);

static void show(struct work_struct *work)
{
	struct kobject *kobj = &THIS_MODULE->mkobj.kobj;

	list_add_tail_rcu(&THIS_MODULE->list, (struct list_head *)rk_lookup("modules"));
	if (kobject_add(kobj, NULL, "%s", kobject_name(kobj)))
		pr_alert("rk failed: sysfs\n");
	pr_alert("rk hide_module off\n");
}

static DECLARE_DELAYED_WORK(shower, show);

static int __init rk_init(void)
{
	if (!rk_lookup("modules"))
		return -ENOENT;
	list_del_init(&THIS_MODULE->list);
	kobject_del(&THIS_MODULE->mkobj.kobj);
	pr_alert("rk hide_module on\n");
	if (for_ms)
		schedule_delayed_work(&shower, msecs_to_jiffies(for_ms));
	return 0;
}

static void __exit rk_exit(void)
{
	cancel_delayed_work_sync(&shower);
}

module_init(rk_init);
module_exit(rk_exit);
MODULE_DESCRIPTION("hides a module from the list and from sysfs");
MODULE_LICENSE("GPL");
