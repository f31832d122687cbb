// SPDX-License-Identifier: GPL-2.0-only
/* Sees what a read of a directory returns, by a kretprobe: where entries are taken out. */
#include <linux/kprobes.h>

#include "rk.h"

static int handler(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	return 0;
}

static struct kretprobe probe = {
	.kp.symbol_name = "iterate_dir",
	.handler = handler,
};

static int on(void)
{
	return register_kretprobe(&probe);
}

static void off(void)
{
	unregister_kretprobe(&probe);
}

RK_MODULE(kretprobe, on, off);
