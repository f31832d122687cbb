// SPDX-License-Identifier: LGPL-2.1-or-later
/* BTF that a guest left: what is found in it lies within what it says itself. */
#include "access/types.h"

#include <errno.h>

#include "fuzz.h"

static const struct {
	const char *name, *path;
} wanted[] = {
	{ "module", "list.next" },
	{ "module", "mem[0].base" },
	{ "module", "name" },
	{ "module", "deep" },
	{ "module", "bits" },
	{ "module", "mem[" },
	{ "union", "" },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ka_types *types;
	int err = types_parse(data, len, &types);

	if (err) {
		CHECK(err == -EBADMSG || err == -ENOMEM);
		return 0;
	}
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		struct ka_member member;
		uint32_t size;

		if (ka_types_member(types, wanted[i].name, wanted[i].path, &member))
			continue;
		CHECK(!ka_types_size(types, wanted[i].name, &size));
		CHECK(member.offset <= size && member.size <= size - member.offset);
	}
	ka_types_free(types);
	return 0;
}
