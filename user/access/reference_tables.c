// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The tables of a kernel as its boot leaves them, from its image. The IDT is built at boot:
 * arch/x86/kernel/idt.c lays these tables of struct idt_data one over the other, and fills what is
 * left with stubs.
 */
#include <errno.h>
#include <string.h>

#include "reference.h"
#include "symbols.h"

enum {
	EXCEPTIONS = 32,
	FIRST_EXTERNAL_VECTOR = 32,
	KERNEL_CS_64 = 0x10,
	KERNEL_CS_32 = 0x60,
	GATE_INTERRUPT = 14,
	GDT_BYTES_64 = 128,
	GDT_BYTES_32 = 256,
	PUSH_IMM8 = 0x6a,
};

/* In the order in which the boot uses them. */
static const char *const idt_tables[] = {
	"early_idts", "early_pf_idts", "def_idts", "ist_idts", "ia32_idt", "apic_idts",
};

static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
static const uint8_t endbr32[] = { 0xf3, 0x0f, 0x1e, 0xfb };

int ka_reference_syscalls(const struct ka_reference *reference, enum ka_syscall_table_kind kind,
			  uint64_t *handlers, size_t max, size_t *ret_count)
{
	const struct ka_section *table = reference_find(
		reference, kind == KA_SYSCALL_IA32 ? "ia32_sys_call_table" : "sys_call_table");
	size_t size = ka_symbols_64bit(reference->symbols) ? 8 : 4;
	size_t count = table ? table->len / size : 0;

	/* Zeroes align what follows. */
	while (count) {
		uint64_t last = 0;

		memcpy(&last, table->bytes + (count - 1) * size, size);
		if (last)
			break;
		count--;
	}
	if (!count)
		return -ENODATA;
	if (count > max)
		count = max;
	for (size_t i = 0; i < count; i++) {
		handlers[i] = 0;
		memcpy(&handlers[i], table->bytes + i * size, size);
	}
	*ret_count = count;
	return 0;
}

int ka_reference_gdt(const struct ka_reference *reference, const uint8_t **ret_bytes,
		     size_t *ret_len)
{
	const struct ka_section *page = reference_find(reference, "gdt_page");
	size_t len = ka_symbols_64bit(reference->symbols) ? GDT_BYTES_64 : GDT_BYTES_32;

	if (!page || page->len < len)
		return -ENODATA;
	*ret_bytes = page->bytes;
	*ret_len = len;
	return 0;
}

static uint32_t get32(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

/* struct idt_data: vector and segment of 4 bytes, struct idt_bits of 2, an address. */
static bool table_gate(const struct ka_reference *reference, const struct ka_section *table,
		       unsigned int vector, struct ka_gate *gate)
{
	bool is_64bit = ka_symbols_64bit(reference->symbols), found = false;
	size_t size = is_64bit ? 24 : 16;

	for (size_t at = 0; at + size <= table->len; at += size) {
		const uint8_t *data = table->bytes + at;
		unsigned int bits = data[8] | data[9] << 8;

		if (get32(data) != vector || !(bits >> 15))
			continue;
		*gate = (struct ka_gate){
			.selector = get32(data + 4),
			.ist = bits & 7,
			.type = bits >> 8 & 15,
			.dpl = bits >> 13 & 3,
			.present = true,
			.size = is_64bit ? 16 : 8,
		};
		memcpy(&gate->offset, data + (is_64bit ? 16 : 12), is_64bit ? 8 : 4);
		found = true;
	}
	return found;
}

static struct ka_gate stub_gate(const struct ka_reference *reference, uint64_t address)
{
	bool is_64bit = ka_symbols_64bit(reference->symbols);

	return (struct ka_gate){
		.offset = address,
		.selector = is_64bit ? KERNEL_CS_64 : KERNEL_CS_32,
		.type = GATE_INTERRUPT,
		.present = true,
		.size = is_64bit ? 16 : 8,
	};
}

/* idt_setup_early_handler(): one stub an exception, as long as the next symbol leaves room. */
static int early_gate(const struct ka_reference *reference, unsigned int vector,
		      struct ka_gate *ret_gate)
{
	uint64_t start, end, size;

	if (ka_symbols_find(reference->symbols, "early_idt_handler_array", &start) ||
	    ka_symbols_find(reference->symbols, "early_idt_handler_common", &end))
		return -ENODATA;
	/* EARLY_IDT_HANDLER_SIZE is 9, and 13 with ENDBR; the rest aligns what follows. */
	size = (end - start) / EXCEPTIONS;
	if (end < start || (size != 9 && size != 13))
		return -ENODATA;
	*ret_gate = stub_gate(reference, start + size * vector);
	return 0;
}

static const uint8_t *text_at(const struct ka_reference *reference, uint64_t address, size_t len)
{
	const struct ka_section *text = reference_find(reference, ".text");

	if (!text || address < text->address || address - text->address > text->len ||
	    len > text->len - (address - text->address))
		return NULL;
	return text->bytes + (address - text->address);
}

/* A stub begins by pushing its vector. */
static bool is_stub(const struct ka_reference *reference, uint64_t address, unsigned int vector)
{
	const uint8_t *bytes = text_at(reference, address, 8);

	if (bytes && (!memcmp(bytes, endbr64, 4) || !memcmp(bytes, endbr32, 4)))
		bytes += 4;
	return bytes && bytes[0] == PUSH_IMM8 && bytes[1] == vector;
}

/* The stub of a vector in the array of those from `first` on, which are 8 or, with ENDBR, 16 long.
 */
static int stub_find(const struct ka_reference *reference, uint64_t array, unsigned int first,
		     unsigned int vector, uint64_t *ret_address)
{
	for (unsigned int size = 8; size <= 16; size += 8) {
		/* By the second one, too, since an array may begin with either size. */
		if (!is_stub(reference, array, first) ||
		    !is_stub(reference, array + size, first + 1))
			continue;
		if (!is_stub(reference, array + size * (vector - first), vector))
			return -ENODATA;
		*ret_address = array + size * (vector - first);
		return 0;
	}
	return -ENODATA;
}

/* FIRST_SYSTEM_VECTOR is that of the first spurious stub. */
static int first_system_vector(const struct ka_reference *reference, uint64_t spurious,
			       unsigned int *ret_vector)
{
	const uint8_t *bytes = text_at(reference, spurious, 8);

	if (bytes && (!memcmp(bytes, endbr64, 4) || !memcmp(bytes, endbr32, 4)))
		bytes += 4;
	if (!bytes || bytes[0] != PUSH_IMM8 || bytes[1] <= FIRST_EXTERNAL_VECTOR)
		return -ENODATA;
	*ret_vector = bytes[1];
	return 0;
}

/* idt_setup_apic_and_irq_gates(). */
static int irq_gate(const struct ka_reference *reference, unsigned int vector,
		    struct ka_gate *ret_gate)
{
	uint64_t irqs, spurious, address;
	unsigned int system;
	int err;

	if (ka_symbols_find(reference->symbols, "irq_entries_start", &irqs) ||
	    ka_symbols_find(reference->symbols, "spurious_entries_start", &spurious))
		return -ENODATA;
	err = first_system_vector(reference, spurious, &system);
	if (err)
		return err;
	err = vector < system ? stub_find(reference, irqs, FIRST_EXTERNAL_VECTOR, vector, &address)
			      : stub_find(reference, spurious, system, vector, &address);
	if (!err)
		*ret_gate = stub_gate(reference, address);
	return err;
}

int ka_reference_gate(const struct ka_reference *reference, unsigned int vector,
		      struct ka_gate *ret_gate)
{
	struct ka_gate gate;
	bool found = false;
	int err = 0;

	if (vector >= KA_IDT_MAX)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(idt_tables) / sizeof(idt_tables[0]); i++) {
		const struct ka_section *table = reference_find(reference, idt_tables[i]);

		if (table)
			found |= table_gate(reference, table, vector, &gate);
	}
	/* Without its own table nothing tells what an exception leads to. */
	if (!found && !reference_find(reference, "def_idts"))
		return -ENODATA;
	if (!found)
		err = vector < EXCEPTIONS ? early_gate(reference, vector, &gate)
					  : irq_gate(reference, vector, &gate);
	if (!err)
		*ret_gate = gate;
	return err;
}
