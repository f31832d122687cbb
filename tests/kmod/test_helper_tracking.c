// SPDX-License-Identifier: LGPL-2.1-or-later
/* Write tracking: what is told, and every way in which it ends. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

TestSuite(helper_tracking, .fini = harness_close, .timeout = TEST_TIMEOUT_S);

enum { PAGE = 4096, TARGET = GUEST_SCRATCH + 0x100, BURST = 10000, DEADLINE_MS = 20000 };

static void open_tracked(const struct tinyvm_options *options)
{
	harness_open(options);
	assert_ok(acquire(0, t.vm.pid, 0));
	assert_ok(harness_call("tracker_acquire"));
}

static void store(unsigned int vcpu, uint64_t gpa, uint64_t value)
{
	assert_ok(tinyvm_do(&t.vm, vcpu, GUEST_CMD_STORE, gva(gpa), value));
}

static int tracked_at(unsigned int index)
{
	bss->call.index = index;
	return harness_call("tracked_at");
}

static int stop(uint32_t reason)
{
	bss->call.reason = reason;
	return harness_call("tracking_stop");
}

static void told_stop(const struct told *record, uint64_t gpa, uint32_t reason)
{
	cr_assert_eq(record->type, TOLD_STOP);
	assert_hex(record->stop.kvm, bss->call.kvm);
	assert_hex(record->stop.gpa, gpa);
	cr_assert_eq(record->stop.reason, reason);
}

/* Runs of frames without a copy; how many there are. */
static unsigned int tell_frames(uint64_t gpa, unsigned int frames, uint64_t cookie)
{
	unsigned int done = 0, run;
	int result;

	for (; done < frames; done += result) {
		run = frames - done < KVMBPF_TOLD_RUN_MAX ? frames - done : KVMBPF_TOLD_RUN_MAX;
		result = tell_writes(gpa + (uint64_t)done * PAGE, run, cookie);
		if (result <= 0)
			break;
	}
	return done;
}

static unsigned int frames_told(void)
{
	unsigned int count = 0;

	for (bss->call.address = 0; !harness_call("told_next");
	     bss->call.address = bss->call.tracked.gpa + PAGE)
		count += bss->call.tracked.len == PAGE;
	return count;
}

/* ---- what is told ---- */

MODE_TEST(helper_tracking, a_write_is_told)
{
	size_t len = tinyvm_mode_64bit(mode) ? 8 : 4;
	uint64_t before = 0x1122334455667788, after = 0x99aabbccddeeff00;
	const struct kvmbpf_write *write;

	open_tracked(&(struct tinyvm_options){ .mode = mode, .vcpus = 2 });
	tinyvm_poke64(&t.vm, TARGET, before);
	assert_ok(track(TARGET, 16, 0, 77));
	store(1, TARGET, after);
	told_wait(1);
	write = &told[0].write;
	cr_assert_eq(told[0].type, TOLD_WRITE);
	assert_hex(write->kvm, bss->call.kvm);
	assert_hex(write->gpa, TARGET);
	cr_assert_eq(write->cookie, 77);
	cr_assert_eq(write->vcpu_id, 1);
	cr_assert_eq(write->flags, 0);
	cr_assert_eq(write->len, len);
	cr_assert_arr_eq(write->old_bytes, &before, len);
	cr_assert_arr_eq(write->new_bytes, &after, len);
	cr_assert(write->rip >= gva(GUEST_TEXT) &&
		  write->rip < gva(GUEST_TEXT + GUEST_TEXT_SIZE), "%#llx",
		  (unsigned long long)write->rip);
	/* The next one's old value is this one's new. */
	store(0, TARGET, before);
	told_wait(2);
	cr_assert_eq(told[1].write.vcpu_id, 0);
	cr_assert_arr_eq(told[1].write.old_bytes, &after, len);
	cr_assert_arr_eq(told[1].write.new_bytes, &before, len);
	cr_assert_eq(told_take(), 2);
}

/* As a balloon does: the frame's memory goes to the host, and the guest gets other memory there. */
Test(helper_tracking, a_frame_that_the_host_takes_back_stays_tracked)
{
	const uint64_t drop[] = { GUEST_SCRATCH, PAGE, MADV_DONTNEED };

	open_tracked(&(struct tinyvm_options){ 0 });
	tinyvm_poke64(&t.vm, TARGET, 0x1111);
	assert_ok(track(TARGET, 8, 0, 1));
	assert_ok(track(TARGET + 64, 8, KVMBPF_TRACK_PROTECT, 2));
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_MADVISE, drop, 3, NULL));
	store(0, TARGET, 0x2222);
	told_wait(1);
	assert_hex(told[0].write.gpa, TARGET);
	assert_hex(tinyvm_peek64(&t.vm, TARGET), 0x2222);
	store(0, TARGET + 64, 0x3333);
	told_wait(2);
	cr_assert_eq(told[1].write.flags, KVMBPF_WRITE_UNDONE);
	assert_hex(tinyvm_peek64(&t.vm, TARGET + 64), 0);
}

Test(helper_tracking, writes_beside_the_ranges_are_only_counted)
{
	open_tracked(&(struct tinyvm_options){ 0 });
	assert_ok(track(TARGET, 8, 0, 1));
	assert_ok(track(TARGET + 64, 8, 0, 2));
	store(0, TARGET - 8, 1);
	store(0, TARGET + 8, 1);
	store(0, TARGET + PAGE, 1);
	store(0, TARGET + 64 - 7, 0);
	told_wait(1);
	cr_assert_eq(told_take(), 1);
	cr_assert_eq(told[0].write.cookie, 2);
	assert_hex(told[0].write.gpa, TARGET + 64 - 7);
	assert_ok(tracked_at(0));
	cr_assert_eq(bss->call.tracked.writes, 3);
}

Test(helper_tracking, a_write_over_two_pages_is_told_for_each)
{
	uint64_t value = 0x0102030405060708;

	open_tracked(&(struct tinyvm_options){ 0 });
	assert_ok(track(GUEST_SCRATCH + PAGE - 8, 8, 0, 1));
	assert_ok(track(GUEST_SCRATCH + PAGE, 8, 0, 2));
	store(0, GUEST_SCRATCH + PAGE - 3, value);
	told_wait(2);
	cr_assert_eq(told[0].write.len, 3);
	cr_assert_arr_eq(told[0].write.new_bytes, &value, 3);
	cr_assert_eq(told[1].write.len, 5);
	cr_assert_eq(told[1].write.cookie, 2);
	cr_assert_arr_eq(told[1].write.new_bytes, (uint8_t *)&value + 3, 5);
}

Test(helper_tracking, a_burst_is_told_whole)
{
	uint64_t words[] = { gva(TARGET), 1, 2, 3, 4 };
	size_t count;

	open_tracked(&(struct tinyvm_options){ 0 });
	assert_ok(track(TARGET, 16, KVMBPF_TRACK_PROTECT, 1));
	words[0] = gva(TARGET);
	assert_ok(tinyvm_command(&t.vm, 0, GUEST_CMD_REWRITE, words, 5));
	assert_ok(tinyvm_wait_count(&t.vm, 0, BURST / 4));
	assert_ok(tinyvm_stop(&t.vm, 0));
	told_wait(4 * tinyvm_mailbox(&t.vm, 0, MAILBOX_COUNT));
	count = told_take();
	cr_assert_eq(count, 4 * tinyvm_mailbox(&t.vm, 0, MAILBOX_COUNT));
	for (size_t i = 0; i < count; i++)
		cr_assert_eq(told[i].write.new_bytes[0], 1 + i % 4);
	assert_ok(tracked_at(0));
	cr_assert_eq(bss->call.tracked.writes, count);
}

Test(helper_tracking, comparison_elsewhere_than_on_a_vcpu_is_exdev)
{
	open_tracked(&(struct tinyvm_options){ 0 });
	assert_ok(track(TARGET, 8, 0, 1));
	assert_rc(harness_call("tracked_compare"), -EXDEV);
	bss->call.kvm++;
	assert_rc(harness_call("tracked_compare"), -ENOENT);
}

/* ---- arguments ---- */

Test(helper_tracking, bad_ranges_are_errors)
{
	open_tracked(&(struct tinyvm_options){ 0 });
	assert_rc(track(TARGET, 0, 0, 0), -EINVAL);
	assert_rc(track(GUEST_SCRATCH + PAGE - 1, 2, 0, 0), -EINVAL);
	assert_rc(track(GUEST_SCRATCH, PAGE + 1, 0, 0), -EINVAL);
	assert_rc(track(GUEST_SCRATCH, ~0u, 0, 0), -EINVAL);
	assert_rc(track(TARGET, 8, 2, 0), -EINVAL);
	assert_rc(track(GUEST_MEMORY_MIN, 8, 0, 0), -ENXIO);
	assert_rc(track(~0ull - 7, 8, 0, 0), -ENXIO);
	assert_rc(track(0xfee00000, 8, 0, 0), -ENXIO);
	assert_rc(tracked_at(0), -ENOENT);
	assert_rc(untrack(0, ~0ull), -ENOENT);
	assert_ok(track(TARGET, 8, 0, 0));
	assert_rc(track(TARGET, 8, 0, 0), -EEXIST);
	assert_rc(track(TARGET + 7, 8, 0, 0), -EEXIST);
	assert_rc(track(TARGET - 7, 8, 0, 0), -EEXIST);
	assert_rc(track(GUEST_SCRATCH, PAGE, 0, 0), -EEXIST);
	assert_ok(track(TARGET + 8, 8, 0, 0));
	assert_rc(untrack(TARGET + 1, 7), -ENOENT);
	assert_rc(stop(0), -EINVAL);
	assert_rc(stop(KVMBPF_STOP_HOT), -EINVAL);
	assert_rc(stop(~0u), -EINVAL);
}

Test(helper_tracking, there_is_room_for_so_much)
{
	unsigned int i;

	open_tracked(&(struct tinyvm_options){ 0 });
	for (i = 0; i < KVMBPF_TRACKED_RANGES_MAX; i++)
		assert_ok(track(GUEST_SCRATCH + 8 * i, 8, 0, i));
	assert_rc(track(GUEST_SCRATCH + 8 * i, 8, 0, i), -ENOSPC);
	for (i = 1; i < KVMBPF_TRACKED_FRAMES_MAX; i++)
		assert_ok(track(GUEST_SCRATCH + i * PAGE, PAGE, 0, 0));
	assert_rc(track(GUEST_SCRATCH + i * PAGE, PAGE, 0, 0), -ENOSPC);
	for (i = 0; !tracked_at(i); i++)
		;
	cr_assert_eq(i, KVMBPF_TRACKED_RANGES_MAX + KVMBPF_TRACKED_FRAMES_MAX - 1);
	assert_ok(untrack(GUEST_SCRATCH + PAGE, PAGE));
	assert_ok(track(GUEST_SCRATCH + KVMBPF_TRACKED_FRAMES_MAX * PAGE, PAGE, 0, 0));
	assert_ok(untrack(0, ~0ull));
	assert_rc(tracked_at(0), -ENOENT);
}

Test(helper_tracking, what_is_untracked_is_not_told)
{
	open_tracked(&(struct tinyvm_options){ 0 });
	assert_ok(track(TARGET, 8, KVMBPF_TRACK_PROTECT, 1));
	assert_ok(track(TARGET + 8, 8, 0, 2));
	assert_ok(untrack(TARGET, 8));
	store(0, TARGET, 5);
	assert_hex(tinyvm_peek64(&t.vm, TARGET), 5);
	store(0, TARGET + 8, 6);
	assert_ok(untrack(TARGET, 16));
	store(0, TARGET + 8, 7);
	told_wait(1);
	cr_assert_eq(told_take(), 1);
	cr_assert_eq(told[0].write.cookie, 2);
	/* Again, with the bytes of now. */
	assert_ok(track(TARGET, 16, 0, 3));
	store(0, TARGET + 8, 8);
	told_wait(2);
	cr_assert_eq(told[1].write.old_bytes[0], 7);
}

/* ---- who may ---- */

/* A process of its own that holds the tracker, until it is killed. */
static pid_t start_holder(unsigned int frames)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_ok(pipe(ready));
	pid = fork();
	if (pid == 0) {
		if (harness_try_load(false) || acquire(0, t.vm.pid, 0) ||
		    harness_call("tracker_acquire") ||
		    track(TARGET, 8, KVMBPF_TRACK_PROTECT, 1) ||
		    tell_frames(GUEST_SCRATCH, frames, 2) != frames || write(ready[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void tracker_wait(int pid)
{
	uint64_t deadline = support_now_ms() + DEADLINE_MS;

	while (harness_call("tracker_pid") != pid && support_now_ms() < deadline)
		usleep(10000);
	cr_assert_eq(harness_call("tracker_pid"), pid);
}

Test(helper_tracking, one_tracker_a_vm)
{
	open_tracked(&(struct tinyvm_options){ .vms = 2 });
	cr_assert_eq(harness_call("tracker_pid"), getpid());
	assert_ok(acquire(1, t.vm.pid, 0));
	assert_rc(harness_call("tracker_acquire"), -EBUSY);
	cr_assert_eq(harness_call("tracker_pid"), getpid());
	assert_ok(acquire(2, t.vm.pid, 1));
	cr_assert_eq(harness_call("tracker_pid"), 0);
	assert_ok(harness_call("tracker_acquire"));
	/* Given up, it can be taken again at once. */
	bss->call.slot = 0;
	harness_call("tracker_release");
	bss->call.slot = 1;
	assert_ok(harness_call("tracker_acquire"));
}

Test(helper_tracking, ends_with_a_holder_that_is_killed)
{
	pid_t holder;

	harness_open(&(struct tinyvm_options){ 0 });
	tinyvm_poke64(&t.vm, TARGET, 1);
	assert_ok(acquire(0, t.vm.pid, 0));
	holder = start_holder(0);
	cr_assert_eq(harness_call("tracker_pid"), holder);
	assert_rc(harness_call("tracker_acquire"), -EBUSY);
	store(0, TARGET, 2);
	assert_hex(tinyvm_peek64(&t.vm, TARGET), 1);
	told_clear();
	kill(holder, SIGKILL);
	waitpid(holder, NULL, 0);
	tracker_wait(0);
	told_wait(1);
	told_stop(&told[0], ~0ull, KVMBPF_STOP_RELEASED);
	store(0, TARGET, 2);
	assert_hex(tinyvm_peek64(&t.vm, TARGET), 2);
	cr_assert_eq(told_take(), 1);
	assert_ok(harness_call("tracker_acquire"));
	assert_ok(track(TARGET, 8, 0, 1));
}

/* ---- stops ---- */

Test(helper_tracking, a_kernel_that_goes_is_tracked_no_more)
{
	open_tracked(&(struct tinyvm_options){ 0 });
	assert_ok(track(TARGET, 8, KVMBPF_TRACK_PROTECT, 1));
	assert_ok(stop(KVMBPF_STOP_KERNEL));
	assert_ok(stop(KVMBPF_STOP_KERNEL)); /* told once */
	store(0, TARGET, 5);
	assert_hex(tinyvm_peek64(&t.vm, TARGET), 5);
	assert_rc(track(TARGET, 8, 0, 1), -ESHUTDOWN);
	told_wait(1);
	cr_assert_eq(told_take(), 1);
	told_stop(&told[0], ~0ull, KVMBPF_STOP_KERNEL);
	assert_ok(harness_call("tracker_restart"));
	assert_rc(tracked_at(0), -ENOENT);
	assert_ok(track(TARGET, 8, 0, 1));
	store(0, TARGET, 6);
	told_wait(2);
	cr_assert_eq(told[1].write.old_bytes[0], 5);
}

Test(helper_tracking, a_memslot_that_goes_takes_its_frames_along)
{
	struct tinyvm_slot gone;
	uint64_t gpa;

	open_tracked(&(struct tinyvm_options){ .slots = 2 });
	gpa = t.vm.slot[1].gpa;
	gone = t.vm.slot[1];
	gone.size = 0;
	for (unsigned int round = 0; round < 20; round++) {
		told_clear();
		assert_ok(track(TARGET, 8, 0, 1));
		assert_ok(track(gpa, 8, 0, 2));
		assert_ok(track(gpa + PAGE, 8, 0, 3));
		assert_ok(tinyvm_set_slot(&t.vm, &gone));
		told_wait(2);
		told_stop(&told[0], gpa, KVMBPF_STOP_MEMSLOT);
		told_stop(&told[1], gpa + PAGE, KVMBPF_STOP_MEMSLOT);
		assert_rc(track(gpa, 8, 0, 2), -ENXIO);
		assert_ok(tinyvm_set_slot(&t.vm, &t.vm.slot[1]));
		assert_ok(tracked_at(0));
		assert_hex(bss->call.tracked.gpa, TARGET);
		assert_rc(tracked_at(1), -ENOENT);
		/* KVM would warn of a count that it never made. */
		assert_ok(untrack(0, ~0ull));
	}
}

Test(helper_tracking, ends_with_the_vm)
{
	open_tracked(&(struct tinyvm_options){ 0 });
	assert_ok(track(TARGET, 8, KVMBPF_TRACK_PROTECT, 1));
	tinyvm_kill(&t.vm);
	told_wait(1);
	told_stop(&told[0], ~0ull, KVMBPF_STOP_VM);
	assert_rc(track(TARGET, 8, 0, 1), -EOWNERDEAD);
	assert_rc(harness_call("tracker_restart"), -EOWNERDEAD);
	assert_rc(tracked_at(0), -ENOENT);
	assert_rc(untrack(0, ~0ull), -ENOENT);
	assert_rc(stop(KVMBPF_STOP_KERNEL), -ENOENT);
	harness_call("tracker_release");
}

/* Of the module; an emulated host would not reach the default. */
static void set_hot_writes(unsigned int writes)
{
	FILE *file = fopen("/sys/module/kvmbpf_helper/parameters/hot_writes", "we");

	cr_assert_not_null(file);
	cr_assert_gt(fprintf(file, "%u", writes), 0);
	assert_ok(fclose(file));
}

static void write_often(uint64_t gpa, uint64_t rounds)
{
	uint64_t words[] = { gva(gpa), 1, 2, 3, 4 };

	assert_ok(tinyvm_command(&t.vm, 0, GUEST_CMD_REWRITE, words, 5));
	assert_ok(tinyvm_wait_count(&t.vm, 0, rounds));
	assert_ok(tinyvm_stop(&t.vm, 0));
}

Test(helper_tracking, a_hot_frame_is_given_up)
{
	open_tracked(&(struct tinyvm_options){ 0 });
	set_hot_writes(1000);
	assert_ok(track(TARGET, 8, 0, 1));
	assert_ok(track(GUEST_SCRATCH + PAGE, 8, 0, 2));
	write_often(TARGET + 16, 2000); /* beside the range: counted, not told */
	set_hot_writes(KVMBPF_HOT_WRITES);
	told_wait(1);
	told_stop(&told[0], GUEST_SCRATCH, KVMBPF_STOP_HOT);
	store(0, TARGET, 5);
	store(0, GUEST_SCRATCH + PAGE, 5);
	told_wait(2);
	cr_assert_eq(told_take(), 2);
	cr_assert_eq(told[1].write.cookie, 2);
	assert_ok(track(TARGET, 8, 0, 1));
}

/* The module holds no lock of its own meanwhile: where it did, a CPU of the host would spin for ever. */
Test(helper_tracking, who_hears_that_a_frame_is_given_up_may_call_back)
{
	open_tracked(&(struct tinyvm_options){ 0 });
	bss->compare_on_stop = true;
	set_hot_writes(1000);
	assert_ok(track(TARGET, 8, 0, 1));
	assert_ok(track(GUEST_SCRATCH + PAGE, 8, 0, 2));
	write_often(TARGET + 16, 2000);
	set_hot_writes(KVMBPF_HOT_WRITES);
	told_wait(1);
	told_stop(&told[0], GUEST_SCRATCH, KVMBPF_STOP_HOT);
	cr_assert_eq(bss->compared_on_stop, 1);
}

Test(helper_tracking, writing_often_does_not_end_protection)
{
	open_tracked(&(struct tinyvm_options){ 0 });
	set_hot_writes(1000);
	assert_ok(track(TARGET, 8, KVMBPF_TRACK_PROTECT, 1));
	write_often(TARGET + 16, 2000);
	set_hot_writes(KVMBPF_HOT_WRITES);
	cr_assert_eq(told_take(), 0);
	store(0, TARGET, 5);
	assert_hex(tinyvm_peek64(&t.vm, TARGET), 0);
}

/* ---- frames without a copy ---- */

/* As many as a kernel's text has. */
enum { MANY = 5000, MANY_MEMORY = 32 << 20, LAST = GUEST_MEMORY_MIN - PAGE };

static void open_many(const struct tinyvm_options *options)
{
	open_tracked(options);
	cr_assert_eq(tell_frames(GUEST_SCRATCH, MANY, 7), MANY);
	cr_assert_eq(frames_told(), MANY);
}

Test(helper_tracking, writes_to_many_frames_are_told)
{
	uint64_t value = 0x1122334455667788;
	const struct kvmbpf_write *write;

	open_many(&(struct tinyvm_options){ .memory = MANY_MEMORY, .vcpus = 2 });
	store(1, TARGET, value);
	store(0, LAST, value);
	told_wait(2);
	write = &told[0].write;
	cr_assert_eq(told[0].type, TOLD_WRITE);
	assert_hex(write->gpa, TARGET);
	cr_assert_eq(write->cookie, 7);
	cr_assert_eq(write->vcpu_id, 1);
	cr_assert_eq(write->flags, KVMBPF_WRITE_NO_OLD);
	cr_assert_eq(write->len, 8);
	cr_assert_arr_eq(write->new_bytes, &value, 8);
	cr_assert(write->rip >= gva(GUEST_TEXT) && write->rip < gva(GUEST_TEXT + GUEST_TEXT_SIZE));
	assert_hex(told[1].write.gpa, LAST);
	assert_hex(tinyvm_peek64(&t.vm, TARGET), value);
	assert_rc(tracked_at(0), -ENOENT);
	/* Once more changes nothing. */
	cr_assert_eq(tell_frames(GUEST_SCRATCH, MANY, 8), MANY);
	store(0, TARGET, 0);
	told_wait(3);
	cr_assert_eq(told_take(), 3);
	cr_assert_eq(told[2].write.cookie, 7);
}

Test(helper_tracking, a_frame_with_ranges_can_be_told_whole)
{
	open_tracked(&(struct tinyvm_options){ 0 });
	assert_ok(track(TARGET, 8, KVMBPF_TRACK_PROTECT, 1));
	cr_assert_eq(tell_writes(GUEST_SCRATCH, 1, 2), 1);
	store(0, TARGET, 5);
	store(0, TARGET + 8, 5);
	told_wait(3);
	cr_assert_eq(told_take(), 3);
	cr_assert_eq(told[0].write.cookie, 2);
	cr_assert_eq(told[0].write.flags, KVMBPF_WRITE_NO_OLD);
	cr_assert_eq(told[1].write.cookie, 1);
	cr_assert_eq(told[1].write.flags, KVMBPF_WRITE_UNDONE);
	cr_assert_eq(told[2].write.cookie, 2);
	assert_hex(tinyvm_peek64(&t.vm, TARGET), 0);
	/* Each kind ends by itself. */
	assert_ok(untrack(TARGET, 8));
	cr_assert_eq(frames_told(), 1);
	assert_ok(track(TARGET, 8, 0, 1));
	assert_ok(untrack(GUEST_SCRATCH, PAGE));
	cr_assert_eq(frames_told(), 0);
	assert_rc(tracked_at(0), -ENOENT);
	store(0, TARGET, 6);
	cr_assert_eq(told_take(), 3);
}

Test(helper_tracking, bad_runs_are_errors)
{
	open_tracked(&(struct tinyvm_options){ 0 });
	assert_rc(tell_writes(GUEST_SCRATCH + 1, 1, 0), -EINVAL);
	assert_rc(tell_writes(GUEST_SCRATCH, 0, 0), -EINVAL);
	assert_rc(tell_writes(GUEST_SCRATCH, KVMBPF_TOLD_RUN_MAX + 1, 0), -EINVAL);
	assert_rc(tell_writes(GUEST_SCRATCH, ~0u, 0), -EINVAL);
	assert_rc(tell_writes(GUEST_MEMORY_MIN, 1, 0), -ENXIO);
	assert_rc(tell_writes(~0ull << 12, 2, 0), -ENXIO);
	cr_assert_eq(tell_writes(LAST, 2, 0), 1);
	/* What lies within, and no less than a frame. */
	assert_rc(untrack(LAST, PAGE - 1), -ENOENT);
	assert_rc(untrack(LAST + 1, PAGE), -ENOENT);
	assert_rc(untrack(0, LAST), -ENOENT);
	cr_assert_eq(frames_told(), 1);
	assert_ok(untrack(LAST - 1, PAGE + 1));
	assert_rc(untrack(0, ~0ull), -ENOENT);
	cr_assert_eq(frames_told(), 0);
}

Test(helper_tracking, there_is_room_for_so_many_frames)
{
	const uint64_t all = (uint64_t)KVMBPF_TOLD_FRAMES_MAX * PAGE;

	open_tracked(&(struct tinyvm_options){ .memory = 80 << 20 });
	cr_assert_eq(tell_frames(GUEST_SCRATCH, KVMBPF_TOLD_FRAMES_MAX, 1),
		     KVMBPF_TOLD_FRAMES_MAX);
	assert_rc(tell_writes(GUEST_SCRATCH + all, 1, 1), -ENOSPC);
	assert_ok(untrack(GUEST_SCRATCH + 16 * PAGE, 16 * PAGE));
	cr_assert_eq(tell_writes(GUEST_SCRATCH + all, 17, 1), 16);
	assert_rc(tell_writes(GUEST_SCRATCH + all + 16 * PAGE, 1, 1), -ENOSPC);
	assert_ok(untrack(0, ~0ull));
	cr_assert_eq(frames_told(), 0);
	cr_assert_eq(tell_writes(GUEST_SCRATCH, 1, 1), 1);
}

Test(helper_tracking, many_frames_end_with_a_holder_that_is_killed)
{
	pid_t holder;

	harness_open(&(struct tinyvm_options){ .memory = MANY_MEMORY });
	assert_ok(acquire(0, t.vm.pid, 0));
	holder = start_holder(MANY);
	told_clear();
	kill(holder, SIGKILL);
	waitpid(holder, NULL, 0);
	tracker_wait(0);
	told_wait(1);
	store(0, TARGET, 2);
	cr_assert_eq(told_take(), 1);
	told_stop(&told[0], ~0ull, KVMBPF_STOP_RELEASED);
	assert_ok(harness_call("tracker_acquire"));
	cr_assert_eq(frames_told(), 0);
	cr_assert_eq(tell_frames(GUEST_SCRATCH, MANY, 1), MANY);
}

Test(helper_tracking, many_frames_of_a_kernel_that_goes)
{
	open_many(&(struct tinyvm_options){ .memory = MANY_MEMORY });
	assert_ok(stop(KVMBPF_STOP_KERNEL));
	store(0, TARGET, 5);
	assert_rc(tell_writes(GUEST_SCRATCH, 1, 1), -ESHUTDOWN);
	cr_assert_eq(told_take(), 1);
	told_stop(&told[0], ~0ull, KVMBPF_STOP_KERNEL);
	assert_ok(harness_call("tracker_restart"));
	cr_assert_eq(frames_told(), 0);
	cr_assert_eq(tell_frames(GUEST_SCRATCH, MANY, 1), MANY);
	store(0, TARGET, 6);
	told_wait(2);
}

Test(helper_tracking, many_frames_end_with_the_vm)
{
	open_many(&(struct tinyvm_options){ .memory = MANY_MEMORY });
	tinyvm_kill(&t.vm);
	told_wait(1);
	told_stop(&told[0], ~0ull, KVMBPF_STOP_VM);
	assert_rc(tell_writes(GUEST_SCRATCH, 1, 1), -EOWNERDEAD);
	harness_call("tracker_release");
}

Test(helper_tracking, a_memslot_that_goes_takes_many_frames_along)
{
	struct tinyvm_slot gone;
	uint64_t gpa;

	open_tracked(&(struct tinyvm_options){ .slots = 2, .memory = 2 * MANY_MEMORY });
	gpa = t.vm.slot[1].gpa;
	gone = t.vm.slot[1];
	gone.size = 0;
	cr_assert_eq(tell_writes(GUEST_SCRATCH, 1, 1), 1);
	for (unsigned int round = 0; round < 5; round++) {
		told_clear();
		cr_assert_eq(tell_frames(gpa + PAGE, MANY, 2), MANY);
		assert_ok(tinyvm_set_slot(&t.vm, &gone));
		told_wait(1);
		told_stop(&told[0], gpa, KVMBPF_STOP_MEMSLOT);
		cr_assert_eq(told[0].stop.frames, MANY);
		cr_assert_eq(told_take(), 1);
		assert_rc(tell_writes(gpa + PAGE, 1, 2), -ENXIO);
		assert_ok(tinyvm_set_slot(&t.vm, &t.vm.slot[1]));
		cr_assert_eq(frames_told(), 1);
	}
	/* KVM would warn of counts that it never made. */
	assert_ok(untrack(0, ~0ull));
	cr_assert_eq(frames_told(), 0);
}

/* A frame's entry goes while the guest writes there: KVM's callbacks look at it. */
Test(helper_tracking, frames_come_and_go_under_writes)
{
	uint64_t words[] = { gva(TARGET), 1, 2, 3, 4 };
	size_t count = 0;

	open_tracked(&(struct tinyvm_options){ 0 });
	words[0] = gva(TARGET);
	assert_ok(tinyvm_command(&t.vm, 0, GUEST_CMD_REWRITE, words, 5));
	for (unsigned int round = 0; round < 200; round++) {
		cr_assert_eq(tell_frames(GUEST_SCRATCH, 256, round), 256);
		if (round % 2)
			assert_ok(track(TARGET, 16, 0, 1));
		count += told_take();
		told_clear();
		assert_ok(untrack(0, ~0ull));
	}
	assert_ok(tinyvm_stop(&t.vm, 0));
	cr_assert_gt(count, 0);
	told_clear();
	store(0, TARGET, 5);
	cr_assert_eq(told_take(), 0);
}

Test(helper_tracking, of_many_frames_a_hot_one_is_given_up)
{
	open_many(&(struct tinyvm_options){ .memory = MANY_MEMORY });
	set_hot_writes(1000);
	bss->compare_on_stop = true;
	write_often(TARGET, 2000);
	set_hot_writes(KVMBPF_HOT_WRITES);
	told_wait(1000);
	cr_assert_eq(bss->compared_on_stop, 1);
	/* The last write is told before the stop, unless another was on its way. */
	told_stop(&told[told_take() - 1], GUEST_SCRATCH, KVMBPF_STOP_HOT);
	told_clear();
	cr_assert_eq(frames_told(), MANY - 1);
	store(0, TARGET, 5);
	store(0, LAST, 5);
	told_wait(1);
	cr_assert_eq(told_take(), 1);
	assert_hex(told[0].write.gpa, LAST);
	cr_assert_eq(tell_frames(GUEST_SCRATCH, MANY, 9), MANY);
	store(0, TARGET, 6);
	told_wait(2);
	cr_assert_eq(told[1].write.cookie, 9);
}
