// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The code that each system call goes through, and the heads of those functions that rootkits hook
 * most. Read whole in each look, and compared with what was seen to be in order; what differs is
 * decoded.
 */
#include "../audit.h"

#include "../cleanup.h"
#include "../clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	HEAD_BYTES = 16,
	CODE_MAX = 16 << 10, /* bytes of a function */
	CODES_MAX = 96,
	BRANCH_BYTES = 5,
	TRAMPOLINE_BYTES = 16, /* of ftrace's, before anything that differs by trampoline */
	BPF_SYMBOLS_MAX = 1024,
	BPF_WALKS_MAX = 8,     /* of that list, in a look */
	TEXT_DIFFERENCES = 4,
	OPCODE_INT3 = 0xcc,
};

/* For no longer than this a breakpoint stands where the kernel patches, be it all functions at once. */
#define POKE_NS (3 * NS_PER_S)

enum code_kind {
	CODE_SWITCH, /* the compiler's switch: leads to system calls, and nowhere else */
	CODE_C,
	CODE_ENTRY, /* in assembly: may lead anywhere in the entry text */
	CODE_HEAD,
};

static const struct {
	const char *name;
	enum code_kind kind;
} watched[] = {
	{ "x64_sys_call", CODE_SWITCH },
	{ "x32_sys_call", CODE_SWITCH },
	{ "ia32_sys_call", CODE_SWITCH },
	{ "do_syscall_64", CODE_C },
	{ "do_int80_emulation", CODE_C },
	{ "do_int80_syscall_32", CODE_C },
	{ "__do_fast_syscall_32", CODE_C },
	{ "do_fast_syscall_32", CODE_C },
	{ "do_SYSENTER_32", CODE_C },
	{ "entry_SYSCALL_64", CODE_ENTRY },
	{ "entry_SYSCALL_64_safe_stack", CODE_ENTRY },
	{ "entry_SYSCALL_64_after_hwframe", CODE_ENTRY },
	{ "syscall_return_via_sysret", CODE_ENTRY },
	{ "entry_SYSCALL_compat", CODE_ENTRY },
	{ "entry_SYSCALL_compat_safe_stack", CODE_ENTRY },
	{ "entry_SYSCALL_compat_after_hwframe", CODE_ENTRY },
	{ "entry_SYSENTER_compat", CODE_ENTRY },
	{ "entry_SYSENTER_compat_after_hwframe", CODE_ENTRY },
	{ "entry_INT80_compat", CODE_ENTRY },
	{ "asm_int80_emulation", CODE_ENTRY },
	{ "int80_emulation", CODE_ENTRY },
	{ "asm_exc_page_fault", CODE_ENTRY },
	{ "asm_exc_debug", CODE_ENTRY },
	{ "asm_exc_int3", CODE_ENTRY },
	{ "error_entry", CODE_ENTRY },
	{ "paranoid_entry", CODE_ENTRY },
	{ "__x64_sys_getdents", CODE_HEAD },
	{ "__x64_sys_getdents64", CODE_HEAD },
	{ "__x64_sys_kill", CODE_HEAD },
	{ "__x64_sys_openat", CODE_HEAD },
	{ "__x64_sys_read", CODE_HEAD },
	{ "__x64_sys_write", CODE_HEAD },
	{ "__x64_sys_execve", CODE_HEAD },
	{ "__x64_sys_ioctl", CODE_HEAD },
	{ "__x64_sys_ptrace", CODE_HEAD },
	{ "__x64_sys_bpf", CODE_HEAD },
	{ "__x64_sys_init_module", CODE_HEAD },
	{ "__x64_sys_finit_module", CODE_HEAD },
	{ "__x64_sys_delete_module", CODE_HEAD },
	{ "__x64_sys_newlstat", CODE_HEAD },
	{ "__x64_sys_statx", CODE_HEAD },
	{ "__x64_sys_recvmsg", CODE_HEAD },
	{ "__x64_sys_syslog", CODE_HEAD },
	{ "vfs_read", CODE_HEAD },
	{ "vfs_write", CODE_HEAD },
	{ "iterate_dir", CODE_HEAD },
	{ "filldir", CODE_HEAD },
	{ "filldir64", CODE_HEAD },
	{ "compat_filldir", CODE_HEAD },
	{ "proc_pid_readdir", CODE_HEAD },
	{ "tcp4_seq_show", CODE_HEAD },
	{ "tcp6_seq_show", CODE_HEAD },
	{ "udp4_seq_show", CODE_HEAD },
	{ "udp6_seq_show", CODE_HEAD },
	{ "tpacket_rcv", CODE_HEAD },
	{ "packet_rcv", CODE_HEAD },
	{ "icmp_rcv", CODE_HEAD },
	{ "ip_rcv", CODE_HEAD },
	{ "commit_creds", CODE_HEAD },
	{ "prepare_kernel_cred", CODE_HEAD },
	{ "register_kprobe", CODE_HEAD },
	{ "audit_log_start", CODE_HEAD },
	{ "do_exit", CODE_HEAD },
};

_Static_assert(array_size(watched) <= CODES_MAX, "more functions than pieces");

struct code {
	const char *name;
	enum code_kind kind;
	uint64_t gva;
	uint32_t len;
	bool seen, accepted; /* `first` is filled; `good` is */
	uint64_t poked_ns; /* since when a breakpoint stands in it that nothing explains; 0: none does */
	uint8_t *observed, *first, *good;
};

struct bpf_symbols {
	uint64_t list; /* GVA of bpf_kallsyms; 0: this kernel does not tell */
	struct ka_member start, end, node;
	unsigned int walks; /* in this look */
};

struct dispatch {
	struct code code[CODES_MAX];
	struct ka_piece pieces[CODES_MAX];
	size_t count;
	uint8_t *room;
	uint64_t entry_start, entry_end;
	struct bpf_symbols bpf;
	struct ka_tracing_layout *tracing; /* NULL: this kernel does not tell */
};

/* ---- what is watched ------------------------------------------------------------------------ */

static bool code_find(const struct ka_kernel *kernel, const char *name, enum code_kind kind,
		      struct code *ret_code)
{
	struct code code = { .name = name, .kind = kind };
	uint64_t end;

	if (ka_kernel_symbol(kernel, name, &code.gva) ||
	    ka_kernel_symbol_end(kernel, code.gva, &end) || code.gva < kernel->text_start ||
	    end > kernel->text_end || end - code.gva > CODE_MAX)
		return false;
	code.len = (uint32_t)(end - code.gva);
	if (kind == CODE_HEAD && code.len > HEAD_BYTES)
		code.len = HEAD_BYTES;
	*ret_code = code;
	return true;
}

static void bpf_find(const struct audit_view *view, struct bpf_symbols *bpf)
{
	if (!view->types || ka_kernel_symbol(view->kernel, "bpf_kallsyms", &bpf->list) ||
	    ka_types_member(view->types, "bpf_ksym", "start", &bpf->start) ||
	    ka_types_member(view->types, "bpf_ksym", "end", &bpf->end) ||
	    ka_types_member(view->types, "bpf_ksym", "lnode", &bpf->node))
		bpf->list = 0;
}

static void dispatch_free(void *state)
{
	struct dispatch *dispatch = state;

	if (dispatch) {
		ka_tracing_layout_free(dispatch->tracing);
		free(dispatch->room);
	}
	free(dispatch);
}

static int room_make(struct dispatch *dispatch)
{
	size_t total = 0, at = 0;

	for (size_t i = 0; i < dispatch->count; i++)
		total += dispatch->code[i].len;
	dispatch->room = calloc(3, total);
	if (!dispatch->room)
		return -ENOMEM;
	for (size_t i = 0; i < dispatch->count; i++) {
		struct code *code = &dispatch->code[i];

		code->observed = dispatch->room + at;
		code->first = code->observed + total;
		code->good = code->first + total;
		at += code->len;
	}
	return 0;
}

static int dispatch_prepare(const struct audit_view *view, void **ret_state)
{
	struct dispatch *dispatch = calloc(1, sizeof(*dispatch));
	int r;

	if (!dispatch)
		return -ENOMEM;
	for (size_t i = 0; i < array_size(watched); i++)
		dispatch->count += code_find(view->kernel, watched[i].name, watched[i].kind,
					     &dispatch->code[dispatch->count]);
	ka_kernel_symbol(view->kernel, "__entry_text_start", &dispatch->entry_start);
	ka_kernel_symbol(view->kernel, "__entry_text_end", &dispatch->entry_end);
	bpf_find(view, &dispatch->bpf);
	if (!view->types || ka_tracing_layout_new(view->kernel, view->types, &dispatch->tracing))
		dispatch->tracing = NULL;
	r = dispatch->count ? room_make(dispatch) : -ENODATA;
	if (r < 0) {
		dispatch_free(dispatch);
		return r;
	}
	*ret_state = dispatch;
	return 0;
}

/* ---- where branches may lead ---------------------------------------------------------------- */

static bool in_image(const struct ka_kernel *kernel, uint64_t gva)
{
	return gva >= kernel->base && gva < kernel->image_end;
}

static bool in_code(const struct code *code, uint64_t gva)
{
	return gva >= code->gva && gva < code->gva + code->len;
}

/* "__x64_sys_read", "__ia32_compat_sys_ioctl", "__do_sys_…", "sys_ni_syscall". */
static bool is_syscall_name(const char *name)
{
	static const char *const prefixes[] = { "__x64_", "__ia32_", "__x32_", "__do_", "__se_" };

	if (!strncmp(name, "sys_", 4) || !strncmp(name, "compat_sys_", 11))
		return true;
	for (size_t i = 0; i < array_size(prefixes); i++)
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return strstr(name, "sys_");
	return false;
}

static bool is_thunk_name(const char *name)
{
	return strstr(name, "return_thunk") || strstr(name, "__x86_indirect_thunk") ||
	       !strncmp(name, "ftrace_", 7) || !strcmp(name, "__fentry__");
}

/* Only what a direct branch of this code may lead to in any kernel. */
static bool target_belongs(const struct dispatch *dispatch, const struct ka_kernel *kernel,
			   const struct code *code, uint64_t target)
{
	uint64_t offset = 1;
	const char *name = ka_kernel_name(kernel, target, &offset);

	if (in_code(code, target))
		return true;
	if (code->kind == CODE_ENTRY && target >= dispatch->entry_start &&
	    target < dispatch->entry_end)
		return true;
	if (!name || offset || target < kernel->text_start || target >= kernel->text_end)
		return false;
	return code->kind != CODE_SWITCH || is_syscall_name(name) || is_thunk_name(name);
}

/* A trampoline that ftrace made begins as the one in the kernel that it was copied from. */
static bool is_ftrace_trampoline(const struct audit_view *view, uint64_t target)
{
	static const char *const templates[] = { "ftrace_caller", "ftrace_regs_caller" };
	uint8_t bytes[TRAMPOLINE_BYTES], template[TRAMPOLINE_BYTES];

	if (ka_gva_read(view->vm, &view->kernel->paging, target, bytes, sizeof(bytes)))
		return false;
	for (size_t i = 0; i < array_size(templates); i++)
		if (!ka_symbol_read(view->vm, view->kernel, templates[i], template,
				    sizeof(template)) &&
		    !memcmp(bytes, template, sizeof(bytes)))
			return true;
	return false;
}

/* One that the kernel lists as made for BPF programs. */
static bool is_bpf_trampoline(const struct audit_view *view, struct bpf_symbols *bpf,
			      uint64_t target)
{
	const struct ka_paging *paging = &view->kernel->paging;
	uint64_t at = bpf->list, start, end;

	if (!bpf->list || bpf->walks++ >= BPF_WALKS_MAX)
		return false;
	for (int i = 0; i < BPF_SYMBOLS_MAX; i++) {
		if (ka_gva_read(view->vm, paging, at, &at, sizeof(at)) || at == bpf->list)
			break;
		if (ka_gva_read(view->vm, paging, at - bpf->node.offset + bpf->start.offset, &start,
				sizeof(start)) ||
		    ka_gva_read(view->vm, paging, at - bpf->node.offset + bpf->end.offset, &end,
				sizeof(end)))
			break;
		if (target >= start && target < end)
			return true;
	}
	return false;
}

/* What the call at a function's head, through which it is traced, may lead to. */
static bool is_tracing(struct dispatch *dispatch, const struct audit_view *view,
		       uint64_t target)
{
	uint64_t offset = 1;
	const char *name = ka_kernel_name(view->kernel, target, &offset);

	if (in_image(view->kernel, target))
		return name && !offset && is_thunk_name(name);
	return is_ftrace_trampoline(view, target) || is_bpf_trampoline(view, &dispatch->bpf, target);
}

/* ---- what differs --------------------------------------------------------------------------- */

struct look_at {
	struct dispatch *dispatch;
	const struct audit_view *view;
	struct audit_result *result;
	struct code *code;
	size_t found;
	bool poked;
};

static void bytes_text(const uint8_t *bytes, size_t len, char buf[static 2 * HEAD_BYTES + 1])
{
	len = len < HEAD_BYTES ? len : HEAD_BYTES;
	for (size_t i = 0; i < len; i++)
		snprintf(buf + 2 * i, 3, "%02x", bytes[i]);
}

/* `was` is what stood there when it was first seen; 0 bytes: nothing else is known to belong there. */
static void tell(struct look_at *at, uint32_t offset, uint32_t len, const uint8_t *was,
		 const uint8_t *is, uint64_t target)
{
	struct difference *difference = audit_add(at->result, CHECK_DISPATCH, OBJECT_CODE,
						  at->code->gva + offset - at->view->kernel->base);
	char to[80] = "";

	at->found++;
	if (!difference)
		return;
	difference->gva = at->code->gva + offset;
	difference->target = target;
	difference->len = len;
	difference->problem = target ? "redirected" : "changed";
	audit_symbol_text(at->view->kernel, difference->gva, difference->name,
			  sizeof(difference->name));
	if (target)
		audit_symbol_text(at->view->kernel, target, to, sizeof(to));
	snprintf(difference->what, sizeof(difference->what), target ? "leads to %s" : "changed%s",
		 to);
	if (was)
		bytes_text(was, len, difference->expected_text);
	bytes_text(is, len, difference->observed_text);
}

/* Bytes that the instruction at an offset of the function takes; where none is, one. */
static uint32_t insn_at(const struct code *code, const uint8_t *bytes, uint32_t offset,
			struct ka_insn *insn)
{
	if (ka_insn_decode(bytes + offset, code->len - offset, code->gva + offset, insn)) {
		*insn = (struct ka_insn){ .length = 1 };
		return code->len - offset;
	}
	return insn->length;
}

static uint32_t head_site(const struct code *code, const uint8_t *bytes)
{
	static const uint8_t endbr64[4] = { 0xf3, 0x0f, 0x1e, 0xfa };

	return code->len >= sizeof(endbr64) && !memcmp(bytes, endbr64, sizeof(endbr64))
		       ? sizeof(endbr64)
		       : 0;
}

/* At first sight: does each branch lead to where such code leads? */
static void judge_branches(struct look_at *at)
{
	const struct code *code = at->code;
	const uint8_t *bytes = code->observed;
	uint32_t site = head_site(code, bytes);
	struct ka_insn insn;

	for (uint32_t offset = 0, len; offset < code->len; offset += len) {
		bool branch, belongs;

		len = insn_at(code, bytes, offset, &insn);
		branch = insn.target && (code->kind != CODE_HEAD || offset == site || !offset);
		if (!branch)
			continue;
		belongs = insn.kind == KA_INSN_CALL && offset == site && code->kind != CODE_ENTRY &&
			  is_tracing(at->dispatch, at->view, insn.target);
		if (!belongs && !(code->kind == CODE_HEAD && insn.kind == KA_INSN_CALL))
			belongs = target_belongs(at->dispatch, at->view->kernel, code, insn.target);
		if (!belongs)
			tell(at, offset, len, NULL, bytes + offset, insn.target);
	}
}

/* May the kernel itself have put this instruction in the place of that one? */
static bool is_self_patch(const struct look_at *at, uint32_t offset, const struct ka_insn *was,
			  const struct ka_insn *is)
{
	const struct code *code = at->code;
	bool jump_label = (was->kind == KA_INSN_NOP || was->kind == KA_INSN_JMP) &&
			  (is->kind == KA_INSN_NOP ||
			   (is->kind == KA_INSN_JMP && in_code(code, is->target)));
	bool traced = offset == head_site(code, code->first) && was->length == BRANCH_BYTES &&
		      (was->kind == KA_INSN_NOP || was->kind == KA_INSN_CALL) &&
		      (is->kind == KA_INSN_NOP ||
		       (is->kind == KA_INSN_CALL &&
			is_tracing(at->dispatch, at->view, is->target)));

	return was->length == is->length &&
	       ((jump_label && (was->length == 2 || was->length == BRANCH_BYTES)) || traced);
}

static bool may_be_poke(struct look_at *at)
{
	at->poked = true;
	return !at->code->poked_ns || clock_mono() - at->code->poked_ns < POKE_NS;
}

/*
 * Holds what stands there against what did at first, instruction by instruction. Of a head only what
 * comes before the function's own code, and no breakpoint: kprobes put theirs behind it, and jumps.
 */
static void judge_changes(struct look_at *at)
{
	struct code *code = at->code;
	bool head = code->kind == CODE_HEAD;
	uint32_t end = head ? head_site(code, code->first) + 1 : code->len;
	struct ka_insn was, is;

	for (uint32_t offset = 0, len; offset < end; offset += len) {
		const uint8_t *first = code->first + offset, *now = code->observed + offset;

		len = insn_at(code, code->first, offset, &was);
		if (!memcmp(first, now, len))
			continue;
		insn_at(code, code->observed, offset, &is);
		if (is_self_patch(at, offset, &was, &is) || (head && is.kind == KA_INSN_INT3))
			continue;
		/* While text_poke() puts another instruction there. */
		if (is.kind == KA_INSN_INT3 && may_be_poke(at))
			continue;
		tell(at, offset, len, first, now, is.target);
	}
}

/* Where the branch leads that has the byte at an offset: a patch may begin behind the opcode. 0: none. */
static uint64_t branch_over(const struct code *code, uint32_t offset)
{
	struct ka_insn insn = { 0 };

	for (uint32_t at = 0, len = 0; at <= offset && at < code->len; at += len)
		len = insn_at(code, code->observed, at, &insn);
	return insn.target;
}

/* With the vendor's image: what the kernel may put there is known. */
static int judge_by_reference(struct look_at *at)
{
	struct ka_text_difference found[TEXT_DIFFERENCES];
	const struct code *code = at->code;
	uint64_t slide = at->view->kernel->slide, from = code->gva - slide, start, end;
	_cleanup_free_ uint8_t *bytes = malloc(code->len + 2 * KA_TEXT_MARGIN);
	struct ka_text_boot boot = *at->view->boot;
	struct ka_tracing *tracing = NULL;
	size_t count;
	int err;

	if (!bytes)
		return -ENOMEM;
	ka_text_range(at->view->text, &start, &end);
	start = from - start > KA_TEXT_MARGIN ? from - KA_TEXT_MARGIN : start;
	end = end - (from + code->len) > KA_TEXT_MARGIN ? from + code->len + KA_TEXT_MARGIN : end;
	err = ka_gva_read(at->view->vm, &at->view->kernel->paging, start + slide, bytes,
			  end - start);
	if (err)
		return err;
	count = ka_text_compare(at->view->text, &boot, start, bytes, end - start, from,
				from + code->len, found, TEXT_DIFFERENCES);
	/* Its own records of what it traces are read for what nothing else explains. */
	if (count && at->dispatch->tracing &&
	    !ka_tracing_read(at->view->vm, at->view->kernel, at->dispatch->tracing, &tracing)) {
		boot.tracing = tracing;
		count = ka_text_compare(at->view->text, &boot, start, bytes, end - start, from,
					from + code->len, found, TEXT_DIFFERENCES);
		ka_tracing_free(tracing);
	}
	for (size_t i = 0; i < count && i < TEXT_DIFFERENCES; i++) {
		uint32_t offset = (uint32_t)(found[i].address - from);

		if (found[i].observed[0] == OPCODE_INT3 && found[i].expected[0] != OPCODE_INT3 &&
		    may_be_poke(at))
			continue;
		tell(at, offset, found[i].len, found[i].expected, found[i].observed,
		     found[i].target ? found[i].target + slide : branch_over(code, offset));
	}
	return 0;
}

static int judge(struct look_at *at)
{
	struct code *code = at->code;
	int err = 0;

	if (at->view->text) {
		err = judge_by_reference(at);
	} else {
		if (!code->seen)
			memcpy(code->first, code->observed, code->len);
		code->seen = true;
		judge_changes(at);
		/* What was wrong from the start is told as long as it stands there. */
		if (!at->found)
			judge_branches(at);
	}
	code->poked_ns = !at->poked ? 0 : code->poked_ns ? code->poked_ns : clock_mono();
	code->accepted = !err && !at->found && !at->poked;
	if (code->accepted)
		memcpy(code->good, code->observed, code->len);
	return err;
}

static int dispatch_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	struct dispatch *dispatch = state;
	int err;

	for (size_t i = 0; i < dispatch->count; i++)
		dispatch->pieces[i] = (struct ka_piece){ .paging = &view->kernel->paging,
							 .address = dispatch->code[i].gva,
							 .buf = dispatch->code[i].observed,
							 .len = dispatch->code[i].len };
	dispatch->bpf.walks = 0;
	err = ka_readv(view->vm, dispatch->pieces, dispatch->count);
	for (size_t i = 0; !err && i < dispatch->count; i++)
		err = dispatch->pieces[i].error;
	for (size_t i = 0; !err && i < dispatch->count; i++) {
		struct code *code = &dispatch->code[i];
		struct look_at at = { .dispatch = dispatch,
				      .view = view,
				      .result = result,
				      .code = code };

		if (!code->accepted || memcmp(code->good, code->observed, code->len))
			err = judge(&at);
	}
	return err;
}

/* Not the heads: they lie on a frame each, where the kernel writes as soon as anything is traced.
 */
static size_t dispatch_hot_spots(const void *state, struct audit_range *ranges, size_t max)
{
	const struct dispatch *dispatch = state;
	size_t count = 0;

	for (size_t i = 0; i < dispatch->count && count < max; i++)
		if (dispatch->code[i].kind != CODE_HEAD)
			ranges[count++] = (struct audit_range){ dispatch->code[i].gva,
								dispatch->code[i].len };
	return count;
}

const struct audit audit_dispatch = {
	.each_cycle = true,
	.without_types = true,
	.prepare = dispatch_prepare,
	.look = dispatch_look,
	.hot_spots = dispatch_hot_spots,
	.release = dispatch_free,
};
