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
static __always_inline __u32 svm_flags(__u32 hflags, __u64 nested_ctl)
{
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

/* As struct vmcb_seg: APM vol. 2, table B-2. */
struct svm_segment {
	__u16 selector, attrib;
	__u32 limit;
	__u64 base;
};

static __always_inline int svm_watch(struct kvm_vcpu *vcpu, const struct controls *controls,
				     struct watched *ret_watched)
{
	struct vmcb *vmcb = KERNEL_READ((struct vcpu_svm *)vcpu, vmcb);
	/* On the stack by themselves: the compiler keeps *ret_watched in registers. */
	struct {
		struct svm_segment gdtr, ldtr, idtr;
	} tables;
	struct syscall_msrs msrs;
	__u64 nested_ctl = KERNEL_READ(vmcb, control.nested_ctl);

	/* Without nested paging the VMCB's CR0 is the one of KVM's shadow page tables. */
	if (nested_ctl & SVM_NESTED_CTL_NP)
		ret_watched->cr0 = KERNEL_READ(vmcb, save.cr0);
	else
		ret_watched->cr0 = controls->cr0;
	ret_watched->cr4 = controls->cr4;
	ret_watched->efer = controls->efer;
	/* The CPU's layout: APM vol. 2, table B-2. */
	if (KERNEL_READ_ALL(msrs, &vmcb->save.star) ||
	    KERNEL_READ_ALL(tables, &vmcb->save.gdtr))
		return -1;
	ret_watched->msrs = msrs;
	ret_watched->gdtr.base = tables.gdtr.base;
	ret_watched->gdtr.limit = tables.gdtr.limit;
	ret_watched->idtr.base = tables.idtr.base;
	ret_watched->idtr.limit = tables.idtr.limit;
	ret_watched->flags = svm_flags(controls->hflags, nested_ctl);
	return 0;
}

/* Without nested paging the VMCB has the root of KVM's shadow page tables. */
static __always_inline __u64 svm_cr3(struct kvm_vcpu *vcpu, const struct watched *now)
{
	struct vmcb *vmcb = KERNEL_READ((struct vcpu_svm *)vcpu, vmcb);

	return KERNEL_READ(vmcb, control.nested_ctl) & SVM_NESTED_CTL_NP ?
		       KERNEL_READ(vmcb, save.cr3) :
		       now->cr3;
}

static __always_inline void svm_fill_rest(struct kvm_vcpu *vcpu, const struct watched *now,
					  struct kvmbpf_vcpu *state)
{
	struct vmcb *vmcb = KERNEL_READ((struct vcpu_svm *)vcpu, vmcb);
	struct {
		struct svm_segment es, cs, ss, ds, fs, gs;
	} segments = {};

	state->cr3 = svm_cr3(vcpu, now);
	state->rflags = KERNEL_READ(vmcb, save.rflags);
	state->cpl = KERNEL_READ(vmcb, save.cpl);
	KERNEL_READ_ALL(segments, &vmcb->save.es);
	state->fs_base = segments.fs.base;
	state->gs_base = segments.gs.base;
	state->kernel_gs_base = now->msrs.kernel_gs_base;
	state->selector[KVMBPF_ES] = segments.es.selector;
	state->selector[KVMBPF_CS] = segments.cs.selector;
	state->selector[KVMBPF_SS] = segments.ss.selector;
	state->selector[KVMBPF_DS] = segments.ds.selector;
	state->selector[KVMBPF_FS] = segments.fs.selector;
	state->selector[KVMBPF_GS] = segments.gs.selector;
	state->selector[KVMBPF_LDTR] = KERNEL_READ(vmcb, save.ldtr.selector);
	state->selector[KVMBPF_TR] = KERNEL_READ(vmcb, save.tr.selector);
}

#endif
