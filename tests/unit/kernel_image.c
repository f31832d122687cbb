// SPDX-License-Identifier: LGPL-2.1-or-later
/* Builds kernels that are nothing but symbols: kallsyms tables, a vmlinux and a bzImage of them. */
#include "kernel_image.h"

#include <elf.h>
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum { FILLER = 4096, TOKENS = 256, STRIDE = 256, ROOM_PER_SYMBOL = 2048 };

const uint8_t image_build_id[IMAGE_BUILD_ID_LEN] = { 0xde, 0xad, 1, 2,	3,  4,	5,  6,	7,  8,
						     9,	   10,	 11, 12, 13, 14, 15, 16, 17, 18 };
const char image_release[] = "6.1.0-99-test";

static const char banner[] = "Linux version %s\nLinux version 6.1.0-99-test (builder@host)";

uint64_t image_base(unsigned int bits)
{
	return bits == 64 ? 0xffffffff81000000 : 0xc1000000;
}

static void put16(struct image *image, uint16_t value)
{
	memcpy(image->bytes + image->len, &value, sizeof(value));
	image->len += sizeof(value);
}

static void put32(struct image *image, uint32_t value)
{
	memcpy(image->bytes + image->len, &value, sizeof(value));
	image->len += sizeof(value);
}

static void put64(struct image *image, uint64_t value)
{
	memcpy(image->bytes + image->len, &value, sizeof(value));
	image->len += sizeof(value);
}

static void put_word(struct image *image, uint64_t value)
{
	if (image->kallsyms.bits == 64)
		put64(image, value);
	else
		put32(image, value);
}

/* Starts a table and returns its address. */
static uint64_t label(struct image *image, const struct image_options *options)
{
	size_t align = options->layout == IMAGE_SINCE_7_0 ? 4 : options->bits / 8;

	while (image->len % align)
		image->bytes[image->len++] = 0;
	return image->kallsyms.base + image->len;
}

/* Something between the tables and the rest, with a run that ascends like a token index. */
static void put_filler(struct image *image)
{
	unsigned int i;

	for (i = 0; i < FILLER / 2; i++)
		put16(image, i < 1024 ? i * 7919 : (i % 300) * 3);
}

/* Code 0x80 and so on stand for these; printable codes for themselves; the rest is unused. */
static const char *const long_tokens[] = { "__x64_sys_", "T_", "kallsyms", "Tdo" };

static const char *token(unsigned int code)
{
	static char text[2];
	size_t count = sizeof(long_tokens) / sizeof(long_tokens[0]);

	if (code >= 0x80 && code - 0x80 < count)
		return long_tokens[code - 0x80];
	text[0] = code > 0x20 && code < 0x7f ? code : 0;
	return text;
}

static void put_tokens(struct image *image, const struct image_options *options)
{
	uint16_t index[TOKENS], at = 0;
	unsigned int i;

	image->tables.token_table = label(image, options);
	for (i = 0; i < TOKENS; i++) {
		size_t len = strlen(token(i)) + 1;

		memcpy(image->bytes + image->len, token(i), len);
		image->len += len;
		index[i] = at;
		at += len;
	}
	image->tables.token_index = label(image, options);
	for (i = 0; i < TOKENS; i++)
		put16(image, index[i]);
}

/* Replaces what a token stands for by its code. */
static size_t name_compress(const struct image_symbol *symbol, uint8_t *ret_codes)
{
	char text[ROOM_PER_SYMBOL];
	size_t at = 0, len = 0, i;

	text[0] = symbol->type;
	strcpy(text + 1, symbol->name);
	while (text[at]) {
		ret_codes[len] = text[at];
		for (i = 0; i < sizeof(long_tokens) / sizeof(long_tokens[0]); i++)
			if (!strncmp(text + at, long_tokens[i], strlen(long_tokens[i])))
				ret_codes[len] = 0x80 + i;
		at += strlen(token(ret_codes[len++]));
	}
	return len;
}

static void put_names(struct image *image, const struct image_options *options,
		      const struct image_symbol *symbols, uint32_t count)
{
	uint32_t *markers = calloc(count / STRIDE + 1, sizeof(*markers));
	uint8_t codes[ROOM_PER_SYMBOL];
	size_t start;
	uint32_t i;

	image->tables.num_syms = label(image, options);
	put32(image, count);
	image->tables.names = label(image, options);
	start = image->len;
	for (i = 0; i < count; i++) {
		size_t len = name_compress(&symbols[i], codes);

		if (i % STRIDE == 0)
			markers[i / STRIDE] = image->len - start;
		image->bytes[image->len++] = len > 0x7f ? len | 0x80 : len;
		if (len > 0x7f)
			image->bytes[image->len++] = len >> 7;
		memcpy(image->bytes + image->len, codes, len);
		image->len += len;
	}
	image->tables.markers = label(image, options);
	for (i = 0; i < (count + STRIDE - 1) / STRIDE; i++)
		put32(image, markers[i]);
	free(markers);
}

static void put_offsets(struct image *image, const struct image_options *options,
			const struct image_symbol *symbols, uint32_t count)
{
	uint64_t base = image_base(options->bits);
	uint32_t i;

	image->tables.offsets = label(image, options);
	for (i = 0; i < count; i++) {
		uint64_t addr = symbols[i].addr;

		if (options->layout == IMAGE_SINCE_7_0)
			put32(image, addr - (image->kallsyms.base + image->len));
		else if (!options->absolute_percpu)
			put32(image, addr - base);
		else
			put32(image, addr < base ? addr : base - 1 - addr);
	}
	if (options->layout == IMAGE_SINCE_7_0)
		return;
	image->tables.relative_base = label(image, options);
	put_word(image, base);
}

struct image image_create(const struct image_options *options, const struct image_symbol *symbols,
			  uint32_t count)
{
	struct image image = {
		.bytes = calloc(1, 4 * FILLER + (size_t)count * ROOM_PER_SYMBOL),
		.kallsyms = { .base = image_base(options->bits), .bits = options->bits },
	};
	uint32_t i;

	if (!options->bare)
		put_filler(&image);
	if (options->layout == IMAGE_BEFORE_6_4)
		put_offsets(&image, options, symbols, count);
	put_names(&image, options, symbols, count);
	for (i = 0; i < count * options->seqs; i++)
		image.bytes[image.len++] = i;
	put_tokens(&image, options);
	if (options->layout != IMAGE_BEFORE_6_4)
		put_offsets(&image, options, symbols, count);
	label(&image, options);
	if (!options->bare)
		put_filler(&image);
	image.kallsyms.bytes = image.bytes;
	image.kallsyms.len = image.len;
	return image;
}

void image_destroy(struct image *image)
{
	free(image->bytes);
	image->bytes = NULL;
}

/* The note that holds the build-id. */
static size_t put_note(uint8_t *at)
{
	Elf64_Nhdr note = { .n_namesz = 4, .n_descsz = IMAGE_BUILD_ID_LEN, .n_type = 3 };

	memcpy(at, &note, sizeof(note));
	memcpy(at + sizeof(note), "GNU", 4);
	memcpy(at + sizeof(note) + 4, image_build_id, IMAGE_BUILD_ID_LEN);
	return sizeof(note) + 4 + IMAGE_BUILD_ID_LEN;
}

/* File layout: headers, then at HEADERS the segment; in it the image, the note and the banner. */
enum { HEADERS = 4096 };

static void put_headers64(uint8_t *file, size_t segment, size_t note, size_t note_len)
{
	uint64_t base = image_base(64);
	Elf64_Ehdr ehdr = {
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3,
	};
	Elf64_Phdr phdrs[] = {
		/* Per-CPU data, which is linked at 0. */
		{ .p_type = PT_LOAD, .p_offset = HEADERS, .p_filesz = 64, .p_memsz = 64 },
		{ .p_type = PT_LOAD, .p_offset = HEADERS, .p_vaddr = base, .p_filesz = segment,
		  .p_memsz = segment + 0x100000 },
		{ .p_type = PT_NOTE, .p_offset = HEADERS + note, .p_vaddr = base + note,
		  .p_filesz = note_len, .p_memsz = note_len, .p_align = 4 },
	};

	memcpy(file, &ehdr, sizeof(ehdr));
	memcpy(file + sizeof(ehdr), phdrs, sizeof(phdrs));
}

static void put_headers32(uint8_t *file, size_t segment, size_t note, size_t note_len)
{
	uint64_t base = image_base(32);
	Elf32_Ehdr ehdr = {
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_386,
		.e_version = EV_CURRENT,
		.e_ehsize = sizeof(Elf32_Ehdr),
		.e_phoff = sizeof(Elf32_Ehdr),
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = 2,
	};
	Elf32_Phdr phdrs[] = {
		{ .p_type = PT_LOAD, .p_offset = HEADERS, .p_vaddr = base, .p_filesz = segment,
		  .p_memsz = segment + 0x100000 },
		{ .p_type = PT_NOTE, .p_offset = HEADERS + note, .p_vaddr = base + note,
		  .p_filesz = note_len, .p_memsz = note_len, .p_align = 4 },
	};

	memcpy(file, &ehdr, sizeof(ehdr));
	memcpy(file + sizeof(ehdr), phdrs, sizeof(phdrs));
}

uint8_t *image_vmlinux(const struct image *image, size_t *ret_len)
{
	uint8_t *file = calloc(1, HEADERS + image->len + FILLER);
	size_t note = (image->len + 7) & ~7UL, note_len, segment;

	memcpy(file + HEADERS, image->bytes, image->len);
	note_len = put_note(file + HEADERS + note);
	memcpy(file + HEADERS + note + note_len, banner, sizeof(banner));
	segment = note + note_len + sizeof(banner);
	if (image->kallsyms.bits == 64)
		put_headers64(file, segment, note, note_len);
	else
		put_headers32(file, segment, note, note_len);
	*ret_len = HEADERS + segment;
	return file;
}

uint8_t *image_bzimage(const void *payload, size_t payload_len, uint32_t unpacked_len,
		       size_t *ret_len)
{
	/* One boot sector, two of setup, and something before the payload. */
	const uint32_t sectors = 2, offset = 300, length = payload_len + 4;
	size_t start = (sectors + 1) * 512 + offset;
	uint8_t *file = calloc(1, start + length);

	file[0x1f1] = sectors;
	memcpy(file + 0x1fe, "\x55\xaa", 2);
	memcpy(file + 0x202, "HdrS\x0f\x02", 6);
	memcpy(file + 0x248, &offset, 4);
	memcpy(file + 0x24c, &length, 4);
	memcpy(file + start, payload, payload_len);
	memcpy(file + start + payload_len, &unpacked_len, 4);
	*ret_len = start + length;
	return file;
}

static size_t compress_lzma(bool alone, const void *bytes, size_t len, uint8_t *out, size_t room)
{
	lzma_stream stream = LZMA_STREAM_INIT;
	lzma_options_lzma options;
	lzma_ret status;

	lzma_lzma_preset(&options, 1);
	if (alone)
		status = lzma_alone_encoder(&stream, &options);
	else
		status = lzma_easy_encoder(&stream, 1, LZMA_CHECK_CRC32);
	if (status != LZMA_OK)
		abort();
	stream.next_in = bytes;
	stream.avail_in = len;
	stream.next_out = out;
	stream.avail_out = room;
	if (lzma_code(&stream, LZMA_FINISH) != LZMA_STREAM_END)
		abort();
	len = room - stream.avail_out;
	lzma_end(&stream);
	return len;
}

static size_t compress_gzip(const void *bytes, size_t len, uint8_t *out, size_t room)
{
	z_stream stream = { .next_in = (Bytef *)bytes, .avail_in = len, .next_out = out,
			    .avail_out = room };

	deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
	deflate(&stream, Z_FINISH);
	deflateEnd(&stream);
	return room - stream.avail_out;
}

/* lz4 -l: blocks of 8 MiB. */
static size_t compress_lz4(const char *bytes, size_t len, uint8_t *out, size_t room)
{
	size_t at = 0, written = 4;

	memcpy(out, "\x02\x21\x4c\x18", 4);
	while (at < len) {
		size_t block = len - at < 8 << 20 ? len - at : 8 << 20;
		int size = LZ4_compress_default(bytes + at, (char *)out + written + 4, block,
						room - written - 4);

		memcpy(out + written, &size, 4);
		written += 4 + size;
		at += block;
	}
	return written;
}

uint8_t *image_compress(const char *format, const void *bytes, size_t len, size_t *ret_len)
{
	size_t room = len + len / 8 + 65536;
	uint8_t *out = malloc(room);

	if (!strcmp(format, "zstd"))
		*ret_len = ZSTD_compress(out, room, bytes, len, 1);
	else if (!strcmp(format, "gzip"))
		*ret_len = compress_gzip(bytes, len, out, room);
	else if (!strcmp(format, "lz4"))
		*ret_len = compress_lz4(bytes, len, out, room);
	else
		*ret_len = compress_lzma(!strcmp(format, "lzma"), bytes, len, out, room);
	return out;
}
