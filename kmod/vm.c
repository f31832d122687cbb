// SPDX-License-Identifier: GPL-2.0-only
/*
 * VM handles: found by the address of struct kvm, counted, given up by workers.
 *
 * A handle holds a reference of struct kvm, which keeps neither the VMM's files nor its memory, and
 * gives it back when the VM ends, even if somebody keeps the handle. KVM itself holds its vendor
 * module until the last reference is gone. Each handle also holds this module.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hashtable.h>
#include <linux/kthread.h>
#include <linux/magic.h>
#include <linux/module.h>
#include <linux/rcuwait.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "kvmbpf.h"

static DEFINE_HASHTABLE(vms, 8); /* read under RCU */
static DEFINE_SPINLOCK(vms_lock);
static struct workqueue_struct *workers;

/* ---- deferred work ---- */

static void deferred_queue(struct irq_work *irq)
{
	queue_work(workers, &container_of(irq, struct deferred, irq)->work);
}

void deferred_init(struct deferred *deferred, work_func_t func)
{
	init_irq_work(&deferred->irq, deferred_queue);
	INIT_WORK(&deferred->work, func);
}

void deferred_ask(struct deferred *deferred)
{
	irq_work_queue(&deferred->irq);
}

void deferred_cancel(struct deferred *deferred)
{
	irq_work_sync(&deferred->irq);
	cancel_work_sync(&deferred->work);
}

/* ---- the VM's end ---- */

struct kvm *vm_enter(struct kvmbpf_vm_handle *vm)
{
	return refcount_inc_not_zero(&vm->users) ? vm->kvm : NULL;
}

void vm_leave(struct kvmbpf_vm_handle *vm)
{
	if (refcount_dec_and_test(&vm->users))
		deferred_ask(&vm->settle);
}

static void vm_unhash(struct kvmbpf_vm_handle *vm)
{
	spin_lock(&vms_lock);
	hash_del_rcu(&vm->node);
	spin_unlock(&vms_lock);
}

/*
 * Gives struct kvm back, once the last one who uses it has left. Its tracker is settled: KVM calls us
 * no more. Under vm->lock.
 */
static void vm_detach(struct kvmbpf_vm_handle *vm)
{
	struct kvm *kvm = vm->kvm;

	if (!vm->detaching) {
		vm->detaching = true;
		if (!refcount_dec_and_test(&vm->users))
			return;
	} else if (!kvm || refcount_read(&vm->users)) {
		return;
	}
	vm->kvm = NULL;
	/* Waits for vm_memory_goes(), which may be what led here. */
	mmu_notifier_unregister(&vm->notifier, kvm->mm);
	kvm_put_kvm(kvm);
}

void vm_settle(struct kvmbpf_vm_handle *vm)
{
	bool ended, released;

	mutex_lock(&vm->lock);
	ended = READ_ONCE(vm->ended); /* first, so that the tracker sees it, too */
	released = tracker_settle(vm);
	if (ended) {
		vm_unhash(vm);
		vm_detach(vm);
	}
	mutex_unlock(&vm->lock);
	if (released)
		kvmbpf_vm_release(vm); /* the tracker's own reference */
}

static void vm_settle_work(struct work_struct *work)
{
	vm_settle(container_of(work, struct kvmbpf_vm_handle, settle.work));
}

/* Asked for once, by who gave up the last reference: nobody can find the handle any more. */
static void vm_free_work(struct work_struct *work)
{
	struct kvmbpf_vm_handle *vm = container_of(work, struct kvmbpf_vm_handle, free.work);

	WRITE_ONCE(vm->ended, true); /* so that vm_memory_goes() asks for nothing */
	mutex_lock(&vm->lock);
	vm_unhash(vm);
	vm_detach(vm);
	mutex_unlock(&vm->lock);
	deferred_cancel(&vm->settle);
	irq_work_sync(&vm->free.irq); /* it may still touch what brought us here */
	kfree_rcu(vm, rcu);
	module_put(THIS_MODULE); /* vm_exit() waits for this function's end */
}

void vm_end(struct kvmbpf_vm_handle *vm)
{
	if (!xchg(&vm->ended, true)) {
		tracker_vm_ends(&vm->tracker);
		deferred_ask(&vm->settle);
	}
}

/* The VMM exits: its memory is about to be unmapped. */
static void vm_memory_goes(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	vm_end(container_of(notifier, struct kvmbpf_vm_handle, notifier));
}

static const struct mmu_notifier_ops vm_notifier_ops = {
	.release = vm_memory_goes,
};

/* ---- handles ---- */

/* Inserts @vm, or gives it up for one that was faster. */
static struct kvmbpf_vm_handle *vm_publish(struct kvmbpf_vm_handle *vm)
{
	struct kvmbpf_vm_handle *other;

	spin_lock(&vms_lock);
	other = kvmbpf_vm_find(vm->address);
	if (!other)
		hash_add_rcu(vms, &vm->node, vm->address);
	spin_unlock(&vms_lock);
	if (!other)
		return vm;
	kvmbpf_vm_release(vm);
	return other;
}

/* @kvm is held by the caller's file. */
static struct kvmbpf_vm_handle *vm_create(struct kvm *kvm)
{
	struct kvmbpf_vm_handle *vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	int err;

	if (!vm)
		return NULL;
	refcount_set(&vm->refs, 1);
	refcount_set(&vm->users, 1);
	vm->address = (unsigned long)kvm;
	vm->kvm = kvm;
	vm->notifier.ops = &vm_notifier_ops;
	mutex_init(&vm->lock);
	deferred_init(&vm->settle, vm_settle_work);
	deferred_init(&vm->free, vm_free_work);
	tracker_init(&vm->tracker);

	if (!mmget_not_zero(kvm->mm))
		goto err_free;
	err = mmu_notifier_register(&vm->notifier, kvm->mm);
	if (!err) {
		/* Before mmput(), which may find that we were the last, and end the VM. */
		kvm_get_kvm(kvm);
		__module_get(THIS_MODULE);
	}
	mmput(kvm->mm);
	if (!err)
		return vm_publish(vm);
err_free:
	kfree(vm);
	return NULL;
}

/* Only the kernel names files of this file system, and only KVM names them so. */
static bool is_vm(const struct file *file)
{
	return file_inode(file)->i_sb->s_magic == ANON_INODE_FS_MAGIC &&
	       !strcmp(file->f_path.dentry->d_name.name, "kvm-vm");
}

__bpf_kfunc struct kvmbpf_vm_handle *kvmbpf_vm_acquire(s32 fd)
{
	struct kvmbpf_vm_handle *vm = NULL;
	struct file *file = fget(fd);

	if (!file)
		return NULL;
	if (is_vm(file))
		vm = kvmbpf_vm_find((unsigned long)file->private_data) ?:
		     vm_create(file->private_data);
	fput(file);
	return vm;
}

__bpf_kfunc struct kvmbpf_vm_handle *kvmbpf_vm_find(u64 kvm)
{
	struct kvmbpf_vm_handle *vm, *found = NULL;

	rcu_read_lock();
	hash_for_each_possible_rcu(vms, vm, node, kvm) {
		if (vm->address == kvm && !READ_ONCE(vm->ended) &&
		    refcount_inc_not_zero(&vm->refs)) {
			found = vm;
			break;
		}
	}
	rcu_read_unlock();
	return found;
}

__bpf_kfunc void kvmbpf_vm_release(struct kvmbpf_vm_handle *vm)
{
	if (refcount_dec_and_test(&vm->refs))
		deferred_ask(&vm->free);
}

/* ---- on behalf of the VM ---- */

struct mm_work {
	struct work_struct work;
	struct kvmbpf_vm_handle *vm;
	int (*func)(struct kvmbpf_vm_handle *vm);
	int result;
};

static void mm_work(struct work_struct *work)
{
	struct mm_work *job = container_of(work, struct mm_work, work);

	kthread_use_mm(job->vm->kvm->mm);
	job->result = job->func(job->vm);
	kthread_unuse_mm(job->vm->kvm->mm);
}

int vm_run_with_mm(struct kvmbpf_vm_handle *vm, int (*func)(struct kvmbpf_vm_handle *vm))
{
	struct mm_work job = { .vm = vm, .func = func };
	struct mm_struct *mm = vm->kvm->mm;

	lockdep_assert_held(&vm->lock);
	if (!mmget_not_zero(mm))
		return -EOWNERDEAD;
	INIT_WORK_ONSTACK(&job.work, mm_work);
	queue_work(workers, &job.work);
	flush_work(&job.work);
	destroy_work_on_stack(&job.work);
	mmput(mm);
	return job.result;
}

__bpf_kfunc int kvmbpf_vcpu_wake(struct kvmbpf_vm_handle *vm, u32 vcpu_id)
{
	struct kvm_vcpu *vcpu = NULL;
	struct kvm *kvm = vm_enter(vm);

	if (!kvm)
		return -EOWNERDEAD;
	if (vcpu_id <= INT_MAX)
		vcpu = kvm_get_vcpu_by_id(kvm, vcpu_id);
	/* It loads its state, finds that it has nothing to do, and blocks again. */
	if (vcpu)
		rcuwait_wake_up(kvm_arch_vcpu_get_wait(vcpu));
	vm_leave(vm);
	return vcpu ? 0 : -ESRCH;
}

int vm_init(void)
{
	workers = alloc_workqueue("kvmbpf", WQ_UNBOUND, 0);
	return workers ? 0 : -ENOMEM;
}

void vm_exit(void)
{
	destroy_workqueue(workers);
}
