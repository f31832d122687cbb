// SPDX-License-Identifier: LGPL-2.1-or-later
/* Events in other schemas' words: every field is one that the schema has. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/format.h"
#include "monitor/sinks/http_body.h"

/* As in the ECS reference (generated/csv/fields.csv, core and extended). */
static const char *const ecs_fields[] = {
	"@timestamp",	     "message",		 "tags",
	"ecs.version",	     "event.action",	 "event.category",
	"event.code",	     "event.created",	 "event.dataset",
	"event.id",	     "event.kind",	 "event.module",
	"event.provider",    "event.reason",	 "event.sequence",
	"event.severity",    "event.type",	 "host.id",
	"host.name",	     "host.os.kernel",	 "host.type",
	"observer.hostname", "observer.product", "observer.type",
	"observer.vendor",   "observer.version", "rule.id",
	"rule.name",	     "rule.ruleset",	 "rule.version",
	"threat.framework",  "threat.tactic.id", "threat.technique.id",
};

/* As in ocsf-schema: base_event, finding, detection_finding, inventory_info,
 * application_lifecycle and their objects. */
static const char *const ocsf_fields[] = {
	"activity_id",
	"activity_name",
	"app.name",
	"app.vendor_name",
	"app.version",
	"category_uid",
	"class_uid",
	"count",
	"device.hostname",
	"device.name",
	"device.type_id",
	"device.uid",
	"evidences.data",
	"finding_info.analytic.name",
	"finding_info.analytic.type_id",
	"finding_info.analytic.uid",
	"finding_info.attacks.tactic.uid",
	"finding_info.attacks.technique.uid",
	"finding_info.attacks.version",
	"finding_info.first_seen_time",
	"finding_info.last_seen_time",
	"finding_info.title",
	"finding_info.uid",
	"is_alert",
	"message",
	"metadata.correlation_uid",
	"metadata.event_code",
	"metadata.log_name",
	"metadata.original_time",
	"metadata.product.name",
	"metadata.product.vendor_name",
	"metadata.product.version",
	"metadata.profiles",
	"metadata.sequence",
	"metadata.uid",
	"metadata.version",
	"resources.name",
	"resources.role_id",
	"resources.type",
	"resources.uid",
	"severity",
	"severity_id",
	"status_id",
	"time",
	"type_uid",
	"unmapped",
};

static const char violation[] =
	"{\"schema\":\"kvmbpf.event/"
	"1\",\"type\":\"integrity.violation\",\"id\":\"E\",\"run_id\":\"R\","
	"\"seq\":7,\"time\":\"2026-01-02T03:04:05.123456789Z\",\"mono_ns\":\"1\","
	"\"severity\":\"critical\",\"severity_id\":5,\"message\":\"web01: IDT gate 4 changed\","
	"\"host\":{\"id\":\"H\",\"name\":\"hv3\",\"boot_id\":\"B\"},"
	"\"product\":{\"name\":\"kvmbpf-monitor\",\"version\":\"0.1.0\"},"
	"\"vm\":{\"id\":\"V\",\"name\":\"web01\",\"pid\":4,\"kernel\":\"6.1.0-x\",\"labels\":{}},"
	"\"check\":{\"id\":\"KVMBPF-IDT-001\",\"name\":\"idt\",\"version\":1},"
	"\"object\":{\"kind\":\"idt_gate\",\"index\":4},\"expected\":{\"value\":\"0x1\"},"
	"\"observed\":{\"value\":\"0x2\"},\"detected_by\":\"poll\",\"reason\":\"changed\","
	"\"finding\":{\"id\":\"F\",\"state\":\"open\",\"first_seen\":\"2026-01-02T03:04:05."
	"000000000Z\","
	"\"last_seen\":\"2026-01-02T03:04:05.123456789Z\",\"count\":1},"
	"\"attack\":{\"version\":\"19\",\"techniques\":[{\"id\":\"T1014\",\"tactic\":\"TA0005\"}]},"
	"\"truncated\":false}";

static const char health[] =
	"{\"schema\":\"kvmbpf.event/1\",\"type\":\"monitor.health\",\"id\":\"E\",\"run_id\":\"R\","
	"\"seq\":0,\"time\":\"2026-01-02T03:04:05.123456789Z\",\"mono_ns\":\"1\","
	"\"severity\":\"info\",\"severity_id\":1,\"message\":\"starting\",\"state\":\"starting\","
	"\"host\":{\"id\":\"H\",\"name\":\"hv3\",\"boot_id\":\"B\"},"
	"\"product\":{\"name\":\"kvmbpf-monitor\",\"version\":\"0.1.0\"}}";

static json_t *event;

static void use(const char *text)
{
	json_decref(event);
	event = json_loads(text, 0, NULL);
	cr_assert_not_null(event);
}

static void setup(void)
{
	use(violation);
}

static void take_down(void)
{
	json_decref(event);
}

TestSuite(format, .init = setup, .fini = take_down);
TestSuite(filter, .init = setup, .fini = take_down);
TestSuite(http_body, .init = setup, .fini = take_down);

struct names {
	const char *const *known;
	size_t count;
	const char *open; /* what is below is nobody's business */
};

static bool is_known(const struct names *names, const char *path)
{
	for (size_t i = 0; i < names->count; i++)
		if (!strcmp(names->known[i], path))
			return true;
	return false;
}

static void expect_known(const struct names *names, const json_t *json, const char *prefix)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)json, key, value)
	{
		const json_t *inner = json_is_array(value) ? json_array_get(value, 0) : value;
		char path[256];

		snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] ? "." : "", key);
		if (!strcmp(path, names->open))
			continue;
		if (json_is_object(inner) && !is_known(names, path))
			expect_known(names, inner, path);
		else
			cr_expect(is_known(names, path), "no field '%s'", path);
	}
}

#define expect_text(json, text, ...) cr_expect_str_eq(json_text(json, __VA_ARGS__), text)

static json_int_t number(const json_t *json, const char *key)
{
	return json_integer_value(json_object_get(json, key));
}

Test(format, ecs_has_no_fields_of_its_own)
{
	static const struct names names = { ecs_fields, sizeof(ecs_fields) / sizeof(*ecs_fields),
					    "kvmbpf" };
	json_t *json = format_ecs(event);

	expect_known(&names, json, "");
	expect_text(json, "alert", "event", "kind");
	expect_text(json, "2026-01-02T03:04:05.123456789Z", "@timestamp");
	expect_text(json, "V", "host", "id");
	expect_text(json, "6.1.0-x", "host", "os", "kernel");
	expect_text(json, "hv3", "observer", "hostname");
	expect_text(json, "KVMBPF-IDT-001", "rule", "id");
	expect_text(json, "1", "rule", "version");
	expect_text(json, "0x2", "kvmbpf", "observed", "value");
	expect_text(json, "F", "kvmbpf", "finding", "id");
	json_decref(json);
	use(health);
	json = format_ecs(event);
	expect_known(&names, json, "");
	expect_text(json, "metric", "event", "kind");
	expect_text(json, "H", "host", "id");
	json_decref(json);
}

Test(format, ocsf_has_no_fields_of_its_own)
{
	static const struct names names = { ocsf_fields, sizeof(ocsf_fields) / sizeof(*ocsf_fields),
					    "unmapped" };
	json_t *json = format_ocsf(event);

	expect_known(&names, json, "");
	cr_expect_eq(number(json, "class_uid"), 2004);
	cr_expect_eq(number(json, "type_uid"), 200401);
	cr_expect_eq(number(json, "time"), 1767323045123);
	cr_expect_eq(number(json, "status_id"), 1);
	cr_expect_eq(number(json, "severity_id"), 5);
	cr_expect(json_is_true(json_object_get(json, "is_alert")));
	expect_text(json, "F", "finding_info", "uid");
	expect_text(json_array_get(json_object_get(json, "resources"), 0), "web01", "name");
	json_decref(json);
	use(health);
	json = format_ocsf(event);
	expect_known(&names, json, "");
	cr_expect_eq(number(json, "type_uid"), 600203);
	json_decref(json);
}

Test(format, ocsf_updates_and_closes_the_same_finding)
{
	json_t *json;

	json_object_set_new(json_object_get(event, "finding"), "state", json_string("ongoing"));
	json = format_ocsf(event);
	cr_expect_eq(number(json, "type_uid"), 200402);
	json_decref(json);
	json_object_set_new(event, "type", json_string("integrity.restored"));
	json_object_set_new(json_object_get(event, "finding"), "state", json_string("restored"));
	json = format_ocsf(event);
	cr_expect_eq(number(json, "type_uid"), 200403);
	cr_expect_eq(number(json, "status_id"), 4);
	expect_text(json, "F", "finding_info", "uid");
	cr_expect(json_is_false(json_object_get(json, "is_alert")));
	json_decref(json);
}

Test(format, projections_leave_the_event_as_it_is)
{
	json_t *before = json_deep_copy(event);

	json_decref(format_ecs(event));
	json_decref(format_ocsf(event));
	cr_assert(json_equal(before, event));
	json_decref(before);
}

/* ---- filters ---- */

Test(filter, each_list_must_have_something_that_fits)
{
	static const char *const types[] = { "monitor.*", "integrity.*" };
	static const char *const others[] = { "monitor.*" };
	static const char *const vms[] = { "web*" }, *const uuid[] = { "V" };
	static const char *const checks[] = { "gdt" };
	struct filter filter = { .min_severity = SEVERITY_INFO };

	cr_expect(filter_accepts(&filter, event));
	filter = (struct filter){ .types = types, .type_count = 2, .vms = vms, .vm_count = 1 };
	cr_expect(filter_accepts(&filter, event));
	filter.vms = uuid;
	cr_expect(filter_accepts(&filter, event));
	filter.types = others;
	filter.type_count = 1;
	cr_expect_not(filter_accepts(&filter, event));
	filter = (struct filter){ .checks = checks, .check_count = 1 };
	cr_expect_not(filter_accepts(&filter, event));
	/* It is about no check and no VM. */
	filter.vms = vms;
	filter.vm_count = 1;
	use(health);
	cr_expect(filter_accepts(&filter, event));
	filter.min_severity = SEVERITY_LOW;
	cr_expect_not(filter_accepts(&filter, event));
}

/* ---- bodies and answers ---- */

static char *body_of(enum config_http_kind kind)
{
	char *text = NULL;
	size_t len = 0;
	FILE *body = open_memstream(&text, &len);

	http_body_add(body, kind, event, "{\"a\":1}\n", 8, true);
	http_body_add(body, kind, event, "{\"a\":2}\n", 8, false);
	http_body_end(body, kind);
	fclose(body);
	return text;
}

Test(http_body, bulk_names_each_document)
{
	char *text = body_of(HTTP_ELASTICSEARCH);

	cr_assert_str_eq(text, "{\"create\":{\"_id\":\"E\"}}\n{\"a\":1}\n"
			       "{\"create\":{\"_id\":\"E\"}}\n{\"a\":2}\n");
	free(text);
}

Test(http_body, collector_has_the_events_time)
{
	static const char first[] = "{\"time\":1767323045.123456,\"host\":\"hv3\","
				    "\"source\":\"kvmbpf-monitor\","
				    "\"sourcetype\":\"kvmbpf:event\",\"event\":{\"a\":1}}\n";
	char *text = body_of(HTTP_SPLUNK_HEC);

	cr_assert_eq(strncmp(text, first, sizeof(first) - 1), 0, "%s", text);
	free(text);
}

Test(http_body, otlp_is_one_document)
{
	char *text = body_of(HTTP_OTLP);
	json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *logs, *record;

	cr_assert_not_null(json);
	logs = json_object_get(json, "resourceLogs");
	cr_assert_eq(json_array_size(logs), 2);
	record = json_array_get(
		json_object_get(
			json_array_get(json_object_get(json_array_get(logs, 1), "scopeLogs"), 0),
			"logRecords"),
		0);
	expect_text(record, "1767323045123456789", "timeUnixNano");
	expect_text(record, "{\"a\":2}", "body", "stringValue");
	cr_expect_eq(number(record, "severityNumber"), 21);
	json_decref(json);
	free(text);
}

Test(http_body, statuses_that_can_be_mended_lose_nothing)
{
	static const long mendable[] = { 301, 401, 403, 404, 429, 500, 503 };
	json_t *format = json_pack("{s:i}", "code", 6),
	       *wrong_index = json_pack("{s:i}", "code", 7);

	for (int kind = HTTP_SPLUNK_HEC; kind <= HTTP_OTLP; kind++) {
		cr_expect_eq(http_status_verdict(kind, 200, NULL), HTTP_DELIVERED);
		cr_expect_eq(http_status_verdict(kind, 413, NULL), HTTP_REJECTED);
		for (size_t i = 0; i < sizeof(mendable) / sizeof(mendable[0]); i++)
			cr_expect_eq(http_status_verdict(kind, mendable[i], format), HTTP_AGAIN);
	}
	cr_expect_eq(http_status_verdict(HTTP_SPLUNK_HEC, 400, format), HTTP_REJECTED);
	cr_expect_eq(http_status_verdict(HTTP_SPLUNK_HEC, 400, wrong_index), HTTP_AGAIN);
	cr_expect_eq(http_status_verdict(HTTP_SPLUNK_HEC, 400, NULL), HTTP_AGAIN);
	cr_expect_eq(http_status_verdict(HTTP_OTLP, 400, NULL), HTTP_REJECTED);
	cr_expect_eq(http_status_verdict(HTTP_ELASTICSEARCH, 400, NULL), HTTP_AGAIN);
	json_decref(format);
	json_decref(wrong_index);
}

Test(http_body, each_item_of_a_bulk_has_its_fate)
{
	json_t *answer = json_loads("{\"items\":[{\"create\":{\"status\":201}},"
				    "{\"create\":{\"status\":409}},{\"create\":{\"status\":429}},"
				    "{\"create\":{\"status\":400}},{\"create\":{\"status\":503}},"
				    "{\"create\":{\"status\":404}},{\"create\":{\"status\":400,"
				    "\"error\":{\"type\":\"invalid_index_name_exception\"}}}]}",
				    0, NULL);

	cr_expect_eq(http_item_verdict(HTTP_ELASTICSEARCH, answer, 0), HTTP_DELIVERED);
	cr_expect_eq(http_item_verdict(HTTP_ELASTICSEARCH, answer, 1), HTTP_DELIVERED);
	cr_expect_eq(http_item_verdict(HTTP_ELASTICSEARCH, answer, 2), HTTP_AGAIN);
	cr_expect_eq(http_item_verdict(HTTP_ELASTICSEARCH, answer, 3), HTTP_REJECTED);
	cr_expect_eq(http_item_verdict(HTTP_ELASTICSEARCH, answer, 4), HTTP_AGAIN);
	/* The index can be made, and its name mended. */
	cr_expect_eq(http_item_verdict(HTTP_ELASTICSEARCH, answer, 5), HTTP_AGAIN);
	cr_expect_eq(http_item_verdict(HTTP_ELASTICSEARCH, answer, 6), HTTP_AGAIN);
	/* An answer that is cut tells nothing of what it does not mention. */
	cr_expect_eq(http_item_verdict(HTTP_ELASTICSEARCH, answer, 7), HTTP_AGAIN);
	cr_expect_eq(http_item_verdict(HTTP_ELASTICSEARCH, NULL, 0), HTTP_AGAIN);
	json_decref(answer);
}

Test(http_body, otlp_counts_what_it_rejects)
{
	json_t *answer = json_loads("{\"partialSuccess\":{\"rejectedLogRecords\":\"1\"}}", 0, NULL);

	cr_expect_eq(http_item_verdict(HTTP_OTLP, answer, 0), HTTP_REJECTED);
	cr_expect_eq(http_item_verdict(HTTP_OTLP, answer, 1), HTTP_DELIVERED);
	cr_expect_eq(http_item_verdict(HTTP_OTLP, NULL, 0), HTTP_DELIVERED);
	json_decref(answer);
}
