/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Programs on KVM's exits and on vcpu_load: those of an object that fit vendor and kernel. */
#ifndef KVMACCESS_PUSH_H
#define KVMACCESS_PUSH_H

#include "kvmaccess.h"

struct bpf_link;
struct bpf_object;
struct bpf_program;

/* How vcpu_load is seen: the first of these that the kernel takes. */
enum load_way { LOAD_FENTRY, LOAD_KPROBE, LOAD_ENTRY, LOAD_NONE };

extern const struct push_load_way {
	enum ka_feature_state state;
	const char *detail;
} push_load_ways[];

struct push {
	struct bpf_link *exit, *load;
};

/* The vendor's program of this kind ("exit" gives exit_svm), or NULL. */
struct bpf_program *push_program(const struct bpf_object *object, enum ka_vendor vendor,
				 const char *kind);
/*
 * Before the object is loaded: its programs for the vendor, on kvm_exit and in this way on
 * vcpu_load. One that the kernel refuses fails the whole object, so each way is tried afresh.
 */
void push_choose(const struct bpf_object *object, enum ka_vendor vendor, enum load_way way);
/* Once it is loaded. Attaches all of them or none. */
int push_attach(const struct bpf_object *object, enum ka_vendor vendor, enum load_way way,
		struct push *ret_push);
void push_detach(struct push *push);

#endif
