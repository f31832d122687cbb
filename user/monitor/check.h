/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The checks, their names in events, and how well each is seen at any time. */
#ifndef MONITOR_CHECK_H
#define MONITOR_CHECK_H

#include <stdbool.h>
#include <stdint.h>

enum check_id {
	/* Of each vCPU. */
	CHECK_GDT,
	CHECK_IDT,
	CHECK_SYSCALL_TABLE,
	CHECK_CR0_WP,
	CHECK_TEXT,
	CHECK_SYMBOLS,
	CHECK_MSR,
	CHECK_CR,
	CHECK_DR,
	VCPU_CHECKS,
	/* Of the guest as a whole: audits of its kernel's own records. */
	CHECK_MODULES = VCPU_CHECKS,
	CHECK_TAINT,
	CHECK_PROCESSES,
	CHECK_CODE,
	CHECK_BPF,
	CHECK_DISPATCH,
	CHECK_MODULE_TEXT,
	CHECK_FTRACE,
	CHECK_KPROBES,
	CHECK_TRACEPOINTS,
	CHECK_OPERATIONS,
	CHECK_PAGE_TABLES,
	CHECK_RODATA,
	CHECK_SOCKETS,
	CHECKS,
};

enum { AUDITS = CHECKS - VCPU_CHECKS };

enum severity {
	SEVERITY_INFO = 1,
	SEVERITY_LOW,
	SEVERITY_MEDIUM,
	SEVERITY_HIGH,
	SEVERITY_CRITICAL,
};

enum { CHECK_VERSION = 1 };

struct check {
	const char *id, *name;
	enum severity severity;
	const char *technique, *tactic;
};

extern const struct check checks[CHECKS];

/* The check whose objects --protect and the configuration mean by this word. False: none. */
bool check_protectable(const char *word, enum check_id *ret_check);

const char *severity_name(enum severity severity);

enum coverage_state {
	COVERAGE_NONE, /* not judged yet */
	COVERAGE_OBSERVED,
	COVERAGE_SAMPLED,
	COVERAGE_STALE,
	COVERAGE_UNOBSERVABLE,
	COVERAGE_STATES,
};

/* How well one check of one vCPU is seen. Reasons are strings that outlive the guest. */
struct coverage {
	bool off; /* by configuration: it stays unobservable */
	enum coverage_state state, reported;
	const char *reason;
	uint64_t since_ns;   /* of the state; CLOCK_REALTIME */
	uint64_t last_ok_ns; /* last time it was seen clean; 0: never */
	uint64_t cycles[COVERAGE_STATES];
};

const char *coverage_name(enum coverage_state state);
/* Seen, be it at some moments only. */
bool coverage_seen(enum coverage_state state);
void coverage_set(struct coverage *coverage, enum coverage_state state, const char *reason,
		  uint64_t now_ns);

#endif
