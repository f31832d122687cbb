/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is particular to hosts with Intel VMX. */
#ifndef KVMACCESS_VMX_H
#define KVMACCESS_VMX_H

#include "host.h"

/* Where KVM keeps MSRs of guests; left alone where that cannot be found out. */
void vmx_slots_find(uint8_t slots[KVMBPF_URET_MSRS]);
/*
 * Has the VM's vCPUs that no program has seen yet show their state: those that block are woken,
 * those that run exit at the host's next tick. Waits for them, a few ms at most.
 */
void vmx_wake_unseen(struct ka_host *host, const struct host_vm *vm);

#endif
