// SPDX-License-Identifier: GPL-2.0-only
/* Is called with each signal that is sent, by an fprobe: how processes are told to hide. */
#include <linux/fprobe.h>
#include <linux/version.h>

#include "rk.h"

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
static void handler(struct fprobe *probe, unsigned long ip, struct pt_regs *regs, void *data)
{
}
#else
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 14, 0)
#define ftrace_regs pt_regs
#endif
static int handler(struct fprobe *probe, unsigned long ip, unsigned long return_ip,
		   struct ftrace_regs *regs, void *data)
{
	return 0;
}
#endif

static struct fprobe probe = {
	.entry_handler = handler,
};

static int on(void)
{
	return register_fprobe(&probe, "__send_signal_locked", NULL);
}

static void off(void)
{
	unregister_fprobe(&probe);
}

RK_MODULE(fprobe, on, off);
