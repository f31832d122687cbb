/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which checks a VM has, and how severe what they find is. */
#ifndef MONITOR_POLICY_H
#define MONITOR_POLICY_H

#include "config.h"

#include <kvmaccess.h>

struct policy {
	bool off[CHECKS];
	enum severity severity[CHECKS];
	uint64_t interval_ns; /* 0: the monitor's */
	const struct config_action *actions; /* of the configuration */
	unsigned int action_count;
	const struct config_strings *allow_modules; /* NULL: none */
};

/* Does the name or the UUID fit one of these patterns? */
bool patterns_match(const struct config_strings *patterns, const struct ka_vm_info *info);

/* The first of the configured policies that is for this VM, over the checks' own; `config` may be
 * NULL. */
void policy_find(const struct config *config, const struct ka_vm_info *info,
		 struct policy *ret_policy);

/* May a module of this name have the kernel call it? It is the guest that gives the names. */
bool policy_allows_module(const struct policy *policy, const char *name);

#endif
