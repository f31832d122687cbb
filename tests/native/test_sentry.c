// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sentries: that they go round, what they see, and that nothing is changed under them. */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sealed.h"

TestSuite(sentry, .fini = support_close, .timeout = TEST_TIMEOUT_S);

#define MS 1000000ull

enum { PERIOD_MS = 5, MANY = 60 };

static struct ka_sentry *sentry;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 * MS + (uint64_t)now.tv_nsec;
}

static void wait_ms(unsigned int ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * MS }, NULL);
}

static struct ka_sentry_state state(void)
{
	struct ka_sentry_state now;

	ka_sentry_read(sentry, &now);
	return now;
}

/* Until so many more rounds were made, or it stands no more. */
static bool goes_round(unsigned int rounds)
{
	const uint64_t end = support_now_ms() + 20000, begin = state().rounds;

	while (state().stands && state().rounds < begin + rounds && support_now_ms() < end)
		wait_ms(1);
	return state().rounds >= begin + rounds;
}

static int stand(struct ka_vm *const *vms, size_t count)
{
	return ka_sentry_stand(sentry, vms, count, now_ns(), PERIOD_MS * MS, 0);
}

static void open_with_sentry(const struct tinyvm_options *options)
{
	open_sealed(options);
	if (ka_sentry_new(t.host, &sentry) == -EOPNOTSUPP)
		cr_skip_test("this host has no sentries");
	cr_assert_not_null(sentry);
}

static void open_guarded(const struct tinyvm_options *options)
{
	open_with_sentry(options);
	assert_ok(stand(&t.ka, 1));
	cr_assert(goes_round(2));
}

/* Said in the state, and by waking up who waits for the host. */
static void expect_broken(const char *by)
{
	const struct ka_host_events events = { 0 };
	struct pollfd fd = { .fd = ka_host_fd(t.host), .events = POLLIN };
	bool woken;
	int tries = 0;

	do {
		woken = poll(&fd, 1, 1000) > 0;
		if (woken)
			assert_ok(ka_host_dispatch(t.host, &events, NULL));
	} while (!state().broken && ++tries < 100);
	cr_assert(state().broken, "%s is not seen", by);
	cr_assert(woken, "%s wakes nobody up", by);
	cr_assert_not(state().stands);
	ka_sentry_relieve(sentry);
	cr_assert(state().broken);
}

/* And goes on once it is undone. */
static void expect_broken_by(uint64_t gpa, uint64_t bits, const char *what)
{
	uint64_t before = tinyvm_peek64(&t.vm, gpa);

	tinyvm_poke64(&t.vm, gpa, before ^ bits);
	expect_broken(what);
	tinyvm_poke64(&t.vm, gpa, before);
	assert_ok(stand(&t.ka, 1));
	cr_assert(goes_round(2), "%s", what);
}

/* ---- rounds ---- */

MODE_TEST(sentry, goes_round_as_long_as_nothing_changes)
{
	struct ka_counters counters, counters_then;
	struct ka_sentry_state then, now;

	open_guarded(&(struct tinyvm_options){ .mode = mode, .vcpus = 3 });
	then = state();
	assert_ok(ka_host_counters(t.host, &counters_then));
	cr_assert(goes_round(100));
	cr_assert(state().stands);
	cr_assert_not(state().broken);
	cr_assert_gt(state().round_ns, then.round_ns);
	cr_assert_leq(state().round_ns, now_ns());
	assert_ok(ka_host_counters(t.host, &counters));
	cr_assert_geq(counters.sentry_runs, counters_then.sentry_runs + 100);
	cr_assert_gt(counters.sentry_ns, counters_then.sentry_ns);
	/* None sooner than it was due; what is read is of three moments. */
	now = state();
	cr_assert_leq(now.rounds + now.missed - then.rounds - then.missed,
		      (now_ns() - then.round_ns) / (PERIOD_MS * MS) + 3);
}

Test(sentry, begins_when_it_is_told_to)
{
	open_with_sentry(&(struct tinyvm_options){ 0 });
	assert_ok(
		ka_sentry_stand(sentry, &t.ka, 1, now_ns() + 3600 * 1000 * MS, PERIOD_MS * MS, 0));
	wait_ms(20);
	cr_assert(state().stands);
	cr_assert_eq(state().rounds, 0);
	cr_assert_eq(state().round_ns, 0);
	/* What is past is counted, and not made up for. */
	assert_ok(ka_sentry_stand(sentry, &t.ka, 1, now_ns() - 1000 * PERIOD_MS * MS,
				  PERIOD_MS * MS, 0));
	cr_assert(goes_round(2));
	cr_assert_geq(state().missed, 1000);
	cr_assert_geq(state().late, 1);
	cr_assert_lt(state().rounds, 500);
}

Test(sentry, makes_so_many_rounds)
{
	open_with_sentry(&(struct tinyvm_options){ 0 });
	assert_ok(ka_sentry_stand(sentry, &t.ka, 1, now_ns(), PERIOD_MS * MS, 10));
	while (state().stands)
		wait_ms(1);
	wait_ms(5 * PERIOD_MS);
	cr_assert_geq(state().rounds + state().missed, 10);
	cr_assert_leq(state().rounds, 10);
	cr_assert_not(state().broken);
	/* Nobody looks any more. */
	tinyvm_poke64(&t.vm, GUEST_SCRATCH, 1);
	wait_ms(5 * PERIOD_MS);
	cr_assert_not(state().broken);
}

Test(sentry, of_two_each_goes_its_own_round)
{
	struct ka_sentry *first, *second;
	struct support other;

	open_guarded(&(struct tinyvm_options){ 0 });
	first = sentry;
	other = t;
	assert_ok(tinyvm_start(&(struct tinyvm_options){ 0 }, &t.vm));
	t.ka = support_open_pid(t.vm.pid, 0);
	assert_ok(seal());
	assert_ok(ka_sentry_new(t.host, &second));
	cr_assert_neq(first, second);
	sentry = second;
	assert_rc(stand(&other.ka, 1), -EAGAIN);
	assert_ok(stand(&t.ka, 1));
	cr_assert(goes_round(5));
	tinyvm_poke64(&t.vm, GUEST_SCRATCH, 1);
	expect_broken("the second's memory");
	ka_sentry_free(second);
	ka_close(t.ka);
	tinyvm_kill(&t.vm);
	t = other;
	sentry = first;
	cr_assert(goes_round(5));
}

Test(sentry, there_are_only_so_many)
{
	struct ka_sentry *more[KVMBPF_SENTRIES], *none = NULL;

	open_with_sentry(&(struct tinyvm_options){ 0 });
	for (int i = 1; i < KVMBPF_SENTRIES; i++)
		assert_ok(ka_sentry_new(t.host, &more[i]));
	assert_rc(ka_sentry_new(t.host, &none), -ENOSPC);
	ka_sentry_free(more[1]);
	assert_ok(ka_sentry_new(t.host, &more[1]));
	ka_sentry_free(NULL);
}

Test(sentry, is_refused_for_what_it_cannot_look_at)
{
	open_with_sentry(&(struct tinyvm_options){ 0 });
	assert_rc(ka_sentry_stand(sentry, &t.ka, 0, 0, MS, 0), -EINVAL);
	assert_rc(ka_sentry_stand(sentry, &t.ka, 1, 0, 0, 0), -EINVAL);
	assert_rc(ka_sentry_stand(sentry, &t.ka, KVMBPF_SENTRY_SEALS + 1, 0, MS, 0), -E2BIG);
	ka_unseal(t.ka);
	assert_rc(stand(&t.ka, 1), -EAGAIN);
	cr_assert_not(state().stands);
}

/* ---- what it sees ---- */

MODE_TEST(sentry, sees_contents)
{
	open_guarded(&(struct tinyvm_options){ .mode = mode, .vcpus = 2 });
	expect_broken_by(GUEST_IDT + 8, 1, "a gate");
	expect_broken_by(GUEST_GDT + GUEST_STRIDE + 8, 1ull << 40, "the second vCPU's GDT");
	expect_broken_by(GUEST_SCRATCH + PAGE - 8, 1ull << 63, "a table's last bit");
}

Test(sentry, sees_page_tables)
{
	struct kvmbpf_walk walk;

	open_guarded(&(struct tinyvm_options){ .vcpus = 2 });
	for (size_t i = 0; i < piece_count; i++) {
		assert_ok(translate_walk(t.ka, pieces[i].paging, pieces[i].address, &walk));
		for (unsigned int j = 0; j < walk.depth; j++)
			expect_broken_by(walk.step[j].gpa, 1ull << 63, "an entry");
	}
}

static void expect_broken_by_command(unsigned int vcpu, uint64_t command, uint64_t a, uint64_t b,
				     const char *what)
{
	cr_assert(goes_round(2));
	assert_ok(tinyvm_do(&t.vm, vcpu, command, a, b));
	expect_broken(what);
	assert_ok(seal());
	assert_ok(stand(&t.ka, 1));
	cr_assert(goes_round(2), "after %s", what);
}

Test(sentry, sees_registers)
{
	uint64_t operand[2] = { (uint64_t)(PAGE - 1) | gva(GUEST_IDT_OTHER) << 16,
				gva(GUEST_IDT_OTHER) >> 48 };

	open_guarded(&(struct tinyvm_options){ .vcpus = 2 });
	assert_ok(tinyvm_poke(&t.vm, GUEST_POINTERS, operand, sizeof(operand)));
	expect_broken_by_command(1, GUEST_CMD_LIDT, gva(GUEST_POINTERS), 0, "LIDT");
	expect_broken_by_command(1, GUEST_CMD_CR0, registers[1].cr0 & ~(1ull << 16), 0, "CR0.WP");
	expect_broken_by_command(0, GUEST_CMD_CR4, registers[0].cr4 ^ 1 << 7, 0, "CR4");
	if (!(registers[0].flags & KA_REGISTERS_NO_MSRS))
		expect_broken_by_command(0, GUEST_CMD_WRMSR, 0xc0000082, registers[0].lstar + 16,
					 "LSTAR");
}

/* Another process, with the same kernel: user space says that it is so, and the sentry goes on with
 * it. */
Test(sentry, goes_on_with_another_cr3)
{
	static uint8_t root[PAGE];
	const uint64_t other = GUEST_SCRATCH + 16 * PAGE;
	bool is;

	open_guarded(&(struct tinyvm_options){ .vcpus = 2 });
	if (registers[1].flags & KA_REGISTERS_NO_VMCS)
		cr_skip_test("CR3 is not read on this host");
	assert_ok(tinyvm_peek(&t.vm, registers[1].cr3 & ~(PAGE - 1ull), root, PAGE));
	assert_ok(tinyvm_poke(&t.vm, other, root, PAGE));
	set_cr3(1, other);
	expect_broken("another CR3");
	assert_ok(ka_registers_pull(t.host, &t.ka, 1));
	assert_ok(ka_seals_check(t.host, &t.ka, 1, &is));
	cr_assert(is);
	assert_ok(stand(&t.ka, 1));
	cr_assert(goes_round(5));
	expect_broken_by(other + PAGE - 8, 1 << 1, "the other root");
}

Test(sentry, sees_pages_that_go)
{
	open_guarded(&(struct tinyvm_options){ .memory = 64 << 20 });
	madvise_vmm(GUEST_SCRATCH, PAGE, MADV_DONTNEED);
	expect_broken("a page that is gone");
}

Test(sentry, sees_another_memslot)
{
	struct tinyvm_slot slot = { .id = 9, .gpa = 1ull << 32, .size = PAGE };

	open_guarded(&(struct tinyvm_options){ 0 });
	assert_ok(tinyvm_set_slot(&t.vm, &slot));
	expect_broken("a memslot");
}

Test(sentry, sees_the_end_of_the_vm)
{
	open_guarded(&(struct tinyvm_options){ 0 });
	tinyvm_kill(&t.vm);
	expect_broken("the end");
}

/* ---- many ---- */

/* More than are looked at without a pause. */
Test(sentry, of_many_vms_sees_each)
{
	static struct tinyvm vm[MANY];
	static struct ka_vm *ka[MANY];
	struct support first;

	open_with_sentry(&(struct tinyvm_options){ 0 });
	first = t;
	for (size_t i = 0; i < MANY; i++) {
		assert_ok(tinyvm_start(&(struct tinyvm_options){ 0 }, &t.vm));
		t.ka = ka[i] = support_open_pid(t.vm.pid, 0);
		assert_ok(seal());
		vm[i] = t.vm;
	}
	assert_ok(stand(ka, MANY));
	cr_assert(goes_round(20));
	for (size_t i = 0; i < MANY; i++) {
		tinyvm_poke64(&vm[i], GUEST_SCRATCH, 1);
		expect_broken("one of them");
		tinyvm_poke64(&vm[i], GUEST_SCRATCH, 0);
		assert_ok(stand(ka, MANY));
		cr_assert(goes_round(2), "VM %zu", i);
	}
	for (size_t i = 0; i < MANY; i++) {
		ka_close(ka[i]);
		cr_assert_not(state().stands);
		tinyvm_kill(&vm[i]);
	}
	t = first;
}

/* ---- nothing changes under it ---- */

static void relieve(void)
{
	ka_sentry_relieve(sentry);
}

static void seal_again(void)
{
	assert_ok(ka_seal(t.ka, vcpus, vcpu_count, pieces, piece_count));
}

static void unseal(void)
{
	ka_unseal(t.ka);
}

static void check(void)
{
	bool is;

	assert_ok(ka_registers_pull(t.host, &t.ka, 1));
	assert_ok(ka_seals_check(t.host, &t.ka, 1, &is));
	cr_assert(is);
}

Test(sentry, is_relieved_by_what_changes_a_seal)
{
	static void (*const changes[])(void) = { relieve, seal_again, unseal, check };
	struct ka_sentry_state then;

	open_guarded(&(struct tinyvm_options){ 0 });
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		look();
		changes[i]();
		then = state();
		cr_assert_not(then.stands, "change %zu", i);
		cr_assert_not(then.broken);
		wait_ms(5 * PERIOD_MS);
		cr_assert_eq(state().rounds, then.rounds, "change %zu", i);
		assert_ok(seal());
		assert_ok(stand(&t.ka, 1));
		cr_assert(goes_round(2), "after change %zu", i);
	}
}

/* Thousands of times, at every moment of a round. */
Test(sentry, is_relieved_in_the_middle_of_a_round)
{
	open_with_sentry(&(struct tinyvm_options){ .vcpus = 4 });
	for (unsigned int i = 0; i < 5000; i++) {
		assert_ok(ka_sentry_stand(sentry, &t.ka, 1, now_ns(), 20000, 0));
		for (volatile unsigned int j = 0; j < i * 7 % 4096; j++)
			;
		ka_sentry_relieve(sentry);
		cr_assert_not(state().broken, "the %u. time", i + 1);
		if (i % 16 == 0)
			assert_ok(seal());
	}
}

/* The timer's program, by which the kernel would go on; told by a process that has a sentry. */
static __u32 program_of_child(int fd)
{
	struct bpf_prog_info info = { 0 };
	__u32 size = sizeof(info), id = 0;

	cr_assert_eq(read(fd, &id, sizeof(id)), (ssize_t)sizeof(id), "it has no sentry");
	fd = bpf_prog_get_fd_by_id(id);
	cr_assert_geq(fd, 0);
	assert_ok(bpf_obj_get_info_by_fd(fd, &info, &size));
	close(fd);
	cr_assert_eq(strncmp(info.name, "stand_", 6), 0, "%s", info.name);
	return id;
}

static void child_run(int fd)
{
	struct bpf_prog_info info = { 0 };
	__u32 size = sizeof(info);

	open_guarded(&(struct tinyvm_options){ 0 });
	assert_ok(bpf_obj_get_info_by_fd(t.host->seals->stand_fd, &info, &size));
	cr_assert_eq(write(fd, &info.id, sizeof(info.id)), (ssize_t)sizeof(info.id));
	pause();
}

Test(sentry, ends_with_its_process_however_that_ends)
{
	int pipes[2], fd = 0;
	pid_t child;
	__u32 id;

	open_with_sentry(&(struct tinyvm_options){ 0 });
	support_close();
	assert_ok(pipe(pipes));
	child = fork();
	if (!child) {
		child_run(pipes[1]);
		_exit(0);
	}
	close(pipes[1]);
	id = program_of_child(pipes[0]);
	kill(child, SIGKILL);
	cr_assert_eq(waitpid(child, NULL, 0), child);
	for (int i = 0; i < 1000 && (fd = bpf_prog_get_fd_by_id(id)) >= 0; i++) {
		close(fd);
		wait_ms(10);
	}
	cr_assert_lt(fd, 0, "the timer's program is still there");
	close(pipes[0]);
}

Test(sentry, is_done_without)
{
	t.no_direct = true;
	support_open(&(struct tinyvm_options){ 0 }, 0);
	assert_rc(ka_sentry_new(t.host, &sentry), -EOPNOTSUPP);
}
