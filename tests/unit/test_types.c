// SPDX-License-Identifier: LGPL-2.1-or-later
/* Struct layouts from BTF: sound, contradictory and circular. */
#include "access/types.h"

#include <bpf/btf.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct btf *btf;
static struct ka_types *types;
static struct ka_member member;

static void begin(void)
{
	btf = btf__new_empty();
	cr_assert_not_null(btf);
	/* How wide pointers are, libbpf tells from this type. */
	btf__add_int(btf, "long unsigned int", 8, 0);
	member = (struct ka_member){ .offset = 77, .size = 77 };
}

static void end(void)
{
	btf__free(btf);
	ka_types_free(types);
	btf = NULL;
	types = NULL;
}

TestSuite(types, .init = begin, .fini = end);

static void parse(void)
{
	const void *bytes;
	uint32_t len;

	bytes = btf__raw_data(btf, &len);
	cr_assert(eq(int, types_parse(bytes, len, &types), 0));
}

static int find(const char *name, const char *path)
{
	return ka_types_member(types, name, path, &member);
}

static void expect(const char *name, const char *path, uint32_t offset, uint32_t size)
{
	cr_assert(eq(int, find(name, path), 0), "%s.%s", name, path);
	cr_assert(eq(u32, member.offset, offset), "%s.%s", name, path);
	cr_assert(eq(u32, member.size, size), "%s.%s", name, path);
}

/* struct list_head { struct list_head *next, *prev; }: its id. */
static int add_list_head(void)
{
	int head = btf__add_struct(btf, "list_head", 16);

	cr_assert_eq(btf__add_field(btf, "next", head + 1, 0, 0), 0);
	cr_assert_eq(btf__add_field(btf, "prev", head + 1, 64, 0), 0);
	cr_assert_eq(btf__add_ptr(btf, head), head + 1);
	return head;
}

Test(types, members_of_members_lie_at_the_sum_of_their_offsets)
{
	int head = add_list_head();

	btf__add_struct(btf, "module", 40);
	btf__add_field(btf, "list", head, 64, 0);
	parse();
	expect("module", "list", 8, 16);
	expect("module", "list.prev", 16, 8);
	cr_assert(eq(int, find("module", "list.last"), -ENOENT));
	cr_assert(eq(int, find("modules", "list"), -ENOENT));
}

Test(types, typedefs_and_qualifiers_are_seen_through)
{
	int u32 = btf__add_int(btf, "unsigned int", 4, 0);
	int other = btf__add_typedef(btf, "u32", btf__add_const(btf, u32));
	int again = btf__add_volatile(btf, other);

	btf__add_struct(btf, "thing", 8);
	btf__add_field(btf, "value", again, 32, 0);
	parse();
	expect("thing", "value", 4, 4);
}

Test(types, elements_of_arrays_of_structs)
{
	int u32 = btf__add_int(btf, "unsigned int", 4, 0);
	int memory = btf__add_struct(btf, "module_memory", 24);
	int array;

	btf__add_field(btf, "size", u32, 64, 0);
	array = btf__add_array(btf, u32, memory, 7);
	btf__add_struct(btf, "module", 200);
	btf__add_field(btf, "mem", array, 64, 0);
	parse();
	expect("module", "mem", 8, 168);
	expect("module", "mem[2]", 56, 24);
	expect("module", "mem[6].size", 160, 4);
	cr_assert(eq(int, find("module", "mem[7].size"), -ENOENT));
	cr_assert(eq(int, find("module", "mem.size"), -ENOENT));
}

Test(types, unnamed_structs_are_part_of_what_holds_them)
{
	int u64 = btf__add_int(btf, "u64", 8, 0);
	int inner = btf__add_struct(btf, NULL, 16);
	int outer;

	btf__add_field(btf, "deep", u64, 64, 0);
	outer = btf__add_union(btf, NULL, 16);
	btf__add_field(btf, NULL, inner, 0, 0);
	btf__add_struct(btf, "page", 32);
	btf__add_field(btf, "flags", u64, 0, 0);
	btf__add_field(btf, NULL, outer, 64, 0);
	parse();
	expect("page", "deep", 16, 8);
}

Test(types, bit_fields_have_no_place_in_bytes)
{
	int u32 = btf__add_int(btf, "unsigned int", 4, 0);

	btf__add_struct(btf, "flags", 4);
	btf__add_field(btf, "low", u32, 0, 3);
	btf__add_field(btf, "high", u32, 3, 29);
	parse();
	cr_assert(eq(int, find("flags", "low"), -ENOENT));
	cr_assert(eq(int, find("flags", "high"), -ENOENT));
}

Test(types, paths_that_are_none_are_refused)
{
	static const char *const paths[] = { ".", "list.", "list..next", "[0]", "list[", "list[x]",
					     "list[0", "list[0]x" };

	int head = add_list_head();

	btf__add_struct(btf, "module", 40);
	btf__add_field(btf, "list", head, 64, 0);
	parse();
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		cr_assert(eq(int, find("module", paths[i]), -EINVAL), "%s", paths[i]);
	cr_assert(eq(u32, member.offset, 77));
}

Test(types, a_member_beyond_its_struct_is_a_contradiction)
{
	int u64 = btf__add_int(btf, "u64", 8, 0);

	btf__add_struct(btf, "small", 8);
	btf__add_field(btf, "far", u64, 8 * 0x100000, 0);
	parse();
	cr_assert(eq(int, find("small", "far"), -EBADMSG));
}

/* Each struct holds the next twice, unnamed: 2^n ways through n of them. */
Test(types, a_search_among_structs_that_hold_each_other_ends, .timeout = 10)
{
	enum { CIRCLE = 3 };

	int first = btf__type_cnt(btf);

	for (int i = 0; i < CIRCLE; i++) {
		btf__add_struct(btf, i ? NULL : "circle", 8);
		for (int field = 0; field < 64; field++)
			btf__add_field(btf, NULL, first + (i + 1) % CIRCLE, 0, 0);
	}
	parse();
	cr_assert(eq(int, find("circle", "nothing"), -ENOENT));
}

Test(types, typedefs_in_a_circle_end)
{
	int first = btf__type_cnt(btf);

	btf__add_typedef(btf, "a", first + 1);
	btf__add_typedef(btf, "b", first);
	btf__add_struct(btf, "thing", 8);
	btf__add_field(btf, "value", first, 0, 0);
	parse();
	cr_assert(eq(int, find("thing", "value"), -ENOENT));
}

Test(types, of_namesakes_the_first_struct_is_meant)
{
	int u32 = btf__add_int(btf, "unsigned int", 4, 0);

	btf__add_union(btf, "thing", 4);
	btf__add_field(btf, "of_union", u32, 0, 0);
	btf__add_struct(btf, "thing", 8);
	btf__add_field(btf, "of_first", u32, 32, 0);
	btf__add_struct(btf, "thing", 8);
	btf__add_field(btf, "of_second", u32, 32, 0);
	btf__add_union(btf, "other", 4);
	btf__add_field(btf, "of_union", u32, 0, 0);
	parse();
	expect("thing", "of_first", 4, 4);
	cr_assert(eq(int, find("thing", "of_second"), -ENOENT));
	cr_assert(eq(int, find("thing", "of_union"), -ENOENT));
	expect("other", "of_union", 0, 4);
}

Test(types, each_of_many_is_found)
{
	enum { MANY = 5000 };
	int u32 = btf__add_int(btf, "unsigned int", 4, 0);
	char name[16];

	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		btf__add_struct(btf, name, 4 * (i + 1));
		btf__add_field(btf, "last", u32, 32 * i, 0);
	}
	parse();
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		expect(name, "last", 4 * i, 4);
	}
	cr_assert(eq(int, find("s5000", "last"), -ENOENT));
}

Test(types, bytes_that_are_no_btf_are_refused)
{
	static const uint8_t bytes[64] = { 0x9f, 0xeb, 1 };

	cr_assert(eq(int, types_parse(bytes, sizeof(bytes), &types), -EBADMSG));
	cr_assert(eq(int, types_parse(bytes, 0, &types), -EBADMSG));
	cr_assert_null(types);
}

/* The kernel that runs here: what its headers fix. */
Test(types, of_a_real_kernel)
{
	static uint8_t bytes[32 << 20];
	FILE *file = fopen("/sys/kernel/btf/vmlinux", "re");
	uint32_t size;
	size_t len;

	if (!file)
		cr_skip_test("this kernel has no /sys/kernel/btf/vmlinux");
	len = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	cr_assert(eq(int, types_parse(bytes, len, &types), 0));
	cr_assert(gt(sz, ka_types_count(types), 10000));
	expect("list_head", "prev", 8, 8);
	cr_assert(eq(int, ka_types_size(types, "list_head", &size), 0));
	cr_assert(eq(u32, size, 16));
	cr_assert(eq(int, find("task_struct", "comm"), 0));
	cr_assert(eq(u32, member.size, 16));
	cr_assert(eq(int, find("task_struct", "tasks.next"), 0));
	cr_assert(eq(u32, member.size, 8));
}
