/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One watched object that is not as its baseline has it: plain data, from the checks to findings.
 */
#ifndef MONITOR_DIFFERENCE_H
#define MONITOR_DIFFERENCE_H

#include "check.h"

#include <stdbool.h>
#include <stdint.h>

enum object_kind {
	OBJECT_GDT_DESCRIPTOR,
	OBJECT_IDT_GATE,
	OBJECT_SYSCALL_ENTRY,
	OBJECT_CR0_WP,
	OBJECT_GDTR,
	OBJECT_IDTR,
	OBJECT_SYSCALL_TABLE,
	OBJECT_TEXT,
	OBJECT_SYMBOL,
	OBJECT_MSR,
	OBJECT_CONTROL_REGISTER,
	OBJECT_DEBUG_REGISTER,
	/* What audits look at, each named in difference.name. */
	OBJECT_MODULE,
	OBJECT_TAINT,
	OBJECT_PROCESS,
	OBJECT_CODE,
	OBJECT_EXECUTABLE,
	OBJECT_BPF_PROGRAM,
	OBJECT_MODULE_TEXT,
	OBJECT_MODULE_RODATA,
	OBJECT_FTRACE_CALLBACK,
	OBJECT_KPROBE_HANDLER,
	OBJECT_TRACEPOINT_PROBE,
	OBJECT_OPERATION,
	OBJECT_PAGE,
	OBJECT_RODATA,
	OBJECT_SOCKET,
	OBJECT_KINDS,
};

enum { OBJECT_SHARED = -1 };

/* What is watched, so that the same object has the same key in each cycle. */
struct object_key {
	enum check_id check;
	enum object_kind kind;
	int table;	    /* enum ka_syscall_table_kind, else 0 */
	int vcpu;	    /* OBJECT_SHARED: one object for all vCPUs */
	/* Of the entry, offset in the text, or number of the register; 0: there is one only. Of what
	 * audits look at: what tells it from others of its kind, such as an address. */
	uint64_t index;
};

/* Where a table lies. */
struct place {
	uint64_t gva, gpa;
	uint32_t limit;
};

struct difference {
	struct object_key object;
	unsigned int vcpu; /* one that sees it */
	uint64_t gva, gpa; /* of the object; 0 for a register */
	unsigned int size; /* bytes of a value: 4, 8 or 16 */
	/* Of a control register the second of `observed` is what it lost, of a debug register its RW and
	 * LEN. */
	uint64_t expected[2], observed[2];
	struct place expected_place, observed_place; /* a table that moved */
	bool long_mode;
	bool outside_text;	 /* unchanged, but its handler is outside of the kernel's text */
	/* Kernel text: why the kernel itself patches this place, how many bytes differ, and where
	 * a branch that stands there leads. */
	const char *patch;
	uint32_t len;
	uint64_t target;
	char name[64]; /* of a symbol, or of what an audit looks at; the guest's bytes */
	/* From audits: the reason as events have it, and the rest of a sentence about `name`. */
	const char *problem;
	char what[96];
	char expected_text[80], observed_text[80];
	bool first_sight; /* may have been so before anybody looked */
	const char *detected_by; /* "poll", "push" */
};

/* A place: the value is where it lies. */
static inline bool object_is_place(enum object_kind kind)
{
	return kind == OBJECT_GDTR || kind == OBJECT_IDTR || kind == OBJECT_SYSCALL_TABLE;
}

/* Of the kernel's own records: told in words. */
static inline bool object_is_audited(enum object_kind kind)
{
	return kind >= OBJECT_MODULE;
}

/* One that has no place in memory. */
static inline bool object_is_register(enum object_kind kind)
{
	return kind == OBJECT_MSR || kind == OBJECT_CONTROL_REGISTER ||
	       kind == OBJECT_DEBUG_REGISTER;
}

const char *object_kind_name(enum object_kind kind);
bool object_equal(const struct object_key *a, const struct object_key *b);

#endif
