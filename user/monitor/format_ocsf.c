// SPDX-License-Identifier: LGPL-2.1-or-later
/* Events as classes of the Open Cybersecurity Schema Framework. */
#include "format.h"

#include "cleanup.h"
#include "text.h"

#include <string.h>

enum {
	CATEGORY_FINDINGS = 2,
	CATEGORY_DISCOVERY = 5,
	CATEGORY_APPLICATION = 6,
	CLASS_DETECTION_FINDING = 2004,
	CLASS_DEVICE_INVENTORY = 5001,
	CLASS_APPLICATION_LIFECYCLE = 6002,
	ACTIVITY_OTHER = 99,
	DEVICE_SERVER = 1,
	DEVICE_VIRTUAL = 6,
	ROLE_TARGET = 1,
	STATUS_NEW = 1,
	STATUS_RESOLVED = 4,
};

/* Where there is no activity of its own, the type of the event names it. */
static const struct {
	const char *type, *state; /* state: of the finding or the monitor; NULL: any */
	int category, class_uid, activity;
} classes[] = {
	{ "integrity.violation", "open", CATEGORY_FINDINGS, CLASS_DETECTION_FINDING, 1 },
	{ "integrity.violation", NULL, CATEGORY_FINDINGS, CLASS_DETECTION_FINDING, 2 },
	{ "integrity.restored", NULL, CATEGORY_FINDINGS, CLASS_DETECTION_FINDING, 3 },
	{ "vm.discovered", NULL, CATEGORY_DISCOVERY, CLASS_DEVICE_INVENTORY, 2 },
	{ "vm.gone", NULL, CATEGORY_DISCOVERY, CLASS_DEVICE_INVENTORY, ACTIVITY_OTHER },
	{ "baseline.recorded", NULL, CATEGORY_DISCOVERY, CLASS_DEVICE_INVENTORY, ACTIVITY_OTHER },
	{ "module.loaded", NULL, CATEGORY_DISCOVERY, CLASS_DEVICE_INVENTORY, ACTIVITY_OTHER },
	{ "module.unloaded", NULL, CATEGORY_DISCOVERY, CLASS_DEVICE_INVENTORY, ACTIVITY_OTHER },
	{ "bpf.loaded", NULL, CATEGORY_DISCOVERY, CLASS_DEVICE_INVENTORY, ACTIVITY_OTHER },
	{ "bpf.unloaded", NULL, CATEGORY_DISCOVERY, CLASS_DEVICE_INVENTORY, ACTIVITY_OTHER },
	{ "monitor.health", "starting", CATEGORY_APPLICATION, CLASS_APPLICATION_LIFECYCLE, 3 },
	{ "monitor.health", "stopping", CATEGORY_APPLICATION, CLASS_APPLICATION_LIFECYCLE, 4 },
	{ NULL, NULL, CATEGORY_APPLICATION, CLASS_APPLICATION_LIFECYCLE, ACTIVITY_OTHER },
};

static void set_text(json_t *object, const char *key, const char *text)
{
	if (text)
		json_object_set_new(object, key, json_string(text));
}

/* Milliseconds are what OCSF has; the full time stays in metadata.original_time. */
static void set_time(json_t *object, const char *key, const char *rfc3339)
{
	uint64_t ns;

	if (rfc3339 && !text_time_parse(rfc3339, &ns))
		json_object_set_new(object, key, json_integer((json_int_t)(ns / 1000000)));
}

static void set_class(json_t *json, const json_t *event)
{
	const char *type = json_text(event, "type"), *state = json_text(event, "finding", "state");
	size_t i = 0;

	state = state ? state : json_text(event, "state");
	while (classes[i].type &&
	       (!type || strcmp(classes[i].type, type) ||
		(classes[i].state && (!state || strcmp(classes[i].state, state)))))
		i++;
	json_object_set_new(json, "category_uid", json_integer(classes[i].category));
	json_object_set_new(json, "class_uid", json_integer(classes[i].class_uid));
	json_object_set_new(json, "activity_id", json_integer(classes[i].activity));
	json_object_set_new(json, "type_uid",
			    json_integer(classes[i].class_uid * 100 + classes[i].activity));
	if (classes[i].activity == ACTIVITY_OTHER)
		set_text(json, "activity_name", type);
}

static json_t *product_json(const json_t *event)
{
	json_t *json = json_pack("{s:s}", "vendor_name", "kvmbpf");

	set_text(json, "name", json_text(event, "product", "name"));
	set_text(json, "version", json_text(event, "product", "version"));
	return json;
}

static json_t *metadata_json(const json_t *event)
{
	json_t *json = json_pack("{s:s, s:o, s:[s]}", "version", "1.6.0", "product",
				 product_json(event), "profiles", "host");

	set_text(json, "uid", json_text(event, "id"));
	set_text(json, "log_name", "kvmbpf.event/1");
	set_text(json, "event_code", json_text(event, "type"));
	set_text(json, "correlation_uid", json_text(event, "run_id"));
	set_text(json, "original_time", json_text(event, "time"));
	json_object_set(json, "sequence", json_object_get(event, "seq"));
	return json;
}

static json_t *device_json(const char *id, const char *name, int type)
{
	json_t *json = json_pack("{s:i}", "type_id", type);

	set_text(json, "uid", id);
	set_text(json, "name", name);
	set_text(json, "hostname", name);
	return json;
}

static json_t *attacks_json(const json_t *attack)
{
	json_t *attacks = json_array(), *technique, *json;
	size_t i;

	json_array_foreach(json_object_get(attack, "techniques"), i, technique)
	{
		json = json_pack("{s:{}, s:{}}", "technique", "tactic");
		set_text(json, "version", json_text(attack, "version"));
		set_text(json_object_get(json, "technique"), "uid", json_text(technique, "id"));
		set_text(json_object_get(json, "tactic"), "uid", json_text(technique, "tactic"));
		json_array_append_new(attacks, json);
	}
	return attacks;
}

static json_t *finding_info_json(const json_t *event)
{
	json_t *json = json_pack("{s:o, s:{}}", "attacks",
				 attacks_json(json_object_get(event, "attack")), "analytic");
	json_t *analytic = json_object_get(json, "analytic");

	set_text(json, "uid", json_text(event, "finding", "id"));
	set_text(json, "title", json_text(event, "message"));
	set_time(json, "first_seen_time", json_text(event, "finding", "first_seen"));
	set_time(json, "last_seen_time", json_text(event, "finding", "last_seen"));
	set_text(analytic, "uid", json_text(event, "check", "id"));
	set_text(analytic, "name", json_text(event, "check", "name"));
	json_object_set_new(analytic, "type_id", json_integer(1)); /* Rule */
	return json;
}

static json_t *evidence_json(const json_t *event)
{
	static const char *const members[] = { "object", "expected", "observed", "detected_by" };
	json_t *data = json_object();

	for (size_t i = 0; i < array_size(members); i++)
		json_object_set(data, members[i], json_object_get(event, members[i]));
	return json_pack("[{s:o}]", "data", data);
}

static void set_finding(json_t *json, const json_t *event)
{
	bool violation = !strcmp(json_text(event, "type"), "integrity.violation");
	json_t *resource =
		json_pack("{s:s, s:i}", "type", "Virtual Machine", "role_id", ROLE_TARGET);

	set_text(resource, "uid", json_text(event, "vm", "id"));
	set_text(resource, "name", json_text(event, "vm", "name"));
	json_object_set_new(json, "resources", json_pack("[o]", resource));
	json_object_set_new(json, "finding_info", finding_info_json(event));
	json_object_set_new(json, "evidences", evidence_json(event));
	json_object_set_new(json, "is_alert", json_boolean(violation));
	json_object_set_new(json, "status_id",
			    json_integer(violation ? STATUS_NEW : STATUS_RESOLVED));
	json_object_set(json, "count", json_object_get(json_object_get(event, "finding"), "count"));
}

/* What the members of the class leave out of the event. */
static json_t *unmapped_json(const json_t *event, bool finding)
{
	static const char *const mapped[] = { "schema",	 "type",   "id",       "run_id",
					      "seq",	 "time",   "severity", "severity_id",
					      "message", "product" };
	static const char *const mapped_finding[] = { "object",	     "expected", "observed",
						      "detected_by", "attack",	 "finding" };
	json_t *json = json_copy((json_t *)event);

	for (size_t i = 0; i < array_size(mapped); i++)
		json_object_del(json, mapped[i]);
	for (size_t i = 0; finding && i < array_size(mapped_finding); i++)
		json_object_del(json, mapped_finding[i]);
	return json;
}

json_t *format_ocsf(const json_t *event)
{
	json_t *json = json_object();
	const char *host = json_text(event, "host", "name");
	bool finding = json_object_get(event, "finding"), guest;
	json_int_t class_uid;

	if (!json)
		return NULL;
	set_class(json, event);
	class_uid = json_integer_value(json_object_get(json, "class_uid"));
	set_time(json, "time", json_text(event, "time"));
	set_text(json, "message", json_text(event, "message"));
	set_text(json, "severity", json_text(event, "severity"));
	json_object_set(json, "severity_id", json_object_get(event, "severity_id"));
	json_object_set_new(json, "metadata", metadata_json(event));
	/* An inventory is of the guest; everything else comes from the host. */
	guest = class_uid == CLASS_DEVICE_INVENTORY;
	json_object_set_new(
		json, "device",
		guest ? device_json(json_text(event, "vm", "id"), json_text(event, "vm", "name"),
				    DEVICE_VIRTUAL)
		      : device_json(json_text(event, "host", "id"), host, DEVICE_SERVER));
	if (class_uid == CLASS_APPLICATION_LIFECYCLE)
		json_object_set_new(json, "app", product_json(event));
	if (finding)
		set_finding(json, event);
	json_object_set_new(json, "unmapped", unmapped_json(event, finding));
	return json;
}
