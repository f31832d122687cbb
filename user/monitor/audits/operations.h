/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pointers to code in the kernel's data, and who may have put them there. */
#ifndef MONITOR_OPERATIONS_H
#define MONITOR_OPERATIONS_H

#include "records.h"

enum operations_rule {
	OPERATIONS_KERNEL, /* the kernel's own code only */
	OPERATIONS_VENDOR, /* or that of a module that came with it, as the guest has that */
	OPERATIONS_LISTED, /* or that of any module */
};

/* A look under way. */
struct operations_look {
	const struct audit_view *view;
	struct audit_result *result;
	enum operations_rule rule;
	const char *name; /* of what is looked at; the guest's bytes */
	size_t steps;
};

/* Bounds a look, whatever the guest has put there. False: too many. */
bool operations_step(struct operations_look *look);

/* The pointer to a function at `place`. */
void operations_pointer(struct operations_look *look, uint64_t place, uint64_t target);
/* All pointers in a struct, whose types are not known: what is no code is passed over. */
int operations_table(struct operations_look *look, uint64_t gva, uint32_t size);

/* operations_proc.c: entries of /proc. */
struct operations_proc;
int operations_proc_prepare(const struct audit_view *view, struct operations_proc **ret_proc);
void operations_proc_release(struct operations_proc *proc);
int operations_proc_look(struct operations_look *look, struct operations_proc *proc);

/* operations_lists.c: lists of callbacks. */
struct operations_lists;
int operations_lists_prepare(const struct audit_view *view, struct operations_lists **ret_lists);
int operations_lists_look(struct operations_look *look, const struct operations_lists *lists);

#endif
