// SPDX-License-Identifier: LGPL-2.1-or-later
/* Events in the fields of the Elastic Common Schema. */
#include "format.h"

#include "cleanup.h"

#include <string.h>

/* How ECS classes each type of event; "ongoing" violations are no other class. */
static const struct {
	const char *type, *kind, *categories[2], *types[2];
} classes[] = {
	{ "integrity.violation", "alert", { "host", "intrusion_detection" }, { "change", "info" } },
	{ "integrity.restored", "event", { "host" }, { "change" } },
	{ "vm.discovered", "event", { "host" }, { "start" } },
	{ "vm.gone", "event", { "host" }, { "end" } },
	{ "baseline.recorded", "state", { "configuration" }, { "creation" } },
	{ "module.loaded", "event", { "driver" }, { "start" } },
	{ "module.unloaded", "event", { "driver" }, { "end" } },
	{ "bpf.loaded", "event", { "host" }, { "start" } },
	{ "bpf.unloaded", "event", { "host" }, { "end" } },
	{ "coverage.changed", "event", { "host" }, { "info" } },
	{ "action.done", "event", { "host" }, { "change", "info" } },
	{ "monitor.health", "metric", { "host" }, { "info" } },
};

/* Members that have an ECS field of their own. */
static const char *const mapped[] = { "schema",	 "type",    "id",   "seq",   "time",
				      "message", "product", "host", "check", "attack" };

static void set_strings(json_t *object, const char *key, const char *const strings[2])
{
	json_t *array = json_array();

	for (int i = 0; i < 2 && strings[i]; i++)
		json_array_append_new(array, json_string(strings[i]));
	json_object_set_new(object, key, array);
}

static void set_text(json_t *object, const char *key, const char *text)
{
	if (text)
		json_object_set_new(object, key, json_string(text));
}

static json_t *event_json(const json_t *event)
{
	const char *type = json_text(event, "type");
	json_t *json = json_pack("{s:s, s:s, s:s}", "module", "kvmbpf", "dataset", "kvmbpf.event",
				 "provider", "kvmbpf-monitor");

	for (size_t i = 0; type && i < array_size(classes); i++)
		if (!strcmp(classes[i].type, type)) {
			set_text(json, "kind", classes[i].kind);
			set_strings(json, "category", classes[i].categories);
			set_strings(json, "type", classes[i].types);
		}
	set_text(json, "action", type);
	set_text(json, "id", json_text(event, "id"));
	set_text(json, "created", json_text(event, "time"));
	set_text(json, "code", json_text(event, "check", "id"));
	set_text(json, "reason", json_text(event, "reason"));
	json_object_set(json, "sequence", json_object_get(event, "seq"));
	json_object_set(json, "severity", json_object_get(event, "severity_id"));
	return json;
}

static json_t *rule_json(const json_t *check)
{
	json_t *json = json_pack("{s:s}", "ruleset", "kvmbpf");

	set_text(json, "id", json_text(check, "id"));
	set_text(json, "name", json_text(check, "name"));
	/* A keyword there, a number here. */
	json_object_set_new(
		json, "version",
		json_sprintf("%d", (int)json_integer_value(json_object_get(check, "version"))));
	return json;
}

static json_t *threat_json(const json_t *attack)
{
	json_t *json = json_pack("{s:s, s:{s:[]}, s:{s:[]}}", "framework", "MITRE ATT&CK", "tactic",
				 "id", "technique", "id");
	json_t *tactics = json_object_get(json_object_get(json, "tactic"), "id");
	json_t *techniques = json_object_get(json_object_get(json, "technique"), "id");
	json_t *technique;
	size_t i;

	json_array_foreach(json_object_get(attack, "techniques"), i, technique)
	{
		json_array_append(tactics, json_object_get(technique, "tactic"));
		json_array_append(techniques, json_object_get(technique, "id"));
	}
	return json;
}

/* The guest is the host that it is about; the host that looks at it is the observer. */
static void set_places(json_t *json, const json_t *event)
{
	json_t *observer = json_pack("{s:s, s:s}", "type", "hypervisor", "vendor", "kvmbpf");
	json_t *host;

	set_text(observer, "product", json_text(event, "product", "name"));
	set_text(observer, "version", json_text(event, "product", "version"));
	set_text(observer, "hostname", json_text(event, "host", "name"));
	json_object_set_new(json, "observer", observer);
	if (json_object_get(event, "vm")) {
		host = json_pack("{s:s}", "type", "vm");
		set_text(host, "id", json_text(event, "vm", "id"));
		set_text(host, "name", json_text(event, "vm", "name"));
		if (json_text(event, "vm", "kernel"))
			json_object_set_new(
				host, "os",
				json_pack("{s:s}", "kernel", json_text(event, "vm", "kernel")));
	} else {
		host = json_object();
		set_text(host, "id", json_text(event, "host", "id"));
		set_text(host, "name", json_text(event, "host", "name"));
	}
	json_object_set_new(json, "host", host);
}

json_t *format_ecs(const json_t *event)
{
	json_t *rest = json_copy((json_t *)event);
	/* "forwarded" keeps Beats from writing its own host over ours. */
	json_t *json =
		json_pack("{s:{s:s}, s:[s]}", "ecs", "version", "8.11.0", "tags", "forwarded");

	if (!rest || !json) {
		json_decref(rest);
		json_decref(json);
		return NULL;
	}
	set_text(json, "@timestamp", json_text(event, "time"));
	set_text(json, "message", json_text(event, "message"));
	json_object_set_new(json, "event", event_json(event));
	set_places(json, event);
	if (json_object_get(event, "check"))
		json_object_set_new(json, "rule", rule_json(json_object_get(event, "check")));
	if (json_object_get(event, "attack"))
		json_object_set_new(json, "threat", threat_json(json_object_get(event, "attack")));
	for (size_t i = 0; i < array_size(mapped); i++)
		json_object_del(rest, mapped[i]);
	json_object_set_new(json, "kvmbpf", rest);
	return json;
}
