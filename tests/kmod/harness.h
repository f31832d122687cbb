/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A tiny VM, the programs that call the kernel module, and what the module told. */
#ifndef TESTS_KMOD_HARNESS_H
#define TESTS_KMOD_HARNESS_H

#include "calls.h"
#include "bpf/calls.skel.h"
#include "tests/native/support.h"

/* The programs' variables, `call` and `data` among them. */
extern struct calls_bpf__bss *bss;

/* Starts t.vm and loads the programs; where the module is not loaded, the test is skipped. */
void harness_open(const struct tinyvm_options *options);
/* Loads them only, perhaps with those on exits and loads of vCPUs. */
void harness_load(bool on_exit);
/* The same, but fails where the module is just going. */
int harness_try_load(bool on_exit);
/* Frees the programs and all that they keep. */
void harness_unload(void);
void harness_close(void);

/* The VM's descriptor, duplicated from its VMM; -ENOENT. */
int harness_vm_fd(pid_t pid, unsigned int index);
/* Paging state of a vCPU, as KVM says. */
struct kvmbpf_paging_state harness_paging(unsigned int vcpu);

/* Runs the program of this name with `bss->call`; its result. */
int harness_call(const char *program);
/* Keeps a handle of a process's VM in `slot`, and the address of struct kvm in bss->call.kvm. */
int acquire(unsigned int slot, pid_t pid, unsigned int index);
int track(uint64_t gpa, uint32_t len, uint32_t flags, uint64_t cookie);
int tell_writes(uint64_t gpa, uint32_t frames, uint64_t cookie);
int untrack(uint64_t gpa, uint64_t len);

/* Takes what was told until now; returns how many there are in all. */
size_t told_take(void);
/* Waits for so many. */
void told_wait(size_t count);
extern struct told *told;
void told_clear(void);

/* Waits until /sys/module/kvmbpf_helper/refcnt is `count`: nobody uses what they should not. */
void references_wait(long count);
long references(void);

#endif
