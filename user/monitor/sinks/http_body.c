// SPDX-License-Identifier: LGPL-2.1-or-later
/* Bodies for Splunk's HTTP Event Collector, Elasticsearch's _bulk and OTLP, and their answers. */
#include "http_body.h"

#include "../cleanup.h"
#include "../clock.h"
#include "../text.h"

#include <inttypes.h>
#include <string.h>

static uint64_t time_of(const json_t *event)
{
	const char *text = json_text(event, "time");
	uint64_t ns = 0;

	if (text)
		text_time_parse(text, &ns);
	return ns;
}

static void write_json(FILE *body, json_t *json)
{
	json_dumpf(json, body, JSON_COMPACT);
	json_decref(json);
}

/* ---- Splunk -------------------------------------------------------------------------------- */

static void hec_add(FILE *body, const json_t *event, const char *text, size_t len)
{
	uint64_t ns = time_of(event);
	json_t *host = json_string(json_text(event, "host", "name"));

	fprintf(body, "{\"time\":%" PRIu64 ".%06u,\"host\":", (uint64_t)(ns / NS_PER_S),
		(unsigned int)(ns % NS_PER_S / 1000));
	json_dumpf(host, body, JSON_COMPACT | JSON_ENCODE_ANY);
	json_decref(host);
	fprintf(body,
		",\"source\":\"kvmbpf-monitor\",\"sourcetype\":\"kvmbpf:event\",\"event\":%.*s}\n",
		(int)len - 1, text);
}

/* ---- Elasticsearch ------------------------------------------------------------------------- */

/* With the event's own id, one that comes twice is one document. */
static void bulk_add(FILE *body, const json_t *event, const char *text, size_t len)
{
	write_json(body, json_pack("{s:{s:s}}", "create", "_id", json_text(event, "id")));
	fputc('\n', body);
	fwrite(text, len, 1, body);
}

/* ---- OTLP ---------------------------------------------------------------------------------- */

static int otlp_severity(const json_t *event)
{
	/* INFO, INFO2, WARN, ERROR, FATAL */
	static const int numbers[] = { 0, 9, 10, 13, 17, 21 };
	json_int_t severity = json_integer_value(json_object_get(event, "severity_id"));

	return severity > 0 && severity < (json_int_t)array_size(numbers) ? numbers[severity] : 0;
}

static void attribute_add(json_t *attributes, const char *key, const char *value)
{
	if (value)
		json_array_append_new(attributes, json_pack("{s:s, s:{s:s}}", "key", key, "value",
							    "stringValue", value));
}

static json_t *otlp_resource(const json_t *event)
{
	json_t *attributes = json_array();

	attribute_add(attributes, "service.name", json_text(event, "product", "name"));
	attribute_add(attributes, "service.version", json_text(event, "product", "version"));
	attribute_add(attributes, "service.instance.id", json_text(event, "run_id"));
	attribute_add(attributes, "host.name", json_text(event, "host", "name"));
	attribute_add(attributes, "host.id", json_text(event, "host", "id"));
	return attributes;
}

static json_t *otlp_record(const json_t *event, const char *text, size_t len)
{
	json_t *attributes = json_array();
	char time[24];

	snprintf(time, sizeof(time), "%" PRIu64, time_of(event));
	attribute_add(attributes, "event.name", json_text(event, "type"));
	attribute_add(attributes, "log.record.uid", json_text(event, "id"));
	attribute_add(attributes, "kvmbpf.vm.id", json_text(event, "vm", "id"));
	attribute_add(attributes, "kvmbpf.vm.name", json_text(event, "vm", "name"));
	attribute_add(attributes, "kvmbpf.check", json_text(event, "check", "name"));
	attribute_add(attributes, "kvmbpf.finding", json_text(event, "finding", "id"));
	return json_pack("{s:s, s:i, s:s, s:{s:o}, s:o}", "timeUnixNano", time, "severityNumber",
			 otlp_severity(event), "severityText", json_text(event, "severity"), "body",
			 "stringValue", json_stringn(text, len - 1), "attributes", attributes);
}

/* Events of earlier runs may be among them: each has its resource. */
static void otlp_add(FILE *body, const json_t *event, const char *text, size_t len, bool first)
{
	fputs(first ? "{\"resourceLogs\":[" : ",", body);
	write_json(body, json_pack("{s:{s:o}, s:[{s:{s:s}, s:[o]}]}", "resource", "attributes",
				   otlp_resource(event), "scopeLogs", "scope", "name",
				   "kvmbpf-monitor", "logRecords", otlp_record(event, text, len)));
}

/* ---- all ----------------------------------------------------------------------------------- */

void http_body_add(FILE *body, enum config_http_kind kind, const json_t *event, const char *text,
		   size_t len, bool first)
{
	if (kind == HTTP_SPLUNK_HEC)
		hec_add(body, event, text, len);
	else if (kind == HTTP_ELASTICSEARCH)
		bulk_add(body, event, text, len);
	else
		otlp_add(body, event, text, len, first);
}

void http_body_end(FILE *body, enum config_http_kind kind)
{
	if (kind == HTTP_OTLP)
		fputs("]}", body);
}

/* "Incorrect index", for one, has status 400 like these. */
static bool collector_speaks_of_content(const json_t *answer)
{
	enum {
		INVALID_DATA_FORMAT = 6,
		EVENT_IS_REQUIRED = 12,
		EVENT_IS_BLANK = 13,
		INDEXED_FIELDS = 15
	};

	switch (json_integer_value(json_object_get(answer, "code"))) {
	case INVALID_DATA_FORMAT:
	case EVENT_IS_REQUIRED:
	case EVENT_IS_BLANK:
	case INDEXED_FIELDS:
		return true;
	default:
		return false;
	}
}

enum http_verdict http_status_verdict(enum config_http_kind kind, long status, const json_t *answer)
{
	if (status >= 200 && status < 300)
		return HTTP_DELIVERED;
	if (status == 413)
		return HTTP_REJECTED;
	if (status != 400 || kind == HTTP_ELASTICSEARCH)
		return HTTP_AGAIN;
	return kind == HTTP_OTLP || collector_speaks_of_content(answer) ? HTTP_REJECTED
									: HTTP_AGAIN;
}

static enum http_verdict bulk_item_verdict(const json_t *answer, size_t index)
{
	const json_t *item =
		json_object_get(json_array_get(json_object_get(answer, "items"), index), "create");
	json_int_t status = json_integer_value(json_object_get(item, "status"));
	const char *type = json_text(item, "error", "type");

	/* 409: it is there already. */
	if ((status >= 200 && status < 300) || status == 409)
		return HTTP_DELIVERED;
	return status == 400 && (!type || strcmp(type, "invalid_index_name_exception"))
		       ? HTTP_REJECTED
		       : HTTP_AGAIN;
}

/* It says how many, not which: the count is right. */
static enum http_verdict otlp_item_verdict(const json_t *answer, size_t index)
{
	const json_t *rejected =
		json_object_get(json_object_get(answer, "partialSuccess"), "rejectedLogRecords");
	/* 64-bit numbers are strings in the JSON of protocol buffers. */
	uint64_t count = json_is_string(rejected) ? strtoull(json_string_value(rejected), NULL, 10)
						  : (uint64_t)json_integer_value(rejected);

	return index < count ? HTTP_REJECTED : HTTP_DELIVERED;
}

enum http_verdict http_item_verdict(enum config_http_kind kind, const json_t *answer, size_t index)
{
	if (kind == HTTP_ELASTICSEARCH)
		return bulk_item_verdict(answer, index);
	return kind == HTTP_OTLP ? otlp_item_verdict(answer, index) : HTTP_DELIVERED;
}
