// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reads and writes the GDT and IDT of a vCPU. */
#include <errno.h>
#include <string.h>

#include "registers.h"
#include "root.h"

enum { TABLE_MAX = 64 * 1024 };

/* The bytes of a descriptor table, as far as its register says. */
static int read_table(struct ka_vm *vm, const struct ka_registers *registers,
		      const struct ka_table_register *table, size_t max, uint8_t *buf,
		      size_t *ret_len)
{
	struct ka_paging paging = ka_paging(registers);
	size_t len = (size_t)table->limit + 1;
	int err;

	if (len > max)
		len = max;
	err = ka_gva_read(vm, &paging, table->base, buf, len);
	if (!err)
		*ret_len = len;
	return err;
}

static int usable_registers(struct ka_vm *vm, unsigned int vcpu, struct ka_registers *ret_registers)
{
	int err = ka_register_read(vm, vcpu, ret_registers);

	if (!err)
		err = ka_registers_usable(ret_registers);
	if (!err && ret_registers->flags & KA_REGISTERS_NO_VMCS) {
		err = root_find(vm, ret_registers);
		registers_complete(vm, ret_registers);
	}
	return err;
}

/* GDTR is the CPU's own, and nothing in memory tells where it leads. */
static int usable_gdtr(struct ka_vm *vm, unsigned int vcpu, struct ka_registers *ret_registers)
{
	int err = usable_registers(vm, vcpu, ret_registers);

	return !err && ret_registers->flags & KA_REGISTERS_NO_VMCS ? -EOPNOTSUPP : err;
}

int ka_gdt_read(struct ka_vm *vm, unsigned int vcpu, struct ka_descriptor *descriptors, size_t max,
		size_t *ret_count)
{
	struct ka_registers registers;
	uint8_t bytes[TABLE_MAX];
	size_t len, count;
	int err;

	err = usable_gdtr(vm, vcpu, &registers);
	if (!err)
		err = read_table(vm, &registers, &registers.gdtr, sizeof(bytes), bytes, &len);
	if (err)
		return err;
	count = len / 8 < max ? len / 8 : max;
	memset(descriptors, 0, count * sizeof(*descriptors));
	for (size_t i = 0; i < count; i++) {
		/* A 16-byte descriptor that the table cuts off is read in its short form. */
		if (ka_descriptor_decode(bytes + i * 8, len - i * 8, ka_long_mode(&registers),
					 &descriptors[i]))
			ka_descriptor_decode(bytes + i * 8, 8, false, &descriptors[i]);
		if (descriptors[i].size == 16)
			i++;
	}
	*ret_count = count;
	return 0;
}

int ka_idt_read(struct ka_vm *vm, unsigned int vcpu, struct ka_gate *gates, size_t max,
		size_t *ret_count)
{
	struct ka_registers registers;
	uint8_t bytes[KA_IDT_MAX * 16];
	size_t len, count, size;
	int err;

	err = usable_registers(vm, vcpu, &registers);
	if (err)
		return err;
	size = ka_long_mode(&registers) ? 16 : 8;
	err = read_table(vm, &registers, &registers.idtr, KA_IDT_MAX * size, bytes, &len);
	if (err)
		return err;
	count = len / size < max ? len / size : max;
	for (size_t i = 0; i < count; i++)
		ka_gate_decode(bytes + i * size, size, ka_long_mode(&registers), &gates[i]);
	*ret_count = count;
	return 0;
}

static int write_entry(struct ka_vm *vm, const struct ka_registers *registers,
		       const struct ka_table_register *table, size_t offset, const void *bytes,
		       size_t len)
{
	struct ka_paging paging = ka_paging(registers);

	if (offset + len > (size_t)table->limit + 1)
		return -EINVAL;
	return ka_gva_write(vm, &paging, table->base + offset, bytes, len);
}

int ka_gdt_write(struct ka_vm *vm, unsigned int vcpu, unsigned int index,
		 const struct ka_descriptor *descriptor)
{
	struct ka_registers registers;
	uint8_t bytes[16];
	int err;

	err = usable_gdtr(vm, vcpu, &registers);
	if (err)
		return err;
	/* Only system descriptors in long mode are long. */
	if (descriptor->size == 16 && (!descriptor->system || !ka_long_mode(&registers)))
		return -EINVAL;
	err = ka_descriptor_encode(descriptor, bytes, sizeof(bytes));
	if (err)
		return err;
	return write_entry(vm, &registers, &registers.gdtr, (size_t)index * 8, bytes,
			   descriptor->size);
}

int ka_idt_write(struct ka_vm *vm, unsigned int vcpu, unsigned int vector,
		 const struct ka_gate *gate)
{
	struct ka_registers registers;
	uint8_t bytes[16];
	int err;

	err = usable_registers(vm, vcpu, &registers);
	if (err)
		return err;
	if (gate->size != (ka_long_mode(&registers) ? 16 : 8))
		return -EINVAL;
	err = ka_gate_encode(gate, bytes, sizeof(bytes));
	if (err)
		return err;
	return write_entry(vm, &registers, &registers.idtr, (size_t)vector * gate->size, bytes,
			   gate->size);
}
