// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Tables that an image's symbols do not name, found by what they hold: of 32-bit kernels, whose
 * functions are named all the same.
 */
#include "reference_unnamed.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "symbols.h"

enum {
	SYSCALLS_MIN = 64,
	IDT_DATA = 16, /* bytes of a struct idt_data */
	IDT_RUN_MIN = 3,
	KERNEL_CS = 0x60,
	DOUBLEFAULT_TSS = 0xf8,
	GDT_BYTES = 256,
	PAGE_BYTES = 4096,
};

static uint32_t get32(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

/* Name of the function that begins there. */
static const char *function_at(const struct ka_reference *reference, uint32_t address)
{
	uint64_t offset = 1;
	const char *name = ka_symbols_name(reference->symbols, address, &offset);

	return offset ? NULL : name;
}

static int found(const char *name, uint64_t address, const uint8_t *bytes, size_t len,
		 struct ka_section *ret_section)
{
	*ret_section = (struct ka_section){ .address = address, .bytes = bytes, .len = len };
	snprintf(ret_section->name, sizeof(ret_section->name), "%s", name);
	return 0;
}

/* ---- system calls -------------------------------------------------------------------------- */

static bool is_handler(const struct ka_reference *reference, uint32_t address)
{
	const char *name = function_at(reference, address);

	return name && strstr(name, "sys_");
}

/* Numbers 0 and 1 of the i386 ABI begin it. */
int reference_find_syscalls(const struct ka_reference *reference, const struct vmlinux *image,
			    struct ka_section *ret_section)
{
	struct ka_section rodata;
	uint64_t restart, leave;

	if (image->is_64bit || reference_find(reference, "sys_call_table") ||
	    vmlinux_section(image, ".rodata", &rodata) ||
	    ka_symbols_find(reference->symbols, "__ia32_sys_restart_syscall", &restart) ||
	    ka_symbols_find(reference->symbols, "__ia32_sys_exit", &leave))
		return -ENODATA;
	for (size_t at = 0; at + 8 <= rodata.len; at += 4) {
		size_t end = at;

		if (get32(rodata.bytes + at) != restart || get32(rodata.bytes + at + 4) != leave)
			continue;
		while (end + 4 <= rodata.len && (end - at) / 4 < KA_SYSCALLS_MAX &&
		       is_handler(reference, get32(rodata.bytes + end)))
			end += 4;
		if ((end - at) / 4 >= SYSCALLS_MIN)
			return found("sys_call_table", rodata.address + at, rodata.bytes + at,
				     end - at, ret_section);
	}
	return -ENODATA;
}

/* ---- IDT ----------------------------------------------------------------------------------- */

/* struct idt_data: an interrupt gate to an entry point of its own, or the double fault's task. */
static bool is_idt_data(const struct ka_reference *reference, const uint8_t *data)
{
	uint32_t vector = get32(data), segment = get32(data + 4), bits = get32(data + 8),
		 address = get32(data + 12);
	const char *name = function_at(reference, address);

	if (vector >= KA_IDT_MAX)
		return false;
	if (!address)
		return segment == DOUBLEFAULT_TSS && bits == 0x8500;
	return segment == KERNEL_CS && (bits == 0x8e00 || bits == 0xee00) && name &&
	       (!strncmp(name, "asm_exc_", 8) || !strncmp(name, "asm_sysvec_", 11) ||
		!strcmp(name, "entry_INT80_32"));
}

/* Early, default and APIC gates, which a 32-bit kernel sets to the same where they overlap. */
int reference_find_idts(const struct ka_reference *reference, const struct vmlinux *image,
			struct ka_section *ret_section)
{
	static uint8_t all[KA_IDT_MAX * IDT_DATA];
	struct ka_section data;
	size_t len = 0;

	if (image->is_64bit || reference_find(reference, "def_idts") ||
	    vmlinux_section(image, ".init.data", &data))
		return -ENODATA;
	for (size_t at = 0; at + IDT_DATA <= data.len;) {
		size_t end = at;

		while (end + IDT_DATA <= data.len && is_idt_data(reference, data.bytes + end))
			end += IDT_DATA;
		if (end - at >= IDT_RUN_MIN * IDT_DATA && end - at <= sizeof(all) - len) {
			memcpy(all + len, data.bytes + at, end - at);
			len += end - at;
		}
		at = end > at ? end : at + 4;
	}
	return len ? found("def_idts", 0, all, len, ret_section) : -ENODATA;
}

/* ---- GDT ----------------------------------------------------------------------------------- */

/* arch/x86/kernel/cpu/common.c: kernel code and data, user code and data, with or without A. */
static bool is_gdt(const uint8_t *bytes)
{
	static const uint64_t segments[] = { 0x00cf9a000000ffff, 0x00cf92000000ffff,
					     0x00cffa000000ffff, 0x00cff2000000ffff };
	const uint64_t accessed = 1ull << 40;

	for (size_t i = 0; i < 4; i++) {
		uint64_t value;

		memcpy(&value, bytes + 8 * (12 + i), 8);
		if ((value | accessed) != (segments[i] | accessed))
			return false;
	}
	return true;
}

int reference_find_gdt(const struct ka_reference *reference, const struct vmlinux *image,
		       struct ka_section *ret_section)
{
	struct ka_section percpu;

	if (image->is_64bit || reference_find(reference, "gdt_page") ||
	    vmlinux_section(image, ".data..percpu", &percpu))
		return -ENODATA;
	for (size_t at = 0; at + GDT_BYTES <= percpu.len; at += PAGE_BYTES)
		if (is_gdt(percpu.bytes + at))
			return found("gdt_page", percpu.address + at, percpu.bytes + at, GDT_BYTES,
				     ret_section);
	return -ENODATA;
}
