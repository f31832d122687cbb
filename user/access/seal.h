/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Seals of a host's VMs: what ka_seal() took down, where a BPF program finds it. */
#ifndef KVMACCESS_SEAL_H
#define KVMACCESS_SEAL_H

#include "host.h"
#include "kvmbpf/seal.h"

struct bpf_map;
struct seal_bpf;

enum { SEAL_ROOTS_MAX = 4 }; /* entries of a page table's root that the pieces of a vCPU are under */

/* A VM's. Of each vCPU come the parts that are under its CR3: `root_count` of them. */
struct seal {
	uint32_t index;                /* in map seals */
	uint32_t first, count, blocks; /* of its parts that are memory; those of vCPUs follow */
	size_t vcpu_count, root_count;
	uint64_t root_gva[SEAL_ROOTS_MAX];     /* addresses that lead through these entries */
	struct kvmbpf_seal_registers vcpus[]; /* as they were seen, but for CR3: as it was last */
};

/* A timer in the kernel; sentry.c. */
struct ka_sentry {
	struct ka_host *host;
	uint32_t index; /* in map sentries */
	bool used;
	bool on; /* it has VMs, and its timer was started */
	struct ka_vm *vms[KVMBPF_SENTRY_SEALS];
};

/* Parts are given out so many at a time. */
enum { SEAL_BLOCK_PARTS = 8, SEAL_BLOCKS = KVMBPF_SEAL_PARTS_MAX / SEAL_BLOCK_PARTS };

struct seals {
	struct seal_bpf *programs;
	int check_fd;
	uint64_t number;                  /* of the last seal */
	struct kvmbpf_seal *seals;        /* maps, memory-mapped */
	struct kvmbpf_seal_part *parts;
	struct kvmbpf_seal_check *checks;
	struct kvmbpf_sentry *sentries;
	uint64_t *posts;
	int stand_fd;                     /* -1: sentries are not in this kernel */
	struct ka_sentry sentry[KVMBPF_SENTRIES];
	bool used[KVMBPF_SEALS_MAX];
	bool block_used[SEAL_BLOCKS];
};

/* Finds out whether this host has them, and says it among its features. After direct_init(). */
void seals_init(struct ka_host *host);
void seals_free(struct seals *seals);
/* A map of theirs, memory-mapped; NULL. */
void *seals_map(const struct bpf_map *map, size_t size);
uint64_t seal_hash(const struct seals *seals, const void *bytes, size_t len);

/* sentry.c: chooses the programs of this host's vendor; before and after they are loaded. */
void sentries_choose(struct ka_host *host, struct seal_bpf *programs);
int sentries_init(struct ka_host *host, struct seals *seals);
void sentries_free(struct seals *seals);
/* Adds what they took. */
void sentries_count(const struct ka_host *host, struct ka_counters *counters);

#endif
