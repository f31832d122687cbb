// SPDX-License-Identifier: LGPL-2.1-or-later
/* References: what a kernel's image tells of its tables, on made-up parts and on Debian's images.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvmaccess.h"
#include "monitor/content.h"

static const char build_id[] = "00112233445566778899aabbccddeeff00112233";
static const uint64_t text_address = 0xffffffff81000000;

static const char symbols[] = "0000000000001000 A gdt_page\n"
			      "ffffffff81000000 T _text\n"
			      "ffffffff81000000 T irq_entries_start\n"
			      "ffffffff81000660 T spurious_entries_start\n"
			      "ffffffff81001000 T asm_exc_page_fault\n"
			      "ffffffff81001040 T __x64_sys_read\n"
			      "ffffffff82000000 T early_idt_handler_array\n"
			      "ffffffff82000120 T early_idt_handler_common\n"
			      "ffffffff83000000 B _end\n";

/* Vector, segment, bits, address: struct idt_data. */
static const uint64_t def_idts[] = {
	0x10ull << 32 | 14, 0x8e03, 0xffffffff81001000,
	0x10ull << 32 | 3,  0xee00, 0xffffffff81001000,
};

static const uint64_t sys_call_table[] = { 0xffffffff81001040, 0xffffffff81001000, 0, 0 };

static uint8_t text[0x2000];

/* Stubs of 8 bytes that push their vector, as Linux has them without ENDBR. */
static void make_text(void)
{
	memset(text, 0xcc, sizeof(text));
	for (unsigned int vector = 32; vector < 256; vector++) {
		text[8 * (vector - 32)] = 0x6a;
		text[8 * (vector - 32) + 1] = (uint8_t)vector;
	}
}

static struct ka_reference *make(size_t parts)
{
	const struct ka_section sections[] = {
		{ "symbols", 0, (const uint8_t *)symbols, strlen(symbols) },
		{ ".text", text_address, text, sizeof(text) },
		{ "def_idts", 0xffffffff82001000, (const uint8_t *)def_idts, sizeof(def_idts) },
		{ "sys_call_table", 0xffffffff81800000, (const uint8_t *)sys_call_table,
		  sizeof(sys_call_table) },
	};
	struct ka_reference *reference = NULL;

	make_text();
	cr_assert_eq(ka_reference_create(build_id, "6.1.0", sections, parts, &reference), 0);
	return reference;
}

Test(reference, gates_come_from_the_tables_and_stubs)
{
	struct ka_reference *reference = make(4);
	struct ka_gate gate;

	cr_assert_eq(ka_reference_gate(reference, 14, &gate), 0);
	cr_expect_eq(gate.offset, 0xffffffff81001000);
	cr_expect_eq(gate.ist, 3);
	cr_expect_eq(gate.type, 14);
	cr_expect_eq(gate.selector, 0x10);
	cr_assert_eq(ka_reference_gate(reference, 3, &gate), 0);
	cr_expect_eq(gate.dpl, 3);
	cr_assert_eq(ka_reference_gate(reference, 20, &gate), 0);
	cr_expect_eq(gate.offset, 0xffffffff82000000 + 9 * 20);
	cr_assert_eq(ka_reference_gate(reference, 0xeb, &gate), 0);
	cr_expect_eq(gate.offset, text_address + 8 * (0xeb - 32));
	cr_assert_eq(ka_reference_gate(reference, 0xff, &gate), 0);
	cr_expect_eq(gate.offset, text_address + 8 * (0xff - 32));
	cr_expect_eq(ka_reference_gate(reference, 256, &gate), -EINVAL);
	ka_reference_free(reference);
}

/* A stub that does not push its vector is none: nothing is guessed. */
Test(reference, a_gate_that_is_not_told_is_not_guessed)
{
	struct ka_reference *reference = make(4);
	struct ka_gate gate;

	ka_reference_free(reference);
	reference = make(2);
	for (unsigned int vector = 0; vector < 256; vector++)
		cr_expect_eq(ka_reference_gate(reference, vector, &gate), -ENODATA);
	ka_reference_free(reference);
}

Test(reference, the_system_call_table_ends_before_its_padding)
{
	struct ka_reference *reference = make(4);
	uint64_t handlers[8];
	size_t count = 0;

	cr_assert_eq(ka_reference_syscalls(reference, KA_SYSCALL_NATIVE, handlers, 8, &count), 0);
	cr_expect_eq(count, 2);
	cr_expect_eq(handlers[0], 0xffffffff81001040);
	cr_expect_eq(ka_reference_syscalls(reference, KA_SYSCALL_IA32, handlers, 8, &count),
		     -ENODATA);
	ka_reference_free(reference);
}

Test(reference, unsound_parts_are_refused)
{
	const struct ka_section twice[] = {
		{ "symbols", 0, (const uint8_t *)symbols, strlen(symbols) },
		{ "symbols", 0, (const uint8_t *)symbols, strlen(symbols) },
	};
	const struct ka_section none[] = { { ".text", text_address, text, sizeof(text) } };
	struct ka_reference *reference;

	cr_expect_eq(ka_reference_create(build_id, "6.1.0", twice, 2, &reference), -EBADMSG);
	cr_expect_eq(ka_reference_create(build_id, "6.1.0", none, 1, &reference), -EBADMSG);
	cr_expect_eq(ka_reference_create("0011", "6.1.0", twice, 1, &reference), -EBADMSG);
	cr_expect_eq(ka_reference_create(build_id + 1, "6.1.0", twice, 1, &reference), -EBADMSG);
}

/* ---- Debian's kernels ---------------------------------------------------------------------- */

static void image_tells_all(const char *version)
{
	struct ka_reference *reference;
	struct content *content = calloc(1, sizeof(*content));
	uint64_t handlers[KA_SYSCALLS_MAX], offset;
	char path[64];
	size_t count = 0;
	int err;

	snprintf(path, sizeof(path), "build/lab/pkgs/vmlinuz-%s", version);
	if (access(path, R_OK))
		cr_skip_test("%s is not there: make lab brings it", path);
	err = ka_reference_derive(path, &reference);
	cr_assert_eq(err, 0, "%s: %d", path, err);
	cr_expect(!strncmp(ka_reference_release(reference), version, strlen(version)));
	cr_assert_eq(ka_reference_syscalls(reference, KA_SYSCALL_NATIVE, handlers, KA_SYSCALLS_MAX,
					   &count),
		     0);
	cr_expect_geq(count, 440);
	cr_expect_str_eq(ka_symbols_name(ka_reference_symbols(reference), handlers[0], &offset),
			 "__x64_sys_read");
	content_take_reference(content, reference);
	for (unsigned int i = 0; i < KA_IDT_MAX; i++) {
		cr_expect(content->entry[CONTENT_IDT][i].kept, "gate %u", i);
		cr_expect(content->entry[CONTENT_IDT][i].relative, "gate %u", i);
	}
	for (unsigned int i = 0; i < content->count[CONTENT_SYSCALL]; i++)
		cr_expect(content->entry[CONTENT_SYSCALL][i].relative, "system call %u", i);
	cr_expect_eq(content->count[CONTENT_GDT], 16);
	ka_reference_free(reference);
	free(content);
}

Test(reference, debian_5_10_tells_all_of_its_tables)
{
	image_tells_all("5.10");
}

Test(reference, debian_6_1_tells_all_of_its_tables)
{
	image_tells_all("6.1");
}

Test(reference, debian_6_12_tells_all_of_its_tables)
{
	image_tells_all("6.12");
}

/* Its data has no names: the tables are found by what they hold. */
Test(reference, debian_6_1_686_tells_all_of_its_tables)
{
	static const char path[] = "build/lab/pkgs/vmlinuz-686";
	struct ka_reference *reference;
	uint64_t handlers[KA_SYSCALLS_MAX], offset;
	const uint8_t *gdt;
	struct ka_gate gate;
	size_t count = 0;

	if (access(path, R_OK))
		cr_skip_test("%s is not there: make lab brings it", path);
	cr_assert_eq(ka_reference_derive(path, &reference), 0);
	cr_assert_eq(ka_reference_syscalls(reference, KA_SYSCALL_NATIVE, handlers, KA_SYSCALLS_MAX,
					   &count),
		     0);
	cr_expect_geq(count, 450);
	cr_expect_str_eq(ka_symbols_name(ka_reference_symbols(reference), handlers[3], &offset),
			 "__ia32_sys_read");
	for (unsigned int vector = 0; vector < KA_IDT_MAX; vector++)
		cr_expect_eq(ka_reference_gate(reference, vector, &gate), 0, "gate %u", vector);
	cr_assert_eq(ka_reference_gate(reference, 8, &gate), 0);
	cr_expect_eq(gate.selector, 0xf8, "the double fault is a task of its own");
	cr_assert_eq(ka_reference_gdt(reference, &gdt, &count), 0);
	cr_expect_eq(count, 256);
	ka_reference_free(reference);
}

Test(reference, what_is_no_kernel_is_refused)
{
	struct ka_reference *reference;

	cr_expect_eq(ka_reference_derive("/dev/null", &reference), -ENOEXEC);
	cr_expect_eq(ka_reference_derive("/proc/self/exe", &reference), -EBADMSG);
	cr_expect_eq(ka_reference_derive("/nowhere", &reference), -ENOENT);
}
