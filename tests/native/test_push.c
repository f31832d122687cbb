// SPDX-License-Identifier: LGPL-2.1-or-later
/* Changes pushed from KVM's exits: each once, in order, also those shorter than any poll. */
#define _GNU_SOURCE
#include <poll.h>
#include <string.h>

#include "support.h"

enum { TOGGLES = 500, CHANGES_MAX = 8192, DEADLINE_MS = 20000, CR0_WP = 1 << 16,
       MSR_LSTAR = 0xc0000082, MSR_CSTAR = 0xc0000083, CR4_TSD = 1 << 2, CR4_PGE = 1 << 7 };

struct change {
	unsigned int vcpu;
	uint32_t changed;
	uint64_t cr0, cr4, lstar;
	struct ka_table_register gdtr, idtr;
};

static struct change changes[CHANGES_MAX];
static size_t change_count;
static uint64_t lost;

TestSuite(push, .fini = support_close, .timeout = TEST_TIMEOUT_S);

static void on_changed(void *ctx, uint64_t key, const struct ka_registers *registers,
		       uint32_t changed)
{
	(void)ctx;
	cr_assert_eq(key, ka_vm_info(t.ka)->key);
	cr_assert_lt(change_count, CHANGES_MAX);
	changes[change_count++] = (struct change){
		.vcpu = registers->vcpu, .changed = changed, .cr0 = registers->cr0,
		.cr4 = registers->cr4, .lstar = registers->lstar, .gdtr = registers->gdtr,
		.idtr = registers->idtr };
}

static void on_lost(void *ctx, uint64_t key, uint64_t count)
{
	(void)ctx;
	cr_assert(!key || key == ka_vm_info(t.ka)->key);
	lost += count;
}

static void dispatch(int timeout_ms)
{
	static const struct ka_host_events events = { .registers_changed = on_changed,
						      .changes_lost = on_lost };
	struct pollfd fd = { .fd = ka_host_fd(t.host), .events = POLLIN };

	poll(&fd, 1, timeout_ms);
	assert_ok(ka_host_dispatch(t.host, &events, NULL));
}

static enum ka_feature_state feature(const char *name)
{
	const struct ka_probe *probe = ka_host_features(t.host);

	for (size_t i = 0; i < probe->count; i++) {
		if (!strcmp(probe->feature[i].name, name))
			return probe->feature[i].state;
	}
	return KA_FEATURE_OFF;
}

static void settle(void)
{
	size_t before;

	/* Until two rounds bring nothing new; the first state of each vCPU comes by itself. */
	do {
		before = change_count;
		dispatch(200);
		dispatch(200);
	} while (change_count != before);
	change_count = 0;
}

static void open_pushed(const struct tinyvm_options *options)
{
	support_start(options);
	support_host(true);
	if (ka_host_features(t.host)->vendor == KA_VENDOR_PVM)
		cr_skip_test("PVM emulates these guests without any exit");
	cr_assert_neq(feature("push_exit"), KA_FEATURE_OFF);
	t.ka = support_open_pid(t.vm.pid, 0);
	assert_ok(ka_register_read(t.ka, 0, &t.registers));
	for (unsigned int i = 0; i < t.vm.options.vcpus; i++)
		assert_ok(tinyvm_do(&t.vm, i, GUEST_CMD_LOAD, gva(GUEST_SCRATCH), 0));
	settle();
}

static size_t count_of(unsigned int vcpu, uint32_t changed)
{
	size_t count = 0;

	for (size_t i = 0; i < change_count; i++)
		count += changes[i].vcpu == vcpu && changes[i].changed & changed;
	return count;
}

static void dispatch_until(unsigned int vcpu, uint32_t changed, size_t count)
{
	uint64_t deadline = support_now_ms() + DEADLINE_MS;

	while (count_of(vcpu, changed) < count) {
		cr_assert_lt(support_now_ms(), deadline, "%zu of %zu changes, %lu lost",
			     count_of(vcpu, changed), count, (unsigned long)lost);
		dispatch(100);
	}
}

/* Clear, set, clear, set … and each of them once. */
static void expect_toggles(unsigned int vcpu, size_t toggles)
{
	bool wp = true;
	size_t count = 0;

	for (size_t i = 0; i < change_count; i++) {
		if (changes[i].vcpu != vcpu || !(changes[i].changed & KA_CHANGED_CR0))
			continue;
		wp = !wp;
		cr_assert_eq(!!(changes[i].cr0 & CR0_WP), wp, "vCPU %u, change %zu", vcpu, count);
		count++;
	}
	cr_assert_eq(count, 2 * toggles);
}

MODE_TEST(push, each_wp_toggle_is_delivered_once_in_order)
{
	open_pushed(&(struct tinyvm_options){ .mode = mode });
	assert_ok(tinyvm_command(&t.vm, 0, GUEST_CMD_TOGGLE_WP, (uint64_t[]){ TOGGLES }, 1));
	dispatch_until(0, KA_CHANGED_CR0, 2 * TOGGLES);
	assert_ok(tinyvm_wait(&t.vm, 0));
	dispatch(200);
	expect_toggles(0, TOGGLES);
	cr_assert_eq(lost, 0);
}

Test(push, wp_toggles_of_two_vcpus_are_told_apart)
{
	open_pushed(&(struct tinyvm_options){ .vcpus = 2 });
	for (unsigned int i = 0; i < 2; i++)
		assert_ok(tinyvm_command(&t.vm, i, GUEST_CMD_TOGGLE_WP, (uint64_t[]){ TOGGLES }, 1));
	for (unsigned int i = 0; i < 2; i++)
		dispatch_until(i, KA_CHANGED_CR0, 2 * TOGGLES);
	dispatch(200);
	for (unsigned int i = 0; i < 2; i++)
		expect_toggles(i, TOGGLES);
	cr_assert_eq(lost, 0);
}

static const struct change *last_of(uint32_t changed)
{
	const struct change *last = NULL;

	for (size_t i = 0; i < change_count; i++) {
		if (changes[i].changed & changed)
			last = &changes[i];
	}
	return last;
}

MODE_TEST(push, another_table_is_delivered)
{
	open_pushed(&(struct tinyvm_options){ .mode = mode });
	tinyvm_poke64(&t.vm, GUEST_POINTERS, 0x7f | gva(GUEST_IDT_OTHER) << 16);
	tinyvm_poke64(&t.vm, GUEST_POINTERS + 8, gva(GUEST_IDT_OTHER) >> 48);
	tinyvm_poke64(&t.vm, GUEST_POINTERS + 16, 0x7f | gva(GUEST_GDT_OTHER) << 16);
	tinyvm_poke64(&t.vm, GUEST_POINTERS + 24, gva(GUEST_GDT_OTHER) >> 48);
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_LIDT, gva(GUEST_POINTERS), 0));
	dispatch_until(0, KA_CHANGED_IDTR, 1);
	assert_hex(last_of(KA_CHANGED_IDTR)->idtr.base, gva(GUEST_IDT_OTHER));
	assert_hex(last_of(KA_CHANGED_IDTR)->idtr.limit, 0x7f);
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_LGDT, gva(GUEST_POINTERS + 16), 0));
	dispatch_until(0, KA_CHANGED_GDTR, 1);
	assert_hex(last_of(KA_CHANGED_GDTR)->gdtr.base, gva(GUEST_GDT_OTHER));
	cr_assert_eq(count_of(0, KA_CHANGED_IDTR), 1);
	cr_assert_eq(count_of(0, KA_CHANGED_GDTR), 1);
	cr_assert_eq(count_of(0, KA_CHANGED_CR0), 0);
}

Test(push, msrs_and_cr4_are_delivered)
{
	open_pushed(&(struct tinyvm_options){ 0 });
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_WRMSR, MSR_CSTAR, gva(GUEST_TEXT)));
	dispatch_until(0, KA_CHANGED_MSRS, 1);
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_WRMSR, MSR_LSTAR, gva(GUEST_TEXT)));
	dispatch_until(0, KA_CHANGED_LSTAR, 1);
	assert_hex(last_of(KA_CHANGED_LSTAR)->lstar, gva(GUEST_TEXT));
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_CR4, t.registers.cr4 | CR4_TSD, 0));
	dispatch_until(0, KA_CHANGED_CR4, 1);
	assert_hex(last_of(KA_CHANGED_CR4)->cr4, t.registers.cr4 | CR4_TSD);
}

/* As a kernel flushes its TLB. */
Test(push, cr4_pge_alone_is_no_news)
{
	open_pushed(&(struct tinyvm_options){ 0 });
	for (unsigned int i = 0; i < 20; i++)
		assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_CR4,
				    i % 2 ? t.registers.cr4 & ~(uint64_t)CR4_PGE
					  : t.registers.cr4 | CR4_PGE, 0));
	dispatch(300);
	cr_assert_eq(change_count, 0);
	cr_assert_eq(lost, 0);
}

/* What a guest does without changing anything watched must cost nothing. */
Test(push, quiet_guest_pushes_nothing)
{
	open_pushed(&(struct tinyvm_options){ 0 });
	for (unsigned int i = 0; i < 100; i++)
		assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_STORE, gva(GUEST_SCRATCH), i));
	settle();
	for (unsigned int i = 0; i < 100; i++)
		assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_STORE, gva(GUEST_SCRATCH), i));
	dispatch(300);
	cr_assert_eq(change_count, 0);
	cr_assert_eq(lost, 0);
}

/* Toggles CR0.WP so often, and waits until each change was told or counted as lost. */
static void flood(size_t toggles)
{
	uint64_t deadline = support_now_ms() + DEADLINE_MS;

	change_count = lost = 0;
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_TOGGLE_WP, toggles, 0));
	while (count_of(0, KA_CHANGED_CR0) + lost < 2 * toggles && support_now_ms() < deadline)
		dispatch(100);
	cr_assert_eq(count_of(0, KA_CHANGED_CR0) + lost, 2 * toggles, "%zu told, %lu lost",
		     count_of(0, KA_CHANGED_CR0), (unsigned long)lost);
}

Test(push, changes_beyond_the_budget_are_counted_as_lost)
{
	enum { FLOOD = 4000, ROUNDS = 5 };

	open_pushed(&(struct tinyvm_options){ 0 });
	for (int round = 0; round < ROUNDS && !lost; round++)
		flood(FLOOD);
	if (!lost)
		cr_skip_test("guests on this host are too slow to exceed their budget");
}
