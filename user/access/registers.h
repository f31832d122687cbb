/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Registers as the BPF programs leave them, and as callers see them. */
#ifndef KVMACCESS_REGISTERS_H
#define KVMACCESS_REGISTERS_H

#include "vm.h"

void registers_from_state(const struct kvmbpf_vcpu *state, struct ka_registers *ret_registers);

#endif
