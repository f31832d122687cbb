/* SPDX-License-Identifier: GPL-2.0-only */
/* The registers whose every change is pushed to user space. */
#ifndef KVMBPF_WATCHED_H
#define KVMBPF_WATCHED_H

#include "controls.bpf.h"
#include "kvmbpf/helper.h"
#include "kvmbpf/records.h"

/* What system calls go by: in the order of the VMCB, so that on SVM one read takes all of them. */
struct syscall_msrs {
	__u64 star, lstar, cstar, sfmask;
	__u64 kernel_gs_base; /* changes with each task: not watched */
	__u64 sysenter_cs, sysenter_esp, sysenter_eip;
};

struct watched {
	__u64 cr0, cr4, efer;
	__u64 cr2, cr3; /* not watched: as KVM has them, which on SVM and VMX may be older */
	struct syscall_msrs msrs;
	struct kvmbpf_table_register gdtr, idtr;
	__u32 flags;
	struct kvmbpf_vmcs vmcs; /* VMX with the module: what they were read from, and more */
};

/* CR0.TS flips with each lazy FPU switch of an old guest: no news. */
enum { CR0_TS = 1 << 3 };
/* CR4.PGE goes and comes with each flush of the TLB by a kernel whose CPU has no INVPCID. */
enum { CR4_PGE = 1 << 7 };
#define CR0_PG (1ULL << 31)

static __always_inline bool table_changed(const struct kvmbpf_table_register *a,
					  const struct kvmbpf_table_register *b)
{
	return a->base != b->base || a->limit != b->limit;
}

static __always_inline bool msrs_changed(const struct syscall_msrs *now,
					 const struct kvmbpf_vcpu *then)
{
	return now->star != then->star || now->cstar != then->cstar ||
	       now->sfmask != then->sfmask || now->sysenter_cs != then->sysenter_cs ||
	       now->sysenter_esp != then->sysenter_esp || now->sysenter_eip != then->sysenter_eip;
}

static __always_inline bool in_kernel(__u64 cr0, __u32 idt_limit)
{
	return cr0 & CR0_PG && idt_limit;
}

/*
 * Was reset, or is on its way to another kernel (kexec empties IDTR first): what lies in tracked
 * frames from here on is that one's. Each write that KVM emulates comes after an exit of the vCPU
 * that writes, so this is seen before the first of them.
 */
static __always_inline bool left_kernel(const struct watched *now, const struct kvmbpf_vcpu *then)
{
	return !(now->flags & (KVMBPF_VCPU_NESTED | KVMBPF_VCPU_SMM | KVMBPF_VCPU_ENCRYPTED)) &&
	       in_kernel(then->cr0, then->idtr.limit) && !in_kernel(now->cr0, now->idtr.limit);
}

/*
 * As of the last exit, on every vendor: KVM takes them from the CPU at each exit after the guest
 * has written them (sync_dirty_debug_regs), and intercepts the next write.
 */
static __always_inline void state_fill_debug(struct kvmbpf_vcpu *state, struct kvm_vcpu *vcpu)
{
	/* DR6 and DR7 follow in all kernels that we know. */
	if (ARCH_OFFSET(dr6) == ARCH_OFFSET(db) + 32 && ARCH_OFFSET(dr7) == ARCH_OFFSET(db) + 40) {
		kernel_read_words(state->dr, &vcpu->arch.db, 6);
		return;
	}
	kernel_read_words(state->dr, &vcpu->arch.db, 4);
	state->dr6 = KERNEL_READ(vcpu, arch.dr6);
	state->dr7 = KERNEL_READ(vcpu, arch.dr7);
}

static __always_inline __u32 watched_changes(const struct watched *now,
					     const struct kvmbpf_vcpu *then)
{
	__u32 changed = 0;

	if (!then->time_ns)
		changed |= KVMBPF_CHANGED_FIRST;
	if ((now->cr0 ^ then->cr0) & ~(__u64)CR0_TS)
		changed |= KVMBPF_CHANGED_CR0;
	if ((now->cr4 ^ then->cr4) & ~(__u64)CR4_PGE)
		changed |= KVMBPF_CHANGED_CR4;
	if (now->efer != then->efer)
		changed |= KVMBPF_CHANGED_EFER;
	if (now->msrs.lstar != then->lstar)
		changed |= KVMBPF_CHANGED_LSTAR;
	if (msrs_changed(&now->msrs, then))
		changed |= KVMBPF_CHANGED_MSRS;
	if (table_changed(&now->gdtr, &then->gdtr))
		changed |= KVMBPF_CHANGED_GDTR;
	if (table_changed(&now->idtr, &then->idtr))
		changed |= KVMBPF_CHANGED_IDTR;
	return changed;
}

#endif
