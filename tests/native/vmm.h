/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One tiny VM in this process: its memory, memslots and vCPU threads. */
#ifndef TESTS_NATIVE_VMM_H
#define TESTS_NATIVE_VMM_H

#include <pthread.h>

#include "tinyvm.h"

struct machine;

struct machine_vcpu {
	struct machine *machine;
	unsigned int id;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool started, in_run;
	unsigned long runs;         /* how often KVM_RUN has returned */
};

struct machine {
	const struct tinyvm_options *options;
	int fd, ram_fd;
	int failed_fd;              /* eventfd, written when a vCPU cannot go on; not owned */
	size_t run_size;
	uint8_t *ram;
	bool paused, quit;          /* these, in_run and runs under the lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct machine_vcpu vcpu[GUEST_VCPUS_MAX];
};

/* -EOPNOTSUPP: KVM here has no such paging mode. */
int machine_create(int kvm, const struct tinyvm_options *options, int failed_fd,
		   struct machine **ret_machine);
/* NULL is ignored. */
void machine_destroy(struct machine *machine);

/* 1 if all vCPUs are in their loops, 0 if not yet, -EIO if one took an exception. */
int machine_reached(const struct machine *machine);
/* No vCPU is in KVM_RUN once this has returned, until machine_resume(). */
void machine_pause(struct machine *machine);
void machine_resume(struct machine *machine);
/* Waits until a vCPU without work has left the guest, and its registers are KVM's again. */
void machine_settle(struct machine *machine, unsigned int vcpu);
/* Posts a command; returns its sequence number. */
uint64_t machine_post(struct machine *machine, unsigned int vcpu, uint64_t command,
		      const uint64_t *args, size_t count);
int machine_set_slot(struct machine *machine, const struct tinyvm_slot *slot);
int machine_registers(struct machine *machine, unsigned int vcpu,
		      struct tinyvm_registers *ret_registers);

#endif
