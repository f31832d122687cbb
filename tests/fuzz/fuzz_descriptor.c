// SPDX-License-Identifier: LGPL-2.1-or-later
/* Descriptors and gates of any bits: decoding loses none of them, encoding makes none up. */
#include "access/descriptor.h"

#include <errno.h>
#include <string.h>

#include "fuzz.h"

static void check_descriptor(const uint8_t *data, size_t len, bool long_mode)
{
	struct ka_descriptor desc, again;
	uint8_t out[16];

	if (ka_descriptor_decode(data, len, long_mode, &desc)) {
		CHECK(len < 16);
		return;
	}
	CHECK(desc.size == 8 || (desc.size == 16 && desc.system && long_mode));
	CHECK(ka_descriptor_type_name(&desc)[0]);
	CHECK(ka_descriptor_encode(&desc, out, desc.size - 1) == -EMSGSIZE);
	CHECK(ka_descriptor_encode(&desc, out, desc.size) == 0);
	CHECK(!memcmp(out, data, desc.size));
	/* From the fields alone, without what raw keeps, they come out the same. */
	memset(desc.raw, 0, sizeof(desc.raw));
	CHECK(ka_descriptor_encode(&desc, out, sizeof(out)) == 0);
	CHECK(ka_descriptor_decode(out, desc.size, long_mode, &again) == 0);
	memset(again.raw, 0, sizeof(again.raw));
	CHECK(!memcmp(&desc, &again, sizeof(desc)));
}

static void check_gate(const uint8_t *data, size_t len, bool long_mode)
{
	struct ka_gate gate, again;
	uint8_t out[16];

	if (ka_gate_decode(data, len, long_mode, &gate)) {
		CHECK(len < 16);
		return;
	}
	CHECK(gate.size == (long_mode ? 16 : 8));
	CHECK(ka_gate_type_name(&gate)[0]);
	CHECK(ka_gate_encode(&gate, out, gate.size - 1) == -EMSGSIZE);
	CHECK(ka_gate_encode(&gate, out, gate.size) == 0);
	CHECK(!memcmp(out, data, gate.size));
	memset(gate.raw, 0, sizeof(gate.raw));
	CHECK(ka_gate_encode(&gate, out, sizeof(out)) == 0);
	CHECK(ka_gate_decode(out, gate.size, long_mode, &again) == 0);
	memset(again.raw, 0, sizeof(again.raw));
	CHECK(!memcmp(&gate, &again, sizeof(gate)));
}

/* Fields that no decoding made are refused or fit. */
static void check_made_up(const uint8_t *data, size_t len)
{
	struct ka_descriptor desc = { 0 }, desc_again;
	struct ka_gate gate = { 0 }, gate_again;
	uint8_t out[16];

	if (len < 24)
		return;
	memcpy(&desc.base, data, 8);
	memcpy(&desc.limit, data + 8, 4);
	desc.type = data[12];
	desc.dpl = data[13];
	desc.size = data[14];
	desc.system = data[15] & 1;
	desc.granularity = data[15] & 2;
	if (ka_descriptor_encode(&desc, out, sizeof(out)) == 0 &&
	    ka_descriptor_decode(out, desc.size, desc.size == 16, &desc_again) == 0)
		CHECK(desc_again.limit == desc.limit && desc_again.type == desc.type);
	memcpy(&gate.offset, data + 16, 8);
	gate.type = data[12];
	gate.dpl = data[13];
	gate.size = data[14];
	gate.ist = data[8];
	gate.params = data[9];
	if (ka_gate_encode(&gate, out, sizeof(out)) == 0 &&
	    ka_gate_decode(out, gate.size, gate.size == 16, &gate_again) == 0)
		CHECK(gate_again.offset == gate.offset && gate_again.ist == gate.ist);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	check_descriptor(data, len, false);
	check_descriptor(data, len, true);
	check_gate(data, len, false);
	check_gate(data, len, true);
	check_made_up(data, len);
	return 0;
}
