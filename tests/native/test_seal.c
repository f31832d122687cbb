// SPDX-License-Identifier: LGPL-2.1-or-later
/* Seals: what they say is as it was, and that nothing changes behind them. */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>

#include "access/direct.h"
#include "access/seal.h"
#include "access/vm.h"
#include "bpf/held_seal.skel.h"
#include "bpf/memory.skel.h"
#include "bpf/seal.skel.h"
#include "native/held.h"
#include "sealed.h"

TestSuite(seal, .fini = support_close, .timeout = TEST_TIMEOUT_S);

enum { ENTRY_A = 1 << 5, ENTRY_D = 1 << 6 };

static bool intact(void)
{
	bool is;

	assert_ok(ka_registers_pull(t.host, &t.ka, 1));
	assert_ok(ka_seals_check(t.host, &t.ka, 1, &is));
	return is;
}

/* Broken by it, and intact again once it is undone. */
static void expect_broken_by(uint64_t gpa, uint64_t bits)
{
	uint64_t before = tinyvm_peek64(&t.vm, gpa);

	cr_assert(intact());
	tinyvm_poke64(&t.vm, gpa, before ^ bits);
	cr_assert_not(intact(), "%#lx at %#lx is not seen", (unsigned long)bits, (unsigned long)gpa);
	tinyvm_poke64(&t.vm, gpa, before);
	cr_assert(intact());
}

/* ---- what is seen ---- */

MODE_TEST(seal, is_intact_as_long_as_nothing_changes)
{
	open_sealed(&(struct tinyvm_options){ .mode = mode, .vcpus = 3 });
	for (unsigned int i = 0; i < 100; i++)
		cr_assert(intact(), "not the %u. time", i + 1);
}

MODE_TEST(seal, is_broken_by_each_bit_of_contents)
{
	open_sealed(&(struct tinyvm_options){ .mode = mode, .vcpus = 2 });
	for (unsigned int bit = 0; bit < 64; bit++) {
		expect_broken_by(GUEST_IDT + 8 * bit, 1ull << bit);
		expect_broken_by(GUEST_SCRATCH + PAGE - 8, 1ull << bit);
	}
	expect_broken_by(GUEST_GDT + 8, 1ull << 40);
	expect_broken_by(GUEST_GDT + GUEST_STRIDE + 8, 1ull << 63);
	expect_broken_by(GUEST_SCRATCH, 1);
	expect_broken_by(GUEST_SCRATCH + 2 * PAGE - 104, 1ull << 32);
	expect_broken_by(GUEST_SCRATCH + 2 * PAGE - 8, 1ull << 63);
	expect_broken_by(GUEST_SCRATCH + 2 * PAGE + 8, 1ull << 39);
}

Test(seal, does_not_see_what_no_piece_holds)
{
	open_sealed(&(struct tinyvm_options){ 0 });
	/* Before and behind the pieces of a table's page. */
	tinyvm_poke64(&t.vm, GUEST_SCRATCH + PAGE, ~0ull);
	tinyvm_poke64(&t.vm, GUEST_SCRATCH + 2 * PAGE + 16, ~0ull);
	tinyvm_poke64(&t.vm, GUEST_SCRATCH + 2 * PAGE + 8,
		      tinyvm_peek64(&t.vm, GUEST_SCRATCH + 2 * PAGE + 8) ^ 1ull << 40);
	cr_assert(intact());
}

Test(seal, is_broken_by_values_that_are_exchanged)
{
	uint64_t first, second;

	open_sealed(&(struct tinyvm_options){ 0 });
	first = tinyvm_peek64(&t.vm, GUEST_SCRATCH);
	second = tinyvm_peek64(&t.vm, GUEST_SCRATCH + 8);
	tinyvm_poke64(&t.vm, GUEST_SCRATCH, second);
	tinyvm_poke64(&t.vm, GUEST_SCRATCH + 8, first);
	cr_assert_not(intact());
	/* The halves of one word, too. */
	tinyvm_poke64(&t.vm, GUEST_SCRATCH + 8, second);
	tinyvm_poke64(&t.vm, GUEST_SCRATCH, first << 32 | first >> 32);
	cr_assert_not(intact());
	tinyvm_poke64(&t.vm, GUEST_SCRATCH, first);
	cr_assert(intact());
}

/* Each entry that leads to the tables, at each level. */
Test(seal, is_broken_by_entries_of_page_tables)
{
	static const uint64_t bits[] = { 1 << 0, 1 << 1, 1 << 2, 1 << 8, 1ull << 12, 1ull << 63 };
	struct kvmbpf_walk walk;

	open_sealed(&(struct tinyvm_options){ .vcpus = 2 });
	for (size_t i = 0; i < piece_count; i++) {
		assert_ok(translate_walk(t.ka, pieces[i].paging, pieces[i].address, &walk));
		for (unsigned int j = 0; j < walk.depth; j++)
			for (size_t k = 0; k < sizeof(bits) / sizeof(bits[0]); k++)
				expect_broken_by(walk.step[j].gpa, bits[k]);
	}
}

Test(seal, passes_over_bits_that_the_cpu_sets)
{
	struct kvmbpf_walk walk;

	open_sealed(&(struct tinyvm_options){ 0 });
	assert_ok(translate_walk(t.ka, &paging[0], gva(GUEST_SCRATCH), &walk));
	for (unsigned int i = 0; i < walk.depth; i++) {
		tinyvm_poke64(&t.vm, walk.step[i].gpa, walk.step[i].entry ^ (ENTRY_A | ENTRY_D));
		cr_assert(intact());
	}
}

/* ---- vCPUs ---- */

Test(seal, is_broken_by_registers)
{
	uint64_t operand[2] = { (uint64_t)(PAGE - 1) | gva(GUEST_IDT_OTHER) << 16,
				gva(GUEST_IDT_OTHER) >> 48 };

	open_sealed(&(struct tinyvm_options){ .vcpus = 2 });
	assert_ok(tinyvm_poke(&t.vm, GUEST_POINTERS, operand, sizeof(operand)));
	assert_ok(tinyvm_do(&t.vm, 1, GUEST_CMD_LIDT, gva(GUEST_POINTERS), 0));
	cr_assert_not(intact());
	assert_ok(seal());
	cr_assert(intact());
	assert_ok(tinyvm_do(&t.vm, 1, GUEST_CMD_CR0, registers[1].cr0 & ~(1ull << 16), 0));
	cr_assert_not(intact());
	assert_ok(tinyvm_do(&t.vm, 1, GUEST_CMD_CR0, registers[1].cr0, 0));
	cr_assert(intact());
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_CR4, registers[0].cr4 ^ 1 << 7, 0));
	cr_assert_not(intact());
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_CR4, registers[0].cr4, 0));
	cr_assert(intact());
	if (registers[0].flags & KA_REGISTERS_NO_MSRS)
		return;
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_WRMSR, 0xc0000082, registers[0].lstar + 16));
	cr_assert_not(intact());
}

/* Another process: another root, the same kernel below it. */
Test(seal, follows_cr3_to_the_same_tables)
{
	static uint8_t root[PAGE];
	const uint64_t other = GUEST_SCRATCH + 16 * PAGE;

	open_sealed(&(struct tinyvm_options){ .vcpus = 2 });
	assert_ok(tinyvm_peek(&t.vm, registers[1].cr3 & ~(PAGE - 1ull), root, PAGE));
	assert_ok(tinyvm_poke(&t.vm, other, root, PAGE));
	set_cr3(1, other);
	assert_ok(ka_registers_read_all(t.ka, registers, VCPUS_MAX, &vcpu_count));
	assert_hex(registers[1].cr3, other);
	for (unsigned int i = 0; i < 3; i++)
		cr_assert(intact());
	/* What is under the other root now counts, and what is under the first no more, but for vCPU 0. */
	expect_broken_by(other + PAGE - 8, 1 << 1);
	expect_broken_by(GUEST_ROOT + PAGE - 8, 1 << 1);
	set_cr3(1, GUEST_ROOT);
	cr_assert(intact());
	expect_broken_by(GUEST_ROOT + PAGE - 8, 1 << 1);
	tinyvm_poke64(&t.vm, other + PAGE - 8, 0);
	cr_assert(intact());
}

/* A process of an attacker's, whose kernel is another one. */
Test(seal, is_broken_by_cr3_with_other_tables)
{
	static uint8_t table[PAGE];
	const uint64_t root = GUEST_SCRATCH + 16 * PAGE, pdpt = root + PAGE;
	uint64_t entry;

	open_sealed(&(struct tinyvm_options){ .vcpus = 1 });
	assert_ok(tinyvm_peek(&t.vm, GUEST_ROOT, table, PAGE));
	assert_ok(tinyvm_poke(&t.vm, root, table, PAGE));
	entry = tinyvm_peek64(&t.vm, GUEST_ROOT + PAGE - 8);
	assert_ok(tinyvm_peek(&t.vm, entry & 0xffffffffff000, table, PAGE));
	assert_ok(tinyvm_poke(&t.vm, pdpt, table, PAGE));
	tinyvm_poke64(&t.vm, root + PAGE - 8, (entry & ~0xffffffffff000ull) | pdpt);
	set_cr3(0, root);
	cr_assert_not(intact());
	set_cr3(0, GUEST_ROOT);
	cr_assert(intact());
}

Test(seal, is_for_what_was_seen)
{
	open_sealed(&(struct tinyvm_options){ .vcpus = 2 });
	/* Changed between the look and the seal: contents are those of the look. */
	look();
	tinyvm_poke64(&t.vm, GUEST_SCRATCH, 1);
	assert_ok(ka_seal(t.ka, vcpus, vcpu_count, pieces, piece_count));
	cr_assert_not(intact());
	/* Registers, too. */
	look();
	registers[1].lstar++;
	assert_rc(ka_seal(t.ka, vcpus, vcpu_count, pieces, piece_count), -EAGAIN);
	cr_assert_not(intact());
	/* And where it was. */
	look();
	pieces[0].gpa += PAGE;
	assert_rc(ka_seal(t.ka, vcpus, vcpu_count, pieces, piece_count), -EAGAIN);
}

Test(seal, is_refused_for_what_cannot_be_sealed)
{
	open_sealed(&(struct tinyvm_options){ .vcpus = 2 });
	assert_rc(ka_seal(t.ka, vcpus, 1, pieces, piece_count), -EAGAIN);
	cr_assert_not(intact(), "the last one is gone");
	pieces[0].error = -EFAULT;
	assert_rc(ka_seal(t.ka, vcpus, vcpu_count, pieces, piece_count), -EINVAL);
	look();
	pieces[0].paging = NULL;
	assert_rc(ka_seal(t.ka, vcpus, vcpu_count, pieces, piece_count), -EINVAL);
	look();
	pieces[0].len = PAGE + 1;
	assert_rc(ka_seal(t.ka, vcpus, vcpu_count, pieces, piece_count), -EINVAL);
	assert_rc(ka_seal(t.ka, vcpus, vcpu_count, pieces, 0), -EINVAL);
	assert_ok(seal());
	cr_assert(intact());
	ka_unseal(t.ka);
	cr_assert_not(intact());
	ka_unseal(t.ka);
}

/* ---- memory that moves under it ---- */

Test(seal, finds_pages_that_were_moved)
{
	static uint8_t page[PAGE];

	open_sealed(&(struct tinyvm_options){ .memory = 64 << 20 });
	assert_ok(tinyvm_peek(&t.vm, GUEST_SCRATCH, page, PAGE));
	for (unsigned int i = 0; i < 50; i++) {
		madvise_vmm(GUEST_SCRATCH, PAGE, MADV_DONTNEED);
		cr_assert_not(intact(), "what is not there is not as it was");
		/* What has been taken instead. */
		tinyvm_poke64(&t.vm, GUEST_SCRATCH, 1);
		cr_assert_not(intact());
		assert_ok(tinyvm_poke(&t.vm, GUEST_SCRATCH, page, PAGE));
		cr_assert(intact());
	}
}

Test(seal, finds_shared_pages)
{
	open_sealed(&(struct tinyvm_options){ .backing = TINYVM_MEMFD });
	madvise_vmm(0, GUEST_MEMORY_MIN, MADV_POPULATE_READ);
	for (unsigned int i = 0; i < 10; i++) {
		cr_assert(intact());
		madvise_vmm(GUEST_SCRATCH, PAGE, MADV_DONTNEED);
		cr_assert_not(intact());
		madvise_vmm(GUEST_SCRATCH, PAGE, MADV_POPULATE_READ);
	}
	expect_broken_by(GUEST_SCRATCH, 1);
}

Test(seal, is_broken_by_another_memslot)
{
	struct tinyvm_slot slot = { .id = 9, .gpa = 1ull << 32, .size = PAGE };

	open_sealed(&(struct tinyvm_options){ 0 });
	assert_ok(tinyvm_set_slot(&t.vm, &slot));
	cr_assert_not(intact());
	assert_ok(seal());
	cr_assert(intact());
}

Test(seal, is_broken_by_the_end_of_the_vm)
{
	open_sealed(&(struct tinyvm_options){ 0 });
	tinyvm_kill(&t.vm);
	cr_assert_not(intact());
	assert_rc(ka_registers_read_all(t.ka, registers, VCPUS_MAX, &vcpu_count), -EOWNERDEAD);
	assert_rc(ka_seal(t.ka, vcpus, 1, pieces, piece_count), -EOWNERDEAD);
	ka_unseal(t.ka);
}

/* The VM goes on in another process, its memory does not. */
Test(seal, is_broken_where_the_memory_ended_first)
{
	uint64_t child;

	open_sealed(&(struct tinyvm_options){ 0 });
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_FORK, NULL, 0, &child));
	cr_assert(intact());
	tinyvm_kill(&t.vm);
	cr_assert_not(intact());
	kill((pid_t)child, SIGKILL);
}

/* ---- many ---- */

Test(seal, needs_a_pull_of_its_own)
{
	bool is;

	open_sealed(&(struct tinyvm_options){ 0 });
	cr_assert(intact());
	assert_ok(ka_seals_check(t.host, &t.ka, 1, &is));
	cr_assert_not(is, "the pull was used up");
}

Test(seal, of_many_vms_tells_which)
{
	enum { MANY = 20, ROUNDS = 6 };
	static struct tinyvm vm[MANY];
	struct ka_vm *ka[MANY];
	bool is[MANY];

	open_sealed(&(struct tinyvm_options){ 0 });
	for (size_t i = 0; i < MANY; i++) {
		struct support first = t;

		assert_ok(tinyvm_start(&(struct tinyvm_options){ 0 }, &t.vm));
		t.ka = ka[i] = support_open_pid(t.vm.pid, 0);
		/* Some never have one. */
		if (i % 5)
			assert_ok(seal());
		vm[i] = t.vm;
		t = first;
	}
	for (unsigned int round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < MANY; i++)
			tinyvm_poke64(&vm[i], GUEST_SCRATCH, i % ROUNDS == round);
		assert_ok(ka_registers_pull(t.host, ka, MANY));
		assert_ok(ka_seals_check(t.host, ka, MANY, is));
		for (size_t i = 0; i < MANY; i++)
			cr_assert_eq(is[i], i % 5 && i % ROUNDS != round, "VM %zu in round %u", i, round);
	}
	for (size_t i = 0; i < MANY; i++) {
		ka_close(ka[i]);
		tinyvm_kill(&vm[i]);
	}
	cr_assert(intact());
}

/* The parts that one leaves are those of the next, at the same addresses of another VMM. */
Test(seal, takes_no_other_vms_memory_for_its_own)
{
	struct support first;
	struct tinyvm other;
	struct ka_vm *other_ka;

	/* They all have their memory at the same addresses. */
	personality(ADDR_NO_RANDOMIZE);
	open_sealed(&(struct tinyvm_options){ 0 });
	cr_assert(intact());
	first = t;
	assert_ok(tinyvm_start(&(struct tinyvm_options){ 0 }, &t.vm));
	cr_assert_eq(t.vm.ram, first.vm.ram);
	other = t.vm;
	other_ka = t.ka = support_open_pid(t.vm.pid, 0);
	pattern_poke(GUEST_SCRATCH, (uint8_t[3 * PAGE]){ 0 }, 3 * PAGE, 1);
	ka_unseal(first.ka);
	assert_ok(seal());
	cr_assert(intact());
	expect_broken_by(GUEST_SCRATCH, 1);
	t = first;
	assert_ok(seal());
	cr_assert(intact());
	expect_broken_by(GUEST_SCRATCH, 1);
	ka_close(other_ka);
	tinyvm_kill(&other);
}

Test(seal, leaves_room_for_others)
{
	open_sealed(&(struct tinyvm_options){ .vcpus = 4 });
	for (unsigned int i = 0; i < 20000; i++)
		assert_ok(ka_seal(t.ka, vcpus, vcpu_count, pieces, piece_count));
	cr_assert(intact());
}

Test(seal, is_done_without)
{
	bool is = true;

	t.no_direct = true;
	support_open(&(struct tinyvm_options){ 0 }, 0);
	cr_assert_null(t.host->seals);
	look();
	assert_rc(ka_seal(t.ka, vcpus, vcpu_count, pieces, piece_count), -EOPNOTSUPP);
	ka_unseal(t.ka);
	assert_rc(ka_seals_check(t.host, &t.ka, 1, &is), -EOPNOTSUPP);
	cr_assert_not(is);
}

/* ---- what changes meanwhile ---- */

static struct held_seal_bpf *held;

static void held_close(void)
{
	held_seal_bpf__destroy(held);
	held = NULL;
	support_close();
}

TestSuite(held_seal, .fini = held_close, .timeout = TEST_TIMEOUT_S);

/* The library's program, which waits for its turn once it has read; and the seal that the library made. */
static void held_open(void)
{
	const struct seals *seals;
	__u32 zero = 0;

	open_sealed(&(struct tinyvm_options){ .memory = 64 << 20 });
	seals = t.host->seals;
	held = held_seal_bpf__open();
	cr_assert_not_null(held);
	memcpy((void *)held->rodata->hash_key, seals->programs->rodata->hash_key,
	       sizeof(held->rodata->hash_key));
	held->bss->direct_map = seals->programs->bss->direct_map;
	held->bss->memory_end = seals->programs->bss->memory_end;
	held->bss->physical_mask = seals->programs->bss->physical_mask;
	held->bss->levels = seals->programs->bss->levels;
	assert_ok(held_seal_bpf__load(held));
	assert_ok(bpf_map__update_elem(held->maps.seals, &zero, sizeof(zero), &seals->seals[0],
				       sizeof(seals->seals[0]), 0));
	for (__u32 i = 0; i < seals->seals[0].count; i++)
		assert_ok(bpf_map__update_elem(held->maps.parts, &i, sizeof(i),
					       &seals->parts[seals->seals[0].first + i],
					       sizeof(seals->parts[0]), 0));
}

static volatile bool over;

static void *held_run(void *ret_err)
{
	struct kvmbpf_seal_call call = { .count = 1 };
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &call, .ctx_size_in = sizeof(call));

	*(int *)ret_err = bpf_prog_test_run_opts(bpf_program__fd(held->progs.check_seals), &options);
	if (!*(int *)ret_err)
		*(int *)ret_err = (int)options.retval;
	over = true;
	return NULL;
}

/* Whether it was found intact although `change` came after all was read. */
static bool intact_during(void (*change)(void))
{
	volatile __u32 *turn = &held->bss->turn;
	struct kvmbpf_seal_check check = { 0 };
	__u32 zero = 0;
	pthread_t thread;
	int err;

	for (unsigned int try = 0; try < 20; try++) {
		*turn = HELD_RUNS;
		over = false;
		assert_ok(bpf_map__update_elem(held->maps.checks, &zero, sizeof(zero), &check,
					       sizeof(check), 0));
		cr_assert_eq(pthread_create(&thread, NULL, held_run, &err), 0);
		while (*turn == HELD_RUNS && !over)
			;
		change();
		/* Unless the program waits no longer, on a machine that is very busy. */
		if (__sync_bool_compare_and_swap(&held->bss->turn, HELD_WAITS, HELD_GOES_ON))
			try = 100;
		pthread_join(thread, NULL);
		assert_ok(err);
	}
	cr_assert_eq(*turn, HELD_GOES_ON, "the program never waited for long enough");
	assert_ok(bpf_map__lookup_elem(held->maps.checks, &zero, sizeof(zero), &check, sizeof(check),
				       0));
	return check.intact;
}

static void change_nothing(void)
{
}

static void change_page(void)
{
	madvise_vmm(GUEST_SCRATCH, PAGE, MADV_DONTNEED);
}

Test(held_seal, is_intact_where_nothing_changes)
{
	held_open();
	cr_assert(intact_during(change_nothing));
}

Test(held_seal, is_broken_by_a_page_that_went_after_it_was_read)
{
	held_open();
	cr_assert_not(intact_during(change_page));
}
