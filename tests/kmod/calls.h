/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-2-Clause */
/* What the tests of the kernel module and their BPF programs share. */
#ifndef TESTS_KMOD_CALLS_H
#define TESTS_KMOD_CALLS_H

#include "kvmbpf/helper.h"

enum { CALL_SLOTS = 8, CALL_DATA = 8192 };

/* Arguments of one call; `slot` says where its handle or tracker is kept. */
struct call {
	__u32 slot;
	__s32 fd;
	__u64 kvm, address, len, cookie;
	__u32 flags, index, reason, vcpu;
	struct kvmbpf_paging_state paging;
	struct kvmbpf_tracked tracked;
	struct kvmbpf_vmcs vmcs;
	__s32 result;
	__u32 pad;
};

enum told_type { TOLD_WRITE, TOLD_STOP };

struct told {
	__u32 type;
	__u32 pad;
	union {
		struct kvmbpf_write write;
		struct kvmbpf_stop stop;
	};
};

/* What programs on a VM's exits saw when they called the module there. */
struct on_exit_results {
	__u64 loads;       /* of a vCPU */
	__u64 exits;
	__u64 reads;       /* kvmbpf_gva_read_nofault() that returned 0 */
	__u64 differences; /* of these, not the expected bytes */
	__s32 read_error;  /* the last error */
	__s32 vmcs_error;  /* of kvmbpf_vmcs_read() */
};

#endif
