// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the kernel may put in a place that it patches: arch/x86/kernel/alternative.c, paravirt.c,
 * static_call.c, callthunks.c, ftrace.c, jump_label.c. Which of the variants a guest's CPU asks for
 * is not looked at; that each byte belongs to one of them is.
 */
#include "patch_judge.h"

#include <errno.h>
#include <string.h>

#include "insn.h"
#include "patch_probe.h"
#include "symbols.h"
#include "tracing.h"

enum {
	OP_CALL = 0xe8,
	OP_JMP32 = 0xe9,
	OP_JMP8 = 0xeb,
	OP_RET = 0xc3,
	OP_INT3 = 0xcc,
	OP_LOCK = 0xf0,
	OP_DS = 0x3e,
	OP_CS = 0x2e,
	BRANCH_BYTES = 5,
	THUNK_BYTES = 32,
	ITS_THUNK_BYTES = 64,
	TRAMPOLINE_MAX = 512,
	OPS_LOAD_BYTES = 7,
	CODE_MAX = 255,
};

static const uint8_t nop5[] = { 0x0f, 0x1f, 0x44, 0, 0 };
static const uint8_t nop5_k8[] = { 0x66, 0x66, 0x66, 0x66, 0x90 };
static const uint8_t nop8[] = { 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0 };

/* One piece of code at its place: where its bytes come from, and where they lie in the guest. */
struct code {
	const struct patch_judge *judge;
	struct ka_text_boot *boot;
	uint64_t source, place;
	const uint8_t *guest;
	bool copied; /* with the alternatives in it as they were chosen */
};

static bool code_matches(const struct code *code, size_t source_len, size_t len);
static bool alternative(const struct code *code, const struct patch_site *site);

/* ---- the image ----------------------------------------------------------------------------- */

static uint32_t get32(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

static const uint8_t *section_at(const struct ka_section *section, uint64_t address, size_t len)
{
	if (!section || address < section->address || address - section->address > section->len ||
	    len > section->len - (address - section->address))
		return NULL;
	return section->bytes + (address - section->address);
}

static const uint8_t *image_at(const struct patch_judge *judge, uint64_t address, size_t len)
{
	const struct ka_section *sections[] = { judge->text, judge->replacements,
						judge->kernel ? NULL : judge->call_thunk };
	const uint8_t *bytes = NULL;

	for (size_t i = 0; !bytes && i < 3; i++)
		bytes = section_at(sections[i], address, len);
	return bytes;
}

/* First word of a list whose address is not below this one. */
static size_t reloc_from(const struct patch_judge *judge, const struct ka_section *list,
			 uint64_t address)
{
	size_t low = 0, high = list->len / 4;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		uint32_t word = get32(list->bytes + 4 * middle);

		if (reference_address(judge->reference, word) < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Adds to the words of a list, of which those at the ends may lie in `buf` in part only. */
static void relocate(const struct patch_judge *judge, const struct ka_section *list, size_t size,
		     uint64_t add, uint64_t address, uint8_t *buf, size_t len)
{
	for (size_t i = list ? reloc_from(judge, list, address - (size - 1)) : 0;
	     list && i < list->len / 4; i++) {
		uint64_t at = reference_address(judge->reference, get32(list->bytes + 4 * i));
		const uint8_t *word;
		uint64_t value = 0;

		if (at >= address + len)
			break;
		word = image_at(judge, at, size);
		if (!word)
			continue;
		memcpy(&value, word, size);
		value += add;
		for (size_t j = 0; j < size; j++)
			if (at + j >= address && at + j < address + len)
				buf[at + j - address] = (uint8_t)(value >> 8 * j);
	}
}

bool patch_source(const struct patch_judge *judge, uint64_t slide, uint64_t address, uint8_t *buf,
		  size_t len)
{
	const uint8_t *bytes = image_at(judge, address, len);

	if (!bytes)
		return judge->kernel && patch_source(judge->kernel, slide, address, buf, len);
	memcpy(buf, bytes, len);
	if (!slide)
		return true;
	relocate(judge, judge->relocs_32, 4, slide, address, buf, len);
	relocate(judge, judge->relocs_inverse_32, 4, -slide, address, buf, len);
	relocate(judge, judge->relocs_64, 8, slide, address, buf, len);
	return true;
}

/* ---- pieces of code ------------------------------------------------------------------------ */

static bool all_int3(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != OP_INT3)
			return false;
	return true;
}

/* Length of one of the kernel's NOPs; 0: it is none. */
static size_t nop_length(const uint8_t *bytes, size_t len)
{
	static const uint8_t nop7[] = { 0x0f, 0x1f, 0x80, 0, 0, 0, 0 };
	static const uint8_t nop4[] = { 0x0f, 0x1f, 0x40, 0 }, nop3[] = { 0x0f, 0x1f, 0 };
	static const struct {
		const uint8_t *bytes;
		size_t len;
	} long_nops[] = { { nop8, 8 }, { nop7, 7 }, { nop5, 5 }, { nop4, 4 }, { nop3, 3 } };
	size_t prefix = 0;

	/* 66 for 2, 6 and K8's; 2e and 66 for 9 to 11. */
	while (prefix < 4 && prefix < len && (bytes[prefix] == 0x66 || bytes[prefix] == OP_CS))
		prefix++;
	if (prefix < len && bytes[prefix] == 0x90)
		return prefix + 1;
	for (size_t i = 0; i < sizeof(long_nops) / sizeof(long_nops[0]); i++)
		if (len - prefix >= long_nops[i].len &&
		    !memcmp(bytes + prefix, long_nops[i].bytes, long_nops[i].len))
			return prefix + long_nops[i].len;
	return 0;
}

/* Nothing but NOPs, or a JMP over INT3 to the end. */
static bool is_nops(const uint8_t *bytes, size_t len)
{
	while (len) {
		size_t nop = nop_length(bytes, len);

		if (len > 2 && bytes[0] == OP_JMP8)
			return bytes[1] == len - 2 && all_int3(bytes + 2, len - 2);
		if (len > BRANCH_BYTES && bytes[0] == OP_JMP32)
			return get32(bytes + 1) == len - BRANCH_BYTES &&
			       all_int3(bytes + BRANCH_BYTES, len - BRANCH_BYTES);
		if (!nop)
			return false;
		bytes += nop;
		len -= nop;
	}
	return true;
}

static uint64_t branch_target(const struct patch_judge *judge, const struct insn *insn,
			      const uint8_t *bytes, uint64_t place)
{
	int64_t distance = insn->imm_size == 1 ? (int8_t)bytes[insn->imm_at]
					       : (int32_t)get32(bytes + insn->imm_at);
	uint64_t target = place + insn->length + (uint64_t)distance;

	return judge->is_64bit ? target : (uint32_t)target;
}

/* A branch with this opcode and length; its target. */
static bool is_branch(const struct patch_judge *judge, const uint8_t *bytes, size_t len,
		      uint8_t opcode, uint64_t place, uint64_t *ret_target)
{
	struct insn insn;

	if (!insn_decode(bytes, len, judge->is_64bit, &insn) || insn.opcode[0] != opcode ||
	    insn.length != len || !insn_is_relative_branch(&insn))
		return false;
	*ret_target = branch_target(judge, &insn, bytes, place);
	return true;
}

/* CALL or JMP of five bytes. */
static bool branches(const struct code *code, uint8_t opcode, uint64_t *ret_target)
{
	return code->guest[0] == opcode &&
	       is_branch(code->judge, code->guest, BRANCH_BYTES, opcode, code->place, ret_target);
}

static const char *function_name(const struct patch_judge *judge, uint64_t address)
{
	uint64_t offset = 1;
	const char *name;

	if (!section_at(judge->text, address, 1))
		return judge->kernel ? function_name(judge->kernel, address) : NULL;
	name = ka_symbols_name(judge->reference->symbols, address, &offset);
	return offset ? NULL : name;
}

/* Of a function, or of the thunk before it that counts calls. */
static bool is_entry(const struct patch_judge *judge, uint64_t address)
{
	return function_name(judge, address) ||
	       (judge->call_thunk && function_name(judge, address + judge->call_thunk->len));
}

static bool is_target(const struct patch_judge *judge, uint64_t target, uint64_t wanted)
{
	return wanted && (target == wanted ||
			  (judge->call_thunk && target + judge->call_thunk->len == wanted));
}

static bool is_return_thunk(const struct patch_judge *judge, uint64_t address)
{
	for (size_t i = 0; i < judge->return_thunks; i++)
		if (judge->return_thunk[i] == address)
			return true;
	return false;
}

static bool returns(const struct code *code, size_t len)
{
	uint64_t target;

	if (code->guest[0] == OP_RET)
		return all_int3(code->guest + 1, len - 1);
	return len == BRANCH_BYTES && branches(code, OP_JMP32, &target) &&
	       is_return_thunk(code->judge, target);
}

/* ---- kinds of places ----------------------------------------------------------------------- */

/* patch_retpoline(): the indirect branch itself, behind LFENCE or not. */
static bool is_indirect(const uint8_t *bytes, size_t len, unsigned int reg, bool call)
{
	uint8_t modrm = (uint8_t)((call ? 0xd0 : 0xe0) + (reg & 7));
	size_t at = 0;

	if (len >= 3 && bytes[0] == 0x0f && bytes[1] == 0xae && bytes[2] == 0xe8)
		at = 3;
	if (reg >= 8 && (at >= len || bytes[at++] != 0x41))
		return false;
	if (len - at < 2 || bytes[at] != 0xff || bytes[at + 1] != modrm)
		return false;
	at += 2;
	if (!call && at < len && bytes[at] == OP_INT3)
		at++;
	return is_nops(bytes + at, len - at);
}

/* its_init_thunk(): on a page of its own, outside of the image. */
static bool is_its_thunk(const struct code *code, uint64_t target, unsigned int reg)
{
	uint8_t expected[4] = { 0x41, 0xff, (uint8_t)(0xe0 + (reg & 7)), OP_INT3 }, bytes[4];
	size_t skip = reg < 8;

	return code->judge->its_thunks && !section_at(code->judge->text, target, 1) &&
	       code->boot->read && !code->boot->read(code->boot->ctx, target, bytes, 4 - skip) &&
	       !memcmp(bytes, expected + skip, 4 - skip);
}

static bool retpoline(const struct code *code, const uint8_t *source, const struct insn *insn)
{
	const struct patch_judge *judge = code->judge;
	uint64_t thunk = branch_target(judge, insn, source, code->source), target;
	uint8_t op = insn->opcode[0];
	unsigned int reg;

	if (!judge->thunk || thunk < judge->thunk || thunk >= judge->thunk + 16 * THUNK_BYTES)
		return false;
	reg = (unsigned int)(thunk - judge->thunk) / THUNK_BYTES;
	/* Also with the prefix or condition of before. */
	if (!memcmp(code->guest, source, insn->imm_at) &&
	    is_branch(judge, code->guest, insn->length, op, code->place, &target))
		return is_target(judge, target, thunk) ||
		       (judge->call_thunks && target == judge->call_thunks + reg * THUNK_BYTES) ||
		       (judge->jump_thunks && target == judge->jump_thunks + reg * THUNK_BYTES) ||
		       (judge->its_thunks && target == judge->its_thunks + reg * ITS_THUNK_BYTES) ||
		       is_its_thunk(code, target, reg);
	if (op != 0x0f)
		return is_indirect(code->guest, insn->length, reg, op == OP_CALL);
	/* The opposite condition jumps over it. */
	return code->guest[0] == (0x70 | ((insn->opcode[1] & 15) ^ 1)) &&
	       code->guest[1] == insn->length - 2 &&
	       is_indirect(code->guest + 2, insn->length - 2u, reg, false);
}

/* What a static call's trampoline leads to now; 0: nowhere, it returns. False: not known. */
static bool trampoline_function(const struct code *code, uint64_t trampoline,
				uint64_t *ret_function)
{
	uint8_t bytes[BRANCH_BYTES];
	const struct code there = { code->judge, code->boot, trampoline, trampoline, bytes, false };

	if (!trampoline || !code->boot->read ||
	    code->boot->read(code->boot->ctx, trampoline, bytes, sizeof(bytes)))
		return false;
	*ret_function = 0;
	return returns(&there, BRANCH_BYTES) || branches(&there, OP_JMP32, ret_function);
}

/* Of a static call, whose trampoline it is: whose calls may lead out of the kernel's text. */
static bool leads_outside(const struct code *code, const char *name, uint64_t target)
{
	const struct ka_tracing *tracing = code->boot->tracing;

	/* Modules share theirs with those that they are made for, as KVM does. */
	if (code->judge->kernel && tracing_in_range(tracing, TRACING_MODULE, target))
		return true;
	if (!strncmp(name, "bpf_dispatcher_", 15))
		return tracing_in_range(tracing, TRACING_DISPATCHER, target);
	/* What a module does at a tracepoint of the kernel's, and KVM for its guests' samples. */
	return (!strncmp(name, "tp_func_", 8) || !strncmp(name, "__perf_guest_", 13)) &&
	       tracing_in_range(tracing, TRACING_MODULE, target);
}

/* Does the guest's kernel say of its static call that it leads there, and is that its custom? */
static bool is_recorded_function(const struct code *code, uint64_t trampoline, uint64_t target)
{
	uint64_t offset = 0, key = 0, function = 0;
	const char *name = reference_name(code->judge->reference,
					  trampoline ? trampoline : code->source, &offset);
	char other[512];

	if (!name || offset || strncmp(name, "__SCT__", 7) || strlen(name) >= sizeof(other) ||
	    !code->boot->read || !code->judge->is_64bit)
		return false;
	strcpy(other, name);
	other[4] = 'K';
	key = reference_symbol(code->judge->reference, other);
	return key && !code->boot->read(code->boot->ctx, key, &function, sizeof(function)) &&
	       function - code->boot->slide == target && leads_outside(code, name + 7, target);
}

/* All calls of a static call lead where its trampoline does. */
static bool is_static_function(const struct code *code, uint64_t trampoline, uint64_t target)
{
	uint64_t function;

	/* A module's own functions have no names where only the guest has it. */
	if (code->judge->kernel && code->judge->reference->of_guest &&
	    tracing_in_range(code->boot->tracing, TRACING_MODULE, target))
		return true;
	if (!is_entry(code->judge, target))
		return is_recorded_function(code, trampoline, target);
	return !trampoline_function(code, trampoline, &function) ||
	       is_target(code->judge, target, function) || is_target(code->judge, function, target);
}

/* __static_call_transform(). */
static bool static_call(const struct code *code, const uint8_t *source, const struct insn *insn,
			uint64_t trampoline)
{
	static const uint8_t xor5rax[] = { 0x2e, 0x2e, 0x2e, 0x31, 0xc0 };
	/* UD1 (%EDX), %RDI: what the calls of __WARN_trap() become, as seen in 7.3. */
	static const uint8_t warn[] = { 0x67, 0x48, 0x0f, 0xb9, 0x3a };
	uint64_t target;

	if (insn->opcode[0] == 0x0f && insn->length == 6)
		return !memcmp(code->guest, source, 2) &&
		       is_branch(code->judge, code->guest, 6, 0x0f, code->place, &target) &&
		       (is_static_function(code, trampoline, target) ||
			is_return_thunk(code->judge, target) ||
			target == code->judge->static_call_return);
	if (insn->opcode[0] == OP_CALL)
		return !memcmp(code->guest, nop5, 5) || !memcmp(code->guest, nop5_k8, 5) ||
		       !memcmp(code->guest, xor5rax, 5) ||
		       (trampoline && trampoline == code->judge->warn_trampoline &&
			!memcmp(code->guest, warn, 5)) ||
		       (branches(code, OP_CALL, &target) &&
			is_static_function(code, trampoline, target));
	return returns(code, BRANCH_BYTES) ||
	       (branches(code, OP_JMP32, &target) && is_static_function(code, trampoline, target));
}

static bool jump_label(const struct code *code, uint64_t label, size_t len)
{
	uint64_t target;

	if (nop_length(code->guest, len) == len)
		return true;
	return is_branch(code->judge, code->guest, len, len == 2 ? OP_JMP8 : OP_JMP32, code->place,
			 &target) &&
	       target == label;
}

/* A copy of code that lies elsewhere, from `from` up to `to` in the image. */
static bool copy_matches(const struct code *copy, uint64_t from, uint64_t to)
{
	const struct code part = { copy->judge,
				   copy->boot,
				   from,
				   copy->place + (from - copy->source),
				   copy->guest + (from - copy->source),
				   true };

	return to >= from && to - from <= CODE_MAX && code_matches(&part, to - from, to - from);
}

/* Loads what lies behind the trampoline and its return: the user's struct ftrace_ops. */
static bool ops_load(const uint8_t *bytes, uint64_t rest)
{
	uint64_t behind = get32(bytes + 3) - rest;

	return bytes[0] == 0x48 && bytes[1] == 0x8b && bytes[2] == 0x15 && behind >= 1 &&
	       behind <= BRANCH_BYTES;
}

/* What the copy does not have as it stands in the image: who uses it. */
static bool trampoline_user(const struct code *copy, const struct patch_ftrace *ftrace)
{
	uint64_t op = ftrace->op - ftrace->start, call = ftrace->call - ftrace->start, function;
	const struct code caller = { copy->judge,	 copy->boot,	     ftrace->call,
				     copy->place + call, copy->guest + call, false };

	return ops_load(copy->guest + op, ftrace->end - ftrace->op - OPS_LOAD_BYTES) &&
	       branches(&caller, OP_CALL, &function) && function_name(copy->judge, function) &&
	       (!ftrace->jmp || is_nops(copy->guest + (ftrace->jmp - ftrace->start), 2));
}

/* create_trampoline(): ftrace's code with the call of one user in it, which is the kernel's. */
static bool is_trampoline_of(const struct code *code, uint64_t target,
			     const struct patch_ftrace *ftrace)
{
	uint8_t bytes[TRAMPOLINE_MAX];
	const struct patch_judge *kernel = code->judge->kernel ? code->judge->kernel : code->judge;
	const struct code copy = { kernel, code->boot, ftrace->start, target, bytes, true };
	uint64_t jmp = ftrace->jmp ? ftrace->jmp : ftrace->end;

	/* Each has a place of its own. */
	if (!ftrace->end || !code->boot->read || section_at(kernel->text, target, 1) ||
	    code->boot->read(code->boot->ctx, target, bytes, ftrace->end - ftrace->start))
		return false;
	return trampoline_user(&copy, ftrace) && copy_matches(&copy, ftrace->start, ftrace->op) &&
	       copy_matches(&copy, ftrace->op + OPS_LOAD_BYTES, ftrace->call) &&
	       copy_matches(&copy, ftrace->call + BRANCH_BYTES, jmp) &&
	       (!ftrace->jmp || copy_matches(&copy, jmp + 2, ftrace->end));
}

/* Up to 6.1 a dispatcher of BPF is a function whose first bytes jump to the code that was made for it;
 * since then it is a static call (c86df29d11df). */
static bool is_dispatcher(const struct code *code, uint64_t target)
{
	uint64_t offset = 1;
	const char *name = reference_name(code->judge->reference, code->source, &offset);

	return name && !offset && !strncmp(name, "bpf_dispatcher_", 15) &&
	       tracing_in_range(code->boot->tracing, TRACING_DISPATCHER, target);
}

bool patch_is_ftrace_nop(const uint8_t *bytes)
{
	return !memcmp(bytes, nop5, sizeof(nop5)) || !memcmp(bytes, nop5_k8, sizeof(nop5_k8));
}

static bool ftrace(const struct code *code)
{
	uint64_t target;

	if (patch_is_ftrace_nop(code->guest))
		return true;
	if (branches(code, OP_JMP32, &target))
		return is_dispatcher(code, target);
	if (!branches(code, OP_CALL, &target))
		return false;
	if (code->judge->graph_caller && target == code->judge->graph_caller)
		return true;
	for (size_t i = 0; i < PATCH_FTRACE_CALLERS; i++)
		if (target == code->judge->ftrace[i].start ||
		    is_trampoline_of(code, target, &code->judge->ftrace[i]))
			return true;
	return tracing_has_direct(code->boot->tracing, code->place, target);
}

static bool ftrace_call(const struct code *code)
{
	uint64_t target;

	return (branches(code, OP_CALL, &target) || branches(code, OP_JMP32, &target)) &&
	       function_name(code->judge, target);
}

/* What hypervisors put into pv_ops in place of what the image has there. */
static bool is_hypervisor_function(const struct patch_judge *judge, uint64_t address)
{
	static const char *const prefixes[] = {
		"kvm_",
		"xen_",
		"hv_",
		"vmware_",
		"tdx_",
		"__pv_",
		"__raw_callee_save___kvm",
		"__raw_callee_save___pv",
		"__raw_callee_save_xen",
		"__raw_callee_save_hv",
		"hyperv_",
		"tlb_remove_table",
	};
	const char *name = function_name(judge, address);

	for (size_t i = 0; name && i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
}

/* What the image has in the slot of pv_ops that an indirect call goes through. */
static uint64_t slot_function(const struct code *code)
{
	const struct patch_judge *judge = code->judge;
	const uint8_t *source = image_at(judge, code->source, 7), *slot;
	size_t size = judge->is_64bit ? 8 : 4;
	uint64_t address, function = 0;
	struct insn insn;

	if (!source || !insn_decode(source, 7, judge->is_64bit, &insn) || insn.opcode[0] != 0xff ||
	    insn.disp_size != 4)
		return 0;
	address = (uint64_t)(int64_t)(int32_t)get32(source + insn.disp_at);
	if (insn.rip_relative)
		address += code->source + insn.length;
	slot = section_at(judge->pv_ops, judge->is_64bit ? address : (uint32_t)address, size);
	if (slot)
		memcpy(&function, slot, size);
	return function;
}

/* The function that an indirect call through pv_ops leads to, or the thunk before it. */
static bool is_paravirt(const struct code *code, uint64_t target)
{
	const struct patch_judge *judge = code->judge;
	uint64_t thunk = judge->call_thunk ? judge->call_thunk->len : 0;

	return is_target(judge, target, slot_function(code)) ||
	       is_hypervisor_function(judge, target) ||
	       (thunk && is_hypervisor_function(judge, target + thunk));
}

/* native_patch() of kernels before 5.12: what a function does in place of a call, then NOPs. */
static bool paravirt_inline(const struct code *code, size_t len)
{
	static const struct {
		const char *function; /* part of its name */
		uint8_t len, bytes[3];
	} natives[] = {
		{ "irq_disable", 1, { 0xfa } },
		{ "irq_enable", 1, { 0xfb } },
		{ "native_save_fl", 2, { 0x9c, 0x58 } },
		{ "native_restore_fl", 2, { 0x57, 0x9d } },
		{ "native_wbinvd", 2, { 0x0f, 0x09 } },
		{ "vcpu_is_preempted", 2, { 0x31, 0xc0 } },
		{ "native_read_cr2", 3, { 0x0f, 0x20, 0xd0 } },
		{ "native_read_cr3", 3, { 0x0f, 0x20, 0xd8 } },
		{ "native_write_cr3", 3, { 0x0f, 0x22, 0xdf } },
		{ "paravirt_ident_64", 3, { 0x48, 0x89, 0xf8 } },
		{ "queued_spin_unlock", 3, { 0xc6, 0x07, 0 } },
		{ "queued_spin_unlock", 3, { 0xc6, 0, 0 } },
	};
	const char *name = function_name(code->judge, slot_function(code));

	for (size_t i = 0; name && i < sizeof(natives) / sizeof(natives[0]); i++)
		if (strstr(name, natives[i].function) && natives[i].len <= len &&
		    !memcmp(code->guest, natives[i].bytes, natives[i].len) &&
		    is_nops(code->guest + natives[i].len, len - natives[i].len))
			return true;
	return false;
}

/* A branch in place of the indirect one of the image. */
static bool paravirt_direct(const struct code *code, size_t len)
{
	const uint8_t *source = image_at(code->judge, code->source, 2);
	uint64_t target;
	/* Group 5 of FF: /2 is CALL, /4 JMP. */
	uint8_t opcode = source && (source[1] >> 3 & 7) == 4 ? OP_JMP32 : OP_CALL;

	return len >= BRANCH_BYTES && branches(code, opcode, &target) &&
	       is_paravirt(code, target) && is_nops(code->guest + BRANCH_BYTES, len - BRANCH_BYTES);
}

/* paravirt_patch(): a call of a function that does nothing is left out. */
static bool paravirt(const struct code *code, size_t len)
{
	return is_nops(code->guest, len) || paravirt_inline(code, len) ||
	       paravirt_direct(code, len);
}

static bool may_be_constant(enum ka_patch_kind kind, uint64_t value)
{
	switch (kind) {
	case KA_PATCH_RUNTIME_SHIFT:
		return value && value < 64;
	case KA_PATCH_RUNTIME_MASK:
		return value && !(value & (value + 1));
	case KA_PATCH_RUNTIME_LIMIT:
		return value == 0x7ffffffff000 || value == 0xfffffffffff000;
	default: /* KA_PATCH_RUNTIME_POINTER */
		return value >> 63 && !(value & 7);
	}
}

/* One value for all places of a list: what the first one holds, where it can be one. */
static bool runtime_constant(const struct code *code, const struct patch_site *site)
{
	uint64_t value = 0, *known = &code->boot->constant[site->index];

	memcpy(&value, code->guest, site->length);
	if (!*known && may_be_constant(site->kind, value))
		*known = value;
	return value && value == *known;
}

/* ---- code with all that is patched in it ----------------------------------------------------- */

/* What stands in one place of the code, be it moved to a replacement's place or not. */
static bool site_matches(const struct code *code, const struct patch_site *site)
{
	static const uint8_t endbr_poison[2][4] = { { 0x66, 0x0f, 0x1f, 0 },
						    { 0x0f, 0x1f, 0x40, 0xd6 } };
	const struct patch_judge *judge = code->judge;
	uint8_t source[CODE_MAX];
	struct insn insn;

	if (!patch_source(judge, code->boot->slide, code->source, source, site->length))
		return false;
	switch (site->kind) {
	case KA_PATCH_RETPOLINE:
		return insn_decode(source, site->length, judge->is_64bit, &insn) &&
		       retpoline(code, source, &insn);
	case KA_PATCH_RETURN:
		return returns(code, site->length);
	case KA_PATCH_STATIC_CALL:
		return insn_decode(source, site->length, judge->is_64bit, &insn) &&
		       static_call(code, source, &insn, judge->sites.target[site->index]);
	case KA_PATCH_STATIC_CALL_TRAMPOLINE:
		memset(&insn, 0, sizeof(insn));
		return static_call(code, source, &insn, 0);
	case KA_PATCH_JUMP_LABEL:
		return jump_label(code, judge->sites.target[site->index], site->length);
	case KA_PATCH_FTRACE:
		return ftrace(code);
	case KA_PATCH_FTRACE_CALL:
		return ftrace_call(code);
	case KA_PATCH_PARAVIRT:
		return paravirt(code, site->length);
	case KA_PATCH_SMP_LOCK:
		return code->guest[0] == OP_LOCK || code->guest[0] == OP_DS;
	case KA_PATCH_ENDBR:
		return !memcmp(code->guest, endbr_poison[0], 4) ||
		       !memcmp(code->guest, endbr_poison[1], 4);
	case KA_PATCH_ALTERNATIVE:
		return alternative(code, site);
	case KA_PATCH_RUNTIME_SHIFT:
	case KA_PATCH_RUNTIME_MASK:
	case KA_PATCH_RUNTIME_POINTER:
	case KA_PATCH_RUNTIME_LIMIT:
		return runtime_constant(code, site);
	default:
		return false;
	}
}

/*
 * The sites at an address; how many bytes one of them accounts for. Alternatives only in a copy:
 * where they are, it is they who ask.
 */
static size_t sites_match(const struct code *code, size_t room)
{
	const struct patch_sites *sites = &code->judge->sites;

	for (size_t i = patch_sites_from(sites, code->source);
	     i < sites->count && sites->site[i].address == code->source; i++)
		if ((sites->site[i].kind != KA_PATCH_ALTERNATIVE || code->copied) &&
		    sites->site[i].length <= room && site_matches(code, &sites->site[i]))
			return sites->site[i].length;
	return 0;
}

/* In the patched block itself, whose addresses relative to it move with it. */
static bool is_inside(const struct insn *insn, int64_t distance, size_t at, size_t len)
{
	int64_t to = (int64_t)at + insn->length + distance;

	return to >= 0 && to <= (int64_t)len;
}

/* Moves what counts from the instruction: text_poke_apply_relocation(). */
static void move_insn(const struct code *code, uint64_t moved, const struct insn *insn, size_t at,
		      size_t source_len, uint8_t *bytes)
{
	bool branch = insn_is_relative_branch(insn);
	uint8_t *word = bytes + (branch ? insn->imm_at : insn->disp_at);
	int64_t distance;
	uint32_t value;

	(void)code;
	if (branch ? insn->imm_size != 4 : !insn->rip_relative)
		return;
	distance = (int32_t)get32(word);
	if (is_inside(insn, distance, at, source_len))
		return;
	value = (uint32_t)(distance + (int64_t)moved);
	memcpy(word, &value, 4);
}

/* A JMP that was made shorter, and what fills the rest. */
static bool shortened(const struct code *code, const struct insn *insn, const uint8_t *expected,
		      uint64_t place, const uint8_t *guest)
{
	uint64_t wanted = branch_target(code->judge, insn, expected, place), target;

	return insn->opcode[0] == OP_JMP32 && guest[0] == OP_JMP8 &&
	       is_branch(code->judge, guest, 2, OP_JMP8, place, &target) && target == wanted &&
	       (all_int3(guest + 2, insn->length - 2u) || is_nops(guest + 2, insn->length - 2u));
}

/* One instruction; `at` in the block, whose bytes are in `block`. */
static bool insn_matches(const struct code *code, const struct insn *insn, const uint8_t *block,
			 size_t at, size_t source_len)
{
	const struct patch_judge *judge = code->judge;
	const uint8_t *guest = code->guest + at;
	uint8_t expected[16];
	uint64_t target;

	memcpy(expected, block + at, insn->length);
	if (code->source != code->place)
		move_insn(code, code->source - code->place, insn, at, source_len, expected);
	if (!memcmp(expected, guest, insn->length))
		return true;
	if ((expected[0] == OP_LOCK || expected[0] == OP_DS) &&
	    (guest[0] == OP_LOCK || guest[0] == OP_DS)) {
		const struct code lock = { judge, code->boot, code->source + at, code->place + at,
					   guest, false };

		return sites_match(&lock, 1) && !memcmp(expected + 1, guest + 1, insn->length - 1u);
	}
	if (insn->opcode[0] == OP_CALL &&
	    is_branch(judge, guest, insn->length, OP_CALL, code->place + at, &target))
		return is_target(judge, target,
				 branch_target(judge, insn, expected, code->place + at));
	return shortened(code, insn, expected, code->place + at, guest);
}

/* Length of the NOPs from here on. */
static size_t nops_from(const struct patch_judge *judge, const uint8_t *block, size_t at,
			size_t len)
{
	struct insn insn;
	size_t end = at;

	while (end < len && insn_decode(block + end, len - end, judge->is_64bit, &insn) &&
	       insn_is_nop(&insn))
		end += insn.length;
	return end - at;
}

/* Source bytes, then NOPs up to `len`, instruction by instruction. */
static bool code_matches(const struct code *code, size_t source_len, size_t len)
{
	const struct patch_judge *judge = code->judge;
	uint8_t block[CODE_MAX + 1];
	struct insn insn;

	if (source_len && !patch_source(judge, code->boot->slide, code->source, block, source_len))
		return false;
	memset(block + source_len, 0x90, len - source_len);
	for (size_t at = 0; at < len;) {
		const struct code here = { judge,
					   code->boot,
					   code->source + at,
					   code->place + at,
					   code->guest + at,
					   code->copied };
		size_t done = at < source_len ? sites_match(&here, source_len - at) : 0;

		if (!done) {
			done = nops_from(judge, block, at, len);
			if (done && !is_nops(code->guest + at, done))
				return false;
		}
		if (!done) {
			if (!insn_decode(block + at, len - at, judge->is_64bit, &insn))
				return !memcmp(block + at, code->guest + at, len - at);
			if (!insn_matches(code, &insn, block, at, source_len))
				return false;
			done = insn.length;
		}
		at += done;
	}
	return true;
}

/* alt_replace_call(): what the indirect call led to, directly. */
static bool direct_call(const struct code *code, size_t len)
{
	return is_nops(code->guest, len) || paravirt_direct(code, len);
}

static bool alternative(const struct code *code, const struct patch_site *site)
{
	const struct patch_alternative *alternative = &code->judge->sites.alternative[site->index];
	struct code original = *code;

	original.copied = false;
	if (code_matches(&original, site->length, site->length))
		return true;
	for (unsigned int i = 0; i < site->count; i++) {
		struct code moved = original;

		moved.source = alternative[i].replacement;
		if (alternative[i].direct_call
			    ? direct_call(code, site->length)
			    : alternative[i].length <= site->length &&
				      code_matches(&moved, alternative[i].length, site->length))
			return true;
	}
	return false;
}

bool patch_accepts(const struct patch_judge *judge, struct ka_text_boot *boot,
		   const struct patch_site *site, const uint8_t *bytes)
{
	struct code code = { judge, boot, site->address, site->address, bytes, false };

	switch (site->kind) {
	case KA_PATCH_ALTERNATIVE:
		return alternative(&code, site);
	case KA_PATCH_CALL:
		return code_matches(&code, site->length, site->length);
	case KA_PATCH_CALL_THUNK:
		code.source = judge->call_thunk->address;
		return code_matches(&code, site->length, site->length);
	default:
		return site_matches(&code, site);
	}
}

bool patch_copy_matches(const struct patch_judge *judge, struct ka_text_boot *boot,
			uint64_t source, uint64_t place, const uint8_t *bytes, size_t len)
{
	const struct code copy = { judge, boot, source, place, bytes, true };

	return copy_matches(&copy, source, source + len);
}

/* ---- the build ----------------------------------------------------------------------------- */

static void find_return_thunks(struct patch_judge *judge)
{
	static const char *const names[] = {
		"__x86_return_thunk",	   "retbleed_return_thunk",   "zen_return_thunk",
		"srso_return_thunk",	   "srso_alias_return_thunk", "srso_untrain_ret_alias",
		"call_depth_return_thunk", "its_return_thunk",	      "srso_safe_ret",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		uint64_t address = reference_symbol(judge->reference, names[i]);

		if (address)
			judge->return_thunk[judge->return_thunks++] = address;
	}
}

/* Symbols that do not follow each other closely are none of one piece of code. */
static void find_ftrace(struct patch_judge *judge)
{
	static const char *const names[PATCH_FTRACE_CALLERS][5] = {
		{ "ftrace_caller", "ftrace_caller_op_ptr", "ftrace_call", NULL,
		  "ftrace_caller_end" },
		{ "ftrace_regs_caller", "ftrace_regs_caller_op_ptr", "ftrace_regs_call",
		  "ftrace_regs_caller_jmp", "ftrace_regs_caller_end" },
	};

	for (size_t i = 0; i < PATCH_FTRACE_CALLERS; i++) {
		struct patch_ftrace ftrace = {
			.start = reference_symbol(judge->reference, names[i][0]),
			.op = reference_symbol(judge->reference, names[i][1]),
			.call = reference_symbol(judge->reference, names[i][2]),
			.jmp = names[i][3] ? reference_symbol(judge->reference, names[i][3]) : 0,
			.end = reference_symbol(judge->reference, names[i][4]),
		};
		uint64_t last = ftrace.jmp ? ftrace.jmp : ftrace.end - 2;

		if (ftrace.op < ftrace.start || ftrace.call < ftrace.op + OPS_LOAD_BYTES ||
		    last < ftrace.call + BRANCH_BYTES || ftrace.end < last + 2 ||
		    ftrace.end - ftrace.start > TRAMPOLINE_MAX)
			ftrace.end = 0;
		judge->ftrace[i] = ftrace;
	}
}

int patch_judge_create(const struct ka_reference *reference, const struct patch_judge *kernel,
		       struct patch_judge *ret_judge)
{
	struct patch_judge judge = {
		.kernel = kernel,
		.reference = reference,
		.text = reference_find(reference, ".text"),
		.replacements = reference_find(reference, ".altinstr_replacement"),
		.call_thunk = reference_find_shared(reference, "call_thunk_template"),
		.pv_ops = reference_find_shared(reference, "pv_ops"),
		.relocs_32 = reference_find(reference, REFERENCE_RELOCS_32),
		.relocs_inverse_32 = reference_find(reference, REFERENCE_RELOCS_INVERSE_32),
		.relocs_64 = reference_find(reference, REFERENCE_RELOCS_64),
		.is_64bit = ka_symbols_64bit(reference->symbols),
		.thunk = reference_symbol(reference, "__x86_indirect_thunk_array"),
		.call_thunks = reference_symbol(reference, "__x86_indirect_call_thunk_array"),
		.jump_thunks = reference_symbol(reference, "__x86_indirect_jump_thunk_array"),
		.its_thunks = reference_symbol(reference, "__x86_indirect_its_thunk_array"),
		.warn_trampoline = reference_symbol(reference, "__SCT__WARN_trap"),
		.static_call_return = reference_symbol(reference, "__static_call_return"),
		.graph_caller = reference_symbol(reference, "ftrace_graph_caller"),
	};
	int err;

	/* Where data has no names, most lists of places are not found. */
	if (!judge.text || (!kernel && !reference_find(reference, "jump_table")) ||
	    (!kernel && !reference->of_guest && (!judge.relocs_32 || !judge.relocs_32->len)))
		return -ENODATA;
	find_return_thunks(&judge);
	find_ftrace(&judge);
	patch_slot_find(kernel ? reference->kernel : reference, &judge.slot);
	err = patch_sites_create(reference, &judge.sites);
	if (err)
		return err;
	*ret_judge = judge;
	return 0;
}

int patch_judge_create_data(const struct ka_reference *reference, const char *section,
			    struct patch_judge *ret_judge)
{
	*ret_judge = (struct patch_judge){
		.reference = reference,
		.text = reference_find(reference, section),
		.relocs_32 = reference_find(reference, REFERENCE_RELOCS_32),
		.relocs_inverse_32 = reference_find(reference, REFERENCE_RELOCS_INVERSE_32),
		.relocs_64 = reference_find(reference, REFERENCE_RELOCS_64),
		.is_64bit = ka_symbols_64bit(reference->symbols),
	};
	return ret_judge->text ? 0 : -ENODATA;
}

void patch_judge_destroy(struct patch_judge *judge)
{
	patch_sites_destroy(&judge->sites);
}
