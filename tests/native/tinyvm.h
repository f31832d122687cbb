/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tiny KVM guests for tests: started as a process of their own (the program `tinyvm` beside the
 * test), commanded through a socket, their memory read and written from outside.
 *
 * Calls return 0 or -errno; one that finds the VMM dead returns -EPIPE. Nothing waits longer than
 * TINYVM_DEADLINE_MS.
 */
#ifndef TESTS_NATIVE_TINYVM_H
#define TESTS_NATIVE_TINYVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "guest_layout.h"

enum { TINYVM_DEADLINE_MS = 30000, TINYVM_SLOTS_MAX = 64, TINYVM_VMS_MAX = 1024 };

enum tinyvm_mode {
	TINYVM_4LEVEL,
	TINYVM_5LEVEL,
	TINYVM_PAE,
	TINYVM_32BIT,
	TINYVM_RESET,    /* vCPUs in their reset state, never run: no paging */
	TINYVM_MODES,
};

enum tinyvm_backing { TINYVM_ANONYMOUS, TINYVM_MEMFD };

/* All zero: one 4-level VM with one vCPU and GUEST_MEMORY_MIN in one private memslot. */
struct tinyvm_options {
	enum tinyvm_mode mode;
	enum tinyvm_backing backing;
	unsigned int vms;        /* in the one process */
	unsigned int vcpus;
	unsigned int slots;      /* memory in so many equal pieces, each followed by a hole */
	uint64_t memory, hole;   /* bytes */
	bool irqchip;            /* KVM's: HLT waits in the kernel, not in the VMM */
	const char *name, *uuid; /* as QEMU's -name guest= and -uuid; NULL: none */
};

/* Fills in what is 0; -EINVAL if it does not fit together. */
int tinyvm_options_complete(struct tinyvm_options *options);
const char *tinyvm_mode_name(enum tinyvm_mode mode);
bool tinyvm_mode_64bit(enum tinyvm_mode mode);
/* Kernel address of a GPA below GUEST_MEMORY_MIN / 2 (or of an offset from the base). */
uint64_t tinyvm_gva(enum tinyvm_mode mode, uint64_t gpa);

struct tinyvm_slot { uint32_t id, flags; uint64_t gpa, size, ram_offset; };
/* The slots that a VM starts with; ids 0, 1, ... */
size_t tinyvm_slots(const struct tinyvm_options *options, struct tinyvm_slot *ret_slots);

/* What KVM says of a vCPU. */
struct tinyvm_registers {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debug;
	uint64_t lstar, cstar, star, sfmask, sysenter_cs, sysenter_esp, sysenter_eip;
};

/* ---- the program's side -------------------------------------------------------------------- */

/*
 * Runs the VMs until SIGTERM, SIGINT or the end of the control socket. control < 0: none, and
 * "ready" goes to stdout. Returns an exit status.
 */
int tinyvm_run(const struct tinyvm_options *options, int control);

enum tinyvm_op {
	TINYVM_OP_COMMAND,    /* arg 0: GUEST_CMD_*, args 1 to 6: its arguments; value: seq */
	TINYVM_OP_PAUSE,
	TINYVM_OP_RESUME,
	TINYVM_OP_SETTLE,     /* once the vCPU has nothing to do: until it has left the guest */
	TINYVM_OP_REGISTERS,
	TINYVM_OP_SET_SLOT,   /* args: id, flags, gpa, size, ram_offset */
	TINYVM_OP_DUPLICATE,  /* value: another descriptor of the VM */
	TINYVM_OP_FORK,       /* value: pid of a child that only holds the descriptors */
	TINYVM_OP_MADVISE,    /* args: ram_offset, length, advice */
	TINYVM_OP_UNMAP,      /* args: ram_offset, length */
	TINYVM_OP_PROVIDE,    /* args: ram_offset, length; value: a userfaultfd of what is missing there */
	TINYVM_OP_SET_CLOCK,  /* arg: nanoseconds, as KVM_SET_CLOCK */
	TINYVM_OP_DESTROY,    /* the VM, not the process */
	TINYVM_OP_CREATE,     /* one that was destroyed */
};

struct tinyvm_request { uint32_t op, vm, vcpu, pad; uint64_t arg[7]; };

/* The first one, unasked, when all vCPUs have reached their loop or it is known why not. */
struct tinyvm_reply {
	int32_t error;
	uint32_t pad;
	uint64_t value;      /* at first: where VM 0's memory lies in the VMM, then what op says */
	struct tinyvm_registers registers;
};

/* ---- the tests' side ----------------------------------------------------------------------- */

struct tinyvm {
	pid_t pid;
	int control;
	struct tinyvm_options options;
	uint64_t ram;                          /* VM 0's memory, in the VMM */
	struct tinyvm_slot slot[TINYVM_SLOTS_MAX];
	size_t slots;
};

/*
 * Starts the process and waits until its guests are in their loops. -EOPNOTSUPP: this host's KVM
 * has no such paging mode.
 */
int tinyvm_start(const struct tinyvm_options *options, struct tinyvm *ret_vm);
/* SIGKILL, and waits until the process is gone. Safe to repeat. */
void tinyvm_kill(struct tinyvm *vm);

int tinyvm_request(struct tinyvm *vm, const struct tinyvm_request *request,
		   struct tinyvm_reply *ret_reply);
/* A request to VM 0 for which one value is the answer; ret_value may be NULL. */
int tinyvm_ask(struct tinyvm *vm, enum tinyvm_op op, const uint64_t *args, size_t count,
	       uint64_t *ret_value);

/* Lets a vCPU do something; GUEST_CMD_*. */
int tinyvm_command(struct tinyvm *vm, unsigned int vcpu, uint64_t command, const uint64_t *args,
		   size_t count);
/* Waits until it has done it and left the guest. -EIO: the guest took an exception. */
int tinyvm_wait(struct tinyvm *vm, unsigned int vcpu);
/* Waits until SPIN, REWRITE or TOGGLE_WP has made so many rounds. */
int tinyvm_wait_count(struct tinyvm *vm, unsigned int vcpu, uint64_t count);
/* Ends SPIN or REWRITE, and waits. */
int tinyvm_stop(struct tinyvm *vm, unsigned int vcpu);
/* Command and wait, with two arguments. */
int tinyvm_do(struct tinyvm *vm, unsigned int vcpu, uint64_t command, uint64_t arg0, uint64_t arg1);
uint64_t tinyvm_mailbox(struct tinyvm *vm, unsigned int vcpu, uint64_t offset);

/* Of a paused or halted vCPU, as KVM_GET_REGS, KVM_GET_SREGS and KVM_GET_MSRS say. */
int tinyvm_registers(struct tinyvm *vm, unsigned int vcpu, struct tinyvm_registers *ret_registers);
/* KVM_SET_USER_MEMORY_REGION; size 0 removes. */
int tinyvm_set_slot(struct tinyvm *vm, const struct tinyvm_slot *slot);

/* VM 0's memory by GPA, past the library under test; works while the VMM is stopped, too. */
int tinyvm_peek(struct tinyvm *vm, uint64_t gpa, void *buf, size_t len);
int tinyvm_poke(struct tinyvm *vm, uint64_t gpa, const void *data, size_t len);
uint64_t tinyvm_peek64(struct tinyvm *vm, uint64_t gpa);
void tinyvm_poke64(struct tinyvm *vm, uint64_t gpa, uint64_t value);

#endif
