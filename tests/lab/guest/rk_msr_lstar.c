// SPDX-License-Identifier: GPL-2.0-only
/* The entry of system calls re-pointed: LSTAR leads to code of this module, which goes on to Linux's. */
#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>
#include <linux/version.h>

#include "rk.h"

/* Their names before. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
#define rdmsrq rdmsrl
#define wrmsrq wrmsrl
#endif

static int cpu = -1;
module_param(cpu, int, 0);
MODULE_PARM_DESC(cpu, "only this one's");

static unsigned long rk_linux_entry __used;
void rk_entry(void);

/* Entered with the user's stack and GS. */
asm(".pushsection .text\n"
    ".globl rk_entry\n"
    ".type rk_entry, @function\n"
    "rk_entry: endbr64\n"
    ANNOTATE_RETPOLINE_SAFE "\n"
    "jmp *rk_linux_entry(%rip)\n"
    "int3\n"
    ".size rk_entry, . - rk_entry\n"
    ".popsection");

static void set_entry(void *entry)
{
	wrmsrq(MSR_LSTAR, (unsigned long)entry);
}

static void set_entries(void *entry)
{
	if (cpu < 0)
		on_each_cpu(set_entry, entry, 1);
	else
		smp_call_function_single(cpu, set_entry, entry, 1);
}

static int on(void)
{
	/* A module's text is not mapped while user code runs. */
	if (boot_cpu_has(X86_FEATURE_PTI))
		return -EOPNOTSUPP;
	rdmsrq(MSR_LSTAR, rk_linux_entry);
	set_entries(rk_entry);
	return 0;
}

static void off(void)
{
	set_entries((void *)rk_linux_entry);
	/* Another CPU may be between those two instructions. */
	synchronize_rcu();
}

RK_MODULE(msr_lstar, on, off);
