/* SPDX-License-Identifier: GPL-2.0-only */
/* Holds a program up until a test has changed what it reads. */
#ifndef TESTS_NATIVE_HELD_BPF_H
#define TESTS_NATIVE_HELD_BPF_H

#include "vmlinux/kvm.h"
#include <bpf/bpf_helpers.h>
#include "tests/native/held.h"

__u32 turn;

static long is_over(__u32 index, void *ctx)
{
	return *(volatile __u32 *)&turn != HELD_WAITS;
}

static long wait_some(__u32 index, void *ctx)
{
	bpf_loop(1 << 23, is_over, NULL, 0);
	return is_over(index, ctx);
}

/* A second or two at most: the kernel may not be able to take the CPU away meanwhile. */
static __always_inline void hold(void)
{
	turn = HELD_WAITS;
	bpf_loop(16, wait_some, NULL, 0);
	__sync_val_compare_and_swap(&turn, HELD_WAITS, HELD_LATE);
}

#endif
