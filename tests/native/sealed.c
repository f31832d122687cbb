// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sealed.h"

struct ka_registers registers[VCPUS_MAX];
struct ka_paging paging[VCPUS_MAX];
struct ka_seal_vcpu vcpus[VCPUS_MAX];
struct ka_piece pieces[PIECES_MAX];
static uint8_t buf[PIECES_MAX][PAGE];
size_t vcpu_count, piece_count;

static void add_piece(unsigned int vcpu, uint64_t address, uint32_t len, bool contents)
{
	pieces[piece_count] = (struct ka_piece){ .paging = &paging[vcpu],
						 .address = address,
						 .buf = contents ? buf[piece_count] : NULL,
						 .len = len };
	piece_count++;
}

void look(void)
{
	piece_count = 0;
	assert_ok(ka_registers_read_all(t.ka, registers, VCPUS_MAX, &vcpu_count));
	for (unsigned int i = 0; i < vcpu_count; i++) {
		paging[i] = ka_paging(&registers[i]);
		vcpus[i] = (struct ka_seal_vcpu){ &registers[i], &paging[i] };
		add_piece(i, registers[i].gdtr.base, registers[i].gdtr.limit + 1, true);
		add_piece(i, registers[i].idtr.base, registers[i].idtr.limit + 1, !i);
	}
	add_piece(0, gva(GUEST_SCRATCH), PAGE, true);
	add_piece(0, gva(GUEST_SCRATCH + 2 * PAGE) - 100, 100, true);
	/* Of a length that is no multiple of 8. */
	add_piece(0, gva(GUEST_SCRATCH + 2 * PAGE), 13, true);
	assert_ok(ka_readv(t.ka, pieces, piece_count));
	for (size_t i = 0; i < piece_count; i++)
		assert_ok(pieces[i].error);
}

int seal(void)
{
	look();
	return ka_seal(t.ka, vcpus, vcpu_count, pieces, piece_count);
}

void open_sealed(const struct tinyvm_options *options)
{
	static uint8_t table[3 * PAGE];

	support_open(options, 0);
	if (!t.host->seals)
		cr_skip_test("this host has no seals");
	pattern_poke(GUEST_SCRATCH, table, sizeof(table), 1);
	assert_ok(seal());
}

void madvise_vmm(uint64_t gpa, uint64_t len, uint64_t advice)
{
	uint64_t args[] = { gpa, len, advice };

	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_MADVISE, args, 3, NULL));
}

/* Code at GUEST_TEXT + 0x3000 that sets CR3 to its argument; MAILBOX in RDI, argument in RSI. */
void set_cr3(unsigned int vcpu, uint64_t cr3)
{
	static const uint8_t code[] = { 0x0f, 0x22, 0xde, /* mov %rsi, %cr3 */ 0xc3 };

	assert_ok(tinyvm_poke(&t.vm, GUEST_TEXT + 0x3000, code, sizeof(code)));
	assert_ok(tinyvm_do(&t.vm, vcpu, GUEST_CMD_CALL, gva(GUEST_TEXT + 0x3000), cr3));
}
