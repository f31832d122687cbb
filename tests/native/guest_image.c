// SPDX-License-Identifier: LGPL-2.1-or-later
/* Builds what a tiny guest starts with: page tables, GDT and IDT as Linux lays them out, code. */
#include "guest_image.h"

#include <string.h>

extern const uint8_t guest64_start[], guest64_stubs[], guest64_syscall[], guest64_end[];
extern const uint8_t guest32_start[], guest32_stubs[], guest32_syscall[], guest32_end[];

enum {
	PTE_PRESENT = 1 << 0,
	PTE_WRITE = 1 << 1,
	PTE_ACCESSED = 1 << 5,
	PTE_DIRTY = 1 << 6,
	PTE_LARGE = 1 << 7,
	/* Set beforehand, so that the processor never writes to the tables by itself. */
	PTE_DATA = PTE_PRESENT | PTE_WRITE | PTE_ACCESSED | PTE_DIRTY,
	PTE_TEXT = PTE_PRESENT | PTE_ACCESSED | PTE_DIRTY,
	PTE_TABLE = PTE_PRESENT | PTE_WRITE | PTE_ACCESSED,
	/* In a PDPT of PAE every other low bit is reserved. */
	PTE_PAE_PDPTE = PTE_PRESENT,

	CR4_PSE = 1 << 4,
	CR4_PAE = 1 << 5,
	CR4_LA57 = 1 << 12,
	EFER_SCE = 1 << 0,
	EFER_LME = 1 << 8,
	EFER_LMA = 1 << 10,
	EFER_NX = 1 << 11,

	PAGE = 4096,
	GDT_ENTRIES_64 = 16,
	GDT_ENTRIES_32 = 32,
	GATE_INTERRUPT = 14,
	TSS_LIMIT = 103,
};

#define PTE_NX (1ull << 63)

/* Places and rights as in arch/x86/include/asm/segment.h. */
static const uint64_t gdt64[GDT_ENTRIES_64] = {
	[1] = 0x00cf9b000000ffff,  /* KERNEL32_CS */
	[2] = 0x00af9b000000ffff,  /* KERNEL_CS */
	[3] = 0x00cf93000000ffff,  /* KERNEL_DS */
	[4] = 0x00cffb000000ffff,  /* USER32_CS */
	[5] = 0x00cff3000000ffff,  /* USER_DS */
	[6] = 0x00affb000000ffff,  /* USER_CS */
};
enum { CS_64 = 2 << 3, DS_64 = 3 << 3, TSS_64 = 8 << 3, CPUNODE_64 = 15 };

static const uint64_t gdt32[GDT_ENTRIES_32] = {
	[12] = 0x00cf9b000000ffff,  /* KERNEL_CS */
	[13] = 0x00cf93000000ffff,  /* KERNEL_DS */
	[14] = 0x00cffb000000ffff,  /* USER_CS */
	[15] = 0x00cff3000000ffff,  /* USER_DS */
};
enum { CS_32 = 12 << 3, DS_32 = 13 << 3, TSS_32 = 16 << 3 };

static void write64(uint8_t *ram, uint64_t gpa, unsigned int index, uint64_t value)
{
	memcpy(ram + gpa + 8ull * index, &value, sizeof(value));
}

static void write32(uint8_t *ram, uint64_t gpa, unsigned int index, uint32_t value)
{
	memcpy(ram + gpa + 4ull * index, &value, sizeof(value));
}

static bool page_is_text(uint64_t gpa)
{
	return gpa >= GUEST_TEXT && gpa < GUEST_TEXT + GUEST_TEXT_SIZE;
}

/* The page directory and below, as 64-bit modes and PAE share them. */
static void write_pd(uint8_t *ram)
{
	for (unsigned int i = 0; i < 512; i++) {
		uint64_t gpa = (uint64_t)i * PAGE;

		write64(ram, GUEST_PT, i, gpa | (page_is_text(gpa) ? PTE_TEXT : PTE_DATA | PTE_NX));
	}
	write64(ram, GUEST_PD, 0, GUEST_PT | PTE_TABLE);
	write64(ram, GUEST_PD, 1, GUEST_SCRATCH | PTE_DATA | PTE_LARGE | PTE_NX);
	write64(ram, GUEST_PD, GUEST_WINDOW >> 21, GUEST_WINDOW_PT | PTE_TABLE);
	write64(ram, GUEST_PD, GUEST_LARGE >> 21, 0 | PTE_DATA | PTE_LARGE | PTE_NX);
}

static void write_32bit(uint8_t *ram)
{
	unsigned int first = GUEST_BASE_32 >> 22;

	for (unsigned int i = 0; i < 1024; i++) {
		uint64_t gpa = (uint64_t)i * PAGE;

		write32(ram, GUEST_PT, i, gpa | (page_is_text(gpa) ? PTE_TEXT : PTE_DATA));
	}
	/* A page table of 1024 entries is as long as one of 512, so the layout stays. */
	write32(ram, GUEST_ROOT, first, GUEST_PT | PTE_TABLE);
	write32(ram, GUEST_ROOT, first + (GUEST_WINDOW >> 22), GUEST_WINDOW_PT | PTE_TABLE);
	write32(ram, GUEST_ROOT, first + (GUEST_LARGE >> 22), 0 | PTE_DATA | PTE_LARGE);
}

static void write_page_tables(uint8_t *ram, enum tinyvm_mode mode)
{
	if (mode == TINYVM_32BIT) {
		write_32bit(ram);
		return;
	}
	write_pd(ram);
	switch (mode) {
	case TINYVM_PAE:
		write64(ram, GUEST_ROOT, GUEST_BASE_32 >> 30, GUEST_PD | PTE_PAE_PDPTE);
		return;
	case TINYVM_5LEVEL:
		write64(ram, GUEST_ROOT, 511, GUEST_PML4 | PTE_TABLE);
		write64(ram, GUEST_PML4, 511, GUEST_PDPT | PTE_TABLE);
		break;
	default:
		write64(ram, GUEST_ROOT, 511, GUEST_PDPT | PTE_TABLE);
		break;
	}
	write64(ram, GUEST_PDPT, 510, GUEST_PD | PTE_TABLE);
}

/* The low 8 bytes of a busy TSS' descriptor. */
static uint64_t tss_descriptor(uint64_t base)
{
	return TSS_LIMIT | (base & 0xffffff) << 16 | 0x8bull << 40 | (base >> 24 & 0xff) << 56;
}

static void write_gdt(uint8_t *ram, enum tinyvm_mode mode, unsigned int vcpu)
{
	uint64_t gpa = GUEST_GDT + (uint64_t)vcpu * GUEST_STRIDE;
	uint64_t tss = tinyvm_gva(mode, GUEST_TSS + (uint64_t)vcpu * GUEST_STRIDE);

	if (!tinyvm_mode_64bit(mode)) {
		memcpy(ram + gpa, gdt32, sizeof(gdt32));
		write64(ram, gpa, TSS_32 >> 3, tss_descriptor(tss));
		return;
	}
	memcpy(ram + gpa, gdt64, sizeof(gdt64));
	write64(ram, gpa, TSS_64 >> 3, tss_descriptor(tss));
	write64(ram, gpa, (TSS_64 >> 3) + 1, tss >> 32);
	/* Linux keeps the number of the CPU in the limit, for LSL. */
	write64(ram, gpa, CPUNODE_64, 0x0040f50000000000 | vcpu);
}

/* DPL 3: breakpoint, overflow, and the system call of 32-bit programs. */
static unsigned int vector_dpl(unsigned int vector)
{
	return vector == 3 || vector == 4 || vector == 0x80 ? 3 : 0;
}

/* Double fault, NMI, debug and machine check have stacks of their own in 64-bit Linux. */
static unsigned int vector_ist(unsigned int vector)
{
	switch (vector) {
	case 8: return 1;
	case 2: return 2;
	case 1: return 3;
	case 18: return 4;
	default: return 0;
	}
}

static void write_idt(uint8_t *ram, enum tinyvm_mode mode)
{
	bool long_mode = tinyvm_mode_64bit(mode);
	uint64_t selector = long_mode ? CS_64 : CS_32;

	for (unsigned int vector = 0; vector < 256; vector++) {
		uint64_t offset = guest_image_handler(mode, vector);
		uint64_t low = (offset & 0xffff) | selector << 16 |
			       (uint64_t)(0x80 | vector_dpl(vector) << 5 | GATE_INTERRUPT) << 40 |
			       (offset >> 16 & 0xffff) << 48;

		if (long_mode) {
			write64(ram, GUEST_IDT, 2 * vector, low | (uint64_t)vector_ist(vector) << 32);
			write64(ram, GUEST_IDT, 2 * vector + 1, offset >> 32);
		} else {
			write64(ram, GUEST_IDT, vector, low);
		}
	}
}

/* Only where exceptions and interrupt stacks are found. */
static void write_tss(uint8_t *ram, enum tinyvm_mode mode, unsigned int vcpu)
{
	uint64_t tss = GUEST_TSS + (uint64_t)vcpu * GUEST_STRIDE;
	uint64_t stack = tinyvm_gva(mode, GUEST_STACK + (vcpu + 1ull) * GUEST_STRIDE);

	if (!tinyvm_mode_64bit(mode)) {
		write32(ram, tss, 1, stack);
		write32(ram, tss, 2, DS_32);
		return;
	}
	memcpy(ram + tss + 4, &stack, sizeof(stack));
	for (unsigned int ist = 0; ist < 4; ist++) {
		uint64_t top = stack - 0x200ull * (ist + 1);

		memcpy(ram + tss + 36 + 8 * ist, &top, sizeof(top));
	}
}

void guest_image_write(uint8_t *ram, enum tinyvm_mode mode, unsigned int vcpus)
{
	bool long_mode = tinyvm_mode_64bit(mode);
	const uint8_t *code = long_mode ? guest64_start : guest32_start;
	const uint8_t *code_end = long_mode ? guest64_end : guest32_end;

	if (mode == TINYVM_RESET)
		return;
	memcpy(ram + GUEST_TEXT, code, code_end - code);
	write_page_tables(ram, mode);
	for (unsigned int vcpu = 0; vcpu < vcpus; vcpu++) {
		write_gdt(ram, mode, vcpu);
		write_tss(ram, mode, vcpu);
	}
	write_idt(ram, mode);
	memcpy(ram + GUEST_IDT_OTHER, ram + GUEST_IDT, PAGE);
	memcpy(ram + GUEST_GDT_OTHER, ram + GUEST_GDT, PAGE);
}

uint64_t guest_image_handler(enum tinyvm_mode mode, unsigned int vector)
{
	size_t stubs = tinyvm_mode_64bit(mode) ? guest64_stubs - guest64_start
					       : guest32_stubs - guest32_start;

	return tinyvm_gva(mode, GUEST_TEXT + stubs + 16ull * vector);
}

uint64_t guest_image_syscall(enum tinyvm_mode mode)
{
	size_t entry = tinyvm_mode_64bit(mode) ? guest64_syscall - guest64_start
					       : guest32_syscall - guest32_start;

	return tinyvm_gva(mode, GUEST_TEXT + entry);
}

static void control_registers(enum tinyvm_mode mode, struct kvm_sregs *sregs)
{
	sregs->cr0 = 0x80050033;  /* PG AM WP NE ET MP PE, as Linux runs with */
	sregs->cr3 = GUEST_ROOT;
	switch (mode) {
	case TINYVM_32BIT:
		sregs->cr4 = CR4_PSE;
		sregs->efer = 0;
		break;
	case TINYVM_PAE:
		sregs->cr4 = CR4_PAE;
		sregs->efer = EFER_NX;
		break;
	default:
		sregs->cr4 = CR4_PAE | (mode == TINYVM_5LEVEL ? CR4_LA57 : 0);
		sregs->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX;
		break;
	}
}

void guest_image_sregs(enum tinyvm_mode mode, unsigned int vcpu, struct kvm_sregs *sregs)
{
	bool long_mode = tinyvm_mode_64bit(mode);
	struct kvm_segment code = { .limit = 0xffffffff, .selector = long_mode ? CS_64 : CS_32,
				    .type = 11, .present = 1, .s = 1, .g = 1,
				    .l = long_mode, .db = !long_mode };
	struct kvm_segment data = { .limit = 0xffffffff, .selector = long_mode ? DS_64 : DS_32,
				    .type = 3, .present = 1, .s = 1, .g = 1, .db = 1 };
	uint64_t stride = (uint64_t)vcpu * GUEST_STRIDE;

	control_registers(mode, sregs);
	sregs->cs = code;
	sregs->ds = sregs->es = sregs->ss = sregs->fs = sregs->gs = data;
	sregs->tr = (struct kvm_segment){ .base = tinyvm_gva(mode, GUEST_TSS + stride),
					  .limit = TSS_LIMIT,
					  .selector = long_mode ? TSS_64 : TSS_32,
					  .type = 11, .present = 1 };
	sregs->ldt = (struct kvm_segment){ .type = 2, .unusable = 1 };
	sregs->gdt.base = tinyvm_gva(mode, GUEST_GDT + stride);
	sregs->gdt.limit = 8 * (long_mode ? GDT_ENTRIES_64 : GDT_ENTRIES_32) - 1;
	sregs->idt.base = tinyvm_gva(mode, GUEST_IDT);
	sregs->idt.limit = 256 * (long_mode ? 16 : 8) - 1;
}

void guest_image_regs(enum tinyvm_mode mode, unsigned int vcpu, struct kvm_regs *regs)
{
	uint64_t stride = (uint64_t)vcpu * GUEST_STRIDE;

	*regs = (struct kvm_regs){
		.rip = tinyvm_gva(mode, GUEST_TEXT),
		.rflags = 2,
		.rsp = tinyvm_gva(mode, GUEST_STACK + stride + GUEST_STRIDE),
		.rdi = tinyvm_gva(mode, GUEST_MAILBOX + stride),
	};
}
