// SPDX-License-Identifier: GPL-2.0-only
/* A second mapping of a page of the kernel's text, through which it can be written. */
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include "rk.h"

static char *symbol = "x64_sys_call";
module_param(symbol, charp, 0);

static void *mapped;

static int on(void)
{
	void *at = (void *)rk_lookup(symbol);
	struct page *pages[1];

	if (!at)
		return -ENOENT;
	pages[0] = virt_to_page(__va(__pa_symbol(at)));
	mapped = vmap(pages, 1, VM_MAP, PAGE_KERNEL);
	return mapped ? 0 : -ENOMEM;
}

static void off(void)
{
	vunmap(mapped);
}

RK_MODULE(alias, on, off);
