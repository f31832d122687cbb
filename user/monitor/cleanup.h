/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frees at the end of a scope. */
#ifndef MONITOR_CLEANUP_H
#define MONITOR_CLEANUP_H

#include <stdlib.h>

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

#define _cleanup_(function) __attribute__((cleanup(function)))
#define _cleanup_free_ _cleanup_(cleanup_free)

#define array_size(array) (sizeof(array) / sizeof((array)[0]))

#endif
