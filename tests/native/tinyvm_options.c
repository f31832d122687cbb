// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the program and the tests must agree on: options, addresses, the layout of memslots. */
#include <errno.h>

#include "tinyvm.h"

enum { PAGE = 4096, HOLE = 1 << 20 };

int tinyvm_options_complete(struct tinyvm_options *options)
{
	struct tinyvm_options o = *options;

	o.vms = o.vms ? o.vms : 1;
	o.vcpus = o.vcpus ? o.vcpus : 1;
	o.slots = o.slots ? o.slots : 1;
	o.memory = o.memory ? o.memory : (uint64_t)GUEST_MEMORY_MIN * o.slots;
	o.hole = o.hole ? o.hole : HOLE;
	if (o.mode >= TINYVM_MODES || o.vms > TINYVM_VMS_MAX || o.vcpus > GUEST_VCPUS_MAX ||
	    o.slots > TINYVM_SLOTS_MAX || o.memory / o.slots < GUEST_MEMORY_MIN ||
	    o.memory % (o.slots * (uint64_t)PAGE) || o.hole % PAGE)
		return -EINVAL;
	*options = o;
	return 0;
}

const char *tinyvm_mode_name(enum tinyvm_mode mode)
{
	static const char *const names[TINYVM_MODES] = {
		[TINYVM_4LEVEL] = "4level",
		[TINYVM_5LEVEL] = "5level",
		[TINYVM_PAE] = "pae",
		[TINYVM_32BIT] = "32bit",
		[TINYVM_RESET] = "reset",
	};

	return names[mode];
}

bool tinyvm_mode_64bit(enum tinyvm_mode mode)
{
	return mode == TINYVM_4LEVEL || mode == TINYVM_5LEVEL;
}

uint64_t tinyvm_gva(enum tinyvm_mode mode, uint64_t gpa)
{
	return (tinyvm_mode_64bit(mode) ? GUEST_BASE_64 : GUEST_BASE_32) + gpa;
}

size_t tinyvm_slots(const struct tinyvm_options *options, struct tinyvm_slot *ret_slots)
{
	uint64_t size = options->memory / options->slots;

	for (unsigned int i = 0; i < options->slots; i++)
		ret_slots[i] = (struct tinyvm_slot){ .id = i, .gpa = i * (size + options->hole),
						     .size = size, .ram_offset = i * size };
	return options->slots;
}
