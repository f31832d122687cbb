/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-2-Clause */
/* Which of a vCPU's registers a seal holds: for BPF programs and for user space the same. */
#ifndef KVMBPF_SEAL_H
#define KVMBPF_SEAL_H

#include "kvmbpf/records.h"

/* No padding in it, so that it can be compared and hashed as bytes. */
static inline void kvmbpf_seal_registers(const struct kvmbpf_vcpu *state,
					 struct kvmbpf_seal_registers *ret_registers)
{
	*ret_registers = (struct kvmbpf_seal_registers){
		.vcpu_id = state->vcpu_id,
		.flags = state->flags,
		.cr0 = state->cr0,
		.cr4 = state->cr4,
		.efer = state->efer,
		.gdtr = { .base = state->gdtr.base, .limit = state->gdtr.limit },
		.idtr = { .base = state->idtr.base, .limit = state->idtr.limit },
		.lstar = state->lstar,
		.cstar = state->cstar,
		.star = state->star,
		.sfmask = state->sfmask,
		.sysenter_cs = state->sysenter_cs,
		.sysenter_esp = state->sysenter_esp,
		.sysenter_eip = state->sysenter_eip,
		.dr = { state->dr[0], state->dr[1], state->dr[2], state->dr[3] },
		.dr7 = state->dr7,
		.cr3 = state->cr3,
	};
}

#endif
