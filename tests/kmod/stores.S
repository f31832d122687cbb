/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a 64-bit tiny guest runs to write to a tracked frame in every way: `stores` writes, by one of
 * the routines below, and compares what it reads back at once with what stood there before.
 *
 * For GUEST_CMD_CALL: arg 1 the target; 2 rounds; 3 bytes to compare; 4 the routine's offset from
 * `stores`. RESULT counts the rounds that found something else than before.
 */
#include "../native/guest_layout.h"
#include "stores.h"

	.section .rodata
	.balign 16
	.code64
	.globl stores, stores_end
stores:
	movq	MAILBOX_ARG + 16(%rdi), %r12
	movq	MAILBOX_ARG + 24(%rdi), %r13
	movq	MAILBOX_ARG + 32(%rdi), %r14
	addq	%rbx, %r14
	movq	$0, MAILBOX_RESULT(%rdi)
	movq	%rdi, %rbp
	movq	%rsi, %r9
	leaq	STORES_BEFORE(%rbx), %rdi
	movl	$STORES_BYTES, %ecx
	rep movsb
.Lround:
	movq	%r12, %r10
	notq	%r10
	movq	%r9, %rdi
	leaq	STORES_SOURCE(%rbx), %rsi
	call	*%r14
	movq	%r9, %rsi
	leaq	STORES_BEFORE(%rbx), %rdi
	movq	%r13, %rcx
	cmpq	%rcx, %rcx
	repe cmpsb
	je	1f
	incq	MAILBOX_RESULT(%rbp)
1:	incq	MAILBOX_COUNT(%rbp)
	decq	%r12
	jnz	.Lround
	movq	%rbp, %rdi
	ret

/* Routines: the target in RDI, a source in RSI, a value that changes each round in R10. */
	.macro	routine name
	.globl	store_\name
store_\name:
	.endm

	routine	1
	movb	%r10b, (%rdi)
	ret
	routine	2
	movw	%r10w, (%rdi)
	ret
	routine	4
	movl	%r10d, (%rdi)
	ret
	routine	8
	movq	%r10, (%rdi)
	ret
	routine	16
	movups	(%rsi), %xmm0
	movups	%xmm0, (%rdi)
	ret
	routine	xchg
	xchgq	%r10, (%rdi)
	ret
	routine	cmpxchg
	movq	(%rdi), %rax
	lock cmpxchgq %r10, (%rdi)
	ret
	routine	inc
	lock incq (%rdi)
	ret
	routine	movsb
	movl	$STORES_BYTES, %ecx
	rep movsb
	ret
	routine	movsq
	movl	$STORES_BYTES / 8, %ecx
	rep movsq
	ret
	routine	sidt
	sidt	(%rdi)
	ret
	routine	sgdt
	sgdt	(%rdi)
	ret
stores_end:

	.section .note.GNU-stack, "", @progbits
