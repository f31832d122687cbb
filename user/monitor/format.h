/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which events a sink gets, and in what words: pure functions of kvmbpf.event/1. */
#ifndef MONITOR_FORMAT_H
#define MONITOR_FORMAT_H

#include "check.h"

#include <jansson.h>
#include <stddef.h>

enum format { FORMAT_NATIVE, FORMAT_ECS, FORMAT_OCSF };

/* The event in another format's fields; what those have no place for is under "kvmbpf" (ECS) or
 * "unmapped" (OCSF). NULL: no memory. */
json_t *format_ecs(const json_t *event);
json_t *format_ocsf(const json_t *event);

/* As a line, newline included; the caller frees it. NULL: no memory. */
char *format_text(enum format format, const json_t *event, bool pretty, size_t *ret_len);

/* Each list that is not empty must have something that fits; patterns are as in glob(7). */
struct filter {
	enum severity min_severity;
	const char *const *types; /* "integrity.*" */
	size_t type_count;
	const char *const *vms; /* of name or UUID; events about no VM pass */
	size_t vm_count;
	const char *const *checks; /* of names; events about no check pass */
	size_t check_count;
};

bool filter_accepts(const struct filter *filter, const json_t *event);

/* The string at keys that lead from object to object, or NULL: json_text(event, "vm", "id"). */
const char *json_text_at(const json_t *json, ...) __attribute__((sentinel));
#define json_text(...) json_text_at(__VA_ARGS__, NULL)

#endif
