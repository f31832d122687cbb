// SPDX-License-Identifier: GPL-2.0-only
/* Is called with each file that is opened, by a kprobe. */
#include <linux/kprobes.h>

#include "rk.h"

static int handler(struct kprobe *probe, struct pt_regs *regs)
{
	return 0;
}

static struct kprobe probe = {
	.symbol_name = "do_sys_openat2",
	.pre_handler = handler,
};

static int on(void)
{
	return register_kprobe(&probe);
}

static void off(void)
{
	unregister_kprobe(&probe);
}

RK_MODULE(kprobe, on, off);
