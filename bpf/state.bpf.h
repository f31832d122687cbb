/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A vCPU's registers as struct kvmbpf_vcpu, whatever the vendor: the one place that chooses. With a
 * constant vendor the other branches, and their relocations, are compiled away.
 */
#ifndef KVMBPF_STATE_H
#define KVMBPF_STATE_H

#include "watched.bpf.h"
#include "vendor_svm.bpf.h"
#include "vendor_vmx.bpf.h"
#include "vendor_pvm.bpf.h"

/* `typed`: the verifier knows `vcpu` for what it is. */
static __always_inline int vendor_watch(enum kvmbpf_vendor vendor, struct kvm_vcpu *vcpu,
					bool typed, struct watched *ret_watched)
{
	struct controls controls;

	if (typed)
		controls_load(vcpu, &controls);
	else if (LOADS_KERNEL)
		controls_load(KERNEL_POINTER(vcpu), &controls);
	/* With the span pull_vmx has "combined stack size of 2 calls is 544. Too large" up to 6.7. */
	else if (vendor == KVMBPF_VENDOR_VMX ? controls_read_each(vcpu, &controls) :
					       controls_read(vcpu, &controls))
		return -1;
	ret_watched->cr2 = controls.cr2;
	ret_watched->cr3 = controls.cr3;
	return vendor == KVMBPF_VENDOR_SVM ? svm_watch(vcpu, &controls, ret_watched) :
	       vendor == KVMBPF_VENDOR_VMX ? vmx_watch(vcpu, &controls, ret_watched) :
					     pvm_watch(vcpu, &controls, ret_watched);
}

static __always_inline void vendor_fill_rest(enum kvmbpf_vendor vendor, struct kvm_vcpu *vcpu,
					     const struct watched *now, struct kvmbpf_vcpu *state)
{
	if (vendor == KVMBPF_VENDOR_SVM)
		svm_fill_rest(vcpu, now, state);
	else if (vendor == KVMBPF_VENDOR_VMX)
		vmx_fill_rest(vcpu, now, state);
	else
		pvm_fill_rest(vcpu, now, state);
}

static __always_inline void state_fill_watched(struct kvmbpf_vcpu *state, const struct watched *now)
{
	state->cr0 = now->cr0;
	state->cr2 = now->cr2;
	state->cr4 = now->cr4;
	state->efer = now->efer;
	state->star = now->msrs.star;
	state->lstar = now->msrs.lstar;
	state->cstar = now->msrs.cstar;
	state->sfmask = now->msrs.sfmask;
	state->sysenter_cs = now->msrs.sysenter_cs;
	state->sysenter_esp = now->msrs.sysenter_esp;
	state->sysenter_eip = now->msrs.sysenter_eip;
	state->gdtr.base = now->gdtr.base;
	state->gdtr.limit = now->gdtr.limit;
	state->idtr.base = now->idtr.base;
	state->idtr.limit = now->idtr.limit;
	state->flags = now->flags;
}

static __always_inline void state_fill_common(struct kvmbpf_vcpu *state, struct kvm_vcpu *vcpu,
					      struct kvm *kvm)
{
	state->kvm = (__u64)kvm;
	state->generation = KERNEL_READ(KERNEL_READ(kvm, memslots[0]), generation);
	state->online_vcpus = KERNEL_READ(kvm, online_vcpus.counter);
	state->vcpu = (__u64)vcpu;
	state->vcpu_id = KERNEL_READ(vcpu, vcpu_id);
	/*
	 * Into place: up to 6.7 the verifier counts "combined stack size of 2 calls is 544. Too large"
	 * for pull_svm otherwise, since it rounds each frame up to 32 bytes. RIP follows the others, as
	 * VCPU_REGS_RIP does.
	 */
	kernel_read_words(state->gpr, &vcpu->arch.regs, KVMBPF_GPRS + 1);
	state_fill_debug(state, vcpu);
	state->time_ns = bpf_ktime_get_ns();
}

/* No more than what a seal holds; not of a VMCS. */
static __always_inline void state_fill_sealed(struct kvmbpf_vcpu *state, struct kvm_vcpu *vcpu,
					      enum kvmbpf_vendor vendor, const struct watched *now)
{
	state_fill_watched(state, now);
	state_fill_debug(state, vcpu);
	state->vcpu_id = KERNEL_READ(vcpu, vcpu_id);
	state->cr3 = vendor == KVMBPF_VENDOR_SVM ? svm_cr3(vcpu, now) :
		     vendor == KVMBPF_VENDOR_PVM ? now->cr3 :
						   0;
}

/*
 * All but `seq` and `epoch`, which are those of a place in map vcpus. Whose it is comes last: if
 * another VM has taken the place of this one meanwhile, it says so.
 */
static __always_inline void state_fill(struct kvmbpf_vcpu *state, struct kvm_vcpu *vcpu,
				       struct kvm *kvm, enum kvmbpf_vendor vendor, enum kvmbpf_source source,
				       const struct watched *now)
{
	state->vendor = vendor;
	state->source = source;
	state->away = 0;
	state_fill_watched(state, now);
	state_fill_common(state, vcpu, kvm);
	vendor_fill_rest(vendor, vcpu, now, state);
	state->clock_offset = KERNEL_READ(kvm, arch.kvmclock_offset);
}

#endif
