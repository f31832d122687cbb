// SPDX-License-Identifier: GPL-2.0-only
/* CR4.SMEP and SMAP off, as code that runs or reads the user's memory from the kernel wants it. */
#include <asm/processor-flags.h>

#include "rk.h"

static int cpu;
module_param(cpu, int, 0);

static unsigned long cleared;

static unsigned long read_it(void)
{
	unsigned long cr4;

	asm volatile("mov %%cr4, %0" : "=r" (cr4));
	return cr4;
}

/* The kernel's own write_cr4() puts back what it has pinned. */
static void write_it(unsigned long cr4)
{
	asm volatile("mov %0, %%cr4" : : "r" (cr4) : "memory");
}

static void clear_bits(void *unused)
{
	cleared = read_it() & (X86_CR4_SMEP | X86_CR4_SMAP);
	write_it(read_it() & ~cleared);
}

static void set_bits(void *unused)
{
	write_it(read_it() | cleared);
}

static int on(void)
{
	int err = smp_call_function_single(cpu, clear_bits, NULL, 1);

	return err ?: cleared ? 0 : -EOPNOTSUPP;
}

static void off(void)
{
	smp_call_function_single(cpu, set_bits, NULL, 1);
}

RK_MODULE(cr4_smep, on, off);
