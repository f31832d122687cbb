// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finds every VM and vCPU of the host, idle and paused ones too, through the files of processes.
 *
 * User space reads the records from the iterator: over all processes once, then over one.
 */
#include "vmlinux/kvm.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "kvmbpf/records.h"

char LICENSE[] SEC("license") = "GPL";

/* Memslots of each VM to pass over: for a VM that has more than fit into one read. */
__u32 memslots_skip;

enum file_kind { FILE_OTHER, FILE_VM, FILE_VCPU };

enum { ANON_INODE_FS_MAGIC = 0x09041934 }; /* <linux/magic.h> */

/*
 * KVM names its anonymous files "kvm-vm" and "kvm-vcpu:N": the first eight bytes tell. Elsewhere
 * anyone may name a file so.
 */
static enum file_kind file_kind(const struct file *file)
{
	union {
		char text[16];
		__u64 word[2];
	} name = {}, vm = { "kvm-vm" }, vcpu = { "kvm-vcpu" };
	const unsigned char *source = BPF_CORE_READ(file, f_path.dentry, d_name.name);

	if (bpf_probe_read_kernel_str(name.text, 9, source) < 0 ||
	    (name.word[0] != vm.word[0] && name.word[0] != vcpu.word[0]) ||
	    BPF_CORE_READ(file, f_path.dentry, d_sb, s_magic) != ANON_INODE_FS_MAGIC)
		return FILE_OTHER;
	return name.word[0] == vm.word[0] ? FILE_VM : FILE_VCPU;
}

static struct rb_node *leftmost(struct rb_node *node)
{
	struct rb_node *left;

	for (int depth = 0; node && depth < KVMBPF_GFN_TREE_DEPTH; depth++) {
		left = BPF_CORE_READ(node, rb_left);
		if (!left)
			break;
		node = left;
	}
	return node;
}

/* The in-order successor, as rb_next(): down to the right, or up until we come from the left. */
static struct rb_node *successor(struct rb_node *node)
{
	struct rb_node *right = BPF_CORE_READ(node, rb_right);
	struct rb_node *parent;

	if (right)
		return leftmost(right);
	for (int depth = 0; depth < KVMBPF_GFN_TREE_DEPTH; depth++) {
		/* The two low bits hold the colour. */
		parent = (struct rb_node *)(BPF_CORE_READ(node, __rb_parent_color) & ~3UL);
		if (!parent || BPF_CORE_READ(parent, rb_left) == node)
			return parent;
		node = parent;
	}
	return NULL;
}

static struct kvm_memory_slot *slot_of(struct rb_node *node, int index)
{
	return (void *)node - bpf_core_field_offset(struct kvm_memory_slot, gfn_node) -
	       (index ? sizeof(struct rb_node) : 0);
}

static void write_memslot(struct seq_file *seq, __u64 kvm, const struct kvm_memory_slot *slot)
{
	struct kvmbpf_memslot_record record = {
		.header = { .type = KVMBPF_RECORD_MEMSLOT, .size = sizeof(record) },
		.kvm = kvm,
	};

	record.gpa = BPF_CORE_READ(slot, base_gfn) << 12;
	record.size = (__u64)BPF_CORE_READ(slot, npages) << 12;
	record.hva = BPF_CORE_READ(slot, userspace_addr);
	record.flags = BPF_CORE_READ(slot, flags);
	record.id = BPF_CORE_READ(slot, id);
	bpf_seq_write(seq, &record, sizeof(record));
}

struct slot_walk {
	struct seq_file *seq;
	struct rb_node *node;
	__u64 kvm;
	int index;
	__u32 skip;
	__u32 written;
};

static long walk_slot(__u32 i, struct slot_walk *walk)
{
	if (!walk->node)
		return 1;
	if (walk->skip) {
		walk->skip--;
	} else {
		if (walk->written == KVMBPF_MEMSLOTS_PER_READ)
			return 1;
		write_memslot(walk->seq, walk->kvm, slot_of(walk->node, walk->index));
		walk->written++;
	}
	walk->node = successor(walk->node);
	return 0;
}

/*
 * A VM may have 32764 slots (KVM_USER_MEM_SLOTS). A tree that changes while it is walked can give
 * nonsense, never a fault; user space sees by the generation that it must read again.
 */
static void write_memslots(struct seq_file *seq, __u64 kvm, struct kvm_memslots *slots,
			   struct kvmbpf_vm_record *vm)
{
	struct slot_walk walk = { .seq = seq, .kvm = kvm, .skip = memslots_skip };

	walk.index = BPF_CORE_READ(slots, node_idx);
	walk.node = leftmost(BPF_CORE_READ(slots, gfn_tree.rb_node));
	bpf_loop(1 << 15, walk_slot, &walk, 0);
	vm->memslots = walk.written;
	if (walk.node)
		vm->flags |= KVMBPF_VM_MORE_MEMSLOTS;
}

/* The record comes after its memslots, when their number is known. */
static __always_inline void write_vm(struct seq_file *seq, struct task_struct *task, __u32 fd,
				     struct kvm *kvm)
{
	struct kvmbpf_vm_record record = {
		.header = { .type = KVMBPF_RECORD_VM, .size = sizeof(record) },
		.kvm = (__u64)kvm,
		.fd = fd,
	};
	struct kvm_memslots *slots = BPF_CORE_READ(kvm, memslots[0]);

	record.header.time_ns = bpf_ktime_get_ns();
	record.pid = task->tgid;
	record.start_boot_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	record.generation = BPF_CORE_READ(slots, generation);
	record.online_vcpus = BPF_CORE_READ(kvm, online_vcpus.counter);
	record.created_vcpus = BPF_CORE_READ(kvm, created_vcpus);
	/* An error pointer without debugfs: the read then gives 0. */
	record.inode = BPF_CORE_READ(kvm, debugfs_dentry, d_inode, i_ino);
	record.clock_offset = BPF_CORE_READ(kvm, arch.kvmclock_offset);
	record.owner_pid = BPF_CORE_READ(kvm, userspace_pid);
	if (BPF_CORE_READ(kvm, vm_bugged) || BPF_CORE_READ(kvm, vm_dead))
		record.flags |= KVMBPF_VM_DEAD;
	if (BPF_CORE_READ(kvm, mm) == BPF_CORE_READ(task, mm))
		record.flags |= KVMBPF_VM_OWN_MM;
	write_memslots(seq, (__u64)kvm, slots, &record);
	bpf_seq_write(seq, &record, sizeof(record));
}

static __always_inline void write_vcpu(struct seq_file *seq, struct task_struct *task, __u32 fd,
				       struct kvm_vcpu *vcpu)
{
	struct kvmbpf_vcpu_record record = {
		.header = { .type = KVMBPF_RECORD_VCPU, .size = sizeof(record) },
		.vcpu = (__u64)vcpu,
		.fd = fd,
	};

	record.kvm = (__u64)BPF_CORE_READ(vcpu, kvm);
	record.vcpu_id = BPF_CORE_READ(vcpu, vcpu_id);
	record.vcpu_index = BPF_CORE_READ(vcpu, vcpu_idx);
	record.pid = task->tgid;
	bpf_seq_write(seq, &record, sizeof(record));
}

SEC("iter/task_file")
int discover(struct bpf_iter__task_file *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;

	if (!task || !file)
		return 0;
	switch (file_kind(file)) {
	case FILE_VM:
		write_vm(seq, task, ctx->fd, file->private_data);
		break;
	case FILE_VCPU:
		write_vcpu(seq, task, ctx->fd, file->private_data);
		break;
	default:
		break;
	}
	return 0;
}
