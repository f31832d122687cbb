/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where things lie in a tiny guest's memory, for its code (assembly), its VMM and the tests. */
#ifndef TESTS_NATIVE_GUEST_LAYOUT_H
#define TESTS_NATIVE_GUEST_LAYOUT_H

/* GVA = base + GPA, for the first 2 MiB with 4 KiB pages and for the next 2 MiB. */
#define GUEST_BASE_64 0xffffffff80000000
#define GUEST_BASE_32 0xc0000000

/* GPAs. What is per vCPU lies GUEST_STRIDE apart. */
#define GUEST_STRIDE 0x1000
#define GUEST_ROOT 0x1000        /* PML5, PML4, PDPT or page directory: what CR3 holds */
#define GUEST_PML4 0x2000        /* below a PML5 */
#define GUEST_PDPT 0x3000
#define GUEST_PD 0x4000
#define GUEST_PT 0x5000          /* maps the first 2 MiB (without PAE: 4 MiB) */
#define GUEST_WINDOW_PT 0x6000   /* empty; the tests' own mappings */
#define GUEST_IDT 0x10000
#define GUEST_IDT_OTHER 0x11000  /* a copy, for LIDT */
#define GUEST_GDT_OTHER 0x12000  /* a copy of vCPU 0's, for LGDT */
#define GUEST_POINTERS 0x13000   /* operands for LIDT and LGDT */
#define GUEST_GDT 0x20000
#define GUEST_TSS 0x60000
#define GUEST_MAILBOX 0xa0000
#define GUEST_TEXT 0x100000      /* read-only, executable; all else is neither */
#define GUEST_TEXT_SIZE 0x4000
#define GUEST_STACK 0x110000
#define GUEST_SCRATCH 0x200000   /* free for tests, up to GUEST_MEMORY_MIN */
#define GUEST_MEMORY_MIN 0x400000
#define GUEST_VCPUS_MAX 64

/* Offsets from the base, of GVAs that are not base + GPA. */
#define GUEST_WINDOW 0x400000    /* 512 pages, mapped by GUEST_WINDOW_PT: at first none */
#define GUEST_LARGE 0x800000     /* one large page (2 MiB, without PAE: 4 MiB) onto GPA 0 */

/* A vCPU's mailbox: the VMM writes command and arguments, then `seq`; done = seq when done. */
#define MAILBOX_REACHED 0x00     /* 1 once the vCPU is in its loop */
#define MAILBOX_SEQ 0x08
#define MAILBOX_DONE 0x10
#define MAILBOX_COMMAND 0x18
#define MAILBOX_STOP 0x20        /* not 0: end SPIN or REWRITE */
#define MAILBOX_COUNT 0x28       /* rounds of the current command */
#define MAILBOX_RESULT 0x30
#define MAILBOX_FAULT 0x38       /* 1 + vector of an exception; the vCPU is then lost */
#define MAILBOX_ARG 0x40         /* 6 of 8 bytes; 32-bit guests use the low halves */

#define GUEST_CMD_SPIN 1         /* until STOP */
#define GUEST_CMD_REWRITE 2      /* at arg 0: words arg 1, 2, then words arg 3, 4; until STOP */
#define GUEST_CMD_LIDT 3         /* operand at GVA arg 0 */
#define GUEST_CMD_LGDT 4
#define GUEST_CMD_TOGGLE_WP 5    /* clear and set CR0.WP arg 0 times */
#define GUEST_CMD_WRMSR 6        /* MSR arg 0 = arg 1 */
#define GUEST_CMD_LOAD 7         /* RESULT = word at GVA arg 0 */
#define GUEST_CMD_STORE 8        /* word at GVA arg 0 = arg 1 */
#define GUEST_CMD_CR0 9          /* CR0 = arg 0 */
#define GUEST_CMD_CR4 10
#define GUEST_CMD_CALL 11        /* the test's own code at GVA arg 0; mailbox and arg 1 in RDI, RSI */

#endif
