/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An opened VM: how its memory is reached, and the translations that were seen. */
#ifndef KVMACCESS_VM_H
#define KVMACCESS_VM_H

#include <sys/uio.h>
#include "host.h"
#include "kvmbpf/pagewalk.h"

enum {
	TRANSLATIONS_MIN = 32,   /* entries of the cache at first: a power of two */
	TRANSLATIONS_MAX = 1024,
	BATCH_PIECES = 1000,     /* below IOV_MAX, which bounds one process_vm_readv() */
	BATCH_ENTRIES = 64,
};

/*
 * A cached walk: proven again, by its entries, each time it is used. One entry serves all of a large page,
 * or 2 MiB of it.
 */
struct translation {
	uint64_t page;           /* GVA >> shift */
	unsigned int shift;
	struct ka_paging paging; /* root left out: upper halves share their lower tables */
	bool valid;
	struct kvmbpf_walk walk; /* of the page's first byte */
};

/* A page-table entry that a batch reads. */
struct batch_entry {
	uint64_t gpa;
	uint32_t size;
	const __u64 *value;
	uint64_t batch; /* that has read it */
};

/* Where bytes come from in the VMM, neighbours as one, and where each piece of them goes. */
struct transfers {
	size_t local_count, remote_count;
	struct iovec local[BATCH_PIECES];
	struct iovec remote[BATCH_PIECES];
};

/* What goes into one process_vm_readv(): first the entries of page tables, then what they lead to. */
struct batch {
	uint64_t number; /* of this batch, from 1 */
	struct batch_entry entry[BATCH_ENTRIES]; /* by GPA; one that is in the way is replaced */
	struct transfers entries, data;
};

/* What each look at a VM needs comes first. */
struct ka_vm {
	struct ka_host *host;
	struct host_vm *vm;      /* NULL once it is gone */
	uint64_t pulled_ns;      /* when the last pull began, CLOCK_MONOTONIC */
	bool pulled;             /* with others, and not looked at yet */
	unsigned int flags;
	struct seal *seal;       /* NULL: it is not sealed */
	struct ka_sentry *sentry; /* that looks at the seal; NULL: none */
	struct translation *translations; /* NULL until one is needed */
	size_t translation_count;
	size_t collisions;       /* since it has that size: pages that took another one's place */
	uint64_t root;           /* of the kernel's page tables, where CR3 is not read; 0: not found */
	struct ka_vm *next;      /* other handles on the same VM */
	struct ka_vm_info info;  /* as it was when the VM was last there */
	unsigned int searches;   /* of the whole memory for the kernel, in vain */
	bool tracks;             /* has the VM's tracker */
	uint64_t tracks_since_ns; /* CLOCK_MONOTONIC */
	uint64_t writes_lost;    /* of its tracked writes, as told */
	uint64_t search_step;    /* where an unfinished pagesearch() goes on */
	uint64_t vmcoreinfo;     /* GPA, where it was last found; 0: not yet */
};

/* memory.c */
int memory_hva(const struct host_vm *vm, uint64_t gpa, uint64_t *ret_hva, uint64_t *ret_left,
	       const struct ka_memslot **ret_slot);
int memory_read(struct ka_vm *vm, uint64_t gpa, void *buf, size_t len);
/* As vmm_readv(), by the fastest way that there is. */
ssize_t memory_readv(const struct ka_vm *vm, const struct iovec *local, size_t local_count,
		     const struct iovec *remote, size_t remote_count);
/* Without a system call; -EREMOTE: that cannot be. */
int memory_peek(const struct host_vm *vm, uint64_t gpa, void *buf, size_t len);
/* This was read, so that memory_peek() may from now on. */
void memory_seen(const struct host_vm *vm, uint64_t gpa, size_t len);
int memory_check_write(struct ka_vm *vm, uint64_t gpa, size_t len);

/* translate.c */
struct kvmbpf_paging_state paging_state(const struct ka_paging *paging);
int translate_walk(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva,
		   struct kvmbpf_walk *ret_walk);

/* registers.c: reads the VM's vCPUs afresh, and memslots if they changed. */
int registers_refresh(struct ka_vm *vm);

#endif
