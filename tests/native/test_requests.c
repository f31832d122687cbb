// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The request queue: results by id, deadlines, ends. With the module kvmbpf_helper a vCPU serves
 * them, without it the library.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

TestSuite(requests, .fini = support_close, .timeout = TEST_TIMEOUT_S);

enum { PAGE = 4096, WORDS = 512, PATIENCE_MS = 60000 };

static uint8_t copy[16 * PAGE], buf[16 * PAGE];

static bool has_module(void)
{
	return access("/sys/kernel/btf/kvmbpf_helper", F_OK) == 0;
}

static void need_module(void)
{
	if (!has_module())
		cr_skip_test("the module kvmbpf_helper is not loaded");
}

static uint64_t submit(const struct ka_request *request)
{
	uint64_t id = 0;

	assert_ok(ka_submit(t.ka, request, &id));
	return id;
}

static struct ka_request gpa_request(uint64_t gpa, void *to, size_t len)
{
	return (struct ka_request){ .kind = KA_REQUEST_GPA, .vcpu = KA_ANY_VCPU, .address = gpa,
				    .buf = to, .len = len };
}

static uint64_t submit_gpa(uint64_t gpa, void *to, size_t len)
{
	struct ka_request request = gpa_request(gpa, to, len);

	return submit(&request);
}

static int get(uint64_t id, struct ka_result *ret_result)
{
	return ka_finish_get(t.ka, id, -1, ret_result);
}

static int submit_and_get(const struct ka_request *request, struct ka_result *ret_result)
{
	return get(submit(request), ret_result);
}

/* ---- what is read ---- */

MODE_TEST(requests, memory_is_read_in_every_address_space)
{
	struct ka_result result;
	struct ka_request request;

	support_open(&(struct tinyvm_options){ .mode = mode }, 0);
	pattern_poke(GUEST_SCRATCH, copy, PAGE, 1);
	request = gpa_request(GUEST_SCRATCH, buf, PAGE);
	assert_ok(submit_and_get(&request, &result));
	cr_assert_eq(result.len, PAGE);
	cr_assert_arr_eq(buf, copy, PAGE);
	request.kind = KA_REQUEST_GVA;
	request.address = gva(GUEST_SCRATCH) + 5;
	request.len = 100;
	request.paging = &t.paging;
	assert_ok(submit_and_get(&request, &result));
	cr_assert_arr_eq(buf, copy + 5, 100);
	request.paging = NULL;
	memset(buf, 0, sizeof(buf));
	assert_ok(submit_and_get(&request, &result));
	cr_assert_arr_eq(buf, copy + 5, 100);
}

Test(requests, long_read_comes_whole)
{
	struct ka_result result;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	pattern_poke(GUEST_SCRATCH, copy, sizeof(copy), 2);
	assert_ok(get(submit_gpa(GUEST_SCRATCH + 1, buf, sizeof(buf) - 1), &result));
	cr_assert_eq(result.len, sizeof(buf) - 1);
	cr_assert_arr_eq(buf, copy + 1, sizeof(buf) - 1);
}

WIDTH_TEST(requests, registers_are_the_guests)
{
	struct ka_request request = { .kind = KA_REQUEST_REGISTERS, .vcpu = 1 };
	struct tinyvm_registers expected;
	struct ka_result result;

	support_open(&(struct tinyvm_options){ .mode = mode, .vcpus = 2 }, 0);
	assert_ok(submit_and_get(&request, &result));
	assert_ok(tinyvm_registers(&t.vm, 1, &expected));
	cr_assert_eq(result.vcpu, 1);
	cr_assert_eq(result.registers.vcpu, 1);
	assert_hex(result.registers.cr3, expected.sregs.cr3);
	assert_hex(result.registers.gdtr.base, expected.sregs.gdt.base);
	assert_hex(result.registers.gpr[KA_RDI], expected.regs.rdi);
}

static void expect_table(enum ka_request_kind kind, const struct ka_table_register *table)
{
	struct ka_request request = { .kind = kind, .vcpu = KA_ANY_VCPU, .buf = buf, .len = PAGE };
	size_t len = (size_t)table->limit + 1;
	struct ka_result result;

	assert_ok(submit_and_get(&request, &result));
	cr_assert_eq(result.len, len < PAGE ? len : PAGE);
	assert_ok(ka_gva_read(t.ka, &t.paging, table->base, copy, result.len));
	cr_assert_arr_eq(buf, copy, result.len);
	assert_hex(kind == KA_REQUEST_GDT ? result.registers.gdtr.base :
					    result.registers.idtr.base, table->base);
	request.len = 24;
	assert_ok(submit_and_get(&request, &result));
	cr_assert_eq(result.len, 24);
}

WIDTH_TEST(requests, tables_come_with_their_registers)
{
	support_open(&(struct tinyvm_options){ .mode = mode }, 0);
	expect_table(KA_REQUEST_GDT, &t.registers.gdtr);
	expect_table(KA_REQUEST_IDT, &t.registers.idtr);
}

/* ---- what is refused ---- */

Test(requests, what_cannot_be_is_refused)
{
	struct ka_request request;
	uint64_t id = 7;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	request = gpa_request(0, buf, 0);
	assert_rc(ka_submit(t.ka, &request, &id), -EINVAL);
	request = gpa_request(0, NULL, 8);
	assert_rc(ka_submit(t.ka, &request, &id), -EINVAL);
	request = gpa_request(0, buf, KA_REQUEST_LEN_MAX + 1);
	assert_rc(ka_submit(t.ka, &request, &id), -EINVAL);
	/* Its parts could come from different address spaces. */
	request = gpa_request(0, buf, PAGE + 1);
	request.kind = KA_REQUEST_GVA;
	assert_rc(ka_submit(t.ka, &request, &id), -EINVAL);
	request.kind = KA_REQUEST_IDT + 1;
	assert_rc(ka_submit(t.ka, &request, &id), -EINVAL);
	request = gpa_request(0, buf, 8);
	request.vcpu = 99;
	assert_rc(ka_submit(t.ka, &request, &id), -ESRCH);
	request.vcpu = -2;
	assert_rc(ka_submit(t.ka, &request, &id), -EINVAL);
	cr_assert_eq(id, 7);
}

Test(requests, errors_are_those_of_reading)
{
	struct ka_result result = { .len = 7 };
	struct ka_request request;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	assert_rc(get(submit_gpa(GUEST_MEMORY_MIN, buf, 8), &result), -ENXIO);
	assert_rc(get(submit_gpa(GUEST_MEMORY_MIN - 4 * PAGE, buf, 5 * PAGE), &result), -ENXIO);
	request = gpa_request(window_gva(3), buf, 8);
	request.kind = KA_REQUEST_GVA;
	request.paging = &t.paging;
	assert_rc(submit_and_get(&request, &result), -EFAULT);
	request.address = 1ULL << 62;
	assert_rc(submit_and_get(&request, &result), -EINVAL);
	cr_assert_eq(result.len, 7);
}

/* ---- ids and bounds ---- */

Test(requests, id_is_taken_once_and_only_by_its_handle)
{
	struct ka_result result;
	struct ka_vm *other;
	uint64_t id;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	assert_rc(get(1, &result), -ENOENT);
	id = submit_gpa(0, buf, 8);
	other = support_open_pid(t.vm.pid, 0);
	assert_rc(ka_finish_get(other, id, 0, &result), -ENOENT);
	ka_close(other);
	assert_ok(get(id, &result));
	cr_assert_eq(result.id, id);
	assert_rc(get(id, &result), -ENOENT);
	cr_assert_gt(submit_gpa(0, buf, 8), id);
}

static uint64_t ids[KA_REQUESTS_MAX];
static uint64_t words[KA_REQUESTS_MAX];

static uint64_t word_gpa(size_t index)
{
	return GUEST_SCRATCH + index % WORDS * 8;
}

/* As many as there can be, each of a word of its own (of WORDS). */
static void fill(unsigned int deadline_ms)
{
	for (size_t i = 0; i < KA_REQUESTS_MAX; i++) {
		struct ka_request request = gpa_request(word_gpa(i), &words[i], 8);

		request.deadline_ms = deadline_ms;
		ids[i] = submit(&request);
		cr_assert(!i || ids[i] > ids[i - 1]);
	}
}

Test(requests, thousands_in_flight_are_taken_in_any_order)
{
	struct ka_request one_more = gpa_request(0, buf, 8);
	struct ka_result result;
	uint64_t id;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	for (size_t i = 0; i < WORDS; i++)
		tinyvm_poke64(&t.vm, word_gpa(i), i + 1);
	fill(0);
	assert_rc(ka_submit(t.ka, &one_more, &id), -ENOBUFS);
	for (size_t i = 0; i < KA_REQUESTS_MAX; i++) {
		/* An odd step meets each of a power of two once. */
		size_t at = i * 4099 % KA_REQUESTS_MAX;

		assert_ok(get(ids[at], &result));
		cr_assert_eq(result.id, ids[at]);
		assert_hex(words[at], at % WORDS + 1);
	}
	id = submit(&one_more);
	cr_assert_gt(id, ids[KA_REQUESTS_MAX - 1]);
	assert_ok(get(id, &result));
}

/* ---- ends ---- */

/* All end with the VM, and none of them makes the caller wait for its deadline. */
static void expect_all_dead(void)
{
	uint64_t start = support_now_ms();
	struct ka_result result;

	for (size_t i = 0; i < KA_REQUESTS_MAX; i++)
		assert_rc(get(ids[i], &result), -EOWNERDEAD);
	cr_assert_lt(support_now_ms() - start, PATIENCE_MS / 2);
}

Test(requests, all_fail_when_the_vmm_is_killed)
{
	struct ka_request request = gpa_request(0, buf, 8);
	uint64_t id;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	fill(PATIENCE_MS);
	tinyvm_kill(&t.vm);
	expect_all_dead();
	assert_rc(ka_submit(t.ka, &request, &id), -EOWNERDEAD);
}

Test(requests, all_fail_when_the_vm_is_destroyed)
{
	support_open(&(struct tinyvm_options){ 0 }, 0);
	fill(1);
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_DESTROY, NULL, 0, NULL));
	expect_all_dead();
}

Test(requests, closing_drops_what_is_in_flight)
{
	size_t before;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	assert_ok(get(submit_gpa(0, buf, 8), &(struct ka_result){ 0 }));
	ka_close(t.ka);
	before = descriptors_open();
	for (unsigned int i = 0; i < 3; i++) {
		t.ka = support_open_pid(t.vm.pid, 0);
		fill(PATIENCE_MS);
		ka_close(t.ka);
	}
	t.ka = support_open_pid(t.vm.pid, 0);
	assert_ok(get(submit_gpa(0, buf, 8), &(struct ka_result){ 0 }));
	ka_close(t.ka);
	t.ka = NULL;
	cr_assert(descriptors_end_at(before));
}

/* ---- who serves ---- */

Test(requests, without_the_module_nothing_waits)
{
	struct ka_request request = gpa_request(GUEST_SCRATCH, buf, 8);
	struct ka_result result;

	if (has_module())
		cr_skip_test("the module kvmbpf_helper is loaded");
	support_open(&(struct tinyvm_options){ 0 }, 0);
	request.deadline_ms = PATIENCE_MS;
	assert_ok(ka_finish_get(t.ka, submit(&request), 0, &result));
	cr_assert_eq(result.served, KA_SERVED_PROCESS);
	cr_assert_eq(result.vcpu, KA_ANY_VCPU);
	cr_assert_str_eq(ka_served_name(result.served), "process");
}

static void start_spinning(unsigned int vcpus)
{
	support_start(&(struct tinyvm_options){ .vcpus = vcpus });
	for (unsigned int i = 0; i < vcpus; i++) {
		assert_ok(tinyvm_command(&t.vm, i, GUEST_CMD_SPIN, NULL, 0));
		assert_ok(tinyvm_wait_count(&t.vm, i, 1));
	}
	support_host(false);
	t.ka = support_open_pid(t.vm.pid, 0);
}

Test(requests, paused_guest_is_served_at_the_deadline)
{
	struct ka_request request = gpa_request(GUEST_SCRATCH, buf, 8);
	struct ka_result result;
	uint64_t start, id;

	need_module();
	start_spinning(1);
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_PAUSE, NULL, 0, NULL));
	request.deadline_ms = 2000;
	start = support_now_ms();
	id = submit(&request);
	assert_rc(ka_finish_get(t.ka, id, 0, &result), -ETIMEDOUT);
	assert_rc(ka_finish_get(t.ka, id, 50, &result), -ETIMEDOUT);
	assert_ok(get(id, &result));
	cr_assert_geq(support_now_ms() - start, 1999);
	cr_assert_eq(result.served, KA_SERVED_PROCESS);
}

/* The VMM's own look at a vCPU loads it, and that is enough. */
Test(requests, loading_a_vcpu_serves)
{
	struct ka_request request = gpa_request(GUEST_SCRATCH, buf, PAGE);
	struct tinyvm_registers registers;
	struct ka_result result;
	uint64_t id;

	need_module();
	start_spinning(1);
	pattern_poke(GUEST_SCRATCH, copy, PAGE, 4);
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_PAUSE, NULL, 0, NULL));
	request.deadline_ms = PATIENCE_MS;
	id = submit(&request);
	assert_rc(ka_finish_get(t.ka, id, 0, &result), -ETIMEDOUT);
	assert_ok(tinyvm_registers(&t.vm, 0, &registers));
	assert_ok(get(id, &result));
	cr_assert_str_eq(ka_served_name(result.served), "vcpu_load");
	cr_assert_arr_eq(buf, copy, PAGE);
}

/* More than a queue holds, and all of them stale when the guest runs on. */
Test(requests, guest_that_runs_on_serves_what_is_new)
{
	struct ka_request request = gpa_request(GUEST_SCRATCH, buf, 8);
	struct ka_result result;

	need_module();
	start_spinning(1);
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_PAUSE, NULL, 0, NULL));
	fill(1);
	for (size_t i = 0; i < KA_REQUESTS_MAX; i++) {
		assert_ok(get(ids[i], &result));
		cr_assert_eq(result.served, KA_SERVED_PROCESS);
	}
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_RESUME, NULL, 0, NULL));
	request.deadline_ms = PATIENCE_MS;
	for (unsigned int i = 0; i < 2; i++) {
		assert_ok(submit_and_get(&request, &result));
		/* The first one may have met a queue that was still full. */
		assert_ok(tinyvm_wait_count(&t.vm, 0, tinyvm_mailbox(&t.vm, 0, MAILBOX_COUNT) + 1));
	}
	cr_assert_neq(result.served, KA_SERVED_PROCESS);
	assert_ok(tinyvm_stop(&t.vm, 0));
}

static uint64_t spin_count(unsigned int vcpu)
{
	return tinyvm_mailbox(&t.vm, vcpu, MAILBOX_COUNT);
}

/* A counter that the guest raises: what a vCPU reads lies between what was there before and after,
 * and later moments show later values. */
Test(requests, running_vcpu_serves_what_is_there_at_that_moment)
{
	struct ka_request request = gpa_request(GUEST_MAILBOX + MAILBOX_COUNT, words, 8);
	uint64_t last_time = 0, last_count = 0;
	struct ka_result result;

	need_module();
	start_spinning(1);
	request.deadline_ms = PATIENCE_MS;
	for (unsigned int i = 0; i < 200; i++) {
		uint64_t before = spin_count(0);

		assert_ok(submit_and_get(&request, &result));
		cr_assert_neq(result.served, KA_SERVED_PROCESS);
		cr_assert_eq(result.vcpu, 0);
		cr_assert_geq(words[0], before);
		cr_assert_leq(words[0], spin_count(0));
		cr_assert_gt(result.time_ns, last_time);
		cr_assert_geq(words[0], last_count);
		last_time = result.time_ns;
		last_count = words[0];
	}
	assert_ok(tinyvm_stop(&t.vm, 0));
}

static struct ka_result results[KA_REQUESTS_MAX];

/* At an exit at most four are served, so results of one vCPU's moments stand in small groups. */
Test(requests, an_exit_serves_a_bounded_number)
{
	struct ka_counters counters;
	uint64_t exits, loads;
	size_t at_exits = 0;

	need_module();
	support_start(&(struct tinyvm_options){ 0 });
	support_host(true);
	t.ka = support_open_pid(t.vm.pid, 0);
	assert_ok(tinyvm_command(&t.vm, 0, GUEST_CMD_TOGGLE_WP, (uint64_t[]){ 1 << 30 }, 1));
	assert_ok(ka_host_counters(t.host, &counters));
	exits = counters.exits;
	loads = counters.loads;
	fill(PATIENCE_MS);
	for (size_t i = 0; i < KA_REQUESTS_MAX; i++) {
		assert_ok(get(ids[i], &results[i]));
		at_exits += results[i].served == KA_SERVED_VMEXIT;
	}
	assert_ok(ka_host_counters(t.host, &counters));
	cr_assert_gt(at_exits, 0);
	cr_assert_eq(counters.results_lost, 0);
	cr_assert_leq(at_exits, 4 * (counters.exits - exits), "%zu at %lu exits, %lu loads", at_exits,
		      (unsigned long)(counters.exits - exits),
		      (unsigned long)(counters.loads - loads));
}

Test(requests, chosen_vcpu_serves)
{
	struct ka_request request = { .kind = KA_REQUEST_REGISTERS, .deadline_ms = PATIENCE_MS };
	struct ka_result result;

	need_module();
	start_spinning(2);
	for (unsigned int i = 0; i < 40; i++) {
		request.vcpu = i % 2;
		assert_ok(submit_and_get(&request, &result));
		cr_assert_eq(result.vcpu, request.vcpu);
		cr_assert_eq(result.registers.vcpu, i % 2);
		cr_assert_neq(result.served, KA_SERVED_PROCESS);
		/* In its loop, with its own mailbox. */
		cr_assert_geq(result.registers.rip, gva(GUEST_TEXT));
		cr_assert_lt(result.registers.rip, gva(GUEST_TEXT) + GUEST_TEXT_SIZE);
		assert_hex(result.registers.gpr[KA_RDI],
			   gva(GUEST_MAILBOX + i % 2 * GUEST_STRIDE));
	}
	for (unsigned int i = 0; i < 2; i++)
		assert_ok(tinyvm_stop(&t.vm, i));
}

/* Not in the VMM's page tables: a vCPU must not wait for it, so the library reads it, at once. */
Test(requests, page_that_is_away_goes_to_process_context)
{
	struct ka_request request = gpa_request(GUEST_SCRATCH, buf, PAGE);
	uint64_t away[] = { GUEST_SCRATCH, PAGE, MADV_DONTNEED };
	struct ka_result result;

	need_module();
	support_open(&(struct tinyvm_options){ .backing = TINYVM_MEMFD }, 0);
	assert_ok(tinyvm_command(&t.vm, 0, GUEST_CMD_SPIN, NULL, 0));
	pattern_poke(GUEST_SCRATCH, copy, PAGE, 3);
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_MADVISE, away, 3, NULL));
	request.deadline_ms = PATIENCE_MS;
	assert_ok(submit_and_get(&request, &result));
	cr_assert_eq(result.served, KA_SERVED_PROCESS);
	cr_assert_arr_eq(buf, copy, PAGE);
	/* It is there again. */
	assert_ok(submit_and_get(&request, &result));
	cr_assert_neq(result.served, KA_SERVED_PROCESS);
	cr_assert_arr_eq(buf, copy, PAGE);
	assert_ok(tinyvm_stop(&t.vm, 0));
}

Test(requests, two_hosts_do_not_take_each_others_results)
{
	struct ka_request request = gpa_request(GUEST_SCRATCH, NULL, 8);
	struct ka_host *first_host = NULL;
	struct ka_vm *first = NULL;
	uint64_t word[2], id[2];
	struct ka_result result;

	start_spinning(1);
	tinyvm_poke64(&t.vm, GUEST_SCRATCH, 11);
	first_host = t.host;
	first = t.ka;
	support_host(false);
	t.ka = support_open_pid(t.vm.pid, 0);
	for (unsigned int i = 0; i < 100; i++) {
		request.buf = &word[0];
		assert_ok(ka_submit(first, &request, &id[0]));
		request.buf = &word[1];
		assert_ok(ka_submit(t.ka, &request, &id[1]));
		word[0] = word[1] = 0;
		assert_ok(get(id[1], &result));
		cr_assert_eq(word[1], 11);
		cr_assert_eq(word[0], 0);
		assert_ok(ka_finish_get(first, id[0], -1, &result));
		cr_assert_eq(word[0], 11);
	}
	ka_close(first);
	ka_host_close(first_host);
	assert_ok(get(submit_gpa(GUEST_SCRATCH, word, 8), &result));
	assert_ok(tinyvm_stop(&t.vm, 0));
}

static long module_users(void)
{
	FILE *file = fopen("/sys/module/kvmbpf_helper/refcnt", "re");
	long users = -1;

	if (file && fscanf(file, "%ld", &users) != 1)
		users = -1;
	if (file)
		fclose(file);
	return users;
}

/* Other tests may use it meanwhile. */
static void expect_module_users(long most)
{
	uint64_t deadline = support_now_ms() + PATIENCE_MS;

	while (module_users() > most && support_now_ms() < deadline)
		poll(NULL, 0, 10);
	cr_assert_leq(module_users(), most);
}

/* Whatever was asked for and not taken, the module and the VM are let go. */
Test(requests, nothing_is_held_once_the_host_is_closed)
{
	long before;

	need_module();
	before = module_users();
	start_spinning(1);
	fill(PATIENCE_MS);
	cr_assert_gt(module_users(), before);
	ka_close(t.ka);
	t.ka = NULL;
	ka_host_close(t.host);
	t.host = NULL;
	expect_module_users(before);
	assert_ok(tinyvm_stop(&t.vm, 0));
}

/* Says so with a byte, and waits to be killed. */
static void request_and_wait(int told)
{
	struct ka_request request = gpa_request(GUEST_SCRATCH, buf, 8);
	uint64_t id;

	request.deadline_ms = PATIENCE_MS;
	support_host(false);
	t.ka = support_open_pid(t.vm.pid, 0);
	if (!ka_submit(t.ka, &request, &id) && write(told, "", 1) == 1)
		pause();
	_exit(1);
}

Test(requests, nothing_is_held_once_its_user_is_killed)
{
	long before;
	int told[2];
	pid_t user;
	char byte;

	need_module();
	before = module_users();
	support_start(&(struct tinyvm_options){ 0 });
	cr_assert_eq(pipe2(told, O_CLOEXEC), 0);
	user = fork();
	if (!user)
		request_and_wait(told[1]);
	close(told[1]);
	cr_assert_eq(read(told[0], &byte, 1), 1);
	cr_assert_gt(module_users(), before);
	kill(user, SIGKILL);
	cr_assert_eq(waitpid(user, NULL, 0), user);
	expect_module_users(before);
	close(told[0]);
}
