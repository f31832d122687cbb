/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads of guest memory by a BPF program, through the page tables of the VMM's process and the
 * kernel's direct map of all memory: without locks, pins and page faults, and so without waiting for a VMM that
 * brings its pages itself (vmm.h). One call reads many pieces.
 *
 * It reads what is in memory, and nothing else: what it cannot, process_vm_readv(2) is asked for.
 */
#ifndef KVMACCESS_DIRECT_H
#define KVMACCESS_DIRECT_H

#include <stddef.h>
#include <sys/uio.h>

struct host_vm;
struct ka_host;
struct kvmbpf_copied;
struct kvmbpf_copy;
struct memory_bpf;

struct direct {
	struct memory_bpf *programs;
	int copy_fd;
	struct kvmbpf_copy *copies;         /* map copies, memory-mapped */
	const struct kvmbpf_copied *copied; /* map copied */
};

/* Finds out whether this kernel's memory can be read so, and says it among the host's features. */
void direct_init(struct ka_host *host);
void direct_free(struct direct *direct);

/*
 * As process_vm_readv(2), all or nothing: 0: it has to be read otherwise. `direct` may be NULL. Does
 * not block. Not for more than one thread at a time.
 */
ssize_t direct_readv(struct direct *direct, const struct host_vm *vm, const struct iovec *local,
		     size_t local_count, const struct iovec *remote, size_t remote_count);

#endif
