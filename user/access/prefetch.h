/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Has the CPU fetch memory that is needed soon. */
#ifndef KVMACCESS_PREFETCH_H
#define KVMACCESS_PREFETCH_H

#include <stddef.h>

static inline void prefetch(const void *start, size_t len)
{
	enum { LINE = 64 };

	for (size_t at = 0; at < len; at += LINE)
		__builtin_prefetch((const char *)start + at, 0, 2);
}

#endif
