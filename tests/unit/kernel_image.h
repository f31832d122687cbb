/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Builds kernels that are nothing but symbols: kallsyms tables, a vmlinux and a bzImage of them. */
#ifndef TESTS_KERNEL_IMAGE_H
#define TESTS_KERNEL_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "access/kallsyms.h"

struct image_symbol {
	uint64_t addr;
	char type;
	const char *name;
};

enum image_layout {
	IMAGE_BEFORE_6_4, /* offsets first */
	IMAGE_SINCE_6_4,  /* offsets last */
	IMAGE_SINCE_7_0,  /* offsets last, from their own place */
};

struct image_options {
	enum image_layout layout;
	unsigned int bits;
	bool absolute_percpu;
	size_t seqs; /* bytes of an entry of seqs_of_names before the tokens; 0: none */
	bool bare;   /* no filler around the tables */
};

/* Read-only data of a kernel: the tables, with filler around them. */
struct image {
	uint8_t *bytes;
	size_t len;
	struct kallsyms_image kallsyms; /* the same bytes */
	struct kallsyms_tables tables;
};

/* @symbols must ascend by address. */
struct image image_create(const struct image_options *options, const struct image_symbol *symbols,
			  uint32_t count);
void image_destroy(struct image *image);

/* Address of the image's first byte. */
uint64_t image_base(unsigned int bits);

/* A vmlinux without symbol table: banner, build-id and @image in one loadable segment. */
uint8_t *image_vmlinux(const struct image *image, size_t *ret_len);

enum { IMAGE_BUILD_ID_LEN = 20 };
extern const uint8_t image_build_id[IMAGE_BUILD_ID_LEN];
extern const char image_release[];

/* A bzImage around a compressed payload, to which the size of what is in it is appended. */
uint8_t *image_bzimage(const void *payload, size_t payload_len, uint32_t unpacked_len,
		       size_t *ret_len);

/* "xz", "lzma", "zstd", "gzip" or "lz4", as the kernel's build calls them. */
uint8_t *image_compress(const char *format, const void *bytes, size_t len, size_t *ret_len);

#endif
