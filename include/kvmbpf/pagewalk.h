/* SPDX-License-Identifier: GPL-2.0-only OR LGPL-2.1-or-later */
/*
 * Walks x86 page tables of a guest: entries in, guest physical address and rights out.
 *
 * The same code runs in user space, in the kernel module and in tests; BPF programs use its types.
 * It reads nothing by itself: kvmbpf_walk_begin() says where the first entry lies,
 * kvmbpf_walk_next() takes it and says where the next one lies. A walk is at most
 * KVMBPF_WALK_LEVELS entries long, whatever the tables say, so tables that point at themselves are
 * no special case.
 *
 * Sources: Intel SDM vol. 3A chapter 4, AMD APM vol. 2 chapter 5. Bits that only one of the two
 * vendors reserves are not flagged.
 */
#ifndef KVMBPF_PAGEWALK_H
#define KVMBPF_PAGEWALK_H

#ifndef __bpf__ /* where vmlinux/kvm.h has the types */
#include <linux/types.h>
#endif
#if defined(__KERNEL__)
#include <linux/errno.h>
#elif defined(__bpf__)
#include <asm-generic/errno.h>
#else
#include <errno.h>
#endif

enum kvmbpf_paging {
	KVMBPF_PAGING_OFF,
	KVMBPF_PAGING_32BIT,
	KVMBPF_PAGING_PAE,
	KVMBPF_PAGING_4LEVEL,
	KVMBPF_PAGING_5LEVEL,
};

/* Control register bits that choose the paging mode (SDM 4.1.1, table 4-1). */
#define KVMBPF_CR0_PG (1ULL << 31)
#define KVMBPF_CR4_PSE (1ULL << 4)
#define KVMBPF_CR4_PAE (1ULL << 5)
#define KVMBPF_CR4_LA57 (1ULL << 12)
#define KVMBPF_EFER_LME (1ULL << 8)
#define KVMBPF_EFER_LMA (1ULL << 10)
#define KVMBPF_EFER_NXE (1ULL << 11)

/* Bits of an entry (SDM 4.3 to 4.5; APM 5.2 to 5.4). */
#define KVMBPF_PTE_P (1ULL << 0)
#define KVMBPF_PTE_RW (1ULL << 1)
#define KVMBPF_PTE_US (1ULL << 2)
#define KVMBPF_PTE_PWT (1ULL << 3)
#define KVMBPF_PTE_PCD (1ULL << 4)
#define KVMBPF_PTE_A (1ULL << 5)
#define KVMBPF_PTE_D (1ULL << 6)
#define KVMBPF_PTE_PS (1ULL << 7)
#define KVMBPF_PTE_G (1ULL << 8)
#define KVMBPF_PTE_PAT_LARGE (1ULL << 12)
#define KVMBPF_PTE_XD (1ULL << 63)

/* Effective rights: what all levels together allow, before CR0.WP, SMEP, SMAP and keys. */
enum {
	KVMBPF_RIGHT_WRITE = 1,
	KVMBPF_RIGHT_USER = 2,
	KVMBPF_RIGHT_EXEC = 4,
};

enum { KVMBPF_WALK_LEVELS = 5 };

struct kvmbpf_paging_state {
	__u64 root;	  /* CR3 as the CPU holds it; PCID, LAM and no-flush bits are masked here */
	__u8 mode;	  /* enum kvmbpf_paging */
	__u8 pse;	  /* CR4.PSE, used by 32-bit paging only */
	__u8 nx;	  /* EFER.NXE */
	__u8 maxphyaddr; /* 0: not known, only bits that no CPU has are reserved */
	__u8 pad[4];
};

/* Where an entry was read and what it said. */
struct kvmbpf_walk_step {
	__u64 gpa;
	__u64 entry;
};

struct kvmbpf_walk {
	__u64 gpa;	 /* of the byte that was asked for */
	__u64 page_size; /* 4K, 2M, 4M or 1G */
	__u8 rights;
	__u8 depth; /* steps used */
	__u8 pad[6];
	struct kvmbpf_walk_step step[KVMBPF_WALK_LEVELS]; /* from the root down */
};

/* Bits @high down to @low of an entry. */
static inline __u64 kvmbpf_bits(unsigned int high, unsigned int low)
{
	return (~0ULL >> (63 - high)) & (~0ULL << low);
}

/* The mode that CR0, CR4 and EFER together choose (SDM 4.1.1). */
static inline enum kvmbpf_paging kvmbpf_paging_mode(__u64 cr0, __u64 cr4, __u64 efer)
{
	if (!(cr0 & KVMBPF_CR0_PG))
		return KVMBPF_PAGING_OFF;
	if (!(cr4 & KVMBPF_CR4_PAE))
		return KVMBPF_PAGING_32BIT;
	/* With CR0.PG set the CPU keeps LMA equal to LME; not every snapshot carries both. */
	if (!(efer & (KVMBPF_EFER_LME | KVMBPF_EFER_LMA)))
		return KVMBPF_PAGING_PAE;
	return cr4 & KVMBPF_CR4_LA57 ? KVMBPF_PAGING_5LEVEL : KVMBPF_PAGING_4LEVEL;
}

/* Levels of tables: a step at level 1 reads a PTE, at level 2 a PDE and so on. */
static inline unsigned int kvmbpf_walk_levels(const struct kvmbpf_paging_state *state)
{
	switch (state->mode) {
	case KVMBPF_PAGING_32BIT:
		return 2;
	case KVMBPF_PAGING_PAE:
		return 3;
	case KVMBPF_PAGING_4LEVEL:
		return 4;
	case KVMBPF_PAGING_5LEVEL:
		return 5;
	default:
		return 0;
	}
}

/* Bytes of one entry. */
static inline __u32 kvmbpf_walk_entry_size(const struct kvmbpf_paging_state *state)
{
	return state->mode == KVMBPF_PAGING_32BIT ? 4 : 8;
}

static inline unsigned int kvmbpf_walk_maxphyaddr(const struct kvmbpf_paging_state *state)
{
	if (state->maxphyaddr < 32 || state->maxphyaddr > 52)
		return 52;
	return state->maxphyaddr;
}

/* Lowest address bit that an entry at @level translates. */
static inline unsigned int kvmbpf_walk_shift(const struct kvmbpf_paging_state *state,
					     unsigned int level)
{
	return 12 + (level - 1) * (state->mode == KVMBPF_PAGING_32BIT ? 10 : 9);
}

static inline int kvmbpf_walk_address_valid(const struct kvmbpf_paging_state *state, __u64 gva)
{
	unsigned int spare;

	if (state->mode != KVMBPF_PAGING_4LEVEL && state->mode != KVMBPF_PAGING_5LEVEL)
		return gva >> 32 == 0;
	/* Canonical: bits above the translated ones repeat the highest of them (SDM 3.3.7.1). */
	spare = state->mode == KVMBPF_PAGING_5LEVEL ? 64 - 57 : 64 - 48;
	return (__u64)((__s64)(gva << spare) >> spare) == gva;
}

/* Bits that must be 0 in a present entry at @level (SDM figures 4-4, 4-7, 4-11). */
static inline __u64 kvmbpf_walk_reserved(const struct kvmbpf_paging_state *state,
					 unsigned int level, int large)
{
	unsigned int maxphyaddr = kvmbpf_walk_maxphyaddr(state);
	__u64 reserved = 0;

	if (state->mode == KVMBPF_PAGING_32BIT) {
		if (!large)
			return 0;
		/* PSE-36: bits 20:13 are address bits 39:32, as far as the CPU has them. */
		if (maxphyaddr > 40)
			maxphyaddr = 40;
		return kvmbpf_bits(21, maxphyaddr - 32 + 13);
	}
	if (maxphyaddr < 52)
		reserved |= kvmbpf_bits(51, maxphyaddr);
	if (state->mode == KVMBPF_PAGING_PAE) {
		reserved |= kvmbpf_bits(62, 52);
		/* The accessed bit is left out: QEMU's emulated CPUs set it in a PDPTE. */
		if (level == 3)
			return reserved | KVMBPF_PTE_XD | kvmbpf_bits(2, 1) | kvmbpf_bits(8, 6);
	}
	if (!state->nx)
		reserved |= KVMBPF_PTE_XD;
	if (level >= 4)
		reserved |= KVMBPF_PTE_PS;
	if (large)
		reserved |= kvmbpf_bits(kvmbpf_walk_shift(state, level) - 1, 13);
	return reserved;
}

/* Whether an entry at @level maps a page by itself instead of pointing at a table. */
static inline int kvmbpf_walk_large(const struct kvmbpf_paging_state *state, unsigned int level,
				    __u64 entry)
{
	if (!(entry & KVMBPF_PTE_PS))
		return 0;
	switch (state->mode) {
	case KVMBPF_PAGING_32BIT:
		return level == 2 && state->pse;
	case KVMBPF_PAGING_PAE:
		return level == 2;
	default:
		return level == 2 || level == 3;
	}
}

static inline __u8 kvmbpf_walk_rights(const struct kvmbpf_paging_state *state, unsigned int level,
				      __u64 entry)
{
	__u8 rights = 0;

	/* PDPTEs of PAE paging carry no rights (SDM 4.4.1). */
	if (state->mode == KVMBPF_PAGING_PAE && level == 3)
		return KVMBPF_RIGHT_WRITE | KVMBPF_RIGHT_USER | KVMBPF_RIGHT_EXEC;
	if (entry & KVMBPF_PTE_RW)
		rights |= KVMBPF_RIGHT_WRITE;
	if (entry & KVMBPF_PTE_US)
		rights |= KVMBPF_RIGHT_USER;
	if (!(entry & KVMBPF_PTE_XD))
		rights |= KVMBPF_RIGHT_EXEC;
	return rights;
}

/* Place of the entry for @gva in the table at @table, whose entries stand at @level. */
static inline __u64 kvmbpf_walk_slot(const struct kvmbpf_paging_state *state, __u64 table,
				     unsigned int level, __u64 gva)
{
	__u64 count = state->mode == KVMBPF_PAGING_32BIT ? 1024 : 512;

	return table + ((gva >> kvmbpf_walk_shift(state, level)) & (count - 1)) *
			       kvmbpf_walk_entry_size(state);
}

/*
 * Starts a walk. Returns 1 when an entry is needed, which lies at walk->step[walk->depth].gpa; 0
 * when the walk is done (paging is off); -EINVAL if @gva is not canonical or beyond 4G in a 32-bit
 * mode; -EBADMSG if the root lies above the CPU's physical addresses.
 */
static inline int kvmbpf_walk_begin(const struct kvmbpf_paging_state *state, __u64 gva,
				    struct kvmbpf_walk *walk)
{
	static const struct kvmbpf_walk empty;
	unsigned int levels = kvmbpf_walk_levels(state);
	__u64 root;

	*walk = empty;
	walk->rights = KVMBPF_RIGHT_WRITE | KVMBPF_RIGHT_USER | KVMBPF_RIGHT_EXEC;
	if (!kvmbpf_walk_address_valid(state, gva))
		return -EINVAL;
	if (!levels) {
		walk->gpa = gva;
		walk->page_size = 4096;
		return 0;
	}
	if (levels > 3)
		root = state->root & kvmbpf_bits(51, 12);
	else
		root = state->root & kvmbpf_bits(31, levels == 3 ? 5 : 12);
	if (root >> kvmbpf_walk_maxphyaddr(state))
		return -EBADMSG;
	walk->step[0].gpa = kvmbpf_walk_slot(state, root, levels, gva);
	return 1;
}

/* Sets the result from the entry that maps the page. */
static inline int kvmbpf_walk_finish(const struct kvmbpf_paging_state *state, __u64 gva,
				     unsigned int level, __u64 entry, struct kvmbpf_walk *walk)
{
	unsigned int shift = kvmbpf_walk_shift(state, level);
	__u64 page;

	if (state->mode == KVMBPF_PAGING_32BIT && level == 2)
		page = (entry & kvmbpf_bits(31, 22)) | (entry & kvmbpf_bits(20, 13)) << 19;
	else
		page = entry & kvmbpf_bits(51, shift);
	walk->page_size = 1ULL << shift;
	walk->gpa = page | (gva & (walk->page_size - 1));
	return 0;
}

/*
 * Takes the entry that stands at walk->step[walk->depth].gpa. Returns 1 when another is needed, 0
 * when the walk is done, -EFAULT if the entry is not present, -EBADMSG if reserved bits are set in
 * it. In an entry that is not present no other bit means anything (SDM 4.7), so that comes first.
 */
static inline int kvmbpf_walk_next(const struct kvmbpf_paging_state *state, __u64 gva,
				   struct kvmbpf_walk *walk, __u64 entry)
{
	unsigned int levels = kvmbpf_walk_levels(state);
	unsigned int level;
	int large;

	if (walk->depth >= levels)
		return -EINVAL;
	if (state->mode == KVMBPF_PAGING_32BIT)
		entry &= 0xffffffffULL;
	level = levels - walk->depth;
	large = kvmbpf_walk_large(state, level, entry);
	walk->step[walk->depth].entry = entry;
	walk->depth++;
	if (!(entry & KVMBPF_PTE_P))
		return -EFAULT;
	if (entry & kvmbpf_walk_reserved(state, level, large))
		return -EBADMSG;
	walk->rights &= kvmbpf_walk_rights(state, level, entry);
	if (large || level == 1)
		return kvmbpf_walk_finish(state, gva, level, entry, walk);
	walk->step[walk->depth].gpa =
		kvmbpf_walk_slot(state, entry & kvmbpf_bits(51, 12), level - 1, gva);
	return 1;
}

/*
 * Goes on with a walk that needs the entry at walk->step[walk->depth].gpa. Returns as kvmbpf_walk(), with
 * @walk set as far as it came.
 */
static inline int kvmbpf_walk_on(const struct kvmbpf_paging_state *state, __u64 gva,
				 int (*read)(void *ctx, __u64 gpa, void *buf, __u32 len), void *ctx,
				 struct kvmbpf_walk *walk)
{
	int more, err;

	do {
		__u64 entry = 0;

		/* x86 is little endian: 4 bytes read into the low half are the value. */
		err = read(ctx, walk->step[walk->depth].gpa, &entry, kvmbpf_walk_entry_size(state));
		if (err)
			return err;
		more = kvmbpf_walk_next(state, gva, walk, entry);
	} while (more > 0);
	return more;
}

/*
 * Translates @gva. @read copies @len bytes of guest physical memory and returns 0 or -errno, which
 * is passed on. Otherwise -EFAULT: not mapped; -EINVAL: no valid address in this mode; -EBADMSG:
 * reserved bits are set, so the CPU would fault. *@ret_walk is set on success only; who wants to
 * know how far a failed walk came uses kvmbpf_walk_begin() and kvmbpf_walk_next().
 */
static inline int kvmbpf_walk(const struct kvmbpf_paging_state *state, __u64 gva,
			      int (*read)(void *ctx, __u64 gpa, void *buf, __u32 len), void *ctx,
			      struct kvmbpf_walk *ret_walk)
{
	struct kvmbpf_walk walk;
	int err;

	err = kvmbpf_walk_begin(state, gva, &walk);
	if (err > 0)
		err = kvmbpf_walk_on(state, gva, read, ctx, &walk);
	if (!err)
		*ret_walk = walk;
	return err;
}

/*
 * Translates @gva from entries that were read beforehand: takes the steps of an earlier walk, with
 * their entries read again, so that a cached chain is checked with one read of all its entries.
 * -ESTALE if the tables now lead elsewhere, to other entries than these; else as kvmbpf_walk().
 */
static inline int kvmbpf_walk_resolve(const struct kvmbpf_paging_state *state, __u64 gva,
				      const struct kvmbpf_walk_step *steps, __u32 count,
				      struct kvmbpf_walk *ret_walk)
{
	struct kvmbpf_walk walk;
	__u32 used = 0;
	int more;

	more = kvmbpf_walk_begin(state, gva, &walk);
	while (more > 0) {
		if (used >= count || steps[used].gpa != walk.step[walk.depth].gpa)
			return -ESTALE;
		more = kvmbpf_walk_next(state, gva, &walk, steps[used].entry);
		used++;
	}
	if (more == 0 && used != count)
		return -ESTALE;
	if (more == 0)
		*ret_walk = walk;
	return more;
}

#endif
