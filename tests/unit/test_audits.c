// SPDX-License-Identifier: LGPL-2.1-or-later
/* Audits of hooks: what they tell of a made-up guest's records, and that these cannot hold them up.
 */
#include "audit_guest.h"

/* Some bytes that are nobody's follow each symbol. */
#define ka_kernel_symbol_end(kernel, gva, end) ((void)(kernel), *(end) = (gva) + 0x21f, 0)

#include "monitor/audits/code.c"
#include "monitor/audits/ftrace.c"
#include "monitor/audits/ftrace_fprobes.c"
#include "monitor/audits/kprobes.c"
#include "monitor/audits/operations.c"
#include "monitor/audits/operations_lists.c"
#include "monitor/audits/operations_proc.c"
#include "monitor/audits/records.c"
#include "monitor/audits/tracepoints.c"

#include <criterion/criterion.h>

#define OPS (MEMORY + 0x1000)
#define HASH (MEMORY + 0x2000)
#define BUCKETS (MEMORY + 0x3000)
#define ENTRY (MEMORY + 0x4000)
#define PROBE (MEMORY + 0x6000)
#define OTHER_PROBE (MEMORY + 0x6100)

static struct audit_result result;
static const struct audit *audit;
static void *state;

static void start(const struct audit *which)
{
	audit_guest_make();
	memset(&audit_guest_policy, 0, sizeof(audit_guest_policy));
	audit = which;
	cr_assert_eq(audit->prepare(&audit_guest_view, &state), 0);
}

static void start_ftrace(void)
{
	start(&audit_ftrace);
}

static void start_kprobes(void)
{
	start(&audit_kprobes);
}

static void start_tracepoints(void)
{
	start(&audit_tracepoints);
}

static void start_operations(void)
{
	audit_modules_there[0].taints = 0;
	audit_modules_there[0].views = KA_MODULE_LISTED;
	start(&audit_operations);
}

static void stop(void)
{
	audit->release(state);
}

static int look(void)
{
	result.count = 0;
	result.gap = NULL;
	return audit->look(state, &audit_guest_view, &result);
}

/* ---- ftrace -------------------------------------------------------------------------------- */

/* One ops in the list, which asks for one function. */
static void ops_put(uint64_t func, uint64_t saved)
{
	audit_word(MEMORY, OPS);
	audit_word(OPS, func);
	audit_word(OPS + 8, MEMORY + 0x100);
	audit_word(OPS + 16, 1 << 12 | 1 << 2);
	audit_word(OPS + 24, saved);
	audit_word(OPS + 32, MEMORY + 0x1100);
	audit_word(MEMORY + 0x1108, HASH);
	audit_word(HASH, 1);
	audit_word(HASH + 8, BUCKETS);
	audit_word(HASH + 16, 1);
	audit_word(BUCKETS + 8, ENTRY);
	audit_word(ENTRY + 16, IMAGE + 0x4560);
}

TestSuite(ftrace, .init = start_ftrace, .fini = stop);

Test(ftrace, callbacks_of_the_kernel_are_silent)
{
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 0);
	ops_put(IMAGE + 0x10, IMAGE + 0x10);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 0);
}

Test(ftrace, callback_of_a_module_is_told_with_what_it_is_for)
{
	const struct difference *found = &result.differences[0];

	ops_put(MODULE_TEXT + 0x20, MODULE_TEXT + 0x20);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 1);
	cr_assert_eq(found->object.kind, OBJECT_FTRACE_CALLBACK);
	cr_assert_eq(found->object.index, OPS);
	cr_assert_eq(found->target, MODULE_TEXT + 0x20);
	cr_assert_str_eq(found->name, "some_function");
	cr_assert_str_eq(found->what, "is code of the module evil");
	cr_assert_str_eq(found->observed_text, "SAVE_REGS IPMODIFY");
	cr_assert(found->first_sight);
}

Test(ftrace, callback_behind_the_filter_of_processes_is_told)
{
	ops_put(IMAGE + 0x10, NOWHERE);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 1);
	cr_assert_eq(result.differences[0].object.index, OPS + 24);
	cr_assert_str_eq(result.differences[0].what, "is neither the kernel's code nor a module's");
}

Test(ftrace, module_that_is_allowed_is_silent)
{
	char *names[] = { "secure", "ev?l" };
	struct config_strings allowed = { .items = names, .count = 2 };

	ops_put(MODULE_TEXT, MODULE_TEXT);
	audit_guest_policy.allow_modules = &allowed;
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 0);
	ops_put(NOWHERE, NOWHERE);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 1);
}

Test(ftrace, handler_of_an_fprobe_is_told)
{
	ops_put(IMAGE + 0x100, IMAGE + 0x100);
	audit_word(OPS + 48, MODULE_TEXT);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 1);
	cr_assert_eq(result.differences[0].object.index, OPS + 48);
}

#define TABLED (MEMORY + 0x6800)

/* As kernels have them since 6.14: of 64 chains the last one has one, of two functions. */
static void fprobe_put(uint64_t entry, uint64_t exit)
{
	audit->release(state);
	audit_guest_fprobes();
	cr_assert_eq(audit->prepare(&audit_guest_view, &state), 0);
	audit_word(AUDIT_FPROBES + 63 * 8, TABLED);
	audit_word(TABLED + 32, PROBE);
	audit_word(TABLED + 40, 2);
	audit_word(TABLED + 48 + 8, IMAGE + 0x4560);
	audit_word(PROBE + 24, entry);
	audit_word(PROBE + 32, exit);
}

Test(ftrace, handler_of_an_fprobe_in_a_table_is_told)
{
	fprobe_put(IMAGE + 0x10, MODULE_TEXT);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 1);
	cr_assert_eq(result.differences[0].object.index, PROBE + 32);
	cr_assert_eq(result.differences[0].target, MODULE_TEXT);
	cr_assert_str_eq(result.differences[0].name, "some_function and 1 more");
	cr_assert_null(result.gap);
}

Test(ftrace, fprobe_that_is_taken_away_is_silent)
{
	fprobe_put(MODULE_TEXT, MODULE_TEXT);
	audit_word(TABLED + 32, 0);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 0);
}

Test(ftrace, fprobes_in_a_circle_end)
{
	fprobe_put(MODULE_TEXT, 0);
	audit_word(TABLED, TABLED);
	cr_assert_eq(look(), -EAGAIN);
}

Test(ftrace, fprobes_that_are_not_found_are_said)
{
	audit->release(state);
	audit_guest_fprobes();
	audit_guest.symbols_count--;
	cr_assert_eq(audit->prepare(&audit_guest_view, &state), 0);
	cr_assert_eq(look(), 0);
	cr_assert_not_null(result.gap);
}

/* An entry of direct_functions, in which it is all about the last word. */
static void direct_put(uint64_t target)
{
	ops_put(IMAGE, IMAGE);
	audit_word(MEMORY + 8, HASH);
	audit_word(ENTRY + 24, target);
}

Test(ftrace, direct_call_is_told_unless_bpf_explains_it)
{
	direct_put(NOWHERE + 0x10);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 1);
	cr_assert_str_eq(result.differences[0].observed_text, "DIRECT");
	/* One image in the kernel's list of those. */
	audit_word(MEMORY + 0x200, MEMORY + 0x5010);
	audit_word(MEMORY + 0x5000, NOWHERE);
	audit_word(MEMORY + 0x5008, NOWHERE + 0x1000);
	audit_word(MEMORY + 0x5010, MEMORY + 0x200);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 0);
	direct_put(MODULE_TEXT);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 1);
}

Test(ftrace, lists_in_circles_end)
{
	ops_put(NOWHERE, NOWHERE);
	audit_word(OPS + 8, OPS);
	cr_assert_eq(look(), -EAGAIN);
	ops_put(IMAGE, IMAGE);
	audit_word(MEMORY + 8, HASH);
	audit_word(ENTRY, ENTRY);
	cr_assert_eq(look(), -EAGAIN);
	audit_word(HASH, 63);
	cr_assert_eq(look(), -EAGAIN);
}

Test(ftrace, record_that_cannot_be_read_is_no_clean_look)
{
	audit_word(MEMORY, NOWHERE);
	cr_assert_eq(look(), -EFAULT);
}

/* ---- kprobes ------------------------------------------------------------------------------- */

/* The only one of its chain, and of its instruction. */
static void probe_put(uint64_t gva, uint64_t pre, uint64_t post)
{
	audit_word(MEMORY + 0x400 + 8 * 7, PROBE);
	audit_word(gva + 16, gva + 16);
	audit_word(gva + 32, IMAGE + 0x7001);
	audit_word(gva + 40, pre);
	audit_word(gva + 48, post);
	audit_word(gva + 56, KPROBE_OPTIMIZED);
}

TestSuite(kprobes, .init = start_kprobes, .fini = stop);

Test(kprobes, handlers_of_the_kernel_are_silent)
{
	probe_put(PROBE, IMAGE + 0x10, 0);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 0);
}

Test(kprobes, handlers_of_a_module_are_told_with_what_they_probe)
{
	probe_put(PROBE, MODULE_TEXT, NOWHERE);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 2);
	cr_assert_str_eq(result.differences[0].name, "some_function+0x1");
	cr_assert_str_eq(result.differences[0].observed_text, "pre_handler, optimized");
	cr_assert_eq(result.differences[0].target, MODULE_TEXT);
	cr_assert_eq(result.differences[1].object.index, PROBE + 48);
}

Test(kprobes, handler_of_a_kretprobe_is_told)
{
	probe_put(PROBE, IMAGE + 0x300, 0);
	audit_word(PROBE + 64, MODULE_TEXT);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 1);
	cr_assert_eq(result.differences[0].object.index, PROBE + 64);
}

Test(kprobes, probe_that_shares_its_instruction_is_told)
{
	probe_put(PROBE, IMAGE + 0x200, IMAGE + 0x200);
	probe_put(OTHER_PROBE, MODULE_TEXT, 0);
	audit_word(PROBE + 16, OTHER_PROBE + 16);
	audit_word(OTHER_PROBE + 16, PROBE + 16);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 1);
	cr_assert_eq(result.differences[0].object.index, OTHER_PROBE + 40);
}

Test(kprobes, lists_in_circles_end)
{
	probe_put(PROBE, IMAGE, 0);
	audit_word(PROBE, PROBE);
	cr_assert_eq(look(), -EAGAIN);
	audit_word(PROBE, 0);
	probe_put(PROBE, IMAGE + 0x200, 0);
	audit_word(PROBE + 16, OTHER_PROBE + 16);
	audit_word(OTHER_PROBE + 16, OTHER_PROBE + 16);
	cr_assert_eq(look(), -EAGAIN);
}

/* ---- tracepoints --------------------------------------------------------------------------- */

#define TRACEPOINT (MEMORY + 0x900)
#define OTHER_TRACEPOINT (MEMORY + 0x940)
#define FUNCS (MEMORY + 0x7000)

static void tracepoint_put(uint64_t gva, uint64_t first, uint64_t second)
{
	audit_word(gva, MEMORY + 0xa00);
	memcpy(audit_guest.memory + 0xa00, "sched_\xff\x1b", 9);
	audit_word(gva + 8, FUNCS);
	audit_word(FUNCS, first);
	audit_word(FUNCS + 24, second);
}

TestSuite(tracepoints, .init = start_tracepoints, .fini = stop);

Test(tracepoints, probes_of_the_kernel_are_silent)
{
	cr_assert_eq(look(), 0);
	tracepoint_put(OTHER_TRACEPOINT, IMAGE, IMAGE + 1);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 0);
}

Test(tracepoints, probe_of_a_module_is_told)
{
	tracepoint_put(OTHER_TRACEPOINT, IMAGE, MODULE_TEXT + 8);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 1);
	cr_assert_eq(result.differences[0].object.index, FUNCS + 24);
	cr_assert_eq(strncmp(result.differences[0].name, "sched_", 6), 0);
}

Test(tracepoints, module_may_probe_its_own)
{
	/* Its list has one: relative to that word. */
	audit_word(MEMORY + 0xf000, MEMORY + 0xf100);
	audit_word(MEMORY + 0xf008, 1);
	audit_word(MEMORY + 0xf100, 0x100);
	tracepoint_put(MEMORY + 0xf200, MODULE_TEXT, 0);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 0);
	audit_word(FUNCS, NOWHERE);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 1);
}

Test(tracepoints, more_than_a_kernel_has_are_not_walked)
{
	for (uint64_t at = FUNCS; at < MEMORY + 0xf000; at += 8)
		audit_word(at, IMAGE);
	audit_word(TRACEPOINT + 8, FUNCS);
	cr_assert_eq(look(), 0);
	cr_assert_leq(audit_guest.reads, 2 * TRACEPOINT_PROBES_MAX);
	audit_word(MEMORY + 0xf008, UINT32_MAX);
	cr_assert_eq(look(), -EAGAIN);
}

/* ---- operations ---------------------------------------------------------------------------- */

#define TABLE (MEMORY + 0xb00)
#define PROC_ENTRY (MEMORY + 0x8000)
#define MODULE_DATA (MEMORY + 0xe000)
#define SUPER (MEMORY + 0x9000)

TestSuite(operations, .init = start_operations, .fini = stop);

static void expect_one(const char *name, uint64_t place)
{
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 1);
	cr_assert_str_eq(result.differences[0].name, name);
	cr_assert_eq(result.differences[0].object.index, place);
}

Test(operations, table_that_leads_to_code_of_others_is_told)
{
	audit_word(TABLE, IMAGE + 0x10);
	audit_word(TABLE + 8, MEMORY + 0x5000); /* data of the kernel */
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 0);
	audit_word(TABLE + 16, MODULE_TEXT);
	expect_one("tcp4_seq_ops+0x10", TABLE + 16);
	audit_word(TABLE + 16, NOWHERE);
	expect_one("tcp4_seq_ops+0x10", TABLE + 16);
	cr_assert_str_eq(result.differences[0].what, "is neither the kernel's code nor a module's");
}

/* The only entry of /proc, of this name. */
static void entry_put(const char *name, uint64_t ops)
{
	audit_word(MEMORY + 0xb80 + 24, PROC_ENTRY + 32);
	audit_word(PROC_ENTRY, IMAGE + 0x900000);
	audit_word(PROC_ENTRY + 8, ops);
	audit_word(PROC_ENTRY + 56, MEMORY + 0x8100);
	strcpy((char *)audit_guest.memory + 0x8100, name);
}

Test(operations, entry_of_the_kernel_with_operations_of_a_module_is_told)
{
	/* Any address is in the kernel's image here, but what is behind it. */
	struct ka_kernel small = audit_kernel;
	struct audit_view view = audit_guest_view;

	small.image_end = MODULE_DATA;
	view.kernel = &small;
	audit_word(MODULE_DATA, MODULE_TEXT + 0x40);
	entry_put("modules", MODULE_DATA);
	result.count = 0;
	cr_assert_eq(audit->look(state, &view, &result), 0);
	cr_assert_eq(result.count, 1);
	cr_assert_str_eq(result.differences[0].name, "/proc/modules+0x0");
	/* Others may be a module's, but not if they were the kernel's before. */
	entry_put("other", MODULE_DATA);
	result.count = 0;
	cr_assert_eq(audit->look(state, &view, &result), 0);
	cr_assert_eq(result.count, 0);
	entry_put("another", MEMORY);
	cr_assert_eq(audit->look(state, &view, &result), 0);
	entry_put("another", MODULE_DATA);
	cr_assert_eq(audit->look(state, &view, &result), 0);
	cr_assert_eq(result.count, 1);
}

Test(operations, notifier_may_be_a_module_of_the_vendor)
{
	audit_word(MEMORY + 0xc08, MEMORY + 0x8800);
	audit_word(MEMORY + 0x8800, MODULE_TEXT);
	cr_assert_eq(look(), 0);
	cr_assert_eq(result.count, 0);
	audit_modules_there[0].taints = 1 << 12;
	expect_one("keyboard_notifier_list", MEMORY + 0x8800);
}

Test(operations, netfilter_hook_of_a_foreign_module_is_told)
{
	audit_modules_there[0].taints = 1 << 13;
	audit_word(MEMORY + 0xc40 + 16, MEMORY + 0x8900);
	audit_word(MEMORY + 0x8900, 1);
	audit_word(MEMORY + 0x8908, MODULE_TEXT);
	expect_one("netfilter ipv4 1", MEMORY + 0x8908);
	audit_word(MEMORY + 0x8900, 0xffff);
	cr_assert_eq(look(), -EAGAIN);
}

Test(operations, root_of_a_file_system_is_looked_at)
{
	audit_modules_there[0].taints = 1 << 13;
	audit_word(MEMORY + 0xc80, SUPER);
	audit_word(SUPER, MEMORY + 0xc80);
	audit_word(SUPER + 16, SUPER + 0x100); /* type */
	audit_word(SUPER + 0x100, SUPER + 0x180);
	strcpy((char *)audit_guest.memory + 0x9180, "ext4");
	audit_word(SUPER + 32, SUPER + 0x200); /* dentry, inode, operations of files */
	audit_word(SUPER + 0x200, SUPER + 0x280);
	audit_word(SUPER + 0x288, SUPER + 0x300);
	audit_word(SUPER + 0x308, MODULE_TEXT);
	expect_one("file system ext4+0x8", SUPER + 0x308);
}

Test(operations, lists_and_trees_in_circles_end)
{
	audit_word(MEMORY + 0xc08, MEMORY + 0x8800);
	audit_word(MEMORY + 0x8808, MEMORY + 0x8800);
	cr_assert_eq(look(), -EAGAIN);
	audit_word(MEMORY + 0x8808, 0);
	entry_put("circle", 0);
	audit_word(PROC_ENTRY + 24, PROC_ENTRY + 32);
	audit_word(PROC_ENTRY + 32 + 8, PROC_ENTRY + 32);
	cr_assert_eq(look(), -EAGAIN);
}
