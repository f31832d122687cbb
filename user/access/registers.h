/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Registers as the BPF programs leave them, and as callers see them. */
#ifndef KVMACCESS_REGISTERS_H
#define KVMACCESS_REGISTERS_H

#include "vm.h"

/*
 * What the VMCS alone holds, where it is not read: IDTR as 64-bit Linux has it, CR3 as root_find()
 * found it, if it did.
 */
void registers_complete(struct ka_vm *vm, struct ka_registers *registers);
/* A copy that no program wrote to meanwhile; -EAGAIN. */
int state_copy(const struct kvmbpf_vcpu *state, struct kvmbpf_vcpu *ret_copy);
/* Has the last pull read all vCPUs of the VM, as many as are known, and has nobody asked for them since? */
bool registers_pulled(const struct ka_vm *vm);
void registers_from_state(const struct kvmbpf_vcpu *state, struct ka_registers *ret_registers);

#endif
