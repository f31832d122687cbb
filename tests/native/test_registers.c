// SPDX-License-Identifier: LGPL-2.1-or-later
/* Registers read from outside equal what KVM tells the VMM. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <time.h>

#include "support.h"

TestSuite(registers, .fini = support_close, .timeout = TEST_TIMEOUT_S);

enum { MSR_SYSENTER_EIP = 0x176, MSR_LSTAR = 0xc0000082, MSR_CSTAR = 0xc0000083 };

static void expect_general(const struct ka_registers *got, const struct kvm_regs *regs)
{
	const uint64_t expected[16] = {
		[KA_RAX] = regs->rax, [KA_RCX] = regs->rcx, [KA_RDX] = regs->rdx,
		[KA_RBX] = regs->rbx, [KA_RSP] = regs->rsp, [KA_RBP] = regs->rbp,
		[KA_RSI] = regs->rsi, [KA_RDI] = regs->rdi, [KA_R8] = regs->r8,
		[KA_R9] = regs->r9, [KA_R10] = regs->r10, [KA_R11] = regs->r11,
		[KA_R12] = regs->r12, [KA_R13] = regs->r13, [KA_R14] = regs->r14,
		[KA_R15] = regs->r15,
	};

	for (unsigned int i = 0; i < 16; i++)
		cr_assert_eq(got->gpr[i], expected[i], "gpr[%u]: %#lx, not %#lx", i,
			     (unsigned long)got->gpr[i], (unsigned long)expected[i]);
	assert_hex(got->rip, regs->rip);
	assert_hex(got->rflags, regs->rflags);
}

static void expect_control(const struct ka_registers *got, const struct kvm_sregs *sregs)
{
	assert_hex(got->cr0, sregs->cr0);
	assert_hex(got->cr2, sregs->cr2);
	assert_hex(got->cr3, sregs->cr3);
	assert_hex(got->cr4, sregs->cr4);
	assert_hex(got->efer, sregs->efer);
	assert_hex(got->gdtr.base, sregs->gdt.base);
	assert_hex(got->gdtr.limit, sregs->gdt.limit);
	assert_hex(got->idtr.base, sregs->idt.base);
	assert_hex(got->idtr.limit, sregs->idt.limit);
}

static void expect_segments(const struct ka_registers *got, const struct kvm_sregs *sregs)
{
	const uint16_t expected[8] = {
		[KA_ES] = sregs->es.selector, [KA_CS] = sregs->cs.selector,
		[KA_SS] = sregs->ss.selector, [KA_DS] = sregs->ds.selector,
		[KA_FS] = sregs->fs.selector, [KA_GS] = sregs->gs.selector,
		[KA_LDTR] = sregs->ldt.selector, [KA_TR] = sregs->tr.selector,
	};

	for (unsigned int i = 0; i < 8; i++)
		cr_assert_eq(got->selector[i], expected[i], "selector[%u]: %#x, not %#x", i,
			     got->selector[i], expected[i]);
	assert_hex(got->fs_base, sregs->fs.base);
	assert_hex(got->gs_base, sregs->gs.base);
	cr_assert_eq(got->cpl, sregs->ss.dpl);
}

static void expect_msrs(const struct ka_registers *got, const struct tinyvm_registers *registers)
{
	if (got->flags & KA_REGISTERS_NO_MSRS || !tinyvm_mode_64bit(t.vm.options.mode))
		return;
	assert_hex(got->lstar, registers->lstar);
	assert_hex(got->cstar, registers->cstar);
	assert_hex(got->star, registers->star);
	assert_hex(got->sfmask, registers->sfmask);
	assert_hex(got->sysenter_cs, registers->sysenter_cs);
	/* KVM tells the VMM what an AMD CPU keeps of them. */
	assert_hex((uint32_t)got->sysenter_esp, (uint32_t)registers->sysenter_esp);
	assert_hex((uint32_t)got->sysenter_eip, (uint32_t)registers->sysenter_eip);
	if (!(got->flags & KA_REGISTERS_SYSENTER_LOW))
		assert_hex(got->sysenter_eip, registers->sysenter_eip);
}

static void expect_debug(const struct ka_registers *got, const struct kvm_debugregs *debug)
{
	for (unsigned int i = 0; i < 4; i++)
		assert_hex(got->dr[i], debug->db[i]);
	assert_hex(got->dr7, debug->dr7);
}

static void expect_as_kvm_says(const struct ka_registers *got)
{
	struct tinyvm_registers registers;

	assert_ok(tinyvm_registers(&t.vm, got->vcpu, &registers));
	expect_general(got, &registers.regs);
	expect_control(got, &registers.sregs);
	expect_segments(got, &registers.sregs);
	expect_msrs(got, &registers);
	expect_debug(got, &registers.debug);
}

static void expect_all(unsigned int vcpus)
{
	struct ka_registers registers[GUEST_VCPUS_MAX];
	size_t count = 0;

	assert_ok(ka_registers_read_all(t.ka, registers, GUEST_VCPUS_MAX, &count));
	cr_assert_eq(count, vcpus);
	for (unsigned int i = 0; i < vcpus; i++) {
		cr_assert_eq(registers[i].vcpu, i);
		assert_ok(ka_registers_usable(&registers[i]));
		expect_as_kvm_says(&registers[i]);
	}
}

MODE_TEST(registers, equal_kvms_on_every_vcpu)
{
	support_open(&(struct tinyvm_options){ .mode = mode, .vcpus = 4 }, 0);
	expect_all(4);
}

MODE_TEST(registers, equal_kvms_when_paused_while_running)
{
	support_open(&(struct tinyvm_options){ .mode = mode, .vcpus = 2 }, 0);
	for (unsigned int i = 0; i < 2; i++)
		assert_ok(tinyvm_command(&t.vm, i, GUEST_CMD_SPIN, NULL, 0));
	for (unsigned int round = 0; round < 20; round++) {
		for (unsigned int i = 0; i < 2; i++)
			assert_ok(tinyvm_wait_count(&t.vm, i,
						    tinyvm_mailbox(&t.vm, i, MAILBOX_COUNT) + 1));
		assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_PAUSE, NULL, 0, NULL));
		expect_all(2);
		assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_RESUME, NULL, 0, NULL));
	}
}

Test(registers, equal_kvms_on_sixteen_vcpus)
{
	support_open(&(struct tinyvm_options){ .vcpus = 16 }, 0);
	expect_all(16);
}

MODE_TEST(registers, paging_follows_from_them)
{
	uint8_t expected[] = { [TINYVM_4LEVEL] = KA_PAGING_4LEVEL,
			       [TINYVM_5LEVEL] = KA_PAGING_5LEVEL,
			       [TINYVM_PAE] = KA_PAGING_PAE, [TINYVM_32BIT] = KA_PAGING_32BIT };

	support_open(&(struct tinyvm_options){ .mode = mode }, 0);
	cr_assert_eq(t.paging.mode, expected[mode]);
	assert_hex(t.paging.root & ~0xfffull, GUEST_ROOT);
	cr_assert_eq(ka_long_mode(&t.registers), tinyvm_mode_64bit(mode));
}

MODE_TEST(registers, changes_by_the_guest_are_read)
{
	struct ka_registers registers;

	support_open(&(struct tinyvm_options){ .mode = mode }, 0);
	tinyvm_poke64(&t.vm, GUEST_POINTERS, 0x123 | gva(GUEST_IDT_OTHER) << 16);
	tinyvm_poke64(&t.vm, GUEST_POINTERS + 8, gva(GUEST_IDT_OTHER) >> 48);
	tinyvm_poke64(&t.vm, GUEST_POINTERS + 16, 0x7f | gva(GUEST_GDT_OTHER) << 16);
	tinyvm_poke64(&t.vm, GUEST_POINTERS + 24, gva(GUEST_GDT_OTHER) >> 48);
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_LIDT, gva(GUEST_POINTERS), 0));
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_LGDT, gva(GUEST_POINTERS + 16), 0));
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_CR0, t.registers.cr0 & ~(1ull << 16), 0));
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_CR4, t.registers.cr4 | 1 << 2, 0));
	if (tinyvm_mode_64bit(mode))
		assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_WRMSR, MSR_LSTAR, gva(GUEST_TEXT)));
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_PAUSE, NULL, 0, NULL));
	assert_ok(ka_register_read(t.ka, 0, &registers));
	expect_as_kvm_says(&registers);
	assert_hex(registers.idtr.base, gva(GUEST_IDT_OTHER));
	assert_hex(registers.idtr.limit, 0x123);
	assert_hex(registers.gdtr.base, gva(GUEST_GDT_OTHER));
	assert_hex(registers.cr0, t.registers.cr0 & ~(1ull << 16));
	assert_hex(registers.cr4, t.registers.cr4 | 1 << 2);
	if (tinyvm_mode_64bit(mode) && !(registers.flags & KA_REGISTERS_NO_MSRS))
		assert_hex(registers.lstar, gva(GUEST_TEXT));
}

/* KVM gives the CPU's own to the guest once it touches them, and takes them back at its next exit. */
MODE_TEST(registers, breakpoints_of_the_guest_are_read)
{
	static const uint8_t set_dr0[] = {
		0x0f, 0x23, 0xc6,	      /* mov %rsi, %dr0 */
		0xb8, 0x02, 0x04, 0x00, 0x00, /* mov $0x402, %eax: an instruction, in all tasks */
		0x0f, 0x23, 0xf8,	      /* mov %rax, %dr7 */
		0xc3,
	};
	enum { CODE = GUEST_TEXT + 0x3f00, DR7_ON = 0x402, DR7_OFF = 0x400 };
	struct ka_registers registers;

	support_open(&(struct tinyvm_options){ .mode = mode, .vcpus = 2 }, 0);
	assert_hex(t.registers.dr7, DR7_OFF);
	assert_ok(tinyvm_poke(&t.vm, CODE, set_dr0, sizeof(set_dr0)));
	assert_ok(tinyvm_do(&t.vm, 1, GUEST_CMD_CALL, gva(CODE), gva(GUEST_IDT)));
	/* An exit after that which set them. */
	assert_ok(tinyvm_do(&t.vm, 1, GUEST_CMD_LOAD, gva(GUEST_SCRATCH), 0));
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_PAUSE, NULL, 0, NULL));
	assert_ok(ka_register_read(t.ka, 1, &registers));
	expect_as_kvm_says(&registers);
	assert_hex(registers.dr[0], gva(GUEST_IDT));
	assert_hex(registers.dr7, DR7_ON);
	assert_ok(ka_register_read(t.ka, 0, &registers));
	assert_hex(registers.dr7, DR7_OFF);
}

Test(registers, each_system_call_msr_is_read)
{
	struct ka_registers registers;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	if (t.registers.flags & KA_REGISTERS_NO_MSRS)
		cr_skip_test("this KVM keeps them where nobody can tell");
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_WRMSR, MSR_CSTAR, gva(GUEST_SCRATCH)));
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_WRMSR, MSR_SYSENTER_EIP, gva(GUEST_SCRATCH) + 8));
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_PAUSE, NULL, 0, NULL));
	assert_ok(ka_register_read(t.ka, 0, &registers));
	expect_as_kvm_says(&registers);
	assert_hex(registers.cstar, gva(GUEST_SCRATCH));
	assert_hex((uint32_t)registers.sysenter_eip, (uint32_t)gva(GUEST_SCRATCH) + 8);
}

Test(registers, before_paging_is_eagain)
{
	support_start(&(struct tinyvm_options){ .mode = TINYVM_RESET });
	support_host(false);
	t.ka = support_open_pid(t.vm.pid, 0);
	assert_ok(ka_register_read(t.ka, 0, &t.registers));
	assert_hex(t.registers.cr0 & 1ull << 31, 0);
	assert_rc(ka_registers_usable(&t.registers), -EAGAIN);
	cr_assert_eq(ka_paging(&t.registers).mode, KA_PAGING_OFF);
}

Test(registers, unknown_vcpu_is_esrch)
{
	struct ka_registers registers;

	support_open(&(struct tinyvm_options){ .vcpus = 2 }, 0);
	assert_rc(ka_register_read(t.ka, 2, &registers), -ESRCH);
	assert_rc(ka_register_read(t.ka, ~0u, &registers), -ESRCH);
}

Test(registers, fills_no_more_than_asked)
{
	struct ka_registers registers[3] = { [2].vcpu = 77 };
	size_t count = 0;

	support_open(&(struct tinyvm_options){ .vcpus = 4 }, 0);
	assert_ok(ka_registers_read_all(t.ka, registers, 2, &count));
	cr_assert_eq(count, 2);
	cr_assert_eq(registers[2].vcpu, 77);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

Test(registers, time_is_when_they_were_read)
{
	struct ka_registers registers;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	for (unsigned int round = 0; round < 10; round++) {
		uint64_t before = now_ns();

		assert_ok(ka_register_read(t.ka, 0, &registers));
		cr_assert(registers.time_ns >= before && registers.time_ns <= now_ns());
	}
}

Test(registers, of_each_vm_of_one_process_are_its_own)
{
	struct ka_vm_info *vms;
	size_t count;

	support_start(&(struct tinyvm_options){ .vms = 5 });
	support_host(false);
	/* VM 0 alone has another IDTR. */
	tinyvm_poke64(&t.vm, GUEST_POINTERS, 0x123 | gva(GUEST_IDT_OTHER) << 16);
	tinyvm_poke64(&t.vm, GUEST_POINTERS + 8, gva(GUEST_IDT_OTHER) >> 48);
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_LIDT, gva(GUEST_POINTERS), 0));
	assert_ok(ka_list(t.host, &vms, &count));
	for (size_t i = 0, others = 0, changed = 0; i < count; i++) {
		struct ka_registers registers;
		struct ka_vm *ka;

		if (vms[i].pid == t.vm.pid) {
			assert_ok(ka_open_key(t.host, vms[i].key, 0, &ka));
			assert_ok(ka_register_read(ka, 0, &registers));
			ka_close(ka);
			changed += registers.idtr.base == gva(GUEST_IDT_OTHER);
			others += registers.idtr.base == gva(GUEST_IDT);
		}
		if (i + 1 == count) {
			cr_assert_eq(changed, 1);
			cr_assert_eq(others, 4);
		}
	}
	free(vms);
}
