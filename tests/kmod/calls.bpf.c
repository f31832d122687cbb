// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls the functions of kvmbpf_helper with whatever arguments a test puts into `call`, and passes
 * on what the module tells. Handles and trackers are kept in a map that nobody pins.
 */
#include "vmlinux/kvm.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "tests/kmod/calls.h"

char LICENSE[] SEC("license") = "GPL";

/* libbpf's __kptr was another tag before 1.2; clang 14 drops a tag that stands before a struct. */
typedef struct kvmbpf_vm_handle handle_t;
typedef struct kvmbpf_tracker tracker_t;
#define KPTR __attribute__((btf_type_tag("kptr")))

struct kept {
	handle_t KPTR *vm;
	tracker_t KPTR *tracker;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CALL_SLOTS);
	__type(key, __u32);
	__type(value, struct kept);
} kept SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} told SEC(".maps");

struct call call;
__u8 data[CALL_DATA];
__u64 told_lost;

static __always_inline void keep_vm(struct kept *in, struct kvmbpf_vm_handle *vm)
{
	vm = bpf_kptr_xchg(&in->vm, vm);
	if (vm)
		kvmbpf_vm_release(vm);
}

static __always_inline void keep_tracker(struct kept *in, struct kvmbpf_tracker *tracker)
{
	tracker = bpf_kptr_xchg(&in->tracker, tracker);
	if (tracker)
		kvmbpf_tracker_release(tracker);
}

static __always_inline struct kept *slot_of_call(void)
{
	__u32 slot = call.slot;

	return bpf_map_lookup_elem(&kept, &slot);
}

struct fdtable___calls {
	struct file **fd;
} __attribute__((preserve_access_index));

struct files_struct___calls {
	struct fdtable___calls *fdt;
} __attribute__((preserve_access_index));

struct task_struct___calls {
	struct files_struct___calls *files;
} __attribute__((preserve_access_index));

/* struct kvm behind a descriptor of this process. */
static __always_inline __u64 kvm_of(__s32 fd)
{
	struct task_struct___calls *task = (void *)bpf_get_current_task();
	struct file **slots = BPF_CORE_READ(task, files, fdt, fd), *file = NULL;

	bpf_probe_read_kernel(&file, sizeof(file), slots + fd);
	return (__u64)BPF_CORE_READ(file, private_data);
}

SEC("syscall")
int vm_acquire(void *ctx)
{
	struct kept *in = slot_of_call();
	struct kvmbpf_vm_handle *vm = kvmbpf_vm_acquire(call.fd);

	call.result = vm ? 0 : -ENOENT;
	if (vm)
		call.kvm = kvm_of(call.fd);
	if (vm && in)
		keep_vm(in, vm);
	else if (vm)
		kvmbpf_vm_release(vm);
	return 0;
}

SEC("syscall")
int vm_find(void *ctx)
{
	struct kvmbpf_vm_handle *vm = kvmbpf_vm_find(call.kvm);

	call.result = vm ? 0 : -ENOENT;
	if (vm)
		kvmbpf_vm_release(vm);
	return 0;
}

SEC("syscall")
int vm_release(void *ctx)
{
	struct kept *in = slot_of_call();

	if (in)
		keep_vm(in, NULL);
	return 0;
}

/* A kptr is used only out of its map. */
#define VM_CALL(name, expression)                                        \
	SEC("syscall")                                                   \
	int name(void *ctx)                                              \
	{                                                                \
		struct kept *in = slot_of_call();                        \
		struct kvmbpf_vm_handle *vm;                             \
                                                                         \
		vm = in ? bpf_kptr_xchg(&in->vm, NULL) : NULL;           \
		if (!vm) {                                               \
			call.result = -ESRCH;                            \
			return 0;                                        \
		}                                                        \
		call.result = (expression);                              \
		keep_vm(in, vm);                                         \
		return 0;                                                \
	}

static __always_inline __u32 data_len(void)
{
	__u64 len = call.len;

	return len > CALL_DATA ? CALL_DATA : len;
}

VM_CALL(gva_read, kvmbpf_gva_read(vm, &call.paging, call.address, data, data_len()))
VM_CALL(gva_read_nofault, kvmbpf_gva_read_nofault(vm, &call.paging, call.address, data, data_len()))
VM_CALL(gva_write, kvmbpf_gva_write(vm, &call.paging, call.address, data, data_len()))
VM_CALL(vcpu_wake, kvmbpf_vcpu_wake(vm, call.vcpu))
VM_CALL(tracker_pid, kvmbpf_tracker_pid(vm))

static __always_inline int acquire_tracker(struct kept *in, struct kvmbpf_vm_handle *vm)
{
	struct kvmbpf_tracker *tracker = kvmbpf_tracker_acquire(vm);

	if (!tracker)
		return -EBUSY;
	keep_tracker(in, tracker);
	return 0;
}

VM_CALL(tracker_acquire, acquire_tracker(in, vm))

SEC("syscall")
int tracker_release(void *ctx)
{
	struct kept *in = slot_of_call();

	if (in)
		keep_tracker(in, NULL);
	return 0;
}

#define TRACKER_CALL(name, expression)                                   \
	SEC("syscall")                                                   \
	int name(void *ctx)                                              \
	{                                                                \
		struct kept *in = slot_of_call();                        \
		struct kvmbpf_tracker *tracker;                          \
                                                                         \
		tracker = in ? bpf_kptr_xchg(&in->tracker, NULL) : NULL; \
		if (!tracker) {                                          \
			call.result = -ESRCH;                            \
			return 0;                                        \
		}                                                        \
		call.result = (expression);                              \
		keep_tracker(in, tracker);                               \
		return 0;                                                \
	}

TRACKER_CALL(track, kvmbpf_track(tracker, call.address, call.len, call.flags, call.cookie))
TRACKER_CALL(tell_writes, kvmbpf_tell_writes(tracker, call.address, call.len, call.cookie))
TRACKER_CALL(told_next, kvmbpf_told_next(tracker, call.address, &call.tracked))
TRACKER_CALL(untrack, kvmbpf_untrack(tracker, call.address, call.len))
TRACKER_CALL(tracked_at, kvmbpf_tracked_at(tracker, call.index, &call.tracked))
TRACKER_CALL(tracker_restart, kvmbpf_tracker_restart(tracker))

SEC("syscall")
int tracking_stop(void *ctx)
{
	call.result = kvmbpf_tracking_stop(call.kvm, call.reason);
	return 0;
}

SEC("syscall")
int vmcs_read(void *ctx)
{
	call.result = kvmbpf_vmcs_read(call.address, &call.vmcs);
	return 0;
}

/* ---- what the module tells ---- */

static __always_inline struct told *told_reserve(__u32 type)
{
	struct told *record = bpf_ringbuf_reserve(&told, sizeof(*record), 0);

	if (!record) {
		__sync_fetch_and_add(&told_lost, 1);
		return NULL;
	}
	record->type = type;
	return record;
}

SEC("fentry/kvmbpf_guest_wrote")
int BPF_PROG(guest_wrote, const struct kvmbpf_write *write)
{
	struct told *record = told_reserve(TOLD_WRITE);

	if (record) {
		bpf_probe_read_kernel(&record->write, sizeof(record->write), write);
		bpf_ringbuf_submit(record, 0);
	}
	return 0;
}

/* Has the program below call back into the module, and counts how often it could. */
bool compare_on_stop;
__u64 compared_on_stop;

SEC("fentry/kvmbpf_tracking_stopped")
int BPF_PROG(tracking_stopped, const struct kvmbpf_stop *stop)
{
	struct told *record = told_reserve(TOLD_STOP);

	if (compare_on_stop && kvmbpf_tracked_compare(stop->kvm) >= 0)
		__sync_fetch_and_add(&compared_on_stop, 1);
	if (record) {
		bpf_probe_read_kernel(&record->stop, sizeof(record->stop), stop);
		bpf_ringbuf_submit(record, 0);
	}
	return 0;
}

/* ---- where KVM writes and tells nobody ---- */

struct x86_emulate_ctxt___calls {
	void *vcpu;
} __attribute__((preserve_access_index));

SEC("fexit/emulator_write_std")
int BPF_PROG(emulator_wrote, struct x86_emulate_ctxt___calls *ctxt)
{
	struct kvm_vcpu *vcpu = BPF_CORE_READ(ctxt, vcpu);

	kvmbpf_tracked_compare((__u64)BPF_CORE_READ(vcpu, kvm));
	return 0;
}

SEC("syscall")
int tracked_compare(void *ctx)
{
	call.result = kvmbpf_tracked_compare(call.kvm);
	return 0;
}

/* ---- on loads and exits of the VM at on_exit_kvm ---- */

__u64 on_exit_kvm;
struct kvmbpf_paging_state on_exit_paging;
__u64 on_exit_address, on_exit_expected;
struct on_exit_results on_exit;

SEC("?tp_btf/kvm_exit")
int BPF_PROG(exit_calls, struct kvm_vcpu *vcpu)
{
	struct kvmbpf_vm_handle *vm;
	struct kvmbpf_vmcs vmcs = {};
	__u64 bytes = 0, kvm;
	int err;

	if (!vcpu)
		return 0;
	kvm = (__u64)BPF_CORE_READ(vcpu, kvm);
	if (kvm != on_exit_kvm)
		return 0;
	vm = kvmbpf_vm_find(kvm);
	if (!vm)
		return 0;
	on_exit.exits++;
	on_exit.vmcs_error = kvmbpf_vmcs_read(0, &vmcs);
	err = kvmbpf_gva_read_nofault(vm, &on_exit_paging, on_exit_address, &bytes, sizeof(bytes));
	kvmbpf_vm_release(vm);
	if (err)
		on_exit.read_error = err;
	else
		on_exit.reads++;
	if (!err && bytes != on_exit_expected)
		on_exit.differences++;
	return 0;
}

SEC("?fentry/kvm_arch_vcpu_load")
int BPF_PROG(vcpu_loads, struct kvm_vcpu *vcpu)
{
	if ((__u64)BPF_CORE_READ(vcpu, kvm) == on_exit_kvm)
		__sync_fetch_and_add(&on_exit.loads, 1);
	return 0;
}
