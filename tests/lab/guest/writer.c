// SPDX-License-Identifier: GPL-2.0-only
/*
 * The lab's writer: writes to the system call table in all the ways that write tracking must bear.
 *
 * Commands are written to /proc/writer, one per write:
 *	transient NR COUNT HOLD_MS GAP_MS	hook an entry for a moment, again and again
 *	burst NR COUNT		set and restore an entry in turn, without a pause
 *	protected COUNT		writes of all sizes and kinds, first from one CPU, then from all at
 *				once, each read back at once
 *	unemulated NR		a write that KVM cannot emulate
 *
 * Each ends with one line on the console: WRITER COMMAND and what came of it.
 */
#include <linux/delay.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/smp.h>
#include <linux/syscalls.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <asm/unistd.h>

enum { TABLE_PAGES = 2, SPAN = 32, KINDS = 9 };

static unsigned long *table;	/* as the kernel has it: read-only */
static unsigned long *writable;	/* another mapping of the same */
static unsigned long hook;	/* an entry that does no harm where it is called */

/*
 * Held by a timer of its own: msleep() counts from the last tick, and where that is late, as on a busy host,
 * it returns too early.
 */
static long transient(unsigned int nr, unsigned int count, unsigned int hold_ms,
		      unsigned int gap_ms)
{
	unsigned long old = READ_ONCE(table[nr]);
	unsigned int i;

	for (i = 0; i < count; i++) {
		WRITE_ONCE(writable[nr], hook);
		usleep_range(hold_ms * 1000, hold_ms * 1000 + 1000);
		WRITE_ONCE(writable[nr], old);
		msleep(gap_ms);
	}
	pr_alert("WRITER transient index=%u done=%u\n", nr, count);
	return 0;
}

static long burst(unsigned int nr, unsigned int count)
{
	unsigned long old = READ_ONCE(table[nr]);
	ktime_t begin = ktime_get();
	unsigned int i;

	for (i = 0; i < count; i++) {
		WRITE_ONCE(writable[nr], i % 2 ? old : hook);
		cond_resched();
	}
	WRITE_ONCE(writable[nr], old);
	pr_alert("WRITER burst index=%u done=%u us=%lld\n", nr, count + 1,
		 ktime_us_delta(ktime_get(), begin));
	return 0;
}

/* One write within the @span bytes at @to, of which each kind changes some. */
static void write_some(unsigned int kind, u8 *to)
{
	u8 bytes[24];
	u64 value;

	switch (kind) {
	case 0:
		WRITE_ONCE(*to, ~*to);
		break;
	case 1:
		WRITE_ONCE(*(u16 *)to, ~*(u16 *)to);
		break;
	case 2:
		WRITE_ONCE(*(u32 *)to, ~*(u32 *)to);
		break;
	case 3:
		WRITE_ONCE(*(u64 *)to, ~*(u64 *)to);
		break;
	case 4: /* unaligned, within two entries */
		WRITE_ONCE(*(u64 *)(to + 3), ~*(u64 *)(to + 3));
		break;
	case 5: /* the halves of two entries */
		WRITE_ONCE(*(u64 *)(to + 4), ~*(u64 *)(to + 4));
		break;
	case 6: {
		const u8 *from = bytes;
		unsigned long len = sizeof(bytes);

		memset(bytes, 0xa5, sizeof(bytes));
		asm volatile("rep movsb" : "+D" (to), "+S" (from), "+c" (len) : : "memory");
		break;
	}
	case 7:
		value = hook;
		asm volatile("xchg %0, %1" : "+r" (value), "+m" (*(u64 *)to));
		break;
	case 8:
		cmpxchg((u64 *)to, READ_ONCE(*(u64 *)to), hook);
		break;
	}
}

struct protected {
	unsigned int count;	/* writes of each CPU */
	atomic_t tried, seen;	/* read-backs that did not show what was there before */
};

/* Each CPU in a part of the table of its own, or it would see the other's writes. */
static void write_protected(void *data)
{
	struct protected *args = data;
	unsigned int part = NR_syscalls / num_possible_cpus(), i;
	size_t begin = smp_processor_id() * part * sizeof(*table);
	size_t len = part * sizeof(*table) - SPAN;
	u8 before[SPAN], after[SPAN];

	for (i = 0; i < args->count; i++) {
		size_t at = begin + i * 40 % len / 8 * 8;

		memcpy(before, (u8 *)table + at, SPAN);
		write_some(i % KINDS, (u8 *)writable + at);
		memcpy(after, (u8 *)table + at, SPAN);
		atomic_inc(&args->tried);
		if (memcmp(before, after, SPAN))
			atomic_inc(&args->seen);
	}
}

/* A write half in the table and half before it: only where nothing is lost. */
static const char *write_across(void)
{
	u32 *before = (u32 *)writable - 1;
	u32 first = READ_ONCE(*(u32 *)table), now;

	if (offset_in_page(table) < 4 || READ_ONCE(*before))
		return "skipped";
	WRITE_ONCE(*(u64 *)before, 0x5a5a5a5a5a5a5a5a);
	now = READ_ONCE(*before);
	WRITE_ONCE(*before, 0);
	if (READ_ONCE(*(u32 *)table) != first)
		return "not-undone";
	return now == 0x5a5a5a5a && !READ_ONCE(*before) ? "kept" : "lost";
}

static long protected(unsigned int count)
{
	struct protected args = { .count = count / 2 };
	const void *page = (void *)((unsigned long)table & PAGE_MASK);
	void *copy = vmalloc(TABLE_PAGES * PAGE_SIZE);
	const char *neighbour;

	if (!copy)
		return -ENOMEM;
	memcpy(copy, page, TABLE_PAGES * PAGE_SIZE);
	smp_call_function_single(0, write_protected, &args, 1);
	args.count = count / 2 / num_online_cpus();
	on_each_cpu(write_protected, &args, 1);
	neighbour = write_across();
	pr_alert("WRITER protected tried=%d seen=%d frames=%s neighbour=%s\n",
		 atomic_read(&args.tried), atomic_read(&args.seen),
		 memcmp(copy, page, TABLE_PAGES * PAGE_SIZE) ? "changed" : "intact", neighbour);
	vfree(copy);
	return 0;
}

/* KVM's emulator has no 16-byte form of it. */
static long unemulated(unsigned int nr)
{
	u64 *entry = (u64 *)writable + round_down(nr, 2);
	u64 low = entry[0], high = entry[1];
	bool done;

	pr_alert("WRITER unemulated next\n");
	asm volatile("lock cmpxchg16b %1" : "=@ccz" (done), "+m" (*(unsigned __int128 *)entry),
		     "+a" (low), "+d" (high) : "b" (low), "c" (high) : "memory");
	pr_alert("WRITER unemulated done=%d\n", done);
	return 0;
}

static long run(const char *command)
{
	unsigned int a, b, c, d;

	if (sscanf(command, "transient %u %u %u %u", &a, &b, &c, &d) == 4 && a < NR_syscalls)
		return transient(a, b, c, d);
	if (sscanf(command, "burst %u %u", &a, &b) == 2 && a < NR_syscalls)
		return burst(a, b);
	if (sscanf(command, "protected %u", &a) == 1)
		return protected(a);
	if (sscanf(command, "unemulated %u", &a) == 1 && a < NR_syscalls)
		return unemulated(a);
	return -EINVAL;
}

static ssize_t command_write(struct file *file, const char __user *text, size_t len, loff_t *pos)
{
	char command[64];
	long err;

	if (len >= sizeof(command))
		return -EINVAL;
	if (copy_from_user(command, text, len))
		return -EFAULT;
	command[len] = '\0';
	err = run(strim(command));
	return err ? err : len;
}

static const struct proc_ops command_ops = {
	.proc_write = command_write,
};

static int __init writer_init(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	unsigned long (*lookup_name)(const char *name);
	struct page *pages[TABLE_PAGES];
	unsigned int i;
	int err = register_kprobe(&probe);

	if (err)
		return err;
	lookup_name = (void *)probe.addr;
	unregister_kprobe(&probe);
	table = (void *)lookup_name("sys_call_table");
	hook = lookup_name("__x64_sys_ni_syscall");
	if (!table || !hook)
		return -ENOENT;
	for (i = 0; i < TABLE_PAGES; i++)
		pages[i] = virt_to_page((void *)table + i * PAGE_SIZE);
	writable = vmap(pages, TABLE_PAGES, VM_MAP, PAGE_KERNEL);
	if (!writable)
		return -ENOMEM;
	writable = (void *)writable + offset_in_page(table);
	return proc_create("writer", 0200, NULL, &command_ops) ? 0 : -ENOMEM;
}

module_init(writer_init);
MODULE_DESCRIPTION("Writes to the system call table, for tests");
MODULE_LICENSE("GPL");
