// SPDX-License-Identifier: LGPL-2.1-or-later
/* Compares gates as bytes, and looks into one only where it differs (Intel SDM vol. 3A, 6.11). */
#include "check_idt.h"

#include <string.h>

enum { FIRST_EXTERNAL_VECTOR = 0x20, IA32_SYSCALL_VECTOR = 0x80, GATE_TASK = 5 };

unsigned int idt_gate_size(bool long_mode)
{
	return long_mode ? 16 : 8;
}

size_t idt_differences(bool long_mode, const uint8_t *expected, const uint8_t *observed, size_t len,
		       uint16_t *ret_index, size_t max)
{
	unsigned int size = idt_gate_size(long_mode);
	size_t found = 0;

	if (!memcmp(expected, observed, len))
		return 0;
	for (size_t at = 0; at + size <= len; at += size) {
		if (!memcmp(expected + at, observed + at, size))
			continue;
		if (found < max)
			ret_index[found] = (uint16_t)(at / size);
		found++;
	}
	return found;
}

uint64_t idt_gate_handler(bool long_mode, const uint64_t raw[2])
{
	uint64_t handler = (raw[0] & 0xffff) | (raw[0] >> 32 & 0xffff0000);

	return long_mode ? handler | raw[1] << 32 : handler;
}

void idt_gate_set_handler(bool long_mode, uint64_t raw[2], uint64_t handler)
{
	raw[0] = (raw[0] & 0x0000ffffffff0000ull) | (handler & 0xffff) |
		 (handler & 0xffff0000) << 32;
	if (long_mode)
		raw[1] = (raw[1] & 0xffffffff00000000ull) | handler >> 32;
}

bool idt_gate_present(const uint64_t raw[2])
{
	return raw[0] >> 47 & 1;
}

static unsigned int gate_type(const uint64_t raw[2])
{
	return raw[0] >> 40 & 31;
}

bool idt_gate_outside_text(const struct ka_kernel *kernel, bool long_mode, const uint64_t raw[2])
{
	uint64_t handler = idt_gate_handler(long_mode, raw);

	/* A task gate (double fault of 32-bit kernels) names a TSS, which the GDT check has. */
	if (!idt_gate_present(raw) || (!long_mode && gate_type(raw) == GATE_TASK))
		return false;
	if (!kernel->text_start || kernel->text_end <= kernel->text_start)
		return false;
	return handler < kernel->text_start || handler >= kernel->text_end;
}

bool idt_gate_is_early(const struct ka_kernel *kernel, bool long_mode, unsigned int vector,
		       const uint64_t raw[2])
{
	uint64_t offset = 0;
	const char *name;

	if (vector >= FIRST_EXTERNAL_VECTOR)
		return false;
	/* In .init.text, whose memory is given away: idt_setup_early_handler() fills all 32
	 * vectors, and those that are reserved are never set again. 9 bytes each, 13 with ENDBR. */
	name = ka_kernel_name(kernel, idt_gate_handler(long_mode, raw), &offset);
	return name && !strcmp(name, "early_idt_handler_array") &&
	       (offset == 9 * (uint64_t)vector || offset == 13 * (uint64_t)vector);
}

/* Everything but the handler: selector, IST, type, DPL, present. */
static bool same_attributes(bool long_mode, const uint64_t a[2], const uint64_t b[2])
{
	uint64_t x[2] = { a[0], a[1] }, y[2] = { b[0], b[1] };

	idt_gate_set_handler(long_mode, x, 0);
	idt_gate_set_handler(long_mode, y, 0);
	return x[0] == y[0] && x[1] == y[1];
}

static bool starts_with(const char *text, const char *start)
{
	return !strncmp(text, start, strlen(start));
}

/* A stub that only tells the vector: arch/x86/include/asm/idtentry.h, 8 or 16 bytes each. */
static bool is_vector_stub(const char *name, uint64_t offset, unsigned int vector)
{
	uint64_t nth = vector - FIRST_EXTERNAL_VECTOR;

	if (starts_with(name, "irq_entries_start"))
		return offset == 8 * nth || offset == 16 * nth;
	/* These count from the first system vector, which depends on the kernel. */
	return starts_with(name, "spurious_entries_start") && offset % 8 == 0 && offset <= 16 * nth;
}

static bool is_kernel_entry(const struct ka_kernel *kernel, bool long_mode, unsigned int vector,
			    const uint64_t raw[2])
{
	uint64_t offset = 0;
	const char *name = ka_kernel_name(kernel, idt_gate_handler(long_mode, raw), &offset);

	if (!name || idt_gate_outside_text(kernel, long_mode, raw))
		return false;
	if (is_vector_stub(name, offset, vector))
		return true;
	if (vector == IA32_SYSCALL_VECTOR) /* there or not by ia32_emulation= (Linux 6.7) */
		return !offset && (starts_with(name, "asm_int80_emulation") ||
				   starts_with(name, "entry_INT80_compat"));
	return !offset && starts_with(name, "asm_sysvec_");
}

bool idt_gate_may_differ(const struct ka_kernel *kernel, bool long_mode, unsigned int vector,
			 const uint64_t stored[2], const uint64_t observed[2])
{
	if (!kernel->symbols || vector < FIRST_EXTERNAL_VECTOR)
		return false;
	if (!same_attributes(long_mode, stored, observed) && vector != IA32_SYSCALL_VECTOR)
		return false;
	return is_kernel_entry(kernel, long_mode, vector, stored) &&
	       is_kernel_entry(kernel, long_mode, vector, observed);
}
