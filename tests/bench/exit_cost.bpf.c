// SPDX-License-Identifier: GPL-2.0-only
/* Runs what the programs on exits do, again and again on one vCPU, outside of any exit. */
#include "bpf/snapshot.bpf.c"

struct exit_cost {
	__u64 vcpu; /* address of struct kvm_vcpu */
	/* Of 64 bits: where the verifier puts bpf_loop() in line it compares all of them. */
	__u64 count;
	__u64 change; /* flips CR0 in the snapshot before each, so that each finds a change */
};

/* With the type that the tracepoint gives it. */
static long exit_once(__u32 index, struct exit_cost *cost)
{
	__u32 zero = 0;
	struct kvmbpf_vcpu *state = cost->change ? bpf_map_lookup_elem(&vcpus, &zero) : NULL;

	if (state)
		state->cr0 ^= 1ULL << 16;
	push_snapshot(bpf_rdonly_cast((void *)cost->vcpu, bpf_core_type_id_kernel(struct kvm_vcpu)),
		      true, KVMBPF_VENDOR_PVM, KVMBPF_SOURCE_EXIT);
	return 0;
}

SEC("?syscall")
int exit_cost_pvm(struct exit_cost *call)
{
	struct exit_cost cost = *call;

	return bpf_loop(cost.count, exit_once, &cost, 0);
}
