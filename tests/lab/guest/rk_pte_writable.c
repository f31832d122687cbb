// SPDX-License-Identifier: GPL-2.0-only
/* A page of the kernel's read-only text made writable where it is mapped, by its page-table entry. */
#include <asm/pgtable.h>

#include "rk.h"

static char *symbol = "x64_sys_call";
module_param(symbol, charp, 0);

static pte_t *entry;

static int on(void)
{
	unsigned long at = rk_lookup(symbol);
	unsigned int level;

	/* Of a large page it is the PMD's, with the same bits. */
	entry = at ? lookup_address(at, &level) : NULL;
	if (!entry || entry->pte & _PAGE_RW)
		return -ENOENT;
	WRITE_ONCE(entry->pte, entry->pte | _PAGE_RW);
	return 0;
}

static void off(void)
{
	WRITE_ONCE(entry->pte, entry->pte & ~_PAGE_RW);
}

RK_MODULE(pte_writable, on, off);
