/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the guest's registers lie on AMD SVM: in the VMCB, which is ordinary memory, written by
 * the CPU at each #VMEXIT.
 */
#ifndef KVMBPF_VENDOR_SVM_H
#define KVMBPF_VENDOR_SVM_H

#include "watched.bpf.h"

/* AMD APM vol. 2, 15.25.3 and appendix B: byte 0x90 of the VMCB. */
enum {
	SVM_NESTED_CTL_NP = 1 << 0,
	SVM_NESTED_CTL_SEV_ES = 1 << 2,
};

/*
 * hflags is a bit field of #defines that BTF does not know: HF_GUEST_MASK and HF_SMM_MASK are bits
 * 5 and 6 in 6.1, bits 0 and 1 in 6.12. They moved when GIF left hflags for vcpu_svm.guest_gif.
 */
static __always_inline __u32 svm_flags(struct kvm_vcpu *vcpu, __u64 nested_ctl)
{
	__u32 hflags = BPF_CORE_READ(vcpu, arch.hflags);
	__u32 shift = bpf_core_field_exists(struct vcpu_svm___gif, guest_gif) ? 0 : 5;
	__u32 flags = 0;

	if (hflags & (1u << shift))
		flags |= KVMBPF_VCPU_NESTED;
	if (hflags & (2u << shift))
		flags |= KVMBPF_VCPU_SMM;
	if (nested_ctl & SVM_NESTED_CTL_SEV_ES)
		flags |= KVMBPF_VCPU_ENCRYPTED;
	return flags;
}

static __always_inline int svm_watch(struct kvm_vcpu *vcpu, struct watched *ret_watched)
{
	struct vmcb *vmcb = BPF_CORE_READ((struct vcpu_svm *)vcpu, vmcb);
	__u64 nested_ctl;

	if (BPF_CORE_READ_INTO(&nested_ctl, vmcb, control.nested_ctl))
		return -1;
	/* Without nested paging the VMCB's CR0 is the one of KVM's shadow page tables. */
	if (nested_ctl & SVM_NESTED_CTL_NP)
		ret_watched->cr0 = BPF_CORE_READ(vmcb, save.cr0);
	else
		ret_watched->cr0 = BPF_CORE_READ(vcpu, arch.cr0);
	ret_watched->cr4 = BPF_CORE_READ(vcpu, arch.cr4);
	ret_watched->efer = BPF_CORE_READ(vcpu, arch.efer);
	/* The CPU's layout: APM vol. 2, table B-2. */
	if (bpf_core_read(&ret_watched->msrs, sizeof(ret_watched->msrs), &vmcb->save.star))
		return -1;
	ret_watched->gdtr.base = BPF_CORE_READ(vmcb, save.gdtr.base);
	ret_watched->gdtr.limit = BPF_CORE_READ(vmcb, save.gdtr.limit);
	ret_watched->idtr.base = BPF_CORE_READ(vmcb, save.idtr.base);
	ret_watched->idtr.limit = BPF_CORE_READ(vmcb, save.idtr.limit);
	ret_watched->flags = svm_flags(vcpu, nested_ctl);
	return 0;
}

static __always_inline void svm_fill_rest(struct kvm_vcpu *vcpu, const struct watched *now,
					  struct kvmbpf_vcpu *state)
{
	struct vmcb *vmcb = BPF_CORE_READ((struct vcpu_svm *)vcpu, vmcb);

	if (BPF_CORE_READ(vmcb, control.nested_ctl) & SVM_NESTED_CTL_NP)
		state->cr3 = BPF_CORE_READ(vmcb, save.cr3);
	else
		state->cr3 = BPF_CORE_READ(vcpu, arch.cr3);
	state->rflags = BPF_CORE_READ(vmcb, save.rflags);
	state->cpl = BPF_CORE_READ(vmcb, save.cpl);
	state->fs_base = BPF_CORE_READ(vmcb, save.fs.base);
	state->gs_base = BPF_CORE_READ(vmcb, save.gs.base);
	state->kernel_gs_base = now->msrs.kernel_gs_base;
	state->selector[KVMBPF_ES] = BPF_CORE_READ(vmcb, save.es.selector);
	state->selector[KVMBPF_CS] = BPF_CORE_READ(vmcb, save.cs.selector);
	state->selector[KVMBPF_SS] = BPF_CORE_READ(vmcb, save.ss.selector);
	state->selector[KVMBPF_DS] = BPF_CORE_READ(vmcb, save.ds.selector);
	state->selector[KVMBPF_FS] = BPF_CORE_READ(vmcb, save.fs.selector);
	state->selector[KVMBPF_GS] = BPF_CORE_READ(vmcb, save.gs.selector);
	state->selector[KVMBPF_LDTR] = BPF_CORE_READ(vmcb, save.ldtr.selector);
	state->selector[KVMBPF_TR] = BPF_CORE_READ(vmcb, save.tr.selector);
}

#endif
