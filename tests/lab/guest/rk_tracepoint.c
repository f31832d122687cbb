// SPDX-License-Identifier: GPL-2.0-only
/* Is called with each fork, by a probe of the tracepoint sched_process_fork. */
#include <linux/string.h>
#include <linux/tracepoint.h>

#include "rk.h"

static struct tracepoint *tracepoint;

static void probe(void *data, struct task_struct *parent, struct task_struct *child)
{
}

static void find(struct tracepoint *one, void *unused)
{
	if (!strcmp(one->name, "sched_process_fork"))
		tracepoint = one;
}

static int on(void)
{
	for_each_kernel_tracepoint(find, NULL);
	if (!tracepoint)
		return -ENOENT;
	return tracepoint_probe_register(tracepoint, probe, NULL);
}

static void off(void)
{
	tracepoint_probe_unregister(tracepoint, probe, NULL);
	tracepoint_synchronize_unregister();
}

RK_MODULE(tracepoint, on, off);
