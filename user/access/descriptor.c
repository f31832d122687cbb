// SPDX-License-Identifier: LGPL-2.1-or-later
/* Decodes and encodes x86 segment descriptors and gates, in their 32-bit and 64-bit forms. */
#include "descriptor.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* Fields of the low eight bytes that descriptors and gates have in common. */
enum {
	TYPE_SHIFT = 40,
	SYSTEM_BIT = 44, /* S: clear in system descriptors and gates */
	DPL_SHIFT = 45,
	PRESENT_BIT = 47,
};

/* Further fields of a descriptor. */
enum {
	AVL_BIT = 52,
	LONG_BIT = 53,
	DB_BIT = 54,
	GRANULARITY_BIT = 55,
};

static const uint32_t LIMIT_MAX = 0xfffff;

static uint64_t bits_get(uint64_t word, unsigned int shift, unsigned int width)
{
	return (word >> shift) & ((1ULL << width) - 1);
}

static uint64_t bits_set(uint64_t word, unsigned int shift, unsigned int width, uint64_t value)
{
	uint64_t mask = ((1ULL << width) - 1) << shift;

	return (word & ~mask) | ((value << shift) & mask);
}

static uint64_t load64(const void *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	return le64toh(word);
}

static void store64(void *bytes, uint64_t word)
{
	word = htole64(word);
	memcpy(bytes, &word, sizeof(word));
}

static void store_raw(void *bytes, const uint64_t *raw, uint8_t size)
{
	store64(bytes, raw[0]);
	if (size == 16)
		store64((uint8_t *)bytes + 8, raw[1]);
}

/* System descriptors that long mode widens to 16 bytes (SDM 3.5.2). */
static bool wide_in_long_mode(uint64_t low)
{
	if (bits_get(low, SYSTEM_BIT, 1))
		return false;
	switch (bits_get(low, TYPE_SHIFT, 4)) {
	case DESCRIPTOR_LDT:
	case DESCRIPTOR_TSS:
	case DESCRIPTOR_TSS_BUSY:
	case GATE_CALL:
		return true;
	default:
		return false;
	}
}

int ka_descriptor_decode(const void *bytes, size_t len, bool long_mode,
		      struct ka_descriptor *ret_descriptor)
{
	struct ka_descriptor desc = { .size = 8 };
	uint64_t low;

	if (len < 8)
		return -EMSGSIZE;
	low = desc.raw[0] = load64(bytes);
	if (long_mode && wide_in_long_mode(low)) {
		if (len < 16)
			return -EMSGSIZE;
		desc.size = 16;
		desc.raw[1] = load64((const uint8_t *)bytes + 8);
	}
	desc.base = bits_get(low, 16, 24) | bits_get(low, 56, 8) << 24 |
		    bits_get(desc.raw[1], 0, 32) << 32;
	desc.limit = bits_get(low, 0, 16) | bits_get(low, 48, 4) << 16;
	desc.type = bits_get(low, TYPE_SHIFT, 4);
	desc.system = !bits_get(low, SYSTEM_BIT, 1);
	desc.dpl = bits_get(low, DPL_SHIFT, 2);
	desc.present = bits_get(low, PRESENT_BIT, 1);
	desc.avl = bits_get(low, AVL_BIT, 1);
	desc.long_mode = bits_get(low, LONG_BIT, 1);
	desc.db = bits_get(low, DB_BIT, 1);
	desc.granularity = bits_get(low, GRANULARITY_BIT, 1);
	if (desc.granularity)
		desc.limit = desc.limit << 12 | 0xfff;
	*ret_descriptor = desc;
	return 0;
}

static int descriptor_check(const struct ka_descriptor *desc, size_t len)
{
	if (desc->size != 8 && desc->size != 16)
		return -EINVAL;
	if (desc->type > 15 || desc->dpl > 3)
		return -EINVAL;
	if (desc->size == 8 && desc->base >> 32)
		return -EINVAL;
	if (desc->granularity ? (desc->limit & 0xfff) != 0xfff : desc->limit > LIMIT_MAX)
		return -EINVAL;
	return len < desc->size ? -EMSGSIZE : 0;
}

int ka_descriptor_encode(const struct ka_descriptor *desc, void *bytes, size_t len)
{
	uint64_t raw[2] = { desc->raw[0], desc->raw[1] };
	uint32_t limit = desc->granularity ? desc->limit >> 12 : desc->limit;
	int err;

	err = descriptor_check(desc, len);
	if (err)
		return err;
	raw[0] = bits_set(raw[0], 0, 16, limit);
	raw[0] = bits_set(raw[0], 48, 4, limit >> 16);
	raw[0] = bits_set(raw[0], 16, 24, desc->base);
	raw[0] = bits_set(raw[0], 56, 8, desc->base >> 24);
	raw[1] = bits_set(raw[1], 0, 32, desc->base >> 32);
	raw[0] = bits_set(raw[0], TYPE_SHIFT, 4, desc->type);
	raw[0] = bits_set(raw[0], SYSTEM_BIT, 1, !desc->system);
	raw[0] = bits_set(raw[0], DPL_SHIFT, 2, desc->dpl);
	raw[0] = bits_set(raw[0], PRESENT_BIT, 1, desc->present);
	raw[0] = bits_set(raw[0], AVL_BIT, 1, desc->avl);
	raw[0] = bits_set(raw[0], LONG_BIT, 1, desc->long_mode);
	raw[0] = bits_set(raw[0], DB_BIT, 1, desc->db);
	raw[0] = bits_set(raw[0], GRANULARITY_BIT, 1, desc->granularity);
	store_raw(bytes, raw, desc->size);
	return 0;
}

/* How many bits of handler offset a gate of the 8-byte form holds. */
static unsigned int gate_offset_bits(uint8_t type)
{
	switch (type) {
	case GATE_TASK:
		return 0;
	case GATE_CALL16:
	case GATE_INTERRUPT16:
	case GATE_TRAP16:
		return 16;
	default:
		return 32;
	}
}

static bool gate_has_params(const struct ka_gate *gate)
{
	return gate->size == 8 && (gate->type == GATE_CALL16 || gate->type == GATE_CALL);
}

int ka_gate_decode(const void *bytes, size_t len, bool long_mode, struct ka_gate *ret_gate)
{
	struct ka_gate gate = { .size = long_mode ? 16 : 8 };
	unsigned int offset_bits;
	uint64_t low;

	if (len < gate.size)
		return -EMSGSIZE;
	low = gate.raw[0] = load64(bytes);
	if (long_mode)
		gate.raw[1] = load64((const uint8_t *)bytes + 8);
	gate.type = bits_get(low, TYPE_SHIFT, 4);
	gate.selector = bits_get(low, 16, 16);
	gate.dpl = bits_get(low, DPL_SHIFT, 2);
	gate.present = bits_get(low, PRESENT_BIT, 1);
	offset_bits = long_mode ? 64 : gate_offset_bits(gate.type);
	if (offset_bits >= 16)
		gate.offset = bits_get(low, 0, 16);
	if (offset_bits >= 32)
		gate.offset |= bits_get(low, 48, 16) << 16;
	if (offset_bits == 64) {
		gate.offset |= bits_get(gate.raw[1], 0, 32) << 32;
		gate.ist = bits_get(low, 32, 3);
	}
	if (gate_has_params(&gate))
		gate.params = bits_get(low, 32, 5);
	*ret_gate = gate;
	return 0;
}

static int gate_check(const struct ka_gate *gate, size_t len)
{
	unsigned int offset_bits;

	if (gate->size != 8 && gate->size != 16)
		return -EINVAL;
	if (gate->type > 15 || gate->dpl > 3 || gate->ist > (gate->size == 16 ? 7 : 0))
		return -EINVAL;
	if (gate->params > (gate_has_params(gate) ? 31 : 0))
		return -EINVAL;
	offset_bits = gate->size == 16 ? 64 : gate_offset_bits(gate->type);
	if (offset_bits < 64 && gate->offset >> offset_bits)
		return -EINVAL;
	return len < gate->size ? -EMSGSIZE : 0;
}

int ka_gate_encode(const struct ka_gate *gate, void *bytes, size_t len)
{
	uint64_t raw[2] = { gate->raw[0], gate->raw[1] };
	unsigned int offset_bits;
	int err;

	err = gate_check(gate, len);
	if (err)
		return err;
	raw[0] = bits_set(raw[0], TYPE_SHIFT, 4, gate->type);
	raw[0] = bits_set(raw[0], 16, 16, gate->selector);
	raw[0] = bits_set(raw[0], DPL_SHIFT, 2, gate->dpl);
	raw[0] = bits_set(raw[0], PRESENT_BIT, 1, gate->present);
	offset_bits = gate->size == 16 ? 64 : gate_offset_bits(gate->type);
	if (offset_bits >= 16)
		raw[0] = bits_set(raw[0], 0, 16, gate->offset);
	if (offset_bits >= 32)
		raw[0] = bits_set(raw[0], 48, 16, gate->offset >> 16);
	if (offset_bits == 64) {
		raw[1] = bits_set(raw[1], 0, 32, gate->offset >> 32);
		raw[0] = bits_set(raw[0], 32, 3, gate->ist);
	}
	if (gate_has_params(gate))
		raw[0] = bits_set(raw[0], 32, 5, gate->params);
	store_raw(bytes, raw, gate->size);
	return 0;
}

static const char *code_name(const struct ka_descriptor *desc)
{
	if (desc->long_mode)
		return desc->db ? "reserved" : "code64";
	return desc->db ? "code32" : "code16";
}

const char *ka_descriptor_type_name(const struct ka_descriptor *desc)
{
	if (desc->system && !desc->type && !desc->present && !desc->base && !desc->limit)
		return "null";
	if (!desc->system)
		return desc->type & DESCRIPTOR_CODE ? code_name(desc) : "data";
	switch (desc->type) {
	case DESCRIPTOR_TSS16:
		return "tss16";
	case DESCRIPTOR_LDT:
		return "ldt";
	case DESCRIPTOR_TSS16_BUSY:
		return "tss16 busy";
	case DESCRIPTOR_TSS:
		return desc->size == 16 ? "tss64" : "tss32";
	case DESCRIPTOR_TSS_BUSY:
		return desc->size == 16 ? "tss64 busy" : "tss32 busy";
	case GATE_CALL16:
		return "call gate 16";
	case GATE_CALL:
		return "call gate";
	case GATE_TASK:
		return "task gate";
	default:
		return "reserved";
	}
}

const char *ka_gate_type_name(const struct ka_gate *gate)
{
	if (!gate->type && !gate->present && !gate->offset && !gate->selector)
		return "null";
	/* With S set this is a code or data descriptor, which the CPU refuses as a gate. */
	if (bits_get(gate->raw[0], SYSTEM_BIT, 1))
		return "reserved";
	switch (gate->type) {
	case GATE_CALL:
		return "call gate";
	case GATE_INTERRUPT:
		return "interrupt gate";
	case GATE_TRAP:
		return "trap gate";
	default:
		break;
	}
	/* Long mode has no others (SDM table 3-2). */
	if (gate->size == 16)
		return "reserved";
	switch (gate->type) {
	case GATE_CALL16:
		return "call gate 16";
	case GATE_TASK:
		return "task gate";
	case GATE_INTERRUPT16:
		return "interrupt gate 16";
	case GATE_TRAP16:
		return "trap gate 16";
	default:
		return "reserved";
	}
}
