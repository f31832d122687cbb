/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whose code a pointer of the guest's kernel leads to, and what is said of one that it should not.
 */
#ifndef MONITOR_CODE_H
#define MONITOR_CODE_H

#include "../audit.h"

/* In the kernel's own text? */
bool code_is_kernel(const struct audit_view *view, uint64_t gva);
/* Neither NULL nor the kernel's own, nor of a module that the configuration allows this. */
bool code_is_foreign(const struct audit_view *view, uint64_t gva);

/*
 * The function that has this call of ftrace, which stands in or behind its first instruction. NULL: none
 * that is known.
 */
const char *code_function_name(const struct audit_view *view, uint64_t ip);

/*
 * Says of a difference that its pointer leads to foreign code; `observed`: what else is to be known
 * of it.
 */
void code_tell(const struct audit_view *view, struct difference *difference, uint64_t target,
	       const char *observed);

/* Code that the kernel made for BPF programs, as its own list has it: the guest's word. */
struct code_bpf {
	uint64_t head;
	struct ka_member node, start, end;
	struct code_range {
		uint64_t start, end;
	} * ranges; /* by address, once read */
	size_t count;
};

/* -ENODATA: this kernel has no such list. */
int code_bpf_prepare(const struct audit_view *view, struct code_bpf *ret_bpf);
void code_bpf_release(struct code_bpf *bpf);
/* Errors: as records_read(); -EAGAIN, -ENOMEM. */
int code_bpf_read(const struct audit_view *view, struct code_bpf *bpf);
bool code_bpf_has(const struct code_bpf *bpf, uint64_t gva);

#endif
