/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The control registers that KVM keeps in struct kvm_vcpu_arch. Programs that the kernel hands a
 * vCPU load them as they are. Those that have an address only may have to read by a helper, which
 * costs about as much for many bytes as for a few; since these lie together, one read takes them all.
 */
#ifndef KVMBPF_CONTROLS_H
#define KVMBPF_CONTROLS_H

#include "kernel.bpf.h"

struct controls {
	__u64 cr0, cr0_guest_owned, cr2, cr3, cr4, efer;
	__u32 hflags;
};

/* From CR0 to EFER it is 88 bytes in 6.18. Where it is more than this, each is read by itself. */
enum { CONTROLS_SPAN = 96 };

#define ARCH_OFFSET(member) bpf_core_field_offset(struct kvm_vcpu_arch, member)
#define CONTROL(bytes, type, member)                                                               \
	(*(type *)((bytes) + (ARCH_OFFSET(member) - ARCH_OFFSET(cr0))))

static __always_inline bool in_span(__u32 offset, __u32 size)
{
	return offset >= ARCH_OFFSET(cr0) && offset + size <= ARCH_OFFSET(cr0) + CONTROLS_SPAN;
}

static __always_inline int controls_read_each(struct kvm_vcpu *vcpu, struct controls *ret_controls)
{
	ret_controls->cr0 = BPF_CORE_READ(vcpu, arch.cr0);
	ret_controls->cr0_guest_owned = BPF_CORE_READ(vcpu, arch.cr0_guest_owned_bits);
	ret_controls->cr2 = BPF_CORE_READ(vcpu, arch.cr2);
	ret_controls->cr3 = BPF_CORE_READ(vcpu, arch.cr3);
	ret_controls->cr4 = BPF_CORE_READ(vcpu, arch.cr4);
	ret_controls->hflags = BPF_CORE_READ(vcpu, arch.hflags);
	return BPF_CORE_READ_INTO(&ret_controls->efer, vcpu, arch.efer);
}

static __always_inline int controls_read_span(struct kvm_vcpu *vcpu, struct controls *ret_controls)
{
	__u8 bytes[CONTROLS_SPAN] __attribute__((aligned(8)));

	if (bpf_core_read(bytes, sizeof(bytes), &vcpu->arch.cr0))
		return -1;
	ret_controls->cr0 = CONTROL(bytes, __u64, cr0);
	ret_controls->cr0_guest_owned = CONTROL(bytes, __u64, cr0_guest_owned_bits);
	ret_controls->cr2 = CONTROL(bytes, __u64, cr2);
	ret_controls->cr3 = CONTROL(bytes, __u64, cr3);
	ret_controls->cr4 = CONTROL(bytes, __u64, cr4);
	ret_controls->hflags = CONTROL(bytes, __u32, hflags);
	ret_controls->efer = CONTROL(bytes, __u64, efer);
	return 0;
}

/* Of a vCPU that can be followed. */
static __always_inline void controls_load(struct kvm_vcpu *vcpu, struct controls *ret_controls)
{
	ret_controls->cr0 = vcpu->arch.cr0;
	ret_controls->cr0_guest_owned = vcpu->arch.cr0_guest_owned_bits;
	ret_controls->cr2 = vcpu->arch.cr2;
	ret_controls->cr3 = vcpu->arch.cr3;
	ret_controls->cr4 = vcpu->arch.cr4;
	ret_controls->hflags = vcpu->arch.hflags;
	ret_controls->efer = vcpu->arch.efer;
}

static __always_inline int controls_read(struct kvm_vcpu *vcpu, struct controls *ret_controls)
{
	if (in_span(ARCH_OFFSET(cr0_guest_owned_bits), 8) && in_span(ARCH_OFFSET(cr2), 8) &&
	    in_span(ARCH_OFFSET(cr3), 8) && in_span(ARCH_OFFSET(cr4), 8) &&
	    in_span(ARCH_OFFSET(hflags), 4) && in_span(ARCH_OFFSET(efer), 8))
		return controls_read_span(vcpu, ret_controls);
	return controls_read_each(vcpu, ret_controls);
}

#endif
