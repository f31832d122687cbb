// SPDX-License-Identifier: LGPL-2.1-or-later
/* The table of checks, and the bookkeeping of how well each is seen. */
#include "check.h"

#include <stddef.h>
#include <string.h>

const struct check checks[CHECKS] = {
	[CHECK_GDT] = { "KVMBPF-GDT-001", "gdt", SEVERITY_CRITICAL, "T1014", "TA0005" },
	[CHECK_IDT] = { "KVMBPF-IDT-001", "idt", SEVERITY_CRITICAL, "T1014", "TA0005" },
	[CHECK_SYSCALL_TABLE] = { "KVMBPF-SYSCALL-001", "syscall_table", SEVERITY_CRITICAL, "T1014",
				  "TA0005" },
	/* T1562 was merged into T1685, tactic TA0112, in ATT&CK v19. */
	[CHECK_CR0_WP] = { "KVMBPF-CR0WP-001", "cr0_wp", SEVERITY_HIGH, "T1685", "TA0112" },
	[CHECK_TEXT] = { "KVMBPF-TEXT-001", "text", SEVERITY_CRITICAL, "T1014", "TA0005" },
	[CHECK_SYMBOLS] = { "KVMBPF-SYMBOLS-001", "symbols", SEVERITY_HIGH, "T1014", "TA0005" },
	[CHECK_MSR] = { "KVMBPF-MSR-001", "msr", SEVERITY_CRITICAL, "T1014", "TA0005" },
	[CHECK_CR] = { "KVMBPF-CR-001", "control_registers", SEVERITY_HIGH, "T1685", "TA0112" },
	[CHECK_DR] = { "KVMBPF-DR-001", "debug_registers", SEVERITY_HIGH, "T1014", "TA0005" },
	[CHECK_MODULES] = { "KVMBPF-MODULES-001", "modules", SEVERITY_CRITICAL, "T1014", "TA0005" },
	[CHECK_TAINT] = { "KVMBPF-TAINT-001", "taint", SEVERITY_HIGH, "T1685", "TA0112" },
	[CHECK_PROCESSES] = { "KVMBPF-PROCESSES-001", "processes", SEVERITY_CRITICAL, "T1014",
			      "TA0005" },
	[CHECK_CODE] = { "KVMBPF-CODE-001", "code", SEVERITY_CRITICAL, "T1014", "TA0005" },
	[CHECK_BPF] = { "KVMBPF-BPF-001", "bpf", SEVERITY_HIGH, "T1014", "TA0005" },
	[CHECK_DISPATCH] = { "KVMBPF-DISPATCH-001", "syscall_dispatch", SEVERITY_CRITICAL, "T1014",
			     "TA0005" },
	[CHECK_MODULE_TEXT] = { "KVMBPF-MODTEXT-001", "module_text", SEVERITY_CRITICAL, "T1014",
				"TA0005" },
	[CHECK_FTRACE] = { "KVMBPF-FTRACE-001", "ftrace", SEVERITY_CRITICAL, "T1014", "TA0005" },
	[CHECK_KPROBES] = { "KVMBPF-KPROBES-001", "kprobes", SEVERITY_CRITICAL, "T1014", "TA0005" },
	[CHECK_OPERATIONS] = { "KVMBPF-OPERATIONS-001", "operations", SEVERITY_CRITICAL, "T1014",
			       "TA0005" },
	[CHECK_TRACEPOINTS] = { "KVMBPF-TRACEPOINTS-001", "tracepoints", SEVERITY_CRITICAL, "T1014",
				"TA0005" },
	[CHECK_PAGE_TABLES] = { "KVMBPF-PGTABLE-001", "page_tables", SEVERITY_CRITICAL, "T1014",
				"TA0005" },
	[CHECK_RODATA] = { "KVMBPF-RODATA-001", "rodata", SEVERITY_CRITICAL, "T1014", "TA0005" },
	[CHECK_SOCKETS] = { "KVMBPF-SOCKETS-001", "sockets", SEVERITY_CRITICAL, "T1014", "TA0005" },
};

bool check_protectable(const char *word, enum check_id *ret_check)
{
	if (!strcmp(word, "syscall"))
		*ret_check = CHECK_SYSCALL_TABLE;
	else if (!strcmp(word, "idt"))
		*ret_check = CHECK_IDT;
	else
		return false;
	return true;
}

const char *severity_name(enum severity severity)
{
	static const char *const names[] = {
		"unknown", "info", "low", "medium", "high", "critical"
	};

	return severity <= SEVERITY_CRITICAL ? names[severity] : names[0];
}

const char *coverage_name(enum coverage_state state)
{
	static const char *const names[COVERAGE_STATES] = { "stale", "observed", "sampled", "stale",
							    "unobservable" };

	return state < COVERAGE_STATES ? names[state] : names[COVERAGE_NONE];
}

bool coverage_seen(enum coverage_state state)
{
	return state == COVERAGE_OBSERVED || state == COVERAGE_SAMPLED;
}

void coverage_set(struct coverage *coverage, enum coverage_state state, const char *reason,
		  uint64_t now_ns)
{
	if (coverage->off) {
		state = COVERAGE_UNOBSERVABLE;
		reason = "switched off by the configuration";
	}
	if (coverage->state != state)
		coverage->since_ns = now_ns;
	coverage->state = state;
	coverage->reason = reason;
	coverage->cycles[state]++;
}
