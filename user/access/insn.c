// SPDX-License-Identifier: LGPL-2.1-or-later
/* Lengths of x86 instructions: Intel SDM vol. 2, chapter 2 and appendix A. */
#include "insn.h"

#include <string.h>

enum { INSN_MAX = 15 };

enum form {
	MODRM = 1 << 0,
	IMM8 = 1 << 1,
	IMM16 = 1 << 2,
	IMMZ = 1 << 3,	 /* 2 or 4 bytes, by operand size */
	REL = 1 << 4,	 /* 4 bytes in 64-bit mode, whatever the operand size */
	IMMV = 1 << 5,	 /* 8 bytes with REX.W, else as IMMZ */
	MOFFS = 1 << 6,	 /* as long as an address */
	GROUP3 = 1 << 7, /* an immediate for /0 and /1 only */
};

enum map { MAP_ONE, MAP_0F, MAP_0F38, MAP_0F3A, MAP_OTHER };

struct state {
	const uint8_t *bytes;
	size_t len, at;
	bool is_64bit, operand16, address16, rex_w;
	struct insn insn;
};

static unsigned int form_one(uint8_t op)
{
	if (op < 0x40)
		return (op & 7) < 4 ? MODRM : (op & 7) == 4 ? IMM8 : (op & 7) == 5 ? IMMZ : 0;
	if (op >= 0x70 && op <= 0x7f)
		return IMM8;
	if (op >= 0x84 && op <= 0x8f)
		return MODRM;
	if (op >= 0xb0 && op <= 0xbf)
		return op < 0xb8 ? IMM8 : IMMV;
	if ((op >= 0xd0 && op <= 0xd3) || (op >= 0xd8 && op <= 0xdf))
		return MODRM;
	if (op >= 0xe0 && op <= 0xe7)
		return IMM8;
	if (op >= 0xa0 && op <= 0xa3)
		return MOFFS;
	switch (op) {
	case 0x62: /* BOUND, in 32-bit mode */
	case 0x63:
	case 0xc4: /* LES, LDS in 32-bit mode */
	case 0xc5:
	case 0xfe:
	case 0xff:
		return MODRM;
	case 0x68:
	case 0xa9:
		return IMMZ;
	case 0x69:
	case 0x81:
	case 0xc7:
		return MODRM | IMMZ;
	case 0x6b:
	case 0x80:
	case 0x82:
	case 0x83:
	case 0xc0:
	case 0xc1:
	case 0xc6:
		return MODRM | IMM8;
	case 0x6a:
	case 0xa8:
	case 0xcd:
	case 0xd4:
	case 0xd5:
	case 0xeb:
		return IMM8;
	case 0x9a: /* far, in 32-bit mode */
	case 0xea:
		return IMMZ | IMM16;
	case 0xc2:
	case 0xca:
		return IMM16;
	case 0xc8:
		return IMM16 | IMM8;
	case 0xe8:
	case 0xe9:
		return REL;
	case 0xf6:
		return MODRM | GROUP3 | IMM8;
	case 0xf7:
		return MODRM | GROUP3 | IMMZ;
	default:
		return 0;
	}
}

static unsigned int form_0f(uint8_t op)
{
	if (op >= 0x80 && op <= 0x8f)
		return REL;
	if ((op >= 0x70 && op <= 0x73) || op == 0x0f || op == 0xa4 || op == 0xac || op == 0xba ||
	    op == 0xc2 || (op >= 0xc4 && op <= 0xc6))
		return MODRM | IMM8;
	if ((op >= 0x04 && op <= 0x0b) || op == 0x0e || (op >= 0x30 && op <= 0x37) || op == 0x77 ||
	    (op >= 0xa0 && op <= 0xa2) || (op >= 0xa8 && op <= 0xaa) || (op >= 0xc8 && op <= 0xcf))
		return 0;
	return MODRM;
}

static bool take(struct state *state, size_t count)
{
	if (count > state->len - state->at)
		return false;
	state->at += count;
	return true;
}

static bool next(struct state *state, uint8_t *ret_byte)
{
	if (state->at >= state->len)
		return false;
	*ret_byte = state->bytes[state->at++];
	return true;
}

/* False: none is left. */
static bool prefixes(struct state *state, uint8_t *ret_opcode)
{
	uint8_t byte;

	while (next(state, &byte)) {
		bool rex = state->is_64bit && (byte & 0xf0) == 0x40;

		switch (byte) {
		case 0x66:
			state->operand16 = true;
			continue;
		case 0x67:
			state->address16 = !state->is_64bit;
			continue;
		case 0xf3:
			state->insn.repeated = true;
			continue;
		case 0xf2:
		case 0xf0:
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
		case 0x64:
		case 0x65:
			continue;
		}
		if (!rex) {
			*ret_opcode = byte;
			return true;
		}
		state->rex_w = byte & 8;
	}
	return false;
}

/* VEX and EVEX carry the map of the opcode that follows them. */
static bool vector_prefix(struct state *state, uint8_t prefix, enum map *ret_map)
{
	uint8_t byte;

	if (!next(state, &byte))
		return false;
	*ret_map = prefix == 0xc5 ? MAP_0F
		   : (byte & (prefix == 0x62 ? 7 : 31)) <= 3
			   ? (enum map)(byte & (prefix == 0x62 ? 7 : 31))
			   : MAP_OTHER;
	return take(state, prefix == 0xc5 ? 0 : prefix == 0xc4 ? 1 : 2);
}

static bool is_vector_prefix(const struct state *state, uint8_t opcode)
{
	if (opcode != 0xc4 && opcode != 0xc5 && opcode != 0x62)
		return false;
	/* In 32-bit mode these are LES, LDS and BOUND, which have no register form. */
	return state->is_64bit || (state->at < state->len && state->bytes[state->at] >= 0xc0);
}

static bool opcode_form(struct state *state, uint8_t opcode, unsigned int *ret_form)
{
	enum map map = MAP_ONE;
	bool vector = is_vector_prefix(state, opcode);

	if (vector && (!vector_prefix(state, opcode, &map) || !next(state, &opcode)))
		return false;
	if (!vector && opcode == 0x0f) {
		map = MAP_0F;
		if (!next(state, &opcode))
			return false;
		if (opcode == 0x38 || opcode == 0x3a) {
			map = opcode == 0x38 ? MAP_0F38 : MAP_0F3A;
			if (!next(state, &opcode))
				return false;
		}
	}
	if (!vector && map <= MAP_0F) {
		state->insn.opcode[0] = map == MAP_0F ? 0x0f : opcode;
		state->insn.opcode[1] = map == MAP_0F ? opcode : 0;
	}
	*ret_form = map == MAP_ONE    ? form_one(opcode)
		    : map == MAP_0F   ? form_0f(opcode)
		    : map == MAP_0F3A ? MODRM | IMM8
				      : MODRM;
	return true;
}

static bool memory_operand(struct state *state, unsigned int *form)
{
	uint8_t modrm, sib = 0;
	unsigned int mod, rm;

	if (!next(state, &modrm))
		return false;
	mod = modrm >> 6;
	rm = modrm & 7;
	if ((*form & GROUP3) && (modrm >> 3 & 7) > 1)
		*form = MODRM;
	if (mod == 3)
		return true;
	if (state->address16)
		return false; /* no kernel has these */
	if (rm == 4 && !next(state, &sib))
		return false;
	state->insn.rip_relative = state->is_64bit && mod == 0 && rm == 5;
	if (mod == 2 || (mod == 0 && (rm == 5 || (rm == 4 && (sib & 7) == 5))))
		state->insn.disp_size = 4;
	else if (mod == 1)
		state->insn.disp_size = 1;
	state->insn.disp_at = (uint8_t)state->at;
	return take(state, state->insn.disp_size);
}

static size_t immediate_size(const struct state *state, unsigned int form)
{
	size_t operand = state->operand16 ? 2 : 4, size = 0;

	if (form & IMM8)
		size += 1;
	if (form & IMM16)
		size += 2;
	if (form & IMMZ)
		size += operand;
	if (form & IMMV)
		size += state->rex_w ? 8 : operand;
	if (form & REL)
		size += state->is_64bit ? 4 : operand;
	if (form & MOFFS)
		size += state->is_64bit ? 8 : 4;
	return size;
}

bool insn_decode(const uint8_t *bytes, size_t len, bool is_64bit, struct insn *ret_insn)
{
	struct state state = { .bytes = bytes,
			       .len = len < INSN_MAX ? len : INSN_MAX,
			       .is_64bit = is_64bit };
	unsigned int form = 0;
	uint8_t opcode;

	if (!prefixes(&state, &opcode) || !opcode_form(&state, opcode, &form))
		return false;
	if ((form & MODRM) && !memory_operand(&state, &form))
		return false;
	state.insn.imm_at = (uint8_t)state.at;
	state.insn.imm_size = (uint8_t)immediate_size(&state, form);
	if (!take(&state, state.insn.imm_size))
		return false;
	state.insn.length = (uint8_t)state.at;
	*ret_insn = state.insn;
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
