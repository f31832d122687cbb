// SPDX-License-Identifier: LGPL-2.1-or-later
/* Instructions of a guest's kernel: where each ends, and where it leads. */
#include <errno.h>
#include <string.h>

#include "insn.h"
#include "kvmaccess.h"
#include "symbols.h"

static int64_t displacement(const uint8_t *bytes, const struct insn *insn)
{
	int32_t value = 0;

	if (insn->imm_size == 1)
		return (int8_t)bytes[insn->imm_at];
	memcpy(&value, bytes + insn->imm_at, sizeof(value));
	return value;
}

static enum ka_insn_kind kind_of(const struct insn *insn)
{
	if (insn->opcode[0] == 0xcc)
		return KA_INSN_INT3;
	if (insn_is_nop(insn))
		return KA_INSN_NOP;
	if (!insn_is_relative_branch(insn))
		return KA_INSN_OTHER;
	return insn->opcode[0] == 0xe8					? KA_INSN_CALL
	       : insn->opcode[0] == 0xe9 || insn->opcode[0] == 0xeb ? KA_INSN_JMP
								   : KA_INSN_JCC;
}

int ka_insn_decode(const void *bytes, size_t len, uint64_t address, struct ka_insn *ret_insn)
{
	struct ka_insn decoded = { 0 };
	struct insn insn;

	if (!insn_decode(bytes, len, true, &insn))
		return -EBADMSG;
	decoded.length = insn.length;
	decoded.kind = kind_of(&insn);
	if (decoded.kind == KA_INSN_CALL || decoded.kind == KA_INSN_JMP ||
	    decoded.kind == KA_INSN_JCC)
		decoded.target = address + insn.length + (uint64_t)displacement(bytes, &insn);
	*ret_insn = decoded;
	return 0;
}

int ka_kernel_symbol_end(const struct ka_kernel *kernel, uint64_t gva, uint64_t *ret_end)
{
	uint64_t next = symbols_next(kernel->symbols, gva - kernel->slide);

	if (!next)
		return -ENOENT;
	*ret_end = next + kernel->slide;
	return 0;
}
