// SPDX-License-Identifier: LGPL-2.1-or-later
/* Compares system call tables entry by entry, once their bytes differ. */
#include "check_syscall.h"

#include <string.h>

size_t syscall_differences(unsigned int entry_size, const uint8_t *expected,
			   const uint8_t *observed, size_t len, uint16_t *ret_index, size_t max)
{
	size_t found = 0;

	if (!memcmp(expected, observed, len))
		return 0;
	for (size_t at = 0; at + entry_size <= len; at += entry_size) {
		if (!memcmp(expected + at, observed + at, entry_size))
			continue;
		if (found < max)
			ret_index[found] = (uint16_t)(at / entry_size);
		found++;
	}
	return found;
}
