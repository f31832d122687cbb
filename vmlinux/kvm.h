/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel types that our BPF programs read, and no others, as CO-RE declarations: only the
 * members that are used, in any order. vmlinux/check holds them against the BTF of real kernels.
 *
 * A member that some kernels lack stands in a flavor (struct name___why) with the version that
 * brought or dropped it, and is tested for with bpf_core_field_exists().
 */
#ifndef KVMBPF_VMLINUX_KVM_H
#define KVMBPF_VMLINUX_KVM_H

/* Makes <bpf/bpf_tracing.h> take the kernel's names of registers. */
#define __VMLINUX_H__

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed int __s32;
typedef signed long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;
typedef _Bool bool;
enum { false = 0, true = 1 };
#define NULL ((void *)0)

/* uapi/linux/bpf.h: the constants that we use. */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_HASH_OF_MAPS = 13,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_NO_PREALLOC = 1,
	BPF_F_RDONLY = 8,
	BPF_F_MMAPABLE = 1024,
	BPF_RB_AVAIL_DATA = 0,
	BPF_RB_FORCE_WAKEUP = 2,
};

#define CORE __attribute__((preserve_access_index))

/* 6.17 ("bpf: add bpf_features enum"). */
enum bpf_features___void {
	BPF_FEAT_RDONLY_CAST_TO_VOID,
};

struct pt_regs {
	unsigned long di;
} CORE;

struct qstr {
	const unsigned char *name;
} CORE;

struct inode {
	unsigned long i_ino;
} CORE;

struct super_block {
	unsigned long s_magic;
} CORE;

struct dentry {
	struct super_block *d_sb;
	struct inode *d_inode;
	struct qstr d_name;
} CORE;

struct path {
	struct dentry *dentry;
} CORE;

struct file {
	struct path f_path;
	void *private_data;
} CORE;

typedef struct {
	int counter;
} atomic_t;

struct mm_struct {
	void *pgd;
	atomic_t mm_users;
} CORE;

struct task_struct {
	struct mm_struct *mm;
	struct task_struct *group_leader;
	int tgid;
	u64 start_boottime;
} CORE;

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} CORE;

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
} CORE;

typedef struct refcount_struct {
	atomic_t refs;
} CORE refcount_t;

struct rb_node {
	unsigned long __rb_parent_color;
	struct rb_node *rb_right;
	struct rb_node *rb_left;
} CORE;

struct rb_root {
	struct rb_node *rb_node;
} CORE;

/* Memslots in red-black trees: since 5.17 (a54d806688fe, "KVM: Keep memslots in tree-based
 * structures instead of array-based ones"). */
struct kvm_memory_slot {
	struct rb_node gfn_node[2];
	u64 base_gfn;
	unsigned long npages;
	unsigned long userspace_addr;
	u32 flags;
	short id;
} CORE;

struct kvm_memslots {
	u64 generation;
	struct rb_root gfn_tree;
	int node_idx;
} CORE;

struct kvm_arch {
	s64 kvmclock_offset;
} CORE;

struct kvm {
	struct mm_struct *mm;
	refcount_t users_count;
	/* One entry an address space: 2 (normal, SMM), or 1 without CONFIG_KVM_SMM. */
	struct kvm_memslots *memslots[1];
	atomic_t online_vcpus;
	int created_vcpus;
	struct kvm_arch arch;
	struct dentry *debugfs_dentry;
	int userspace_pid;
	unsigned long mmu_invalidate_seq;
	long mmu_invalidate_in_progress;
	bool vm_bugged;
	bool vm_dead;
} CORE;

struct kvm_vcpu_arch {
	unsigned long regs[17];
	u32 regs_avail;
	unsigned long cr0;
	unsigned long cr0_guest_owned_bits;
	unsigned long cr2;
	unsigned long cr3;
	unsigned long cr4;
	u32 hflags;
	u64 efer;
	unsigned long db[4];
	unsigned long dr6;
	unsigned long dr7;
} CORE;

/* Registers that KVM reads from the VMCS when it wants them: bits of regs_avail. */
enum kvm_reg {
	VCPU_REGS_RSP = 4,
	VCPU_EXREG_CR0 = 18,
};

struct kvm_vcpu {
	struct kvm *kvm;
	int mode;
	int vcpu_id;
	int vcpu_idx;
	struct kvm_vcpu_arch arch;
} CORE;

/* arch/x86/kvm/kvm_emulate.h */
struct x86_emulate_ctxt {
	void *vcpu; /* struct kvm_vcpu */
} CORE;

/* ---- AMD SVM: kvm-amd ---- */

struct vmcb_seg {
	u16 selector;
	u16 attrib;
	u32 limit;
	u64 base;
} CORE;

struct vmcb_control_area {
	u64 nested_ctl;
} CORE;

struct vmcb_save_area {
	struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	u8 cpl;
	u64 cr0;
	u64 cr3;
	u64 rflags;
	u64 star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
} CORE;

struct vmcb {
	struct vmcb_control_area control;
	struct vmcb_save_area save;
} CORE;

struct vcpu_svm {
	struct kvm_vcpu vcpu;
	struct vmcb *vmcb;
} CORE;

/* 6.3 (c760e86f27fe, "KVM: x86: Move HF_GIF_MASK into \"struct vcpu_svm\" as \"guest_gif\""): in
 * the same series the bits of hflags moved down. */
struct vcpu_svm___gif {
	bool guest_gif;
} CORE;

/* ---- Intel VMX: kvm-intel ---- */

struct vmcs;

struct loaded_vmcs {
	struct vmcs *vmcs;
} CORE;

struct vmx_uret_msr {
	u64 data;
} CORE;

struct vcpu_vmx {
	struct kvm_vcpu vcpu;
	struct vmx_uret_msr guest_uret_msrs[1];
	bool guest_state_loaded;
	u64 msr_guest_kernel_gs_base;
	struct loaded_vmcs *loaded_vmcs;
	struct loaded_vmcs vmcs01;
} CORE;

/* 6.3 (32e69f232db4, "KVM: x86: Use emulator callbacks instead of duplicating \"host flags\""): in
 * the series in which the bits of hflags moved down. */
struct x86_emulate_ops___smm {
	void *is_smm;
} CORE;

/* ---- PVM: KVM by software, no virtualization extension; out of tree ---- */

struct desc_ptr {
	unsigned short size;
	unsigned long address;
} CORE;

struct kvm_segment {
	u64 base;
	u32 limit;
	u16 selector;
} CORE;

struct vcpu_pvm {
	struct kvm_vcpu vcpu;
	struct kvm_segment seg[8];
	struct desc_ptr gdt;
	struct desc_ptr idt;
	int cpl;
	unsigned long rflags;
} CORE;

#endif
