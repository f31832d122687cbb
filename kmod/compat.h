/* SPDX-License-Identifier: GPL-2.0-only */
/* All that differs between the kernels that the module builds for. */
#ifndef KVMBPF_COMPAT_H
#define KVMBPF_COMPAT_H

#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/kvm_host.h>
#include <linux/mm.h>
#include <linux/version.h>
#include <asm/ibt.h>
#include <asm/kvm_page_track.h>

/* 57e7c169cd6a (6.3) */
#ifndef __bpf_kfunc
#define __bpf_kfunc __used noinline
#endif

/* 6f3189f38a3e (6.9) */
#ifndef BTF_KFUNCS_START
#define BTF_KFUNCS_START(name) BTF_SET8_START(name)
#define BTF_KFUNCS_END(name) BTF_SET8_END(name)
#endif

/* The default, and no longer said, in 7.0. */
#ifndef KF_TRUSTED_ARGS
#define KF_TRUSTED_ARGS 0
#endif

/* e9d1d2bb75b2 (6.9); before, functions that only BPF points to would lose their ENDBR. */
#ifndef CFI_NOSEAL
#define CFI_NOSEAL(name) asm("" IBT_NOSEAL(__stringify(name)))
#endif

/*
 * KVM's page tracking in the words of 6.6, where 96d47010d624 and its neighbours made it an interface
 * for others: before, a memslot stood where frame numbers do, and the callback had a vCPU.
 */
struct track_node {
	struct kvm_page_track_notifier_node kvm;
	void (*written)(struct track_node *node, gpa_t gpa, const u8 *new, int bytes);
	void (*removed)(struct track_node *node, gfn_t first, unsigned long count);
};

static inline struct track_node *track_node(struct kvm_page_track_notifier_node *kvm)
{
	return container_of(kvm, struct track_node, kvm);
}

#ifndef CONFIG_KVM_EXTERNAL_WRITE_TRACKING
enum { TRACK_SUPPORTED = false };

static inline int track_register(struct kvm *kvm, struct track_node *node)
{
	return -EOPNOTSUPP;
}

/* Never called: nothing was registered. */
static inline void track_unregister(struct kvm *kvm, struct track_node *node) {}
static inline void track_wait(struct kvm *kvm) {}
static inline int track_read_lock(struct kvm *kvm) { return 0; }
static inline void track_read_unlock(struct kvm *kvm, int idx) {}
static inline int track_add(struct kvm *kvm, gfn_t gfn) { return -EOPNOTSUPP; }
static inline void track_remove(struct kvm *kvm, gfn_t gfn) {}
#else
enum { TRACK_SUPPORTED = true };

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
static inline void track_written(gpa_t gpa, const u8 *new, int bytes,
				 struct kvm_page_track_notifier_node *kvm)
{
	track_node(kvm)->written(track_node(kvm), gpa, new, bytes);
}

static inline void track_removed(gfn_t first, unsigned long count,
				 struct kvm_page_track_notifier_node *kvm)
{
	track_node(kvm)->removed(track_node(kvm), first, count);
}

static inline int track_register(struct kvm *kvm, struct track_node *node)
{
	node->kvm.track_write = track_written;
	node->kvm.track_remove_region = track_removed;
	return kvm_page_track_register_notifier(kvm, &node->kvm);
}

static inline int track_add(struct kvm *kvm, gfn_t gfn)
{
	return kvm_write_track_add_gfn(kvm, gfn);
}

static inline void track_remove(struct kvm *kvm, gfn_t gfn)
{
	kvm_write_track_remove_gfn(kvm, gfn);
}
#else
static inline void track_written(struct kvm_vcpu *vcpu, gpa_t gpa, const u8 *new, int bytes,
				 struct kvm_page_track_notifier_node *kvm)
{
	track_node(kvm)->written(track_node(kvm), gpa, new, bytes);
}

static inline void track_removed(struct kvm *vm, struct kvm_memory_slot *slot,
				 struct kvm_page_track_notifier_node *kvm)
{
	track_node(kvm)->removed(track_node(kvm), slot->base_gfn, slot->npages);
}

static inline int track_register(struct kvm *kvm, struct track_node *node)
{
	node->kvm.track_write = track_written;
	node->kvm.track_flush_slot = track_removed;
	kvm_page_track_register_notifier(kvm, &node->kvm);
	return 0;
}

static inline void track_change(struct kvm *kvm, gfn_t gfn,
				void (*change)(struct kvm *kvm, struct kvm_memory_slot *slot,
					       gfn_t gfn, enum kvm_page_track_mode mode))
{
	struct kvm_memory_slot *slot;
	int idx;

	idx = srcu_read_lock(&kvm->srcu);
	write_lock(&kvm->mmu_lock);
	slot = __gfn_to_memslot(kvm_memslots(kvm), gfn);
	if (slot)
		change(kvm, slot, gfn, KVM_PAGE_TRACK_WRITE);
	write_unlock(&kvm->mmu_lock);
	srcu_read_unlock(&kvm->srcu, idx);
}

static inline int track_add(struct kvm *kvm, gfn_t gfn)
{
	track_change(kvm, gfn, kvm_slot_page_track_add_page);
	return 0;
}

static inline void track_remove(struct kvm *kvm, gfn_t gfn)
{
	track_change(kvm, gfn, kvm_slot_page_track_remove_page);
}
#endif

/* Waits for the callbacks. */
static inline void track_unregister(struct kvm *kvm, struct track_node *node)
{
	kvm_page_track_unregister_notifier(kvm, &node->kvm);
}

static inline void track_wait(struct kvm *kvm)
{
	synchronize_srcu(&kvm->arch.track_notifier_head.track_srcu);
}

/* Both functions above wait for who is in here, too. */
static inline int track_read_lock(struct kvm *kvm)
{
	return srcu_read_lock(&kvm->arch.track_notifier_head.track_srcu);
}

static inline void track_read_unlock(struct kvm *kvm, int idx)
{
	srcu_read_unlock(&kvm->arch.track_notifier_head.track_srcu, idx);
}
#endif

/* Of a vCPU that emulates an instruction: KVM has read it from the hardware's state. */
static inline unsigned long vcpu_rip(const struct kvm_vcpu *vcpu)
{
#ifdef KVMBPF_VCPU_HAS_RIP
	return vcpu->arch.rip;
#else
	return vcpu->arch.regs[VCPU_REGS_RIP];
#endif
}

/* ca5e863233e8 (6.5) took an argument away. Both return 1 with a page, or -errno. */
static inline long user_page_get(struct mm_struct *mm, unsigned long hva, struct page **ret_page)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
	return get_user_pages_remote(mm, hva, 1, 0, ret_page, NULL);
#else
	return get_user_pages_remote(mm, hva, 1, 0, ret_page, NULL, NULL);
#endif
}

static inline long user_page_pin(struct mm_struct *mm, unsigned long hva, struct page **ret_page)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
	return pin_user_pages_remote(mm, hva, 1, FOLL_WRITE, ret_page, NULL);
#else
	return pin_user_pages_remote(mm, hva, 1, FOLL_WRITE, ret_page, NULL, NULL);
#endif
}

#endif
