// SPDX-License-Identifier: LGPL-2.1-or-later
/* Text that may be a System.map or /proc/kallsyms: what is accepted can be looked up. */
#include "access/sysmap.h"

#include "fuzz_symbols.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ka_symbols *symbols;
	int err;

	sysmap_recognise((const char *)data, len);
	if (symbols_create(&symbols))
		return 0;
	err = sysmap_parse((const char *)data, len, symbols);
	if (!err) {
		CHECK(symbols_seal(symbols) == 0);
		check_symbols(symbols);
	} else {
		CHECK(err == -EBADMSG || err == -ENODATA || err == -EPERM);
	}
	ka_symbols_free(symbols);
	return 0;
}
