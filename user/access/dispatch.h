/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What happens on the host, as one descriptor to wait for and one function to call. */
#ifndef KVMACCESS_DISPATCH_H
#define KVMACCESS_DISPATCH_H

#include "host.h"

int dispatch_init(struct ka_host *host);
void dispatch_deinit(struct ka_host *host);

/* A descriptor that tells the end of a process, to be closed when it is no longer of interest; or
 * a negative errno, where uevents alone must do. */
int dispatch_watch_process(struct ka_host *host, pid_t pid);

#endif
