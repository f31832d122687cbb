/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Gives up, for good, what loading BPF programs needs and watching does not. */
#ifndef MONITOR_PRIVILEGES_H
#define MONITOR_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>

enum { PRIVILEGES_ERROR_MAX = 256 };

/*
 * Goes over to `user` where this is root's process; without one, to "kvmbpf" if there is such a
 * user. Then keeps the few capabilities and system calls that the monitor's loop needs. Before any
 * thread is made. `owned` are paths, up to a NULL, that the user is to own; or NULL.
 * `may_write`: also keeps the call that writes to VMs.
 * On failure `ret_error` says what could not be given up; the process is of no use then.
 */
int privileges_drop(const char *user, const char *const *owned, bool may_write,
		    char ret_error[static PRIVILEGES_ERROR_MAX]);

#endif
