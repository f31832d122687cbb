/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The code of a tiny guest, 64 and 32 bits: position-independent, copied to GUEST_TEXT. Each vCPU
 * enters at its loop with its mailbox in RDI and a stack, halts while there is no command, and
 * keeps RDI throughout, so that an exception can still be reported.
 */
#include "guest_layout.h"

	.section .rodata
	.balign 16

/* ---- 64 bits ---- */
	.code64
	.globl guest64_start, guest64_loop, guest64_stubs, guest64_syscall, guest64_end
guest64_start:
guest64_loop:
	movl	$1, MAILBOX_REACHED(%rdi)
.Lnext64:
	movq	MAILBOX_SEQ(%rdi), %r15
	cmpq	MAILBOX_DONE(%rdi), %r15
	jne	.Lcommand64
	hlt
	jmp	.Lnext64

.Lcommand64:
	movq	$0, MAILBOX_COUNT(%rdi)
	movq	MAILBOX_ARG(%rdi), %rbx
	movq	MAILBOX_ARG + 8(%rdi), %rsi
	movl	MAILBOX_COMMAND(%rdi), %eax
	cmpl	$GUEST_CMD_SPIN, %eax
	je	.Lspin64
	cmpl	$GUEST_CMD_REWRITE, %eax
	je	.Lrewrite64
	cmpl	$GUEST_CMD_LIDT, %eax
	je	.Llidt64
	cmpl	$GUEST_CMD_LGDT, %eax
	je	.Llgdt64
	cmpl	$GUEST_CMD_TOGGLE_WP, %eax
	je	.Ltoggle64
	cmpl	$GUEST_CMD_WRMSR, %eax
	je	.Lwrmsr64
	cmpl	$GUEST_CMD_LOAD, %eax
	je	.Lload64
	cmpl	$GUEST_CMD_STORE, %eax
	je	.Lstore64
	cmpl	$GUEST_CMD_CR0, %eax
	je	.Lcr0_64
	cmpl	$GUEST_CMD_CR4, %eax
	je	.Lcr4_64
	cmpl	$GUEST_CMD_CALL, %eax
	je	.Lcall64
	ud2
.Ldone64:
	movq	%r15, MAILBOX_DONE(%rdi)
	jmp	.Lnext64

.Lspin64:
	incq	MAILBOX_COUNT(%rdi)
	pause
	cmpl	$0, MAILBOX_STOP(%rdi)
	je	.Lspin64
	jmp	.Ldone64

.Lrewrite64:
	movq	MAILBOX_ARG + 16(%rdi), %rdx
	movq	MAILBOX_ARG + 24(%rdi), %r8
	movq	MAILBOX_ARG + 32(%rdi), %r9
1:	movq	%rsi, (%rbx)
	movq	%rdx, 8(%rbx)
	movq	%r8, (%rbx)
	movq	%r9, 8(%rbx)
	incq	MAILBOX_COUNT(%rdi)
	cmpl	$0, MAILBOX_STOP(%rdi)
	je	1b
	jmp	.Ldone64

.Llidt64:
	lidt	(%rbx)
	jmp	.Ldone64

.Llgdt64:
	lgdt	(%rbx)
	jmp	.Ldone64

.Ltoggle64:
	movq	%cr0, %rdx
1:	cmpq	MAILBOX_COUNT(%rdi), %rbx
	je	.Ldone64
	btrq	$16, %rdx
	movq	%rdx, %cr0
	btsq	$16, %rdx
	movq	%rdx, %cr0
	incq	MAILBOX_COUNT(%rdi)
	jmp	1b

.Lwrmsr64:
	movl	%ebx, %ecx
	movl	%esi, %eax
	movq	%rsi, %rdx
	shrq	$32, %rdx
	wrmsr
	jmp	.Ldone64

.Lload64:
	movq	(%rbx), %rdx
	movq	%rdx, MAILBOX_RESULT(%rdi)
	jmp	.Ldone64

.Lstore64:
	movq	%rsi, (%rbx)
	jmp	.Ldone64

.Lcr0_64:
	movq	%rbx, %cr0
	jmp	.Ldone64

.Lcr4_64:
	movq	%rbx, %cr4
	jmp	.Ldone64

.Lcall64:
	call	*%rbx
	jmp	.Ldone64

/* What LSTAR and SYSENTER_EIP point to; nothing calls it. */
guest64_syscall:
	ud2

.Lfault64:
	popq	%rax
	incq	%rax
	movq	%rax, MAILBOX_FAULT(%rdi)
1:	hlt
	jmp	1b

	.balign 16
guest64_stubs:
	vector = 0
	.rept 256
	.balign 16
	pushq	$vector
	jmp	.Lfault64
	vector = vector + 1
	.endr
guest64_end:

/* ---- 32 bits ---- */
	.balign 16
	.code32
	.globl guest32_start, guest32_loop, guest32_stubs, guest32_syscall, guest32_end
guest32_start:
guest32_loop:
	movl	$1, MAILBOX_REACHED(%edi)
.Lnext32:
	movl	MAILBOX_SEQ(%edi), %ebp
	cmpl	MAILBOX_DONE(%edi), %ebp
	jne	.Lcommand32
	hlt
	jmp	.Lnext32

.Lcommand32:
	movl	$0, MAILBOX_COUNT(%edi)
	movl	MAILBOX_ARG(%edi), %ebx
	movl	MAILBOX_ARG + 8(%edi), %esi
	movl	MAILBOX_COMMAND(%edi), %eax
	cmpl	$GUEST_CMD_SPIN, %eax
	je	.Lspin32
	cmpl	$GUEST_CMD_REWRITE, %eax
	je	.Lrewrite32
	cmpl	$GUEST_CMD_LIDT, %eax
	je	.Llidt32
	cmpl	$GUEST_CMD_LGDT, %eax
	je	.Llgdt32
	cmpl	$GUEST_CMD_TOGGLE_WP, %eax
	je	.Ltoggle32
	cmpl	$GUEST_CMD_WRMSR, %eax
	je	.Lwrmsr32
	cmpl	$GUEST_CMD_LOAD, %eax
	je	.Lload32
	cmpl	$GUEST_CMD_STORE, %eax
	je	.Lstore32
	cmpl	$GUEST_CMD_CR0, %eax
	je	.Lcr0_32
	cmpl	$GUEST_CMD_CR4, %eax
	je	.Lcr4_32
	cmpl	$GUEST_CMD_CALL, %eax
	je	.Lcall32
	ud2
.Ldone32:
	movl	%ebp, MAILBOX_DONE(%edi)
	jmp	.Lnext32

.Lspin32:
	incl	MAILBOX_COUNT(%edi)
	pause
	cmpl	$0, MAILBOX_STOP(%edi)
	je	.Lspin32
	jmp	.Ldone32

.Lrewrite32:
	movl	MAILBOX_ARG + 16(%edi), %edx
	movl	MAILBOX_ARG + 24(%edi), %eax
	movl	MAILBOX_ARG + 32(%edi), %ecx
1:	movl	%esi, (%ebx)
	movl	%edx, 4(%ebx)
	movl	%eax, (%ebx)
	movl	%ecx, 4(%ebx)
	incl	MAILBOX_COUNT(%edi)
	cmpl	$0, MAILBOX_STOP(%edi)
	je	1b
	jmp	.Ldone32

.Llidt32:
	lidtl	(%ebx)
	jmp	.Ldone32

.Llgdt32:
	lgdtl	(%ebx)
	jmp	.Ldone32

.Ltoggle32:
	movl	%cr0, %edx
1:	cmpl	MAILBOX_COUNT(%edi), %ebx
	je	.Ldone32
	btrl	$16, %edx
	movl	%edx, %cr0
	btsl	$16, %edx
	movl	%edx, %cr0
	incl	MAILBOX_COUNT(%edi)
	jmp	1b

.Lwrmsr32:
	movl	%ebx, %ecx
	movl	%esi, %eax
	xorl	%edx, %edx
	wrmsr
	jmp	.Ldone32

.Lload32:
	movl	(%ebx), %edx
	movl	%edx, MAILBOX_RESULT(%edi)
	jmp	.Ldone32

.Lstore32:
	movl	%esi, (%ebx)
	jmp	.Ldone32

.Lcr0_32:
	movl	%ebx, %cr0
	jmp	.Ldone32

.Lcr4_32:
	movl	%ebx, %cr4
	jmp	.Ldone32

.Lcall32:
	call	*%ebx
	jmp	.Ldone32

guest32_syscall:
	ud2

.Lfault32:
	popl	%eax
	incl	%eax
	movl	%eax, MAILBOX_FAULT(%edi)
1:	hlt
	jmp	1b

	.balign 16
guest32_stubs:
	vector = 0
	.rept 256
	.balign 16
	pushl	$vector
	jmp	.Lfault32
	vector = vector + 1
	.endr
guest32_end:

	.section .note.GNU-stack, "", @progbits
