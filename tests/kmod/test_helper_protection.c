// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Protection: whatever a guest writes with, it reads the old bytes back at once, and no byte beside
 * the protected ones is lost.
 */
#define _GNU_SOURCE
#include <linux/kvm.h>
#include <string.h>

#include "harness.h"
#include "stores.h"

TestSuite(helper_protection, .fini = harness_close, .timeout = TEST_TIMEOUT_S);

/* The guest's code lies in two frames for each vCPU, reached through the window. */
enum { PAGE = 4096, PRESENT = 1, WRITE = 2, CODE = GUEST_SCRATCH + 0x10000, ROUNDS = 1000,
       CR4_OSFXSR = 1 << 9 };

#define FRAME GUEST_SCRATCH

extern const uint8_t stores[], stores_end[];
extern const uint8_t store_1[], store_2[], store_4[], store_8[], store_16[], store_xchg[],
	store_cmpxchg[], store_inc[], store_movsb[], store_movsq[], store_sidt[], store_sgdt[];

static uint8_t before[PAGE], after[PAGE];

static void open_protected(unsigned int vcpus)
{
	struct tinyvm_registers registers;
	uint8_t source[STORES_BYTES];

	harness_open(&(struct tinyvm_options){ .vcpus = vcpus });
	assert_ok(acquire(0, t.vm.pid, 0));
	assert_ok(harness_call("tracker_acquire"));
	pattern_poke(FRAME, before, PAGE, 1);
	for (unsigned int vcpu = 0; vcpu < vcpus; vcpu++) {
		uint64_t code = CODE + vcpu * 2 * PAGE;

		window_set(2 * vcpu, code | PRESENT | WRITE);
		window_set(2 * vcpu + 1, (code + PAGE) | PRESENT | WRITE);
		assert_ok(tinyvm_poke(&t.vm, code, stores, stores_end - stores));
		pattern_poke(code + STORES_SOURCE, source, sizeof(source), 2 + vcpu);
		assert_ok(tinyvm_registers(&t.vm, vcpu, &registers));
		assert_ok(tinyvm_do(&t.vm, vcpu, GUEST_CMD_CR4,
				    registers.sregs.cr4 | CR4_OSFXSR, 0));
	}
}

static void run(unsigned int vcpu, const uint8_t *routine, uint64_t gpa, uint64_t rounds,
		size_t compared)
{
	uint64_t args[] = { window_gva(2 * vcpu), gva(gpa), rounds, compared, routine - stores };

	assert_ok(tinyvm_command(&t.vm, vcpu, GUEST_CMD_CALL, args, 5));
}

/* Rounds in which the guest did not read the old bytes back. */
static uint64_t finish(unsigned int vcpu)
{
	assert_ok(tinyvm_wait(&t.vm, vcpu));
	return tinyvm_mailbox(&t.vm, vcpu, MAILBOX_RESULT);
}

static void peek_frame(void)
{
	assert_ok(tinyvm_peek(&t.vm, FRAME, after, PAGE));
}

/* Every write was undone, and each was told as that. */
static void all_undone(size_t least)
{
	size_t count;

	told_wait(least);
	count = told_take();
	for (size_t i = 0; i < count; i++) {
		cr_assert_eq(told[i].type, TOLD_WRITE);
		cr_assert_eq(told[i].write.flags, KVMBPF_WRITE_UNDONE);
		cr_assert_arr_eq(told[i].write.old_bytes,
				 before + (told[i].write.gpa & (PAGE - 1)), told[i].write.len);
	}
	told_clear();
}

static void undone_each_time(const uint8_t *routine, unsigned int offset, size_t len)
{
	run(0, routine, FRAME + offset, ROUNDS, len);
	cr_assert_eq(finish(0), 0, "offset %#x", offset);
	all_undone(ROUNDS);
	peek_frame();
	cr_assert_arr_eq(after, before, PAGE);
}

/* ---- one vCPU ---- */

#define ROUTINE_TEST(name, len)                                             \
	Test(helper_protection, undoes_##name)                              \
	{                                                                   \
		open_protected(1);                                          \
		assert_ok(track(FRAME, PAGE, KVMBPF_TRACK_PROTECT, 1));     \
		undone_each_time(store_##name, 0x100, len);                 \
		undone_each_time(store_##name, 0x203, len);                 \
		undone_each_time(store_##name, PAGE - (len), len);          \
	}

ROUTINE_TEST(1, 1)
ROUTINE_TEST(2, 2)
ROUTINE_TEST(4, 4)
ROUTINE_TEST(8, 8)
ROUTINE_TEST(16, 16)
ROUTINE_TEST(xchg, 8)
ROUTINE_TEST(cmpxchg, 8)
ROUTINE_TEST(inc, 8)
ROUTINE_TEST(movsb, STORES_BYTES)
ROUTINE_TEST(movsq, STORES_BYTES)

/* KVM tells of no write that it emulates like these: they are found by comparison. */
static void found_each_time(const uint8_t *routine, unsigned int offset)
{
	open_protected(1);
	assert_ok(track(FRAME, PAGE, KVMBPF_TRACK_PROTECT, 1));
	run(0, routine, FRAME + offset, ROUNDS, 10);
	cr_assert_eq(finish(0), 0);
	all_undone(ROUNDS);
	peek_frame();
	cr_assert_arr_eq(after, before, PAGE);
}

Test(helper_protection, undoes_sidt) { found_each_time(store_sidt, 0x103); }
Test(helper_protection, undoes_sgdt) { found_each_time(store_sgdt, 0x100); }

/* Objects of 8 bytes with gaps of 8: only they come back, and the gaps take what was written. */
Test(helper_protection, undoes_only_what_is_protected)
{
	uint64_t written, expected;

	open_protected(1);
	for (unsigned int i = 0; i < 8; i++)
		assert_ok(track(FRAME + 0x100 + 16 * i, 8, KVMBPF_TRACK_PROTECT, i));
	for (unsigned int shift = 0; shift <= 16; shift++) {
		run(0, store_8, FRAME + 0x100 + shift, 1, 0);
		finish(0);
		written = ~1ull; /* of the last round */
		for (unsigned int i = 0; i < 8; i++)
			if ((shift + i) % 16 >= 8)
				before[0x100 + shift + i] = written >> 8 * i;
		peek_frame();
		cr_assert_arr_eq(after, before, PAGE, "shift %u", shift);
	}
	told_wait(16);
	/* One that touches two objects is of the first. */
	told_clear();
	run(0, store_movsb, FRAME + 0x100 + 16, 1, 0);
	finish(0);
	told_wait(32);
	expected = 1;
	cr_assert_eq(told[0].write.cookie, expected);
}

Test(helper_protection, tracked_but_not_protected_bytes_stay_written)
{
	open_protected(1);
	assert_ok(track(FRAME + 0x100, 4, KVMBPF_TRACK_PROTECT, 1));
	assert_ok(track(FRAME + 0x104, 4, 0, 2));
	run(0, store_8, FRAME + 0x100, 1, 0);
	finish(0);
	told_wait(1);
	cr_assert_eq(told[0].write.flags, KVMBPF_WRITE_UNDONE);
	cr_assert_eq(told[0].write.len, 8);
	peek_frame();
	memset(before + 0x104, 0xff, 4);
	cr_assert_arr_eq(after, before, PAGE);
	run(0, store_8, FRAME + 0x104, 1, 0);
	finish(0);
	told_wait(2);
	cr_assert_eq(told[1].write.flags, 0);
}

/* ---- two vCPUs ---- */

Test(helper_protection, two_vcpus_at_the_same_bytes)
{
	open_protected(2);
	assert_ok(track(FRAME, PAGE, KVMBPF_TRACK_PROTECT, 1));
	run(0, store_8, FRAME + 0x100, ROUNDS, 0);
	run(1, store_4, FRAME + 0x102, ROUNDS, 0);
	finish(0);
	finish(1);
	all_undone(2 * ROUNDS);
	peek_frame();
	cr_assert_arr_eq(after, before, PAGE);
}

Test(helper_protection, neighbours_on_the_same_frame_lose_no_write)
{
	uint64_t counter, counted;

	open_protected(2);
	assert_ok(track(FRAME + 0x100, 8, KVMBPF_TRACK_PROTECT, 1));
	memcpy(&counter, before + 0x108, sizeof(counter));
	run(0, store_8, FRAME + 0x100, ROUNDS, 8);
	run(1, store_inc, FRAME + 0x108, ROUNDS, 0);
	cr_assert_eq(finish(0), 0);
	finish(1);
	all_undone(ROUNDS);
	peek_frame();
	memcpy(&counted, after + 0x108, sizeof(counted));
	assert_hex(counted, counter + ROUNDS);
	memcpy(after + 0x108, before + 0x108, 8);
	cr_assert_arr_eq(after, before, PAGE);
}

/* ---- where it stands aside ---- */

Test(helper_protection, stands_aside_from_dirty_logging)
{
	open_protected(1);
	assert_ok(track(FRAME + 0x100, 8, KVMBPF_TRACK_PROTECT, 1));
	t.vm.slot[0].flags = KVM_MEM_LOG_DIRTY_PAGES;
	assert_ok(tinyvm_set_slot(&t.vm, &t.vm.slot[0]));
	assert_rc(track(FRAME + 0x200, 8, KVMBPF_TRACK_PROTECT, 1), -EBUSY);
	run(0, store_8, FRAME + 0x100, 1, 0);
	finish(0);
	told_wait(1);
	cr_assert_eq(told[0].write.flags, KVMBPF_WRITE_STOOD_ASIDE);
	assert_hex(tinyvm_peek64(&t.vm, FRAME + 0x100), ~1ull);
	/* What it should hold is known still. */
	t.vm.slot[0].flags = 0;
	assert_ok(tinyvm_set_slot(&t.vm, &t.vm.slot[0]));
	run(0, store_8, FRAME + 0x100, 1, 0);
	finish(0);
	told_wait(2);
	cr_assert_eq(told[1].write.flags, KVMBPF_WRITE_UNDONE);
	cr_assert_arr_eq(told[1].write.old_bytes, before + 0x100, 8);
	peek_frame();
	cr_assert_arr_eq(after, before, PAGE);
}
