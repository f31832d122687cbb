/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How programs read the kernel's memory by address: by loads where the kernel lets them, since 6.17,
 * else by a helper. A load costs a nanosecond or two; a call of a helper costs that, too, or twenty of
 * them where mitigations slow each return down.
 *
 * What is not there reads as 0.
 */
#ifndef KVMBPF_KERNEL_H
#define KVMBPF_KERNEL_H

#include <bpf/bpf_core_read.h>

void *bpf_rdonly_cast(const void *address, __u32 btf_id) __ksym __weak;

/* Known when the program is loaded: the other branch is not even looked at. */
#define LOADS_KERNEL                                                                               \
	bpf_core_enum_value_exists(enum bpf_features___void, BPF_FEAT_RDONLY_CAST_TO_VOID)

/* A pointer of the same type that can be followed. Only where LOADS_KERNEL. */
#define KERNEL_POINTER(object) ((typeof(object))bpf_rdonly_cast(object, 0))

/* The offset is added first: that of a load has 16 bits, and struct kvm is larger in some kernels. */
#define KERNEL_LOAD(object, member)                                                                \
	(*(typeof((object)->member) *)bpf_rdonly_cast(                                             \
		__builtin_preserve_access_index(&(object)->member), 0))

#define KERNEL_READ(object, member)                                                                \
	({                                                                                         \
		typeof(object) object_ = (object);                                                 \
		typeof(object_->member) value_;                                                    \
		if (LOADS_KERNEL)                                                                  \
			value_ = KERNEL_LOAD(object_, member);                                     \
		else                                                                               \
			value_ = BPF_CORE_READ(object_, member);                                   \
		value_;                                                                            \
	})

/* Words of 8 bytes, a constant number. 0, or -EFAULT from the helper. */
static __always_inline long kernel_read_words(void *ret_words, const void *address, __u32 count)
{
	__u64 *to = ret_words;
	const __u64 *from;

	if (!LOADS_KERNEL)
		return bpf_probe_read_kernel(ret_words, count * sizeof(*to), address);
	from = bpf_rdonly_cast(address, 0);
#pragma unroll
	for (__u32 i = 0; i < count; i++)
		to[i] = from[i];
	return 0;
}

/* All of a place whose size is a multiple of 8 bytes. */
#define KERNEL_READ_ALL(place, address)                                                            \
	({                                                                                         \
		_Static_assert(sizeof(place) % sizeof(__u64) == 0, "not whole words");             \
		kernel_read_words(&(place), address, sizeof(place) / (sizeof(__u64)));               \
	})

#endif
