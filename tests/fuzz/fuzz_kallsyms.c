// SPDX-License-Identifier: LGPL-2.1-or-later
/* Memory that may hold kallsyms tables: what is found can be parsed and looked up. */
#include "access/kallsyms.h"

#include "fuzz_kallsyms.h"
#include "fuzz_symbols.h"

static int check_parse(const struct kallsyms_image *image, const struct kallsyms_tables *tables)
{
	struct ka_symbols *symbols;
	int err;

	if (symbols_create(&symbols))
		return -ENOMEM;
	err = kallsyms_parse(image, tables, symbols);
	if (!err) {
		CHECK(symbols_count(symbols) > 0);
		CHECK(ka_symbols_64bit(symbols) == (image->bits == 64));
		CHECK(symbols_seal(symbols) == 0);
		check_symbols(symbols);
	} else {
		CHECK(err == -EBADMSG);
		CHECK(symbols_count(symbols) == 0);
	}
	ka_symbols_free(symbols);
	return err;
}

static uint64_t table_at(const struct kallsyms_image *image, uint16_t place)
{
	return place == FUZZ_NO_TABLE ? 0 : image->base + place;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct kallsyms_tables tables;
	struct kallsyms_image image;
	struct fuzz_header header;
	int err;

	if (len < sizeof(header))
		return 0;
	memcpy(&header, data, sizeof(header));
	image = (struct kallsyms_image){
		.bytes = data + sizeof(header),
		.len = len - sizeof(header),
		.bits = header.bits32 & 1 ? 32 : 64,
		.base = header.bits32 & 1 ? 0xc1000000 : 0xffffffff81000000,
	};
	err = kallsyms_locate(&image, &tables);
	if (!err)
		check_parse(&image, &tables);
	else
		CHECK(err == -ENOENT || err == -EPROTONOSUPPORT || err == -E2BIG);
	/* As a guest's vmcoreinfo would name them. */
	tables = (struct kallsyms_tables){
		.num_syms = table_at(&image, header.tables[0]),
		.names = table_at(&image, header.tables[1]),
		.markers = table_at(&image, header.tables[2]),
		.token_table = table_at(&image, header.tables[3]),
		.token_index = table_at(&image, header.tables[4]),
		.offsets = table_at(&image, header.tables[5]),
		.relative_base = table_at(&image, header.tables[6]),
	};
	check_parse(&image, &tables);
	return 0;
}
