// SPDX-License-Identifier: LGPL-2.1-or-later
/* Filters events and renders them as lines. */
#include "format.h"

#include "cleanup.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <string.h>

const char *json_text_at(const json_t *json, ...)
{
	const char *key;
	va_list args;

	va_start(args, json);
	while ((key = va_arg(args, const char *)))
		json = json_object_get(json, key);
	va_end(args);
	return json_string_value(json);
}

char *format_text(enum format format, const json_t *event, bool pretty, size_t *ret_len)
{
	json_t *other = format == FORMAT_ECS	? format_ecs(event)
			: format == FORMAT_OCSF ? format_ocsf(event)
						: json_incref((json_t *)event);
	char *text = other ? json_dumps(other, pretty ? JSON_INDENT(2) : JSON_COMPACT) : NULL;

	json_decref(other);
	if (!text)
		return NULL;
	*ret_len = strlen(text) + 1;
	text[*ret_len - 1] = '\n'; /* over the zero, which nobody needs from here on */
	return text;
}

static bool any_matches(const char *const *patterns, size_t count, const char *text)
{
	for (size_t i = 0; text && i < count; i++)
		if (!fnmatch(patterns[i], text, 0))
			return true;
	return false;
}

bool filter_accepts(const struct filter *filter, const json_t *event)
{
	const char *type = json_text(event, "type"), *vm = json_text(event, "vm", "id");
	const char *check = json_text(event, "check", "name");

	if (json_integer_value(json_object_get(event, "severity_id")) < filter->min_severity)
		return false;
	if (filter->type_count && !any_matches(filter->types, filter->type_count, type))
		return false;
	if (filter->vm_count && vm && !any_matches(filter->vms, filter->vm_count, vm) &&
	    !any_matches(filter->vms, filter->vm_count, json_text(event, "vm", "name")))
		return false;
	return !filter->check_count || !check ||
	       any_matches(filter->checks, filter->check_count, check);
}
