// SPDX-License-Identifier: LGPL-2.1-or-later
/* What may change in a GDT and what may not. */
#include <criterion/criterion.h>
#include <string.h>

#include "monitor/check_gdt.h"

enum { ENTRIES = 16 };

/* As a Linux 6.1 guest has it. */
static const uint64_t linux64_gdt[ENTRIES] = {
	[1] = 0x00cf9b000000ffff, [2] = 0x00af9b000000ffff, [3] = 0x00cf93000000ffff,
	[4] = 0x00cffb000000ffff, [5] = 0x00cff3000000ffff, [6] = 0x00affb000000ffff,
	[8] = 0xfe008b1230004087, [9] = 0x00000000fffffe00, [15] = 0x0040f50000000001,
};

static uint64_t expected[ENTRIES], observed[ENTRIES];

static void setup(void)
{
	memcpy(expected, linux64_gdt, sizeof(expected));
	gdt_settle(gdt_layout(true, 127), (uint8_t *)expected, sizeof(expected));
	memcpy(observed, linux64_gdt, sizeof(observed));
}

TestSuite(gdt, .init = setup);

static size_t differences(uint16_t *ret_first)
{
	uint16_t index[ENTRIES] = { 0 };
	size_t count = gdt_differences(gdt_layout(true, 127), (uint8_t *)expected,
				       (uint8_t *)observed, sizeof(observed), index, ENTRIES);

	if (ret_first)
		*ret_first = index[0];
	return count;
}

Test(gdt, what_the_cpu_sets_is_no_difference)
{
	cr_assert_eq(differences(NULL), 0);
	for (int i = 1; i <= 6; i++)
		observed[i] ^= 1ull << 40; /* accessed */
	observed[8] ^= 1ull << 41;	   /* busy */
	cr_assert_eq(differences(NULL), 0);
}

Test(gdt, dpl_of_each_fixed_entry_is_a_difference)
{
	uint16_t index;

	for (uint16_t i = 0; i < 8; i++) {
		setup();
		observed[i] ^= 3ull << 45;
		cr_assert_eq(differences(&index), 1, "%u", i);
		cr_assert_eq(index, i);
	}
}

Test(gdt, a_tss_that_moves_is_a_difference)
{
	uint16_t index;

	observed[9] ^= 1;
	cr_assert_eq(differences(&index), 1);
	cr_assert_eq(index, 8);
	setup();
	observed[8] ^= 1ull << 20;
	cr_assert_eq(differences(&index), 1);
	setup();
	observed[8] = (observed[8] & ~(15ull << 40)) | 12ull << 40; /* a call gate */
	cr_assert_eq(differences(&index), 1);
}

Test(gdt, ldt_may_come_and_go_in_the_kernel_half)
{
	observed[10] = 0x800082123000ffff;
	observed[11] = 0x00000000ffff8880;
	cr_assert_eq(differences(NULL), 0);
	observed[11] = 0; /* in the user's half */
	cr_assert_eq(differences(NULL), 1);
	observed[11] = 0x00000000ffff8880;
	observed[10] |= 3ull << 45;
	cr_assert_eq(differences(NULL), 1);
	observed[10] = 0x8000ec1234108888; /* a call gate */
	cr_assert_eq(differences(NULL), 1);
}

Test(gdt, tls_takes_user_segments_only)
{
	static const struct {
		uint64_t raw;
		size_t differences;
	} cases[] = {
		{ 0, 0 },
		{ 0x00cff3000000ffff, 0 }, /* user data */
		{ 0x40dff3123456ffff, 0 }, /* with a base */
		{ 0x00cff2000000ffff, 0 },
		{ 0x00cf93000000ffff, 1 }, /* DPL 0 */
		{ 0x00cfb3000000ffff, 1 }, /* DPL 1 */
		{ 0x00affb000000ffff, 1 }, /* 64-bit code */
		{ 0x0000ec0000108888, 1 }, /* a call gate that users may take */
		{ 0x0000890000000067, 1 }, /* a TSS */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (int entry = 12; entry <= 14; entry++) {
			setup();
			observed[entry] = cases[i].raw;
			cr_assert_eq(differences(NULL), cases[i].differences, "%zu", i);
		}
}

Test(gdt, what_is_wrong_from_the_start_is_a_difference)
{
	uint16_t index;

	observed[13] = 0x00cf93000000ffff;
	memcpy(expected, observed, sizeof(expected));
	gdt_settle(gdt_layout(true, 127), (uint8_t *)expected, sizeof(expected));
	cr_assert_eq(differences(&index), 1);
	cr_assert_eq(index, 13);
}

Test(gdt, cpu_number_is_fixed_for_its_cpu)
{
	uint16_t index;

	observed[15] ^= 1;
	cr_assert_eq(differences(&index), 1);
	cr_assert_eq(index, 15);
	cr_assert_eq(gdt_rule(gdt_layout(true, 127), 15), GDT_PER_CPU);
}

Test(gdt, layout_of_32bit_linux)
{
	const struct gdt_layout *layout = gdt_layout(false, 255);
	uint64_t want[32] = { [12] = 0x00cf9b000000ffff,
			      [18] = 0x00409b000000ffff,
			      [26] = 0x00cf93000000ffff,
			      [31] = 0xc1008b123000206b },
		 is[32];
	uint16_t index[32];

	memcpy(is, want, sizeof(is));
	is[6] = 0xb7dff3123456ffff;  /* TLS */
	is[18] = 0x00409b00f000ffff; /* PNP BIOS moves its segments */
	is[26] ^= 0xff00001200000000ull & 0xff0000ff00000000ull;
	is[31] &= ~(1ull << 41);
	cr_assert_eq(gdt_differences(layout, (uint8_t *)want, (uint8_t *)is, sizeof(is), index, 32),
		     0);
	is[12] |= 3ull << 45;
	is[18] |= 3ull << 45;
	cr_assert_eq(gdt_differences(layout, (uint8_t *)want, (uint8_t *)is, sizeof(is), index, 32),
		     2);
	cr_assert_eq(index[0], 12);
	cr_assert_eq(index[1], 18);
}

Test(gdt, other_systems_have_nothing_that_moves)
{
	const struct gdt_layout *layout = gdt_layout(true, 0x57);
	uint64_t want[11] = { [2] = 0x00209b0000000000 }, is[11];

	memcpy(is, want, sizeof(is));
	is[5] = 1;
	cr_assert_eq(gdt_differences(layout, (uint8_t *)want, (uint8_t *)is, sizeof(is), NULL, 0),
		     1);
	cr_assert_str_eq(layout->name, "other64");
}
