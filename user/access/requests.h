/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The request queue: what a host and a VM hold of it. */
#ifndef KVMACCESS_REQUESTS_H
#define KVMACCESS_REQUESTS_H

#include "host.h"

/* Of a host: created by its first request. */
struct requests;

/* A queue in the kernel. */
struct request_queue {
	uint64_t key;  /* address of struct kvm, or of the struct kvm_vcpu that alone serves it */
	int fd;
};

/* Says in the probe who will serve requests. */
void requests_probe(struct ka_host *host);
void requests_free(struct ka_host *host);
/* Results that found the ring buffer full. */
uint64_t requests_results_lost(const struct ka_host *host);
/* A handle is closed. */
void requests_forget(struct ka_vm *vm);
/* A VM is gone, or nobody has it open any more: the kernel lets go of it. */
void requests_release(struct ka_host *host, struct host_vm *vm);

#endif
