/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Seals of a host's VMs: what ka_seal() took down, where a BPF program finds it. */
#ifndef KVMACCESS_SEAL_H
#define KVMACCESS_SEAL_H

#include "host.h"

struct seal_bpf;

/* Parts are given out so many at a time. */
enum { SEAL_BLOCK_PARTS = 8, SEAL_BLOCKS = KVMBPF_SEAL_PARTS_MAX / SEAL_BLOCK_PARTS };

struct seals {
	struct seal_bpf *programs;
	int check_fd;
	uint64_t number;                  /* of the last seal */
	struct kvmbpf_seal *seals;        /* maps, memory-mapped */
	struct kvmbpf_seal_part *parts;
	struct kvmbpf_seal_check *checks;
	bool used[KVMBPF_SEALS_MAX];
	bool block_used[SEAL_BLOCKS];
};

/* Finds out whether this host has them, and says it among its features. After direct_init(). */
void seals_init(struct ka_host *host);
void seals_free(struct seals *seals);

#endif
