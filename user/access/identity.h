/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Name, UUID and origin of a VM, from what its VMM and its manager leave on the host. */
#ifndef KA_IDENTITY_H
#define KA_IDENTITY_H

#include <sys/types.h>

#include "kvmaccess.h"

/*
 * Fills name, uuid, hypervisor, manager, labels, id_source and id_confidence of the VM of `pid`,
 * and nothing else. That the process has a VM is the caller's knowledge: nothing here decides it.
 * What cannot be read is left out ("pid-N", "", "unknown", "none"). Errors: -ESRCH, -ENOMEM.
 */
int identity_read(pid_t pid, struct ka_vm_info *info);

/*
 * How much is known of a VM: what ranks higher is believed over what ranks lower. 0 is nothing but
 * the process, IDENTITY_SURE what no VMM can have made up.
 */
enum { IDENTITY_SURE = 3 };
int identity_rank(const struct ka_vm_info *info);

/* The same with other directories in the place of /proc and /. */
int identity_read_at(const char *proc, const char *root, pid_t pid, struct ka_vm_info *info);

#endif
