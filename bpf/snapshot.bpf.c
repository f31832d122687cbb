// SPDX-License-Identifier: GPL-2.0-only
/*
 * Snapshots of vCPU registers: pulled, of as many vCPUs as user space names in one call, and pushed
 * from KVM's vcpu_load and exits when something watched changed.
 *
 * One set of programs a vendor; user space loads the set that fits the host.
 */
#include "vmlinux/kvm.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "kvmbpf/helper.h"
#include "kvmbpf/records.h"
#include "state.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* One record a vCPU, memory-mapped by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct kvmbpf_vcpu);
} vcpus SEC(".maps");

/* struct kvm_vcpu * → index in `vcpus`: the vCPUs that user space asked for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, __u32);
} vcpu_slots SEC(".maps");

/* What the next pull reads; memory-mapped by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, KVMBPF_PULLS_MAX);
	__type(key, __u32);
	__type(value, struct kvmbpf_pull);
} pulls SEC(".maps");

/* struct kvm * → what it is called: for whoever looks with bpftool. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct kvmbpf_vm);
} vms SEC(".maps");

/* struct kvm * → what it may push; user space takes it out when it watches the VM no more. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct kvmbpf_budget);
} budgets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kvmbpf_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20); /* the budgets of four VMs */
} changes SEC(".maps");

/* Raised by user space when it wants a full snapshot of each vCPU at its next exit. */
__u32 epoch;

/* Keeps the record types in our BTF, which ring buffer maps do not name. */
const struct kvmbpf_snapshot_record *unused_snapshot_record __attribute__((unused));

static __always_inline struct kvmbpf_counters *my_counters(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counters, &zero);
}

#define COUNT(field)                                                                               \
	do {                                                                                       \
		struct kvmbpf_counters *mine = my_counters();                                      \
		if (mine)                                                                          \
			mine->field++;                                                             \
	} while (0)

static __always_inline void count_source(enum kvmbpf_source source)
{
	if (source == KVMBPF_SOURCE_PULL)
		COUNT(pulls);
	else if (source == KVMBPF_SOURCE_EXIT)
		COUNT(exits);
	else
		COUNT(loads);
}

/* Takes the sequence lock; false if another program is writing. */
static __always_inline bool state_lock(struct kvmbpf_vcpu *state)
{
	__u32 seq = *(volatile __u32 *)&state->seq;

	if (!(seq & 1) && __sync_val_compare_and_swap(&state->seq, seq, seq + 1) == seq)
		return true;
	COUNT(state_busy);
	return false;
}

/*
 * A pull has vCPUs by their addresses and holds no reference. While somebody uses the VM its
 * memory is not freed: what was read before this says so is the VM's.
 */
static __always_inline bool is_alive(struct kvm *kvm)
{
	return KERNEL_READ(kvm, users_count.refs.counter) > 0;
}

static __always_inline void state_unlock(struct kvmbpf_vcpu *state)
{
	__sync_fetch_and_add(&state->seq, 1);
}

static __always_inline void fill(struct kvmbpf_vcpu *state, struct kvm_vcpu *vcpu,
				 struct kvm *kvm, enum kvmbpf_vendor vendor, enum kvmbpf_source source,
				 const struct watched *now)
{
	state_fill(state, vcpu, kvm, vendor, source, now);
	state->epoch = epoch;
}

static __always_inline struct kvmbpf_budget *budget_of(struct kvm_vcpu *vcpu)
{
	__u64 kvm = (__u64)KERNEL_READ(vcpu, kvm);
	struct kvmbpf_budget *budget = bpf_map_lookup_elem(&budgets, &kvm), fresh = {};

	if (budget)
		return budget;
	bpf_map_update_elem(&budgets, &kvm, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&budgets, &kvm);
}

/* Two CPUs that begin a window at once may grant a few pushes more. */
static __always_inline bool within_budget(struct kvm_vcpu *vcpu)
{
	struct kvmbpf_budget *budget = budget_of(vcpu);
	__u64 window = bpf_ktime_get_ns() >> 30;

	if (!budget)
		return true;
	if (budget->window != window) {
		budget->window = window;
		budget->pushed = 0;
	}
	if (__sync_fetch_and_add(&budget->pushed, 1) < KVMBPF_PUSHES_PER_WINDOW)
		return true;
	__sync_fetch_and_add(&budget->dropped, 1);
	COUNT(dropped);
	return false;
}

static __always_inline struct kvmbpf_snapshot_record *
record_reserve(struct kvm_vcpu *vcpu, __u32 slot, __u32 changed)
{
	struct kvmbpf_snapshot_record *record;

	if (!within_budget(vcpu))
		return NULL;
	record = bpf_ringbuf_reserve(&changes, sizeof(*record), 0);
	if (!record) {
		COUNT(ringbuf_lost);
		return NULL;
	}
	record->header.type = KVMBPF_RECORD_SNAPSHOT;
	record->header.size = sizeof(*record);
	record->header.time_ns = bpf_ktime_get_ns();
	record->slot = slot;
	record->changed = changed;
	record->inode = BPF_CORE_READ(vcpu, kvm, debugfs_dentry, d_inode, i_ino);
	record->pad = 0;
	record->state.seq = 0;
	COUNT(changes);
	return record;
}

/*
 * The registers of a nested guest, and those of SMM, are no changes of this guest's kernel, and
 * come and go with each of its exits. The state before is kept to compare with, and one record
 * until it is written again says that there was such a time.
 */
static __always_inline bool is_away(enum kvmbpf_source source, const struct watched *now)
{
	return source != KVMBPF_SOURCE_PULL &&
	       now->flags & (KVMBPF_VCPU_NESTED | KVMBPF_VCPU_SMM);
}

/* Has anything happened that neither the state nor a record says? */
static __always_inline bool is_news(const struct kvmbpf_vcpu *state, const struct watched *now,
				    enum kvmbpf_source source, __u32 changed)
{
	if (is_away(source, now))
		return !state->away;
	return source == KVMBPF_SOURCE_PULL || changed || state->epoch != epoch ||
	       state->flags != now->flags;
}

static __always_inline void refresh(struct kvmbpf_vcpu *state, struct kvm_vcpu *vcpu,
				    const struct watched *now)
{
	if (!state_lock(state))
		return;
	vmx_fill_moving(vcpu, now, state);
	state_unlock(state);
}

/*
 * False: the VM is gone. All that becomes of the record is here: a second look at whether there is
 * one is "Unreleased reference" for the verifier of 6.1.
 */
static __always_inline bool publish(struct kvm_vcpu *vcpu, struct kvm *kvm, __u32 slot,
				    __u32 changed, enum kvmbpf_vendor vendor,
				    enum kvmbpf_source source, const struct watched *now)
{
	struct kvmbpf_snapshot_record *record = record_reserve(vcpu, slot, changed);

	if (!record)
		return true;
	fill(&record->state, vcpu, kvm, vendor, source, now);
	if (source == KVMBPF_SOURCE_PULL && !is_alive(kvm)) {
		bpf_ringbuf_discard(record, 0);
		return false;
	}
	bpf_ringbuf_submit(record, 0);
	return true;
}

/*
 * The body of every program. A pull takes a full snapshot; the others only when something watched
 * changed, or when user space raised `epoch`. A change is published whoever noticed it first, or
 * the pull would hide it from the ring buffer; also when another writer holds the state.
 *
 * A pull cannot read a VMCS: on VMX with the module each exit keeps the registers, and a pull only
 * says whether they still stand.
 */
static __always_inline void take_snapshot(struct kvm_vcpu *vcpu, __u32 slot, bool typed,
					  enum kvmbpf_vendor vendor, enum kvmbpf_source source)
{
	struct kvmbpf_vcpu *state = bpf_map_lookup_elem(&vcpus, &slot);
	bool pulled = source == KVMBPF_SOURCE_PULL, away;
	struct watched now = {};
	struct kvm *kvm = NULL;
	__u32 changed;

	if (!state)
		return;
	count_source(source);
	/* First: what lies behind it comes while the rest is read. */
	if (pulled)
		kvm = KERNEL_READ(vcpu, kvm);
	if (is_vmcs_read(vendor) && pulled) {
		if (is_alive(kvm))
			vmx_vouch(vcpu, state);
		return;
	}
	if (vendor_watch(vendor, vcpu, typed, &now)) {
		COUNT(read_errors);
		return;
	}
	if (pulled && !is_alive(kvm))
		return;
	/* The first vCPU is the last in its kernel; others come and go with CPU hotplug. */
	if (has_helper && left_kernel(&now, state) && !KERNEL_READ(vcpu, vcpu_idx))
		kvmbpf_tracking_stop((__u64)KERNEL_READ(vcpu, kvm), KVMBPF_STOP_KERNEL);
	changed = watched_changes(&now, state);
	away = is_away(source, &now);
	if (!is_news(state, &now, source, changed)) {
		if (is_vmcs_read(vendor) && !away)
			refresh(state, vcpu, &now);
		return;
	}
	if (!pulled)
		kvm = KERNEL_READ(vcpu, kvm);
	if ((changed || away) && !publish(vcpu, kvm, slot, changed, vendor, source, &now))
		return;
	if (away) {
		state->away = 1;
	} else if (state_lock(state)) {
		fill(state, vcpu, kvm, vendor, source, &now);
		if (pulled && !is_alive(kvm))
			state->kvm = 0; /* nobody's */
		state_unlock(state);
	}
}

static __always_inline int push_snapshot(struct kvm_vcpu *vcpu, bool typed,
					 enum kvmbpf_vendor vendor, enum kvmbpf_source source)
{
	__u64 key = (__u64)vcpu;
	__u32 *slot = bpf_map_lookup_elem(&vcpu_slots, &key);

	if (slot)
		take_snapshot(vcpu, *slot, typed, vendor, source);
	return 0;
}

static __always_inline long pull_snapshot(__u32 index, enum kvmbpf_vendor vendor)
{
	const struct kvmbpf_pull *pull = bpf_map_lookup_elem(&pulls, &index);

	if (!pull)
		return 1;
	take_snapshot((struct kvm_vcpu *)pull->vcpu, pull->slot, false, vendor,
		      KVMBPF_SOURCE_PULL);
	return 0;
}

/*
 * vcpu_load: fentry, else kprobe, else the entry tracepoint. A tp_btf argument may be NULL for the
 * verifier from 6.12 on.
 */
#define VENDOR_PROGRAMS(name, vendor)                                                              \
	static long pull_each_##name(__u32 index, void *ctx)                                       \
	{                                                                                          \
		return pull_snapshot(index, vendor);                                               \
	}                                                                                          \
	SEC("?syscall")                                                                            \
	int pull_##name(struct kvmbpf_pull_call *call)                                             \
	{                                                                                          \
		bpf_loop(call->count, pull_each_##name, NULL, 0);                                  \
		return 0;                                                                          \
	}                                                                                          \
	SEC("?tp_btf/kvm_exit")                                                                    \
	int BPF_PROG(exit_##name, struct kvm_vcpu *vcpu)                                           \
	{                                                                                          \
		return vcpu ? push_snapshot(vcpu, true, vendor, KVMBPF_SOURCE_EXIT) : 0;           \
	}                                                                                          \
	SEC("?tp_btf/kvm_entry")                                                                   \
	int BPF_PROG(entry_##name, struct kvm_vcpu *vcpu)                                          \
	{                                                                                          \
		return vcpu ? push_snapshot(vcpu, true, vendor, KVMBPF_SOURCE_ENTRY) : 0;          \
	}

#define LOAD_PROGRAMS(name, vendor)                                                                \
	SEC("?fentry/kvm_arch_vcpu_load")                                                          \
	int BPF_PROG(load_##name, struct kvm_vcpu *vcpu)                                           \
	{                                                                                          \
		return push_snapshot(vcpu, true, vendor, KVMBPF_SOURCE_LOAD);                      \
	}                                                                                          \
	SEC("?kprobe/kvm_arch_vcpu_load")                                                          \
	int BPF_KPROBE(probe_##name, struct kvm_vcpu *vcpu)                                        \
	{                                                                                          \
		return push_snapshot(vcpu, false, vendor, KVMBPF_SOURCE_LOAD);                     \
	}

VENDOR_PROGRAMS(svm, KVMBPF_VENDOR_SVM)
LOAD_PROGRAMS(svm, KVMBPF_VENDOR_SVM)
VENDOR_PROGRAMS(pvm, KVMBPF_VENDOR_PVM)
LOAD_PROGRAMS(pvm, KVMBPF_VENDOR_PVM)
VENDOR_PROGRAMS(vmx, KVMBPF_VENDOR_VMX)

/* So that a vCPU that blocks shows its state. */
SEC("?syscall")
int wake(struct kvmbpf_wake_call *call)
{
	struct kvmbpf_vm_handle *vm = kvmbpf_vm_acquire(call->fd);

	if (!vm)
		return -ESRCH;
	kvmbpf_vcpu_wake(vm, call->vcpu_id);
	kvmbpf_vm_release(vm);
	return 0;
}

/* Only once that function is through is the vCPU's VMCS the current one. */
SEC("?fexit/kvm_arch_vcpu_load")
int BPF_PROG(load_vmx, struct kvm_vcpu *vcpu)
{
	return push_snapshot(vcpu, true, KVMBPF_VENDOR_VMX, KVMBPF_SOURCE_LOAD);
}
