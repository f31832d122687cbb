// SPDX-License-Identifier: LGPL-2.1-or-later
/* Instruction lengths: forms that differ, each as the manual has it. */
#include <criterion/criterion.h>
#include <string.h>

#include "access/insn.h"

static const struct {
	uint8_t length, bytes[15];
	const char *text;
} forms[] = {
	{ 1, { 0x90 }, "nop" },
	{ 5, { 0xe8, 1, 2, 3, 4 }, "call" },
	{ 6, { 0x2e, 0xe8, 1, 2, 3, 4 }, "cs call" },
	{ 2, { 0xeb, 0x10 }, "jmp8" },
	{ 6, { 0x0f, 0x84, 1, 2, 3, 4 }, "je" },
	{ 10, { 0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8 }, "movabs" },
	{ 5, { 0xb8, 1, 2, 3, 4 }, "mov $,%eax" },
	{ 4, { 0x66, 0xb8, 1, 2 }, "mov $,%ax" },
	{ 7, { 0x48, 0xc7, 0xc0, 1, 2, 3, 4 }, "mov $,%rax" },
	{ 6, { 0xff, 0x15, 1, 2, 3, 4 }, "call *(%rip)" },
	{ 7, { 0xff, 0x14, 0x25, 1, 2, 3, 4 }, "call *abs" },
	{ 3, { 0xf6, 0xc1, 1 }, "test $,%cl" },
	{ 2, { 0xf6, 0xd1 }, "not %cl" },
	{ 6, { 0xf7, 0xc1, 1, 2, 3, 4 }, "test $,%ecx" },
	{ 8, { 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0 }, "nopl" },
	{ 9, { 0x65, 0x48, 0x8b, 0x04, 0x25, 1, 2, 3, 4 }, "mov %gs:abs,%rax" },
	{ 4, { 0xf3, 0x0f, 0x1e, 0xfa }, "endbr64" },
	{ 5, { 0x0f, 0x38, 0xf0, 0x45, 1 }, "movbe" },
	{ 6, { 0x66, 0x0f, 0x3a, 0x0f, 0xc1, 8 }, "palignr" },
	{ 5, { 0xc4, 0xe2, 0x78, 0xf2, 0xc1 }, "andn" },
	{ 4, { 0xc5, 0xf8, 0x28, 0xc1 }, "vmovaps" },
	{ 6, { 0x62, 0xf1, 0x7c, 0x48, 0x28, 0xc1 }, "evex vmovaps" },
	{ 4, { 0xc8, 1, 2, 3 }, "enter" },
	{ 9, { 0xa1, 1, 2, 3, 4, 5, 6, 7, 8 }, "movabs (moffs)" },
};

Test(insn, forms_have_their_lengths)
{
	struct insn insn;

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		cr_expect(insn_decode(forms[i].bytes, 15, true, &insn), "%s", forms[i].text);
		cr_expect_eq(insn.length, forms[i].length, "%s: %u", forms[i].text, insn.length);
		cr_expect_not(insn_decode(forms[i].bytes, forms[i].length - 1u, true, &insn), "%s",
			      forms[i].text);
	}
}

Test(insn, mode_decides_what_bytes_mean)
{
	static const uint8_t inc[] = { 0x48, 0x90 }, les[] = { 0xc4, 0x00, 0x90 };
	struct insn insn;

	cr_assert(insn_decode(inc, 2, true, &insn));
	cr_expect_eq(insn.length, 2);
	cr_assert(insn_decode(inc, 2, false, &insn));
	cr_expect_eq(insn.length, 1);
	cr_assert(insn_decode(les, 3, false, &insn));
	cr_expect_eq(insn.length, 2);
}

/* Whoever asks where a branch leads reads 4 bytes there, which may be the last ones. */
Test(insn, no_branch_has_16_bits)
{
	static const uint8_t call[] = { 0x66, 0xe8, 1, 2, 3, 4 };
	struct insn insn;

	cr_expect_not(insn_decode(call, 4, false, &insn));
	cr_expect_not(insn_decode(call, 6, false, &insn));
	cr_assert(insn_decode(call, 6, true, &insn));
	cr_expect_eq(insn.imm_size, 4);
}

Test(insn, relative_parts_are_found)
{
	static const uint8_t load[] = { 0x48, 0x8b, 0x05, 1, 2, 3, 4 };
	struct insn insn;

	cr_assert(insn_decode(load, sizeof(load), true, &insn));
	cr_expect(insn.rip_relative);
	cr_expect_eq(insn.disp_at, 3);
	cr_assert(insn_decode(load + 1, sizeof(load) - 1, false, &insn));
	cr_expect_not(insn.rip_relative);
}
