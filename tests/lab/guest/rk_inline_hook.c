// SPDX-License-Identifier: GPL-2.0-only
/* The head of a function overwritten with a jump: the call for its tracing is not on, so it fits. */
#include "rk.h"
#include "rk_text.h"

/* One that nothing calls in the lab: what the jump leaves out is not done. */
static char *symbol = "tcp4_seq_show";
module_param(symbol, charp, 0);

enum { BRANCH_BYTES = 5 };

static u8 *head;
static u8 original[BRANCH_BYTES];

static noinline int hook(void)
{
	return 0;
}

static int on(void)
{
	static const u8 endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	u8 jump[BRANCH_BYTES] = { 0xe9 };
	s32 displacement;

	head = (u8 *)rk_lookup(symbol);
	if (!head)
		return -ENOENT;
	if (!memcmp(head, endbr64, sizeof(endbr64)))
		head += sizeof(endbr64);
	if (offset_in_page(head) > PAGE_SIZE - BRANCH_BYTES)
		return -EINVAL;
	memcpy(original, head, sizeof(original));
	displacement = (unsigned long)hook - (unsigned long)head - BRANCH_BYTES;
	memcpy(jump + 1, &displacement, sizeof(displacement));
	return rk_write_text(head, jump, sizeof(jump));
}

static void off(void)
{
	rk_write_text(head, original, sizeof(original));
	synchronize_rcu();
}

RK_MODULE(inline_hook, on, off);
