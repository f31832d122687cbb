/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Decodes and encodes x86 segment descriptors and gates, in their 32-bit and 64-bit forms.
 *
 * Sources: Intel SDM vol. 3A 3.4.5 (segments), 5.8 and 6.11 (gates), 6.14.1 and 7.2.3 (64-bit
 * forms); AMD APM vol. 2 4.7 and 4.8. Pure code: bytes in, values out.
 */
#ifndef KVMACCESS_DESCRIPTOR_H
#define KVMACCESS_DESCRIPTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Public types. */

/*
 * One segment descriptor. Encoding starts from raw and lays the other fields over it, so reserved
 * bits survive; zero raw to make a descriptor from nothing.
 */
struct ka_descriptor {
	uint64_t base;
	uint32_t limit; /* last valid offset in bytes: granularity is applied */
	uint8_t type;	/* the four type bits */
	uint8_t dpl;
	uint8_t size;	/* bytes in the table: 8, or 16 for system descriptors in long mode */
	bool system;	/* a TSS, an LDT or a gate; neither code nor data */
	bool present;
	bool avl;
	bool long_mode;	  /* L: 64-bit code */
	bool db;	  /* D/B: 32-bit operands and stack */
	bool granularity; /* G: the limit counts 4096 bytes */
	uint64_t raw[2];  /* as it stands in memory; raw[1] is 0 where size is 8 */
};

/* One gate of an IDT, GDT or LDT. Encoding treats raw as for struct ka_descriptor. */
struct ka_gate {
	uint64_t offset; /* of the handler; 0 in a task gate */
	uint16_t selector;
	uint8_t type; /* the four type bits */
	uint8_t dpl;
	uint8_t ist;	/* interrupt stack table slot, 64-bit form only */
	uint8_t params; /* parameters that a 16- or 32-bit call gate copies */
	uint8_t size;	/* bytes it takes in the table: 8 or 16 */
	bool present;
	uint64_t raw[2];
};

/* End of the public types. */

/* System types (SDM table 3-2). */
enum {
	DESCRIPTOR_TSS16 = 0x1,
	DESCRIPTOR_LDT = 0x2,
	DESCRIPTOR_TSS16_BUSY = 0x3,
	GATE_CALL16 = 0x4,
	GATE_TASK = 0x5,
	GATE_INTERRUPT16 = 0x6,
	GATE_TRAP16 = 0x7,
	DESCRIPTOR_TSS = 0x9,
	DESCRIPTOR_TSS_BUSY = 0xb,
	GATE_CALL = 0xc,
	GATE_INTERRUPT = 0xe,
	GATE_TRAP = 0xf,
};

/* Type bits of code and data segments (SDM table 3-1). */
enum {
	DESCRIPTOR_ACCESSED = 0x1,
	DESCRIPTOR_WRITABLE = 0x2, /* data; readable in code */
	DESCRIPTOR_EXPAND_DOWN = 0x4, /* data; conforming in code */
	DESCRIPTOR_CODE = 0x8,
};

/*
 * Decodes the descriptor that starts at @bytes. @long_mode: the table belongs to a CPU in long
 * mode, where TSS, LDT and call gate take 16 bytes. -EMSGSIZE if @len is too short for it.
 */
int descriptor_decode(const void *bytes, size_t len, bool long_mode,
		      struct ka_descriptor *ret_descriptor);

/*
 * Writes desc->size bytes. -EINVAL if a field does not fit its bits or the limit cannot be
 * expressed with this granularity, -EMSGSIZE if @len is below desc->size.
 */
int descriptor_encode(const struct ka_descriptor *desc, void *bytes, size_t len);

/*
 * Decodes the gate that starts at @bytes: 16 bytes in long mode, else 8. -EMSGSIZE if @len is too
 * short for it.
 */
int gate_decode(const void *bytes, size_t len, bool long_mode, struct ka_gate *ret_gate);

/* Writes gate->size bytes. Errors as descriptor_encode(). */
int gate_encode(const struct ka_gate *gate, void *bytes, size_t len);

/* Short constant names: "code64", "data", "tss64 busy", "interrupt gate", "null", "reserved". */
const char *descriptor_type_name(const struct ka_descriptor *desc);
const char *gate_type_name(const struct ka_gate *gate);

#endif
