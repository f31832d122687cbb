// SPDX-License-Identifier: LGPL-2.1-or-later
/* Are the tiny guests themselves what the other tests take them for? KVM's word, no library. */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "guest_image.h"
#include "support.h"

TestSuite(tinyvm, .fini = support_close, .timeout = TEST_TIMEOUT_S);

static struct tinyvm_registers registers_of(unsigned int vcpu)
{
	struct tinyvm_registers registers;

	assert_ok(tinyvm_registers(&t.vm, vcpu, &registers));
	return registers;
}

MODE_TEST(tinyvm, vcpus_reach_their_loops)
{
	support_start(&(struct tinyvm_options){ .mode = mode, .vcpus = 4 });
	for (unsigned int i = 0; i < 4; i++) {
		struct tinyvm_registers registers = registers_of(i);

		cr_assert_eq(tinyvm_mailbox(&t.vm, i, MAILBOX_REACHED), 1);
		assert_hex(registers.regs.rdi, gva(GUEST_MAILBOX + i * GUEST_STRIDE));
		assert_hex(registers.sregs.gdt.base, gva(GUEST_GDT + i * GUEST_STRIDE));
		assert_hex(registers.sregs.cr0 & 1u << 16, 1u << 16);
		if (tinyvm_mode_64bit(mode))
			assert_hex(registers.lstar, guest_image_syscall(mode));
	}
}

MODE_TEST(tinyvm, commands_do_what_they_say)
{
	uint64_t word = tinyvm_mode_64bit(mode) ? 0x1122334455667788 : 0x55667788, pointer = 0x7f;
	struct tinyvm_registers before, after;

	support_start(&(struct tinyvm_options){ .mode = mode });
	before = registers_of(0);
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_STORE, gva(GUEST_SCRATCH), word));
	assert_hex(tinyvm_peek64(&t.vm, GUEST_SCRATCH), word);
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_LOAD, gva(GUEST_LARGE + GUEST_IDT), 0));
	assert_hex(tinyvm_mailbox(&t.vm, 0, MAILBOX_RESULT),
		   tinyvm_peek64(&t.vm, GUEST_IDT) & (tinyvm_mode_64bit(mode) ? ~0ull : ~0u));
	pointer |= gva(GUEST_IDT_OTHER) << 16;
	tinyvm_poke64(&t.vm, GUEST_POINTERS, pointer);
	tinyvm_poke64(&t.vm, GUEST_POINTERS + 8, gva(GUEST_IDT_OTHER) >> 48);
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_LIDT, gva(GUEST_POINTERS), 0));
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_TOGGLE_WP, 20, 0));
	after = registers_of(0);
	assert_hex(after.sregs.idt.base, gva(GUEST_IDT_OTHER));
	cr_assert_eq(after.sregs.idt.limit, 0x7f);
	assert_hex(after.sregs.cr0, before.sregs.cr0);
	cr_assert_eq(tinyvm_mailbox(&t.vm, 0, MAILBOX_COUNT), 20);
}

MODE_TEST(tinyvm, exception_is_reported)
{
	support_start(&(struct tinyvm_options){ .mode = mode });
	assert_ok(tinyvm_command(&t.vm, 0, GUEST_CMD_LOAD, &(uint64_t){ window_gva(0) }, 1));
	assert_rc(tinyvm_wait(&t.vm, 0), -EIO);
	cr_assert_eq(tinyvm_mailbox(&t.vm, 0, MAILBOX_FAULT), 1 + 14);
}

MODE_TEST(tinyvm, text_is_not_writable)
{
	support_start(&(struct tinyvm_options){ .mode = mode });
	assert_ok(tinyvm_command(&t.vm, 0, GUEST_CMD_STORE, &(uint64_t){ gva(GUEST_TEXT) }, 1));
	assert_rc(tinyvm_wait(&t.vm, 0), -EIO);
	cr_assert_eq(tinyvm_mailbox(&t.vm, 0, MAILBOX_FAULT), 1 + 14);
}

Test(tinyvm, halt_in_the_kernel_can_be_commanded)
{
	support_start(&(struct tinyvm_options){ .irqchip = true, .vcpus = 2 });
	for (unsigned int i = 0; i < 2; i++)
		assert_ok(tinyvm_do(&t.vm, i, GUEST_CMD_STORE, gva(GUEST_SCRATCH + 8 * i), 7 + i));
	cr_assert_eq(tinyvm_peek64(&t.vm, GUEST_SCRATCH), 7);
	cr_assert_eq(tinyvm_peek64(&t.vm, GUEST_SCRATCH + 8), 8);
}

Test(tinyvm, pause_stops_a_spinning_vcpu)
{
	uint64_t count;

	support_start(&(struct tinyvm_options){ 0 });
	assert_ok(tinyvm_command(&t.vm, 0, GUEST_CMD_SPIN, NULL, 0));
	assert_ok(tinyvm_wait_count(&t.vm, 0, 10));
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_PAUSE, NULL, 0, NULL));
	count = tinyvm_mailbox(&t.vm, 0, MAILBOX_COUNT);
	registers_of(0);
	cr_assert_eq(tinyvm_mailbox(&t.vm, 0, MAILBOX_COUNT), count);
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_RESUME, NULL, 0, NULL));
	assert_ok(tinyvm_wait_count(&t.vm, 0, count + 10));
	assert_ok(tinyvm_stop(&t.vm, 0));
}

Test(tinyvm, sigterm_ends_it_cleanly)
{
	int status;

	support_start(&(struct tinyvm_options){ .vms = 3, .vcpus = 2, .backing = TINYVM_MEMFD });
	kill(t.vm.pid, SIGTERM);
	cr_assert_eq(waitpid(t.vm.pid, &status, 0), t.vm.pid);
	t.vm.pid = 0;
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
