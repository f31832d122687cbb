// SPDX-License-Identifier: LGPL-2.1-or-later
/* Symbols from text: System.map and /proc/kallsyms. */
#define _GNU_SOURCE
#include "sysmap.h"

#include <errno.h>
#include <string.h>

#include "symbols_build.h"

/* One line: "ffffffff81000000 T _text" or, of a module, "ffffffffc0000000 t foo\t[bar]". */
struct line {
	uint64_t addr;
	unsigned int digits;
	char type;
	const char *name;
	size_t name_len;
	bool module;
};

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* isgraph(), without a call for each of millions of letters. */
static bool is_graph(char c)
{
	return c > ' ' && c < 0x7f;
}

static int line_parse(const char *text, size_t len, struct line *ret_line)
{
	struct line line = { 0 };
	size_t at = 0;

	while (at < len && hex_value(text[at]) >= 0)
		line.addr = line.addr << 4 | hex_value(text[at++]);
	line.digits = at;
	if (!line.digits || line.digits > 16 || len - at < 4)
		return -EBADMSG;
	if (text[at] != ' ' || !is_graph(text[at + 1]) || text[at + 2] != ' ')
		return -EBADMSG;
	line.type = text[at + 1];
	at += 3;
	line.name = text + at;
	while (at < len && is_graph(text[at]))
		at++;
	line.name_len = text + at - line.name;
	if (!line.name_len || line.name_len > SYMBOLS_NAME_MAX)
		return -EBADMSG;
	while (at < len && (text[at] == ' ' || text[at] == '\t'))
		at++;
	/* Also "[bpf]" and "[__builtin__kprobes]": memory that is no part of the image. */
	line.module = at < len && text[at] == '[';
	if (at < len && !line.module)
		return -EBADMSG;
	*ret_line = line;
	return 0;
}

/* "ffffffffffffffff B The real System.map is in the linux-image-...-dbg package" */
static bool is_debian_stub(const char *text, size_t len)
{
	static const char stub[] = "The real System.map is in ";
	size_t first = len < 256 ? len : 256;

	return memmem(text, first, stub, strlen(stub)) != NULL;
}

bool sysmap_recognise(const char *text, size_t len)
{
	const char *end = memchr(text, '\n', len);
	struct line line;

	if (end)
		len = end - text;
	return is_debian_stub(text, len) || line_parse(text, len, &line) == 0;
}

/* What the lines told besides the symbols. */
struct summary {
	bool any;
	bool wide;    /* 64-bit addresses */
	bool nonzero; /* some address is */
	bool modules;
};

static int line_add(const char *text, size_t len, struct summary *sum, struct ka_symbols *symbols)
{
	struct line line;
	int err;

	/* nm leaves the address of undefined symbols blank. */
	if (!len || text[0] == ' ')
		return 0;
	err = line_parse(text, len, &line);
	if (err)
		return err;
	sum->any = true;
	sum->wide |= line.digits > 8;
	sum->nonzero |= line.addr != 0;
	sum->modules |= line.module;
	if (line.module)
		return 0;
	return symbols_add(symbols, line.addr, line.type, line.name, line.name_len);
}

int sysmap_parse(const char *text, size_t len, struct ka_symbols *symbols)
{
	struct summary sum = { 0 };
	size_t at = 0;
	int err;

	if (is_debian_stub(text, len))
		return -ENODATA;
	while (at < len) {
		const char *end = memchr(text + at, '\n', len - at);
		size_t line_len = end ? (size_t)(end - text) - at : len - at;

		err = line_add(text + at, line_len, &sum, symbols);
		if (err)
			return err;
		at += line_len + 1;
	}
	if (!sum.any)
		return -EBADMSG;
	if (!sum.nonzero)
		return -EPERM;
	symbols_set_bits(symbols, sum.wide ? 64 : 32);
	symbols_set_source(symbols, sum.modules ? "kallsyms" : "System.map");
	return 0;
}
