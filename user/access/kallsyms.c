// SPDX-License-Identifier: LGPL-2.1-or-later
/* Symbols from the kallsyms tables that a kernel carries in its read-only data. */
#include "kallsyms.h"

#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "symbols_build.h"

enum {
	TOKENS = 256,
	INDEX_SIZE = TOKENS * 2,
	TOKEN_MAX = 512,    /* KSYM_NAME_LEN */
	MARKER_STRIDE = 256,
	TABLE_ALIGN = 4,    /* the least; a word in all but the newest kernels */
	PAD_MAX = 8,	    /* between a table and the next */
	COUNT_MIN = 4,	    /* fewer symbols than this are no kernel */
	PROBE_NAMES = 32,   /* names that must make sense before more effort is spent */
	NAMES_MAX = 64 << 20, /* bytes from the count to the token table */
};

/* Steps a search may take in all: two seconds at worst. Debian's kernels take up to 12 million. */
static const uint64_t EFFORT_MAX = 1ULL << 28;

/* The tables as offsets into the image; all of them lie inside. */
struct layout {
	size_t num_syms;
	size_t names;
	size_t names_end; /* no name reaches beyond */
	size_t tokens;
	size_t tokens_end;
	size_t index;
	size_t offsets;
	size_t relative_base; /* 0: place-relative */
	uint32_t count;
	uint16_t token_len[TOKENS]; /* once tokens_match() has seen them */
};

static uint16_t get16(const struct kallsyms_image *image, size_t at)
{
	uint16_t value;

	memcpy(&value, image->bytes + at, sizeof(value));
	return le16toh(value);
}

static uint32_t get32(const struct kallsyms_image *image, size_t at)
{
	uint32_t value;

	memcpy(&value, image->bytes + at, sizeof(value));
	return le32toh(value);
}

static uint64_t get_word(const struct kallsyms_image *image, size_t at)
{
	uint64_t value;

	if (image->bits == 32)
		return get32(image, at);
	memcpy(&value, image->bytes + at, sizeof(value));
	return le64toh(value);
}

static size_t word_size(const struct kallsyms_image *image)
{
	return image->bits / 8;
}

static bool fits(const struct kallsyms_image *image, size_t at, size_t len)
{
	return at <= image->len && len <= image->len - at;
}

static size_t align_up(size_t at, size_t align)
{
	return (at + align - 1) & ~(align - 1);
}

/* Tokens */

static bool token_index_plausible(const struct kallsyms_image *image, size_t index)
{
	unsigned int i;

	if (get16(image, index) != 0)
		return false;
	for (i = 1; i < TOKENS; i++) {
		uint16_t before = get16(image, index + 2 * (i - 1));
		uint16_t here = get16(image, index + 2 * i);

		if (here <= before || here - before > TOKEN_MAX)
			return false;
	}
	return true;
}

/* Length of the token that starts at @at, if it is text that ends before @end. */
static int token_length(const struct kallsyms_image *image, size_t at, size_t end)
{
	size_t len = 0;

	while (at + len < end && len < TOKEN_MAX) {
		uint8_t c = image->bytes[at + len];

		if (!c)
			return len;
		if (!isgraph(c))
			return -EBADMSG;
		len++;
	}
	return -EBADMSG;
}

/*
 * Whether 256 texts at @tokens end where the index says, and how long they are. *@ret_end: first
 * byte behind them.
 */
static bool tokens_match(const struct kallsyms_image *image, size_t tokens, size_t index,
			 size_t limit, uint16_t token_len[static TOKENS], size_t *ret_end)
{
	size_t at = tokens;
	unsigned int i;
	int len;

	for (i = 0; i < TOKENS; i++) {
		if (at - tokens != get16(image, index + 2 * i))
			return false;
		len = token_length(image, at, limit);
		if (len < 0)
			return false;
		token_len[i] = len;
		at += len + 1;
	}
	*ret_end = at;
	return true;
}

/* The table stands right before its index, and how long it is the index all but says. */
static bool tokens_before_index(const struct kallsyms_image *image, struct layout *layout,
				uint64_t *effort)
{
	size_t least = get16(image, layout->index + INDEX_SIZE - 2) + 1;
	size_t tokens, end, i;

	for (i = 0; i < TOKEN_MAX + PAD_MAX + 1; i++) {
		if (layout->index < least + i)
			return false;
		tokens = layout->index - least - i;
		*effort += 1;
		if (tokens % TABLE_ALIGN)
			continue;
		*effort += TOKENS;
		if (!tokens_match(image, tokens, layout->index, layout->index,
				  layout->token_len, &end))
			continue;
		if (layout->index - end > PAD_MAX)
			continue;
		layout->tokens = tokens;
		layout->tokens_end = end;
		return true;
	}
	return false;
}

/* Names */

/*
 * Reads the length of the compressed name at @at and moves @at behind it. Since 6.1 lengths above
 * 127 take two bytes (73bbb94466fd); before, none were that long.
 */
static int name_length(const struct kallsyms_image *image, size_t *at, size_t end)
{
	size_t len;

	if (*at >= end)
		return -EBADMSG;
	len = image->bytes[(*at)++];
	if (len & 0x80) {
		if (*at >= end)
			return -EBADMSG;
		len = (len & 0x7f) | (size_t)image->bytes[(*at)++] << 7;
	}
	if (!len || len > end - *at)
		return -EBADMSG;
	return len;
}

/* Expands the name at @at into @text and moves @at behind it. The first letter is its type. */
static int name_expand(const struct kallsyms_image *image, const struct layout *layout, size_t *at,
		       char text[SYMBOLS_NAME_MAX + 2])
{
	int compressed = name_length(image, at, layout->names_end);
	size_t len = 0;
	int i;

	if (compressed < 0)
		return compressed;
	for (i = 0; i < compressed; i++) {
		uint8_t code = image->bytes[*at + i];
		size_t token = layout->tokens + get16(image, layout->index + 2 * code);
		size_t token_len = layout->token_len[code];

		if (token_len + len > SYMBOLS_NAME_MAX + 1)
			return -EBADMSG;
		memcpy(text + len, image->bytes + token, token_len);
		len += token_len;
	}
	*at += compressed;
	if (len < 2 || (!isalpha((unsigned char)text[0]) && text[0] != '?'))
		return -EBADMSG;
	return len;
}

/* Whether the first names make sense, before all of them are walked. */
static bool names_probe(const struct kallsyms_image *image, const struct layout *layout,
			uint64_t *effort)
{
	char text[SYMBOLS_NAME_MAX + 2];
	size_t at = layout->names;
	uint32_t i;

	for (i = 0; i < layout->count && i < PROBE_NAMES; i++) {
		*effort += 8;
		if (name_expand(image, layout, &at, text) < 0)
			return false;
	}
	return true;
}

/*
 * Whether an array right behind the names holds the place of each 256th of them. That the bytes
 * happen to look so is out of the question, so this settles where the names are.
 */
static bool names_match_markers(const struct kallsyms_image *image, const struct layout *layout,
				size_t *ret_markers, uint64_t *effort)
{
	size_t at = layout->names, markers;
	uint32_t i;
	int len;

	for (i = 0; i < layout->count; i++) {
		len = name_length(image, &at, layout->names_end);
		if (len < 0)
			break;
		at += len;
	}
	*effort += i;
	if (i < layout->count)
		return false;
	markers = align_up(at, (layout->names - layout->num_syms));
	if (layout->names_end < markers ||
	    (layout->names_end - markers) / 4 < (layout->count + MARKER_STRIDE - 1) / MARKER_STRIDE)
		return false;
	*effort += i;
	for (i = 0, at = layout->names; i < layout->count; i++) {
		if (i % MARKER_STRIDE == 0 &&
		    get32(image, markers + i / MARKER_STRIDE * 4) != at - layout->names)
			return false;
		len = name_length(image, &at, layout->names_end);
		if (len < 0)
			return false;
		at += len;
	}
	*ret_markers = markers;
	return true;
}

/* Whether layout->num_syms is where the count of symbols stands, with their names behind it. */
static bool names_at(const struct kallsyms_image *image, struct layout *layout,
		     size_t *ret_markers, uint64_t *effort)
{
	size_t align;

	layout->count = get32(image, layout->num_syms);
	/* A name takes two bytes or more. */
	if (layout->count < COUNT_MIN || layout->count > SYMBOLS_COUNT_MAX ||
	    layout->count > (layout->tokens - layout->num_syms) / 2)
		return false;
	layout->names_end = layout->tokens;
	for (align = TABLE_ALIGN; align <= 8; align += 4) {
		layout->names = layout->num_syms + align;
		if (layout->num_syms % align == 0 && names_probe(image, layout, effort) &&
		    names_match_markers(image, layout, ret_markers, effort))
			return true;
	}
	return false;
}

/* All layouts have the count and the names before the token table; the nearest are tried first. */
static int names_locate(const struct kallsyms_image *image, struct layout *layout,
			size_t *ret_markers, uint64_t *effort)
{
	size_t back;

	for (back = 16; back <= layout->tokens && back <= NAMES_MAX; back += TABLE_ALIGN) {
		if (++*effort > EFFORT_MAX)
			return -E2BIG;
		layout->num_syms = layout->tokens - back;
		if (names_at(image, layout, ret_markers, effort))
			return 0;
	}
	return -ENOENT;
}

/* Addresses */

/*
 * How offsets become addresses. With CONFIG_KALLSYMS_ABSOLUTE_PERCPU (x86-64 with SMP, until 6.15,
 * 01157ddc58dc) an offset that is not negative is a value by itself, a per-CPU offset, and the
 * others count down from the base. 32-bit kernels never had that option.
 */
enum encoding { ENCODING_RELATIVE, ENCODING_ABSOLUTE_PERCPU, ENCODING_PLACE };

static enum encoding offsets_encoding(const struct kallsyms_image *image,
				      const struct layout *layout)
{
	uint32_t i;

	if (!layout->relative_base)
		return ENCODING_PLACE;
	if (image->bits == 32)
		return ENCODING_RELATIVE;
	/* Values come first, so the last symbol tells; an image is smaller than 2 GiB. */
	i = layout->count - 1;
	return (int32_t)get32(image, layout->offsets + 4 * (size_t)i) < 0 ?
		       ENCODING_ABSOLUTE_PERCPU :
		       ENCODING_RELATIVE;
}

static uint64_t symbol_address(const struct kallsyms_image *image, const struct layout *layout,
			       enum encoding encoding, uint32_t i)
{
	size_t at = layout->offsets + 4 * (size_t)i;
	uint32_t offset = get32(image, at);
	uint64_t addr;

	if (encoding == ENCODING_PLACE)
		addr = image->base + at + (uint64_t)(int64_t)(int32_t)offset;
	else if (encoding == ENCODING_RELATIVE)
		addr = get_word(image, layout->relative_base) + offset;
	else if ((int32_t)offset >= 0)
		return offset;
	else
		addr = get_word(image, layout->relative_base) + ~(uint64_t)(int64_t)(int32_t)offset;
	return image->bits == 32 ? (uint32_t)addr : addr;
}

/* The table was made from a list sorted by address, and it holds symbols of a kernel. */
static bool addresses_plausible(const struct kallsyms_image *image, const struct layout *layout)
{
	enum encoding encoding = offsets_encoding(image, layout);
	uint64_t kernel_half = image->bits == 64 ? 1ULL << 63 : 0x40000000;
	uint64_t addr, before = 0;
	uint32_t i;

	for (i = 0; i < layout->count; i++) {
		addr = symbol_address(image, layout, encoding, i);
		if (addr < before)
			return false;
		/* Only values by themselves may lie below the kernel. */
		if (addr < kernel_half && encoding != ENCODING_ABSOLUTE_PERCPU)
			return false;
		before = addr;
	}
	return before >= kernel_half;
}

/* Up to 6.3: offsets and base right before the count. */
static bool offsets_before_names(const struct kallsyms_image *image, struct layout *layout)
{
	size_t word = word_size(image);
	size_t size = 4 * (size_t)layout->count;

	if (layout->num_syms < word || layout->num_syms - word < size)
		return false;
	layout->relative_base = layout->num_syms - word;
	layout->offsets = (layout->relative_base - size) & ~(word - 1);
	return layout->relative_base && addresses_plausible(image, layout);
}

/* Since 6.4: offsets and base behind the token index. */
static bool offsets_after_index(const struct kallsyms_image *image, struct layout *layout)
{
	size_t word = word_size(image);
	size_t size = 4 * (size_t)layout->count;

	layout->offsets = align_up(layout->index + INDEX_SIZE, word);
	layout->relative_base = align_up(layout->offsets + size, word);
	return fits(image, layout->relative_base, word) && addresses_plausible(image, layout);
}

/* Since 7.0 there is no base: each offset counts from its own place. */
static bool offsets_by_place(const struct kallsyms_image *image, struct layout *layout)
{
	layout->offsets = layout->index + INDEX_SIZE;
	layout->relative_base = 0;
	return fits(image, layout->offsets, 4 * (size_t)layout->count) &&
	       addresses_plausible(image, layout);
}

int kallsyms_locate(const struct kallsyms_image *image, struct kallsyms_tables *ret_tables)
{
	struct layout layout = { 0 };
	uint64_t effort = 0;
	size_t markers = 0;
	int err = -ENOENT;

	/* The tables' alignment is that of their addresses. */
	if (image->base % 8)
		return -EINVAL;
	if (image->len < INDEX_SIZE)
		return -ENOENT;
	for (; layout.index <= image->len - INDEX_SIZE; layout.index += TABLE_ALIGN) {
		if (++effort > EFFORT_MAX)
			return -E2BIG;
		if (!token_index_plausible(image, layout.index) ||
		    !tokens_before_index(image, &layout, &effort))
			continue;
		err = names_locate(image, &layout, &markers, &effort);
		if (err == -ENOENT)
			continue;
		break;
	}
	if (err)
		return err;
	if (!offsets_before_names(image, &layout) && !offsets_after_index(image, &layout) &&
	    !offsets_by_place(image, &layout))
		return -EPROTONOSUPPORT;
	*ret_tables = (struct kallsyms_tables){
		.num_syms = image->base + layout.num_syms,
		.names = image->base + layout.names,
		.markers = image->base + markers,
		.token_table = image->base + layout.tokens,
		.token_index = image->base + layout.index,
		.offsets = image->base + layout.offsets,
		.relative_base = layout.relative_base ? image->base + layout.relative_base : 0,
	};
	return 0;
}

/* Offset of @len bytes at @addr in the image. */
static int place(const struct kallsyms_image *image, uint64_t addr, size_t len, size_t *ret_at)
{
	if (addr < image->base || addr - image->base > image->len ||
	    !fits(image, addr - image->base, len))
		return -EBADMSG;
	*ret_at = addr - image->base;
	return 0;
}

/* Checks tables that someone else names, perhaps the guest, and turns them into offsets. */
static int layout_from_tables(const struct kallsyms_image *image,
			      const struct kallsyms_tables *tables, struct layout *ret_layout)
{
	struct layout layout = { 0 };
	size_t word = word_size(image);

	if (place(image, tables->num_syms, 4, &layout.num_syms) ||
	    place(image, tables->names, 1, &layout.names) ||
	    place(image, tables->token_table, TOKENS, &layout.tokens) ||
	    place(image, tables->token_index, INDEX_SIZE, &layout.index))
		return -EBADMSG;
	layout.count = get32(image, layout.num_syms);
	if (!layout.count || layout.count > SYMBOLS_COUNT_MAX)
		return -EBADMSG;
	if (place(image, tables->offsets, 4 * (size_t)layout.count, &layout.offsets))
		return -EBADMSG;
	/* Offset 0 stands for "none"; no table before the base makes that place impossible too. */
	if (tables->relative_base &&
	    (place(image, tables->relative_base, word, &layout.relative_base) ||
	     !layout.relative_base))
		return -EBADMSG;
	layout.names_end = image->len;
	if (!tokens_match(image, layout.tokens, layout.index, image->len, layout.token_len,
			  &layout.tokens_end))
		return -EBADMSG;
	*ret_layout = layout;
	return 0;
}

static int symbols_from_layout(const struct kallsyms_image *image, const struct layout *layout,
			       size_t markers, struct ka_symbols *symbols)
{
	enum encoding encoding = offsets_encoding(image, layout);
	char text[SYMBOLS_NAME_MAX + 2];
	size_t at = layout->names;
	uint32_t i;
	int len, err;

	for (i = 0; i < layout->count; i++) {
		if (markers && i % MARKER_STRIDE == 0 &&
		    get32(image, markers + i / MARKER_STRIDE * 4) != at - layout->names)
			return -EBADMSG;
		len = name_expand(image, layout, &at, text);
		if (len < 0)
			return len;
		err = symbols_add(symbols, symbol_address(image, layout, encoding, i), text[0],
				  text + 1, len - 1);
		if (err)
			return err;
	}
	return 0;
}

int kallsyms_parse(const struct kallsyms_image *image, const struct kallsyms_tables *tables,
		   struct ka_symbols *symbols)
{
	size_t count = symbols_count(symbols);
	struct layout layout;
	size_t markers = 0;
	int err;

	err = layout_from_tables(image, tables, &layout);
	if (err)
		return err;
	if (!addresses_plausible(image, &layout))
		return -EBADMSG;
	if (tables->markers) {
		size_t len = ((size_t)layout.count + MARKER_STRIDE - 1) / MARKER_STRIDE * 4;

		err = place(image, tables->markers, len, &markers);
		if (err)
			return err;
	}
	err = symbols_from_layout(image, &layout, markers, symbols);
	if (err) {
		symbols_truncate(symbols, count);
		return err;
	}
	symbols_set_bits(symbols, image->bits);
	return 0;
}
