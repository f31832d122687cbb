/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the guest's registers lie on Intel VMX: in the VMCS, which only VMREAD reads, and only on
 * the CPU where it is current: the module kvmbpf_helper does that in programs on KVM's exits and
 * after vcpu_load. Some MSRs lie in memory, and what KVM copied there of the rest.
 */
#ifndef KVMBPF_VENDOR_VMX_H
#define KVMBPF_VENDOR_VMX_H

#include "watched.bpf.h"

/* Set before loading, where the module kvmbpf_helper is: a missing kfunc must not be reached. */
const volatile bool has_helper;

/* Set before loading. */
const volatile __u8 uret_slots[KVMBPF_URET_MSRS];

enum {
	CR0_WP = 1 << 16,
	SS_ACCESS_DPL_SHIFT = 5,
	OUTSIDE_GUEST_MODE = 0, /* kvm_vcpu.mode */
};

static __always_inline __u64 vmx_uret_msr(struct vcpu_vmx *vmx, enum kvmbpf_uret_msr which)
{
	void *msrs = __builtin_preserve_access_index(&vmx->guest_uret_msrs);
	__u8 slot = uret_slots[which];
	struct vmx_uret_msr *msr;

	if (!slot)
		return 0;
	msr = msrs + (slot - 1) * bpf_core_type_size(struct vmx_uret_msr);
	return KERNEL_READ(msr, data);
}

/*
 * HF_SMM_MASK of hflags is a #define: bit 6 in 6.1, bit 1 since 6.3. A nested guest has a VMCS of
 * its own.
 */
static __always_inline __u32 vmx_flags(struct vcpu_vmx *vmx, __u32 hflags)
{
	__u32 smm = bpf_core_field_exists(struct x86_emulate_ops___smm, is_smm) ? 1u << 1 : 1u << 6;
	void *vmcs01 = __builtin_preserve_access_index(&vmx->vmcs01);
	__u32 flags = 0;

	if ((void *)KERNEL_READ(vmx, loaded_vmcs) != vmcs01)
		flags |= KVMBPF_VCPU_NESTED;
	if (hflags & smm)
		flags |= KVMBPF_VCPU_SMM;
	if (!uret_slots[KVMBPF_LSTAR])
		flags |= KVMBPF_VCPU_NO_MSRS;
	return flags;
}

/*
 * What KVM keeps in memory: bits that the guest owns can have changed since. Those are neither of
 * the paging mode, which KVM must know.
 */
static __always_inline void vmx_watch_memory(struct kvm_vcpu *vcpu, const struct controls *controls,
					     struct watched *ret_watched)
{
	__u32 cached;

	ret_watched->cr0 = controls->cr0;
	ret_watched->cr4 = controls->cr4;
	ret_watched->flags |= KVMBPF_VCPU_NO_VMCS;
	if (!(controls->cr0_guest_owned & CR0_WP))
		return;
	ret_watched->flags |= KVMBPF_VCPU_WP_SAMPLED;
	/* KVM reads it only when it wants it, and forgets it at each exit. */
	cached = 1u << bpf_core_enum_value(enum kvm_reg, VCPU_EXREG_CR0);
	if (!(KERNEL_READ(vcpu, arch.regs_avail) & cached))
		ret_watched->flags |= KVMBPF_VCPU_NO_WP;
}

static __always_inline __u64 vmx_control_register(__u64 value, __u64 mask, __u64 shadow)
{
	return (value & ~mask) | (shadow & mask);
}

static __always_inline int vmx_watch_vmcs(struct vcpu_vmx *vmx, struct watched *ret_watched)
{
	struct kvmbpf_vmcs *vmcs = &ret_watched->vmcs;

	if (kvmbpf_vmcs_read((__u64)KERNEL_READ(KERNEL_READ(vmx, loaded_vmcs), vmcs), vmcs))
		return -1;
	ret_watched->cr0 = vmx_control_register(vmcs->cr0, vmcs->cr0_mask, vmcs->cr0_shadow);
	ret_watched->cr4 = vmx_control_register(vmcs->cr4, vmcs->cr4_mask, vmcs->cr4_shadow);
	ret_watched->gdtr.base = vmcs->gdt_base;
	ret_watched->gdtr.limit = vmcs->gdt_limit;
	ret_watched->idtr.base = vmcs->idt_base;
	ret_watched->idtr.limit = vmcs->idt_limit;
	ret_watched->msrs.sysenter_cs = vmcs->sysenter_cs;
	ret_watched->msrs.sysenter_esp = vmcs->sysenter_esp;
	ret_watched->msrs.sysenter_eip = vmcs->sysenter_eip;
	/* Since 6.4 the guest may write it without an exit (fb509f76acc8, "KVM: VMX: Make CR0.WP a
	 * guest owned bit"). */
	if (!(vmcs->cr0_mask & CR0_WP))
		ret_watched->flags |= KVMBPF_VCPU_WP_SAMPLED;
	return 0;
}

static __always_inline int vmx_watch(struct kvm_vcpu *vcpu, const struct controls *controls,
				     struct watched *ret_watched)
{
	struct vcpu_vmx *vmx = (struct vcpu_vmx *)vcpu;

	ret_watched->efer = controls->efer;
	ret_watched->msrs.star = vmx_uret_msr(vmx, KVMBPF_STAR);
	ret_watched->msrs.lstar = vmx_uret_msr(vmx, KVMBPF_LSTAR);
	ret_watched->msrs.cstar = vmx_uret_msr(vmx, KVMBPF_CSTAR);
	ret_watched->msrs.sfmask = vmx_uret_msr(vmx, KVMBPF_SFMASK);
	ret_watched->flags = vmx_flags(vmx, controls->hflags);
	if (has_helper)
		return vmx_watch_vmcs(vmx, ret_watched);
	vmx_watch_memory(vcpu, controls, ret_watched);
	return 0;
}

/* The registers that change at each exit. */
static __always_inline void vmx_fill_moving(struct kvm_vcpu *vcpu, const struct watched *now,
					    struct kvmbpf_vcpu *state)
{
	const struct kvmbpf_vmcs *vmcs = &now->vmcs;

	kernel_read_words(state->gpr, &vcpu->arch.regs, KVMBPF_GPRS);
	state->gpr[VCPU_REGS_RSP] = vmcs->rsp;
	state->rip = vmcs->rip;
	state->rflags = vmcs->rflags;
	state->cr3 = vmcs->cr3;
	state->cr4 = now->cr4;
	state->cpl = vmcs->ss_access >> SS_ACCESS_DPL_SHIFT & 3;
	state->fs_base = vmcs->fs_base;
	state->gs_base = vmcs->gs_base;
	state->time_ns = bpf_ktime_get_ns();
}

static __always_inline void vmx_fill_vmcs(struct kvm_vcpu *vcpu, const struct watched *now,
					  struct kvmbpf_vcpu *state)
{
	const struct kvmbpf_vmcs *vmcs = &now->vmcs;

	vmx_fill_moving(vcpu, now, state);
	/* Selectors stand in the order of their VMCS fields. */
	__builtin_memcpy(state->selector, vmcs->selector, sizeof(state->selector));
}

/* Not known is 0: what lies in vcpu->arch may be of any exit before. */
static __always_inline void vmx_fill_memory(struct kvmbpf_vcpu *state)
{
	state->gpr[VCPU_REGS_RSP] = 0;
	state->rip = state->cr3 = state->rflags = 0;
	state->cpl = 0;
	state->fs_base = state->gs_base = 0;
	__builtin_memset(state->selector, 0, sizeof(state->selector));
}

static __always_inline void vmx_fill_rest(struct kvm_vcpu *vcpu, const struct watched *now,
					  struct kvmbpf_vcpu *state)
{
	struct vcpu_vmx *vmx = (struct vcpu_vmx *)vcpu;

	state->kernel_gs_base = 0;
	/* The CPU has it while the guest's state is loaded. */
	if (!KERNEL_READ(vmx, guest_state_loaded))
		state->kernel_gs_base = KERNEL_READ(vmx, msr_guest_kernel_gs_base);
	if (has_helper)
		vmx_fill_vmcs(vcpu, now, state);
	else
		vmx_fill_memory(state);
}

/* Each exit keeps what the VMCS says. */
static __always_inline bool is_vmcs_read(enum kvmbpf_vendor vendor)
{
	return vendor == KVMBPF_VENDOR_VMX && has_helper;
}

/*
 * While KVM is outside of the guest, the guest is as its last exit left it. KVM says so in
 * kvm_vcpu.mode, and only after its exit tracepoint.
 */
static __always_inline void vmx_vouch(struct kvm_vcpu *vcpu, struct kvmbpf_vcpu *state)
{
	__u32 hflags = KERNEL_READ(vcpu, arch.hflags);
	__u32 away = vmx_flags((struct vcpu_vmx *)vcpu, hflags) &
		     (KVMBPF_VCPU_NESTED | KVMBPF_VCPU_SMM);
	struct kvm *kvm = KERNEL_READ(vcpu, kvm);
	__u64 now = bpf_ktime_get_ns();

	if (!state->time_ns)
		return;
	state->generation = KERNEL_READ(KERNEL_READ(kvm, memslots[0]), generation);
	state->online_vcpus = KERNEL_READ(kvm, online_vcpus.counter);
	state->away = 0;
	state_fill_debug(state, vcpu);
	/* Until the next exit of its own kernel, which finds other flags and keeps those. */
	state->flags |= away;
	if (away || KERNEL_READ(vcpu, mode) == OUTSIDE_GUEST_MODE)
		state->time_ns = now;
}

#endif
