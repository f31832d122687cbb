/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An audit: one kind of the guest kernel's own records, and what must not be in them. Knows nothing of
 * findings, budgets and events: guest_audit.c says when it looks, and takes what it finds.
 */
#ifndef MONITOR_AUDIT_H
#define MONITOR_AUDIT_H

#include "difference.h"
#include "guest_modules.h"
#include "reference.h"
#include "policy.h"

#include <kvmaccess.h>
#include <stddef.h>

enum { AUDIT_DIFFERENCES_MAX = 64, AUDIT_CHANGES_MAX = 64 };

/* What an audit looks at. Borrowed, for the time of the call. */
struct audit_view {
	struct ka_vm *vm;
	const struct ka_kernel *kernel; /* with symbols */
	const struct guest_modules *modules;
	const struct policy *policy;
	bool first;		      /* the first look in this boot: what it finds may be old */
	const struct ka_types *types; /* for prepare() only */
	/* What the vendor's image says of its text, at any moment of this boot. NULL: no reference. */
	const struct ka_text *text;
	/* What its text was at first sight, where there is no reference; NULL: not known. */
	const struct ka_text *first_text;
	const struct ka_text_boot *boot;
	struct references *references;
	const struct ka_reference *reference; /* of its kernel; NULL: none is known */
};

/* A module or an eBPF program that came or went, which is no difference. */
struct audit_change {
	enum { CHANGE_MODULE, CHANGE_PROGRAM } kind;
	bool loaded, at_first_sight;
	char name[64];
	/* Of a module. */
	bool reference;	    /* it is one that came with its kernel's reference */
	const char *reason; /* why it is not; NULL: nothing is known of that kernel's modules */
	char build_id[41];
	uint64_t text_start, taints;
	uint32_t text_size;
	/* Of a program. */
	const char *type;
	uint32_t id, uid;
	char tag[2 * KA_BPF_TAG_BYTES + 1];
	const char *link; /* of which kind; NULL: no link runs it */
	char target[KA_BPF_TARGET_MAX];
};

/* What one look found; beyond AUDIT_DIFFERENCES_MAX it is counted only. */
struct audit_result {
	struct difference differences[AUDIT_DIFFERENCES_MAX];
	size_t count;
	struct audit_change changes[AUDIT_CHANGES_MAX];
	size_t change_count;
	const char *gap; /* what was not looked at, and why; NULL: nothing */
};

/* Memory of the guest's kernel: GVA, bytes. */
struct audit_range {
	uint64_t gva;
	uint32_t len;
};

struct audit {
	unsigned int period_ms; /* no look sooner after the last; 0: one in each cycle */
	bool each_cycle; /* and whatever the budget says: it is a read and a comparison */
	bool needs_modules;	/* goes by whose code an address is */
	bool without_types;	/* does without them: view->types may be NULL in prepare() */
	/*
	 * Once a boot: where things lie in this kernel. `state` is release()'s to free.
	 * Errors: -ENODATA, its types or symbols do not tell; -ENOMEM.
	 */
	int (*prepare)(const struct audit_view *view, void **ret_state);
	/*
	 * One look. What differs is looked at a second time at once, and only what both saw is told.
	 * Bounded, whatever the guest has put there. Errors: as the library's reads; -EAGAIN: the
	 * records changed meanwhile.
	 */
	int (*look)(void *state, const struct audit_view *view, struct audit_result *result);
	/* Where a write deserves a look at once; NULL: nowhere. Returns how many. */
	size_t (*hot_spots)(const void *state, struct audit_range *ranges, size_t max);
	void (*release)(void *state);
};

/* By check - VCPU_CHECKS. */
extern const struct audit *const audits[AUDITS];

/* A new difference of this look, zeroed but for its object; NULL: it is one too many, and counted. */
struct difference *audit_add(struct audit_result *result, enum check_id check,
			     enum object_kind kind, uint64_t index);

/* A new change of this look, zeroed but for its kind; NULL: it is one too many. */
struct audit_change *audit_change_add(struct audit_result *result, int kind, bool loaded);

/* The symbol at an address of the guest's kernel and the offset from it, or the address. */
void audit_symbol_text(const struct ka_kernel *kernel, uint64_t gva, char *buf, size_t size);

/* audits/: one file each. */
extern const struct audit audit_modules, audit_taint, audit_processes, audit_executable, audit_bpf,
	audit_dispatch, audit_module_text, audit_ftrace, audit_kprobes, audit_tracepoints,
	audit_operations, audit_page_tables, audit_rodata, audit_sockets;

#endif
