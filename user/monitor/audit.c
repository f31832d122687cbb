// SPDX-License-Identifier: LGPL-2.1-or-later
/* The table of audits, and what they have in common. */
#include "audit.h"

const struct audit *const audits[AUDITS] = {
	[CHECK_MODULES - VCPU_CHECKS] = &audit_modules,
	[CHECK_TAINT - VCPU_CHECKS] = &audit_taint,
	[CHECK_PROCESSES - VCPU_CHECKS] = &audit_processes,
	[CHECK_CODE - VCPU_CHECKS] = &audit_executable,
	[CHECK_BPF - VCPU_CHECKS] = &audit_bpf,
	[CHECK_DISPATCH - VCPU_CHECKS] = &audit_dispatch,
	[CHECK_MODULE_TEXT - VCPU_CHECKS] = &audit_module_text,
	[CHECK_FTRACE - VCPU_CHECKS] = &audit_ftrace,
	[CHECK_KPROBES - VCPU_CHECKS] = &audit_kprobes,
	[CHECK_TRACEPOINTS - VCPU_CHECKS] = &audit_tracepoints,
	[CHECK_OPERATIONS - VCPU_CHECKS] = &audit_operations,
	[CHECK_PAGE_TABLES - VCPU_CHECKS] = &audit_page_tables,
};

struct difference *audit_add(struct audit_result *result, enum check_id check,
			     enum object_kind kind, uint64_t index)
{
	struct difference *difference;

	if (result->count++ >= AUDIT_DIFFERENCES_MAX)
		return NULL;
	difference = &result->differences[result->count - 1];
	*difference = (struct difference){
		.object = { .check = check, .kind = kind, .vcpu = OBJECT_SHARED, .index = index },
	};
	return difference;
}
