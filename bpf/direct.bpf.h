/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory of a VMM by its page tables and the kernel's direct map of all memory: where it is, and reads of
 * what is there. Whether it is there still is for the caller to find out.
 */
#ifndef KVMBPF_DIRECT_H
#define KVMBPF_DIRECT_H

#include "kernel.bpf.h"
#include "kvmbpf/pagewalk.h"

/* Found once, by find_direct_map; user space hands it on to other objects. */
__u64 direct_map; /* where physical address 0 is mapped; 0: not known */
__u64 memory_end;
__u64 physical_mask;
__u32 levels;

enum {
	PAGE_SHIFT = 12,
	PAGE_SIZE = 1 << PAGE_SHIFT,
	ENTRIES = 512,
	ENTRY_SHIFT = 9,
	GIB_SHIFT = 30,
	ISA_END = 1 << 20, /* devices, and no guest's memory, in the first MiB: init_mem_mapping() */
};

/* The kernel's half of the address space with four levels begins here; with five, the map is below. */
#define FOUR_LEVELS_BEGIN 0xffff800000000000ULL

#define ENTRY_USER (KVMBPF_PTE_P | KVMBPF_PTE_US)
/* The CPU sets these at any time. */
#define ENTRY_MOVING (KVMBPF_PTE_A | KVMBPF_PTE_D)

struct host_walk {
	__u64 entry[KVMBPF_WALK_LEVELS];
	__u64 address; /* in the direct map; 0: none that may be read */
};

/* Behind the direct map, and in its beginning, lies what reads could do harm to. */
static __always_inline bool is_memory(__u64 physical)
{
	return physical >= ISA_END && physical < memory_end;
}

static __always_inline void walk(__u64 map, __u64 pgd, __u64 hva, struct host_walk *ret_walk)
{
	__u64 table = pgd, entry, size, at;
	bool is_page;

	*ret_walk = (struct host_walk){};
#pragma unroll
	for (__u32 level = KVMBPF_WALK_LEVELS; level > 0; level--) {
		if (level > levels)
			continue;
		size = 1ULL << (PAGE_SHIFT + ENTRY_SHIFT * (level - 1));
		table += hva / size % ENTRIES * sizeof(entry);
		if (kernel_read_words(&entry, (void *)table, 1))
			return;
		ret_walk->entry[level - 1] = entry & ~ENTRY_MOVING;
		if ((entry & ENTRY_USER) != ENTRY_USER)
			return;
		is_page = level == 1 || (level <= 3 && entry & KVMBPF_PTE_PS);
		at = is_page ? (entry & physical_mask & ~(size - 1)) + hva % size :
			       entry & physical_mask & ~(__u64)(PAGE_SIZE - 1);
		if (!is_memory(at))
			return;
		if (is_page) {
			ret_walk->address = map + at;
			return;
		}
		table = map + at;
	}
}

static __always_inline bool same(const struct host_walk *a, const struct host_walk *b)
{
	__u64 different = a->address ^ b->address;

	for (int i = 0; i < KVMBPF_WALK_LEVELS; i++)
		different |= a->entry[i] ^ b->entry[i];
	return !different;
}

/* A page that the kernel took out of its direct map loads as 0, so that a 0 is asked for again. */
static __always_inline long read(void *to, __u32 len, __u64 address)
{
	if (LOADS_KERNEL && len == sizeof(__u64)) {
		__u64 word = *(__u64 *)bpf_rdonly_cast((void *)address, 0);

		if (word) {
			__builtin_memcpy(to, &word, sizeof(word));
			return 0;
		}
	}
	return bpf_probe_read_kernel(to, len, (void *)address);
}

/* The half of the address space that is the process's. */
static __always_inline bool is_users(__u64 hva)
{
	return hva >> (PAGE_SHIFT + ENTRY_SHIFT * levels - 1) == 0;
}

/*
 * While somebody uses a VM neither it is freed nor the uppermost of its process's page tables: what was
 * read before this says so is the VM's.
 */
static __always_inline bool is_vm(struct kvm *kvm, __s64 clock_offset)
{
	return KERNEL_READ(kvm, users_count.refs.counter) > 0 &&
	       KERNEL_READ(kvm, arch.kvmclock_offset) == clock_offset;
}

#endif
