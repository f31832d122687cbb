/* SPDX-License-Identifier: GPL-2.0-only */
/* Writes to the kernel's text, past its protection: through a mapping of its own. */
#ifndef LAB_GUEST_RK_TEXT_H
#define LAB_GUEST_RK_TEXT_H

#include <linux/mm.h>
#include <linux/vmalloc.h>

/* Within a page of the kernel's image. */
static inline int rk_write_text(void *at, const void *bytes, size_t len)
{
	struct page *pages[] = { virt_to_page(__va(__pa_symbol(at))) };
	u8 *mapped = vmap(pages, 1, VM_MAP, PAGE_KERNEL);

	if (!mapped)
		return -ENOMEM;
	memcpy(mapped + offset_in_page(at), bytes, len);
	vunmap(mapped);
	return 0;
}

#endif
