// SPDX-License-Identifier: LGPL-2.1-or-later
/* What of a vCPU's registers a kernel never changes once it is up. */
#include "check_registers.h"

#include "cleanup.h"

enum {
	CPL_USER = 3,
	NAMES_MAX = 4,
};

#define BIT(number) (1ull << (number))
#define CR4_VMXE BIT(13)
#define CR4_FRED BIT(32)
#define EFER_SVME BIT(12)

/* arch/x86/include/asm/cpu_entry_area.h: before 4.20, with page table isolation, LSTAR led there.
 */
static const uint64_t cpu_entry_area = 0xfffffe0000000000, cpu_entry_area_end = 0xfffffe8000000000;

/* IA32_STAR of each 64-bit Linux: SYSRET to __USER32_CS, SYSCALL to __KERNEL_CS. */
static const uint64_t linux_star = 0x0023001000000000;

struct register_bit {
	uint8_t bit;
	const char *name;
};

static const struct {
	const char *name;
	unsigned int number;
	/* Of control registers: what guards the kernel. CR0.WP has a check of its own. CR4.PGE
	 * guards nothing, and a kernel whose CPU has no INVPCID flushes the TLB by it, in two
	 * writes between which its vCPU may be preempted or paused. */
	struct register_bit bits[8];
	const char *symbols[NAMES_MAX]; /* where Linux has it lead to, in one version or another */
} registers_known[REGISTERS] = {
	[REGISTER_LSTAR] = { .name = "lstar",
			     .number = 0xc0000082,
			     .symbols = { "entry_SYSCALL_64", "system_call" } },
	[REGISTER_CSTAR] = { .name = "cstar",
			     .number = 0xc0000083,
			     .symbols = { "entry_SYSCALL_compat", "entry_SYSCALL32_ignore",
					  "ignore_sysret", "ia32_cstar_target" } },
	[REGISTER_STAR] = { .name = "star", .number = 0xc0000081 },
	[REGISTER_SFMASK] = { .name = "sfmask", .number = 0xc0000084 },
	[REGISTER_SYSENTER_CS] = { .name = "sysenter_cs", .number = 0x174 },
	[REGISTER_SYSENTER_ESP] = { .name = "sysenter_esp", .number = 0x175 },
	[REGISTER_SYSENTER_EIP] = { .name = "sysenter_eip",
				    .number = 0x176,
				    .symbols = { "entry_SYSENTER_compat", "entry_SYSENTER_32",
						 "ia32_sysenter_target" } },
	[REGISTER_CR0] = { .name = "cr0", .bits = { { 5, "NE" }, { 18, "AM" } } },
	/* cr4_pinned_mask of arch/x86/kernel/cpu/common.c. */
	[REGISTER_CR4] = { .name = "cr4",
			   .number = 4,
			   .bits = { { 11, "UMIP" },
				     { 16, "FSGSBASE" },
				     { 20, "SMEP" },
				     { 21, "SMAP" },
				     { 23, "CET" },
				     { 32, "FRED" } } },
	[REGISTER_EFER] = { .name = "efer",
			    .number = 0xc0000080,
			    .bits = { { 0, "SCE" }, { 11, "NXE" } } },
};

const char *register_name(enum register_id id)
{
	return registers_known[id].name;
}

unsigned int register_number(enum register_id id)
{
	return registers_known[id].number;
}

enum register_id register_of(bool msr, unsigned int number)
{
	for (int id = 0; id < REGISTERS; id++)
		if (registers_known[id].number == number && msr == (id < REGISTER_MSRS))
			return id;
	return REGISTERS;
}

uint64_t register_value(const struct ka_registers *registers, enum register_id id)
{
	switch (id) {
	case REGISTER_LSTAR:
		return registers->lstar;
	case REGISTER_CSTAR:
		return registers->cstar;
	case REGISTER_STAR:
		return registers->star;
	case REGISTER_SFMASK:
		return registers->sfmask;
	case REGISTER_SYSENTER_CS:
		return registers->sysenter_cs;
	case REGISTER_SYSENTER_ESP:
		return registers->sysenter_esp;
	case REGISTER_SYSENTER_EIP:
		return registers->sysenter_eip;
	case REGISTER_CR0:
		return registers->cr0;
	case REGISTER_CR4:
		return registers->cr4;
	default:
		return registers->efer;
	}
}

const char *register_bit_name(enum register_id id, unsigned int bit)
{
	const struct register_bit *bits = registers_known[id].bits;

	for (size_t i = 0; i < array_size(registers_known[id].bits); i++)
		if (bits[i].name && bits[i].bit == bit)
			return bits[i].name;
	return NULL;
}

static uint64_t guards(enum register_id id)
{
	const struct register_bit *bits = registers_known[id].bits;
	uint64_t mask = 0;

	for (size_t i = 0; i < array_size(registers_known[id].bits); i++)
		if (bits[i].name)
			mask |= BIT(bits[i].bit);
	return mask;
}

/* Bits of an MSR that this host tells. */
static uint64_t told(const struct ka_registers *registers, enum register_id id)
{
	bool sysenter = id >= REGISTER_SYSENTER_CS && id <= REGISTER_SYSENTER_EIP;

	if (registers->flags & KA_REGISTERS_NO_MSRS ||
	    (sysenter && registers->flags & KA_REGISTERS_NO_VMCS))
		return 0;
	return sysenter && registers->flags & KA_REGISTERS_SYSENTER_LOW ? UINT32_MAX : UINT64_MAX;
}

uint64_t register_difference(const struct register_values *expected,
			     const struct ka_registers *registers, enum register_id id)
{
	uint64_t observed = register_value(registers, id);

	if (id < REGISTER_MSRS)
		return (expected->value[id] ^ observed) & told(registers, id);
	return expected->value[id] & ~observed & guards(id);
}

bool registers_run_vms(const struct ka_registers *registers)
{
	return registers->cr4 & CR4_VMXE || registers->efer & EFER_SVME;
}

bool registers_own_msrs(const struct ka_registers *registers)
{
	return !registers_run_vms(registers) || registers->cpl == CPL_USER;
}

static bool in_old_trampoline(const struct ka_kernel *kernel, uint64_t lstar)
{
	uint64_t gva;

	return lstar >= cpu_entry_area && lstar < cpu_entry_area_end &&
	       !ka_kernel_symbol(kernel, "entry_SYSCALL_64_trampoline", &gva);
}

/* Unused is zero: CSTAR on an Intel CPU, SYSENTER without 32-bit programs, LSTAR with FRED. */
static bool may_be_unused(const struct ka_registers *registers, enum register_id id)
{
	return id != REGISTER_LSTAR || registers->cr4 & CR4_FRED;
}

/* Where it should lead to, if it leads to none of the places that Linux may have it lead to. */
static void expect_symbol(struct register_values *expected, const struct ka_registers *registers,
			  const struct ka_kernel *kernel, enum register_id id)
{
	uint64_t observed = register_value(registers, id), mask = told(registers, id), gva,
		 first = 0;

	if (!observed && may_be_unused(registers, id))
		return;
	if (id == REGISTER_LSTAR && in_old_trampoline(kernel, observed))
		return;
	for (size_t i = 0; i < NAMES_MAX && registers_known[id].symbols[i]; i++) {
		if (ka_kernel_symbol(kernel, registers_known[id].symbols[i], &gva) < 0)
			continue;
		if (!((gva ^ observed) & mask))
			return;
		first = first ? first : gva;
	}
	if (first)
		expected->value[id] = first;
}

void registers_expect_linux(struct register_values *expected, const struct ka_registers *registers,
			    const struct ka_kernel *kernel, uint64_t cr4_pinned)
{
	expect_symbol(expected, registers, kernel, REGISTER_LSTAR);
	expect_symbol(expected, registers, kernel, REGISTER_CSTAR);
	expect_symbol(expected, registers, kernel, REGISTER_SYSENTER_EIP);
	expected->value[REGISTER_CR4] |= cr4_pinned & guards(REGISTER_CR4);
	if (!ka_long_mode(registers))
		return;
	expected->value[REGISTER_STAR] = linux_star;
	expected->value[REGISTER_EFER] |= BIT(0) /* SCE */;
}

void registers_expect_as(struct register_values *expected, const struct register_values *other)
{
	for (int id = 0; id < REGISTER_MSRS; id++)
		if (id != REGISTER_SYSENTER_ESP)
			expected->value[id] = other->value[id];
	for (int id = REGISTER_MSRS; id < REGISTERS; id++)
		expected->value[id] |= other->value[id] & guards(id);
}

/* ---- breakpoints ---------------------------------------------------------------------------- */

unsigned int breakpoint_control(uint64_t dr7, unsigned int index)
{
	return dr7 >> (16 + 4 * index) & 15;
}

enum breakpoint_access breakpoint_access(unsigned int control)
{
	return control & 3;
}

unsigned int breakpoint_length(unsigned int control)
{
	static const uint8_t lengths[] = { 1, 2, 8, 4 };

	return lengths[control >> 2 & 3];
}

const char *breakpoint_access_name(enum breakpoint_access access)
{
	static const char *const names[] = { "execute", "write", "io", "read_write" };

	return names[access];
}

bool breakpoint_in_kernel(const struct ka_registers *registers, const struct ka_kernel *kernel,
			  unsigned int index)
{
	uint64_t address = registers->dr[index];

	if (!(registers->dr7 >> 2 * index & 3) ||
	    breakpoint_access(breakpoint_control(registers->dr7, index)) == BREAKPOINT_IO)
		return false;
	if (ka_long_mode(registers))
		return address >> 63;
	/* Where 32-bit kernels begin is chosen when they are built: their image lies in the first
	 * part. */
	return address >= (kernel->base ? kernel->base & 0xf0000000 : 0xc0000000);
}
