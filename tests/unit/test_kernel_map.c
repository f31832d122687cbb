// SPDX-License-Identifier: LGPL-2.1-or-later
/* What can be executed by hand-made page tables, and what of it belongs to nobody. */
#include "access/kernel_map.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <string.h>

enum {
	P = KVMBPF_PTE_P,
	RW = KVMBPF_PTE_RW,
	PS = KVMBPF_PTE_PS,
	TABLES = 8,
	LEAVES = 1 << 12, /* more than any test has */
};

#define NX KVMBPF_PTE_XD

static struct ka_kernel_map map;
static uint64_t tables[TABLES][KERNEL_MAP_ENTRIES];

static void begin(void)
{
	memset(tables, 0, sizeof(tables));
	memset(&map, 0, sizeof(map));
	map.paging = (struct kvmbpf_paging_state){ .mode = KVMBPF_PAGING_4LEVEL, .nx = 1 };
}

TestSuite(kernel_map, .init = begin);

/* Table 0 is the root; an entry's address is that of the table of its number. */
static uint64_t to(unsigned int table)
{
	return (uint64_t)table << 12 | P | RW;
}

static int walk(unsigned int most)
{
	uint64_t gpa;
	int err;

	map.table[0] = (struct kernel_map_table){
		.gva = 0xffff000000000000ULL,
		.rights = KVMBPF_RIGHT_WRITE | KVMBPF_RIGHT_USER | KVMBPF_RIGHT_EXEC,
		.next = KERNEL_MAP_ENTRIES / 2,
	};
	memcpy(map.table[0].entries, tables[0], sizeof(tables[0]));
	kernel_map_enter(&map);
	while (most && kernel_map_next(&map, &gpa, &err)) {
		cr_assert_lt(gpa >> 12, TABLES);
		memcpy(map.table[map.depth].entries, tables[gpa >> 12], sizeof(tables[0]));
		kernel_map_enter(&map);
		most--;
	}
	return most ? err : -EAGAIN;
}

Test(kernel_map, pages_in_a_row_are_one_range_and_what_has_nx_is_none)
{
	tables[0][511] = to(1);
	tables[1][510] = to(2);
	tables[2][0] = to(3);
	tables[3][4] = 0x100000 | P;
	tables[3][5] = 0x300000 | P;
	tables[3][6] = 0x200000 | P | NX;
	tables[3][7] = 0x400000 | P | RW;
	tables[2][1] = 0x600000 | P | PS;
	tables[2][2] = 0x800000 | P | PS | NX;
	cr_assert(eq(int, walk(100), 0));
	cr_assert(eq(sz, map.count, 3));
	cr_assert(eq(u64, map.ranges[0].start, 0xffffffff80004000ULL));
	cr_assert(eq(u64, map.ranges[0].end, 0xffffffff80006000ULL));
	cr_assert_not(map.ranges[0].writable);
	cr_assert(eq(u64, map.ranges[1].start, 0xffffffff80007000ULL));
	cr_assert(map.ranges[1].writable);
	cr_assert(eq(u64, map.ranges[2].start, 0xffffffff80200000ULL));
	cr_assert(eq(u64, map.ranges[2].end, 0xffffffff80400000ULL));
}

Test(kernel_map, a_right_that_one_level_takes_is_gone)
{
	tables[0][511] = 1 << 12 | P; /* no write */
	tables[1][510] = to(2);
	tables[1][511] = to(2) | NX;
	tables[2][0] = 0x600000 | P | RW | PS;
	cr_assert(eq(int, walk(100), 0));
	cr_assert(eq(sz, map.count, 1));
	cr_assert(eq(u64, map.ranges[0].start, 0xffffffff80000000ULL));
	cr_assert_not(map.ranges[0].writable);
}

Test(kernel_map, user_half_is_not_looked_at)
{
	tables[0][0] = to(1);
	tables[1][0] = to(2);
	tables[2][0] = 0x600000 | P | PS;
	cr_assert(eq(int, walk(100), 0));
	cr_assert(eq(sz, map.count, 0));
}

Test(kernel_map, tables_that_lead_to_themselves_give_ranges_up_to_a_bound)
{
	tables[0][256] = to(1);
	for (int i = 0; i < KERNEL_MAP_ENTRIES; i += 2)
		tables[1][i] = to(1);
	cr_assert(eq(int, walk(LEAVES), -ENOBUFS));
	cr_assert(eq(sz, map.count, KERNEL_MAP_RANGES_MAX));
	cr_assert_leq(map.depth, 4);
}

Test(kernel_map, what_no_owner_has_is_left)
{
	const struct ka_code_range mapped[] = { { 0x1000, 0x5000, false }, { 0x8000, 0x9000, true } };
	const struct ka_code_range owned[] = { { 0x0, 0x2000, false },
					       { 0x1000, 0x1800, false },
					       { 0x3000, 0x4000, false } };
	struct ka_code_range left[4];

	cr_assert(eq(sz, ka_code_unowned(mapped, 2, owned, 3, left, 4), 3));
	cr_assert(eq(u64, left[0].start, 0x2000));
	cr_assert(eq(u64, left[0].end, 0x3000));
	cr_assert(eq(u64, left[1].start, 0x4000));
	cr_assert(eq(u64, left[1].end, 0x5000));
	cr_assert(eq(u64, left[2].start, 0x8000));
	cr_assert(left[2].writable);
	cr_assert(eq(sz, ka_code_unowned(mapped, 2, owned, 3, left, 1), 3));
	cr_assert(eq(sz, ka_code_unowned(mapped, 2, mapped, 2, left, 4), 0));
}
