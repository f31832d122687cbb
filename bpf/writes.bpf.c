// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest writes to tracked memory, told as they happen. The module kvmbpf_helper tracks; these
 * programs ask it to, hold its tracker as long as the process lives, and pass on what it tells.
 *
 * Neither the map with the trackers nor a program that uses it is ever pinned: they end with the
 * process that loaded them, and the tracking with them.
 */
#include "vmlinux/kvm.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "kernel.bpf.h"
#include "kvmbpf/writes.h"
#include "handle.bpf.h"

char LICENSE[] SEC("license") = "GPL";

typedef struct kvmbpf_tracker tracker_t;

/* As struct kvmbpf_tracked_vm. */
struct tracked_vm {
	tracker_t KPTR *tracker;
	__u64 writes;
	__u64 lost;
};

/* struct kvm * → its tracker. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct tracked_vm);
} tracked_vms SEC(".maps");

/* Room for two frames' writes until the module finds them hot. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} writes SEC(".maps");

/* ---- what user space asks for --------------------------------------------------------------- */

/* Consumes the tracker. */
static __always_inline int tracker_keep(__u64 kvm, struct kvmbpf_tracker *tracker)
{
	struct tracked_vm *vm = bpf_map_lookup_elem(&tracked_vms, &kvm);

	if (!vm) {
		kvmbpf_tracker_release(tracker);
		return -ENOSPC;
	}
	tracker = bpf_kptr_xchg(&vm->tracker, tracker);
	if (tracker)
		kvmbpf_tracker_release(tracker);
	return 0;
}

SEC("syscall")
int writes_begin(struct kvmbpf_writes_call *call)
{
	struct tracked_vm empty = {};
	struct kvmbpf_tracker *tracker;
	struct kvmbpf_vm_handle *vm;
	__u64 kvm = call->kvm;

	vm = handle_acquire(call->fd, call->kvm);
	if (!vm) {
		call->result = -ESRCH;
		return 0;
	}
	tracker = kvmbpf_tracker_acquire(vm);
	call->result = tracker ? 0 : kvmbpf_tracker_pid(vm) ? -EBUSY : -EOPNOTSUPP;
	kvmbpf_vm_release(vm);
	if (!tracker)
		return 0;
	bpf_map_update_elem(&tracked_vms, &kvm, &empty, BPF_ANY);
	call->result = tracker_keep(kvm, tracker);
	return 0;
}

SEC("syscall")
int writes_holder(struct kvmbpf_writes_call *call)
{
	struct kvmbpf_vm_handle *vm = handle_acquire(call->fd, call->kvm);

	if (!vm) {
		call->result = -ESRCH;
		return 0;
	}
	call->result = kvmbpf_tracker_pid(vm);
	kvmbpf_vm_release(vm);
	return 0;
}

/* Into the call's context only from the stack: a kfunc's result must be plain memory. */
static __always_inline int tracked_at(struct kvmbpf_tracker *tracker,
				      struct kvmbpf_writes_call *call)
{
	struct kvmbpf_tracked tracked = {};
	int err = kvmbpf_tracked_at(tracker, call->index, &tracked);

	call->tracked = tracked;
	return err;
}

/*
 * A kptr is used only out of its map. One thread of user space makes these calls, one after the
 * other, so none finds it gone.
 */
#define TRACKER_CALL(name, expression)                                                             \
	SEC("syscall")                                                                             \
	int writes_##name(struct kvmbpf_writes_call *call)                                         \
	{                                                                                          \
		__u64 kvm = call->kvm;                                                             \
		struct tracked_vm *vm = bpf_map_lookup_elem(&tracked_vms, &kvm);                   \
		struct kvmbpf_tracker *tracker;                                                    \
                                                                                                   \
		tracker = vm ? bpf_kptr_xchg(&vm->tracker, NULL) : NULL;                           \
		if (!tracker) {                                                                    \
			call->result = -ESRCH;                                                     \
			return 0;                                                                  \
		}                                                                                  \
		call->result = (expression);                                                       \
		tracker_keep(kvm, tracker);                                                        \
		return 0;                                                                          \
	}

TRACKER_CALL(track, kvmbpf_track(tracker, call->gpa, call->len, call->flags, call->cookie))
/* Not loaded where the module is an older one. */
TRACKER_CALL(tell, kvmbpf_tell_writes(tracker, call->gpa, call->len / 4096, call->cookie))
TRACKER_CALL(untrack, kvmbpf_untrack(tracker, call->gpa, call->len))
TRACKER_CALL(restart, kvmbpf_tracker_restart(tracker))
TRACKER_CALL(list, tracked_at(tracker, call))

/* ---- what the module tells ------------------------------------------------------------------ */

SEC("fentry/kvmbpf_guest_wrote")
int BPF_PROG(guest_wrote, const struct kvmbpf_write *write)
{
	struct kvmbpf_write_record *record;
	struct tracked_vm *vm;
	__u64 kvm = write->kvm;

	vm = bpf_map_lookup_elem(&tracked_vms, &kvm);
	if (!vm)
		return 0;
	__sync_fetch_and_add(&vm->writes, 1);
	record = bpf_ringbuf_reserve(&writes, sizeof(*record), 0);
	if (!record) {
		__sync_fetch_and_add(&vm->lost, 1);
		return 0;
	}
	record->header.type = KVMBPF_RECORD_WRITE;
	record->header.size = sizeof(*record);
	record->header.time_ns = bpf_ktime_get_ns();
	bpf_probe_read_kernel(&record->write, sizeof(record->write), write);
	bpf_ringbuf_submit(record, 0);
	return 0;
}

SEC("fentry/kvmbpf_tracking_stopped")
int BPF_PROG(tracking_stopped, const struct kvmbpf_stop *stop)
{
	struct kvmbpf_stop_record *record;
	struct tracked_vm *vm;
	__u64 kvm = stop->kvm;

	vm = bpf_map_lookup_elem(&tracked_vms, &kvm);
	if (!vm)
		return 0;
	record = bpf_ringbuf_reserve(&writes, sizeof(*record), 0);
	if (!record) {
		/* User space asks what is tracked still whenever something was lost. */
		__sync_fetch_and_add(&vm->lost, 1);
		return 0;
	}
	record->header.type = KVMBPF_RECORD_STOP;
	record->header.size = sizeof(*record);
	record->header.time_ns = bpf_ktime_get_ns();
	bpf_probe_read_kernel(&record->stop, sizeof(record->stop), stop);
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/*
 * KVM's page tracking does not tell of what KVM writes in these two functions: a guest's SGDT and SIDT,
 * a 32-bit guest's FXSAVE, a nested hypervisor's VMREAD. None of them is frequent.
 */
static __always_inline int compare(struct kvm_vcpu *vcpu)
{
	__u64 kvm = (__u64)KERNEL_READ(vcpu, kvm);

	if (bpf_map_lookup_elem(&tracked_vms, &kvm))
		kvmbpf_tracked_compare(kvm);
	return 0;
}

SEC("?fexit/emulator_write_std")
int BPF_PROG(emulator_wrote, struct x86_emulate_ctxt *ctxt)
{
	return compare(KERNEL_READ(ctxt, vcpu));
}

SEC("?fexit/kvm_write_guest_virt_system")
int BPF_PROG(system_wrote, struct kvm_vcpu *vcpu)
{
	return compare(vcpu);
}

/* The last descriptor of a VM is closed: the module holds struct kvm, which would outlive it. */
SEC("fentry/kvm_vm_release")
int BPF_PROG(vm_released, struct inode *inode, struct file *file)
{
	kvmbpf_tracking_stop((__u64)file->private_data, KVMBPF_STOP_VM);
	return 0;
}
