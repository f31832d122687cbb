// SPDX-License-Identifier: GPL-2.0-only
/*
 * A thread that is missing from the list of tasks, from the process identifiers, or from both.
 * Removing the module, or for_ms, puts it back before it ends.
 */
#include "rk.h"

#include <linux/idr.h>
#include <linux/kthread.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/rculist.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/spinlock.h>

static unsigned int for_ms; /* 0: until it is unloaded */
module_param(for_ms, uint, 0);
static char *from = "list"; /* "pids", "both" */
module_param(from, charp, 0);
static bool busy; /* uses its CPU all the time */
module_param(busy, bool, 0);

static rwlock_t *tasks_lock;
static spinlock_t *pids_lock;
static struct task_struct *thread;
static bool from_list, from_pids;

static void hide(void)
{
	if (from_list) {
		write_lock_irq(tasks_lock);
		list_del_rcu(&current->tasks);
		write_unlock_irq(tasks_lock);
	}
	if (from_pids) {
		spin_lock_irq(pids_lock);
		idr_replace(&init_pid_ns.idr, NULL, current->pid);
		spin_unlock_irq(pids_lock);
	}
	pr_alert("rk hide_task on\n");
}

static void show(void)
{
	struct task_struct *init = (void *)rk_lookup("init_task");

	if (from_pids) {
		spin_lock_irq(pids_lock);
		idr_replace(&init_pid_ns.idr, task_pid(current), current->pid);
		spin_unlock_irq(pids_lock);
	}
	if (from_list) {
		write_lock_irq(tasks_lock);
		list_add_tail_rcu(&current->tasks, &init->tasks);
		write_unlock_irq(tasks_lock);
	}
	pr_alert("rk hide_task off\n");
}

static int run(void *unused)
{
	unsigned long end = jiffies + msecs_to_jiffies(for_ms);

	hide();
	while (!kthread_should_stop() && !(for_ms && time_after(jiffies, end))) {
		if (busy)
			cond_resched();
		else
			schedule_timeout_idle(HZ / 20);
	}
	show();
	while (!kthread_should_stop())
		schedule_timeout_idle(HZ / 20);
	return 0;
}

static int __init rk_init(void)
{
	from_list = strcmp(from, "pids");
	from_pids = strcmp(from, "list");
	tasks_lock = (void *)rk_lookup("tasklist_lock");
	pids_lock = (void *)rk_lookup("pidmap_lock");
	if (!tasks_lock || !pids_lock || !rk_lookup("init_task"))
		return -ENOENT;
	thread = kthread_run(run, NULL, "rk_hide_task");
	return PTR_ERR_OR_ZERO(thread);
}

static void __exit rk_exit(void)
{
	kthread_stop(thread);
}

module_init(rk_init);
module_exit(rk_exit);
MODULE_DESCRIPTION("hides a task");
MODULE_LICENSE("GPL");
