// SPDX-License-Identifier: LGPL-2.1-or-later
/* The guest's kernel is found by its entry points, its page tables and its build-id. */
#define _GNU_SOURCE
#include <elf.h>
#include <string.h>

#include "guest_image.h"
#include "guest_kernel.h"
#include "support.h"

enum { VOTES_MIN = 4, FILES_MAX = 4, COPY = 0x300000, COPY_OF_USER_HALF = 0x2c0000 };

static const uint8_t build_id[KERNEL_BUILD_ID_BYTES] = { 0xc0, 0xff, 0xee, 1,  2,  3,	4,
							 5,    6,    7,	   8,  9,  10,	11,
							 12,   13,   14,   15, 16, 0xef };
static const char build_id_hex[] = "c0ffee0102030405060708090a0b0c0d0e0f10ef";

static struct guest_kernel kernel;
static struct ka_symbols *files[FILES_MAX];
static size_t files_count;
static struct ka_kernel found;

static void drop_files(void)
{
	while (files_count)
		ka_symbols_free(files[--files_count]);
}

static void close_all(void)
{
	drop_files();
	support_close();
}

TestSuite(kernel, .fini = close_all, .timeout = TEST_TIMEOUT_S);

/* As KASLR gives: any multiple of 2 MiB in 64-bit kernels, of a page in 32-bit ones. */
static uint64_t slide_of(enum tinyvm_mode mode)
{
	return tinyvm_mode_64bit(mode) ? 0x1e600000 : 0x1234000;
}

static void add_file(struct ka_symbols *symbols)
{
	cr_assert_lt(files_count, FILES_MAX);
	files[files_count++] = symbols;
}

static int find(void)
{
	return ka_kernel_find(t.ka, (const struct ka_symbols *const *)files, files_count, &found);
}

static void poke_notes(uint64_t gpa)
{
	uint8_t notes[KERNEL_NOTES_BYTES];
	size_t len = guest_kernel_note(notes, 6, "Linux", "pvh", 3);

	len += guest_kernel_note(notes + len, NT_GNU_BUILD_ID, "GNU", build_id, sizeof(build_id));
	assert_ok(tinyvm_poke(&t.vm, gpa, notes, len));
}

/* A guest with a kernel, whose files the test has yet to make. */
static void start(enum tinyvm_mode mode, unsigned int vcpus)
{
	support_open(&(struct tinyvm_options){ .mode = mode, .vcpus = vcpus }, 0);
	guest_kernel_init(&kernel, mode, slide_of(mode));
	poke_notes(KERNEL_NOTES);
}

static void hook_gate(uint64_t table, unsigned int vector, uint64_t handler)
{
	bool long_mode = tinyvm_mode_64bit(t.vm.options.mode);
	uint64_t at = table + vector * (long_mode ? 16 : 8);
	struct ka_gate gate;
	uint8_t bytes[16];

	assert_ok(tinyvm_peek(&t.vm, at, bytes, sizeof(bytes)));
	assert_ok(ka_gate_decode(bytes, sizeof(bytes), long_mode, &gate));
	gate.offset = handler;
	assert_ok(ka_gate_encode(&gate, bytes, sizeof(bytes)));
	assert_ok(tinyvm_poke(&t.vm, at, bytes, gate.size));
}

/* To places that lie in no common distance from the handlers. */
static void hook_gates(uint64_t table, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		hook_gate(table, guest_kernel_vector[i], gva(GUEST_SCRATCH + 0x1238 * (i + 1)));
}

static void load_idt(unsigned int vcpu, uint64_t gpa, uint16_t limit)
{
	uint64_t table = gva(gpa);

	tinyvm_poke64(&t.vm, GUEST_POINTERS, limit | table << 16);
	tinyvm_poke64(&t.vm, GUEST_POINTERS + 8, table >> 48);
	assert_ok(tinyvm_do(&t.vm, vcpu, GUEST_CMD_LIDT, gva(GUEST_POINTERS), 0));
}

static void expect_found(void)
{
	memset(&found, 0, sizeof(found));
	assert_ok(find());
	assert_hex(found.slide, kernel.slide);
	assert_hex(found.phys_base, 0);
	assert_hex(found.paging.root, GUEST_ROOT);
	cr_assert_eq(found.paging.mode, t.paging.mode);
}

/* ---- what is found ------------------------------------------------------------------------- */

MODE_TEST(kernel, is_found_with_its_slide_bounds_and_build_id)
{
	start(mode, 1);
	add_file(guest_kernel_system_map(&kernel));
	expect_found();
	cr_assert_eq(found.symbols, files[0]);
	assert_hex(found.base, gva(GUEST_TEXT));
	assert_hex(found.text_start, gva(GUEST_TEXT));
	assert_hex(found.text_end, gva(KERNEL_ETEXT));
	assert_hex(found.image_end, gva(KERNEL_END));
	cr_assert_str_eq(found.build_id, build_id_hex);
	cr_assert_str_eq(found.release, "");
}

WIDTH_TEST(kernel, without_kaslr_has_no_slide)
{
	start(mode, 1);
	kernel.slide = 0;
	add_file(guest_kernel_system_map(&kernel));
	expect_found();
}

MODE_TEST(kernel, elsewhere_in_physical_memory_is_found)
{
	uint64_t alias = GUEST_LARGE;

	start(mode, 1);
	for (unsigned int vector = 0; vector < 32; vector++)
		hook_gate(GUEST_IDT, vector, guest_image_handler(mode, vector) + alias);
	for (size_t i = 0; i < kernel.count; i++)
		kernel.symbol[i].gva += alias;
	/* The alias is that of the first 2 MiB only. */
	guest_kernel_drop_data(&kernel);
	add_file(guest_kernel_system_map(&kernel));
	assert_ok(find());
	assert_hex(found.slide, kernel.slide);
	assert_hex(found.phys_base, -alias);
	assert_hex(found.paging.root, GUEST_ROOT);
	cr_assert_str_eq(found.build_id, "");
}

WIDTH_TEST(kernel, symbols_are_found_named_and_read)
{
	uint8_t pattern[5000], read[5000];
	uint64_t address = 0, offset = 0;

	start(mode, 1);
	guest_kernel_set(&kernel, "some_data", gva(GUEST_SCRATCH + 0x50f0));
	guest_kernel_set(&kernel, "not_mapped", window_gva(7));
	add_file(guest_kernel_system_map(&kernel));
	expect_found();
	assert_ok(ka_kernel_symbol(&found, "asm_exc_page_fault", &address));
	assert_hex(address, guest_image_handler(mode, 14));
	cr_assert_str_eq(ka_kernel_name(&found, address + 3, &offset), "asm_exc_page_fault");
	cr_assert_eq(offset, 3);
	cr_assert_null(ka_kernel_name(&found, gva(GUEST_TEXT) - 1, &offset));
	cr_assert_null(ka_kernel_name(&found, gva(KERNEL_END), &offset));
	assert_rc(ka_kernel_symbol(&found, "no_such_symbol", &address), -ENOENT);
	pattern_poke(GUEST_SCRATCH + 0x50f0, pattern, sizeof(pattern), 1);
	assert_ok(ka_symbol_read(t.ka, &found, "some_data", read, sizeof(read)));
	cr_assert_arr_eq(read, pattern, sizeof(read));
	assert_rc(ka_symbol_read(t.ka, &found, "no_such_symbol", read, 1), -ENOENT);
	assert_rc(ka_symbol_read(t.ka, &found, "not_mapped", read, 1), -EFAULT);
}

/* ---- hooks --------------------------------------------------------------------------------- */

/* The gates, and LSTAR where it is known. */
static unsigned int votes(void)
{
	bool lstar =
		tinyvm_mode_64bit(t.vm.options.mode) && !(t.registers.flags & KA_REGISTERS_NO_MSRS);

	return KERNEL_GATES + lstar;
}

WIDTH_TEST(kernel, any_one_hooked_gate_does_not_mislead)
{
	start(mode, 1);
	add_file(guest_kernel_system_map(&kernel));
	for (unsigned int i = 0; i < KERNEL_GATES; i++) {
		unsigned int vector = guest_kernel_vector[i];

		/* By a whole slide: plausible by itself. */
		hook_gate(GUEST_IDT, vector, guest_image_handler(mode, vector) + 0x4000000);
		expect_found();
		hook_gate(GUEST_IDT, vector, guest_image_handler(mode, vector));
	}
}

WIDTH_TEST(kernel, is_found_while_four_entry_points_agree)
{
	start(mode, 1);
	add_file(guest_kernel_system_map(&kernel));
	hook_gates(GUEST_IDT, votes() - VOTES_MIN);
	expect_found();
	hook_gates(GUEST_IDT, votes() - VOTES_MIN + 1);
	found.slide = 1;
	assert_rc(find(), -ENODATA);
	cr_assert_eq(found.slide, 1);
}

WIDTH_TEST(kernel, vcpu_with_an_idt_of_its_own_does_not_hide_it)
{
	start(mode, 2);
	add_file(guest_kernel_system_map(&kernel));
	hook_gates(GUEST_IDT_OTHER, KERNEL_GATES);
	load_idt(0, GUEST_IDT_OTHER, 0xfff);
	expect_found();
	load_idt(1, GUEST_IDT_OTHER, 0xfff);
	assert_rc(find(), -ENODATA);
	load_idt(0, GUEST_IDT, 0xfff);
	expect_found();
}

WIDTH_TEST(kernel, vcpu_without_an_idt_is_not_up_yet)
{
	start(mode, 2);
	add_file(guest_kernel_system_map(&kernel));
	load_idt(0, GUEST_IDT, 0);
	expect_found();
	load_idt(1, GUEST_IDT, 0);
	assert_rc(find(), -EAGAIN);
	/* One that was asked in vain says more. */
	hook_gates(GUEST_IDT_OTHER, KERNEL_GATES);
	load_idt(0, GUEST_IDT_OTHER, 0xfff);
	assert_rc(find(), -ENODATA);
}

Test(kernel, before_paging_is_eagain)
{
	support_start(&(struct tinyvm_options){ .mode = TINYVM_RESET });
	support_host(false);
	t.ka = support_open_pid(t.vm.pid, 0);
	guest_kernel_init(&kernel, TINYVM_4LEVEL, 0);
	add_file(guest_kernel_system_map(&kernel));
	assert_rc(find(), -EAGAIN);
}

Test(kernel, of_a_vm_that_is_gone_is_eownerdead)
{
	start(TINYVM_4LEVEL, 1);
	add_file(guest_kernel_system_map(&kernel));
	tinyvm_kill(&t.vm);
	assert_rc(find(), -EOWNERDEAD);
}

/* ---- files that do not fit ----------------------------------------------------------------- */

/* The same kernel with another layout: its entry points lie elsewhere. */
static struct ka_symbols *other_kernel(void)
{
	struct guest_kernel other = kernel;

	for (unsigned int i = 0; i < other.count; i++)
		other.symbol[i].gva += 16 * (i + 1);
	return guest_kernel_system_map(&other);
}

static struct ka_symbols *other_width(enum tinyvm_mode mode)
{
	struct guest_kernel other;

	guest_kernel_init(&other, tinyvm_mode_64bit(mode) ? TINYVM_PAE : TINYVM_4LEVEL, 0);
	return guest_kernel_system_map(&other);
}

WIDTH_TEST(kernel, files_of_other_kernels_are_enodata)
{
	start(mode, 1);
	add_file(other_kernel());
	assert_rc(find(), -ENODATA);
	add_file(other_width(mode));
	assert_rc(find(), -ENODATA);
	drop_files();
	/* No KASLR slides by this. */
	kernel.slide = tinyvm_mode_64bit(mode) ? 0x100000 : 0x1234010;
	add_file(guest_kernel_system_map(&kernel));
	assert_rc(find(), -ENODATA);
	kernel.slide = 0x40000000;
	add_file(guest_kernel_system_map(&kernel));
	assert_rc(find(), -ENODATA);
}

WIDTH_TEST(kernel, no_file_at_all_is_enodata)
{
	start(mode, 1);
	assert_rc(find(), -ENODATA);
}

WIDTH_TEST(kernel, of_several_files_the_fitting_one_is_taken)
{
	start(mode, 1);
	add_file(other_kernel());
	add_file(other_width(mode));
	add_file(guest_kernel_system_map(&kernel));
	add_file(other_kernel());
	expect_found();
	cr_assert_eq(found.symbols, files[2]);
}

WIDTH_TEST(kernel, of_equal_addresses_the_build_id_decides)
{
	uint8_t other_id[KERNEL_BUILD_ID_BYTES] = { 1 };

	start(mode, 1);
	add_file(guest_kernel_vmlinux(&kernel, other_id));
	assert_rc(find(), -ENODATA);
	add_file(guest_kernel_vmlinux(&kernel, build_id));
	expect_found();
	cr_assert_eq(found.symbols, files[1]);
	cr_assert_str_eq(ka_symbols_build_id(found.symbols), build_id_hex);
	cr_assert_str_eq(found.build_id, build_id_hex);
	cr_assert_str_eq(found.release, KERNEL_RELEASE);
}

WIDTH_TEST(kernel, file_that_does_not_say_where_the_notes_lie_is_taken_at_its_word)
{
	start(mode, 1);
	guest_kernel_drop(&kernel, "__stop_notes");
	add_file(guest_kernel_vmlinux(&kernel, build_id));
	tinyvm_poke64(&t.vm, KERNEL_NOTES, 0);
	expect_found();
	cr_assert_str_eq(found.build_id, build_id_hex);
}

/* ---- notes --------------------------------------------------------------------------------- */

struct damaged {
	const char *what;
	uint32_t namesz, descsz, type;
	char name[4];
};

static const struct damaged damaged[] = {
	{ "name of 4 GiB", 0xffffffff, 20, NT_GNU_BUILD_ID, "GNU" },
	{ "name that is padded to 4 GiB", 0xfffffffd, 20, NT_GNU_BUILD_ID, "GNU" },
	{ "description of 4 GiB", 4, 0xffffffff, NT_GNU_BUILD_ID, "GNU" },
	{ "description that is padded to 4 GiB", 4, 0xfffffffd, NT_GNU_BUILD_ID, "GNU" },
	{ "both of 4 GiB", 0xffffffff, 0xffffffff, NT_GNU_BUILD_ID, "GNU" },
	{ "both, together 4 GiB", 0x80000000, 0x80000000, NT_GNU_BUILD_ID, "GNU" },
	{ "name up to the end", KERNEL_NOTES_BYTES - 12, 20, NT_GNU_BUILD_ID, "GNU" },
	{ "description one too long", 4, KERNEL_NOTES_BYTES - 15, NT_GNU_BUILD_ID, "GNU" },
	{ "no description", 4, 0, NT_GNU_BUILD_ID, "GNU" },
	{ "short description", 4, 19, NT_GNU_BUILD_ID, "GNU" },
	{ "no name", 0, 20, NT_GNU_BUILD_ID, "GNU" },
	{ "another name", 4, 20, NT_GNU_BUILD_ID, "GNV" },
	{ "another type", 4, 20, NT_GNU_BUILD_ID + 1, "GNU" },
	{ "nothing", 0, 0, 0, "" },
};

WIDTH_TEST(kernel, damaged_notes_are_enodata)
{
	start(mode, 1);
	add_file(guest_kernel_vmlinux(&kernel, build_id));
	for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
		const struct damaged *note = &damaged[i];
		uint8_t bytes[KERNEL_NOTES_BYTES] = { 0 };
		uint32_t header[3] = { note->namesz, note->descsz, note->type };
		int rc;

		memcpy(bytes, header, sizeof(header));
		memcpy(bytes + 12, note->name, 4);
		memcpy(bytes + 16, build_id, sizeof(build_id));
		assert_ok(tinyvm_poke(&t.vm, KERNEL_NOTES, bytes, sizeof(bytes)));
		rc = find();
		cr_assert_eq(rc, -ENODATA, "%s: %d", note->what, rc);
	}
	poke_notes(KERNEL_NOTES);
	expect_found();
}

static void expect_no_notes(uint64_t from, uint64_t to)
{
	guest_kernel_set(&kernel, "__start_notes", from);
	guest_kernel_set(&kernel, "__stop_notes", to);
	add_file(guest_kernel_vmlinux(&kernel, build_id));
	assert_rc(find(), -ENODATA);
	drop_files();
}

WIDTH_TEST(kernel, notes_out_of_reach_are_enodata)
{
	uint64_t notes;

	start(mode, 1);
	notes = gva(KERNEL_NOTES);
	expect_no_notes(notes, notes);
	expect_no_notes(notes + 0x100, notes);
	expect_no_notes(notes, notes + 8);	/* shorter than a header */
	expect_no_notes(notes, notes + 0x1001); /* longer than any */
	expect_no_notes(notes, notes + 0x30000000);
	expect_no_notes(window_gva(1), window_gva(1) + 0x100); /* not mapped */
}

WIDTH_TEST(kernel, build_id_is_read_across_pages_and_up_to_the_last_byte)
{
	uint8_t note[64];
	size_t len = guest_kernel_note(note, NT_GNU_BUILD_ID, "GNU", build_id, sizeof(build_id));
	uint64_t at = KERNEL_NOTES + 0x1000 - 20;

	start(mode, 1);
	assert_ok(tinyvm_poke(&t.vm, at, note, len));
	guest_kernel_set(&kernel, "__start_notes", gva(at));
	guest_kernel_set(&kernel, "__stop_notes", gva(at) + len);
	add_file(guest_kernel_vmlinux(&kernel, build_id));
	expect_found();
}

/* ---- page tables --------------------------------------------------------------------------- */

/* The tables again, `place` bytes further, and their root there. */
static uint64_t copy_tables(enum tinyvm_mode mode, uint64_t place)
{
	size_t size = mode == TINYVM_32BIT ? 4 : 8;
	uint8_t page[0x1000];

	for (uint64_t table = GUEST_ROOT; table <= GUEST_WINDOW_PT; table += sizeof(page)) {
		/* Those that point at tables. */
		bool upper = mode == TINYVM_32BIT ? table == GUEST_ROOT : table < GUEST_PT;

		assert_ok(tinyvm_peek(&t.vm, table, page, sizeof(page)));
		for (size_t at = 0; upper && at < sizeof(page); at += size) {
			uint64_t entry = 0, gpa;

			memcpy(&entry, page + at, size);
			gpa = entry & 0xfffff000;
			entry += gpa >= GUEST_ROOT && gpa <= GUEST_WINDOW_PT ? place : 0;
			memcpy(page + at, &entry, size);
		}
		assert_ok(tinyvm_poke(&t.vm, table + place, page, sizeof(page)));
	}
	return GUEST_ROOT + place;
}

static bool in_user_half(uint64_t gpa)
{
	return gpa >= GUEST_IDT && gpa < KERNEL_HANDLERS;
}

/* Leaves what KPTI shows to user space: the entry text and what the CPU itself needs. */
static void cut_to_user_half(enum tinyvm_mode mode, uint64_t place)
{
	size_t size = mode == TINYVM_32BIT ? 4 : 8;
	size_t count = 0x1000 / size;
	const uint64_t none = 0;

	for (size_t i = 0; i < count; i++)
		if (!in_user_half(i * 0x1000))
			assert_ok(tinyvm_poke(&t.vm, place + GUEST_PT + i * size, &none, size));
	if (mode != TINYVM_32BIT) {
		assert_ok(tinyvm_poke(&t.vm, place + GUEST_PD + 8, &none, 8));
		assert_ok(tinyvm_poke(&t.vm, place + GUEST_PD + 8 * (GUEST_LARGE >> 21), &none, 8));
	} else {
		assert_ok(tinyvm_poke(
			&t.vm, place + GUEST_ROOT + 4 * ((GUEST_BASE_32 + GUEST_LARGE) >> 22),
			&none, 4));
	}
}

static void expect_found_at(uint64_t root)
{
	uint64_t word = 0;

	assert_ok(find());
	assert_hex(found.slide, kernel.slide);
	assert_hex(found.phys_base, 0);
	assert_hex(found.paging.root, root);
	tinyvm_poke64(&t.vm, KERNEL_TABLE, 0x123456789a);
	assert_ok(ka_gva_read(t.ka, &found.paging, gva(KERNEL_TABLE), &word, sizeof(word)));
	assert_hex(word, 0x123456789a);
}

MODE_TEST(kernel, user_half_leads_to_the_kernels_own_tables)
{
	const char *name = tinyvm_mode_64bit(mode) ? "init_top_pgt" : "swapper_pg_dir";
	uint64_t root, word;

	start(mode, 1);
	root = copy_tables(mode, COPY);
	cut_to_user_half(mode, 0);
	assert_rc(ka_gva_read(t.ka, &t.paging, gva(KERNEL_TABLE), &word, sizeof(word)), -EFAULT);
	guest_kernel_set(&kernel, name, gva(root));
	add_file(guest_kernel_system_map(&kernel));
	expect_found_at(root);
	cr_assert_str_eq(found.build_id, build_id_hex);
}

MODE_TEST(kernel, root_without_a_name_is_found_in_the_image)
{
	uint64_t root;

	start(mode, 1);
	copy_tables(mode, COPY_OF_USER_HALF);
	cut_to_user_half(mode, COPY_OF_USER_HALF);
	root = copy_tables(mode, COPY);
	cut_to_user_half(mode, 0);
	guest_kernel_drop(&kernel, tinyvm_mode_64bit(mode) ? "init_top_pgt" : "swapper_pg_dir");
	/* As Debian's 32-bit kernels are packaged: the file's segments tell the image's end. */
	guest_kernel_drop_data(&kernel);
	add_file(guest_kernel_vmlinux(&kernel, build_id));
	expect_found_at(root);
	assert_hex(found.image_end, gva(KERNEL_END));
	cr_assert_str_eq(found.build_id, build_id_hex);
}

MODE_TEST(kernel, without_a_root_is_enodata)
{
	const char *name = tinyvm_mode_64bit(mode) ? "init_top_pgt" : "swapper_pg_dir";

	start(mode, 1);
	guest_kernel_set(&kernel, name, gva(GUEST_SCRATCH));
	add_file(guest_kernel_system_map(&kernel));
	assert_rc(find(), -ENODATA);
	drop_files();
	guest_kernel_drop(&kernel, name);
	add_file(guest_kernel_system_map(&kernel));
	assert_rc(find(), -ENODATA);
}

/* What a file says of the image's size must not let the search run on. */
MODE_TEST(kernel, image_of_impossible_size_is_cut)
{
	uint64_t max = tinyvm_mode_64bit(mode) ? 1ull << 30 : 1ull << 29, began;

	start(mode, 1);
	/* As far up as a file can say: once the slide is added, past the last address. */
	kernel.slide = tinyvm_mode_64bit(mode) ? 0x3fe00000 : 0x3ffff000;
	guest_kernel_set(&kernel, "_end",
			 (tinyvm_mode_64bit(mode) ? ~0ull : 0xffffffff) + kernel.slide);
	add_file(guest_kernel_system_map(&kernel));
	expect_found();
	assert_hex(found.image_end, gva(GUEST_TEXT) + max);
	guest_kernel_drop(&kernel, tinyvm_mode_64bit(mode) ? "init_top_pgt" : "swapper_pg_dir");
	drop_files();
	add_file(guest_kernel_system_map(&kernel));
	began = support_now_ms();
	assert_rc(find(), -ENODATA);
	cr_assert_lt(support_now_ms() - began, 60000);
}
