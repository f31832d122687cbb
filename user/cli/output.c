// SPDX-License-Identifier: LGPL-2.1-or-later
/* Prints a result: as JSON, or as text that a layout draws from the same JSON. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

enum { CELL_MAX = 512, COLUMNS_MAX = 16, DUMP_LINE = 16 };

int output_json(FILE *out, const json_t *result, int pretty)
{
	int err = json_dumpf(result, out, pretty ? JSON_INDENT(2) : JSON_COMPACT);

	fputc('\n', out);
	return err;
}

/* ---- values -------------------------------------------------------------------------------- */

json_t *output_hex(uint64_t value)
{
	return json_sprintf("0x%016" PRIx64, value);
}

json_t *output_short_hex(uint64_t value)
{
	return json_sprintf("0x%" PRIx64, value);
}

json_t *output_guest_text(const char *text)
{
	char safe[CELL_MAX];
	size_t used = 0;

	for (; *text && used + 5 < sizeof(safe); text++) {
		unsigned char c = *text;

		if (c >= 0x20 && c < 0x7f && c != '\\')
			safe[used++] = c;
		else
			used += snprintf(safe + used, sizeof(safe) - used, "\\x%02x", c);
	}
	return json_stringn(safe, used);
}

json_t *output_bytes(const uint8_t *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	char *text = malloc(2 * len + 1);
	json_t *value;

	if (!text)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	value = json_stringn(text, 2 * len);
	free(text);
	return value;
}

/* ---- cells --------------------------------------------------------------------------------- */

static void bytes_text(json_int_t bytes, char *ret_text, size_t size)
{
	static const char units[] = "KMGTP";
	int unit = -1;

	while (bytes >= 1024 && bytes % 1024 == 0 && unit + 1 < (int)sizeof(units) - 1) {
		bytes /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(ret_text, size, "%lld", (long long)bytes);
	else
		snprintf(ret_text, size, "%lld %ciB", (long long)bytes, units[unit]);
}

static void join_text(const json_t *value, char *ret_text, size_t size);

static void cell_text(const json_t *value, enum column_form form, char *ret_text, size_t size)
{
	ret_text[0] = '\0';
	if (json_is_integer(value) && form == COLUMN_BYTES)
		bytes_text(json_integer_value(value), ret_text, size);
	else if (json_is_integer(value))
		snprintf(ret_text, size, "%lld", (long long)json_integer_value(value));
	else if (json_is_string(value))
		snprintf(ret_text, size, "%s", json_string_value(value));
	else if (json_is_boolean(value))
		snprintf(ret_text, size, "%s", json_is_true(value) ? "yes" : "no");
	else if (json_is_array(value) || json_is_object(value))
		join_text(value, ret_text, size);
	if (!ret_text[0])
		snprintf(ret_text, size, "-");
}

static void join_text(const json_t *value, char *ret_text, size_t size)
{
	json_t *object = (json_t *)value, *item;
	size_t used = 0, i;
	const char *key;
	char cell[CELL_MAX];

	json_array_foreach(value, i, item) {
		cell_text(item, COLUMN_PLAIN, cell, sizeof(cell));
		if (used < size)
			used += snprintf(ret_text + used, size - used, "%s%s", i ? "," : "", cell);
	}
	json_object_foreach(object, key, item) {
		cell_text(item, COLUMN_PLAIN, cell, sizeof(cell));
		if (used < size)
			used += snprintf(ret_text + used, size - used, "%s%s", used ? " " : "",
					 cell);
	}
}

static size_t text_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void put_padded(FILE *out, const char *text, size_t width, bool right)
{
	int pad = (int)width - (int)text_width(text);

	if (right)
		fprintf(out, "%*s%s", pad > 0 ? pad : 0, "", text);
	else
		fprintf(out, "%s%*s", text, pad > 0 ? pad : 0, "");
}

/* ---- layouts ------------------------------------------------------------------------------- */

/* A column that no row has is left out. */
static bool has_column(const json_t *rows, const struct column *column)
{
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
		if (json_object_get(row, column->key))
			return true;
	return !json_array_size(rows);
}

static size_t column_width(const json_t *rows, const struct column *column)
{
	size_t width = text_width(column->title), i;
	char cell[CELL_MAX];
	json_t *row;

	json_array_foreach(rows, i, row) {
		cell_text(json_object_get(row, column->key), column->form, cell, sizeof(cell));
		if (text_width(cell) > width)
			width = text_width(cell);
	}
	return width;
}

/* The titles where `row` is NULL. */
static void draw_row(FILE *out, const json_t *row, const struct column *const *columns,
		     const size_t *width, size_t count)
{
	char cell[CELL_MAX];

	for (size_t i = 0; i < count; i++) {
		const json_t *value = row ? json_object_get(row, columns[i]->key) : NULL;
		bool last = i + 1 == count;

		if (row)
			cell_text(value, columns[i]->form, cell, sizeof(cell));
		else
			snprintf(cell, sizeof(cell), "%s", columns[i]->title);
		put_padded(out, cell, last ? 0 : width[i], json_is_integer(value));
		fputs(last ? "\n" : "  ", out);
	}
}

static void draw_table(FILE *out, const json_t *rows, const struct column *columns)
{
	const struct column *shown[COLUMNS_MAX];
	size_t width[COLUMNS_MAX], count = 0, i;
	json_t *row;

	for (; columns->key && count < COLUMNS_MAX; columns++) {
		if (!has_column(rows, columns))
			continue;
		shown[count] = columns;
		width[count++] = column_width(rows, columns);
	}
	draw_row(out, NULL, shown, width, count);
	json_array_foreach(rows, i, row)
		draw_row(out, row, shown, width, count);
}

/* What has no value is left out. */
static void draw_fields(FILE *out, const json_t *object, const struct layout *layout)
{
	unsigned int per_line = layout->per_line ? layout->per_line : 1, drawn = 0;
	size_t title_width = 0, width = 0, pad = 0;
	char cell[CELL_MAX];

	for (const struct column *c = layout->columns; c->key; c++) {
		const json_t *value = json_object_get(object, c->key);

		if (!value)
			continue;
		cell_text(value, c->form, cell, sizeof(cell));
		if (text_width(c->title) > title_width)
			title_width = text_width(c->title);
		if (text_width(cell) > width)
			width = text_width(cell);
	}
	for (const struct column *c = layout->columns; c->key; c++) {
		const json_t *value = json_object_get(object, c->key);

		if (!value)
			continue;
		cell_text(value, c->form, cell, sizeof(cell));
		if (drawn && drawn % per_line)
			fprintf(out, "%*s", (int)pad + 2, "");
		else if (drawn)
			fputc('\n', out);
		put_padded(out, c->title, title_width, false);
		fprintf(out, " %s", cell);
		pad = width - text_width(cell);
		drawn++;
	}
	if (drawn)
		fputc('\n', out);
}

static unsigned int hex_byte(const char *text)
{
	const char digits[3] = {text[0], text[1], '\0'};

	return strtoul(digits, NULL, 16);
}

static void draw_hexdump(FILE *out, const json_t *run)
{
	const json_t *data = json_object_get(run, "data");
	const char *text = json_string_value(data);
	uint64_t address = strtoull(json_string_value(json_object_get(run, "address")), NULL, 16);
	size_t len = json_string_length(data) / 2;

	for (size_t line = 0; line < len; line += DUMP_LINE) {
		size_t n = len - line < DUMP_LINE ? len - line : DUMP_LINE;

		fprintf(out, "%016" PRIx64 " ", address + line);
		for (size_t i = 0; i < DUMP_LINE; i++) {
			fputs(i == DUMP_LINE / 2 ? "  " : " ", out);
			if (i < n)
				fprintf(out, "%.2s", text + 2 * (line + i));
			else
				fputs("  ", out);
		}
		fputs("  |", out);
		for (size_t i = 0; i < n; i++) {
			unsigned int c = hex_byte(text + 2 * (line + i));

			fputc(c >= 0x20 && c < 0x7f ? (int)c : '.', out);
		}
		fputs("|\n", out);
	}
}

void output_text(FILE *out, const json_t *object, const struct layout *layouts)
{
	json_t *item;
	size_t i;

	for (const struct layout *layout = layouts; layout->kind != LAYOUT_END; layout++) {
		const json_t *value = layout->key ? json_object_get(object, layout->key) : object;

		if (!value)
			continue;
		switch (layout->kind) {
		case LAYOUT_TABLE:
			draw_table(out, value, layout->columns);
			break;
		case LAYOUT_FIELDS:
			draw_fields(out, value, layout);
			break;
		case LAYOUT_EACH:
			json_array_foreach(value, i, item) {
				if (i)
					fputc('\n', out);
				output_text(out, item, layout->inner);
			}
			break;
		case LAYOUT_HEXDUMP:
			json_array_foreach(value, i, item)
				draw_hexdump(out, item);
			break;
		case LAYOUT_END:
			break;
		}
	}
}
