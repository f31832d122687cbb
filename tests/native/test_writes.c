// SPDX-License-Identifier: LGPL-2.1-or-later
/* Write tracking: each write told once, undone where asked, and nothing left when it ends. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

enum { PAGE = 4096, WRITES_MAX = 65536, DEADLINE_MS = 30000, ROUNDS = 500 };

static const uint64_t there = GUEST_SCRATCH + 0x100;

static struct ka_write writes[WRITES_MAX];
static size_t write_count;
static uint64_t lost, stopped_gpa;
static size_t stops;
static enum ka_stop_reason stop_reason;

static void forget(void)
{
	write_count = stops = 0;
	lost = 0;
}

TestSuite(writes, .init = forget, .fini = support_close, .timeout = TEST_TIMEOUT_S);

static void on_wrote(void *ctx, uint64_t key, const struct ka_write *write)
{
	(void)ctx;
	cr_assert_eq(key, ka_vm_info(t.ka)->key);
	cr_assert_lt(write_count, WRITES_MAX);
	writes[write_count++] = *write;
}

static void on_stopped(void *ctx, uint64_t key, uint64_t gpa, enum ka_stop_reason reason)
{
	(void)ctx;
	cr_assert_eq(key, ka_vm_info(t.ka)->key);
	stops++;
	stopped_gpa = gpa;
	stop_reason = reason;
}

static void on_lost(void *ctx, uint64_t key, uint64_t count)
{
	(void)ctx;
	cr_assert_eq(key, ka_vm_info(t.ka)->key);
	lost += count;
}

static void dispatch(int timeout_ms)
{
	static const struct ka_host_events events = { .guest_wrote = on_wrote,
						      .tracking_stopped = on_stopped,
						      .writes_lost = on_lost };
	struct pollfd fd = { .fd = ka_host_fd(t.host), .events = POLLIN };

	poll(&fd, 1, timeout_ms);
	assert_ok(ka_host_dispatch(t.host, &events, NULL));
}

static bool can_track(void)
{
	const struct ka_probe *probe = ka_host_features(t.host);

	for (size_t i = 0; i < probe->count; i++)
		if (!strcmp(probe->feature[i].name, "writes"))
			return probe->feature[i].state == KA_FEATURE_ON;
	return false;
}

/* A VM that may be tracked, or the test is skipped. */
static void open_tracked(const struct tinyvm_options *options)
{
	support_start(options);
	support_host(true);
	if (!can_track())
		cr_skip_test("the module kvmbpf_helper is not loaded");
	t.ka = support_open_pid(t.vm.pid, 0);
	assert_ok(ka_track_begin(t.ka));
}

static void store(uint64_t gpa, uint64_t value)
{
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_STORE, gva(gpa), value));
}

static void until_writes(size_t count)
{
	uint64_t deadline = support_now_ms() + DEADLINE_MS;

	while (write_count + lost < count) {
		cr_assert_lt(support_now_ms(), deadline, "%zu of %zu writes", write_count, count);
		dispatch(100);
	}
}

static void until_stopped(void)
{
	uint64_t deadline = support_now_ms() + DEADLINE_MS;

	while (!stops) {
		cr_assert_lt(support_now_ms(), deadline, "tracking goes on");
		dispatch(100);
	}
}

Test(writes, without_the_module_there_is_no_tracking)
{
	support_start(&(struct tinyvm_options){});
	support_host(true);
	if (can_track())
		cr_skip_test("the module kvmbpf_helper is loaded");
	t.ka = support_open_pid(t.vm.pid, 0);
	assert_rc(ka_track_begin(t.ka), -EOPNOTSUPP);
	assert_rc(ka_track(t.ka, there, 8, 0, 0), -EOPNOTSUPP);
}

WIDTH_TEST(writes, write_is_told_with_old_and_new_bytes)
{
	const uint64_t old = 0x1111111111111111, new = 0x2222222222222222;
	size_t word = tinyvm_mode_64bit(mode) ? 8 : 4;

	open_tracked(&(struct tinyvm_options){ .mode = mode });
	tinyvm_poke64(&t.vm, there, old);
	assert_ok(ka_track(t.ka, there, 16, 0, 4711));
	store(there, new);
	until_writes(1);
	dispatch(0);
	cr_assert_eq(write_count, 1);
	assert_hex(writes[0].gpa, there);
	cr_assert_eq(writes[0].len, word);
	cr_assert_eq(writes[0].cookie, 4711);
	cr_assert_eq(writes[0].vcpu, 0);
	cr_assert_eq(writes[0].flags, 0);
	cr_assert_arr_eq(writes[0].old_bytes, &old, word);
	cr_assert_arr_eq(writes[0].new_bytes, &new, word);
	cr_assert_geq(writes[0].rip, gva(GUEST_TEXT));
	cr_assert_lt(writes[0].rip, gva(GUEST_TEXT + GUEST_TEXT_SIZE));
	cr_assert_eq((uint32_t)tinyvm_peek64(&t.vm, there), (uint32_t)new);
}

WIDTH_TEST(writes, protected_write_is_undone_and_its_neighbour_is_not)
{
	const uint64_t old = 0x3333333333333333;

	open_tracked(&(struct tinyvm_options){ .mode = mode });
	tinyvm_poke64(&t.vm, there, old);
	assert_ok(ka_track(t.ka, there, 8, KA_TRACK_PROTECT, 0));
	store(there, 0x4444444444444444);
	assert_hex(tinyvm_peek64(&t.vm, there), old);
	store(there + 8, 0x5555555555555555);
	assert_hex((uint32_t)tinyvm_peek64(&t.vm, there + 8), 0x55555555);
	until_writes(1);
	dispatch(0);
	cr_assert_eq(write_count, 1, "what is beside it is nobody's business");
	cr_assert_eq(writes[0].flags, KA_WRITE_UNDONE);
	/* And no longer, once it is tracked no more. */
	assert_ok(ka_untrack(t.ka, there, 8));
	store(there, 0x6666666666666666);
	assert_hex((uint32_t)tinyvm_peek64(&t.vm, there), 0x66666666);
}

Test(writes, burst_is_told_or_counted_to_the_last_write)
{
	const uint64_t words[] = { gva(there), 1, 2, 3, 4 };
	uint64_t rounds;

	open_tracked(&(struct tinyvm_options){});
	assert_ok(ka_track(t.ka, there, 16, KA_TRACK_PROTECT, 0));
	assert_ok(tinyvm_command(&t.vm, 0, GUEST_CMD_REWRITE, words, 5));
	assert_ok(tinyvm_wait_count(&t.vm, 0, ROUNDS));
	assert_ok(tinyvm_stop(&t.vm, 0));
	rounds = tinyvm_mailbox(&t.vm, 0, MAILBOX_COUNT);
	until_writes(4 * rounds);
	dispatch(0);
	cr_assert_eq(write_count + lost, 4 * rounds, "%zu told, %lu lost of %lu", write_count,
		     (unsigned long)lost, (unsigned long)(4 * rounds));
}

Test(writes, whole_frames_are_told_without_what_was_there)
{
	const uint64_t frame = GUEST_SCRATCH, new = 0x7777777777777777;

	open_tracked(&(struct tinyvm_options){});
	cr_assert_eq(ka_track_frames(t.ka, frame, 1, 99), 1);
	cr_assert_eq(ka_track_frames(t.ka, frame, 1, 99), 1, "stays as it is");
	store(there, new);
	until_writes(1);
	dispatch(0);
	cr_assert_eq(write_count, 1);
	assert_hex(writes[0].gpa, there);
	cr_assert_eq(writes[0].cookie, 99);
	cr_assert_eq(writes[0].flags, KA_WRITE_NO_OLD);
	cr_assert_arr_eq(writes[0].new_bytes, &new, sizeof(new));
	assert_hex(tinyvm_peek64(&t.vm, there), new);
	assert_rc(ka_track_frames(t.ka, frame + 8, 1, 99), -EINVAL);
	assert_rc(ka_track_frames(t.ka, 1ull << 40, 1, 99), -ENXIO);
	assert_ok(ka_untrack(t.ka, frame, PAGE));
	store(there, 1);
	dispatch(0);
	cr_assert_eq(write_count, 1, "no longer, once it is tracked no more");
}

Test(writes, arguments_are_checked)
{
	struct ka_tracked tracked[4];
	size_t count;

	open_tracked(&(struct tinyvm_options){});
	assert_rc(ka_track(t.ka, there, 0, 0, 0), -EINVAL);
	assert_rc(ka_track(t.ka, there, PAGE, 0, 0), -EINVAL);
	assert_rc(ka_track(t.ka, there, 8, 0x80, 0), -EINVAL);
	assert_rc(ka_track(t.ka, 1ull << 40, 8, 0, 0), -ENXIO);
	assert_rc(ka_untrack(t.ka, there, 8), -ENOENT);
	assert_ok(ka_track(t.ka, there, 8, 0, 1));
	assert_rc(ka_track(t.ka, there + 4, 8, 0, 0), -EEXIST);
	assert_ok(ka_track(t.ka, there + 8, 8, KA_TRACK_PROTECT, 2));
	assert_ok(ka_tracked(t.ka, tracked, 4, &count));
	cr_assert_eq(count, 2);
	assert_hex(tracked[0].gpa + tracked[1].gpa, 2 * there + 8);
	cr_assert_eq(tracked[0].flags + tracked[1].flags, KA_TRACK_PROTECT);
	ka_track_end(t.ka);
	assert_rc(ka_track(t.ka, there, 8, 0, 0), -EINVAL);
	assert_rc(ka_tracked(t.ka, tracked, 4, &count), -EINVAL);
}

Test(writes, one_at_a_time_tracks)
{
	uint64_t deadline = support_now_ms() + DEADLINE_MS;
	struct ka_host *host = NULL;
	struct ka_vm *second = NULL;
	char pid[16];
	pid_t holder;
	int err;

	open_tracked(&(struct tinyvm_options){});
	assert_ok(ka_host_open(NULL, &host));
	snprintf(pid, sizeof(pid), "%d", t.vm.pid);
	assert_ok(ka_open(host, pid, 0, &second));
	assert_rc(ka_track_begin(second), -EBUSY);
	assert_ok(ka_tracker_pid(second, &holder));
	cr_assert_eq(holder, getpid());
	ka_close(t.ka);
	t.ka = NULL;
	while ((err = ka_track_begin(second)) == -EBUSY)
		cr_assert_lt(support_now_ms(), deadline, "the first one holds it still");
	assert_ok(err);
	ka_close(second);
	ka_host_close(host);
}

/* As a kernel does before kexec. */
Test(writes, emptied_idtr_ends_all_until_it_begins_anew)
{
	struct ka_tracked tracked[4];
	size_t count;

	open_tracked(&(struct tinyvm_options){});
	assert_ok(ka_track(t.ka, there, 8, KA_TRACK_PROTECT, 0));
	tinyvm_poke64(&t.vm, GUEST_POINTERS, 0);
	tinyvm_poke64(&t.vm, GUEST_POINTERS + 8, 0);
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_LIDT, gva(GUEST_POINTERS), 0));
	store(there, 0x7777777777777777);
	assert_hex(tinyvm_peek64(&t.vm, there), 0x7777777777777777);
	until_stopped();
	assert_hex(stopped_gpa, UINT64_MAX);
	cr_assert_eq(stop_reason, KA_STOP_KERNEL);
	cr_assert_eq(write_count, 0);
	assert_rc(ka_track(t.ka, there, 8, 0, 0), -ESHUTDOWN);
	assert_ok(ka_track_begin(t.ka));
	assert_ok(ka_tracked(t.ka, tracked, 4, &count));
	cr_assert_eq(count, 0);
	assert_ok(ka_track(t.ka, there, 8, 0, 0));
	store(there, 1);
	until_writes(1);
}

Test(writes, memory_that_is_taken_away_is_tracked_no_more)
{
	struct tinyvm_slot gone;

	open_tracked(&(struct tinyvm_options){ .slots = 2, .memory = 2 * GUEST_MEMORY_MIN });
	gone = t.vm.slot[1];
	assert_ok(ka_track(t.ka, gone.gpa, 8, 0, 0));
	gone.size = 0;
	assert_ok(tinyvm_set_slot(&t.vm, &gone));
	until_stopped();
	assert_hex(stopped_gpa, gone.gpa);
	cr_assert_eq(stop_reason, KA_STOP_MEMSLOT);
}

/* What a live migration does: KVM notes which pages are written, and ours would not be among them. */
Test(writes, protection_stands_aside_under_dirty_logging)
{
	struct tinyvm_slot slot;

	open_tracked(&(struct tinyvm_options){});
	slot = t.vm.slot[0];
	assert_ok(ka_track(t.ka, there, 8, KA_TRACK_PROTECT, 0));
	slot.flags |= KVM_MEM_LOG_DIRTY_PAGES;
	assert_ok(tinyvm_set_slot(&t.vm, &slot));
	store(there, 0x8888888888888888);
	assert_hex(tinyvm_peek64(&t.vm, there), 0x8888888888888888);
	until_writes(1);
	cr_assert_eq(writes[0].flags, KA_WRITE_STOOD_ASIDE);
	assert_rc(ka_track(t.ka, there + 8, 8, KA_TRACK_PROTECT, 0), -EBUSY);
	assert_ok(ka_track(t.ka, there + 8, 8, 0, 0));
	slot.flags &= ~KVM_MEM_LOG_DIRTY_PAGES;
	assert_ok(tinyvm_set_slot(&t.vm, &slot));
	/* What stood there when it was protected is what is kept. */
	store(there, 0x9999999999999999);
	assert_hex(tinyvm_peek64(&t.vm, there), 0);
}

Test(writes, vm_that_ends_takes_its_tracking_along)
{
	open_tracked(&(struct tinyvm_options){});
	assert_ok(ka_track(t.ka, there, 8, KA_TRACK_PROTECT, 0));
	tinyvm_kill(&t.vm);
	for (uint64_t end = support_now_ms() + DEADLINE_MS; ka_track_begin(t.ka) != -EOWNERDEAD;) {
		cr_assert_lt(support_now_ms(), end, "the VM lives on");
		dispatch(100);
	}
	assert_rc(ka_track(t.ka, there, 8, 0, 0), -EOWNERDEAD);
}
