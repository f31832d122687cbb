// SPDX-License-Identifier: LGPL-2.1-or-later
/* The table of audits, and what they have in common. */
#include "audit.h"

#include <stdio.h>

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
	[CHECK_RODATA - VCPU_CHECKS] = &audit_rodata,
	[CHECK_SOCKETS - VCPU_CHECKS] = &audit_sockets,
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

struct audit_change *audit_change_add(struct audit_result *result, int kind, bool loaded)
{
	struct audit_change *change;

	if (result->change_count == AUDIT_CHANGES_MAX)
		return NULL;
	change = &result->changes[result->change_count++];
	*change = (struct audit_change){ .kind = kind, .loaded = loaded };
	return change;
}

void audit_symbol_text(const struct ka_kernel *kernel, uint64_t gva, char *buf, size_t size)
{
	uint64_t offset = 0;
	const char *name = ka_kernel_name(kernel, gva, &offset);

	if (!name)
		snprintf(buf, size, "0x%llx", (unsigned long long)gva);
	else if (offset)
		snprintf(buf, size, "%.48s+0x%llx", name, (unsigned long long)offset);
	else
		snprintf(buf, size, "%.64s", name);
}
