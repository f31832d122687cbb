// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The text of a guest's kernel as it was taken at first sight, on Debian's images: what a kernel that
 * runs still patches is no difference later on, and one wrong byte is.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "access/patch_probe.h"
#include "access/tracing.h"
#include "patch_sample.h"

static int guest_read(uint64_t gva, void *buf, size_t len);
static uint8_t uniproc;

#define ka_gva_read(vm, paging, gva, buf, len) ((void)(vm), (void)(paging), guest_read(gva, buf, len))
#define ka_symbol_read(vm, kernel, name, buf, len) \
	((void)(vm), (void)(kernel), *(uint8_t *)(buf) = uniproc, 0)
static struct {
	uint64_t gva[2];
	uint32_t entries[2];
} module_has;
static int lists_error;

#include "access/module_place.h"
#define module_lists(guest, layout, gva, ret_lists) \
	((void)(guest), (void)(layout), (void)(gva), fake_lists(ret_lists))
static int fake_lists(struct module_list lists[static MODULE_LISTS])
{
	for (int i = 0; i < MODULE_LISTS; i++)
		lists[i] = (struct module_list){ module_has.gva[i], module_has.entries[i] };
	return lists_error;
}

#include "access/guest_text.c"
#undef ka_gva_read

enum { TRIES = 200, SLIDE = 0x12600000, MAX = 8 };

static struct ka_reference *reference;
static struct patch_judge judge; /* of the vendor's image, for its list of places */
static struct ka_text *text;
static struct ka_text_boot boot;
static struct ka_kernel kernel;
static uint8_t *guest;
static uint64_t start, end;
static bool bent; /* the guest's lists are */

static int guest_read(uint64_t gva, void *buf, size_t len)
{
	for (size_t i = 0; i < reference->count; i++) {
		const struct ka_section *section = &reference->sections[i];

		if (gva - SLIDE != section->address || len > section->len)
			continue;
		memcpy(buf, section->bytes, len);
		for (size_t at = 0; bent && at < len; at++)
			((uint8_t *)buf)[at] ^= (uint8_t)(at * 2654435761u >> 13);
		return 0;
	}
	return -EFAULT;
}

static uint8_t *at(uint64_t address)
{
	return guest + (address - start);
}

static int boot_read(void *ctx, uint64_t address, void *buf, size_t len)
{
	(void)ctx;
	if (address < start || address >= end || len > end - address)
		return -EFAULT;
	memcpy(buf, at(address), len);
	return 0;
}

/* ftrace's places are NOPs once a kernel is up, in older ones those of its CPU. */
static void boot_guest(bool k8)
{
	static const uint8_t nops[2][5] = { { 0x0f, 0x1f, 0x44, 0, 0 },
					    { 0x66, 0x66, 0x66, 0x66, 0x90 } };
	const uint8_t *nop = nops[k8];

	for (size_t i = 0; i < judge.sites.count; i++)
		if (judge.sites.site[i].kind == KA_PATCH_FTRACE &&
		    judge.sites.site[i].address < end)
			memcpy(at(judge.sites.site[i].address), nop, sizeof(nops[0]));
}

static void load(const char *version)
{
	char path[64];

	snprintf(path, sizeof(path), "build/lab/pkgs/vmlinuz-%s", version);
	if (access(path, R_OK))
		cr_skip_test("%s is not there: make lab brings it", path);
	cr_assert_eq(ka_reference_derive(path, &reference), 0);
	cr_assert_eq(patch_judge_create(reference, NULL, &judge), 0);
	start = judge.text->address;
	end = start + judge.text->len;
	guest = malloc(end - start);
	cr_assert(patch_source(&judge, SLIDE, start, guest, end - start));
	boot_guest(!strcmp(version, "5.10"));
	boot = (struct ka_text_boot){ .slide = SLIDE, .read = boot_read };
	kernel = (struct ka_kernel){ .symbols = ka_reference_symbols(reference),
				     .slide = SLIDE,
				     .text_start = start + SLIDE,
				     .text_end = end + SLIDE };
}

static int take_with(const struct ka_tracing *tracing)
{
	uint8_t *bytes = malloc(end - start);

	memcpy(bytes, guest, end - start);
	return ka_text_from_guest(NULL, &kernel, bytes, tracing, &text);
}

static void unload(void)
{
	ka_text_free(text);
	text = NULL;
	patch_judge_destroy(&judge);
	ka_reference_free(reference);
	free(guest);
}

static size_t compare(uint64_t from, uint64_t to)
{
	struct ka_text_difference differences[MAX];

	return ka_text_compare(text, &boot, start, guest, end - start, from, to, differences, MAX);
}

static size_t compare_site(const struct patch_site *site)
{
	return compare(site->address, site->address + site->length);
}

static const struct patch_site *sample(enum ka_patch_kind kind, size_t n)
{
	return patch_sample(&judge, end, TRIES, kind, n);
}

static void branch(uint64_t address, uint8_t opcode, uint64_t target)
{
	int32_t distance = (int32_t)(target - (address + 5));

	*at(address) = opcode;
	memcpy(at(address + 1), &distance, 4);
}

/* ---- what a kernel that runs patches --------------------------------------------------------- */

static void functions_are_traced(void)
{
	const struct patch_site *site;
	size_t n;

	for (n = 0; (site = sample(KA_PATCH_FTRACE, n)); n++) {
		uint8_t nop[5];

		memcpy(nop, at(site->address), sizeof(nop));
		branch(site->address, 0xe8, judge.ftrace[1].start);
		cr_expect_eq(compare_site(site), 0, "ftrace at %lx", (unsigned long)site->address);
		branch(site->address, 0xe8, 0xffffffffc0001000);
		cr_expect_geq(compare_site(site), 1);
		branch(site->address, 0xe9, judge.ftrace[1].start);
		cr_expect_geq(compare_site(site), 1);
		memcpy(at(site->address), nop, sizeof(nop));
	}
	cr_expect_geq(n, 100);
}

static void labels_are_flipped(void)
{
	static const uint8_t nops[2][5] = { { 0x66, 0x90 }, { 0x0f, 0x1f, 0x44, 0, 0 } };
	const struct patch_site *site;
	size_t n;

	for (n = 0; (site = sample(KA_PATCH_JUMP_LABEL, n)); n++) {
		uint64_t target = judge.sites.target[site->index];

		memcpy(at(site->address), nops[site->length == 5], site->length);
		cr_expect_eq(compare_site(site), 0);
		if (site->length == 5)
			branch(site->address, 0xe9, target);
		else
			memcpy(at(site->address),
			       (uint8_t[]){ 0xeb, (uint8_t)(target - site->address - 2) }, 2);
		cr_expect_eq(compare_site(site), 0);
		*at(site->address + site->length - 1) ^= 1;
		cr_expect_geq(compare_site(site), 1);
		*at(site->address + site->length - 1) ^= 1;
	}
	cr_expect_geq(n, 100);
}

/* Where a trampoline of the image leads; 0: nowhere, it returns. */
static uint64_t function_of(uint64_t trampoline)
{
	uint64_t function;
	int32_t distance;

	if (!trampoline || *at(trampoline) != 0xe9)
		return 0;
	memcpy(&distance, at(trampoline + 1), 4);
	function = trampoline + 5 + (uint64_t)(int64_t)distance;
	return function == judge.return_thunk[0] ? 0 : function;
}

/* As the guest had them when it was taken, and as it has them then. */
static void calls_are_updated(void)
{
	static const uint8_t nop[] = { 0x0f, 0x1f, 0x44, 0, 0 };
	static const uint8_t ret[] = { 0xc3, 0xcc, 0xcc, 0xcc, 0xcc };
	const struct patch_site *site;
	unsigned int tried = 0;

	for (size_t n = 0; tried < 12 && (site = sample(KA_PATCH_STATIC_CALL, n)); n++) {
		uint64_t function = function_of(judge.sites.target[site->index]);
		uint8_t opcode = *at(site->address);

		if (!function || (opcode != 0xe8 && opcode != 0xe9))
			continue;
		tried++;
		memcpy(at(site->address), opcode == 0xe8 ? nop : ret, 5);
		cr_expect_eq(compare_site(site), 0, "static call at %lx",
			     (unsigned long)site->address);
		ka_text_free(text);
		cr_assert_eq(take_with(NULL), 0);
		cr_expect_eq(compare_site(site), 0);
		branch(site->address, opcode, function);
		cr_expect_eq(compare_site(site), 0, "static call at %lx, taken without its call",
			     (unsigned long)site->address);
		branch(site->address, opcode, 0xffffffffc0001000);
		cr_expect_geq(compare_site(site), 1);
		branch(site->address, opcode, function + 1);
		cr_expect_geq(compare_site(site), 1);
		branch(site->address, opcode, function);
	}
	cr_expect_geq(tried, 4);
}

static void what_it_patches_is_none(const char *version)
{
	load(version);
	cr_assert_eq(take_with(NULL), 0);
	cr_expect_eq(compare(start, end), 0);
	functions_are_traced();
	labels_are_flipped();
	calls_are_updated();
	unload();
}

Test(guest_text, what_5_10_patches_is_no_difference)
{
	what_it_patches_is_none("5.10");
}

Test(guest_text, what_6_1_patches_is_no_difference)
{
	what_it_patches_is_none("6.1");
}

Test(guest_text, what_6_12_patches_is_no_difference)
{
	what_it_patches_is_none("6.12");
}

/* ---- what it does not ----------------------------------------------------------------------- */

Test(guest_text, one_wrong_byte_anywhere_is_a_difference)
{
	load("6.12");
	cr_assert_eq(take_with(NULL), 0);
	for (uint64_t address = start; address < end; address += 9973) {
		*at(address) ^= 0x55;
		cr_expect_geq(compare(address & ~63ull, (address & ~63ull) + 64), 1, "at %lx",
			      (unsigned long)address);
		*at(address) ^= 0x55;
	}
	unload();
}

/* It does not patch them once it runs. */
Test(guest_text, other_alternatives_than_those_it_chose_are_a_difference)
{
	const struct patch_site *site;

	load("6.12");
	cr_assert_eq(take_with(NULL), 0);
	for (size_t n = 0; (site = sample(KA_PATCH_RETURN, n)); n++) {
		uint8_t before = *at(site->address);

		*at(site->address) = before == 0xc3 ? 0xe9 : 0xc3;
		cr_expect_geq(compare_site(site), 1);
		*at(site->address) = before;
	}
	unload();
}

/* ---- the moment that it is taken ------------------------------------------------------------- */

Test(guest_text, kernel_that_patches_is_not_taken)
{
	const struct patch_site *label, *call;
	uint8_t before;

	load("6.12");
	label = sample(KA_PATCH_JUMP_LABEL, 3);
	call = sample(KA_PATCH_STATIC_CALL, 3);
	before = *at(label->address);
	*at(label->address) = 0xcc;
	cr_expect_eq(take_with(NULL), -EAGAIN);
	*at(label->address) = before;
	*at(call->address) = 0xcc;
	cr_expect_eq(take_with(NULL), -EAGAIN);
	unload();
}

Test(guest_text, functions_that_are_traced_at_that_moment_are_so_no_longer)
{
	const struct patch_site *site;

	load("6.12");
	for (size_t n = 0; (site = sample(KA_PATCH_FTRACE, n)); n++)
		if (!(site->address & 15) || (site->address & 15) == 4)
			branch(site->address, 0xe8, judge.ftrace[0].start);
	cr_assert_eq(take_with(NULL), 0);
	cr_expect_eq(compare(start, end), 0);
	boot_guest(false);
	cr_expect_eq(compare(start, end), 0);
	unload();
}

Test(guest_text, probes_of_that_moment_are_taken_back)
{
	struct tracing_probe probe = { .slot = 0xffffffffa0001000 - SLIDE, .size = 6 };
	struct ka_tracing tracing = { .probes = &probe, .probe_count = 1 };
	uint64_t function;
	uint8_t before[5];

	load("6.12");
	cr_assert_eq(ka_symbols_find(ka_reference_symbols(reference), "vfs_read", &function), 0);
	probe.address = function + 32;
	memcpy(before, at(probe.address), 5);
	probe.opcode = before[0];
	memcpy(probe.copied, before + 1, 4);
	*at(probe.address) = 0xcc;
	cr_assert_eq(take_with(&tracing), 0);
	memcpy(at(probe.address), before, 5);
	cr_expect_eq(compare(start, end), 0);
	ka_text_free(text);
	branch(probe.address, 0xe9, probe.slot);
	cr_assert_eq(take_with(&tracing), 0);
	memcpy(at(probe.address), before, 5);
	cr_expect_eq(compare(start, end), 0);
	unload();
}

Test(guest_text, second_cpu_is_no_difference_where_there_was_one)
{
	const struct patch_site *site;

	load("6.12");
	site = sample(KA_PATCH_SMP_LOCK, 5);
	uniproc = 1;
	*at(site->address) = 0x3e;
	cr_assert_eq(take_with(NULL), 0);
	*at(site->address) = 0xf0;
	cr_expect_eq(compare_site(site), 0);
	*at(site->address) = 0x90;
	cr_expect_geq(compare_site(site), 1);
	ka_text_free(text);
	/* Where there always were two it never changes. */
	uniproc = 0;
	*at(site->address) = 0xf0;
	cr_assert_eq(take_with(NULL), 0);
	*at(site->address) = 0x3e;
	cr_expect_geq(compare_site(site), 1);
	unload();
}

Test(guest_text, lists_that_are_bent_do_no_harm)
{
	load("6.12");
	bent = true;
	if (!take_with(NULL))
		compare(start, end);
	kernel.text_end = kernel.text_start;
	cr_expect_eq(take_with(NULL), -ENODATA);
	unload();
}

/* ---- modules -------------------------------------------------------------------------------- */

enum { MODULE = 0x20000000, MODULE_BYTES = 8192 };

static struct ka_text *kernel_text;

/* A piece of the kernel's text, with a NOP of ftrace's where it begins, as if it were a module's. */
static int take_module(const struct ka_module *module)
{
	uint8_t *bytes = malloc(module->text_size);

	memcpy(bytes, guest, module->text_size);
	return ka_module_text_from_guest(NULL, &kernel, kernel_text, NULL, module, bytes, NULL,
					 &text);
}

static size_t compare_module(const struct ka_module *module)
{
	struct ka_text_difference differences[MAX];
	uint64_t from = module->text_start - SLIDE;

	return ka_text_compare(text, &boot, from, guest, module->text_size, from,
			       from + module->text_size, differences, MAX);
}

Test(guest_text, module_is_held_against_itself)
{
	static const uint8_t nop[] = { 0x0f, 0x1f, 0x44, 0, 0 };
	const struct ka_module module = { .text_start = 0xffffffff80000000 + MODULE + SLIDE,
					  .text_size = MODULE_BYTES };
	int32_t distance;

	load("6.12");
	cr_assert_eq(ka_text_create(reference, &kernel_text), 0);
	memcpy(guest + 64, nop, sizeof(nop));
	cr_assert_eq(take_module(&module), 0);
	cr_expect_eq(compare_module(&module), 0);
	guest[64] = 0xe8;
	distance = (int32_t)(judge.ftrace[0].start - (module.text_start - SLIDE + 64 + 5));
	memcpy(guest + 65, &distance, 4);
	cr_expect_eq(compare_module(&module), 0, "it is traced");
	guest[MODULE_BYTES - 8] ^= 0x55;
	cr_expect_eq(compare_module(&module), 1);
	ka_text_free(text);
	text = NULL;
	cr_expect_eq(take_module(&(struct ka_module){ .text_start = SLIDE - 4096,
						      .text_size = MODULE_BYTES }),
		     -EBADMSG, "it lies around the end of all addresses");
	module_has.gva[0] = module_has.gva[1] = module.text_start;
	module_has.entries[0] = UINT32_MAX;
	cr_expect_eq(take_module(&module), -EBADMSG, "a list longer than its text");
	ka_text_free(kernel_text);
	unload();
}

/* Each would be looked into in the guest's memory. */
Test(guest_text, text_full_of_calls_is_not_taken)
{
	const struct ka_module module = { .text_start = 0xffffffff80000000 + MODULE + SLIDE,
					  .text_size = MODULE_BYTES };

	load("6.12");
	cr_assert_eq(ka_text_create(reference, &kernel_text), 0);
	for (uint64_t address = start; address < start + MODULE_BYTES; address += 16)
		branch(address, 0xe8, 0xffffffffc8001000);
	cr_expect_eq(take_module(&module), -EAGAIN);
	ka_text_free(kernel_text);
	unload();
}
