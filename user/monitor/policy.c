// SPDX-License-Identifier: LGPL-2.1-or-later
/* Finds the policy of a VM. */
#include "policy.h"

#include "duration.h"

#include <fnmatch.h>
#include <string.h>

bool patterns_match(const struct config_strings *patterns, const struct ka_vm_info *info)
{
	for (unsigned int i = 0; i < patterns->count; i++)
		if (!fnmatch(patterns->items[i], info->name, 0) ||
		    !fnmatch(patterns->items[i], info->uuid, 0))
			return true;
	return false;
}

static bool label_matches(const char *pattern, const char *labels)
{
	char label[KA_LABELS_MAX];
	const char *end;

	for (; (end = strchr(labels, '\n')); labels = end + 1) {
		memcpy(label, labels, end - labels);
		label[end - labels] = '\0';
		if (!fnmatch(pattern, label, 0))
			return true;
	}
	return false;
}

static bool labels_match(const struct config_strings *patterns, const struct ka_vm_info *info)
{
	for (unsigned int i = 0; i < patterns->count; i++)
		if (label_matches(patterns->items[i], info->labels))
			return true;
	return false;
}

static bool policy_fits(const struct config_policy *policy, const struct ka_vm_info *info)
{
	return (!policy->vms.count || patterns_match(&policy->vms, info)) &&
	       (!policy->labels.count || labels_match(&policy->labels, info));
}

static const struct config_policy *config_policy_find(const struct config *config,
						      const struct ka_vm_info *info)
{
	for (unsigned int i = 0; config && i < config->policy_count; i++)
		if (policy_fits(&config->policies[i], info))
			return &config->policies[i];
	return NULL;
}

void policy_find(const struct config *config, const struct ka_vm_info *info,
		 struct policy *ret_policy)
{
	const struct config_policy *found = config_policy_find(config, info);

	ret_policy->interval_ns = 0;
	if (found && found->interval)
		duration_parse(found->interval, &ret_policy->interval_ns); /* validated */
	ret_policy->actions = found ? found->actions : NULL;
	ret_policy->action_count = found ? found->action_count : 0;
	ret_policy->allow_modules = found ? &found->allow_modules : NULL;
	for (int check = 0; check < CHECKS; check++) {
		const int *level = found ? found->checks.level[check] : NULL;

		ret_policy->off[check] = level && *level == CONFIG_CHECK_OFF;
		ret_policy->severity[check] = level && *level != CONFIG_CHECK_OFF
						      ? (enum severity) * level
						      : checks[check].severity;
	}
}

bool policy_allows_module(const struct policy *policy, const char *name)
{
	for (unsigned int i = 0; policy->allow_modules && i < policy->allow_modules->count; i++)
		if (!fnmatch(policy->allow_modules->items[i], name, 0))
			return true;
	return false;
}
