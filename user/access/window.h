/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest RAM that the VMM shares (memfd, shm, hugetlbfs), mapped here read-only: read without a
 * system call.
 *
 * Only pages that were read through the VMM's own address space before are read so. The first
 * look at a page would else give memory to it: to one that a balloon gave back, or that a
 * migration is still to bring, and then could not.
 */
#ifndef KVMACCESS_WINDOW_H
#define KVMACCESS_WINDOW_H

#include <stddef.h>
#include <stdint.h>

struct host_vm;
struct window;

enum { WINDOW_READS = 15 };

/* The first places that were read since the last ka_readv() began, as mapped here: hints, which may be
 * gone. */
struct window_reads {
	uint64_t count;
	struct { const uint8_t *start; uint64_t len; } read[WINDOW_READS];
};

/* What is mapped of a VM: a window a memslot, or NULL. */
struct windows {
	struct window **window;
	struct window_reads *reads;
	size_t count;
	uint64_t generation;  /* of the memslots */
	uint64_t check_ns;    /* when the process is looked at again; CLOCK_MONOTONIC */
};

/*
 * Maps what can be mapped of a VM, again when its memslots have changed, and looks once a minute
 * whether the VMM still has the same there, or, where it shares nothing, every ten minutes whether
 * it does now. Failures leave memory to be read otherwise.
 */
void windows_refresh(struct host_vm *vm, uint64_t now_ns);
void windows_free(struct windows *windows);

void windows_begin(struct windows *windows);
/* Has the CPU fetch what was read last. */
void windows_prefetch(const struct windows *windows);

/* All in one memslot. -EREMOTE: not to be had so. */
int window_peek(const struct host_vm *vm, size_t slot, uint64_t offset, void *buf, size_t len);
/* This was read through the VMM's address space. */
void window_seen(const struct host_vm *vm, size_t slot, uint64_t offset, size_t len);

#endif
