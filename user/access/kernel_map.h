/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel's half of a guest's page tables, walked in parts: which of it can be executed. */
#ifndef KVMACCESS_KERNEL_MAP_H
#define KVMACCESS_KERNEL_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvmaccess.h"
#include "kvmbpf/pagewalk.h"

enum { KERNEL_MAP_RANGES_MAX = 4096, KERNEL_MAP_ENTRIES = 512 };

/* A table on the way from the root to where the walk is. */
struct kernel_map_table {
	uint64_t gpa;
	uint64_t gva;	   /* of its first entry */
	uint8_t rights;	   /* of the way to it */
	unsigned int next; /* entry to be looked at */
	uint64_t entries[KERNEL_MAP_ENTRIES];
};

struct ka_kernel_map {
	struct kvmbpf_paging_state paging;
	struct kernel_map_table table[KVMBPF_WALK_LEVELS];
	unsigned int depth; /* tables at hand; 0: the walk is to begin */
	uint64_t tables;    /* read in this walk */
	struct ka_code_range ranges[KERNEL_MAP_RANGES_MAX];
	size_t count;
};

/*
 * Pure. Goes on through the entries at hand until a table is needed: true, and where it lies.
 * False: the walk is at its end. -ENOBUFS in *ret_err: more ranges than fit.
 */
bool kernel_map_next(struct ka_kernel_map *map, uint64_t *ret_gpa, int *ret_err);
/* The table that was asked for is in table[depth].entries. */
void kernel_map_enter(struct ka_kernel_map *map);

#endif
