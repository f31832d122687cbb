/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prints a result: as JSON, or as text that a layout draws from the same JSON. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

enum column_form { COLUMN_PLAIN, COLUMN_BYTES };

struct column {
	const char *key, *title;
	enum column_form form;
};

enum layout_kind {
	LAYOUT_END,
	LAYOUT_TABLE,    /* an array of objects: a line each */
	LAYOUT_FIELDS,   /* an object: "title value", `per_line` of them */
	LAYOUT_EACH,     /* an array of objects: `inner` for each */
	LAYOUT_HEXDUMP,  /* an array of {address, data}: runs of bytes in hex */
};

/* How text is drawn from an object. Arrays of layouts end with LAYOUT_END. */
struct layout {
	enum layout_kind kind;
	const char *key;              /* member that is drawn; NULL: the object itself */
	const struct column *columns; /* end with a NULL key */
	unsigned int per_line;
	const struct layout *inner;
};

int output_json(FILE *out, const json_t *result, int pretty);
void output_text(FILE *out, const json_t *object, const struct layout *layouts);

/* 64-bit values are strings: JSON numbers lose bits above 2^53. */
json_t *output_hex(uint64_t value);
/* Without leading zeros, for what is no address. */
json_t *output_short_hex(uint64_t value);
/* A string that the guest may have chosen; what is not printable ASCII becomes \xNN. */
json_t *output_guest_text(const char *text);
json_t *output_bytes(const uint8_t *bytes, size_t len);

#endif
