// SPDX-License-Identifier: LGPL-2.1-or-later
/* What of a guest's memory has its writes tracked, and how that is called. */
#include "guest.h"

const enum check_id tracked_checks[TRACKED_CHECKS] = { CHECK_IDT, CHECK_SYSCALL_TABLE, CHECK_DISPATCH,
						       CHECK_TEXT };

bool check_is_tracked(enum check_id check)
{
	for (int i = 0; i < TRACKED_CHECKS; i++)
		if (tracked_checks[i] == check)
			return true;
	return false;
}

const char *tracking_name(enum tracking_state state)
{
	static const char *const names[] = { [TRACKING_OFF] = "off",
					     [TRACKING_ON] = "tracked",
					     [TRACKING_PROTECTED] = "protected" };

	return names[state];
}
