/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory of a VMM's process, which may not be there at once.
 *
 * A VMM can provide its guest's memory itself (userfaultfd(2)): QEMU while a postcopy migration
 * runs, Firecracker with a snapshot that is loaded page by page. Who reads such a page waits until
 * the VMM has brought it, possibly for ever, and only a signal that kills ends it
 * (mm/userfaultfd.c). There, reads and writes are made by a thread that can be left behind.
 */
#ifndef KVMACCESS_VMM_H
#define KVMACCESS_VMM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct host_vm;
struct transfer;

/* What is known of a VM's VMM. */
struct vmm {
	bool provides;		  /* has a userfaultfd, or it cannot be told, as of the last look */
	uint64_t generation;	  /* of the memslots when that was looked at */
	uint64_t look_ns;	  /* when it is looked at again; CLOCK_MONOTONIC */
	struct transfer *waiting; /* was left behind; NULL: none */
};

/* Leaves behind what waits. */
void vmm_deinit(struct vmm *vmm);

/*
 * As process_vm_readv(2) and process_vm_writev(2): bytes, fewer than wanted where the next are not
 * there, or -errno. -ETIMEDOUT: the VMM was to bring a page, and did not in time; until it has, all
 * further ones fail so at once.
 */
ssize_t vmm_readv(struct host_vm *vm, const struct iovec *local, size_t local_count,
		  const struct iovec *remote, size_t remote_count);
ssize_t vmm_writev(struct host_vm *vm, const struct iovec *local, size_t local_count,
		   const struct iovec *remote, size_t remote_count);

#endif
