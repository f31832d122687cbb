/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel module kvmbpf_helper needs of user space. */
#ifndef KVMACCESS_HELPER_H
#define KVMACCESS_HELPER_H

#include "host.h"

/* Loaded, and with the type information by which programs find its functions? */
bool helper_loaded(void);

/* Tells the host's features whether it is at work; else what is lost without it. */
void helper_feature(struct ka_host *host);

/*
 * The VM's descriptor, duplicated into this process. Close it at once: it keeps the VM alive.
 * Errors: -EOWNERDEAD; -EPERM.
 */
int helper_vm_fd(const struct host_vm *vm);

#endif
