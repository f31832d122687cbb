// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * References that somebody else made: parts of a kernel's image with any bytes. Each begins with
 * the number of its name and two bytes of length. It is refused, or all of it can be used.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "kvmaccess.h"

enum { TEXT_MAX = 4096 };

static const char build_id[] = "00112233445566778899aabbccddeeff00112233";

static const char symbols[] = "0000000000000100 A gdt_page\n"
			      "ffffffff81000000 T _text\n"
			      "ffffffff81000040 T irq_entries_start\n"
			      "ffffffff81000080 T spurious_entries_start\n"
			      "ffffffff810000c0 T __x86_indirect_thunk_array\n"
			      "ffffffff81000100 T __SCT__call\n"
			      "ffffffff81000140 T ftrace_caller\n"
			      "ffffffff81000180 T its_return_thunk\n"
			      "ffffffff810001c0 T function\n"
			      "ffffffff82000000 T early_idt_handler_array\n"
			      "ffffffff82000120 T early_idt_handler_common\n"
			      "ffffffff82000200 D __SCK__call\n"
			      "ffffffff83000000 B _end\n";

static const struct {
	const char *name;
	uint64_t address;
} parts[] = {
	{ ".text", 0xffffffff81000000 },
	{ ".altinstr_replacement", 0xffffffff81010000 },
	{ ".altinstructions", 0xffffffff81020000 },
	{ ".parainstructions", 0xffffffff81021000 },
	{ ".retpoline_sites", 0xffffffff81022000 },
	{ ".return_sites", 0xffffffff81023000 },
	{ ".call_sites", 0xffffffff81024000 },
	{ ".ibt_endbr_seal", 0xffffffff81025000 },
	{ ".smp_locks", 0xffffffff81026000 },
	{ "runtime_ptr_USER_PTR_MAX", 0xffffffff81027000 },
	{ "mcount_loc", 0xffffffff81028000 },
	{ "jump_table", 0xffffffff81029000 },
	{ "static_call_sites", 0xffffffff8102a000 },
	{ "call_thunk_template", 0xffffffff8102b000 },
	{ "sys_call_table", 0xffffffff8102c000 },
	{ "def_idts", 0xffffffff8102d000 },
	{ "gdt_page", 0x100 },
	{ "pv_ops", 0xffffffff8102e000 },
	{ "relocs_32", 0 },
	{ "relocs_inverse_32", 0 },
	{ "relocs_64", 0 },
	{ "rodata", 0xffffffff82800000 },
	{ "runtime_shift_bits", 0xffffffff8102f000 },
	{ "runtime_mask_bits", 0xffffffff81030000 },
	{ "runtime_ptr_cache", 0xffffffff81031000 },
};

static size_t sections_take(const uint8_t *data, size_t len, struct ka_section *sections)
{
	size_t count = 1;

	sections[0] =
		(struct ka_section){ "symbols", 0, (const uint8_t *)symbols, strlen(symbols) };
	while (len >= 3 && count < KA_SECTIONS_MAX) {
		size_t part = data[0] % (sizeof(parts) / sizeof(parts[0]));
		size_t size = data[1] | data[2] << 8;

		data += 3;
		len -= 3;
		size = size < len ? size : len;
		sections[count] = (struct ka_section){ .address = parts[part].address,
						       .bytes = data,
						       .len = size };
		strcpy(sections[count++].name, parts[part].name);
		data += size;
		len -= size;
	}
	return count;
}

static void tables_use(const struct ka_reference *reference)
{
	uint64_t handlers[KA_SYSCALLS_MAX];
	const uint8_t *gdt;
	struct ka_gate gate;
	size_t count = 0;

	for (unsigned int vector = 0; vector < KA_IDT_MAX; vector++)
		CHECK(ka_reference_gate(reference, vector, &gate) || gate.size == 16);
	if (!ka_reference_syscalls(reference, KA_SYSCALL_NATIVE, handlers, KA_SYSCALLS_MAX, &count))
		CHECK(count && count <= KA_SYSCALLS_MAX && handlers[count - 1]);
	if (!ka_reference_gdt(reference, &gdt, &count))
		CHECK(count == 128 || count == 256);
}

static void compare(const struct ka_text *text, uint64_t slide, const uint8_t *guest,
		    uint64_t start, uint64_t end)
{
	struct ka_text_difference differences[8];
	struct ka_text_boot boot = { .slide = slide };
	size_t count =
		ka_text_compare(text, &boot, start, guest, end - start, start, end, differences, 8);

	CHECK(count <= end - start);
	for (size_t i = 0; i < count && i < 8; i++)
		CHECK(differences[i].len && ka_patch_kind_name(differences[i].kind));
}

/* The image's own bytes, with some of the input's among them. */
static void image_take(const struct ka_reference *reference, uint64_t start, const uint8_t *data,
		       size_t len, uint8_t guest[static TEXT_MAX])
{
	size_t count;
	const struct ka_section *sections = ka_reference_sections(reference, &count);

	for (size_t i = 0; i < count; i++)
		if (sections[i].address == start)
			memcpy(guest, sections[i].bytes,
			       sections[i].len < TEXT_MAX ? sections[i].len : TEXT_MAX);
	for (size_t i = 0; i + 3 <= len && i < 48; i += 3)
		guest[(data[i] | data[i + 1] << 8) % TEXT_MAX] = data[i + 2];
}

/* The guest's bytes are those of the input, from its end on; then nearly those of the image. */
static void text_use(int (*create)(const struct ka_reference *reference, struct ka_text **ret_text),
		     const struct ka_reference *reference, const uint8_t *data, size_t len)
{
	uint8_t guest[TEXT_MAX];
	struct ka_text *text;
	uint64_t start, end;

	if (create(reference, &text))
		return;
	ka_text_range(text, &start, &end);
	for (size_t i = 0; i < sizeof(guest); i++)
		guest[i] = data[len - 1 - i % len];
	if (end - start > sizeof(guest))
		end = start + sizeof(guest);
	compare(text, 0x200000, guest, start, end);
	image_take(reference, start, data, len, guest);
	compare(text, 0, guest, start, end);
	ka_text_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ka_section sections[KA_SECTIONS_MAX];
	struct ka_reference *reference;
	size_t count;

	if (!len)
		return 0;
	count = sections_take(data, len, sections);
	if (ka_reference_create(build_id, "6.1.0", sections, count, &reference))
		return 0;
	tables_use(reference);
	text_use(ka_text_create, reference, data, len);
	text_use(ka_rodata_create, reference, data, len);
	ka_reference_free(reference);
	return 0;
}
