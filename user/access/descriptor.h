/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The types of x86 segment descriptors and gates.
 *
 * Sources: Intel SDM vol. 3A 3.4.5 (segments), 5.8 and 6.11 (gates), 6.14.1 and 7.2.3 (64-bit
 * forms); AMD APM vol. 2 4.7 and 4.8. Pure code: bytes in, values out.
 */
#ifndef KVMACCESS_DESCRIPTOR_H
#define KVMACCESS_DESCRIPTOR_H

#include "kvmaccess.h"

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

#endif
