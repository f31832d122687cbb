/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the guest's registers lie on PVM (KVM in software): in struct vcpu_pvm. The MSRs of the
 * system call path lie in an array whose order is the vendor's own, so they are left out.
 */
#ifndef KVMBPF_VENDOR_PVM_H
#define KVMBPF_VENDOR_PVM_H

#include "watched.bpf.h"

/* As struct kvm_segment, which is user space's, too (<asm/kvm.h>). */
struct pvm_segment {
	__u64 base;
	__u32 limit;
	__u16 selector, pad;
	__u64 access;
};

static __always_inline void pvm_read_table(struct desc_ptr *from,
					   struct kvmbpf_table_register *ret_table)
{
	ret_table->base = KERNEL_READ(from, address);
	ret_table->limit = KERNEL_READ(from, size);
}

static __always_inline int pvm_watch(struct kvm_vcpu *vcpu, const struct controls *controls,
				     struct watched *ret_watched)
{
	struct vcpu_pvm *pvm = (struct vcpu_pvm *)vcpu;

	ret_watched->cr0 = controls->cr0;
	ret_watched->cr4 = controls->cr4;
	ret_watched->efer = controls->efer;
	pvm_read_table(&pvm->gdt, &ret_watched->gdtr);
	pvm_read_table(&pvm->idt, &ret_watched->idtr);
	ret_watched->flags = KVMBPF_VCPU_NO_MSRS | KVMBPF_VCPU_WP_SAMPLED;
	if (controls->hflags & 1)
		ret_watched->flags |= KVMBPF_VCPU_NESTED;
	if (controls->hflags & 2)
		ret_watched->flags |= KVMBPF_VCPU_SMM;
	return 0;
}

static __always_inline void pvm_fill_rest(struct kvm_vcpu *vcpu, const struct watched *now,
					  struct kvmbpf_vcpu *state)
{
	/* VCPU_SREG_*: KVM's order of segments, which is ours for the selectors. The value of
	 * seg[] stands as it does in kvm_x86_ops.get_segment(). */
	struct vcpu_pvm *pvm = (struct vcpu_pvm *)vcpu;

	struct pvm_segment seg[8] = {};

	KERNEL_READ_ALL(seg, &pvm->seg);
	state->cr3 = now->cr3;
	state->rflags = KERNEL_READ(pvm, rflags);
	state->cpl = KERNEL_READ(pvm, cpl);
	state->selector[KVMBPF_ES] = seg[0].selector;
	state->selector[KVMBPF_CS] = seg[1].selector;
	state->selector[KVMBPF_SS] = seg[2].selector;
	state->selector[KVMBPF_DS] = seg[3].selector;
	state->selector[KVMBPF_FS] = seg[4].selector;
	state->selector[KVMBPF_GS] = seg[5].selector;
	state->selector[KVMBPF_TR] = seg[6].selector;
	state->selector[KVMBPF_LDTR] = seg[7].selector;
	state->fs_base = seg[4].base;
	state->gs_base = seg[5].base;
}

#endif
