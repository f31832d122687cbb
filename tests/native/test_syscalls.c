// SPDX-License-Identifier: LGPL-2.1-or-later
/* The system call table is found by its symbol or by its looks, read, and written. */
#define _GNU_SOURCE
#include <string.h>

#include "guest_kernel.h"
#include "support.h"

static struct guest_kernel kernel;
static struct ka_symbols *symbols;
static struct ka_kernel found;
static struct ka_syscall_table table;
static uint64_t handlers[KA_SYSCALLS_MAX];

static void close_all(void)
{
	ka_symbols_free(symbols);
	symbols = NULL;
	support_close();
}

TestSuite(syscalls, .fini = close_all, .timeout = TEST_TIMEOUT_S);
TestSuite(run, .fini = close_all, .timeout = TEST_TIMEOUT_S);

/* ---- by symbol ----------------------------------------------------------------------------- */

static unsigned int entry_size(void)
{
	return tinyvm_mode_64bit(kernel.mode) ? 8 : 4;
}

static void poke_entry(uint64_t gpa, unsigned int number, uint64_t handler)
{
	assert_ok(tinyvm_poke(&t.vm, gpa + number * entry_size(), &handler, entry_size()));
}

static void poke_table(uint64_t gpa, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		poke_entry(gpa, i, guest_kernel_handler(kernel.mode, i));
}

static int find(enum ka_syscall_table_kind kind)
{
	return ka_syscall_table_find(t.ka, &found, kind, &table);
}

static void find_kernel(void)
{
	ka_symbols_free(symbols);
	symbols = guest_kernel_system_map(&kernel);
	assert_ok(ka_kernel_find(t.ka, (const struct ka_symbols *const *)&symbols, 1, &found));
}

/* A guest with a table of KERNEL_CALLS calls whose files say nothing of notes. */
static void start(enum tinyvm_mode mode, unsigned int flags)
{
	support_open(&(struct tinyvm_options){ .mode = mode }, flags);
	guest_kernel_init(&kernel, mode, tinyvm_mode_64bit(mode) ? 0x2000000 : 0x7000);
	guest_kernel_drop(&kernel, "__start_notes");
	poke_table(KERNEL_TABLE, KERNEL_CALLS);
}

WIDTH_TEST(syscalls, table_ends_before_its_padding)
{
	size_t count = 0;

	start(mode, 0);
	find_kernel();
	/* A hole is no padding. */
	poke_entry(KERNEL_TABLE, 100, 0);
	assert_ok(find(KA_SYSCALL_NATIVE));
	assert_hex(table.gva, gva(KERNEL_TABLE));
	cr_assert_eq(table.count, KERNEL_CALLS);
	cr_assert_eq(table.entry_size, entry_size());
	assert_ok(ka_syscall_table_read(t.ka, &found, &table, handlers, KA_SYSCALLS_MAX, &count));
	cr_assert_eq(count, KERNEL_CALLS);
	for (unsigned int i = 0; i < count; i++)
		assert_hex(handlers[i], i == 100 ? 0 : guest_kernel_handler(mode, i));
}

WIDTH_TEST(syscalls, table_without_padding_ends_at_the_next_symbol)
{
	start(mode, 0);
	guest_kernel_set(&kernel, "after_sys_call_table",
			 gva(KERNEL_TABLE) + 50 * entry_size() + entry_size() / 2);
	find_kernel();
	assert_ok(find(KA_SYSCALL_NATIVE));
	cr_assert_eq(table.count, 50);
}

WIDTH_TEST(syscalls, table_is_cut_to_what_any_kernel_has)
{
	size_t count = 0;

	start(mode, 0);
	poke_table(KERNEL_TABLE, KA_SYSCALLS_MAX + 50);
	guest_kernel_set(&kernel, "after_sys_call_table", gva(KERNEL_TABLE + 0x8000));
	find_kernel();
	assert_ok(find(KA_SYSCALL_NATIVE));
	cr_assert_eq(table.count, KA_SYSCALLS_MAX);
	assert_ok(ka_syscall_table_read(t.ka, &found, &table, handlers, KA_SYSCALLS_MAX, &count));
	cr_assert_eq(count, KA_SYSCALLS_MAX);
}

WIDTH_TEST(syscalls, read_is_cut_to_the_room)
{
	uint64_t few[6] = { 0, 0, 0, 0, 0, 0xfeed };
	size_t count = 0;

	start(mode, 0);
	find_kernel();
	assert_ok(find(KA_SYSCALL_NATIVE));
	assert_ok(ka_syscall_table_read(t.ka, &found, &table, few, 5, &count));
	cr_assert_eq(count, 5);
	assert_hex(few[4], guest_kernel_handler(mode, 4));
	assert_hex(few[5], 0xfeed);
}

WIDTH_TEST(syscalls, entry_is_written_and_read_back)
{
	uint64_t hook;
	size_t count = 0;

	start(mode, KA_OPEN_WRITE);
	find_kernel();
	assert_ok(find(KA_SYSCALL_NATIVE));
	hook = gva(GUEST_SCRATCH + 0x4321);
	assert_ok(ka_syscall_table_write(t.ka, &found, &table, KERNEL_CALLS - 1, hook));
	assert_ok(ka_syscall_table_read(t.ka, &found, &table, handlers, KA_SYSCALLS_MAX, &count));
	assert_hex(handlers[KERNEL_CALLS - 1], hook);
	assert_hex(handlers[KERNEL_CALLS - 2], guest_kernel_handler(mode, KERNEL_CALLS - 2));
	/* Nothing behind it. */
	assert_hex(tinyvm_peek64(&t.vm, KERNEL_TABLE + KERNEL_CALLS * entry_size()), 0);
}

WIDTH_TEST(syscalls, nonsense_is_einval)
{
	struct ka_syscall_table odd;
	size_t count = 0;

	start(mode, KA_OPEN_WRITE);
	find_kernel();
	assert_ok(find(KA_SYSCALL_NATIVE));
	assert_rc(ka_syscall_table_write(t.ka, &found, &table, KERNEL_CALLS, gva(0)), -EINVAL);
	assert_rc(ka_syscall_table_write(t.ka, &found, &table, ~0u, gva(0)), -EINVAL);
	if (!tinyvm_mode_64bit(mode))
		assert_rc(ka_syscall_table_write(t.ka, &found, &table, 0, 1ull << 32), -EINVAL);
	odd = table;
	odd.entry_size = 4096;
	assert_rc(ka_syscall_table_write(t.ka, &found, &odd, 0, gva(0)), -EINVAL);
	assert_rc(ka_syscall_table_read(t.ka, &found, &odd, handlers, 1, &count), -EINVAL);
	odd = table;
	odd.count = KA_SYSCALLS_MAX + 1;
	assert_rc(ka_syscall_table_read(t.ka, &found, &odd, handlers, 1, &count), -EINVAL);
	cr_assert_eq(count, 0);
}

Test(syscalls, write_without_the_flag_is_eperm)
{
	start(TINYVM_4LEVEL, 0);
	find_kernel();
	assert_ok(find(KA_SYSCALL_NATIVE));
	assert_rc(ka_syscall_table_write(t.ka, &found, &table, 0, gva(0)), -EPERM);
}

WIDTH_TEST(syscalls, empty_or_endless_table_is_enodata)
{
	start(mode, 0);
	poke_entry(KERNEL_TABLE, 0, 0);
	guest_kernel_set(&kernel, "after_sys_call_table", gva(KERNEL_TABLE) + entry_size());
	find_kernel();
	table.count = 7;
	assert_rc(find(KA_SYSCALL_NATIVE), -ENODATA);
	cr_assert_eq(table.count, 7);
	/* The last symbol of all. */
	guest_kernel_set(&kernel, "sys_call_table", gva(KERNEL_END - 0x1000));
	guest_kernel_drop(&kernel, "after_sys_call_table");
	guest_kernel_drop(&kernel, "_end");
	find_kernel();
	assert_rc(find(KA_SYSCALL_NATIVE), -ENODATA);
}

WIDTH_TEST(syscalls, table_that_is_not_mapped_is_efault)
{
	start(mode, 0);
	guest_kernel_set(&kernel, "sys_call_table", window_gva(3));
	guest_kernel_set(&kernel, "after_sys_call_table", window_gva(4));
	find_kernel();
	assert_rc(find(KA_SYSCALL_NATIVE), -EFAULT);
}

WIDTH_TEST(syscalls, ia32_table_is_enodata_where_there_is_none)
{
	start(mode, 0);
	find_kernel();
	assert_rc(find(KA_SYSCALL_IA32), -ENODATA);
}

WIDTH_TEST(syscalls, ia32_table_is_found_in_64bit_kernels)
{
	start(mode, 0);
	poke_table(KERNEL_TABLE + 0x3000, 30);
	guest_kernel_set(&kernel, "ia32_sys_call_table", gva(KERNEL_TABLE + 0x3000));
	find_kernel();
	if (!tinyvm_mode_64bit(mode)) {
		assert_rc(find(KA_SYSCALL_IA32), -ENODATA);
		return;
	}
	assert_ok(find(KA_SYSCALL_IA32));
	assert_hex(table.gva, gva(KERNEL_TABLE + 0x3000));
	cr_assert_eq(table.count, 30);
}

/* A 32-bit kernel as packaged, from the guest's gates to the table. */
MODE_TEST(syscalls, table_without_a_name_is_found_in_32bit_kernels)
{
	start(mode, 0);
	guest_kernel_drop(&kernel, "sys_call_table");
	find_kernel();
	if (tinyvm_mode_64bit(mode)) {
		assert_rc(find(KA_SYSCALL_NATIVE), -ENODATA);
		return;
	}
	assert_ok(find(KA_SYSCALL_NATIVE));
	assert_hex(table.gva, gva(KERNEL_TABLE));
	cr_assert_eq(table.count, KERNEL_CALLS);
	cr_assert_eq(table.entry_size, 4);
}

/* ---- by the run of handlers ---------------------------------------------------------------- */

/*
 * A 32-bit kernel that exists only in memory: page tables of 32-bit paging that no vCPU uses, in
 * any guest, so that these tests run wherever some guest does.
 */
enum {
	RUN_ROOT = 0x300000,
	RUN_PT = 0x301000,
	RUN_MIN = 64,	 /* fewer handlers in a row are no table */
	CHUNK = 0x10000, /* read at once, from _etext on */
	PRESENT = 1,
	LARGE = 0x81,
};

static void poke32(uint64_t gpa, uint32_t value)
{
	assert_ok(tinyvm_poke(&t.vm, gpa, &value, sizeof(value)));
}

static void map_page(uint64_t gpa, uint32_t entry)
{
	poke32(RUN_PT + gpa / 0x1000 * 4, entry);
}

/* GVA = 0xc0000000 + GPA for all 4 MiB, and no symbols but those of handlers. */
static void start_run(void)
{
	support_open(&(struct tinyvm_options){ .mode = TINYVM_4LEVEL }, 0);
	guest_kernel_init(&kernel, TINYVM_32BIT, 0x5000);
	guest_kernel_drop(&kernel, "sys_call_table");
	symbols = guest_kernel_system_map(&kernel);
	poke32(RUN_ROOT + (GUEST_BASE_32 >> 22) * 4, RUN_PT | PRESENT);
	for (uint64_t gpa = 0; gpa < GUEST_MEMORY_MIN; gpa += 0x1000)
		map_page(gpa, gpa | PRESENT);
	found = (struct ka_kernel){
		.symbols = symbols,
		.slide = kernel.slide,
		.base = GUEST_BASE_32 + GUEST_TEXT,
		.text_start = GUEST_BASE_32 + GUEST_TEXT,
		.text_end = GUEST_BASE_32 + KERNEL_ETEXT,
		.image_end = GUEST_BASE_32 + RUN_ROOT,
		.paging = { .root = RUN_ROOT, .mode = KA_PAGING_32BIT, .pse = 1 },
	};
}

static void expect_run(uint64_t gpa, unsigned int count)
{
	assert_ok(find(KA_SYSCALL_NATIVE));
	assert_hex(table.gva, GUEST_BASE_32 + gpa);
	cr_assert_eq(table.count, count, "%u entries, not %u", table.count, count);
	cr_assert_eq(table.entry_size, 4);
}

Test(run, of_handlers_is_the_table)
{
	size_t count = 0;

	start_run();
	poke_table(KERNEL_TABLE, KERNEL_CALLS);
	expect_run(KERNEL_TABLE, KERNEL_CALLS);
	assert_ok(ka_syscall_table_read(t.ka, &found, &table, handlers, KA_SYSCALLS_MAX, &count));
	cr_assert_eq(count, KERNEL_CALLS);
	assert_hex(handlers[199], guest_kernel_handler(TINYVM_32BIT, 199));
}

Test(run, ends_at_the_first_word_that_is_no_handler)
{
	start_run();
	poke_table(KERNEL_TABLE, KERNEL_CALLS);
	/* Within a handler. */
	poke32(KERNEL_TABLE + 4 * 150, guest_kernel_handler(TINYVM_32BIT, 150) + 1);
	expect_run(KERNEL_TABLE, 150);
	/* Not a system call's. */
	poke32(KERNEL_TABLE + 4 * 120, GUEST_BASE_32 + GUEST_TEXT);
	expect_run(KERNEL_TABLE, 120);
}

Test(run, that_is_short_or_begins_otherwise_is_passed_over)
{
	start_run();
	poke_table(KERNEL_TABLE, RUN_MIN - 1);
	/* Long, but call 1 comes first. */
	for (unsigned int i = 0; i < KERNEL_CALLS; i++)
		poke_entry(KERNEL_TABLE + 0x1000, i, guest_kernel_handler(TINYVM_32BIT, i ? i : 1));
	/* Only the first. */
	poke_table(KERNEL_TABLE + 0x2000, 1);
	assert_rc(find(KA_SYSCALL_NATIVE), -ENODATA);
	poke_table(KERNEL_TABLE + 0x3000, RUN_MIN);
	expect_run(KERNEL_TABLE + 0x3000, RUN_MIN);
}

Test(run, across_the_border_of_what_is_read_at_once_is_whole)
{
	uint64_t border = KERNEL_ETEXT + 16 * CHUNK;

	start_run();
	for (unsigned int before = 0; before <= 8; before++) {
		uint64_t place = border - before * 4;
		static const uint32_t none[KERNEL_CALLS];

		poke_table(place, KERNEL_CALLS);
		expect_run(place, KERNEL_CALLS);
		assert_ok(tinyvm_poke(&t.vm, place, none, sizeof(none)));
	}
}

Test(run, of_the_greatest_length_is_whole_wherever_it_begins)
{
	uint64_t place = KERNEL_ETEXT + 17 * CHUNK - 4;

	start_run();
	for (unsigned int i = 0; i < KA_SYSCALLS_MAX + 10; i++)
		poke_entry(place, i, guest_kernel_handler(TINYVM_32BIT, i % KERNEL_CALLS));
	expect_run(place, KA_SYSCALLS_MAX);
}

Test(run, ends_with_the_image)
{
	start_run();
	poke_table(KERNEL_TABLE, KERNEL_CALLS);
	found.image_end = GUEST_BASE_32 + KERNEL_TABLE + 4 * RUN_MIN;
	expect_run(KERNEL_TABLE, RUN_MIN);
	found.image_end -= 4;
	assert_rc(find(KA_SYSCALL_NATIVE), -ENODATA);
	found.image_end = GUEST_BASE_32 + KERNEL_TABLE + 4;
	assert_rc(find(KA_SYSCALL_NATIVE), -ENODATA);
	found.image_end = 0;
	assert_rc(find(KA_SYSCALL_NATIVE), -ENODATA);
}

Test(run, beside_pages_that_are_not_mapped_is_found)
{
	uint64_t place = KERNEL_TABLE + 0x1000 - 4 * KERNEL_CALLS;

	start_run();
	poke_table(place, KERNEL_CALLS);
	map_page(KERNEL_TABLE - 0x1000, 0);
	/* Nor is the page behind it. */
	map_page(KERNEL_TABLE + 0x1000, 0);
	expect_run(place, KERNEL_CALLS);
	/* Mapped, to where no memory is. */
	map_page(KERNEL_TABLE - 0x1000, 0x70000000 | PRESENT);
	map_page(KERNEL_TABLE + 0x1000, 0x70000000 | PRESENT);
	expect_run(place, KERNEL_CALLS);
}

Test(run, in_an_image_that_is_not_mapped_is_enodata)
{
	start_run();
	poke_table(KERNEL_TABLE, KERNEL_CALLS);
	poke32(RUN_ROOT + (GUEST_BASE_32 >> 22) * 4, 0);
	assert_rc(find(KA_SYSCALL_NATIVE), -ENODATA);
	found.paging.root = 0x70000000;
	assert_rc(find(KA_SYSCALL_NATIVE), -ENODATA);
}

/* Every page of it mapped, to the same 4 MiB over and over. */
Test(run, in_a_huge_image_is_looked_for_to_the_end)
{
	uint64_t began;

	start_run();
	found.image_end = found.base + (1ull << 27);
	for (uint32_t gva = 0xc0400000; gva >= 0xc0400000; gva += 0x400000)
		poke32(RUN_ROOT + (gva >> 22) * 4, LARGE);
	began = support_now_ms();
	assert_rc(find(KA_SYSCALL_NATIVE), -ENODATA);
	cr_assert_lt(support_now_ms() - began, 60000);
	/* And past the last address. */
	found.base = found.text_end = 0xffff0000;
	found.image_end = 0x101000000;
	assert_rc(find(KA_SYSCALL_NATIVE), -ENODATA);
}

Test(run, in_a_vm_that_is_gone_is_eownerdead)
{
	start_run();
	tinyvm_kill(&t.vm);
	assert_rc(find(KA_SYSCALL_NATIVE), -EOWNERDEAD);
}

Test(run, without_the_names_of_the_first_handlers_is_enodata)
{
	start_run();
	poke_table(KERNEL_TABLE, KERNEL_CALLS);
	guest_kernel_drop(&kernel, "__ia32_sys_exit");
	ka_symbols_free(symbols);
	found.symbols = symbols = guest_kernel_system_map(&kernel);
	assert_rc(find(KA_SYSCALL_NATIVE), -ENODATA);
}
