// SPDX-License-Identifier: LGPL-2.1-or-later
/* Read-only data: on Debian's images, and the audit of a made-up guest that has no reference. */
#include "audit_guest.h"

#include "access/patch_judge.h"
#include "access/reference.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#define audit_symbol_text(kernel, gva, buf, size)                                                  \
	((void)(kernel), snprintf(buf, size, "0x%llx", (unsigned long long)(gva)))
#define ka_kernel_symbol_end(kernel, gva, end) ((void)(kernel), *(end) = (gva) + 0x100, 0)
#define references_rodata(references, reference) ((void)(references), (void)(reference), NULL)
#undef ka_translate
#define ka_translate(vm, paging, gva, translation)                                                 \
	((void)(vm), (void)(paging), *(translation) = (struct ka_translation){ .rights = rights }, \
	 (void)(gva), 0)
static uint32_t rights;
#include "monitor/audits/rodata.c"
#include "monitor/audits/rodata_init.c"

enum { SLIDE = 0x1a400000, FLIPS = 200, MAX = 4 };

#undef ka_kernel_symbol
#undef ka_symbols_64bit

/* ---- of an image --------------------------------------------------------------------------- */

static struct ka_reference *reference;
static struct ka_text *text;
static uint8_t *guest;
static uint64_t start, end;

static void load(const char *version)
{
	struct patch_judge judge;
	char path[64];

	snprintf(path, sizeof(path), "build/lab/pkgs/vmlinuz-%s", version);
	if (access(path, R_OK))
		cr_skip_test("%s is not there: make lab brings it", path);
	cr_assert_eq(ka_reference_derive(path, &reference), 0);
	cr_assert_eq(ka_rodata_create(reference, &text), 0);
	cr_assert_eq(patch_judge_create_data(reference, REFERENCE_RODATA, &judge), 0);
	ka_text_range(text, &start, &end);
	guest = malloc(end - start);
	cr_assert(patch_source(&judge, SLIDE, start, guest, end - start));
}

static void unload(void)
{
	ka_text_free(text);
	ka_reference_free(reference);
	free(guest);
}

static size_t differences_in(uint64_t from, uint64_t to, struct ka_text_difference *found)
{
	struct ka_text_boot boot = { .slide = SLIDE };

	return ka_text_compare(text, &boot, start, guest, end - start, from, to, found, MAX);
}

static uint64_t address_of(const char *name)
{
	uint64_t address = 0;

	cr_assert_eq(ka_symbols_find(ka_reference_symbols(reference), name, &address), 0, "%s",
		     name);
	return address;
}

/* A pointer of a table is moved as KASLR moves it: the image's symbols tell where to. */
static void expect_member(const char *table, uint64_t offset, const char *function)
{
	uint64_t pointer;

	memcpy(&pointer, guest + (address_of(table) - start) + offset, sizeof(pointer));
	cr_expect_eq(pointer, address_of(function) + SLIDE, "%s", table);
}

static void every_byte_counts(const char *version)
{
	struct ka_text_difference found[MAX];

	load(version);
	cr_expect_eq(differences_in(start, end, found), 0);
	expect_member("cpuinfo_op", 24, "show_cpuinfo");
	expect_member("tcp4_seq_ops", 24, "tcp4_seq_show");
	srand(1);
	for (int i = 0; i < FLIPS; i++) {
		uint64_t at = start + (uint64_t)rand() % (end - start);

		guest[at - start] ^= 1u << rand() % 8;
		cr_assert_eq(differences_in(start, end, found), 1);
		cr_assert_eq(found[0].address, at);
		cr_assert_eq(found[0].observed[0], guest[at - start]);
		guest[at - start] = found[0].expected[0];
	}
	cr_expect_eq(differences_in(start, end, found), 0);
	unload();
}

Test(rodata, every_byte_of_6_1_counts)
{
	every_byte_counts("6.1");
}

Test(rodata, every_byte_of_6_12_counts)
{
	every_byte_counts("6.12");
}

/* ---- without a reference ------------------------------------------------------------------- */

static struct audit_result result;
static void *state;

static void begin(void)
{
	audit_guest_make();
	audit_symbol("__start_rodata", MEMORY + 0x1000);
	audit_symbol("__start_ro_after_init", MEMORY + 0x9010);
	memset(audit_guest.memory + 0x1000, 0x5a, 0x8010);
	cr_assert_eq(audit_rodata.prepare(&audit_guest_view, &state), 0);
}

static void finish(void)
{
	audit_rodata.release(state);
}

static size_t looked(void)
{
	result.count = 0;
	cr_assert_eq(audit_rodata.look(state, &audit_guest_view, &result), 0);
	return result.count;
}

TestSuite(tofu, .init = begin, .fini = finish);

Test(tofu, word_that_changed_is_told_until_it_is_undone)
{
	const size_t at[] = { 0x1000, 0x1007, 0x13ff, 0x8fff, 0x900f };

	cr_assert_eq(looked(), 0);
	cr_expect_str_not_empty(result.gap);
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		audit_guest.memory[at[i]] ^= 0x80;
		cr_assert_eq(looked(), 1);
		cr_expect_eq(result.differences[0].gva, MEMORY + (at[i] & ~7ull));
		cr_expect_str_eq(result.differences[0].what, "is not what it was at first sight");
		cr_expect_str_eq(result.differences[0].expected_text, "5a5a5a5a5a5a5a5a");
		cr_assert_eq(looked(), 1);
		audit_guest.memory[at[i]] ^= 0x80;
		cr_assert_eq(looked(), 0);
	}
}

Test(tofu, pointer_is_told_by_where_it_led)
{
	audit_word(MEMORY + 0x2018, IMAGE + 0x1000);
	cr_assert_eq(looked(), 0);
	audit_word(MEMORY + 0x2018, 0xffffffffc0001230);
	cr_assert_eq(looked(), 1);
	cr_expect_eq(result.differences[0].gva, MEMORY + 0x2018);
	cr_expect_eq(result.differences[0].target, 0xffffffffc0001230);
	cr_expect_str_eq(result.differences[0].what, "leads to 0xffffffffc0001230");
	cr_expect_str_eq(result.differences[0].expected_text, "0xffffffff81001000");
}

static bool is_told(uint64_t gva)
{
	for (size_t i = 0; i < result.count; i++)
		if (result.differences[i].gva == gva)
			return true;
	return false;
}

Test(tofu, words_that_change_one_after_the_other_are_each_told)
{
	const size_t at[] = { 0x1408, 0x1400, 0x17f8, 0x1600 };
	const size_t count = sizeof(at) / sizeof(at[0]);

	cr_assert_eq(looked(), 0);
	for (size_t i = 0; i < count; i++) {
		audit_word(MEMORY + at[i], IMAGE + i);
		cr_assert_eq(looked(), i + 1);
		cr_expect(is_told(MEMORY + at[i]));
	}
	for (size_t i = 0; i < count; i++) {
		memset(audit_guest.memory + at[i], 0x5a, 8);
		cr_assert_eq(looked(), count - 1 - i);
		cr_expect_not(is_told(MEMORY + at[i]));
	}
}

Test(tofu, words_that_change_at_once_are_told_by_where_they_begin)
{
	cr_assert_eq(looked(), 0);
	audit_word(MEMORY + 0x1410, 1);
	cr_assert_eq(looked(), 1);
	audit_word(MEMORY + 0x1500, 2);
	audit_word(MEMORY + 0x1600, 3);
	cr_assert_eq(looked(), 2);
	cr_expect(is_told(MEMORY + 0x1410));
	cr_expect(is_told(MEMORY + 0x1400));
	/* What is left alone is found by itself again. */
	memset(audit_guest.memory + 0x1500, 0x5a, 8);
	cr_assert_eq(looked(), 2);
	cr_expect(is_told(MEMORY + 0x1410));
	cr_expect(is_told(MEMORY + 0x1600));
}

/* In sum as if it were the word between them, which it is not. */
Test(tofu, changes_that_feign_another_are_not_believed)
{
	const uint64_t was = 0x5a5a5a5a5a5a5a5a;

	cr_assert_eq(looked(), 0);
	audit_word(MEMORY + 0x1c08, was + 1);
	audit_word(MEMORY + 0x1c18, was + 1);
	cr_assert_eq(looked(), 1);
	cr_expect_eq(result.differences[0].gva, MEMORY + 0x1c00);
	cr_expect_str_eq(result.differences[0].observed_text, "changed");
	/* Nor those of which the sums know nothing. */
	audit_word(MEMORY + 0x1c10, was - 2);
	cr_assert_eq(looked(), 1);
	cr_expect_eq(result.differences[0].gva, MEMORY + 0x1c00);
}

Test(tofu, system_call_tables_are_left_to_their_check)
{
	finish();
	audit_symbol("sys_call_table", MEMORY + 0x2100);
	audit_symbol("ia32_sys_call_table", MEMORY + 0x2300);
	cr_assert_eq(audit_rodata.prepare(&audit_guest_view, &state), 0);
	cr_assert_eq(looked(), 0);
	memset(audit_guest.memory + 0x2100, 1, 0x100);
	memset(audit_guest.memory + 0x2300, 1, 0x100);
	cr_assert_eq(looked(), 0);
	audit_guest.memory[0x20ff] ^= 1;
	cr_assert_eq(looked(), 1);
	audit_guest.memory[0x20ff] ^= 1;
	audit_guest.memory[0x2400] ^= 1;
	cr_assert_eq(looked(), 1);
}

Test(tofu, what_lies_around_it_is_not_looked_at)
{
	cr_assert_eq(looked(), 0);
	audit_guest.memory[0xfff] ^= 1;
	audit_guest.memory[0x9010] ^= 1;
	cr_assert_eq(looked(), 0);
}

Test(tofu, more_changes_than_are_told_are_bounded)
{
	cr_assert_eq(looked(), 0);
	memset(audit_guest.memory + 0x1000, 0, 0x8010);
	cr_assert_eq(looked(), SPOTS_MAX);
	memset(audit_guest.memory + 0x1000, 0x5a, 0x8010);
	cr_assert_eq(looked(), 0);
}

Test(tofu, a_range_outside_of_the_image_is_none)
{
	void *other;

	audit_guest.symbols_count -= 2;
	audit_symbol("__start_rodata", IMAGE - 0x1000);
	audit_symbol("__start_ro_after_init", MEMORY + 0x9010);
	cr_assert_eq(audit_rodata.prepare(&audit_guest_view, &other), -ENODATA);
	audit_guest.symbols_count -= 2;
	audit_symbol("__start_rodata", MEMORY + 0x1000);
	audit_symbol("__start_ro_after_init", MEMORY);
	cr_assert_eq(audit_rodata.prepare(&audit_guest_view, &other), -ENODATA);
}

/* ---- what is read-only once the kernel is up ------------------------------------------------ */

static void begin_init(void)
{
	audit_guest_make();
	rights = 0;
	audit_symbol("__start_rodata", MEMORY + 0x1000);
	audit_symbol("__start_ro_after_init", MEMORY + 0x9010);
	audit_symbol("__end_ro_after_init", MEMORY + 0xc020);
	for (uint64_t at = 0x9010; at < 0xc020; at += 8)
		audit_word(MEMORY + at, IMAGE + at);
	cr_assert_eq(audit_rodata.prepare(&audit_guest_view, &state), 0);
}

TestSuite(init, .init = begin_init, .fini = finish);

Test(init, word_that_is_another_one_is_told_until_it_is_undone)
{
	const uint64_t at[] = { 0x9010, 0xaff8, 0xb000, 0xc018 };

	cr_assert_eq(looked(), 0);
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		audit_word(MEMORY + at[i], IMAGE + 0x123456);
		cr_assert_eq(looked(), 1);
		cr_expect_eq(result.differences[0].gva, MEMORY + at[i]);
		cr_expect_str_eq(result.differences[0].what, "leads to 0xffffffff81123456");
		cr_expect_eq(result.differences[0].target, IMAGE + 0x123456);
		cr_assert_eq(looked(), 1);
		audit_word(MEMORY + at[i], IMAGE + at[i]);
		cr_assert_eq(looked(), 0);
	}
}

Test(init, what_is_no_pointer_is_told_by_its_bytes)
{
	audit_word(MEMORY + 0xa000, 1);
	cr_assert_eq(looked(), 0);
	audit_word(MEMORY + 0xa000, 2);
	cr_assert_eq(looked(), 1);
	cr_expect_str_eq(result.differences[0].what, "is not what it was at first sight");
	cr_expect_str_eq(result.differences[0].observed_text, "0200000000000000");
}

Test(init, what_the_kernel_can_still_write_is_not_kept)
{
	rights = KA_RIGHT_WRITE;
	cr_assert_eq(looked(), 0);
	audit_word(MEMORY + 0xa000, 1);
	cr_assert_eq(looked(), 0);
	rights = 0;
	cr_assert_eq(looked(), 0);
	audit_word(MEMORY + 0xa000, 2);
	cr_assert_eq(looked(), 1);
}

Test(init, what_lies_around_it_is_not_looked_at)
{
	cr_assert_eq(looked(), 0);
	audit_word(MEMORY + 0xc020, 1);
	cr_assert_eq(looked(), 0);
}

Test(init, more_changes_than_are_told_are_bounded)
{
	cr_assert_eq(looked(), 0);
	memset(audit_guest.memory + 0x9010, 0, 0x3010);
	cr_assert_eq(looked(), SPOTS_MAX);
}

Test(init, range_that_is_none_is_not_looked_at)
{
	void *other;

	audit_guest.symbols_count--;
	audit_symbol("__end_ro_after_init", MEMORY + 0x9000);
	cr_assert_eq(audit_rodata.prepare(&audit_guest_view, &other), 0);
	cr_assert_null(((struct rodata *)other)->init);
	audit_rodata.release(other);
}
