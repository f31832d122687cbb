// SPDX-License-Identifier: LGPL-2.1-or-later
/* The audit of page tables, on 4-level tables that are made of an array. */
#include <criterion/criterion.h>
#include <errno.h>
#include <kvmaccess.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The file under test is linked into this program a second time, so its name must differ. */
#define audit_page_tables tested_audit_page_tables

static int fake_gpa_read(struct ka_vm *vm, uint64_t gpa, void *buf, size_t len);
static int fake_translate(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva,
			  struct ka_translation *ret_translation);

#define ka_gpa_read(vm, gpa, buf, len) fake_gpa_read(vm, gpa, buf, len)
#define ka_translate(vm, paging, gva, translation) fake_translate(vm, paging, gva, translation)

#include "monitor/audits/page_tables.c"

/* ---- the guest ------------------------------------------------------------------------------- */

enum {
	TABLES = 16,
	ROOT = 0, /* tables, by number; each lies at its number + 1 pages */
	PUD_IMAGE,
	PMD_IMAGE,
	PT_RODATA, /* of the 2 MiB behind the text's */
	PUD_OTHER, /* of vmalloc's address space */
	PMD_OTHER,
	PT_OTHER,
};

#define LARGE (2ull << 20)
static const uint64_t base = 0xffffffff81000000, physical = 0x4000000,
		      other = 0xffffc90000000000;

static uint64_t table[TABLES][ENTRIES];
static unsigned int reads;
static struct ka_symbols *symbols;
static struct ka_kernel kernel;
static struct audit_view view;
static void *state;
static struct audit_result result;

static uint64_t table_gpa(unsigned int number)
{
	return (number + 1ull) * PAGE_BYTES;
}

static uint64_t *entry_of(unsigned int number, uint64_t gva, unsigned int level)
{
	return &table[number][gva >> (12 + 9 * (level - 1)) & (ENTRIES - 1)];
}

static int fake_gpa_read(struct ka_vm *vm, uint64_t gpa, void *buf, size_t len)
{
	uint64_t number = gpa / PAGE_BYTES - 1;

	(void)vm;
	reads++;
	if (number >= TABLES)
		return -ENXIO;
	memcpy(buf, table[number], len);
	return 0;
}

static int fake_translate(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva,
			  struct ka_translation *ret_translation)
{
	uint64_t at = paging->root, entry = 0;
	struct ka_translation found = { .rights = KA_RIGHT_WRITE | KA_RIGHT_EXEC };

	(void)vm;
	for (unsigned int level = 4; level; level--) {
		if (at / PAGE_BYTES - 1 >= TABLES)
			return -ENXIO;
		entry = *entry_of((unsigned int)(at / PAGE_BYTES - 1), gva, level);
		found.step[found.depth++] = (struct ka_walk_step){
			at + (gva >> (12 + 9 * (level - 1)) & (ENTRIES - 1)) * 8, entry
		};
		if (!(entry & ENTRY_PRESENT))
			return -EFAULT;
		if (!(entry & ENTRY_WRITE))
			found.rights &= (uint8_t)~KA_RIGHT_WRITE;
		if (entry & ENTRY_NX)
			found.rights &= (uint8_t)~KA_RIGHT_EXEC;
		at = entry & ENTRY_FRAME;
		found.page_size = 1ull << (12 + 9 * (level - 1));
		if (level == 1 || entry & ENTRY_LARGE)
			break;
	}
	found.gpa = (entry & ENTRY_FRAME & ~(found.page_size - 1)) + (gva & (found.page_size - 1));
	*ret_translation = found;
	return 0;
}

static void symbols_make(void)
{
	char path[] = "/tmp/kvmbpf-map-XXXXXX";
	FILE *file = fdopen(mkstemp(path), "w");

	fprintf(file, "ffffffff81000000 T _text\nffffffff81000000 T _stext\n");
	fprintf(file, "ffffffff813ff123 T _etext\nffffffff81400000 D __start_rodata\n");
	fprintf(file, "ffffffff81500000 D __end_rodata\nffffffff81600000 D _sdata\n");
	fprintf(file, "ffffffff81700000 D _edata\nffffffff81900000 B _end\n");
	fclose(file);
	cr_assert_eq(ka_symbols_load(path, &symbols), 0);
	unlink(path);
}

/* Text by two large pages, read-only data by small ones, data by a large one; a vmalloc page. */
static void tables_make(void)
{
	const uint64_t link = ENTRY_PRESENT | ENTRY_WRITE, ro = ENTRY_PRESENT;

	memset(table, 0, sizeof(table));
	*entry_of(ROOT, base, 4) = table_gpa(PUD_IMAGE) | link;
	*entry_of(PUD_IMAGE, base, 3) = table_gpa(PMD_IMAGE) | link;
	*entry_of(PMD_IMAGE, base, 2) = physical | ro | ENTRY_LARGE;
	*entry_of(PMD_IMAGE, base + LARGE, 2) = (physical + LARGE) | ro | ENTRY_LARGE;
	*entry_of(PMD_IMAGE, base + 2 * LARGE, 2) = table_gpa(PT_RODATA) | link;
	for (unsigned int i = 0; i < ENTRIES; i++)
		table[PT_RODATA][i] = (physical + 2 * LARGE + i * (uint64_t)PAGE_BYTES) | ro | ENTRY_NX;
	*entry_of(PMD_IMAGE, base + 3 * LARGE, 2) =
		(physical + 3 * LARGE) | link | ENTRY_LARGE | ENTRY_NX;
	*entry_of(ROOT, other, 4) = table_gpa(PUD_OTHER) | link;
	*entry_of(PUD_OTHER, other, 3) = table_gpa(PMD_OTHER) | link;
	*entry_of(PMD_OTHER, other, 2) = table_gpa(PT_OTHER) | link;
	*entry_of(PT_OTHER, other, 1) = 0x9000000 | link | ENTRY_NX;
}

static void setup(void)
{
	symbols_make();
	tables_make();
	reads = 0;
	kernel = (struct ka_kernel){ .symbols = symbols,
				     .base = base,
				     .text_start = base,
				     .text_end = base + 0x3ff123,
				     .image_end = base + 0x900000,
				     .phys_base = (int64_t)(physical - (base - image_map)),
				     .paging = { .root = table_gpa(ROOT),
						 .mode = KA_PAGING_4LEVEL } };
	view = (struct audit_view){ .kernel = &kernel };
	cr_assert_eq(audit_page_tables.prepare(&view, &state), 0);
}

static void teardown(void)
{
	audit_page_tables.release(state);
	ka_symbols_free(symbols);
}

TestSuite(page_tables, .init = setup, .fini = teardown);

static size_t look(void)
{
	result.count = 0;
	cr_assert_eq(audit_page_tables.look(state, &view, &result), 0);
	return result.count;
}

static void expect_one(uint64_t gva, const char *problem, const char *words)
{
	cr_assert_eq(look(), 1, "%zu", result.count);
	cr_assert_eq(result.differences[0].gva, gva);
	cr_assert_str_eq(result.differences[0].problem, problem);
	cr_assert(strstr(result.differences[0].what, words), "%s", result.differences[0].what);
	cr_assert_eq(look(), 1);
}

Test(page_tables, kernel_that_protects_itself_is_in_order)
{
	for (int i = 0; i < 4; i++)
		cr_assert_eq(look(), 0);
}

Test(page_tables, text_that_can_be_written_is_told)
{
	cr_assert_eq(look(), 0);
	*entry_of(PMD_IMAGE, base + LARGE, 2) |= ENTRY_WRITE;
	expect_one(base + LARGE, "rights", "text can be written");
	*entry_of(PMD_IMAGE, base + LARGE, 2) &= ~ENTRY_WRITE;
	cr_assert_eq(look(), 0);
}

Test(page_tables, small_page_of_read_only_data_that_can_be_written_is_told)
{
	cr_assert_eq(look(), 0);
	table[PT_RODATA][3] |= ENTRY_WRITE;
	expect_one(base + 2 * LARGE + 3 * PAGE_BYTES, "rights", "read-only data can be written");
}

Test(page_tables, data_that_can_be_executed_is_told)
{
	cr_assert_eq(look(), 0);
	*entry_of(PMD_IMAGE, base + 3 * LARGE, 2) &= ~ENTRY_NX;
	expect_one(base + 3 * LARGE, "rights", "data can be executed");
}

Test(page_tables, page_that_was_opened_before_it_was_seen_is_told)
{
	table[PT_RODATA][0] |= ENTRY_WRITE;
	expect_one(base + 2 * LARGE, "rights", "read-only data can be written");
}

/* rodata=off */
Test(page_tables, kernel_that_protects_nothing_is_as_it_was_told_to_be)
{
	*entry_of(PMD_IMAGE, base, 2) |= ENTRY_WRITE;
	*entry_of(PMD_IMAGE, base + LARGE, 2) |= ENTRY_WRITE;
	cr_assert_eq(look(), 0);
	cr_assert_eq(look(), 0);
}

Test(page_tables, text_on_another_page_is_told)
{
	cr_assert_eq(look(), 0);
	*entry_of(PMD_IMAGE, base, 2) += 16 * LARGE;
	expect_one(base, "moved", "mapped to another place");
}

Test(page_tables, second_mapping_of_the_text_that_can_be_written_is_told)
{
	cr_assert_eq(look(), 0);
	*entry_of(PT_OTHER, other + 7 * PAGE_BYTES, 1) =
		(physical + 0x123000) | ENTRY_PRESENT | ENTRY_NX;
	for (int i = 0; i < 4; i++) /* reads only, as the direct map does */
		cr_assert_eq(look(), 0);
	*entry_of(PT_OTHER, other + 7 * PAGE_BYTES, 1) |= ENTRY_WRITE;
	expect_one(other + 7 * PAGE_BYTES, "alias", "second mapping");
	*entry_of(PMD_OTHER, other, 2) &= ~ENTRY_WRITE;
	cr_assert_eq(look(), 0);
}

Test(page_tables, large_second_mapping_is_told)
{
	*entry_of(PMD_OTHER, other + LARGE, 2) =
		(physical + LARGE) | ENTRY_PRESENT | ENTRY_WRITE | ENTRY_LARGE;
	expect_one(other + LARGE, "alias", "second mapping");
}

/* Each entry of the kernel half leads back to the root. */
Test(page_tables, tables_that_lead_to_themselves_are_walked_in_parts_and_given_up)
{
	cr_assert_eq(look(), 0);
	for (unsigned int i = HALF; i < ENTRIES; i++)
		if (!table[ROOT][i])
			table[ROOT][i] = table_gpa(ROOT) | ENTRY_PRESENT | ENTRY_WRITE;
	for (unsigned int i = 0; i < 2 * TABLES_PER_WALK / TABLES_PER_LOOK; i++) {
		reads = 0;
		look();
		cr_assert_leq(reads, TABLES_PER_LOOK + 8);
	}
}

Test(page_tables, text_that_is_not_mapped_is_an_error)
{
	cr_assert_eq(look(), 0);
	*entry_of(PMD_IMAGE, base, 2) = 0;
	result.count = 0;
	cr_assert_eq(audit_page_tables.look(state, &view, &result), -EFAULT);
}

Test(page_tables, other_paging_modes_have_no_such_audit)
{
	void *none = NULL;

	kernel.paging.mode = KA_PAGING_PAE;
	cr_assert_eq(audit_page_tables.prepare(&view, &none), -ENODATA);
	cr_assert_null(none);
}
