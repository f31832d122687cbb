// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory of a VMM, read through its page tables and the kernel's direct map of all memory: no lock is
 * taken, no page pinned, faulted in or waited for. What is not in memory is not read.
 *
 * Tables can change and be freed meanwhile. Entries are read again after the data, down from the root:
 * if each is as it was, the data was read from the page that is there.
 */
#include "vmlinux/kvm.h"
#include <bpf/bpf_helpers.h>
#include "direct.bpf.h"
#include "kvmbpf/records.h"

char LICENSE[] SEC("license") = "GPL";

/* What the next call reads; memory-mapped by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, KVMBPF_COPIES_MAX);
	__type(key, __u32);
	__type(value, struct kvmbpf_copy);
} copies SEC(".maps");

/* And what it read: for user space, too. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kvmbpf_copied);
} copied SEC(".maps");

/* Where a test lets tables change. */
#ifndef BETWEEN_WALKS
#define BETWEEN_WALKS()
#endif

static __always_inline bool copy(__u64 pgd, __u64 hva, void *to, __u32 len)
{
	struct host_walk before, after;

	walk(direct_map, pgd, hva, &before);
	BETWEEN_WALKS();
	if (!before.address || read(to, len, before.address))
		return false;
	walk(direct_map, pgd, hva, &after);
	return same(&before, &after);
}

static long copy_piece(__u32 index, const __u64 *pgd)
{
	struct kvmbpf_copy *piece = bpf_map_lookup_elem(&copies, &index);
	__u32 zero = 0, at, len;
	struct kvmbpf_copied *to = bpf_map_lookup_elem(&copied, &zero);
	__u64 hva;

	if (!piece || !to)
		return 1;
	hva = piece->hva;
	at = *(volatile __u32 *)&piece->at;
	len = *(volatile __u32 *)&piece->len;
	piece->done = 0;
	if (!is_users(hva) || !len || len > PAGE_SIZE - hva % PAGE_SIZE || len > PAGE_SIZE ||
	    at > KVMBPF_COPIED_BYTES - PAGE_SIZE)
		return 0;
	piece->done = copy(*pgd, hva, to->bytes + at, len);
	return 0;
}

/* -ESRCH: it is not this VM, or not any more. */
SEC("syscall")
int copy_memory(struct kvmbpf_copy_call *call)
{
	struct kvm *kvm = (struct kvm *)call->kvm;
	__u64 pgd = (__u64)KERNEL_READ(KERNEL_READ(kvm, mm), pgd);

	if (!direct_map)
		return -EOPNOTSUPP;
	if (!is_vm(kvm, call->clock_offset) || !is_memory(pgd - direct_map))
		return -ESRCH;
	bpf_loop(call->count, copy_piece, &pgd, 0);
	return is_vm(kvm, call->clock_offset) ? 0 : -ESRCH;
}

struct search {
	const struct kvmbpf_find_call *call;
	__u64 pgd, lowest;
};

/*
 * Is this it? The page tables lie in the direct map; where that begins is a secret of each boot, but for its
 * alignment (kernel_randomize_memory()). Only with the right beginning do they lead to the token. From
 * the lowest on, so that nothing behind the map is read.
 */
static long try_direct_map(__u32 gibs, struct search *search)
{
	__u64 map = search->lowest + ((__u64)gibs << GIB_SHIFT), found[KVMBPF_TOKEN_WORDS];
	struct host_walk token;

	walk(map, search->pgd, search->call->hva, &token);
	if (!token.address ||
	    bpf_probe_read_kernel(found, sizeof(found), (void *)token.address))
		return 0;
	for (int i = 0; i < KVMBPF_TOKEN_WORDS; i++)
		if (found[i] != search->call->token[i])
			return 0;
	direct_map = map;
	return 1;
}

SEC("syscall")
int find_direct_map(struct kvmbpf_find_call *call)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct search search = { .call = call };

	search.pgd = (__u64)KERNEL_READ(KERNEL_READ(task, mm), pgd);
	/* The table is at most so far from the beginning. */
	search.lowest = ((search.pgd - call->memory_end) >> GIB_SHIFT) << GIB_SHIFT;
	memory_end = call->memory_end;
	physical_mask = call->physical_mask;
	levels = search.pgd < FOUR_LEVELS_BEGIN ? 5 : 4;
	bpf_loop((memory_end >> GIB_SHIFT) + 2, try_direct_map, &search, 0);
	return direct_map ? 0 : -ENOENT;
}
