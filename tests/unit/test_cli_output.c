// SPDX-License-Identifier: LGPL-2.1-or-later
/* How kvmbpf draws text from the JSON of its results. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#include "../../user/cli/output.c"

static char *draw(json_t *object, const struct layout *layouts)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	output_text(out, object, layouts);
	fclose(out);
	json_decref(object);
	return text;
}

#define EXPECT_TEXT(object, layouts, want) do {                                                  \
	char *text = draw(object, layouts);                                                      \
	cr_expect_str_eq(text, want);                                                            \
	free(text);                                                                              \
} while (0)

static const struct layout table[] = {
	{.kind = LAYOUT_TABLE, .key = "rows", .columns = (const struct column[]){
		{"pid", "PID", COLUMN_PLAIN}, {"name", "NAME", COLUMN_PLAIN},
		{"memory", "MEMORY", COLUMN_BYTES}, {"reason", "REASON", COLUMN_PLAIN}, {0}}},
	{0},
};

Test(cli_output, table_is_aligned_and_lacks_columns_that_no_row_has)
{
	EXPECT_TEXT(json_pack("{s:[{s:i, s:s, s:i}, {s:i, s:s, s:i}]}", "rows",
			      "pid", 7, "name", "\xc3\xa9t\xc3\xa9", "memory", 1 << 20,
			      "pid", 4242, "name", "", "memory", 1000), table,
		    "PID   NAME  MEMORY\n"
		    "   7  \xc3\xa9t\xc3\xa9   1 MiB\n"
		    "4242  -     1000\n");
	EXPECT_TEXT(json_pack("{s:[{s:i, s:s}, {s:i}]}", "rows", "pid", 1, "reason", "x", "pid", 2),
		    table, "PID  REASON\n  1  x\n  2  -\n");
}

Test(cli_output, empty_table_shows_its_titles)
{
	EXPECT_TEXT(json_pack("{s:[]}", "rows"), table, "PID  NAME  MEMORY  REASON\n");
	EXPECT_TEXT(json_object(), table, "");
}

static const struct layout fields[] = {
	{.kind = LAYOUT_FIELDS, .per_line = 2, .columns = (const struct column[]){
		{"rax", "RAX", COLUMN_PLAIN}, {"none", "NONE", COLUMN_PLAIN},
		{"r8", "R8", COLUMN_PLAIN}, {"gdtr", "GDTR", COLUMN_PLAIN}, {0}}},
	{0},
};

Test(cli_output, fields_leave_out_what_has_no_value)
{
	EXPECT_TEXT(json_pack("{s:o, s:b, s:{s:s, s:s}}", "rax", output_short_hex(16), "r8", 1,
			      "gdtr", "base", "0x1", "limit", "0x7f"), fields,
		    "RAX  0x10      R8   yes\nGDTR 0x1 0x7f\n");
}

Test(cli_output, hexdump)
{
	static const struct layout dump[] = {{.kind = LAYOUT_HEXDUMP, .key = "data"}, {0}};
	static const uint8_t bytes[18] = "0123456789\0\x1b\x7f\xff~ AB";

	EXPECT_TEXT(json_pack("{s:[{s:o, s:o}]}", "data", "address",
			      output_hex(0xffffffff80000000), "data",
			      output_bytes(bytes, sizeof(bytes))), dump,
		    "ffffffff80000000  30 31 32 33 34 35 36 37  38 39 00 1b 7f ff 7e 20  "
		    "|0123456789....~ |\n"
		    "ffffffff80000010  41 42                                             |AB|\n");
}

Test(cli_output, addresses_are_strings_of_all_64_bits)
{
	json_t *value = output_hex(0xfffffffffffffffe);

	cr_expect_str_eq(json_string_value(value), "0xfffffffffffffffe");
	json_decref(value);
}

Test(cli_output, guest_text_steers_no_terminal)
{
	json_t *value = output_guest_text("a\x1b[2J\xff\\\n");

	cr_expect_str_eq(json_string_value(value), "a\\x1b[2J\\xff\\x5c\\x0a");
	json_decref(value);
}

Test(cli_output, long_guest_text_is_cut)
{
	char text[4096];
	json_t *value;

	memset(text, 0x01, sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	value = output_guest_text(text);
	cr_assert_not_null(value);
	cr_expect_lt(json_string_length(value), CELL_MAX);
	json_decref(value);
}
