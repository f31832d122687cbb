// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The text and read-only data of modules, on Debian's: where a module was put, it is as its vendor built it, and one
 * wrong byte is told, in each kind of place and elsewhere.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access/kernel_text.h"
#include "access/module_image.h"

enum { SLIDE = 0x12600000, MAX = 8 };

static struct ka_reference *reference;
static struct ka_text *kernel, *text;
static struct ka_module_image *image;
static struct ka_module_place place;
static struct ka_text_boot boot;
static uint8_t *guest;
static uint64_t start, end;

static char *file_of(const char *version, const char *name)
{
	char pattern[160], *path = NULL;
	glob_t files;

	snprintf(pattern, sizeof(pattern),
		 "build/lab/pkgs/linux-%s/lib/modules/*/kernel/drivers/%s.ko*", version, name);
	if (!glob(pattern, 0, NULL, &files))
		path = strdup(files.gl_pathv[0]);
	globfree(&files);
	return path;
}

/* In a guest of that kernel, somewhere among its modules. */
static void load(const char *version, const char *name, bool single)
{
	char vmlinuz[64], *path = file_of(version, name);

	if (!path)
		cr_skip_test("%s of %s is not there: make lab brings it", name, version);
	snprintf(vmlinuz, sizeof(vmlinuz), "build/lab/pkgs/vmlinuz-%s", version);
	cr_assert_eq(ka_reference_derive(vmlinuz, &reference), 0);
	cr_assert_eq(ka_text_create(reference, &kernel), 0);
	cr_assert_eq(ka_module_image_load(path, &image), 0);
	free(path);
	place = (struct ka_module_place){ .single = single, .percpu = 0x1f000 };
	for (int i = 0; i < KA_MODULE_REGIONS; i++)
		place.base[i] = 0xffffffffc0400000 + 0x100000ull * (unsigned int)i;
	place.text_size = (uint32_t)(image->region_size[KA_MODULE_TEXT] + 4095) & ~4095u;
	cr_assert_eq(ka_module_text_create(kernel, image, &place, SLIDE, NULL, NULL, &text), 0);
	ka_text_range(text, &start, &end);
	cr_assert_eq(start + SLIDE, place.base[KA_MODULE_TEXT]);
	cr_assert_eq(end - start, place.text_size);
	guest = malloc(end - start);
	boot = (struct ka_text_boot){ .slide = SLIDE };
	cr_assert(patch_source(&text->judge, SLIDE, start, guest, end - start));
}

static void unload(void)
{
	ka_text_free(text);
	ka_module_image_free(image);
	ka_text_free(kernel);
	ka_reference_free(reference);
	free(guest);
}

static size_t compare(void)
{
	struct ka_text_difference differences[MAX];

	return ka_text_compare(text, &boot, start, guest, end - start, start, end, differences,
			       MAX);
}

/* Every byte of it, also those behind its end on its last page. */
static void every_wrong_byte_is_told(const char *version, const char *name)
{
	load(version, name, false);
	cr_assert_eq(compare(), 0);
	for (uint64_t at = 0; at < end - start; at += end - start > 16384 ? 7 : 1) {
		guest[at] ^= 0x55;
		cr_expect_geq(compare(), 1, "byte %lx", (unsigned long)at);
		guest[at] ^= 0x55;
	}
	unload();
}

Test(module_text, every_wrong_byte_of_dummy_is_told)
{
	every_wrong_byte_is_told("6.12", "net/dummy");
}

Test(module_text, every_wrong_byte_of_the_oldest_dummy_is_told)
{
	every_wrong_byte_is_told("5.10", "net/dummy");
}

Test(module_text, every_wrong_byte_of_an_older_dummy_is_told)
{
	every_wrong_byte_is_told("6.1", "net/dummy");
}

Test(module_text, places_that_the_kernel_patches_are_known)
{
	static const enum ka_patch_kind kinds[] = {
		KA_PATCH_RETPOLINE, KA_PATCH_RETURN,
		KA_PATCH_STATIC_CALL, KA_PATCH_FTRACE,
	};

	load("6.12", "block/loop", false);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		cr_expect(ka_text_sites(text, kinds[i]), "%s", ka_patch_kind_name(kinds[i]));
	unload();
}

Test(module_text, ftrace_and_returns_may_be_patched_and_calls_elsewhere_are_told)
{
	const struct patch_sites *sites;
	unsigned int tried = 0;

	load("6.12", "net/dummy", false);
	sites = &text->judge.sites;
	for (size_t i = 0; i < sites->count; i++) {
		const struct patch_site *site = &sites->site[i];
		uint8_t *bytes = guest + (site->address - start);
		int32_t distance = (int32_t)(kernel->judge.ftrace[0].start - (site->address + 5));

		if (site->kind != KA_PATCH_FTRACE)
			continue;
		memcpy(bytes, "\x0f\x1f\x44\0\0", 5);
		cr_expect_eq(compare(), 0, "a NOP");
		bytes[0] = 0xe8;
		memcpy(bytes + 1, &distance, 4);
		cr_expect_eq(compare(), 0, "ftrace's caller");
		distance = 0x1000;
		memcpy(bytes + 1, &distance, 4);
		cr_expect_geq(compare(), 1, "elsewhere");
		memcpy(bytes, "\x0f\x1f\x44\0\0", 5);
		tried++;
	}
	cr_expect_geq(tried, 4);
	unload();
}

/* ---- read-only data ------------------------------------------------------------------------- */

static size_t compare_part(uint64_t from, uint64_t to)
{
	struct ka_text_difference differences[MAX];

	return ka_text_compare(text, &boot, start, guest, end - start, from, to, differences, MAX);
}

/* In the place of its text. */
static void load_rodata(const char *version, const char *name)
{
	load(version, name, !strcmp(version, "5.10"));
	ka_text_free(text);
	free(guest);
	cr_assert_eq(ka_module_rodata_create(kernel, image, &place, SLIDE, NULL, NULL, &text), 0);
	ka_text_range(text, &start, &end);
	cr_assert_eq(start + SLIDE, place.base[KA_MODULE_RODATA]);
	guest = malloc(end - start);
	cr_assert(patch_source(&text->judge, SLIDE, start, guest, end - start));
}

static void every_wrong_byte_of_rodata_is_told(const char *version, const char *name)
{
	uint64_t from, to, bytes = 0;

	load_rodata(version, name);
	for (size_t i = 0; !ka_module_rodata_part(image, &place, i, &from, &to); i++) {
		from -= SLIDE;
		to -= SLIDE;
		cr_assert(from >= start && from < to && to <= end);
		cr_expect_eq(compare_part(from, to), 0);
		for (uint64_t at = from; at < to; at++, bytes++) {
			guest[at - start] ^= 0x55;
			cr_expect_eq(compare_part(from, to), 1, "byte %lx", (unsigned long)at);
			guest[at - start] ^= 0x55;
		}
	}
	cr_expect_gt(bytes, 500);
	unload();
}

Test(module_text, every_wrong_byte_of_read_only_data_is_told)
{
	every_wrong_byte_of_rodata_is_told("6.12", "net/dummy");
}

Test(module_text, every_wrong_byte_of_older_read_only_data_is_told)
{
	every_wrong_byte_of_rodata_is_told("6.1", "block/loop");
}

Test(module_text, every_wrong_byte_of_the_oldest_read_only_data_is_told)
{
	every_wrong_byte_of_rodata_is_told("5.10", "net/dummy");
}

/* Operations lead into its text and the kernel's, wherever both were put. */
Test(module_text, read_only_data_lead_where_the_module_lies)
{
	uint64_t word, in_module = 0, in_kernel = 0;

	load_rodata("6.12", "net/dummy");
	for (uint64_t at = 0; at + 8 <= end - start; at += 8) {
		memcpy(&word, guest + at, sizeof(word));
		in_module += word >= place.base[KA_MODULE_TEXT] &&
			     word < place.base[KA_MODULE_TEXT] + place.text_size;
		in_kernel += word >= 0xffffffff81000000 + SLIDE && word < 0xffffffff90000000 + SLIDE;
	}
	cr_expect_eq(in_module, 5);
	cr_expect_eq(in_kernel, 4);
	unload();
}

static int resolve_any(void *ctx, const char *name, uint64_t *ret_gva)
{
	(void)ctx, (void)name;
	*ret_gva = 0xffffffffc1000000;
	return 0;
}

/* What led to code that only starts the module leads somewhere else in each guest. */
static void words_that_lead_nowhere_are_left_out(const char *version, unsigned int words)
{
	uint64_t from, to, before = 0, gone = 0;
	struct ka_text *rodata;

	load(version, "net/dummy", false);
	ka_module_image_free(image);
	cr_assert_eq(ka_module_image_load(file_of(version, "ata/libata"), &image), 0);
	cr_assert_eq(ka_module_rodata_create(kernel, image, &place, SLIDE, resolve_any, NULL,
					     &rodata),
		     0);
	for (size_t i = 0; !ka_module_rodata_part(image, &place, i, &from, &to); i++) {
		cr_expect(from < to);
		gone += i && from - before == 8;
		before = to;
	}
	cr_expect_eq(gone, words, "%lu", (unsigned long)gone);
	ka_text_free(rodata);
	unload();
}

Test(module_text, words_that_lead_nowhere_are_left_out)
{
	words_that_lead_nowhere_are_left_out("6.12", 1);
}

Test(module_text, another_size_or_an_unknown_symbol_is_refused)
{
	struct ka_text *other;

	load("6.12", "net/dummy", false);
	place.text_size += 4096;
	cr_expect_eq(ka_module_text_create(kernel, image, &place, SLIDE, NULL, NULL, &other),
		     -EBADMSG);
	unload();
}

Test(module_text, files_that_are_none_are_refused)
{
	struct ka_module_image *other;
	size_t len;
	const uint8_t *bytes;
	uint8_t *copy;

	load("6.12", "net/dummy", false);
	bytes = ka_module_image_bytes(image, &len);
	cr_expect_str_eq(ka_module_image_name(image), "dummy");
	cr_expect_eq(strlen(ka_module_image_build_id(image)), 40);
	cr_expect_eq(strncmp(ka_module_image_release(image), "6.12.", 5), 0);
	cr_expect_lt(ka_module_image_create(bytes, 40, &other), 0);
	copy = malloc(len);
	/* Whatever is damaged in it, nothing worse than a refusal comes of it. */
	for (size_t at = 0; at < len; at += 13) {
		memcpy(copy, bytes, len);
		copy[at] ^= 0xff;
		if (ka_module_image_create(copy, len, &other))
			continue;
		if (!ka_module_text_create(kernel, other, &place, SLIDE, NULL, NULL, &text))
			ka_text_free(text);
		if (!ka_module_rodata_create(kernel, other, &place, SLIDE, NULL, NULL, &text))
			ka_text_free(text);
		ka_module_image_free(other);
	}
	text = NULL;
	free(copy);
	unload();
}
