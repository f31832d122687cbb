// SPDX-License-Identifier: GPL-2.0-only
/*
 * Seals: is what was seen of many VMs as it was? One call holds entries of page tables and bytes of guest
 * memory against what user space took down, and copies nothing.
 *
 * Where memory is in the direct map is kept, and believed as KVM believes its own translations: as long
 * as no part of the VM's memory was unmapped or moved in its process, which KVM's MMU notifier counts
 * (mmu_invalidate_seq, mmu_invalidate_in_progress: kvm_mmu_invalidate_begin() in virt/kvm/kvm_main.c).
 * Nothing is freed before it counted; so what was read before a second look at the count is the VM's.
 */
#include "vmlinux/kvm.h"
#include <bpf/bpf_helpers.h>
#include "direct.bpf.h"
#include "kvmbpf/hash.h"
#include "kvmbpf/records.h"

char LICENSE[] SEC("license") = "GPL";

/* Written by user space, which maps these three. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, KVMBPF_SEALS_MAX);
	__type(key, __u32);
	__type(value, struct kvmbpf_seal);
} seals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, KVMBPF_SEAL_PARTS_MAX);
	__type(key, __u32);
	__type(value, struct kvmbpf_seal_part);
} parts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, KVMBPF_SEAL_CHECKS_MAX);
	__type(key, __u32);
	__type(value, struct kvmbpf_seal_check);
} checks SEC(".maps");

/* Where each part is. Only programs write it: an address here is followed. */
struct place {
	__u64 hva;     /* of what was found; 0: nothing was */
	__u64 address; /* in the direct map */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_RDONLY);
	__uint(max_entries, KVMBPF_SEAL_PARTS_MAX);
	__type(key, __u32);
	__type(value, struct place);
} places SEC(".maps");

/* The seal, and KVM's count, that the places of its parts are of. */
struct found {
	__u64 number; /* 0: of none */
	__u64 seq;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_RDONLY);
	__uint(max_entries, KVMBPF_SEALS_MAX);
	__type(key, __u32);
	__type(value, struct found);
} founds SEC(".maps");

/* The secret of this run: who does not know it makes other bytes that have the same hash by chance only. */
const volatile __u64 hash_key[KVMBPF_HASH_WORDS];

/* Who looks. Calls of user space do not overlap; a CPU's timers do not overlap each other, but a call. */
enum looker { LOOKER_CALL, LOOKER_TIMER, LOOKERS };

/* What is hashed. */
struct room {
	__u64 words[KVMBPF_HASH_WORDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOOKERS);
	__type(key, __u32);
	__type(value, struct room);
} rooms SEC(".maps");

/* A seal on its way through a check. */
struct looked {
	__u64 pgd;
	__u32 first;
	__u32 looker; /* enum looker */
	bool moved;  /* the places may be others'; all are found anew */
	bool intact;
};

/* The table of a page is freed after KVM was told of the page: a second walk meets no table that was freed
 * before the first, since it is unlinked by then. */
static __always_inline __u64 find(__u64 pgd, __u64 hva)
{
	struct host_walk first, second;

	if (!is_users(hva))
		return 0;
	walk(direct_map, pgd, hva, &first);
	if (!first.address)
		return 0;
	walk(direct_map, pgd, hva, &second);
	return same(&first, &second) ? first.address : 0;
}

static __always_inline bool entry_same(const struct kvmbpf_seal_part *part, __u64 address)
{
	__u64 entry = 0;

	if (part->kind == KVMBPF_SEAL_ENTRY ? read(&entry, sizeof(entry), address) :
					      read(&entry, sizeof(__u32), address))
		return false;
	return !((entry ^ part->expected) & ~(__u64)ENTRY_MOVING);
}

static __always_inline __u64 hash(const __u64 *words, __u32 count)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < KVMBPF_HASH_WORDS && i < count; i++)
		sum = kvmbpf_hash_add(sum, words[i], hash_key[i]);
	return sum;
}

static __always_inline bool bytes_same(const struct kvmbpf_seal_part *part, __u64 address,
				       __u32 looker)
{
	struct room *room = bpf_map_lookup_elem(&rooms, &looker);
	__u32 len = *(volatile __u32 *)&part->len, words;

	if (!len || !room)
		return false;
	/* Apart, or the compiler makes one comparison of both, by which older verifiers know no bound. */
	barrier_var(len);
	if (len > sizeof(room->words))
		return false;
	words = (len + sizeof(room->words[0]) - 1) / sizeof(room->words[0]);
	room->words[(words - 1) % KVMBPF_HASH_WORDS] = 0;
	if (bpf_probe_read_kernel(room->words, len, (void *)address))
		return false;
	return hash(room->words, words) == part->expected;
}

/* Ends at the first that is not the same. */
static long check_part(__u32 index, struct looked *looked)
{
	__u32 at = looked->first + index;
	const struct kvmbpf_seal_part *part = bpf_map_lookup_elem(&parts, &at);
	struct place *place = bpf_map_lookup_elem(&places, &at);
	__u64 hva;

	looked->intact = false;
	if (!part || !place)
		return 1;
	hva = *(volatile __u64 *)&part->hva;
	if (looked->moved || place->hva != hva) {
		place->address = find(looked->pgd, hva);
		place->hva = place->address ? hva : 0;
	}
	/* All in one page. */
	if (!place->hva || part->len > PAGE_SIZE - hva % PAGE_SIZE)
		return 1;
	looked->intact = part->kind == KVMBPF_SEAL_BYTES ? bytes_same(part, place->address,
								      looked->looker) :
							   entry_same(part, place->address);
	return !looked->intact;
}

/* Is it this VM, with these memslots, and none of its memory on the move? Then KVM's count. */
static __always_inline bool stands(const struct kvmbpf_seal *seal, struct kvm *kvm,
				   struct mm_struct *mm, __u64 *ret_seq)
{
	/* The count goes up before the other goes down. */
	if (KERNEL_READ(kvm, mmu_invalidate_in_progress))
		return false;
	*ret_seq = KERNEL_READ(kvm, mmu_invalidate_seq);
	return KERNEL_READ(KERNEL_READ(kvm, memslots[0]), generation) == seal->generation &&
	       KERNEL_READ(mm, mm_users.counter) > 0 && is_vm(kvm, seal->clock_offset);
}

/* Where a test lets memory change. */
#ifndef BEFORE_SECOND_LOOK
#define BEFORE_SECOND_LOOK()
#endif

static __always_inline bool seal_intact(const struct kvmbpf_seal *seal, struct found *found,
					__u32 looker)
{
	struct kvm *kvm = (struct kvm *)seal->kvm;
	struct looked looked = { .first = seal->first, .looker = looker };
	struct mm_struct *mm;
	__u64 seq, seq_after;

	/* First, as what lies where a VM was points anywhere. */
	if (!is_vm(kvm, seal->clock_offset))
		return false;
	mm = KERNEL_READ(kvm, mm);
	if (!stands(seal, kvm, mm, &seq))
		return false;
	looked.pgd = (__u64)KERNEL_READ(mm, pgd);
	looked.moved = found->number != seal->number || found->seq != seq;
	if (!is_memory(looked.pgd - direct_map))
		return false;
	/* Until all were found: a check that ends early leaves some as they were. */
	if (looked.moved)
		found->number = 0;
	bpf_loop(seal->count, check_part, &looked, 0);
	BEFORE_SECOND_LOOK();
	if (!looked.intact || !stands(seal, kvm, mm, &seq_after) || seq != seq_after)
		return false;
	found->number = seal->number;
	found->seq = seq;
	return true;
}

/* Global, so that the kernel verifies it by itself, once, and not in each loop that it is called in. */
__noinline int is_intact(__u32 which, __u32 looker)
{
	const struct kvmbpf_seal *seal = bpf_map_lookup_elem(&seals, &which);
	struct found *found = bpf_map_lookup_elem(&founds, &which);

	return seal && found && seal_intact(seal, found, looker);
}

static long check_seal(__u32 index, void *ctx)
{
	struct kvmbpf_seal_check *check = bpf_map_lookup_elem(&checks, &index);

	if (!check)
		return 1;
	check->intact = is_intact(*(volatile __u32 *)&check->seal, LOOKER_CALL);
	return 0;
}

SEC("syscall")
int check_seals(struct kvmbpf_seal_call *call)
{
	if (!direct_map)
		return -EOPNOTSUPP;
	bpf_loop(call->count, check_seal, NULL, 0);
	return 0;
}

#include "sentry.bpf.h"
