/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests in flight: ids, parts and results. Pure code: who carries them to the kernel and back is
 * requests.c.
 */
#ifndef KVMACCESS_INFLIGHT_H
#define KVMACCESS_INFLIGHT_H

#include <linux/types.h>
#include "kvmaccess.h"
#include "kvmbpf/requests.h"

enum inflight_state {
	INFLIGHT_WAITS,    /* for results of the kernel, until its deadline */
	INFLIGHT_UNSERVED, /* the kernel cannot: for process context, at once */
	INFLIGHT_FINISHED,
};

/* A request that was filed and whose result nobody took yet. */
struct inflight_request {
	uint64_t id;
	const struct ka_vm *vm;
	struct ka_request request; /* `paging` points to the copy below, or is NULL */
	struct ka_paging paging;
	uint64_t deadline_ns;      /* CLOCK_MONOTONIC */
	enum inflight_state state;
	uint64_t missing;          /* parts without a result: bit n is that at n * KVMBPF_READ_MAX */
	int error;                 /* FINISHED: 0 or -errno */
	struct ka_result result;
};

/* Of a host. All zero is empty. */
struct inflight {
	struct inflight_request **slots;
	uint32_t *spare;           /* numbers of free slots, the next one last */
	uint32_t spare_count;
	uint64_t filed;            /* so far, for ids */
};

void inflight_deinit(struct inflight *inflight);
/* Checks a request (-EINVAL), copies it and gives it an id. -ENOBUFS: too many in flight. */
int inflight_add(struct inflight *inflight, const struct ka_vm *vm,
		 const struct ka_request *request, uint64_t now_ns,
		 struct inflight_request **ret_filed);
/* NULL: no such request in flight, or no more. */
struct inflight_request *inflight_find(const struct inflight *inflight, uint64_t id);
void inflight_remove(struct inflight *inflight, struct inflight_request *filed);
/* All of a VM's handle. */
void inflight_remove_vm(struct inflight *inflight, const struct ka_vm *vm);

/* The parts that the kernel is asked for: at least one. */
unsigned int inflight_parts(const struct inflight_request *filed);
struct kvmbpf_request inflight_part(const struct inflight_request *filed, unsigned int index);
/* Takes what the kernel says; what fits no request that waits is dropped. */
void inflight_take(struct inflight *inflight, const struct kvmbpf_result *result, size_t size);

#endif
