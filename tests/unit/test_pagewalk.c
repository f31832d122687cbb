// SPDX-License-Identifier: LGPL-2.1-or-later
/* Page walks over hand-made tables, sound and hostile ones. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <string.h>

#include "kvmbpf/pagewalk.h"

/* Guest memory: 16 pages from 0, then an MMIO range, and nothing behind it. */
enum { RAM_SIZE = 0x10000, MMIO_SIZE = 0x1000 };

struct memory {
	__u8 bytes[RAM_SIZE];
	unsigned int reads;
};

static struct memory memory;

static int memory_read(void *ctx, __u64 gpa, void *buf, __u32 len)
{
	struct memory *mem = ctx;

	mem->reads++;
	if (gpa >= RAM_SIZE && gpa < RAM_SIZE + MMIO_SIZE)
		return -EIO;
	if (gpa > RAM_SIZE || len > RAM_SIZE - gpa)
		return -ENXIO;
	memcpy(buf, mem->bytes + gpa, len);
	return 0;
}

static void put64(__u64 gpa, __u64 value)
{
	memcpy(memory.bytes + gpa, &value, sizeof(value));
}

static void put32(__u64 gpa, __u32 value)
{
	memcpy(memory.bytes + gpa, &value, sizeof(value));
}

static void memory_clear(void)
{
	memset(&memory, 0, sizeof(memory));
}

static int walk(const struct kvmbpf_paging_state *state, __u64 gva, struct kvmbpf_walk *ret_walk)
{
	return kvmbpf_walk(state, gva, memory_read, &memory, ret_walk);
}

enum {
	P = KVMBPF_PTE_P,
	RW = KVMBPF_PTE_RW,
	US = KVMBPF_PTE_US,
	PS = KVMBPF_PTE_PS,
	ALL = P | RW | US,
};

static const __u64 XD = KVMBPF_PTE_XD;

/* 0xffff888000123456: slots 273, 0, 0, 291. */
static const __u64 GVA = 0xffff888000123456;

static struct kvmbpf_paging_state four_levels(void)
{
	struct kvmbpf_paging_state state = {
		.root = 0x1000, .mode = KVMBPF_PAGING_4LEVEL, .nx = 1
	};

	memory_clear();
	put64(0x1000 + 273 * 8, 0x2000 | ALL);
	put64(0x2000, 0x3000 | ALL);
	put64(0x3000, 0x4000 | ALL);
	put64(0x4000 + 291 * 8, 0x7654321000 | ALL | XD);
	return state;
}

Test(mode, follows_the_control_registers)
{
	const __u64 pg = KVMBPF_CR0_PG, pae = KVMBPF_CR4_PAE, la57 = KVMBPF_CR4_LA57;

	cr_assert(eq(int, kvmbpf_paging_mode(0, pae, KVMBPF_EFER_LME), KVMBPF_PAGING_OFF));
	cr_assert(eq(int, kvmbpf_paging_mode(pg, 0, 0), KVMBPF_PAGING_32BIT));
	cr_assert(eq(int, kvmbpf_paging_mode(pg, KVMBPF_CR4_PSE, 0), KVMBPF_PAGING_32BIT));
	cr_assert(eq(int, kvmbpf_paging_mode(pg, pae, 0), KVMBPF_PAGING_PAE));
	cr_assert(eq(int, kvmbpf_paging_mode(pg, pae | la57, 0), KVMBPF_PAGING_PAE));
	cr_assert(eq(int, kvmbpf_paging_mode(pg, pae, KVMBPF_EFER_LMA), KVMBPF_PAGING_4LEVEL));
	cr_assert(eq(int, kvmbpf_paging_mode(pg, pae, KVMBPF_EFER_LME), KVMBPF_PAGING_4LEVEL));
	cr_assert(
		eq(int, kvmbpf_paging_mode(pg, pae | la57, KVMBPF_EFER_LMA), KVMBPF_PAGING_5LEVEL));
}

Test(walk, paging_off_is_identity_below_4g)
{
	struct kvmbpf_paging_state state = { .mode = KVMBPF_PAGING_OFF };
	struct kvmbpf_walk result;

	cr_assert(eq(int, walk(&state, 0xfffffff0, &result), 0));
	cr_assert(eq(u64, result.gpa, 0xfffffff0));
	cr_assert(eq(int, result.depth, 0));
	cr_assert(eq(int, result.rights, 7));
	cr_assert(eq(int, walk(&state, 1ULL << 32, &result), -EINVAL));
}

Test(walk, four_levels_reach_a_4k_page)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk result;

	cr_assert(eq(int, walk(&state, GVA, &result), 0));
	cr_assert(eq(u64, result.gpa, 0x7654321456));
	cr_assert(eq(u64, result.page_size, 4096));
	cr_assert(eq(int, result.rights, KVMBPF_RIGHT_WRITE | KVMBPF_RIGHT_USER));
	cr_assert(eq(int, result.depth, 4));
	cr_assert(eq(u64, result.step[0].gpa, 0x1000 + 273 * 8));
	cr_assert(eq(u64, result.step[3].gpa, 0x4000 + 291 * 8));
	cr_assert(eq(u64, result.step[3].entry, 0x7654321000 | ALL | XD));
}

Test(walk, root_is_masked)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk result;

	/* No-flush bit, LAM bits, PCID. */
	state.root |= 1ULL << 63 | 3ULL << 61 | 0xabc;
	cr_assert(eq(int, walk(&state, GVA, &result), 0));
	cr_assert(eq(u64, result.gpa, 0x7654321456));
}

Test(walk, rights_of_all_levels_combine)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk result;

	put64(0x4000 + 291 * 8, 0x5000 | ALL);
	put64(0x2000, 0x3000 | P | US);
	cr_assert(eq(int, walk(&state, GVA, &result), 0));
	cr_assert(eq(int, result.rights, KVMBPF_RIGHT_USER | KVMBPF_RIGHT_EXEC));
	put64(0x3000, 0x4000 | P | RW | XD);
	cr_assert(eq(int, walk(&state, GVA, &result), 0));
	cr_assert(eq(int, result.rights, 0));
}

Test(walk, four_levels_reach_2m_and_1g_pages)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk result;

	put64(0x3000, 0x8000000 | ALL | PS | KVMBPF_PTE_PAT_LARGE);
	cr_assert(eq(int, walk(&state, GVA, &result), 0));
	cr_assert(eq(u64, result.gpa, 0x8123456));
	cr_assert(eq(u64, result.page_size, 2 << 20));
	cr_assert(eq(int, result.depth, 3));
	put64(0x2000, 0x140000000 | ALL | PS);
	cr_assert(eq(int, walk(&state, GVA, &result), 0));
	cr_assert(eq(u64, result.gpa, 0x140123456));
	cr_assert(eq(u64, result.page_size, 1 << 30));
	cr_assert(eq(int, result.depth, 2));
}

Test(walk, five_levels)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk result;
	__u64 gva = 0xff11000000123456; /* slots 273, 0, 0, 0, 291 */

	state.mode = KVMBPF_PAGING_5LEVEL;
	state.root = 0x5000;
	put64(0x5000 + 273 * 8, 0x1000 | ALL);
	put64(0x1000, 0x2000 | ALL);
	cr_assert(eq(int, walk(&state, gva, &result), 0));
	cr_assert(eq(u64, result.gpa, 0x7654321456));
	cr_assert(eq(int, result.depth, 5));
}

Test(walk, non_canonical_is_invalid)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk result;

	cr_assert(eq(int, walk(&state, 0x0000800000000000, &result), -EINVAL));
	cr_assert(eq(int, walk(&state, 0xff11000000123456, &result), -EINVAL));
	cr_assert(eq(int, walk(&state, 0x00007fffffffffff, &result), -EFAULT));
	state.mode = KVMBPF_PAGING_5LEVEL;
	cr_assert(eq(int, walk(&state, 0x0100000000000000, &result), -EINVAL));
	cr_assert(eq(int, walk(&state, 0x0000800000000000, &result), -EFAULT));
	state.mode = KVMBPF_PAGING_PAE;
	cr_assert(eq(int, walk(&state, 1ULL << 32, &result), -EINVAL));
	state.mode = KVMBPF_PAGING_32BIT;
	cr_assert(eq(int, walk(&state, ~0ULL, &result), -EINVAL));
}

Test(walk, entry_that_is_not_present_is_a_hole_whatever_else_it_says)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk result = { .gpa = 0x77 };

	put64(0x1000 + 273 * 8, ~1ULL);
	cr_assert(eq(int, walk(&state, GVA, &result), -EFAULT));
	cr_assert(eq(u64, result.gpa, 0x77), "untouched on failure");
}

Test(walk, failed_walk_can_be_followed_step_by_step)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk partial;

	cr_assert(eq(int, kvmbpf_walk_begin(&state, GVA, &partial), 1));
	cr_assert(eq(int, kvmbpf_walk_next(&state, GVA, &partial, 0x2000 | ALL), 1));
	cr_assert(eq(u64, partial.step[1].gpa, 0x2000));
	cr_assert(eq(int, kvmbpf_walk_next(&state, GVA, &partial, 0), -EFAULT));
	cr_assert(eq(int, partial.depth, 2));
}

Test(walk, step_beyond_the_last_level_is_refused)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk result;

	cr_assert(eq(int, walk(&state, GVA, &result), 0));
	cr_assert(eq(int, kvmbpf_walk_next(&state, GVA, &result, 0x2000 | ALL), -EINVAL));
}

Test(walk, loop_in_page_tables_ends)
{
	struct kvmbpf_paging_state state = { .root = 0x1000, .nx = 1 };
	struct kvmbpf_walk result;
	__u64 self = 0x1000 | ALL;
	unsigned int i;

	memory_clear();
	for (i = 0; i < 512; i++)
		put64(0x1000 + 8 * i, self);
	state.mode = KVMBPF_PAGING_4LEVEL;
	cr_assert(eq(int, walk(&state, 0x123, &result), 0));
	cr_assert(eq(u64, result.gpa, 0x1123));
	cr_assert(eq(u32, memory.reads, 4));
	state.mode = KVMBPF_PAGING_5LEVEL;
	cr_assert(eq(int, walk(&state, 0x123, &result), 0));
	cr_assert(eq(u32, memory.reads, 9));
}

Test(walk, read_errors_are_passed_on)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk result;

	put64(0x2000, RAM_SIZE | ALL);
	cr_assert(eq(int, walk(&state, GVA, &result), -EIO), "tables in MMIO");
	put64(0x2000, 0x7000000000 | ALL);
	cr_assert(eq(int, walk(&state, GVA, &result), -ENXIO), "tables outside memory");
	state.root = 0xfffffffff000;
	cr_assert(eq(int, walk(&state, GVA, &result), -ENXIO), "root outside memory");
}

Test(walk, large_pages_are_refused_at_the_upper_levels)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk result;

	put64(0x1000 + 273 * 8, 0x2000 | ALL | PS);
	cr_assert(eq(int, walk(&state, GVA, &result), -EBADMSG));
	state.mode = KVMBPF_PAGING_5LEVEL;
	cr_assert(eq(int, walk(&state, (__u64)273 << 48 | 0xfeULL << 56, &result), -EBADMSG));
}

Test(walk, nx_bit_is_reserved_without_nxe)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk result;

	state.nx = 0;
	cr_assert(eq(int, walk(&state, GVA, &result), -EBADMSG));
	put64(0x4000 + 291 * 8, 0x5000 | ALL);
	cr_assert(eq(int, walk(&state, GVA, &result), 0));
}

Test(walk, low_address_bits_of_large_pages_are_reserved)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk result;

	put64(0x3000, 0x8000000 | ALL | PS | 1 << 13);
	cr_assert(eq(int, walk(&state, GVA, &result), -EBADMSG));
	put64(0x3000, 0x8000000 | ALL | PS | 1 << 20);
	cr_assert(eq(int, walk(&state, GVA, &result), -EBADMSG));
	put64(0x2000, 0x140000000 | ALL | PS | 1 << 29);
	cr_assert(eq(int, walk(&state, GVA, &result), -EBADMSG));
}

Test(walk, address_above_maxphyaddr_is_reserved)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk result;

	state.maxphyaddr = 39;
	cr_assert(eq(int, walk(&state, GVA, &result), 0));
	state.maxphyaddr = 38;
	cr_assert(eq(int, walk(&state, GVA, &result), -EBADMSG));
	put64(0x4000 + 291 * 8, 0x5000 | ALL | 1ULL << 51);
	cr_assert(eq(int, walk(&state, GVA, &result), -EBADMSG));
	state.maxphyaddr = 0;
	cr_assert(eq(int, walk(&state, GVA, &result), 0));
	/* Bits 62:52 are free for software and protection keys. */
	put64(0x4000 + 291 * 8, 0x5000 | ALL | 0x7ffULL << 52);
	cr_assert(eq(int, walk(&state, GVA, &result), 0));
	cr_assert(eq(u64, result.gpa, 0x5456));
	state.maxphyaddr = 36;
	state.root = 1ULL << 36;
	cr_assert(eq(int, walk(&state, GVA, &result), -EBADMSG));
}

/* 0xc0123456: slots 3, 0, 291. The PDPT may stand at any multiple of 32. */
static struct kvmbpf_paging_state pae(void)
{
	struct kvmbpf_paging_state state = {
		.root = 0x1020, .mode = KVMBPF_PAGING_PAE, .nx = 1
	};

	memory_clear();
	put64(0x1020 + 3 * 8, 0x2000 | P);
	put64(0x2000, 0x3000 | ALL);
	put64(0x3000 + 291 * 8, 0x700005000 | P | RW | XD);
	return state;
}

Test(walk, pae_reaches_4k_and_2m_pages)
{
	struct kvmbpf_paging_state state = pae();
	struct kvmbpf_walk result;

	cr_assert(eq(int, walk(&state, 0xc0123456, &result), 0));
	cr_assert(eq(u64, result.gpa, 0x700005456));
	cr_assert(eq(int, result.rights, KVMBPF_RIGHT_WRITE));
	cr_assert(eq(int, result.depth, 3));
	put64(0x2000, 0x200000 | ALL | PS);
	cr_assert(eq(int, walk(&state, 0xc0123456, &result), 0));
	cr_assert(eq(u64, result.gpa, 0x323456));
	cr_assert(eq(u64, result.page_size, 2 << 20));
	cr_assert(eq(int, result.rights, 7));
}

Test(walk, pae_reserves_more_bits)
{
	static const __u64 bad_pdptes[] = { RW, US, 1 << 6, PS, 1 << 8, 1ULL << 52, XD };
	struct kvmbpf_paging_state state = pae();
	struct kvmbpf_walk result;
	size_t i;

	for (i = 0; i < sizeof(bad_pdptes) / sizeof(bad_pdptes[0]); i++) {
		put64(0x1020 + 3 * 8, 0x2000 | P | bad_pdptes[i]);
		cr_assert(eq(int, walk(&state, 0xc0123456, &result), -EBADMSG), "case %zu", i);
	}
	state = pae();
	put64(0x3000 + 291 * 8, 0x5000 | P | 1ULL << 62);
	cr_assert(eq(int, walk(&state, 0xc0123456, &result), -EBADMSG));
}

/* 0xc0123456: slots 768, 291. */
static struct kvmbpf_paging_state two_levels(void)
{
	struct kvmbpf_paging_state state = {
		.root = 0x1018, .mode = KVMBPF_PAGING_32BIT, .pse = 1
	};

	memory_clear();
	put32(0x1000 + 768 * 4, 0x2000 | ALL);
	put32(0x2000 + 291 * 4, 0xfedcb000 | P | US);
	return state;
}

Test(walk, two_levels_reach_a_4k_page)
{
	struct kvmbpf_paging_state state = two_levels();
	struct kvmbpf_walk result;

	/* The neighbour's bits do not leak into a 4-byte entry. */
	put32(0x2000 + 292 * 4, ~0U);
	cr_assert(eq(int, walk(&state, 0xc0123456, &result), 0));
	cr_assert(eq(u64, result.gpa, 0xfedcb456));
	cr_assert(eq(int, result.rights, KVMBPF_RIGHT_USER | KVMBPF_RIGHT_EXEC));
	cr_assert(eq(int, result.depth, 2));
	cr_assert(eq(u64, result.step[1].entry, 0xfedcb000 | P | US));
}

Test(walk, pse_maps_4m_pages_beyond_4g)
{
	struct kvmbpf_paging_state state = two_levels();
	struct kvmbpf_walk result;

	put32(0x1000 + 768 * 4, 0x40000000 | ALL | PS);
	cr_assert(eq(int, walk(&state, 0xc0123456, &result), 0));
	cr_assert(eq(u64, result.gpa, 0x40123456));
	cr_assert(eq(u64, result.page_size, 4 << 20));
	/* PSE-36: entry bits 20:13 are address bits 39:32. */
	put32(0x1000 + 768 * 4, 0x40000000 | ALL | PS | 0xa5 << 13);
	cr_assert(eq(int, walk(&state, 0xc0123456, &result), 0));
	cr_assert(eq(u64, result.gpa, 0xa540123456));
	put32(0x1000 + 768 * 4, 0x40000000 | ALL | PS | 1 << 21);
	cr_assert(eq(int, walk(&state, 0xc0123456, &result), -EBADMSG));
	state.maxphyaddr = 36;
	put32(0x1000 + 768 * 4, 0x40000000 | ALL | PS | 0xf << 13);
	cr_assert(eq(int, walk(&state, 0xc0123456, &result), 0));
	put32(0x1000 + 768 * 4, 0x40000000 | ALL | PS | 0x1f << 13);
	cr_assert(eq(int, walk(&state, 0xc0123456, &result), -EBADMSG));
}

Test(walk, ps_bit_means_nothing_without_pse)
{
	struct kvmbpf_paging_state state = two_levels();
	struct kvmbpf_walk result;

	state.pse = 0;
	put32(0x1000 + 768 * 4, 0x2000 | ALL | PS);
	cr_assert(eq(int, walk(&state, 0xc0123456, &result), 0));
	cr_assert(eq(u64, result.gpa, 0xfedcb456));
}

Test(walk, unknown_mode_reads_nothing)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk result;

	state.mode = 99;
	cr_assert(eq(int, walk(&state, 0x1000, &result), 0));
	cr_assert(eq(u32, memory.reads, 0));
}

Test(resolve, agrees_with_the_walk)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk first, second;

	cr_assert(eq(int, walk(&state, GVA, &first), 0));
	cr_assert(eq(int, kvmbpf_walk_resolve(&state, GVA, first.step, first.depth, &second), 0));
	cr_assert(eq(int, memcmp(&first, &second, sizeof(first)), 0));
}

Test(resolve, sees_a_new_page_and_new_rights)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk cached, now;

	cr_assert(eq(int, walk(&state, GVA, &cached), 0));
	cached.step[3].entry = 0x9000 | P;
	cr_assert(eq(int, kvmbpf_walk_resolve(&state, GVA, cached.step, 4, &now), 0));
	cr_assert(eq(u64, now.gpa, 0x9456));
	cr_assert(eq(int, now.rights, KVMBPF_RIGHT_EXEC));
	cached.step[3].entry = 0;
	cr_assert(eq(int, kvmbpf_walk_resolve(&state, GVA, cached.step, 4, &now), -EFAULT));
}

Test(resolve, chain_that_leads_elsewhere_is_stale)
{
	struct kvmbpf_paging_state state = four_levels();
	struct kvmbpf_walk cached, now = { .gpa = 0x77 };

	cr_assert(eq(int, walk(&state, GVA, &cached), 0));
	cr_assert(eq(int, kvmbpf_walk_resolve(&state, GVA, cached.step, 3, &now), -ESTALE));
	cr_assert(eq(int, kvmbpf_walk_resolve(&state, GVA, NULL, 0, &now), -ESTALE));
	cached.step[2].entry = 0x8000000 | ALL | PS;
	cr_assert(eq(int, kvmbpf_walk_resolve(&state, GVA, cached.step, 4, &now), -ESTALE));
	cached.step[2].entry = 0x4000 | ALL;
	cached.step[1].entry = 0x6000 | ALL;
	cr_assert(eq(int, kvmbpf_walk_resolve(&state, GVA, cached.step, 4, &now), -ESTALE));
	cr_assert(eq(u64, now.gpa, 0x77), "untouched on failure");
}
