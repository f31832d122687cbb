// SPDX-License-Identifier: LGPL-2.1-or-later
/* Takes the vmlinux out of a bzImage, which is what distributions package as vmlinuz. */
#include "vmlinuz.h"

#include <endian.h>
#include <errno.h>
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

/* Documentation/arch/x86/boot.rst */
enum {
	SETUP_SECTS = 0x1f1,
	BOOT_FLAG = 0x1fe,
	HEADER_MAGIC = 0x202,
	PROTOCOL_VERSION = 0x206,
	PAYLOAD_OFFSET = 0x248, /* since protocol 2.08 */
	PAYLOAD_LENGTH = 0x24c,
	HEADER_END = 0x250,
	SECTOR = 512,
};

enum {
	VMLINUX_MAX = 512 << 20,
	UNPACK_MEMORY_MAX = 512 << 20, /* xz with a 128 MiB dictionary is common */
	VMLINUX_GUESS = 64 << 20,
	LZ4_BLOCK = 8 << 20, /* of the legacy frame, which is what the kernel uses */
};

struct bytes {
	const uint8_t *at;
	size_t len;
};

struct output {
	uint8_t *bytes;
	size_t len;
	size_t room;
};

static uint32_t get32(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return le32toh(value);
}

bool vmlinuz_recognise(const void *bytes, size_t len)
{
	const uint8_t *image = bytes;

	return len >= HEADER_END && image[BOOT_FLAG] == 0x55 && image[BOOT_FLAG + 1] == 0xaa &&
	       memcmp(image + HEADER_MAGIC, "HdrS", 4) == 0;
}

static int payload_find(const uint8_t *image, size_t len, struct bytes *ret_payload)
{
	uint64_t start, size;
	unsigned int sectors;

	if (!vmlinuz_recognise(image, len))
		return -EBADMSG;
	if ((image[PROTOCOL_VERSION] | image[PROTOCOL_VERSION + 1] << 8) < 0x208)
		return -EPROTONOSUPPORT;
	/* 0 stands for 4, from the days of floppy disks. */
	sectors = image[SETUP_SECTS] ? image[SETUP_SECTS] : 4;
	start = (uint64_t)(sectors + 1) * SECTOR + get32(image + PAYLOAD_OFFSET);
	size = get32(image + PAYLOAD_LENGTH);
	if (start > len || size > len - start || size < 8)
		return -EBADMSG;
	ret_payload->at = image + start;
	ret_payload->len = size;
	return 0;
}

/* Makes room for @more bytes, or as many as the cap leaves, of which there must be one. */
static int output_grow(struct output *output, size_t more)
{
	size_t room = output->room * 2;
	void *bigger;

	if (output->room - output->len >= more)
		return 0;
	if (output->room >= VMLINUX_MAX)
		return output->len < output->room ? 0 : -EFBIG;
	if (room < output->len + more)
		room = output->len + more;
	if (room > VMLINUX_MAX)
		room = VMLINUX_MAX;
	bigger = realloc(output->bytes, room);
	if (!bigger)
		return -ENOMEM;
	output->bytes = bigger;
	output->room = room;
	return 0;
}

/*
 * The build appends the size of the vmlinux to the payload. It spares growing the buffer; if it is
 * wrong, nothing else comes of it. Pages that are not written to cost nothing.
 */
static int output_create(struct output *output, const struct bytes *payload)
{
	size_t hint = get32(payload->at + payload->len - 4);

	if (hint < SECTOR || hint > VMLINUX_MAX)
		hint = VMLINUX_GUESS;
	output->len = 0;
	output->room = hint;
	output->bytes = malloc(hint);
	return output->bytes ? 0 : -ENOMEM;
}

static int lzma_error(lzma_ret status)
{
	switch (status) {
	case LZMA_MEM_ERROR:
		return -ENOMEM;
	case LZMA_MEMLIMIT_ERROR:
		return -EFBIG;
	case LZMA_OPTIONS_ERROR:
		return -EPROTONOSUPPORT;
	default:
		return -EBADMSG;
	}
}

/* Both .xz and the older .lzma. */
static int unpack_lzma(const struct bytes *payload, struct output *output)
{
	lzma_stream stream = LZMA_STREAM_INIT;
	lzma_ret status;
	int err = 0;

	status = lzma_auto_decoder(&stream, UNPACK_MEMORY_MAX, 0);
	if (status != LZMA_OK)
		return lzma_error(status);
	stream.next_in = payload->at;
	stream.avail_in = payload->len;
	while (status == LZMA_OK && !err) {
		err = output_grow(output, 1);
		if (err)
			break;
		stream.next_out = output->bytes + output->len;
		stream.avail_out = output->room - output->len;
		status = lzma_code(&stream, LZMA_FINISH);
		output->len = output->room - stream.avail_out;
	}
	lzma_end(&stream);
	if (!err && status != LZMA_STREAM_END)
		err = lzma_error(status);
	return err;
}

static int unpack_gzip(const struct bytes *payload, struct output *output)
{
	z_stream stream = { .next_in = (Bytef *)payload->at, .avail_in = payload->len };
	int status, err = 0;

	if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK)
		return -ENOMEM;
	do {
		err = output_grow(output, 1);
		if (err)
			break;
		stream.next_out = output->bytes + output->len;
		stream.avail_out = output->room - output->len;
		status = inflate(&stream, Z_NO_FLUSH);
		output->len = output->room - stream.avail_out;
	} while (status == Z_OK);
	inflateEnd(&stream);
	if (!err && status != Z_STREAM_END)
		err = -EBADMSG;
	return err;
}

static int unpack_zstd(const struct bytes *payload, struct output *output)
{
	ZSTD_inBuffer in = { .src = payload->at, .size = payload->len };
	ZSTD_DStream *stream = ZSTD_createDStream();
	size_t left = 1;
	int err = 0;

	if (!stream)
		return -ENOMEM;
	/* One frame; what follows it is the size. */
	while (left && !err) {
		ZSTD_outBuffer out;
		size_t before = in.pos;

		err = output_grow(output, 1);
		if (err)
			break;
		out = (ZSTD_outBuffer){ output->bytes, output->room, output->len };
		left = ZSTD_decompressStream(stream, &out, &in);
		if (ZSTD_isError(left) || (left && in.pos == before && out.pos == output->len))
			err = -EBADMSG;
		output->len = out.pos;
	}
	ZSTD_freeDStream(stream);
	return err;
}

/* A run of blocks, each behind its compressed size, of which the last but one are full. */
static int unpack_lz4(const struct bytes *payload, struct output *output)
{
	/* Behind the magic, and before the size that the build appends. */
	size_t at = 4, end = payload->len - 4;
	int err, len;

	while (at + 4 <= end) {
		size_t size = get32(payload->at + at);
		size_t room;

		at += 4;
		if (!size || size > end - at || size > LZ4_COMPRESSBOUND(LZ4_BLOCK))
			return -EBADMSG;
		err = output_grow(output, LZ4_BLOCK);
		if (err)
			return err;
		room = output->room - output->len;
		len = LZ4_decompress_safe((const char *)payload->at + at,
					  (char *)output->bytes + output->len, size,
					  room < LZ4_BLOCK ? room : LZ4_BLOCK);
		if (len < 0)
			return -EBADMSG;
		at += size;
		output->len += len;
	}
	return 0;
}

static const struct format {
	const char *name;
	uint8_t magic[6];
	size_t magic_len;
	int (*unpack)(const struct bytes *payload, struct output *output);
} formats[] = {
	{ "xz", { 0xfd, '7', 'z', 'X', 'Z', 0 }, 6, unpack_lzma },
	{ "zstd", { 0x28, 0xb5, 0x2f, 0xfd }, 4, unpack_zstd },
	{ "gzip", { 0x1f, 0x8b, 0x08 }, 3, unpack_gzip },
	{ "lz4", { 0x02, 0x21, 0x4c, 0x18 }, 4, unpack_lz4 },
	{ "lzma", { 0x5d, 0x00, 0x00 }, 3, unpack_lzma },
	{ "bzip2", { 'B', 'Z', 'h' }, 3, NULL },
	{ "lzo", { 0x89, 'L', 'Z', 'O' }, 4, NULL },
};

static const struct format *format_find(const struct bytes *payload)
{
	size_t i;

	for (i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (payload->len >= formats[i].magic_len &&
		    memcmp(payload->at, formats[i].magic, formats[i].magic_len) == 0)
			return &formats[i];
	return NULL;
}

const char *vmlinuz_compression(const void *bytes, size_t len)
{
	const struct format *format;
	struct bytes payload;

	if (payload_find(bytes, len, &payload))
		return NULL;
	format = format_find(&payload);
	return format ? format->name : NULL;
}

static int unpack(const struct bytes *payload, void **ret_bytes, size_t *ret_len)
{
	const struct format *format = format_find(payload);
	struct output output = { 0 };
	int err;

	if (!format || !format->unpack)
		return -EPROTONOSUPPORT;
	err = output_create(&output, payload);
	if (err)
		return err;
	err = format->unpack(payload, &output);
	if (err) {
		free(output.bytes);
		return err;
	}
	*ret_bytes = output.bytes;
	*ret_len = output.len;
	return 0;
}

int vmlinuz_unpack(const void *bytes, size_t len, void **ret_vmlinux, size_t *ret_len)
{
	struct bytes payload;
	int err = payload_find(bytes, len, &payload);

	return err ? err : unpack(&payload, ret_vmlinux, ret_len);
}

int vmlinuz_unpack_file(const void *bytes, size_t len, void **ret_bytes, size_t *ret_len)
{
	const struct bytes payload = { bytes, len };

	return len < 8 ? -EBADMSG : unpack(&payload, ret_bytes, ret_len);
}
