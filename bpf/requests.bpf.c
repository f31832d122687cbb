// SPDX-License-Identifier: GPL-2.0-only
/*
 * The request queue: user space files requests for a VM or for one of its vCPUs, these programs
 * serve them on a vCPU's own thread, where KVM has just left the guest or is about to enter it.
 *
 * Guest memory is read by the module kvmbpf_helper, whose handle of the VM user space holds.
 */
#include "vmlinux/kvm.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "kvmbpf/requests.h"
#include "handle.bpf.h"
#include "state.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* At one exit, so that the guest is not held up for long. */
enum { SERVED_AT_ONCE = 4 };

/*
 * Requests that no program has taken yet, of all VMs: while there is none, an exit costs one load.
 * User space adds before it files.
 */
__u32 waiting;

/* Results that found the ring buffer full. */
__u64 results_lost;

struct queue {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, KVMBPF_QUEUE_LENGTH);
	__uint(key_size, 0);
	__uint(value_size, sizeof(struct kvmbpf_request));
};

/* struct kvm * → what any of its vCPUs may serve; struct kvm_vcpu * → what only this one may. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__array(values, struct queue);
} queues SEC(".maps");

/* A result with the most that can follow it. */
struct room {
	struct kvmbpf_result result;
	union {
		__u8 bytes[KVMBPF_READ_MAX];
		struct {
			struct kvmbpf_vcpu state;
			__u8 table[KVMBPF_READ_MAX];
		};
	};
};

/* What a program works on: too much for its stack. */
struct work {
	struct kvmbpf_request request;
	struct watched now;
	struct room room;
};

/* Of a CPU: preemption is off in all of these programs, and none interrupts another. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} works SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, KVMBPF_RESULTS_SIZE);
} results SEC(".maps");

/* ---- handles -------------------------------------------------------------------------------- */

typedef struct kvmbpf_vm_handle handle_t;

struct held_vm {
	handle_t KPTR *handle;
};

/*
 * struct kvm * → its handle, so that kvmbpf_vm_find() gives it to the programs below. Never pinned:
 * whatever ends the process lets go of the VMs. User space makes the entries and deletes them.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct held_vm);
} held_vms SEC(".maps");

SEC("syscall")
int hold(struct kvmbpf_hold_call *call)
{
	struct kvmbpf_vm_handle *vm = handle_acquire(call->fd, call->kvm);
	__u64 kvm = call->kvm;
	struct held_vm *held;

	call->result = -ESRCH;
	if (!vm)
		return 0;
	held = bpf_map_lookup_elem(&held_vms, &kvm);
	if (held)
		vm = bpf_kptr_xchg(&held->handle, vm);
	call->result = held ? 0 : -ENOSPC;
	if (vm)
		kvmbpf_vm_release(vm);
	return 0;
}

/* ---- one request ---------------------------------------------------------------------------- */

/* A nested guest's address space, or SMM's, is not what is asked for. */
static __always_inline bool is_pageable(const struct kvmbpf_vcpu *state)
{
	return state->cr0 & KVMBPF_CR0_PG &&
	       !(state->flags & (KVMBPF_VCPU_NESTED | KVMBPF_VCPU_SMM | KVMBPF_VCPU_ENCRYPTED));
}

static __always_inline struct kvmbpf_paging_state paging_here(const struct kvmbpf_vcpu *state)
{
	return (struct kvmbpf_paging_state){
		.root = state->cr3,
		.mode = kvmbpf_paging_mode(state->cr0, state->cr4, state->efer),
		.pse = !!(state->cr4 & KVMBPF_CR4_PSE),
		.nx = !!(state->efer & KVMBPF_EFER_NXE),
	};
}

static __always_inline int read_state(struct kvm_vcpu *vcpu, enum kvmbpf_vendor vendor,
				      enum kvmbpf_source source, struct work *work)
{
	struct kvmbpf_vcpu *state = &work->room.state;

	__builtin_memset(&work->now, 0, sizeof(work->now));
	if (vendor_watch(vendor, vcpu, false, &work->now))
		return -EAGAIN;
	__builtin_memset(state, 0, sizeof(*state));
	state_fill(state, vcpu, KERNEL_READ(vcpu, kvm), vendor, source, &work->now);
	return 0;
}

static __always_inline int read_memory(struct kvmbpf_vm_handle *vm,
				       const struct kvmbpf_paging_state *paging, __u64 address,
				       __u32 len, void *out, struct kvmbpf_result *result)
{
	int err;

	if (!len || len > KVMBPF_READ_MAX)
		return -EINVAL;
	err = kvmbpf_gva_read_nofault(vm, paging, address, out, len);
	if (!err)
		result->len = len;
	return err;
}

static __always_inline int read_table(struct kvmbpf_vm_handle *vm,
				      const struct kvmbpf_request *request, struct room *room)
{
	bool gdt = request->kind == KVMBPF_REQUEST_GDT;
	__u64 base = gdt ? room->state.gdtr.base : room->state.idtr.base;
	__u32 len = (gdt ? room->state.gdtr.limit : room->state.idtr.limit) + 1;
	struct kvmbpf_paging_state paging = paging_here(&room->state);

	if (len > request->len)
		len = request->len;
	/* A GDT of more than 512 descriptors. */
	if (len > KVMBPF_READ_MAX)
		return -EAGAIN;
	return read_memory(vm, &paging, base, len, room->table, &room->result);
}

static __always_inline int answer(struct kvmbpf_vm_handle *vm, struct kvm_vcpu *vcpu,
				  enum kvmbpf_vendor vendor, enum kvmbpf_source source,
				  struct work *work)
{
	const struct kvmbpf_request *request = &work->request;
	struct kvmbpf_paging_state paging = request->paging;
	struct room *room = &work->room;
	int err;

	if (request->kind != KVMBPF_REQUEST_READ) {
		err = read_state(vcpu, vendor, source, work);
		if (err || request->kind == KVMBPF_REQUEST_REGISTERS)
			return err;
		if (!is_pageable(&room->state))
			return -EAGAIN;
		if (request->kind != KVMBPF_REQUEST_READ_HERE)
			return read_table(vm, request, room);
		paging = paging_here(&room->state);
	}
	return read_memory(vm, &paging, request->address, request->len, room->bytes,
			   &room->result);
}

static __always_inline void publish(const struct kvmbpf_request *request, struct room *room)
{
	__u32 size = sizeof(room->result);

	if (!room->result.error) {
		size += room->result.len;
		if (request->kind >= KVMBPF_REQUEST_REGISTERS)
			size += sizeof(room->state);
	}
	if (size > sizeof(*room))
		return;
	room->result.header.size = size;
	if (bpf_ringbuf_output(&results, room, size, 0))
		__sync_fetch_and_add(&results_lost, 1);
}

static __always_inline void serve_one(struct kvmbpf_vm_handle *vm, struct kvm_vcpu *vcpu,
				      enum kvmbpf_vendor vendor, enum kvmbpf_source source,
				      struct work *work)
{
	const struct kvmbpf_request *request = &work->request;
	__u64 now = bpf_ktime_get_ns();

	/* User space has given up on it, and serves it itself. */
	if (now > request->deadline_ns)
		return;
	work->room.result = (struct kvmbpf_result){
		.header = { .type = KVMBPF_RECORD_RESULT, .time_ns = now },
		.id = request->id,
		.offset = request->offset,
		.vcpu_id = KERNEL_READ(vcpu, vcpu_id),
		.kind = request->kind,
		.source = source,
	};
	work->room.result.error = answer(vm, vcpu, vendor, source, work);
	publish(request, &work->room);
}

/* ---- the queues ----------------------------------------------------------------------------- */

/* Rather leave a request in its queue than have a result that nobody gets. */
static __always_inline bool results_have_room(void)
{
	return bpf_ringbuf_query(&results, BPF_RB_AVAIL_DATA) <
	       KVMBPF_RESULTS_SIZE - SERVED_AT_ONCE * sizeof(struct room);
}

static __always_inline int serve(struct kvm_vcpu *vcpu, enum kvmbpf_vendor vendor,
				 enum kvmbpf_source source)
{
	/* What waits for this vCPU alone comes first. */
	__u64 keys[2] = { (__u64)vcpu };
	struct kvmbpf_vm_handle *vm;
	__u32 zero = 0, served = 0;
	struct work *work;

	if (!*(volatile __u32 *)&waiting || !results_have_room())
		return 0;
	keys[1] = (__u64)KERNEL_READ(vcpu, kvm);
	vm = kvmbpf_vm_find(keys[1]);
	if (!vm)
		return 0;
	work = bpf_map_lookup_elem(&works, &zero);
	for (int i = 0; work && i < 2; i++) {
		void *queue = bpf_map_lookup_elem(&queues, &keys[i]);

		while (queue && served < SERVED_AT_ONCE &&
		       !bpf_map_pop_elem(queue, &work->request)) {
			__sync_fetch_and_add(&waiting, -1);
			serve_one(vm, vcpu, vendor, source, work);
			served++;
		}
	}
	kvmbpf_vm_release(vm);
	return 0;
}

/* As in bpf/snapshot.bpf.c. There is no module for PVM. */
#define VENDOR_PROGRAMS(name, vendor)                                                              \
	SEC("?tp_btf/kvm_exit")                                                                    \
	int BPF_PROG(exit_##name, struct kvm_vcpu *vcpu)                                           \
	{                                                                                          \
		return vcpu ? serve(vcpu, vendor, KVMBPF_SOURCE_EXIT) : 0;                         \
	}                                                                                          \
	SEC("?tp_btf/kvm_entry")                                                                   \
	int BPF_PROG(entry_##name, struct kvm_vcpu *vcpu)                                          \
	{                                                                                          \
		return vcpu ? serve(vcpu, vendor, KVMBPF_SOURCE_ENTRY) : 0;                        \
	}

VENDOR_PROGRAMS(svm, KVMBPF_VENDOR_SVM)
VENDOR_PROGRAMS(vmx, KVMBPF_VENDOR_VMX)

SEC("?fentry/kvm_arch_vcpu_load")
int BPF_PROG(load_svm, struct kvm_vcpu *vcpu)
{
	return serve(vcpu, KVMBPF_VENDOR_SVM, KVMBPF_SOURCE_LOAD);
}

SEC("?kprobe/kvm_arch_vcpu_load")
int BPF_KPROBE(probe_svm, struct kvm_vcpu *vcpu)
{
	return serve(vcpu, KVMBPF_VENDOR_SVM, KVMBPF_SOURCE_LOAD);
}

/* Only once that function is through is the vCPU's VMCS the current one. */
SEC("?fexit/kvm_arch_vcpu_load")
int BPF_PROG(load_vmx, struct kvm_vcpu *vcpu)
{
	return serve(vcpu, KVMBPF_VENDOR_VMX, KVMBPF_SOURCE_LOAD);
}
