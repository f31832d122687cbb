// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Kernel text, on Debian's images: what the kernel may put in a place that it patches is no
 * difference, and one wrong byte is, in each kind of place and elsewhere.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "access/patch_judge.h"

enum { TRIES = 60, SLIDE = 0x12600000, MAX = 8 };

static struct ka_reference *reference;
static struct ka_text *text;
static struct patch_judge judge; /* the same again, for its list of places */
static struct ka_text_boot boot;
static uint8_t *guest;
static uint64_t start, end;

static void load(const char *version)
{
	char path[64];

	snprintf(path, sizeof(path), "build/lab/pkgs/vmlinuz-%s", version);
	if (access(path, R_OK))
		cr_skip_test("%s is not there: make lab brings it", path);
	cr_assert_eq(ka_reference_derive(path, &reference), 0);
	cr_assert_eq(ka_text_create(reference, &text), 0);
	cr_assert_eq(patch_judge_create(reference, &judge), 0);
	ka_text_range(text, &start, &end);
	guest = malloc(end - start);
	boot = (struct ka_text_boot){ .slide = SLIDE };
	cr_assert(patch_source(&judge, SLIDE, start, guest, end - start));
}

static void unload(void)
{
	patch_judge_destroy(&judge);
	ka_text_free(text);
	ka_reference_free(reference);
	free(guest);
}

static size_t compare(uint64_t from, uint64_t to, struct ka_text_difference *differences)
{
	return ka_text_compare(text, &boot, start, guest, end - start, from, to, differences, MAX);
}

static uint8_t *at(uint64_t address)
{
	return guest + (address - start);
}

static size_t compare_site(const struct patch_site *site)
{
	struct ka_text_difference differences[MAX];
	size_t count = compare(site->address, site->address + site->length, differences);

	if (count)
		cr_expect_leq(differences[0].address, site->address);
	return count;
}

/* The n-th place of a kind that lies in the text, spread over all of them; NULL: no more. */
static const struct patch_site *sample(enum ka_patch_kind kind, size_t n)
{
	size_t total = 0, seen = 0, wanted;

	for (size_t i = 0; i < judge.sites.count; i++)
		total += judge.sites.site[i].kind == kind && judge.sites.site[i].address < end;
	wanted = n * (total > TRIES ? total / TRIES : 1);
	for (size_t i = 0; n < TRIES && i < judge.sites.count; i++) {
		const struct patch_site *site = &judge.sites.site[i];

		if (site->kind == kind && site->address < end && seen++ == wanted)
			return site;
	}
	return NULL;
}

/* ---- wrong bytes --------------------------------------------------------------------------- */

static void plant(const struct patch_site *site, size_t offset)
{
	uint8_t *byte = at(site->address + offset), old = *byte;

	*byte ^= 0x55;
	cr_expect_geq(compare_site(site), 1, "%s at %lx+%zu", ka_patch_kind_name(site->kind),
		      (unsigned long)site->address, offset);
	*byte = old;
}

/* The first byte is an opcode or prefix, the last the high end of a distance, or filling. */
static void wrong_bytes_are_found(const char *version)
{
	load(version);
	cr_expect_eq(compare(start, end, NULL), 0);
	for (int kind = KA_PATCH_NONE + 1; kind < KA_PATCH_KINDS; kind++) {
		const struct patch_site *site;

		for (size_t n = 0; (site = sample(kind, n)); n++) {
			plant(site, 0);
			plant(site, site->length - 1u);
		}
	}
	unload();
}

Test(kernel_text, wrong_bytes_are_found_in_every_kind_of_place_of_6_1)
{
	wrong_bytes_are_found("6.1");
}

Test(kernel_text, wrong_bytes_are_found_in_every_kind_of_place_of_6_12)
{
	wrong_bytes_are_found("6.12");
}

static void every_kind_is_there(const char *version, const enum ka_patch_kind *kinds, size_t count)
{
	load(version);
	for (size_t i = 0; i < count; i++)
		cr_expect(ka_text_sites(text, kinds[i]), "%s", ka_patch_kind_name(kinds[i]));
	unload();
}

Test(kernel_text, no_kind_of_place_is_overlooked)
{
	static const enum ka_patch_kind old[] = {
		KA_PATCH_ALTERNATIVE, KA_PATCH_PARAVIRT,    KA_PATCH_RETPOLINE,
		KA_PATCH_RETURN,      KA_PATCH_STATIC_CALL, KA_PATCH_STATIC_CALL_TRAMPOLINE,
		KA_PATCH_JUMP_LABEL,  KA_PATCH_FTRACE,	    KA_PATCH_FTRACE_CALL,
		KA_PATCH_SMP_LOCK,
	};
	static const enum ka_patch_kind new[] = {
		KA_PATCH_ALTERNATIVE,	KA_PATCH_RETPOLINE,
		KA_PATCH_RETURN,	KA_PATCH_CALL,
		KA_PATCH_CALL_THUNK,	KA_PATCH_STATIC_CALL,
		KA_PATCH_JUMP_LABEL,	KA_PATCH_FTRACE,
		KA_PATCH_SMP_LOCK,	KA_PATCH_ENDBR,
		KA_PATCH_RUNTIME_SHIFT, KA_PATCH_RUNTIME_POINTER,
		KA_PATCH_RUNTIME_LIMIT, KA_PATCH_STATIC_CALL_TRAMPOLINE,
	};

	every_kind_is_there("6.1", old, sizeof(old) / sizeof(old[0]));
	every_kind_is_there("6.12", new, sizeof(new) / sizeof(new[0]));
}

Test(kernel_text, a_hook_between_the_places_is_found_and_its_target_told)
{
	struct ka_text_difference differences[MAX];
	uint64_t function;
	uint8_t hook[5] = { 0xe9 };
	int32_t distance;

	load("6.12");
	cr_assert_eq(ka_symbols_find(ka_reference_symbols(reference), "x64_sys_call", &function),
		     0);
	function += 4; /* behind ENDBR */
	distance = (int32_t)(0xffffffffc0001000 - (function + 32 + 5));
	memcpy(hook + 1, &distance, 4);
	memcpy(at(function + 32), hook, sizeof(hook));
	cr_assert_geq(compare(start, end, differences), 1);
	cr_expect_geq(differences[0].address, function);
	cr_expect_leq(differences[0].address, function + 32 + 5);
	unload();
}

/* ---- what the kernel may put there --------------------------------------------------------- */

static void put(const struct patch_site *site, const void *bytes, size_t len)
{
	memcpy(at(site->address), bytes, len);
}

static void put_branch(const struct patch_site *site, uint8_t opcode, uint64_t target)
{
	int32_t distance = (int32_t)(target - (site->address + 5));

	*at(site->address) = opcode;
	memcpy(at(site->address + 1), &distance, 4);
}

static void clean(const struct patch_site *site, const char *what)
{
	cr_expect_eq(compare_site(site), 0, "%s at %lx: %s", ka_patch_kind_name(site->kind),
		     (unsigned long)site->address, what);
}

static void returns_are_accepted(void)
{
	static const uint8_t ret[] = { 0xc3, 0xcc, 0xcc, 0xcc, 0xcc };
	const struct patch_site *site;

	for (size_t n = 0; (site = sample(KA_PATCH_RETURN, n)); n++) {
		if (site->length != 5)
			continue;
		put(site, ret, sizeof(ret));
		clean(site, "ret");
		put_branch(site, 0xe9, judge.return_thunk[n % judge.return_thunks]);
		clean(site, "return thunk");
		put_branch(site, 0xe9, 0xffffffffc0001000);
		cr_expect_eq(compare_site(site), 1);
	}
}

static void ftrace_is_accepted(void)
{
	static const uint8_t nop[] = { 0x0f, 0x1f, 0x44, 0, 0 };
	const struct patch_site *site;

	for (size_t n = 0; (site = sample(KA_PATCH_FTRACE, n)); n++) {
		put(site, nop, sizeof(nop));
		clean(site, "nop");
		put_branch(site, 0xe8, judge.ftrace[1].start);
		clean(site, "ftrace_regs_caller");
		put_branch(site, 0xe8, 0xffffffffc0001000);
		cr_expect_eq(compare_site(site), 1);
	}
}

static void jump_labels_are_accepted(void)
{
	static const uint8_t nops[2][5] = { { 0x66, 0x90 }, { 0x0f, 0x1f, 0x44, 0, 0 } };
	const struct patch_site *site;

	for (size_t n = 0; (site = sample(KA_PATCH_JUMP_LABEL, n)); n++) {
		uint64_t target = judge.sites.target[site->index];

		put(site, nops[site->length == 5], site->length);
		clean(site, "nop");
		if (site->length == 5)
			put_branch(site, 0xe9, target);
		else
			put(site, (uint8_t[]){ 0xeb, (uint8_t)(target - site->address - 2) }, 2);
		clean(site, "jmp");
		*at(site->address + site->length - 1) ^= 1;
		cr_expect_eq(compare_site(site), 1);
	}
}

static void locks_are_accepted(void)
{
	const struct patch_site *site;

	for (size_t n = 0; (site = sample(KA_PATCH_SMP_LOCK, n)); n++) {
		put(site, "\x3e", 1);
		clean(site, "one CPU");
	}
}

static void retpolines_are_accepted(void)
{
	const struct patch_site *site;

	for (size_t n = 0; (site = sample(KA_PATCH_RETPOLINE, n)); n++) {
		uint8_t *bytes = at(site->address);
		int32_t distance;
		unsigned int reg;

		if (site->length != 5 || bytes[0] != 0xe8)
			continue;
		memcpy(&distance, bytes + 1, 4);
		reg = (unsigned int)(site->address + 5 + (uint64_t)(int64_t)distance -
				     judge.thunk) /
		      32;
		if (reg >= 8)
			continue;
		put(site, (uint8_t[]){ 0xff, (uint8_t)(0xd0 + reg), 0x0f, 0x1f, 0 }, 5);
		clean(site, "call *reg");
		put(site, (uint8_t[]){ 0x0f, 0xae, 0xe8, 0xff, (uint8_t)(0xd0 + reg) }, 5);
		clean(site, "lfence; call *reg");
		put(site, (uint8_t[]){ 0xff, (uint8_t)(0xd0 + (reg ^ 1)), 0x0f, 0x1f, 0 }, 5);
		cr_expect_eq(compare_site(site), 1, "another register");
	}
}

static void variants_are_accepted(const char *version)
{
	load(version);
	returns_are_accepted();
	ftrace_is_accepted();
	jump_labels_are_accepted();
	locks_are_accepted();
	retpolines_are_accepted();
	unload();
}

Test(kernel_text, what_6_1_may_put_there_is_no_difference)
{
	variants_are_accepted("6.1");
}

Test(kernel_text, what_6_12_may_put_there_is_no_difference)
{
	variants_are_accepted("6.12");
}

/* In each place the replacement that needs no moving, then NOPs; a wrong one of those is found. */
Test(kernel_text, alternatives_are_accepted_whole_or_not_at_all)
{
	unsigned int tried = 0;

	load("6.12");
	for (size_t i = 0; i < judge.sites.count; i++) {
		const struct patch_site *site = &judge.sites.site[i];
		const struct patch_alternative *alternative = &judge.sites.alternative[site->index];

		if (site->kind != KA_PATCH_ALTERNATIVE || site->address >= end ||
		    alternative->length != 3 || site->length != 3)
			continue;
		cr_assert(patch_source(&judge, SLIDE, alternative->replacement, at(site->address),
				       3));
		clean(site, "replacement");
		*at(site->address + 2) ^= 0x55;
		cr_expect_geq(compare_site(site), 1);
		*at(site->address + 2) ^= 0x55;
		tried++;
	}
	cr_expect_geq(tried, 10);
	unload();
}
