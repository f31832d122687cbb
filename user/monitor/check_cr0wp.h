/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CR0.WP: while it is clear, the kernel can write its own read-only pages. */
#ifndef MONITOR_CHECK_CR0WP_H
#define MONITOR_CHECK_CR0WP_H

#include <stdbool.h>
#include <stdint.h>

#define CR0_WP (1ull << 16)
#define CR0_PG (1ull << 31)

static inline bool cr0_wp_clear(uint64_t cr0)
{
	/* Without paging the bit means nothing. */
	return (cr0 & CR0_PG) && !(cr0 & CR0_WP);
}

#endif
