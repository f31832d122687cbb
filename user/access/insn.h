/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where x86 instructions end, and which of their bytes are addresses relative to them. */
#ifndef KVMACCESS_INSN_H
#define KVMACCESS_INSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct insn {
	uint8_t length;
	uint8_t opcode[2];	    /* 0x0f and the second byte, or one byte and 0 */
	uint8_t disp_at, disp_size; /* of a memory operand; size 0: none */
	uint8_t imm_at, imm_size;
	bool rip_relative; /* that displacement counts from the next instruction */
	bool repeated;	   /* has an F3 prefix */
};

/* False: no instruction, or it does not end within `len`. */
bool insn_decode(const uint8_t *bytes, size_t len, bool is_64bit, struct insn *ret_insn);

/* CALL, JMP or Jcc to an address of 1 or 4 bytes relative to the next instruction. */
bool insn_is_relative_branch(const struct insn *insn);
/* What the assembler and the kernel fill with: NOP and NOPL, but no PAUSE. */
bool insn_is_nop(const struct insn *insn);

#endif
