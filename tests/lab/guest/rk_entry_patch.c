// SPDX-License-Identifier: GPL-2.0-only
/* The entry of system calls patched: its call of do_syscall_64 goes through this module. */
#include "rk.h"
#include "rk_text.h"

enum { SEARCH = 0x200, BRANCH_BYTES = 5 };

static u8 *call;
static s32 original;
static bool (*dispatcher)(struct pt_regs *regs, int nr);

static noinline bool wrapper(struct pt_regs *regs, int nr)
{
	return dispatcher(regs, nr);
}

static int on(void)
{
	u8 *at = (u8 *)rk_lookup("entry_SYSCALL_64"), *end = at + SEARCH;
	s32 mine;

	dispatcher = (void *)rk_lookup("do_syscall_64");
	if (!at || !dispatcher)
		return -ENOENT;
	for (; at < end; at++)
		if (*at == 0xe8 && (unsigned long)at + BRANCH_BYTES + *(s32 *)(at + 1) ==
					   (unsigned long)dispatcher)
			break;
	/* The displacement in one page. */
	if (at == end || offset_in_page(at + 1) > PAGE_SIZE - sizeof(original))
		return -ENOENT;
	call = at;
	original = *(s32 *)(call + 1);
	mine = (unsigned long)wrapper - (unsigned long)call - BRANCH_BYTES;
	return rk_write_text(call + 1, &mine, sizeof(mine));
}

static void off(void)
{
	rk_write_text(call + 1, &original, sizeof(original));
	synchronize_rcu();
}

RK_MODULE(entry_patch, on, off);
