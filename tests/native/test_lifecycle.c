// SPDX-License-Identifier: LGPL-2.1-or-later
/* VMs that come, go and change under the reader; the library must hold nothing of them. */
#define _GNU_SOURCE
#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

enum { PAGE = 4096, ROUNDS = 200, KILLS = 30, DEADLINE_MS = 20000, SEEN_MAX = 4096, BATCH = 20 };

/* Of what is freed the sanitizer keeps up to 256 MiB, and it looks for leaks itself. */
#ifdef __SANITIZE_ADDRESS__
enum { GROWTH_KB = 256 * 1024 };
#else
enum { GROWTH_KB = 4096 };
#endif

/* ---- what was dispatched ---- */

struct seen {
	uint64_t key;
	pid_t pid;
	unsigned int appeared, gone;
};

static struct seen seen[SEEN_MAX];
static size_t seen_count;
static struct tinyvm batch[BATCH];

static void close_all(void)
{
	for (size_t i = 0; i < BATCH; i++)
		tinyvm_kill(&batch[i]);
	support_close();
}

TestSuite(lifecycle, .fini = close_all, .timeout = TEST_TIMEOUT_S);

static struct seen *seen_of(uint64_t key)
{
	for (size_t i = 0; i < seen_count; i++) {
		if (seen[i].key == key)
			return &seen[i];
	}
	cr_assert_lt(seen_count, SEEN_MAX);
	seen[seen_count].key = key;
	return &seen[seen_count++];
}

static void on_appeared(void *ctx, const struct ka_vm_info *info)
{
	struct seen *entry = seen_of(info->key);

	(void)ctx;
	entry->pid = info->pid;
	entry->appeared++;
	cr_assert_eq(entry->gone, 0, "a VM that was gone appeared again under its key");
	cr_assert(info->vcpus > 0 && info->memory_bytes > 0);
}

static void on_gone(void *ctx, uint64_t key)
{
	(void)ctx;
	seen_of(key)->gone++;
}

static const struct ka_host_events events = { .vm_appeared = on_appeared, .vm_gone = on_gone };

/* How many VMs of a process have appeared and, if asked, gone; each at most once. */
static unsigned int times_seen(pid_t pid, bool gone)
{
	unsigned int times = 0;

	for (size_t i = 0; i < seen_count; i++) {
		if (seen[i].pid != pid || !pid)
			continue;
		cr_assert_leq(seen[i].appeared, 1);
		cr_assert_leq(seen[i].gone, 1);
		times += gone ? seen[i].gone : seen[i].appeared;
	}
	return times;
}

static void dispatch_once(void)
{
	struct pollfd fd = { .fd = ka_host_fd(t.host), .events = POLLIN };

	poll(&fd, 1, 100);
	assert_ok(ka_host_dispatch(t.host, &events, NULL));
}

static void dispatch_until(pid_t pid, bool gone, unsigned int times)
{
	uint64_t deadline = support_now_ms() + DEADLINE_MS;

	while (times_seen(pid, gone) < times) {
		cr_assert_lt(support_now_ms(), deadline, "pid %d: %s %u times, not %u", pid,
			     gone ? "gone" : "appeared", times_seen(pid, gone), times);
		dispatch_once();
	}
	cr_assert_eq(times_seen(pid, gone), times);
}

static long resident_kb(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	long pages = 0;

	cr_assert_not_null(file);
	cr_assert_eq(fscanf(file, "%*d %ld", &pages), 1);
	fclose(file);
	return pages * 4;
}

/* ---- come and go ---- */

static void start_and_stop(void)
{
	pid_t pid;

	support_start(&(struct tinyvm_options){ 0 });
	pid = t.vm.pid;
	dispatch_until(pid, false, 1);
	t.ka = support_open_pid(pid, 0);
	assert_ok(ka_register_read(t.ka, 0, &t.registers));
	cr_assert_eq(times_seen(pid, true), 0);
	tinyvm_kill(&t.vm);
	dispatch_until(pid, true, 1);
	assert_rc(ka_register_read(t.ka, 0, &t.registers), -EOWNERDEAD);
	ka_close(t.ka);
	t.ka = NULL;
}

Test(lifecycle, two_hundred_starts_and_stops)
{
	size_t descriptors = 0;
	long resident = 0;

	support_host(false);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		start_and_stop();
		if (round != 20)
			continue;
		descriptors = descriptors_open();
		resident = resident_kb();
	}
	cr_assert(descriptors_end_at(descriptors));
	cr_assert_lt(resident_kb() - resident, GROWTH_KB, "%ld KiB more", resident_kb() - resident);
	for (size_t i = 0; i < seen_count; i++)
		cr_assert(seen[i].appeared <= 1 && seen[i].gone <= 1);
}

Test(lifecycle, dispatching_what_was_pushed_leaves_the_rest)
{
	struct pollfd fd = { .events = POLLIN };

	support_host(false);
	fd.fd = ka_host_fd(t.host);
	support_start(&(struct tinyvm_options){ 0 });
	assert_ok(ka_host_dispatch_pushed(t.host, &events, NULL));
	cr_assert_eq(times_seen(t.vm.pid, false), 0);
	cr_assert_eq(poll(&fd, 1, 0), 1);
	dispatch_until(t.vm.pid, false, 1);
}

/* The process lives on: only KVM can tell that its VM is gone. */
Test(lifecycle, vms_of_a_process_that_stays)
{
	support_host(false);
	support_start(&(struct tinyvm_options){ 0 });
	dispatch_until(t.vm.pid, false, 1);
	for (unsigned int round = 1; round <= 50; round++) {
		assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_DESTROY, NULL, 0, NULL));
		dispatch_until(t.vm.pid, true, round);
		assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_CREATE, NULL, 0, NULL));
		dispatch_until(t.vm.pid, false, round + 1);
	}
}

Test(lifecycle, many_at_once)
{
	pid_t pid[BATCH];

	support_host(false);
	for (unsigned int round = 0; round < 5; round++) {
		for (unsigned int i = 0; i < BATCH; i++) {
			assert_ok(tinyvm_start(&(struct tinyvm_options){ .vcpus = 2 }, &batch[i]));
			pid[i] = batch[i].pid;
		}
		for (unsigned int i = 0; i < BATCH; i++)
			dispatch_until(pid[i], false, 1);
		for (unsigned int i = 0; i < BATCH; i++)
			tinyvm_kill(&batch[i]);
		for (unsigned int i = 0; i < BATCH; i++)
			dispatch_until(pid[i], true, 1);
	}
}

Test(lifecycle, vm_that_was_there_before_appears_once)
{
	support_start(&(struct tinyvm_options){ .vms = 3 });
	support_host(false);
	dispatch_until(t.vm.pid, false, 3);
	for (unsigned int i = 0; i < 5; i++)
		dispatch_once();
	cr_assert_eq(times_seen(t.vm.pid, false), 3);
	cr_assert_eq(times_seen(t.vm.pid, true), 0);
}

/* Nobody looked while it lived: either both events or none. */
Test(lifecycle, vm_gone_before_the_first_look)
{
	pid_t pid;

	support_host(false);
	dispatch_once();
	for (unsigned int i = 0; i < 20; i++) {
		support_start(&(struct tinyvm_options){ 0 });
		pid = t.vm.pid;
		tinyvm_kill(&t.vm);
		dispatch_once();
		cr_assert_eq(times_seen(pid, false), times_seen(pid, true));
	}
	support_start(&(struct tinyvm_options){ 0 });
	dispatch_until(t.vm.pid, false, 1);
}

/* ---- killed while it is read ---- */

struct killer { pid_t pid; useconds_t after_us; };

static void *kill_later(void *arg)
{
	struct killer *killer = arg;
	struct timespec delay = { .tv_nsec = killer->after_us * 1000l };

	/* The one sleep that is meant: its length is what the test varies. */
	nanosleep(&delay, NULL);
	kill(killer->pid, SIGKILL);
	return NULL;
}

/* Reads all that there is until something fails; returns that error. */
static int read_until_error(enum tinyvm_mode mode)
{
	static uint8_t large[1 << 20];
	static struct ka_gate gates[KA_IDT_MAX];
	uint64_t deadline = support_now_ms() + DEADLINE_MS;
	struct ka_piece piece = { .paging = &t.paging, .buf = large, .len = 2 * PAGE,
				  .address = tinyvm_gva(mode, GUEST_IDT) };
	size_t count;
	int rc = 0;

	while (!rc) {
		cr_assert_lt(support_now_ms(), deadline, "reads go on after the VM was killed");
		rc = ka_gpa_read(t.ka, GUEST_SCRATCH, large, sizeof(large));
		if (!rc)
			rc = ka_readv(t.ka, &piece, 1);
		if (!rc)
			rc = piece.error;
		if (!rc)
			rc = ka_idt_read(t.ka, 0, gates, KA_IDT_MAX, &count);
		if (!rc)
			rc = ka_register_read(t.ka, 0, &t.registers);
	}
	return rc;
}

static void killed_while_read(enum tinyvm_backing backing)
{
	for (unsigned int i = 0; i < KILLS; i++) {
		struct killer killer = { .after_us = i * 333 };
		pthread_t thread;
		int rc;

		support_open(&(struct tinyvm_options){ .backing = backing }, 0);
		killer.pid = t.vm.pid;
		cr_assert_eq(pthread_create(&thread, NULL, kill_later, &killer), 0);
		rc = read_until_error(TINYVM_4LEVEL);
		pthread_join(thread, NULL);
		assert_rc(rc, -EOWNERDEAD);
		tinyvm_kill(&t.vm);
		assert_rc(ka_gpa_read(t.ka, GUEST_SCRATCH, &rc, sizeof(rc)), -EOWNERDEAD);
		assert_rc(ka_gva_read(t.ka, &t.paging, tinyvm_gva(TINYVM_4LEVEL, GUEST_IDT), &rc,
				      sizeof(rc)), -EOWNERDEAD);
		support_close();
	}
}

Test(lifecycle, killed_while_private_memory_is_read)
{
	killed_while_read(TINYVM_ANONYMOUS);
}

Test(lifecycle, killed_while_shared_memory_is_read)
{
	killed_while_read(TINYVM_MEMFD);
}

Test(lifecycle, write_to_a_killed_vm_is_eownerdead)
{
	support_open(&(struct tinyvm_options){ 0 }, KA_OPEN_WRITE);
	tinyvm_kill(&t.vm);
	assert_rc(ka_gpa_write(t.ka, GUEST_SCRATCH, "12345678", 8), -EOWNERDEAD);
}

/* A process that becomes another one keeps its pid, and has no VM any more. */
Test(lifecycle, destroyed_vm_in_a_living_process_is_eownerdead)
{
	struct ka_registers registers;
	uint64_t word;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_DESTROY, NULL, 0, NULL));
	assert_rc(ka_register_read(t.ka, 0, &registers), -EOWNERDEAD);
	assert_rc(ka_gpa_read(t.ka, GUEST_SCRATCH, &word, sizeof(word)), -EOWNERDEAD);
}

/*
 * The kernel may place a process's next VM where the last one was: same address, same process,
 * same number of memslot changes. It is another VM all the same.
 */
Test(lifecycle, next_vm_of_a_process_is_another_one)
{
	struct ka_registers registers;

	support_host(false);
	support_start(&(struct tinyvm_options){ 0 });
	dispatch_until(t.vm.pid, false, 1);
	for (unsigned int i = 1; i <= 50; i++) {
		t.ka = support_open_pid(t.vm.pid, 0);
		assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_DESTROY, NULL, 0, NULL));
		assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_CREATE, NULL, 0, NULL));
		dispatch_until(t.vm.pid, false, i + 1);
		dispatch_until(t.vm.pid, true, i);
		assert_rc(ka_register_read(t.ka, 0, &registers), -EOWNERDEAD);
		ka_close(t.ka);
		t.ka = NULL;
	}
}

/* Also for whoever reads before anything told of it. */
Test(lifecycle, next_vm_of_a_process_is_not_read_as_the_last_one)
{
	struct ka_registers registers;

	support_host(false);
	support_start(&(struct tinyvm_options){ 0 });
	for (unsigned int i = 1; i <= 50; i++) {
		t.ka = support_open_pid(t.vm.pid, 0);
		assert_ok(ka_register_read(t.ka, 0, &registers));
		assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_DESTROY, NULL, 0, NULL));
		assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_CREATE, NULL, 0, NULL));
		assert_rc(ka_register_read(t.ka, 0, &registers), -EOWNERDEAD);
		ka_close(t.ka);
		t.ka = NULL;
	}
}

/* What tells the two apart changes when a VMM sets the clock; the VM is the same. */
Test(lifecycle, vm_whose_clock_was_set_is_the_same_one)
{
	const uint64_t clock_ns = 1000000000;
	struct ka_registers registers;

	support_host(false);
	support_start(&(struct tinyvm_options){ 0 });
	dispatch_until(t.vm.pid, false, 1);
	t.ka = support_open_pid(t.vm.pid, 0);
	for (unsigned int i = 0; i < 3; i++) {
		assert_ok(ka_register_read(t.ka, 0, &registers));
		assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_SET_CLOCK, &clock_ns, 1, NULL));
		assert_ok(ka_register_read(t.ka, 0, &registers));
	}
	dispatch_once();
	cr_assert_eq(times_seen(t.vm.pid, false), 1);
	cr_assert_eq(times_seen(t.vm.pid, true), 0);
}

/* ---- a guest that changes what is read ---- */

/*
 * The kernel copies with REP MOVSB, whose unit is the byte: on an emulated host words come torn, on
 * a real one hardly ever. So each byte must be one of the two that the guest writes.
 */
static bool bytes_of_either(uint64_t got, uint64_t a, uint64_t b)
{
	for (unsigned int shift = 0; shift < 64; shift += 8) {
		uint8_t byte = got >> shift;

		if (byte != (uint8_t)(a >> shift) && byte != (uint8_t)(b >> shift))
			return false;
	}
	return true;
}

/*
 * At a deadline: has the guest stood still? Its own counter says so, in memory that is not read
 * through the library. Seen on an emulated host, where two spinning guests share two CPUs.
 */
static void skip_if_stalled(unsigned int vcpu)
{
	uint64_t count = tinyvm_mailbox(&t.vm, vcpu, MAILBOX_COUNT);
	uint64_t until = support_now_ms() + 1000;

	while (support_now_ms() < until)
		if (tinyvm_mailbox(&t.vm, vcpu, MAILBOX_COUNT) != count)
			return;
	cr_skip_test("this host's KVM did not run the vCPU for a second");
}

MODE_TEST(lifecycle, rewritten_gate_is_one_of_its_values)
{
	bool long_mode = tinyvm_mode_64bit(mode);
	unsigned int size = long_mode ? 16 : 8, other[2] = { 0, 0 };
	static struct ka_gate gates[KA_IDT_MAX];
	uint64_t deadline = support_now_ms() + DEADLINE_MS, entry = GUEST_IDT + 0x21 * size;
	unsigned int rounds = 0;
	uint64_t words[4];
	size_t count;

	support_open(&(struct tinyvm_options){ .mode = mode, .vcpus = 2 }, 0);
	words[0] = tinyvm_peek64(&t.vm, entry);
	words[1] = tinyvm_peek64(&t.vm, entry + 8);
	words[2] = words[0] ^ 0x6000000000f0;
	words[3] = words[1] ^ 0x0f;
	if (!long_mode) {
		words[3] = words[2] >> 32;
		words[2] &= 0xffffffff;
		words[1] = words[0] >> 32;
		words[0] &= 0xffffffff;
	}
	assert_ok(tinyvm_command(&t.vm, 1, GUEST_CMD_REWRITE,
				 (uint64_t[]){ gva(entry), words[0], words[1], words[2], words[3] },
				 5));
	assert_ok(tinyvm_wait_count(&t.vm, 1, 1));
	while (rounds < 3000 || !other[0] || other[0] == rounds) {
		uint64_t got[2];

		if (support_now_ms() >= deadline) {
			skip_if_stalled(1);
			cr_assert_fail("%u of %u reads saw the other value", other[0], rounds);
		}
		assert_ok(ka_idt_read(t.ka, 0, gates, KA_IDT_MAX, &count));
		cr_assert_eq(count, 256);
		got[0] = long_mode ? gates[0x21].raw[0] : gates[0x21].raw[0] & 0xffffffff;
		got[1] = long_mode ? gates[0x21].raw[1] : gates[0x21].raw[0] >> 32;
		for (unsigned int i = 0; i < 2; i++) {
			cr_assert(bytes_of_either(got[i], words[i], words[2 + i]));
			other[i] += got[i] == words[2 + i];
		}
		cr_assert_eq(gates[0x20].present, true);
		rounds++;
	}
	assert_ok(tinyvm_stop(&t.vm, 1));
}

/* Two page-table entries change all the time: their pages, or no page, but nothing else. */
Test(lifecycle, rewritten_page_tables_give_old_or_new)
{
	uint64_t a = (GUEST_SCRATCH) | 3, b = (GUEST_SCRATCH + PAGE) | 3, word;
	uint64_t deadline = support_now_ms() + DEADLINE_MS;
	unsigned int seen_a = 0, seen_b = 0, unmapped = 0;
	struct ka_piece piece = { .buf = &word, .len = sizeof(word) };

	support_open(&(struct tinyvm_options){ .vcpus = 2 }, 0);
	piece.paging = &t.paging;
	tinyvm_poke64(&t.vm, GUEST_SCRATCH, 'A');
	tinyvm_poke64(&t.vm, GUEST_SCRATCH + PAGE, 'B');
	assert_ok(tinyvm_command(&t.vm, 1, GUEST_CMD_REWRITE,
				 (uint64_t[]){ gva(GUEST_WINDOW_PT), a, 0, b, a }, 5));
	assert_ok(tinyvm_wait_count(&t.vm, 1, 1));
	for (unsigned int round = 0; round < 10000 || !seen_b || !unmapped; round++) {
		if (support_now_ms() >= deadline) {
			skip_if_stalled(1);
			cr_assert_fail("A %u, B %u, unmapped %u", seen_a, seen_b, unmapped);
		}
		piece.address = window_gva(round & 1);
		assert_ok(ka_readv(t.ka, &piece, 1));
		if (piece.error) {
			assert_rc(piece.error, -EFAULT);
			unmapped++;
			continue;
		}
		cr_assert(word == 'A' || word == 'B');
		/* Contents and place are of the same translation. */
		assert_hex(piece.gpa, word == 'A' ? GUEST_SCRATCH : GUEST_SCRATCH + PAGE);
		seen_a += word == 'A';
		seen_b += word == 'B';
	}
	cr_assert(seen_a);
	assert_ok(tinyvm_stop(&t.vm, 1));
}

/* ---- nothing is held ---- */

Test(lifecycle, close_leaves_a_running_vm_alone)
{
	uint64_t count;

	support_open(&(struct tinyvm_options){ .vcpus = 2 }, 0);
	assert_ok(tinyvm_command(&t.vm, 0, GUEST_CMD_SPIN, NULL, 0));
	for (unsigned int i = 0; i < 50; i++) {
		ka_close(t.ka);
		t.ka = NULL;
		t.ka = support_open_pid(t.vm.pid, 0);
		assert_ok(ka_register_read(t.ka, 0, &t.registers));
	}
	ka_close(t.ka);
	t.ka = NULL;
	ka_host_close(t.host);
	t.host = NULL;
	count = tinyvm_mailbox(&t.vm, 0, MAILBOX_COUNT);
	assert_ok(tinyvm_wait_count(&t.vm, 0, count + 100));
	assert_ok(tinyvm_stop(&t.vm, 0));
}

Test(lifecycle, two_handles_on_one_vm)
{
	struct ka_vm *second;
	uint64_t word;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	second = support_open_pid(t.vm.pid, KA_OPEN_WRITE);
	assert_ok(ka_gpa_write(second, GUEST_SCRATCH, "12345678", 8));
	assert_rc(ka_gpa_write(t.ka, GUEST_SCRATCH, "12345678", 8), -EPERM);
	ka_close(second);
	assert_ok(ka_gpa_read(t.ka, GUEST_SCRATCH, &word, sizeof(word)));
	cr_assert_arr_eq(&word, "12345678", 8);
	assert_ok(ka_register_read(t.ka, 0, &t.registers));
}

static int uevent_socket(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

	cr_assert_geq(fd, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static bool uevent_is_destroy(const char *message, ssize_t len, pid_t pid)
{
	bool destroy = false, ours = false;
	char wanted[24];

	snprintf(wanted, sizeof(wanted), "PID=%d", pid);
	for (const char *line = message; line < message + len; line += strlen(line) + 1) {
		destroy |= !strcmp(line, "EVENT=destroy");
		ours |= !strcmp(line, wanted);
	}
	return destroy && ours;
}

/* KVM says "destroy" when the last reference is gone. */
static bool wait_destroyed(int fd, pid_t pid)
{
	uint64_t deadline = support_now_ms() + DEADLINE_MS;
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	char message[4096];

	while (support_now_ms() < deadline) {
		ssize_t len;

		if (poll(&poll_fd, 1, 100) <= 0)
			continue;
		len = recv(fd, message, sizeof(message) - 1, 0);
		if (len <= 0)
			continue;
		message[len] = '\0';
		if (uevent_is_destroy(message, len, pid))
			return true;
	}
	return false;
}

static bool maps_guest_memory(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	char line[512];
	bool found = false;

	cr_assert_not_null(file);
	while (fgets(line, sizeof(line), file))
		found |= strstr(line, "tinyvm-ram") || strstr(line, "kvm-");
	fclose(file);
	return found;
}

static void never_keeps_it_alive(enum tinyvm_backing backing)
{
	int fd = uevent_socket();
	uint8_t buf[PAGE];
	pid_t pid;

	support_open(&(struct tinyvm_options){ .vcpus = 2, .backing = backing }, KA_OPEN_WRITE);
	dispatch_until(t.vm.pid, false, 1);
	assert_ok(ka_gpa_read(t.ka, GUEST_SCRATCH, buf, sizeof(buf)));
	assert_ok(ka_gpa_write(t.ka, GUEST_SCRATCH, buf, sizeof(buf)));
	cr_assert_eq(descriptors_of_kvm(), 0);
	pid = t.vm.pid;
	tinyvm_kill(&t.vm);
	cr_assert(wait_destroyed(fd, pid), "the VM outlives its VMM");
	dispatch_until(pid, true, 1);
	cr_assert_eq(descriptors_of_kvm(), 0);
	ka_close(t.ka);
	t.ka = NULL;
	cr_assert_not(maps_guest_memory());
	close(fd);
}

Test(lifecycle, never_keeps_a_vm_alive)
{
	never_keeps_it_alive(TINYVM_ANONYMOUS);
}

Test(lifecycle, never_keeps_a_vm_with_shared_memory_alive)
{
	never_keeps_it_alive(TINYVM_MEMFD);
}

Test(lifecycle, host_leaves_nothing_open)
{
	size_t before;

	support_start(&(struct tinyvm_options){ 0 });
	support_host(true);
	ka_host_close(t.host);
	before = descriptors_open();
	for (unsigned int i = 0; i < 10; i++) {
		support_host(true);
		t.ka = support_open_pid(t.vm.pid, 0);
		assert_ok(ka_register_read(t.ka, 0, &t.registers));
		ka_close(t.ka);
		ka_host_close(t.host);
	}
	t.ka = NULL;
	t.host = NULL;
	cr_assert(descriptors_end_at(before));
}
