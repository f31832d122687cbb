// SPDX-License-Identifier: LGPL-2.1-or-later
/* Instructions as Zydis decodes them. */
#include "insn.h"

#include <Zydis/Decoder.h>

static void decoder_of(bool is_64bit, ZydisDecoder *ret_decoder)
{
	ZydisDecoderInit(ret_decoder,
			 is_64bit ? ZYDIS_MACHINE_MODE_LONG_64 : ZYDIS_MACHINE_MODE_LEGACY_32,
			 is_64bit ? ZYDIS_STACK_WIDTH_64 : ZYDIS_STACK_WIDTH_32);
}

/* Of VEX and EVEX nobody asks. */
static void take_opcode(const ZydisDecodedInstruction *decoded, struct insn *insn)
{
	if (decoded->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return;
	if (decoded->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT) {
		insn->opcode[0] = decoded->opcode;
	} else if (decoded->opcode_map == ZYDIS_OPCODE_MAP_0F) {
		insn->opcode[0] = 0x0f;
		insn->opcode[1] = decoded->opcode;
	}
}

static bool has_prefix(const ZydisDecodedInstruction *decoded, uint8_t prefix)
{
	for (uint8_t i = 0; i < decoded->raw.prefix_count; i++)
		if (decoded->raw.prefixes[i].value == prefix)
			return true;
	return false;
}

bool insn_decode(const uint8_t *bytes, size_t len, bool is_64bit, struct insn *ret_insn)
{
	ZydisDecodedInstruction decoded;
	ZydisDecoder decoder;

	decoder_of(is_64bit, &decoder);
	if (ZYAN_FAILED(ZydisDecoderDecodeInstruction(&decoder, NULL, bytes, len, &decoded)))
		return false;
	/* No kernel branches within 64 KiB: whoever asks where to reads 1 or 4 bytes. */
	if (decoded.raw.imm[0].is_relative && decoded.raw.imm[0].size == 16)
		return false;
	*ret_insn = (struct insn){
		.length = decoded.length,
		.disp_at = decoded.raw.disp.offset,
		.disp_size = decoded.raw.disp.size / 8,
		.imm_at = decoded.raw.imm[0].size ? decoded.raw.imm[0].offset : decoded.length,
		.imm_size = decoded.raw.imm[0].size / 8,
		.rip_relative = is_64bit && (decoded.attributes & ZYDIS_ATTRIB_HAS_MODRM) &&
				decoded.raw.modrm.mod == 0 && decoded.raw.modrm.rm == 5,
		.repeated = has_prefix(&decoded, 0xf3),
	};
	take_opcode(&decoded, ret_insn);
	return true;
}

bool insn_is_relative_branch(const struct insn *insn)
{
	uint8_t op = insn->opcode[0];

	return op == 0xe8 || op == 0xe9 || op == 0xeb || (op >= 0x70 && op <= 0x7f) ||
	       (op == 0x0f && insn->opcode[1] >= 0x80 && insn->opcode[1] <= 0x8f);
}

bool insn_is_nop(const struct insn *insn)
{
	return (insn->opcode[0] == 0x90 && !insn->repeated) ||
	       (insn->opcode[0] == 0x0f && insn->opcode[1] == 0x1f);
}
