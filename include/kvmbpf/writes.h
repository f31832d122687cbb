/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-2-Clause */
/* What crosses between bpf/writes.bpf.c and user space: calls to it, and its records. */
#ifndef KVMBPF_WRITES_H
#define KVMBPF_WRITES_H

#include "kvmbpf/helper.h"
#include "kvmbpf/records.h"

/* Context of its programs of type syscall: what is asked for, and the answer. */
struct kvmbpf_writes_call {
	__u64 kvm;    /* address of the VM's struct kvm: key of map tracked_vms */
	__u64 gpa;
	__u64 len;
	__u64 cookie;
	__u32 flags;  /* enum kvmbpf_track_flags */
	__u32 index;
	__s32 fd;     /* of the VM, in the calling process */
	__s32 result; /* of the kfunc, 0, or -errno */
	struct kvmbpf_tracked tracked;
};

/* A VM whose writes are tracked, as user space reads it from map tracked_vms. */
struct kvmbpf_tracked_vm {
	__u64 tracker; /* not for user space */
	__u64 writes;
	__u64 lost;    /* records that found the ring buffer full */
};

/* Ring buffer `writes`. */
struct kvmbpf_write_record {
	struct kvmbpf_record header;
	struct kvmbpf_write write;
};

struct kvmbpf_stop_record {
	struct kvmbpf_record header;
	struct kvmbpf_stop stop;
};

KVMBPF_ASSERT_SIZE(kvmbpf_writes_call, 80);
KVMBPF_ASSERT_SIZE(kvmbpf_tracked_vm, 24);
KVMBPF_ASSERT_SIZE(kvmbpf_write_record, 128);
KVMBPF_ASSERT_SIZE(kvmbpf_stop_record, 40);

#endif
