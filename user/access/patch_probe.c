// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Breakpoints and jumps of kprobes, held against the guest's record of them: a breakpoint wants a
 * probe there, a jump one whose code is as arch/x86/kernel/kprobes/opt.c makes it.
 */
#include "patch_probe.h"

#include <string.h>

#include "symbols.h"
#include "tracing.h"

enum {
	OP_INT3 = 0xcc,
	OP_CALL = 0xe8,
	OP_JMP32 = 0xe9,
	BRANCH_BYTES = 5,
	CLAC_BYTES = 3,
	PROBE_BYTES = 10,
	COPIED_MAX = 20, /* MAX_OPTIMIZED_LENGTH */
	TEMPLATE_MAX = 256,
};

void patch_slot_find(const struct ka_reference *reference, struct patch_slot *ret_slot)
{
	const struct ka_section *template = reference_find(reference, "optprobe_template");
	uint64_t clac, probe, call;
	struct patch_slot slot;

	if (!template ||
	    ka_symbols_find(reference->symbols, "optprobe_template_clac", &clac) ||
	    ka_symbols_find(reference->symbols, "optprobe_template_val", &probe) ||
	    ka_symbols_find(reference->symbols, "optprobe_template_call", &call) ||
	    ka_symbols_find(reference->symbols, "optimized_callback", &slot.callback) ||
	    clac < template->address || probe < clac + CLAC_BYTES || call < probe + PROBE_BYTES ||
	    template->address + template->len < call + BRANCH_BYTES || template->len > TEMPLATE_MAX)
		return;
	slot.bytes = template->bytes;
	slot.len = template->len;
	slot.clac = clac - template->address;
	slot.probe = probe - template->address;
	slot.call = call - template->address;
	*ret_slot = slot;
}

bool patch_has_probes(const struct ka_text_boot *boot, uint64_t address, size_t len)
{
	size_t i = tracing_probe_from(boot->tracing, address);

	return boot->tracing && i < boot->tracing->probe_count &&
	       boot->tracing->probes[i].address - address < len;
}

static bool leads(const uint8_t *bytes, uint8_t opcode, uint64_t place, uint64_t target)
{
	int32_t distance;

	memcpy(&distance, bytes + 1, 4);
	return bytes[0] == opcode && place + BRANCH_BYTES + (uint64_t)(int64_t)distance == target;
}

/* Up to the copied instructions: saves the registers, and calls with the probe as argument. */
static bool template_matches(const struct patch_slot *slot, const struct tracing_probe *probe,
			     const uint8_t *bytes)
{
	static const uint8_t clac[CLAC_BYTES] = { 0x0f, 0x01, 0xca };
	uint8_t expected[TEMPLATE_MAX];

	memcpy(expected, slot->bytes, slot->len);
	/* Where the CPU has SMAP. */
	if (!memcmp(bytes + slot->clac, clac, sizeof(clac)))
		memcpy(expected + slot->clac, clac, sizeof(clac));
	memcpy(expected + slot->probe, (uint8_t[]){ 0x48, 0xbf }, 2);
	memcpy(expected + slot->probe + 2, &probe->gva, 8);
	if (!leads(bytes + slot->call, OP_CALL, probe->slot + slot->call, slot->callback))
		return false;
	memcpy(expected + slot->call, bytes + slot->call, BRANCH_BYTES);
	return !memcmp(expected, bytes, slot->len);
}

static bool slot_matches(const struct patch_judge *judge, struct ka_text_boot *boot,
			 const struct tracing_probe *probe)
{
	const struct patch_slot *slot = &judge->slot;
	uint8_t bytes[TEMPLATE_MAX + COPIED_MAX + BRANCH_BYTES];
	uint64_t copy = probe->slot + slot->len;

	if (!slot->bytes || !probe->slot || !boot->read || probe->size < BRANCH_BYTES ||
	    probe->size > COPIED_MAX ||
	    boot->read(boot->ctx, probe->slot, bytes, slot->len + probe->size + BRANCH_BYTES))
		return false;
	return template_matches(slot, probe, bytes) &&
	       patch_copy_matches(judge, boot, probe->address, copy, bytes + slot->len,
				  probe->size) &&
	       leads(bytes + slot->len + probe->size, OP_JMP32, copy + probe->size,
		     probe->address + probe->size);
}

/* Where a probe comes or goes its jump lies behind a breakpoint. Without a judge the jump is believed. */
static void undo_probe(const struct patch_judge *judge, struct ka_text_boot *boot,
		       const struct tracing_probe *probe, uint8_t *bytes, size_t room)
{
	uint8_t first = bytes[0];
	bool jump = false;

	if (first != OP_INT3 && first != OP_JMP32)
		return;
	if (room >= BRANCH_BYTES) {
		bytes[0] = OP_JMP32;
		jump = leads(bytes, OP_JMP32, probe->address, probe->slot) &&
		       (!judge || slot_matches(judge, boot, probe));
		bytes[0] = first;
	}
	if (first == OP_JMP32 && !jump)
		return;
	bytes[0] = probe->opcode;
	if (jump)
		memcpy(bytes + 1, probe->copied, sizeof(probe->copied));
}

void patch_undo_probes(const struct patch_judge *judge, struct ka_text_boot *boot,
		       uint64_t address, uint8_t *bytes, size_t len)
{
	const struct ka_tracing *tracing = boot->tracing;

	for (size_t i = tracing_probe_from(tracing, address);
	     tracing && i < tracing->probe_count && tracing->probes[i].address - address < len; i++)
		undo_probe(judge, boot, &tracing->probes[i],
			   bytes + (tracing->probes[i].address - address),
			   len - (tracing->probes[i].address - address));
}
