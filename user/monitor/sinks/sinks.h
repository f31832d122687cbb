/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kinds of sinks, one file each. */
#ifndef MONITOR_SINKS_H
#define MONITOR_SINKS_H

#include "../sink.h"

/* Standard output, or where `path` is not NULL, whatever is there or can be made: it is opened now,
 * so that what is wrong with it is told at once. */
int sink_stdout_new(const char *path, struct sink **ret_sink);

#endif
