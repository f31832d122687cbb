// SPDX-License-Identifier: LGPL-2.1-or-later
/* The kallsyms tables of all layouts, and ones that lie. */
#include "access/kallsyms.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access/symbols_build.h"
#include "kernel_image.h"

enum { COUNT = 1000 };

static struct image_symbol list[COUNT];
static char names[COUNT][400];

/*
 * Two per-CPU offsets, where @percpu, then _text and functions, of which some have names long
 * enough for a length of two bytes.
 */
static void list_fill(unsigned int bits, bool percpu)
{
	uint64_t base = image_base(bits);
	unsigned int i;

	for (i = 0; i < COUNT; i++) {
		snprintf(names[i], sizeof(names[i]), "__x64_sys_do%u", i);
		if (i % 100 == 99)
			memset(names[i] + strlen(names[i]), 'z', 300);
		list[i] = (struct image_symbol){ base + i * 64, i % 3 ? 'T' : 't', names[i] };
	}
	list[2] = (struct image_symbol){ base, 'T', "_text" };
	if (percpu) {
		list[0] = (struct image_symbol){ 0, 'A', "fixed_percpu_data" };
		list[1] = (struct image_symbol){ 0x6000, 'A', "cpu_tss_rw" };
	} else {
		list[0] = (struct image_symbol){ base, 'T', "startup" };
		list[1] = (struct image_symbol){ base, 'T', "_stext" };
	}
}

static int load(const struct kallsyms_image *image, const struct kallsyms_tables *tables,
		struct ka_symbols **ret_symbols)
{
	struct ka_symbols *symbols;
	int err;

	cr_assert(eq(int, symbols_create(&symbols), 0));
	err = kallsyms_parse(image, tables, symbols);
	if (!err)
		err = symbols_seal(symbols);
	if (!err)
		*ret_symbols = symbols;
	else
		ka_symbols_free(symbols);
	return err;
}

static void check_all_found(const struct ka_symbols *symbols)
{
	unsigned int i;
	uint64_t addr;

	cr_assert(eq(sz, symbols_count(symbols), COUNT));
	for (i = 0; i < COUNT; i++) {
		cr_assert(eq(int, ka_symbols_find(symbols, list[i].name, &addr), 0), "%s",
			  list[i].name);
		cr_assert(eq(u64, addr, list[i].addr), "%s", list[i].name);
	}
}

static void check_layout(struct image_options options)
{
	struct kallsyms_tables tables;
	struct ka_symbols *symbols;
	struct image image;

	list_fill(options.bits, options.absolute_percpu);
	image = image_create(&options, list, COUNT);
	cr_assert(eq(int, kallsyms_locate(&image.kallsyms, &tables), 0));
	cr_assert(eq(int, memcmp(&tables, &image.tables, sizeof(tables)), 0));
	cr_assert(eq(int, load(&image.kallsyms, &tables, &symbols), 0));
	check_all_found(symbols);
	cr_assert(eq(u32, ka_symbols_64bit(symbols) ? 64 : 32, options.bits));
	ka_symbols_free(symbols);
	image_destroy(&image);
}

Test(kallsyms, layout_before_6_4)
{
	check_layout((struct image_options){ IMAGE_BEFORE_6_4, 64, true, 0, false });
	check_layout((struct image_options){ IMAGE_BEFORE_6_4, 64, false, 0, false });
}

Test(kallsyms, sequence_numbers_may_stand_before_the_tokens)
{
	check_layout((struct image_options){ IMAGE_BEFORE_6_4, 64, true, 4, false });
	check_layout((struct image_options){ IMAGE_BEFORE_6_4, 64, true, 3, false });
}

Test(kallsyms, layout_since_6_4)
{
	check_layout((struct image_options){ IMAGE_SINCE_6_4, 64, true, 0, false });
	check_layout((struct image_options){ IMAGE_SINCE_6_4, 64, false, 0, false });
}

Test(kallsyms, layout_since_7_0)
{
	check_layout((struct image_options){ IMAGE_SINCE_7_0, 64, false, 0, false });
}

Test(kallsyms, layouts_of_32_bit_kernels)
{
	check_layout((struct image_options){ IMAGE_BEFORE_6_4, 32, false, 0, false });
	check_layout((struct image_options){ IMAGE_BEFORE_6_4, 32, false, 4, false });
	check_layout((struct image_options){ IMAGE_SINCE_6_4, 32, false, 0, false });
	check_layout((struct image_options){ IMAGE_SINCE_7_0, 32, false, 0, false });
}

Test(kallsyms, percpu_offsets_are_values_and_have_no_name_by_address)
{
	struct image_options options = { IMAGE_SINCE_6_4, 64, true, 0, false };
	struct kallsyms_tables tables;
	struct ka_symbols *symbols;
	struct image image;
	uint64_t addr, offset;

	list_fill(64, true);
	image = image_create(&options, list, COUNT);
	cr_assert(eq(int, kallsyms_locate(&image.kallsyms, &tables), 0));
	cr_assert(eq(int, load(&image.kallsyms, &tables, &symbols), 0));
	cr_assert(eq(int, ka_symbols_find(symbols, "cpu_tss_rw", &addr), 0));
	cr_assert(eq(u64, addr, 0x6000));
	cr_assert(eq(ptr, (void *)ka_symbols_name(symbols, 0x6000, &offset), NULL));
	cr_assert(eq(str, (char *)ka_symbols_name(symbols, image_base(64), &offset), "_text"));
	ka_symbols_free(symbols);
	image_destroy(&image);
}

/* What vmcoreinfo of a guest gives: no markers; and the guest was moved by KASLR. */
Test(kallsyms, tables_can_be_named_instead_of_found)
{
	struct image_options options = { IMAGE_BEFORE_6_4, 64, true, 0, false };
	const uint64_t slide = 0x12000000;
	struct kallsyms_tables tables;
	struct ka_symbols *symbols;
	struct image image;
	uint64_t addr, base = image_base(64) + slide;

	list_fill(64, true);
	image = image_create(&options, list, COUNT);
	memcpy(image.bytes + (image.tables.relative_base - image_base(64)), &base, sizeof(base));
	image.kallsyms.base += slide;
	tables = (struct kallsyms_tables){
		.num_syms = image.tables.num_syms + slide,
		.names = image.tables.names + slide,
		.token_table = image.tables.token_table + slide,
		.token_index = image.tables.token_index + slide,
		.offsets = image.tables.offsets + slide,
		.relative_base = image.tables.relative_base + slide,
	};
	cr_assert(eq(int, load(&image.kallsyms, &tables, &symbols), 0));
	cr_assert(eq(int, ka_symbols_find(symbols, "_text", &addr), 0));
	cr_assert(eq(u64, addr, base));
	ka_symbols_free(symbols);
	image_destroy(&image);
}

/* An image whose tables a test spoils. */
static struct image image;

static void image_setup(void)
{
	struct image_options options = { IMAGE_BEFORE_6_4, 64, true, 0, false };

	list_fill(64, true);
	image = image_create(&options, list, COUNT);
}

static void image_cleanup(void)
{
	image_destroy(&image);
}

static uint8_t *bytes_at(uint64_t addr)
{
	return image.bytes + (addr - image.kallsyms.base);
}

static int parse_result(const struct kallsyms_tables *tables)
{
	struct ka_symbols *symbols;
	int err = load(&image.kallsyms, tables, &symbols);

	if (!err)
		ka_symbols_free(symbols);
	return err;
}

TestSuite(hostile, .init = image_setup, .fini = image_cleanup);

Test(hostile, nothing_to_find)
{
	struct kallsyms_tables tables = { .names = 77 };

	memset(image.bytes, 0, image.len);
	cr_assert(eq(int, kallsyms_locate(&image.kallsyms, &tables), -ENOENT));
	memset(image.bytes, 0xff, image.len);
	cr_assert(eq(int, kallsyms_locate(&image.kallsyms, &tables), -ENOENT));
	image.kallsyms.len = 100;
	cr_assert(eq(int, kallsyms_locate(&image.kallsyms, &tables), -ENOENT));
	cr_assert(eq(u64, tables.names, 77), "untouched on failure");
	image.kallsyms.base += 4;
	cr_assert(eq(int, kallsyms_locate(&image.kallsyms, &tables), -EINVAL));
}

Test(hostile, tables_outside_the_image)
{
	uint64_t base = image.kallsyms.base, end = base + image.len;
	const uint64_t bad[] = { 0, 1, base - 1, end, end - 1, ~0ULL };
	size_t i, field;

	/* Each field in turn; relative_base, where 0 is meaningful, apart. */
	for (field = 0; field < 7; field++) {
		for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			struct kallsyms_tables tables = image.tables;

			memcpy((char *)&tables + 8 * field, &bad[i], 8);
			if ((field == 2 || field == 6) && bad[i] == 0)
				continue;
			cr_expect(eq(int, parse_result(&tables), -EBADMSG), "field %zu case %zu",
				  field, i);
		}
	}
}

Test(hostile, count_that_is_too_large)
{
	const uint32_t bad[] = { 0, 0xffffffff, SYMBOLS_COUNT_MAX + 1, 0x40000000, 100000 };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(bytes_at(image.tables.num_syms), &bad[i], 4);
		cr_expect(eq(int, parse_result(&image.tables), -EBADMSG), "case %zu", i);
	}
}

Test(hostile, names_that_run_away)
{
	memset(bytes_at(image.tables.names), 0xff, 2000);
	cr_assert(eq(int, parse_result(&image.tables), -EBADMSG));
	memset(bytes_at(image.tables.names), 0, 2000);
	cr_assert(eq(int, parse_result(&image.tables), -EBADMSG));
}

Test(hostile, names_that_grow_without_end)
{
	/* A name of 16 KiB of codes that each stand for ten letters. */
	memset(bytes_at(image.tables.names), 0x80, 17000);
	bytes_at(image.tables.names)[0] = 0xff;
	bytes_at(image.tables.names)[1] = 0x7f;
	image.tables.markers = 0;
	cr_assert(eq(int, parse_result(&image.tables), -EBADMSG));
}

Test(hostile, markers_that_disagree)
{
	bytes_at(image.tables.markers)[4] ^= 1;
	cr_assert(eq(int, parse_result(&image.tables), -EBADMSG));
}

Test(hostile, token_index_that_points_elsewhere)
{
	bytes_at(image.tables.token_index)[2 * 'x'] ^= 1;
	cr_assert(eq(int, parse_result(&image.tables), -EBADMSG));
}

Test(hostile, tokens_that_are_no_text)
{
	uint16_t at;

	memcpy(&at, bytes_at(image.tables.token_index) + 2 * 'x', 2);
	*(bytes_at(image.tables.token_table) + at) = '\n';
	cr_assert(eq(int, parse_result(&image.tables), -EBADMSG));
}

Test(hostile, addresses_that_do_not_ascend)
{
	uint32_t offset = -1;

	memcpy(bytes_at(image.tables.offsets) + 4 * 500, &offset, 4);
	cr_assert(eq(int, parse_result(&image.tables), -EBADMSG));
}

Test(hostile, addresses_below_the_kernel)
{
	uint64_t base = 0x1000;

	memcpy(bytes_at(image.tables.relative_base), &base, 8);
	cr_assert(eq(int, parse_result(&image.tables), -EBADMSG));
}

Test(hostile, names_without_addresses_are_not_supported)
{
	struct kallsyms_tables tables;
	uint64_t base = 0;

	memcpy(bytes_at(image.tables.relative_base), &base, 8);
	cr_assert(eq(int, kallsyms_locate(&image.kallsyms, &tables), -EPROTONOSUPPORT));
}

Test(hostile, failed_parse_leaves_no_symbols_behind)
{
	struct ka_symbols *symbols;

	/* Most names are read by then. */
	bytes_at(image.tables.markers)[4 * (COUNT / 256)] ^= 1;
	cr_assert(eq(int, symbols_create(&symbols), 0));
	cr_assert(eq(int, kallsyms_parse(&image.kallsyms, &image.tables, symbols), -EBADMSG));
	cr_assert(eq(sz, symbols_count(symbols), 0));
	ka_symbols_free(symbols);
}

/* Bytes made to look like a beginning of everything, everywhere. */
Test(hostile, search_ends)
{
	struct kallsyms_image big = { .len = 8 << 20, .base = image_base(64), .bits = 64 };
	uint8_t *bytes = malloc(big.len);
	struct kallsyms_tables tables;
	size_t i;

	for (i = 0; i < big.len; i += 2) {
		uint16_t ascending = (i / 2) % 256 * 2;

		memcpy(bytes + i, &ascending, 2);
	}
	big.bytes = bytes;
	cr_assert(lt(int, kallsyms_locate(&big, &tables), 0));
	free(bytes);
}
