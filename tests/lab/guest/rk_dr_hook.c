// SPDX-License-Identifier: GPL-2.0-only
/* A hook without a change to memory: a breakpoint on a system call, in each CPU's debug registers. */
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>

#include "rk.h"

static char *symbol = "__x64_sys_getpid";
module_param(symbol, charp, 0);

static struct perf_event *__percpu *breakpoints;
static atomic_t hits;

static void hit(struct perf_event *event, struct perf_sample_data *data, struct pt_regs *regs)
{
	atomic_inc(&hits);
}

static int on(void)
{
	struct perf_event_attr attr;

	hw_breakpoint_init(&attr);
	attr.bp_addr = rk_lookup(symbol);
	attr.bp_len = sizeof(long);
	attr.bp_type = HW_BREAKPOINT_X;
	if (!attr.bp_addr)
		return -ENOENT;
	breakpoints = register_wide_hw_breakpoint(&attr, hit, NULL);
	return PTR_ERR_OR_ZERO((void __force *)breakpoints);
}

static void off(void)
{
	unregister_wide_hw_breakpoint(breakpoints);
	pr_alert("rk_dr_hook: %d hits\n", atomic_read(&hits));
}

RK_MODULE(dr_hook, on, off);
