// SPDX-License-Identifier: LGPL-2.1-or-later
/* GDT and IDT as the library decodes them are those that the guest was given. */
#define _GNU_SOURCE
#include <string.h>

#include "guest_image.h"
#include "support.h"

TestSuite(tables, .fini = support_close, .timeout = TEST_TIMEOUT_S);

static struct ka_gate gates[KA_IDT_MAX];
static struct ka_descriptor descriptors[64];

static void load_pointer(uint64_t command, uint64_t table, uint64_t limit)
{
	tinyvm_poke64(&t.vm, GUEST_POINTERS, limit | table << 16);
	tinyvm_poke64(&t.vm, GUEST_POINTERS + 8, table >> 48);
	assert_ok(tinyvm_do(&t.vm, 0, command, gva(GUEST_POINTERS), 0));
}

MODE_TEST(tables, idt_is_what_the_guest_has)
{
	bool long_mode = tinyvm_mode_64bit(mode);
	size_t count = 0;

	support_open(&(struct tinyvm_options){ .mode = mode }, 0);
	assert_ok(ka_idt_read(t.ka, 0, gates, KA_IDT_MAX, &count));
	cr_assert_eq(count, 256);
	for (unsigned int i = 0; i < 256; i++) {
		assert_hex(gates[i].offset, guest_image_handler(mode, i));
		assert_hex(gates[i].selector, long_mode ? 0x10 : 0x60);
		cr_assert_eq(gates[i].type, 14);
		cr_assert_eq(gates[i].present, true);
		cr_assert_eq(gates[i].size, long_mode ? 16 : 8);
		cr_assert_eq(gates[i].dpl, i == 3 || i == 4 || i == 0x80 ? 3 : 0);
		assert_hex(gates[i].raw[0],
			   tinyvm_peek64(&t.vm, GUEST_IDT + i * (long_mode ? 16 : 8)));
	}
	cr_assert_eq(gates[8].ist, long_mode ? 1 : 0);
	cr_assert_eq(gates[14].ist, 0);
}

static void expect_code(const struct ka_descriptor *code, bool long_mode)
{
	cr_assert_eq(code->system, false);
	cr_assert_eq(code->present, true);
	cr_assert_eq(code->type, 11);
	cr_assert_eq(code->dpl, 0);
	cr_assert_eq(code->long_mode, long_mode);
	cr_assert_eq(code->db, !long_mode);
	assert_hex(code->base, 0);
	assert_hex(code->limit, 0xffffffff);
}

MODE_TEST(tables, gdt_is_what_each_vcpu_has)
{
	bool long_mode = tinyvm_mode_64bit(mode);
	unsigned int tss = long_mode ? 8 : 16, code = long_mode ? 2 : 12;

	support_open(&(struct tinyvm_options){ .mode = mode, .vcpus = 3 }, 0);
	for (unsigned int vcpu = 0; vcpu < 3; vcpu++) {
		size_t count = 0;

		assert_ok(ka_gdt_read(t.ka, vcpu, descriptors, 64, &count));
		cr_assert_eq(count, long_mode ? 16 : 32);
		cr_assert_eq(descriptors[0].present, false);
		expect_code(&descriptors[code], long_mode);
		cr_assert_eq(descriptors[tss].system, true);
		cr_assert_eq(descriptors[tss].type, 11);
		cr_assert_eq(descriptors[tss].size, long_mode ? 16 : 8);
		assert_hex(descriptors[tss].base, gva(GUEST_TSS + vcpu * GUEST_STRIDE));
		assert_hex(descriptors[tss].limit, 103);
		if (!long_mode)
			continue;
		cr_assert_eq(descriptors[tss + 1].size, 0);
		cr_assert_eq(descriptors[4].dpl, 3);
		cr_assert_eq(descriptors[15].limit, vcpu);
	}
}

MODE_TEST(tables, idt_is_written_and_read_back)
{
	unsigned int size = tinyvm_mode_64bit(mode) ? 16 : 8, vector = 0x21;
	struct ka_gate gate, back[KA_IDT_MAX];
	uint8_t before[2 * 16], after[2 * 16];
	size_t count;

	support_open(&(struct tinyvm_options){ .mode = mode }, KA_OPEN_WRITE);
	assert_ok(ka_idt_read(t.ka, 0, gates, KA_IDT_MAX, &count));
	assert_ok(tinyvm_peek(&t.vm, GUEST_IDT + (vector + 1) * size, before, size));
	gate = gates[vector];
	gate.offset = gva(GUEST_SCRATCH + 0x1230);
	gate.dpl = 3;
	assert_ok(ka_idt_write(t.ka, 0, vector, &gate));
	assert_ok(ka_idt_read(t.ka, 0, back, KA_IDT_MAX, &count));
	assert_hex(back[vector].offset, gate.offset);
	cr_assert_eq(back[vector].dpl, 3);
	cr_assert_eq(back[vector].selector, gate.selector);
	for (unsigned int i = 0; i < 256; i++)
		cr_assert(i == vector || back[i].raw[0] == gates[i].raw[0]);
	assert_ok(tinyvm_peek(&t.vm, GUEST_IDT + (vector + 1) * size, after, size));
	cr_assert_arr_eq(after, before, size);
	assert_ok(ka_idt_write(t.ka, 0, vector, &gates[vector]));
	assert_hex(tinyvm_peek64(&t.vm, GUEST_IDT + vector * size), gates[vector].raw[0]);
}

MODE_TEST(tables, gdt_is_written_and_read_back)
{
	bool long_mode = tinyvm_mode_64bit(mode);
	unsigned int code = long_mode ? 2 : 12, tss = long_mode ? 8 : 16;
	struct ka_descriptor descriptor, system;
	size_t count;

	support_open(&(struct tinyvm_options){ .mode = mode, .vcpus = 2 }, KA_OPEN_WRITE);
	assert_ok(ka_gdt_read(t.ka, 1, descriptors, 64, &count));
	descriptor = descriptors[code];
	descriptor.dpl = 3;
	assert_ok(ka_gdt_write(t.ka, 1, code, &descriptor));
	assert_hex(tinyvm_peek64(&t.vm, GUEST_GDT + GUEST_STRIDE + 8 * code),
		   descriptors[code].raw[0] | 3ull << 45);
	assert_hex(tinyvm_peek64(&t.vm, GUEST_GDT + 8 * code), descriptors[code].raw[0]);
	system = descriptors[tss];
	system.base = gva(GUEST_SCRATCH);
	assert_ok(ka_gdt_write(t.ka, 1, tss, &system));
	assert_ok(ka_gdt_read(t.ka, 1, descriptors, 64, &count));
	cr_assert_eq(descriptors[code].dpl, 3);
	assert_hex(descriptors[tss].base, gva(GUEST_SCRATCH));
	cr_assert_eq(descriptors[tss].type, 11);
}

Test(tables, write_without_the_flag_is_eperm)
{
	size_t count;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	assert_ok(ka_idt_read(t.ka, 0, gates, KA_IDT_MAX, &count));
	assert_ok(ka_gdt_read(t.ka, 0, descriptors, 64, &count));
	assert_rc(ka_idt_write(t.ka, 0, 1, &gates[1]), -EPERM);
	assert_rc(ka_gdt_write(t.ka, 0, 1, &descriptors[1]), -EPERM);
}

Test(tables, index_beyond_the_limit_is_einval)
{
	size_t count;

	support_open(&(struct tinyvm_options){ 0 }, KA_OPEN_WRITE);
	assert_ok(ka_idt_read(t.ka, 0, gates, KA_IDT_MAX, &count));
	assert_ok(ka_gdt_read(t.ka, 0, descriptors, 64, &count));
	assert_rc(ka_idt_write(t.ka, 0, 256, &gates[1]), -EINVAL);
	assert_rc(ka_gdt_write(t.ka, 0, 16, &descriptors[1]), -EINVAL);
	/* 16 bytes at the last slot would reach past the table. */
	assert_rc(ka_gdt_write(t.ka, 0, 15, &descriptors[8]), -EINVAL);
}

MODE_TEST(tables, registers_decide_which_table_is_read)
{
	unsigned int size = tinyvm_mode_64bit(mode) ? 16 : 8;
	uint64_t marked;
	size_t count;

	support_open(&(struct tinyvm_options){ .mode = mode }, 0);
	marked = tinyvm_peek64(&t.vm, GUEST_IDT_OTHER + 5 * size) ^ 0x10;
	tinyvm_poke64(&t.vm, GUEST_IDT_OTHER + 5 * size, marked);
	load_pointer(GUEST_CMD_LIDT, gva(GUEST_IDT_OTHER), 8 * size - 1);
	assert_ok(ka_idt_read(t.ka, 0, gates, KA_IDT_MAX, &count));
	cr_assert_eq(count, 8);
	assert_hex(gates[5].raw[0], marked);
	load_pointer(GUEST_CMD_LGDT, gva(GUEST_GDT_OTHER), 4 * 8 - 1);
	assert_ok(ka_gdt_read(t.ka, 0, descriptors, 64, &count));
	cr_assert_eq(count, 4);
	/* And back. */
	load_pointer(GUEST_CMD_LIDT, gva(GUEST_IDT), 256 * size - 1);
	assert_ok(ka_idt_read(t.ka, 0, gates, KA_IDT_MAX, &count));
	cr_assert_eq(count, 256);
	assert_hex(gates[5].offset, guest_image_handler(mode, 5));
}

Test(tables, table_on_an_unmapped_page_is_efault)
{
	size_t count = 0;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	load_pointer(GUEST_CMD_LIDT, window_gva(3), 0xfff);
	assert_rc(ka_idt_read(t.ka, 0, gates, KA_IDT_MAX, &count), -EFAULT);
	cr_assert_eq(count, 0);
}

Test(tables, table_across_pages_that_lie_apart)
{
	size_t count;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	for (unsigned int i = 0; i < 2; i++) {
		uint8_t half[0x800];

		assert_ok(tinyvm_peek(&t.vm, GUEST_IDT + i * 0x800, half, sizeof(half)));
		assert_ok(tinyvm_poke(&t.vm, GUEST_SCRATCH + (i ? 0x5000 : 0x2800), half,
				      sizeof(half)));
		window_set(i, (GUEST_SCRATCH + (i ? 0x5000 : 0x2000)) | 3);
	}
	load_pointer(GUEST_CMD_LIDT, window_gva(0) + 0x800, 0xfff);
	assert_ok(ka_idt_read(t.ka, 0, gates, KA_IDT_MAX, &count));
	cr_assert_eq(count, 256);
	for (unsigned int i = 0; i < 256; i++)
		assert_hex(gates[i].offset, guest_image_handler(TINYVM_4LEVEL, i));
}

Test(tables, before_paging_is_eagain)
{
	size_t count;

	support_start(&(struct tinyvm_options){ .mode = TINYVM_RESET });
	support_host(false);
	t.ka = support_open_pid(t.vm.pid, 0);
	assert_rc(ka_idt_read(t.ka, 0, gates, KA_IDT_MAX, &count), -EAGAIN);
	assert_rc(ka_gdt_read(t.ka, 0, descriptors, 64, &count), -EAGAIN);
}
