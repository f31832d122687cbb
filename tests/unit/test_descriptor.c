// SPDX-License-Identifier: LGPL-2.1-or-later
/* Segment descriptors and gates, as kernels and the manuals write them. */
#include "access/descriptor.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <string.h>

static struct ka_descriptor decode(uint64_t low, uint64_t high, bool long_mode)
{
	uint64_t raw[2] = { low, high };
	struct ka_descriptor desc;

	cr_assert(eq(int, ka_descriptor_decode(raw, sizeof(raw), long_mode, &desc), 0));
	return desc;
}

static struct ka_gate decode_gate(uint64_t low, uint64_t high, bool long_mode)
{
	uint64_t raw[2] = { low, high };
	struct ka_gate gate;

	cr_assert(eq(int, ka_gate_decode(raw, sizeof(raw), long_mode, &gate), 0));
	return gate;
}

/* __KERNEL_CS of 64-bit Linux. */
Test(descriptor, kernel_code_64)
{
	struct ka_descriptor desc = decode(0x00af9b000000ffff, 0, true);

	cr_assert(eq(str, (char *)ka_descriptor_type_name(&desc), "code64"));
	cr_assert(eq(u64, desc.base, 0));
	cr_assert(eq(u32, desc.limit, 0xffffffff));
	cr_assert(eq(int, desc.type, DESCRIPTOR_CODE | DESCRIPTOR_WRITABLE | DESCRIPTOR_ACCESSED));
	cr_assert(eq(int, desc.dpl, 0));
	cr_assert(eq(int, desc.size, 8));
	cr_assert(desc.present && desc.long_mode && desc.granularity);
	cr_assert(not(desc.system || desc.db || desc.avl));
}

/* __USER_DS of 64-bit Linux. */
Test(descriptor, user_data)
{
	struct ka_descriptor desc = decode(0x00cff3000000ffff, 0, true);

	cr_assert(eq(str, (char *)ka_descriptor_type_name(&desc), "data"));
	cr_assert(eq(int, desc.dpl, 3));
	cr_assert(desc.db);
}

Test(descriptor, base_and_limit_are_put_together)
{
	struct ka_descriptor desc = decode(0x12109a3456789abc, 0, false);

	cr_assert(eq(u64, desc.base, 0x12345678));
	cr_assert(eq(u32, desc.limit, 0x09abc));
	cr_assert(desc.avl);
	desc = decode(0x129f9a3456789abc, 0, false);
	cr_assert(eq(u32, desc.limit, 0xf9abcfff));
}

Test(descriptor, tss_takes_16_bytes_in_long_mode_only)
{
	uint64_t low = 0xfe008b1230004087, high = 0x00000000fffffe00;
	struct ka_descriptor desc = decode(low, high, true);

	cr_assert(eq(int, desc.size, 16));
	cr_assert(eq(u64, desc.base, 0xfffffe00fe123000));
	cr_assert(eq(u32, desc.limit, 0x4087));
	cr_assert(eq(str, (char *)ka_descriptor_type_name(&desc), "tss64 busy"));
	desc = decode(low, high, false);
	cr_assert(eq(int, desc.size, 8));
	cr_assert(eq(u64, desc.base, 0xfe123000));
	cr_assert(eq(u64, desc.raw[1], 0));
	cr_assert(eq(str, (char *)ka_descriptor_type_name(&desc), "tss32 busy"));
}

Test(descriptor, cut_off_is_an_error)
{
	uint64_t tss = 0x00008b0000000067;
	struct ka_descriptor desc;

	cr_assert(eq(int, ka_descriptor_decode(&tss, 7, false, &desc), -EMSGSIZE));
	cr_assert(eq(int, ka_descriptor_decode(&tss, 8, false, &desc), 0));
	cr_assert(eq(int, ka_descriptor_decode(&tss, 8, true, &desc), -EMSGSIZE));
}

Test(descriptor, names)
{
	static const struct {
		uint64_t low;
		bool long_mode;
		const char *name;
	} cases[] = {
		{ 0, true, "null" },
		{ 0x00af9b000000ffff, true, "code64" },
		{ 0x00cf9b000000ffff, true, "code32" },
		{ 0x000f9b000000ffff, true, "code16" },
		{ 0x00ef9b000000ffff, true, "reserved" },
		{ 0x00cf93000000ffff, true, "data" },
		{ 0x0000890000000067, true, "tss64" },
		{ 0x0000890000000067, false, "tss32" },
		{ 0x0000810000000067, false, "tss16" },
		{ 0x0000830000000067, false, "tss16 busy" },
		{ 0x0000820000000067, true, "ldt" },
		{ 0x0000840000000067, false, "call gate 16" },
		{ 0x00008c0000000067, true, "call gate" },
		{ 0x0000850000000067, false, "task gate" },
		{ 0x00008a0000000067, true, "reserved" },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ka_descriptor desc = decode(cases[i].low, 0, cases[i].long_mode);

		cr_expect(eq(str, (char *)ka_descriptor_type_name(&desc), (char *)cases[i].name));
	}
}

Test(descriptor, encode_gives_back_every_bit)
{
	static const uint64_t cases[][2] = {
		{ 0x00af9b000000ffff, 0 },
		{ 0x12109a3456789abc, 0 },
		{ 0xfe008b1230004087, 0x00000000fffffe00 },
		{ 0xffff82ffffffffff, 0xffffffffffffffff },
		{ 0xffffffffffffffff, 0 },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ka_descriptor desc = decode(cases[i][0], cases[i][1], true);
		uint64_t out[2] = { 0 };

		cr_assert(eq(int, ka_descriptor_encode(&desc, out, sizeof(out)), 0));
		cr_expect(eq(int, memcmp(out, cases[i], desc.size), 0), "case %zu", i);
	}
}

Test(descriptor, encode_makes_one_from_nothing)
{
	struct ka_descriptor desc = {
		.limit = 0xffffffff, .type = 0xb, .size = 8,
		.present = true, .long_mode = true, .granularity = true,
	};
	uint64_t out;

	cr_assert(eq(int, ka_descriptor_encode(&desc, &out, sizeof(out)), 0));
	cr_assert(eq(u64, out, 0x00af9b000000ffff));
}

Test(descriptor, encode_refuses_what_does_not_fit)
{
	const struct ka_descriptor good = decode(0x00af9b000000ffff, 0, true);
	struct ka_descriptor desc;
	uint8_t out[16];

	desc = good;
	desc.limit = 0xffffe000;
	cr_assert(eq(int, ka_descriptor_encode(&desc, out, 16), -EINVAL));
	desc.granularity = false;
	cr_assert(eq(int, ka_descriptor_encode(&desc, out, 16), -EINVAL));
	desc = good;
	desc.base = 1ULL << 32;
	cr_assert(eq(int, ka_descriptor_encode(&desc, out, 16), -EINVAL));
	desc = good;
	desc.type = 16;
	cr_assert(eq(int, ka_descriptor_encode(&desc, out, 16), -EINVAL));
	desc = good;
	desc.dpl = 4;
	cr_assert(eq(int, ka_descriptor_encode(&desc, out, 16), -EINVAL));
	desc = good;
	desc.size = 12;
	cr_assert(eq(int, ka_descriptor_encode(&desc, out, 16), -EINVAL));
	cr_assert(eq(int, ka_descriptor_encode(&good, out, 7), -EMSGSIZE));
}

/* Page fault of 64-bit Linux: asm_exc_page_fault. */
Test(gate, interrupt_gate_64)
{
	struct ka_gate gate = decode_gate(0x81e08e0000100b90, 0x00000000ffffffff, true);

	cr_assert(eq(str, (char *)ka_gate_type_name(&gate), "interrupt gate"));
	cr_assert(eq(u64, gate.offset, 0xffffffff81e00b90));
	cr_assert(eq(int, gate.selector, 0x10));
	cr_assert(eq(int, gate.dpl, 0));
	cr_assert(eq(int, gate.ist, 0));
	cr_assert(eq(int, gate.size, 16));
	cr_assert(gate.present);
}

Test(gate, ist_and_dpl)
{
	struct ka_gate gate = decode_gate(0x81e0ee0300100b90, 0x00000000ffffffff, true);

	cr_assert(eq(int, gate.ist, 3));
	cr_assert(eq(int, gate.dpl, 3));
}

Test(gate, interrupt_gate_32)
{
	struct ka_gate gate = decode_gate(0xc15a8e0000601230, 0, false);

	cr_assert(eq(u64, gate.offset, 0xc15a1230));
	cr_assert(eq(int, gate.selector, 0x60));
	cr_assert(eq(int, gate.size, 8));
}

/* Double fault of 32-bit Linux. */
Test(gate, task_gate_has_no_offset)
{
	struct ka_gate gate = decode_gate(0xabcd850000f81234, 0, false);

	cr_assert(eq(str, (char *)ka_gate_type_name(&gate), "task gate"));
	cr_assert(eq(u64, gate.offset, 0));
	cr_assert(eq(int, gate.selector, 0xf8));
}

Test(gate, call_gate_has_parameters_in_its_32_bit_form)
{
	struct ka_gate gate = decode_gate(0x1234ec1f00105678, 0, false);

	cr_assert(eq(int, gate.params, 31));
	cr_assert(eq(u64, gate.offset, 0x12345678));
	gate = decode_gate(0x1234ec1f00105678, 0, true);
	cr_assert(eq(int, gate.params, 0));
}

Test(gate, cut_off_is_an_error)
{
	uint64_t raw[2] = { 0 };
	struct ka_gate gate;

	cr_assert(eq(int, ka_gate_decode(raw, 7, false, &gate), -EMSGSIZE));
	cr_assert(eq(int, ka_gate_decode(raw, 15, true, &gate), -EMSGSIZE));
}

Test(gate, names)
{
	static const struct {
		uint64_t low;
		bool long_mode;
		const char *name;
	} cases[] = {
		{ 0, true, "null" },
		{ 0x00008e0000100000, true, "interrupt gate" },
		{ 0x00008f0000100000, true, "trap gate" },
		{ 0x00008c0000100000, true, "call gate" },
		{ 0x0000850000100000, true, "reserved" },
		{ 0x00009e0000100000, true, "reserved" },
		{ 0x0000840000100000, false, "call gate 16" },
		{ 0x0000850000100000, false, "task gate" },
		{ 0x0000860000100000, false, "interrupt gate 16" },
		{ 0x0000870000100000, false, "trap gate 16" },
		{ 0x0000890000100000, false, "reserved" },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ka_gate gate = decode_gate(cases[i].low, 0, cases[i].long_mode);

		cr_expect(eq(str, (char *)ka_gate_type_name(&gate), (char *)cases[i].name));
	}
}

Test(gate, encode_gives_back_every_bit)
{
	uint64_t raw[2] = { 0x0123456789abcdef, 0xfedcba9876543210 };
	unsigned int type, wide;

	for (type = 0; type < 16; type++) {
		for (wide = 0; wide < 2; wide++) {
			uint64_t low = (raw[0] & ~(0xfULL << 40)) | (uint64_t)type << 40;
			struct ka_gate gate = decode_gate(low, raw[1], wide);
			uint64_t out[2] = { 0 };

			cr_assert(eq(int, ka_gate_encode(&gate, out, sizeof(out)), 0));
			cr_expect(eq(u64, out[0], low));
			cr_expect(eq(u64, out[1], wide ? raw[1] : 0));
		}
	}
}

Test(gate, encode_refuses_what_does_not_fit)
{
	struct ka_gate gate = { .type = GATE_INTERRUPT, .size = 8 };
	uint8_t out[16];

	gate.offset = 1ULL << 32;
	cr_assert(eq(int, ka_gate_encode(&gate, out, 16), -EINVAL));
	gate = (struct ka_gate){ .type = GATE_INTERRUPT, .size = 8, .ist = 1 };
	cr_assert(eq(int, ka_gate_encode(&gate, out, 16), -EINVAL));
	gate = (struct ka_gate){ .type = GATE_INTERRUPT, .size = 16, .ist = 8 };
	cr_assert(eq(int, ka_gate_encode(&gate, out, 16), -EINVAL));
	gate = (struct ka_gate){ .type = GATE_INTERRUPT, .size = 8, .params = 1 };
	cr_assert(eq(int, ka_gate_encode(&gate, out, 16), -EINVAL));
	gate = (struct ka_gate){ .type = GATE_CALL, .size = 8, .params = 32 };
	cr_assert(eq(int, ka_gate_encode(&gate, out, 16), -EINVAL));
	gate = (struct ka_gate){ .type = GATE_TASK, .size = 8, .offset = 1 };
	cr_assert(eq(int, ka_gate_encode(&gate, out, 16), -EINVAL));
	gate = (struct ka_gate){ .type = GATE_INTERRUPT, .size = 9 };
	cr_assert(eq(int, ka_gate_encode(&gate, out, 16), -EINVAL));
	gate = (struct ka_gate){ .type = GATE_INTERRUPT, .size = 16 };
	cr_assert(eq(int, ka_gate_encode(&gate, out, 15), -EMSGSIZE));
}
