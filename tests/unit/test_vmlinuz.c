// SPDX-License-Identifier: LGPL-2.1-or-later
/* bzImages with all sorts of payload, small and self-made. */
#include "access/vmlinuz.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_image.h"

enum { PLAIN_LEN = 300000 };

static uint8_t *plain;

static void setup(void)
{
	size_t i;

	plain = malloc(PLAIN_LEN);
	for (i = 0; i < PLAIN_LEN; i++)
		plain[i] = i >> 5 ^ i * 31;
}

static void cleanup(void)
{
	free(plain);
}

TestSuite(vmlinuz, .init = setup, .fini = cleanup);

static uint8_t *packed(const char *format, uint32_t size_field, size_t *ret_len)
{
	size_t payload_len;
	uint8_t *payload = image_compress(format, plain, PLAIN_LEN, &payload_len);
	uint8_t *file = image_bzimage(payload, payload_len, size_field, ret_len);

	free(payload);
	return file;
}

static void check_unpacks(const char *format, uint32_t size_field)
{
	uint8_t *file;
	size_t len, unpacked_len;
	void *unpacked;

	file = packed(format, size_field, &len);
	cr_assert(vmlinuz_recognise(file, len));
	cr_assert(eq(str, (char *)vmlinuz_compression(file, len), (char *)format));
	cr_assert(eq(int, vmlinuz_unpack(file, len, &unpacked, &unpacked_len), 0), "%s", format);
	cr_assert(eq(sz, unpacked_len, PLAIN_LEN));
	cr_assert(eq(int, memcmp(unpacked, plain, PLAIN_LEN), 0));
	free(unpacked);
	free(file);
}

static const char *const supported[] = { "xz", "zstd", "gzip", "lz4", "lzma" };
enum { SUPPORTED = sizeof(supported) / sizeof(supported[0]) };

Test(vmlinuz, each_compression_unpacks)
{
	size_t i;

	for (i = 0; i < SUPPORTED; i++)
		check_unpacks(supported[i], PLAIN_LEN);
}

Test(vmlinuz, size_field_is_only_a_hint)
{
	static const uint32_t sizes[] = { 0, 1, 512, PLAIN_LEN - 1, PLAIN_LEN + 1, 0xffffffff };
	size_t i, k;

	for (i = 0; i < SUPPORTED; i++)
		for (k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
			check_unpacks(supported[i], sizes[k]);
}

Test(vmlinuz, cut_off_payload_is_damaged)
{
	size_t i, len, unpacked_len = 77;
	void *unpacked = NULL;

	for (i = 0; i < SUPPORTED; i++) {
		uint8_t *file = packed(supported[i], PLAIN_LEN, &len);
		uint32_t length;

		memcpy(&length, file + 0x24c, 4);
		length /= 2;
		memcpy(file + 0x24c, &length, 4);
		cr_expect(eq(int, vmlinuz_unpack(file, len, &unpacked, &unpacked_len), -EBADMSG),
			  "%s", supported[i]);
		free(file);
	}
	cr_assert(eq(ptr, unpacked, NULL), "untouched on failure");
	cr_assert(eq(sz, unpacked_len, 77));
}

Test(vmlinuz, flipped_bits_are_damaged_or_harmless)
{
	size_t i, at, len, unpacked_len;
	void *unpacked;

	for (i = 0; i < SUPPORTED; i++) {
		uint8_t *file = packed(supported[i], PLAIN_LEN, &len);

		for (at = (2 + 1) * 512 + 300; at < len; at += 97) {
			file[at] ^= 0x10;
			if (vmlinuz_unpack(file, len, &unpacked, &unpacked_len) == 0)
				free(unpacked);
			file[at] ^= 0x10;
		}
		free(file);
	}
}

Test(vmlinuz, payload_outside_the_file_is_damaged)
{
	static const uint32_t bad[][2] = {
		{ 0xffffffff, 16 }, { 300, 0xffffffff }, { 0x7fffffff, 0x7fffffff }, { 300, 4 },
	};
	size_t i, len, unpacked_len;
	void *unpacked;
	uint8_t *file = packed("gzip", PLAIN_LEN, &len);

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(file + 0x248, &bad[i][0], 4);
		memcpy(file + 0x24c, &bad[i][1], 4);
		cr_expect(eq(int, vmlinuz_unpack(file, len, &unpacked, &unpacked_len), -EBADMSG));
		cr_expect(eq(ptr, (void *)vmlinuz_compression(file, len), NULL));
	}
	free(file);
}

Test(vmlinuz, other_compressions_are_named_and_refused)
{
	size_t len, unpacked_len;
	void *unpacked;
	uint8_t *file = image_bzimage("BZh91AY&SY", 10, 0, &len);

	cr_assert(eq(str, (char *)vmlinuz_compression(file, len), "bzip2"));
	cr_assert(eq(int, vmlinuz_unpack(file, len, &unpacked, &unpacked_len), -EPROTONOSUPPORT));
	free(file);
	file = image_bzimage("0123456789", 10, 0, &len);
	cr_assert(eq(ptr, (void *)vmlinuz_compression(file, len), NULL));
	cr_assert(eq(int, vmlinuz_unpack(file, len, &unpacked, &unpacked_len), -EPROTONOSUPPORT));
	free(file);
}

Test(vmlinuz, old_boot_protocol_is_refused)
{
	size_t len, unpacked_len;
	void *unpacked;
	uint8_t *file = packed("gzip", PLAIN_LEN, &len);

	file[0x206] = 7;
	cr_assert(eq(int, vmlinuz_unpack(file, len, &unpacked, &unpacked_len), -EPROTONOSUPPORT));
	free(file);
}

Test(vmlinuz, other_files_are_not_recognised)
{
	uint8_t file[0x250] = { 0 };
	size_t unpacked_len;
	void *unpacked;

	cr_assert(not(vmlinuz_recognise(file, sizeof(file))));
	memcpy(file + 0x1fe, "\x55\xaa", 2);
	cr_assert(not(vmlinuz_recognise(file, sizeof(file))));
	memcpy(file + 0x202, "HdrS", 4);
	cr_assert(vmlinuz_recognise(file, sizeof(file)));
	cr_assert(not(vmlinuz_recognise(file, sizeof(file) - 1)));
	cr_assert(eq(int, vmlinuz_unpack(file, 16, &unpacked, &unpacked_len), -EBADMSG));
}

/* 600 MiB of zeros in a few hundred kilobytes. */
Test(vmlinuz, bomb_is_cut_off)
{
	const size_t huge = 600UL << 20;
	size_t payload_len, len, unpacked_len;
	uint8_t *zeros = calloc(1, huge), *payload, *file;
	void *unpacked;

	payload = image_compress("zstd", zeros, huge, &payload_len);
	free(zeros);
	file = image_bzimage(payload, payload_len, 4096, &len);
	cr_assert(eq(int, vmlinuz_unpack(file, len, &unpacked, &unpacked_len), -EFBIG));
	free(payload);
	free(file);
}
