/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-2-Clause */
/*
 * A keyed hash of up to a page, fast enough for a BPF program: NH (Black et al., "UMAC: Fast and Secure
 * Message Authentication", CRYPTO '99), one product of 32-bit words for each 8 bytes. For two messages of one length, chosen by whoever does not know the
 * key, the hashes are the same with a probability of 2^-32 at most.
 */
#ifndef KVMBPF_HASH_H
#define KVMBPF_HASH_H

#ifndef __bpf__ /* where vmlinux/kvm.h has the types */
#include <linux/types.h>
#endif

enum { KVMBPF_HASH_WORDS = 512 };

static inline __u64 kvmbpf_hash_add(__u64 sum, __u64 word, __u64 key)
{
	__u32 low = (__u32)word + (__u32)key, high = (__u32)(word >> 32) + (__u32)(key >> 32);

	return sum + (__u64)low * high;
}

#endif
