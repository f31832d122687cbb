/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-2-Clause */
/*
 * Requests that programs on KVM's exits and vcpu_load serve on a vCPU's own thread, and their
 * results: what crosses between bpf/requests.bpf.c and user space.
 */
#ifndef KVMBPF_REQUESTS_H
#define KVMBPF_REQUESTS_H

#include "kvmbpf/helper.h"
#include "kvmbpf/records.h"

enum kvmbpf_requests_limits {
	KVMBPF_QUEUE_LENGTH = 4096,  /* requests that wait for one VM, or for one vCPU */
	KVMBPF_RESULTS_SIZE = 1 << 20, /* bytes of the ring buffer */
};

enum kvmbpf_request_kind {
	KVMBPF_REQUEST_READ = 1,      /* memory, in the address space that the request names */
	KVMBPF_REQUEST_READ_HERE = 2, /* memory, in the address space of the vCPU that serves it */
	KVMBPF_REQUEST_REGISTERS = 3,
	KVMBPF_REQUEST_GDT = 4,       /* of the vCPU that serves it, with its registers */
	KVMBPF_REQUEST_IDT = 5,
};

/* Entry of a queue. */
struct kvmbpf_request {
	__u64 id;          /* comes back with the result, as `offset` does */
	__u64 deadline_ns; /* CLOCK_MONOTONIC: not served later */
	__u64 address;
	struct kvmbpf_paging_state paging; /* KVMBPF_REQUEST_READ */
	__u32 offset;      /* of this part of a longer read */
	__u32 len;         /* bytes, to KVMBPF_READ_MAX */
	__u32 kind;        /* enum kvmbpf_request_kind */
	__u32 pad;
};

/*
 * Ring buffer `results`. `header.size` counts what follows, too: nothing on error, the registers of
 * KVMBPF_REQUEST_REGISTERS, _GDT and _IDT as struct kvmbpf_vcpu, `len` bytes of memory.
 */
struct kvmbpf_result {
	struct kvmbpf_record header; /* time_ns: when it was served */
	__u64 id;
	__u32 offset;
	__s32 error;   /* -EAGAIN, -EXDEV: not on this thread or not now; else as kvmbpf_gva_read() */
	__u32 vcpu_id; /* that served it */
	__u32 len;
	__u32 kind;    /* enum kvmbpf_request_kind */
	__u32 source;  /* enum kvmbpf_source */
};

/* Context of the program `hold`. */
struct kvmbpf_hold_call {
	__u64 kvm;    /* address of struct kvm: key of map held_vms */
	__s32 fd;     /* of the VM, in the calling process */
	__s32 result; /* 0; -ESRCH: the descriptor is not this VM's, or it has ended; -ENOSPC */
};

KVMBPF_ASSERT_SIZE(kvmbpf_request, 56);
KVMBPF_ASSERT_SIZE(kvmbpf_result, 48);
KVMBPF_ASSERT_SIZE(kvmbpf_hold_call, 16);

#endif
