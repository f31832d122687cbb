/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the guest's registers lie on PVM (KVM in software): in struct vcpu_pvm. The MSRs of the
 * system call path lie in an array whose order is the vendor's own, so they are left out.
 */
#ifndef KVMBPF_VENDOR_PVM_H
#define KVMBPF_VENDOR_PVM_H

#include "watched.bpf.h"

static __always_inline int pvm_watch(struct kvm_vcpu *vcpu, struct watched *ret_watched)
{
	struct vcpu_pvm *pvm = (struct vcpu_pvm *)vcpu;
	__u32 hflags;

	if (BPF_CORE_READ_INTO(&hflags, vcpu, arch.hflags))
		return -1;
	ret_watched->cr0 = BPF_CORE_READ(vcpu, arch.cr0);
	ret_watched->cr4 = BPF_CORE_READ(vcpu, arch.cr4);
	ret_watched->efer = BPF_CORE_READ(vcpu, arch.efer);
	ret_watched->gdtr.base = BPF_CORE_READ(pvm, gdt.address);
	ret_watched->gdtr.limit = BPF_CORE_READ(pvm, gdt.size);
	ret_watched->idtr.base = BPF_CORE_READ(pvm, idt.address);
	ret_watched->idtr.limit = BPF_CORE_READ(pvm, idt.size);
	ret_watched->flags = KVMBPF_VCPU_NO_MSRS | KVMBPF_VCPU_WP_SAMPLED;
	if (hflags & 1)
		ret_watched->flags |= KVMBPF_VCPU_NESTED;
	if (hflags & 2)
		ret_watched->flags |= KVMBPF_VCPU_SMM;
	return 0;
}

static __always_inline void pvm_fill_rest(struct kvm_vcpu *vcpu, struct kvmbpf_vcpu *state)
{
	/* VCPU_SREG_*: KVM's order of segments, which is ours for the selectors. The value of
	 * seg[] stands as it does in kvm_x86_ops.get_segment(). */
	struct vcpu_pvm *pvm = (struct vcpu_pvm *)vcpu;

	state->cr3 = BPF_CORE_READ(vcpu, arch.cr3);
	state->rflags = BPF_CORE_READ(pvm, rflags);
	state->cpl = BPF_CORE_READ(pvm, cpl);
	state->selector[KVMBPF_ES] = BPF_CORE_READ(pvm, seg[0].selector);
	state->selector[KVMBPF_CS] = BPF_CORE_READ(pvm, seg[1].selector);
	state->selector[KVMBPF_SS] = BPF_CORE_READ(pvm, seg[2].selector);
	state->selector[KVMBPF_DS] = BPF_CORE_READ(pvm, seg[3].selector);
	state->selector[KVMBPF_FS] = BPF_CORE_READ(pvm, seg[4].selector);
	state->selector[KVMBPF_GS] = BPF_CORE_READ(pvm, seg[5].selector);
	state->selector[KVMBPF_TR] = BPF_CORE_READ(pvm, seg[6].selector);
	state->selector[KVMBPF_LDTR] = BPF_CORE_READ(pvm, seg[7].selector);
	state->fs_base = BPF_CORE_READ(pvm, seg[4].base);
	state->gs_base = BPF_CORE_READ(pvm, seg[5].base);
}

#endif
