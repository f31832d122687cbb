/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Registers that lead into the kernel, switch its protection on, or stop it: MSRs, CRn, DRn. */
#ifndef MONITOR_CHECK_REGISTERS_H
#define MONITOR_CHECK_REGISTERS_H

#include <kvmaccess.h>
#include <stddef.h>

/* In the order of the checks that they are of. */
enum register_id {
	REGISTER_LSTAR,
	REGISTER_CSTAR,
	REGISTER_STAR,
	REGISTER_SFMASK,
	REGISTER_SYSENTER_CS,
	REGISTER_SYSENTER_ESP, /* of each CPU its own */
	REGISTER_SYSENTER_EIP,
	REGISTER_MSRS, /* how many */
	REGISTER_CR0 = REGISTER_MSRS,
	REGISTER_CR4,
	REGISTER_EFER,
	REGISTERS,
};

enum { DEBUG_REGISTERS = 4 };

/* What is expected of a vCPU. */
struct register_values {
	uint64_t value[REGISTERS];
};

const char *register_name(enum register_id id);
/* The CPU's number of an MSR, or of a control register. */
unsigned int register_number(enum register_id id);
/* The opposite: of the MSRs, or of the others. REGISTERS: none of them. */
enum register_id register_of(bool msr, unsigned int number);
uint64_t register_value(const struct ka_registers *registers, enum register_id id);

/*
 * Bits that are not as they should be: of an MSR all that differ; of a control register those that
 * guard the kernel and are lost. 0 for what this host does not tell.
 */
uint64_t register_difference(const struct register_values *expected,
			     const struct ka_registers *registers, enum register_id id);

/* Does the guest run VMs of its own, or is it ready to? */
bool registers_run_vms(const struct ka_registers *registers);
/*
 * Are these the MSRs of the guest's own kernel? One that runs VMs of its own on an Intel CPU lends
 * them to those until it returns to its user mode.
 */
bool registers_own_msrs(const struct ka_registers *registers);

/*
 * From what is expected of any kernel (as it was found) to what is of Linux: entry points at their
 * symbols, and bits that it keeps in cr4_pinned_bits (0: not known).
 */
void registers_expect_linux(struct register_values *expected, const struct ka_registers *registers,
			    const struct ka_kernel *kernel, uint64_t cr4_pinned);
/* Of a vCPU what its kernel has on another one. */
void registers_expect_as(struct register_values *expected, const struct register_values *other);

/* Name of a bit that register_difference() can find lost; NULL: none. */
const char *register_bit_name(enum register_id id, unsigned int bit);

/* ---- breakpoints ---- */

enum breakpoint_access {
	BREAKPOINT_EXECUTE,
	BREAKPOINT_WRITE,
	BREAKPOINT_IO,
	BREAKPOINT_READ_WRITE,
};

/* RW and LEN of a debug register, from DR7 (Intel SDM vol. 3B, 18.2.4). */
unsigned int breakpoint_control(uint64_t dr7, unsigned int index);
enum breakpoint_access breakpoint_access(unsigned int control);
unsigned int breakpoint_length(unsigned int control);
const char *breakpoint_access_name(enum breakpoint_access access);
/* Is it on, at an address of the kernel's? `kernel` may be one that was not found. */
bool breakpoint_in_kernel(const struct ka_registers *registers, const struct ka_kernel *kernel,
			  unsigned int index);

#endif
