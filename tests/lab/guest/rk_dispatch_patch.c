// SPDX-License-Identifier: GPL-2.0-only
/* A call site of x64_sys_call patched: one system call goes through this module, no table changes. */
#include "rk.h"
#include "rk_text.h"

static char *symbol = "__x64_sys_getpid";
module_param(symbol, charp, 0);

enum { SEARCH = 0x4000, BRANCH_BYTES = 5 };

static u8 *branch;
static s32 original;
static long (*handler)(const struct pt_regs *regs);

static noinline long wrapper(const struct pt_regs *regs)
{
	return handler(regs);
}

/* The CALL or JMP that leads to a handler. */
static u8 *find(u8 *at, unsigned long to)
{
	for (u8 *end = at + SEARCH; at < end; at++)
		if ((*at == 0xe8 || *at == 0xe9) &&
		    (unsigned long)at + BRANCH_BYTES + *(s32 *)(at + 1) == to)
			return at;
	return NULL;
}

static int on(void)
{
	unsigned long dispatcher = rk_lookup("x64_sys_call");
	s32 mine;

	handler = (void *)rk_lookup(symbol);
	branch = dispatcher && handler ? find((u8 *)dispatcher, (unsigned long)handler) : NULL;
	/* The displacement in one page. */
	if (!branch || offset_in_page(branch + 1) > PAGE_SIZE - sizeof(original))
		return -ENOENT;
	original = *(s32 *)(branch + 1);
	mine = (unsigned long)wrapper - (unsigned long)branch - BRANCH_BYTES;
	return rk_write_text(branch + 1, &mine, sizeof(mine));
}

static void off(void)
{
	rk_write_text(branch + 1, &original, sizeof(original));
	synchronize_rcu();
}

RK_MODULE(dispatch_patch, on, off);
