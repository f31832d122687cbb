/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fprobes of kernels since 6.14, which stand in a table of their own. */
#ifndef MONITOR_FTRACE_FPROBES_H
#define MONITOR_FTRACE_FPROBES_H

#include "../audit.h"

struct fprobes {
	uint64_t table; /* GVA; 0: this kernel has none */
	size_t buckets;
	bool missed; /* it has one that is not found */
	struct ka_member link, probe, count, functions, function_bytes, address;
	struct ka_member entry, exit;
};

void fprobes_prepare(const struct audit_view *view, struct fprobes *ret_fprobes);
/* 0, -EAGAIN, or what a read of guest memory returns. */
int fprobes_look(const struct audit_view *view, const struct fprobes *fprobes,
		 struct audit_result *result);

#endif
