// SPDX-License-Identifier: LGPL-2.1-or-later
/* The audit of the system calls' code, on a kernel of a few functions that is made of an array. */
#include <criterion/criterion.h>
#include <errno.h>
#include <kvmaccess.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The file under test is linked into this program a second time, so its name must differ. */
#define audit_dispatch tested_audit_dispatch

static int fake_readv(struct ka_vm *vm, struct ka_piece *pieces, size_t count);
static int fake_gva_read(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva, void *buf,
			 size_t len);
static int fake_symbol_read(struct ka_vm *vm, const struct ka_kernel *kernel, const char *name,
			    void *buf, size_t len);
static int fake_types_member(const struct ka_types *types, const char *name, const char *path,
			     struct ka_member *ret_member);

#define ka_readv(vm, pieces, count) fake_readv(vm, pieces, count)
#define ka_gva_read(vm, paging, gva, buf, len) fake_gva_read(vm, paging, gva, buf, len)
#define ka_symbol_read(vm, kernel, name, buf, len) fake_symbol_read(vm, kernel, name, buf, len)
#define ka_types_member(types, name, path, member) fake_types_member(types, name, path, member)
/* Without a reference its records are not asked for. */
#define ka_tracing_layout_new(kernel, types, layout) (-ENODATA)

#include "monitor/clock.h"

static uint64_t fake_now = NS_PER_S;
#define clock_mono() (fake_now)

#include "monitor/audits/dispatch.c"

/* ---- the guest's kernel ---------------------------------------------------------------------- */

static const uint64_t link_base = 0xffffffff81000000, slide = 0x2200000,
		      module = 0xffffffffc0400000;

enum {
	TEXT_BYTES = 0x1000,
	SWITCH = 0x100,	 /* x64_sys_call */
	SYSCALL64 = 0x200, /* do_syscall_64 */
	ENTRY = 0x300,	 /* entry_SYSCALL_64 */
	GETDENTS = 0x400,
	KILL = 0x500,
	VFS_READ = 0x600,
	FTRACE = 0x700, /* ftrace_caller */
	HELPER = 0x800,
	BPF_LIST = 0x900, /* bpf_kallsyms */
	BPF_ENTRY = 0xa00,
	MODULE = 0xc00, /* its bytes lie here */
	TRAMPOLINE = 0xd00,
};

static uint8_t text[TEXT_BYTES];
static int read_error;
static struct ka_symbols *symbols;
static struct ka_kernel kernel;
static struct audit_view view;
static void *state;

static uint8_t *memory_at(uint64_t gva, size_t len)
{
	if (gva >= kernel.base && gva + len <= kernel.base + TEXT_BYTES)
		return text + (gva - kernel.base);
	if (gva >= module && gva + len <= module + 0x100)
		return text + MODULE + (gva - module);
	if (gva >= module + 0x1000 && gva + len <= module + 0x1100)
		return text + TRAMPOLINE + (gva - module - 0x1000);
	return NULL;
}

static int fake_gva_read(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva, void *buf,
			 size_t len)
{
	const uint8_t *memory = memory_at(gva, len);

	(void)vm, (void)paging;
	if (memory)
		memcpy(buf, memory, len);
	return memory ? 0 : -EFAULT;
}

static int fake_readv(struct ka_vm *vm, struct ka_piece *pieces, size_t count)
{
	for (size_t i = 0; i < count; i++)
		pieces[i].error = read_error ? read_error
					     : fake_gva_read(vm, NULL, pieces[i].address,
							     pieces[i].buf, pieces[i].len);
	return 0;
}

static int fake_symbol_read(struct ka_vm *vm, const struct ka_kernel *of, const char *name,
			    void *buf, size_t len)
{
	uint64_t gva;

	if (ka_kernel_symbol(of, name, &gva))
		return -ENOENT;
	return fake_gva_read(vm, NULL, gva, buf, len);
}

static int fake_types_member(const struct ka_types *types, const char *name, const char *path,
			     struct ka_member *ret_member)
{
	(void)types, (void)name;
	*ret_member = (struct ka_member){ .offset = !strcmp(path, "start") ? 0
						    : !strcmp(path, "end") ? 8
									   : 16,
					  .size = 8 };
	return 0;
}

static void branch_put(uint32_t at, uint8_t opcode, uint64_t target)
{
	int32_t displacement = (int32_t)(target - (kernel.base + at + 5));

	text[at] = opcode;
	memcpy(text + at + 1, &displacement, sizeof(displacement));
}

static void nop5_put(uint32_t at)
{
	memcpy(text + at, (uint8_t[]){ 0x0f, 0x1f, 0x44, 0x00, 0x00 }, 5);
}

static void symbols_make(void)
{
	static const struct {
		uint32_t at;
		const char *name;
	} names[] = {
		{ 0, "_text" },
		{ 0, "_stext" },
		{ SWITCH, "x64_sys_call" },
		{ SYSCALL64, "do_syscall_64" },
		{ ENTRY - 0x10, "__entry_text_start" },
		{ ENTRY, "entry_SYSCALL_64" },
		{ GETDENTS - 0x80, "__entry_text_end" },
		{ GETDENTS, "__x64_sys_getdents64" },
		{ KILL, "__x64_sys_kill" },
		{ VFS_READ, "vfs_read" },
		{ FTRACE, "ftrace_caller" },
		{ HELPER, "helper" },
		{ BPF_LIST, "bpf_kallsyms" },
		{ TEXT_BYTES, "_etext" },
		{ 2 * TEXT_BYTES, "_end" },
	};
	char path[] = "/tmp/kvmbpf-map-XXXXXX";
	FILE *file = fdopen(mkstemp(path), "w");

	for (size_t i = 0; i < array_size(names); i++)
		fprintf(file, "%lx T %s\n", (unsigned long)(link_base + names[i].at), names[i].name);
	fclose(file);
	cr_assert_eq(ka_symbols_load(path, &symbols), 0);
	unlink(path);
}

/* endbr64, a place for tracing, then the function. */
static uint32_t head_put(uint32_t at)
{
	memcpy(text + at, (uint8_t[]){ 0xf3, 0x0f, 0x1e, 0xfa }, 4);
	nop5_put(at + 4);
	return at + 9;
}

static void kernel_make(void)
{
	uint32_t at;

	memset(text, 0xcc, sizeof(text));
	symbols_make();
	kernel = (struct ka_kernel){ .symbols = symbols,
				     .slide = slide,
				     .base = link_base + slide,
				     .text_start = link_base + slide,
				     .text_end = link_base + slide + TEXT_BYTES,
				     .image_end = link_base + slide + 2 * TEXT_BYTES };
	/* cmp $0x3e, %esi; je kill; jmp getdents64 */
	at = head_put(SWITCH);
	memcpy(text + at, (uint8_t[]){ 0x83, 0xfe, 0x3e, 0x74, 0x05 }, 5);
	branch_put(at + 5, 0xe9, kernel.base + GETDENTS);
	branch_put(at + 10, 0xe9, kernel.base + KILL);
	/* A jump label, the call of the switch, a helper's. */
	at = head_put(SYSCALL64);
	nop5_put(at);
	branch_put(at + 5, 0xe8, kernel.base + SWITCH);
	branch_put(at + 10, 0xe8, kernel.base + HELPER);
	/* To the middle of the entry text, and the call of C. */
	memcpy(text + ENTRY, (uint8_t[]){ 0xf3, 0x0f, 0x1e, 0xfa }, 4);
	branch_put(ENTRY + 4, 0xe9, kernel.base + ENTRY + 0x40);
	branch_put(ENTRY + 0x40, 0xe8, kernel.base + SYSCALL64);
	head_put(GETDENTS);
	head_put(KILL);
	head_put(VFS_READ);
	for (unsigned int i = 0; i < 32; i++) /* ftrace_caller */
		text[FTRACE + i] = (uint8_t)(0x50 + i % 8);
	memcpy(text + TRAMPOLINE, text + FTRACE, 32);
	/* An empty list. */
	*(uint64_t *)(text + BPF_LIST) = kernel.base + BPF_LIST;
}

static void setup(void)
{
	kernel_make();
	view = (struct audit_view){ .kernel = &kernel, .types = (const struct ka_types *)&view };
	cr_assert_eq(audit_dispatch.prepare(&view, &state), 0);
}

static void teardown(void)
{
	audit_dispatch.release(state);
	ka_symbols_free(symbols);
}

TestSuite(dispatch, .init = setup, .fini = teardown);

static struct audit_result result;

static size_t look(void)
{
	result.count = 0;
	cr_assert_eq(audit_dispatch.look(state, &view, &result), 0);
	return result.count;
}

static void expect_one(uint32_t at, const char *name, const char *problem)
{
	cr_assert_eq(look(), 1, "%zu: %s %s", result.count, result.differences[0].name,
		     result.differences[0].what);
	cr_assert_eq(result.differences[0].gva, kernel.base + at);
	cr_assert_str_eq(result.differences[0].name, name);
	cr_assert_str_eq(result.differences[0].problem, problem);
	/* For as long as it stands there. */
	cr_assert_eq(look(), 1);
}

Test(dispatch, kernel_as_built_is_in_order)
{
	cr_assert_eq(look(), 0);
	cr_assert_eq(look(), 0);
}

Test(dispatch, call_site_of_the_switch_that_leads_to_a_module_is_told)
{
	cr_assert_eq(look(), 0);
	branch_put(SWITCH + 14, 0xe9, module);
	expect_one(SWITCH + 14, "x64_sys_call+0xe", "redirected");
	cr_assert_eq(result.differences[0].target, module);
	branch_put(SWITCH + 14, 0xe9, kernel.base + GETDENTS);
	cr_assert_eq(look(), 0);
}

/* Both are system calls, so that only what stood there tells. */
Test(dispatch, swapped_system_call_is_told)
{
	cr_assert_eq(look(), 0);
	branch_put(SWITCH + 14, 0xe9, kernel.base + KILL);
	expect_one(SWITCH + 14, "x64_sys_call+0xe", "redirected");
}

Test(dispatch, switch_that_was_patched_before_it_was_seen_is_told)
{
	branch_put(SWITCH + 19, 0xe9, module + 0x20);
	expect_one(SWITCH + 19, "x64_sys_call+0x13", "redirected");
	branch_put(SWITCH + 19, 0xe9, kernel.base + HELPER);
	expect_one(SWITCH + 19, "x64_sys_call+0x13", "redirected");
	branch_put(SWITCH + 19, 0xe9, kernel.base + KILL + 1);
	cr_assert_eq(look(), 1);
}

Test(dispatch, entry_that_calls_another_dispatcher_is_told)
{
	branch_put(ENTRY + 0x40, 0xe8, module);
	expect_one(ENTRY + 0x40, "entry_SYSCALL_64+0x40", "redirected");
}

Test(dispatch, bytes_that_are_no_branch_are_told)
{
	cr_assert_eq(look(), 0);
	text[SWITCH + 11] = 0x27;
	expect_one(SWITCH + 9, "x64_sys_call+0x9", "changed");
}

Test(dispatch, jump_labels_within_the_function_are_the_kernels)
{
	cr_assert_eq(look(), 0);
	branch_put(SYSCALL64 + 9, 0xe9, kernel.base + SYSCALL64 + 0x40);
	cr_assert_eq(look(), 0);
	nop5_put(SYSCALL64 + 9);
	cr_assert_eq(look(), 0);
	branch_put(SYSCALL64 + 9, 0xe9, module);
	expect_one(SYSCALL64 + 9, "do_syscall_64+0x9", "redirected");
	/* A call is no jump label. */
	branch_put(SYSCALL64 + 9, 0xe8, kernel.base + HELPER);
	expect_one(SYSCALL64 + 9, "do_syscall_64+0x9", "redirected");
}

Test(dispatch, breakpoint_while_the_kernel_patches_is_no_change_but_may_not_stay)
{
	cr_assert_eq(look(), 0);
	text[SYSCALL64 + 9] = 0xcc;
	cr_assert_eq(look(), 0);
	nop5_put(SYSCALL64 + 9);
	cr_assert_eq(look(), 0);
	text[SYSCALL64 + 9] = 0xcc;
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(look(), 0);
		fake_now += NS_PER_S;
	}
	expect_one(SYSCALL64 + 9, "do_syscall_64+0x9", "changed");
}

Test(dispatch, tracing_is_no_hook)
{
	cr_assert_eq(look(), 0);
	branch_put(VFS_READ + 4, 0xe8, kernel.base + FTRACE);
	cr_assert_eq(look(), 0);
	/* A trampoline of its own. */
	branch_put(VFS_READ + 4, 0xe8, module + 0x1000);
	cr_assert_eq(look(), 0);
	/* One of a BPF program, which the kernel lists. */
	*(uint64_t *)(text + BPF_LIST) = kernel.base + BPF_ENTRY + 16;
	*(uint64_t *)(text + BPF_ENTRY) = module + 0x20;
	*(uint64_t *)(text + BPF_ENTRY + 8) = module + 0x40;
	*(uint64_t *)(text + BPF_ENTRY + 16) = kernel.base + BPF_LIST;
	branch_put(VFS_READ + 4, 0xe8, module + 0x20);
	cr_assert_eq(look(), 0);
	branch_put(VFS_READ + 4, 0xe8, module + 0x60);
	expect_one(VFS_READ + 4, "vfs_read+0x4", "redirected");
}

Test(dispatch, tracing_that_was_on_before_it_was_seen_is_no_hook)
{
	branch_put(VFS_READ + 4, 0xe8, kernel.base + FTRACE);
	cr_assert_eq(look(), 0);
	nop5_put(VFS_READ + 4);
	cr_assert_eq(look(), 0);
}

Test(dispatch, jump_at_a_head_is_told_also_at_first_sight)
{
	branch_put(GETDENTS + 4, 0xe9, module);
	branch_put(VFS_READ, 0xe9, module);
	cr_assert_eq(look(), 2);
	cr_assert_eq(look(), 2);
	branch_put(KILL + 4, 0xe9, module);
	cr_assert_eq(look(), 3);
}

Test(dispatch, kprobes_in_a_function_are_no_hook)
{
	cr_assert_eq(look(), 0);
	text[VFS_READ + 9] = 0xcc;
	text[GETDENTS + 4] = 0xcc;
	for (int i = 0; i < 10; i++) {
		cr_assert_eq(look(), 0);
		fake_now += NS_PER_S;
	}
	branch_put(VFS_READ + 9, 0xe9, module);
	cr_assert_eq(look(), 0);
	/* Once it is seen in order, too, a hook before that is told. */
	branch_put(VFS_READ + 4, 0xe9, module);
	expect_one(VFS_READ + 4, "vfs_read+0x4", "redirected");
}

Test(dispatch, list_of_bpf_symbols_that_never_ends_is_given_up)
{
	cr_assert_eq(look(), 0);
	*(uint64_t *)(text + BPF_LIST) = kernel.base + BPF_ENTRY + 16;
	*(uint64_t *)(text + BPF_ENTRY + 16) = kernel.base + BPF_ENTRY + 16;
	branch_put(VFS_READ + 4, 0xe8, module + 0x20);
	cr_assert_eq(look(), 1);
}

Test(dispatch, what_cannot_be_read_is_an_error)
{
	cr_assert_eq(look(), 0);
	read_error = -EFAULT;
	result.count = 0;
	cr_assert_eq(audit_dispatch.look(state, &view, &result), -EFAULT);
	cr_assert_eq(result.count, 0);
}

Test(dispatch, kernel_without_any_of_these_functions_has_no_such_audit)
{
	void *none = NULL;

	kernel.text_end = kernel.text_start;
	cr_assert_eq(audit_dispatch.prepare(&view, &none), -ENODATA);
	cr_assert_null(none);
}

/* ---- instructions ---------------------------------------------------------------------------- */

Test(code, branches_lead_where_the_cpu_goes)
{
	static const struct {
		uint8_t bytes[6], len;
		enum ka_insn_kind kind;
		int64_t target;
	} cases[] = {
		{ { 0xe8, 0xfb, 0xff, 0xff, 0xff }, 5, KA_INSN_CALL, 0 },
		{ { 0xe9, 0x10, 0x00, 0x00, 0x00 }, 5, KA_INSN_JMP, 0x15 },
		{ { 0xeb, 0xfe }, 2, KA_INSN_JMP, 0 },
		{ { 0x74, 0x05 }, 2, KA_INSN_JCC, 7 },
		{ { 0x0f, 0x84, 0x00, 0x01, 0x00, 0x00 }, 6, KA_INSN_JCC, 0x106 },
		{ { 0x0f, 0x1f, 0x44, 0x00, 0x00 }, 5, KA_INSN_NOP, -1 },
		{ { 0xcc }, 1, KA_INSN_INT3, -1 },
		{ { 0xff, 0xe0 }, 2, KA_INSN_OTHER, -1 },
	};
	const uint64_t address = 0xffffffff81000100;
	struct ka_insn insn;

	for (size_t i = 0; i < array_size(cases); i++) {
		cr_assert_eq(ka_insn_decode(cases[i].bytes, 6, address, &insn), 0);
		cr_assert_eq(insn.length, cases[i].len);
		cr_assert_eq(insn.kind, cases[i].kind);
		cr_assert_eq(insn.target,
			     cases[i].target < 0 ? 0 : address + (uint64_t)cases[i].target);
	}
	cr_assert_eq(ka_insn_decode(cases[0].bytes, 4, address, &insn), -EBADMSG);
}
