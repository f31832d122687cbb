// SPDX-License-Identifier: LGPL-2.1-or-later
/* Parses the vmcoreinfo text of a kernel. */
#include "vmcoreinfo.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

enum field_kind { FIELD_HEX, FIELD_DECIMAL };

struct field {
	const char *key;
	enum field_kind kind;
	size_t offset;
};

enum field_index {
	STEXT,
	INIT_TOP_PGT,
	SWAPPER_PG_DIR,
	PHYS_BASE,
	KERNELOFFSET,
	NAMES,
	NUM_SYMS,
	TOKEN_TABLE,
	TOKEN_INDEX,
	OFFSETS,
	RELATIVE_BASE,
	FIELDS,
};

/* While it is read: the root under each of its names, of which x86-64 has both. */
struct draft {
	struct vmcoreinfo info;
	uint64_t swapper_pg_dir;
	bool seen[FIELDS];
};

#define AT(member) offsetof(struct draft, info.member)

static const struct field fields[FIELDS] = {
	[STEXT] = { "SYMBOL(_stext)", FIELD_HEX, AT(stext) },
	[INIT_TOP_PGT] = { "SYMBOL(init_top_pgt)", FIELD_HEX, AT(root) },
	[SWAPPER_PG_DIR] = { "SYMBOL(swapper_pg_dir)", FIELD_HEX,
			     offsetof(struct draft, swapper_pg_dir) },
	[PHYS_BASE] = { "NUMBER(phys_base)", FIELD_DECIMAL, AT(phys_base) },
	[KERNELOFFSET] = { "KERNELOFFSET", FIELD_HEX, AT(slide) },
	[NAMES] = { "SYMBOL(kallsyms_names)", FIELD_HEX, AT(kallsyms.names) },
	[NUM_SYMS] = { "SYMBOL(kallsyms_num_syms)", FIELD_HEX, AT(kallsyms.num_syms) },
	[TOKEN_TABLE] = { "SYMBOL(kallsyms_token_table)", FIELD_HEX, AT(kallsyms.token_table) },
	[TOKEN_INDEX] = { "SYMBOL(kallsyms_token_index)", FIELD_HEX, AT(kallsyms.token_index) },
	[OFFSETS] = { "SYMBOL(kallsyms_offsets)", FIELD_HEX, AT(kallsyms.offsets) },
	[RELATIVE_BASE] = { "SYMBOL(kallsyms_relative_base)", FIELD_HEX,
			    AT(kallsyms.relative_base) },
};

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_hex(const char *text, size_t len, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (!len || len > 16)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (digit(text[i]) < 0)
			return false;
		value = value << 4 | (unsigned int)digit(text[i]);
	}
	*ret_value = value;
	return true;
}

static bool parse_decimal(const char *text, size_t len, int64_t *ret_value)
{
	bool negative = len && text[0] == '-';
	int64_t value = 0;

	if (len == negative)
		return false;
	for (size_t i = negative; i < len; i++) {
		if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
		    __builtin_sub_overflow(value, text[i] - '0', &value))
			return false;
	}
	/* Summed up below zero, where there is room for one more. */
	if (!negative && __builtin_sub_overflow(0, value, &value))
		return false;
	*ret_value = value;
	return true;
}

static bool parse_release(const char *text, size_t len, struct vmcoreinfo *info)
{
	if (!len || len >= sizeof(info->release))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isgraph((unsigned char)text[i]))
			return false;
	memcpy(info->release, text, len);
	info->release[len] = '\0';
	return true;
}

static bool parse_build_id(const char *text, size_t len, struct vmcoreinfo *info)
{
	if (info->has_build_id || len != 2 * VMCOREINFO_BUILD_ID)
		return false;
	for (size_t i = 0; i < VMCOREINFO_BUILD_ID; i++) {
		int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		info->build_id[i] = (uint8_t)(high << 4 | low);
	}
	info->has_build_id = true;
	return true;
}

/* A line that is known fills its field, once. */
static bool parse_line(const char *line, size_t key, size_t len, struct draft *draft)
{
	const char *value = line + key + 1;
	size_t value_len = len - key - 1;

	for (size_t i = 0; i < FIELDS; i++) {
		void *place = (char *)draft + fields[i].offset;

		if (strlen(fields[i].key) != key || memcmp(line, fields[i].key, key))
			continue;
		if (draft->seen[i])
			return false;
		draft->seen[i] = true;
		return fields[i].kind == FIELD_DECIMAL ? parse_decimal(value, value_len, place)
						       : parse_hex(value, value_len, place);
	}
	if (key == strlen("BUILD-ID") && !memcmp(line, "BUILD-ID", key))
		return parse_build_id(value, value_len, &draft->info);
	return true;
}

static int finish(struct draft *draft, struct vmcoreinfo *ret_info)
{
	const bool *seen = draft->seen;

	if (seen[INIT_TOP_PGT] && seen[SWAPPER_PG_DIR] && draft->info.root != draft->swapper_pg_dir)
		return -EBADMSG;
	if (!seen[STEXT] || !seen[PHYS_BASE] || !(seen[INIT_TOP_PGT] || seen[SWAPPER_PG_DIR]))
		return -ENODATA;
	if (!seen[INIT_TOP_PGT])
		draft->info.root = draft->swapper_pg_dir;
	draft->info.has_kallsyms = seen[NAMES] && seen[NUM_SYMS] && seen[TOKEN_TABLE] &&
				   seen[TOKEN_INDEX] && seen[OFFSETS];
	*ret_info = draft->info;
	return 0;
}

int vmcoreinfo_parse(const char *text, size_t len, struct vmcoreinfo *ret_info)
{
	const size_t magic = strlen(VMCOREINFO_MAGIC);
	struct draft draft = { 0 };

	len = strnlen(text, len);
	if (len < magic || memcmp(text, VMCOREINFO_MAGIC, magic))
		return -EBADMSG;
	for (size_t at = 0; at < len;) {
		const char *line = text + at, *end = memchr(line, '\n', len - at), *equals;
		size_t line_len = end ? (size_t)(end - line) : len - at;

		equals = memchr(line, '=', line_len);
		if (!at && !parse_release(line + magic, line_len - magic, &draft.info))
			return -EBADMSG;
		if (at && equals && !parse_line(line, equals - line, line_len, &draft))
			return -EBADMSG;
		at += line_len + 1;
	}
	return finish(&draft, ret_info);
}
