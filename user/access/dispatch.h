/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What happens on the host, as one descriptor to wait for and one function to call. */
#ifndef KVMACCESS_DISPATCH_H
#define KVMACCESS_DISPATCH_H

#include "host.h"

int dispatch_init(struct ka_host *host);
void dispatch_deinit(struct ka_host *host);

#endif
