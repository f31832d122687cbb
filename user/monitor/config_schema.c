// SPDX-License-Identifier: LGPL-2.1-or-later
/* What may stand in a configuration file, for libcyaml. */
#include "config_schema.h"

#include "cleanup.h"
#include "config.h"

#include <syslog.h>

enum { STRICT = CYAML_FLAG_STRICT | CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER };

#define TEXT_AS(key, type, member, flags)                                                          \
	CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | (flags), type, member, 1, CYAML_UNLIMITED)
#define TEXT(type, member) TEXT_AS(#member, type, member, 0)
#define TEXT_OPTIONAL(type, member) TEXT_AS(#member, type, member, CYAML_FLAG_OPTIONAL)
#define STRINGS(type, member)                                                                      \
	CYAML_FIELD_SEQUENCE_COUNT(#member, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type,        \
				   member.items, member.count, &string, 0, CYAML_UNLIMITED)
#define ENUM(key, flags, type, member, names)                                                      \
	CYAML_FIELD_ENUM(key, CYAML_FLAG_STRICT | (flags), type, member, names, array_size(names))
#define ENUM_OPTIONAL(type, member, names)                                                         \
	CYAML_FIELD_ENUM_PTR(#member, STRICT, type, member, names, array_size(names))
#define MAPPING(key, type, member, fields)                                                         \
	CYAML_FIELD_MAPPING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, fields)
#define TLS(type)                                                                                  \
	TEXT_AS("ca_file", type, tls.ca_file, CYAML_FLAG_OPTIONAL),                                \
		TEXT_AS("certificate_file", type, tls.certificate_file, CYAML_FLAG_OPTIONAL),      \
		TEXT_AS("key_file", type, tls.key_file, CYAML_FLAG_OPTIONAL)

static const cyaml_schema_value_t string = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, CYAML_UNLIMITED),
};

/* libcyaml's own booleans take any word that it does not know for true. */
static const cyaml_strval_t bools[] = {
	{ "true", CONFIG_YES }, { "yes", CONFIG_YES }, { "on", CONFIG_YES },
	{ "false", CONFIG_NO }, { "no", CONFIG_NO },   { "off", CONFIG_NO },
};

static const cyaml_strval_t realtime_words[] = {
	{ "true", CONFIG_REALTIME_YES },  { "yes", CONFIG_REALTIME_YES },
	{ "on", CONFIG_REALTIME_YES },	  { "false", CONFIG_REALTIME_NO },
	{ "no", CONFIG_REALTIME_NO },	  { "off", CONFIG_REALTIME_NO },
	{ "text", CONFIG_REALTIME_TEXT },
};

static const cyaml_strval_t severities[] = {
	{ "info", SEVERITY_INFO }, { "low", SEVERITY_LOW },	      { "medium", SEVERITY_MEDIUM },
	{ "high", SEVERITY_HIGH }, { "critical", SEVERITY_CRITICAL },
};

static const cyaml_strval_t formats[] = {
	{ "native", FORMAT_NATIVE },
	{ "ecs", FORMAT_ECS },
	{ "ocsf", FORMAT_OCSF },
};

static const cyaml_strval_t facilities[] = {
	{ "daemon", LOG_DAEMON }, { "kern", LOG_KERN },	    { "user", LOG_USER },
	{ "auth", LOG_AUTH },	  { "syslog", LOG_SYSLOG }, { "authpriv", LOG_AUTHPRIV },
	{ "local0", LOG_LOCAL0 }, { "local1", LOG_LOCAL1 }, { "local2", LOG_LOCAL2 },
	{ "local3", LOG_LOCAL3 }, { "local4", LOG_LOCAL4 }, { "local5", LOG_LOCAL5 },
	{ "local6", LOG_LOCAL6 }, { "local7", LOG_LOCAL7 },
};

static const cyaml_strval_t http_kinds[] = {
	{ "splunk_hec", HTTP_SPLUNK_HEC },
	{ "elasticsearch", HTTP_ELASTICSEARCH },
	{ "otlp", HTTP_OTLP },
};

static const cyaml_schema_field_t filter_fields[] = {
	ENUM_OPTIONAL(struct config_filter, min_severity, severities),
	STRINGS(struct config_filter, types),
	STRINGS(struct config_filter, vms),
	STRINGS(struct config_filter, checks),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t stdout_fields[] = {
	ENUM_OPTIONAL(struct config_stdout, pretty, bools),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t file_fields[] = {
	TEXT(struct config_file, path),
	TEXT_OPTIONAL(struct config_file, max_size),
	TEXT_OPTIONAL(struct config_file, max_age),
	CYAML_FIELD_UINT_PTR("keep", CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER, struct config_file,
			     keep),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t journald_fields[] = {
	TEXT_OPTIONAL(struct config_journald, namespace),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t syslog_fields[] = {
	TEXT(struct config_syslog, address),
	ENUM_OPTIONAL(struct config_syslog, facility, facilities),
	TLS(struct config_syslog),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t http_fields[] = {
	ENUM("kind", 0, struct config_http, kind, http_kinds),
	TEXT(struct config_http, url),
	TEXT_OPTIONAL(struct config_http, index),
	TEXT_OPTIONAL(struct config_http, token_file),
	TEXT_OPTIONAL(struct config_http, timeout),
	TLS(struct config_http),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t kafka_fields[] = {
	TEXT(struct config_kafka, brokers),
	TEXT(struct config_kafka, topic),
	STRINGS(struct config_kafka, properties),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t sink_fields[] = {
	TEXT(struct config_sink, name),
	ENUM("format", CYAML_FLAG_OPTIONAL, struct config_sink, format, formats),
	MAPPING("filter", struct config_sink, filter, filter_fields),
	MAPPING("stdout", struct config_sink, stdout_, stdout_fields),
	MAPPING("file", struct config_sink, file, file_fields),
	MAPPING("journald", struct config_sink, journald, journald_fields),
	MAPPING("syslog", struct config_sink, syslog, syslog_fields),
	MAPPING("http", struct config_sink, http, http_fields),
	MAPPING("kafka", struct config_sink, kafka, kafka_fields),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t sink = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_sink, sink_fields),
};

const cyaml_schema_value_t config_sink_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct config_sink, sink_fields),
};

static const cyaml_strval_t levels[] = {
	{ "off", CONFIG_CHECK_OFF },   { "info", SEVERITY_INFO }, { "low", SEVERITY_LOW },
	{ "medium", SEVERITY_MEDIUM }, { "high", SEVERITY_HIGH }, { "critical", SEVERITY_CRITICAL },
};

#define CHECK(name, check)                                                                         \
	CYAML_FIELD_ENUM_PTR(name, STRICT, struct config_checks, level[check], levels,             \
			     array_size(levels))

static const cyaml_schema_field_t check_fields[] = {
	CHECK("gdt", CHECK_GDT),
	CHECK("idt", CHECK_IDT),
	CHECK("syscall_table", CHECK_SYSCALL_TABLE),
	CHECK("cr0_wp", CHECK_CR0_WP),
	CHECK("text", CHECK_TEXT),
	CHECK("symbols", CHECK_SYMBOLS),
	CHECK("msr", CHECK_MSR),
	CHECK("control_registers", CHECK_CR),
	CHECK("debug_registers", CHECK_DR),
	CHECK("modules", CHECK_MODULES),
	CHECK("taint", CHECK_TAINT),
	CHECK("processes", CHECK_PROCESSES),
	CHECK("code", CHECK_CODE),
	CHECK("bpf", CHECK_BPF),
	CHECK("syscall_dispatch", CHECK_DISPATCH),
	CHECK("module_text", CHECK_MODULE_TEXT),
	CHECK("ftrace", CHECK_FTRACE),
	CHECK("kprobes", CHECK_KPROBES),
	CHECK("tracepoints", CHECK_TRACEPOINTS),
	CHECK("operations", CHECK_OPERATIONS),
	CHECK("page_tables", CHECK_PAGE_TABLES),
	CHECK("rodata", CHECK_RODATA),
	CHECK("sockets", CHECK_SOCKETS),
	CYAML_FIELD_END,
};

static const cyaml_strval_t action_kinds[] = {
	{ "report", ACTION_REPORT },
	{ "restore", ACTION_RESTORE },
	{ "pause", ACTION_PAUSE },
	{ "exec", ACTION_EXEC },
};

static const cyaml_schema_field_t action_fields[] = {
	ENUM("action", 0, struct config_action, kind, action_kinds),
	STRINGS(struct config_action, checks),
	ENUM_OPTIONAL(struct config_action, min_severity, severities),
	STRINGS(struct config_action, command),
	TEXT_OPTIONAL(struct config_action, user),
	TEXT_OPTIONAL(struct config_action, timeout),
	TEXT_OPTIONAL(struct config_action, qmp),
	TEXT_OPTIONAL(struct config_action, libvirt),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t action = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_action, action_fields),
};

static const cyaml_schema_field_t policy_fields[] = {
	STRINGS(struct config_policy, vms),
	STRINGS(struct config_policy, labels),
	TEXT_OPTIONAL(struct config_policy, interval),
	STRINGS(struct config_policy, allow_modules),
	CYAML_FIELD_MAPPING("checks", CYAML_FLAG_OPTIONAL, struct config_policy, checks,
			    check_fields),
	CYAML_FIELD_SEQUENCE_COUNT("actions", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
				   struct config_policy, actions, action_count, &action, 0,
				   CYAML_UNLIMITED),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t policy = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_policy, policy_fields),
};

static const cyaml_schema_field_t spool_fields[] = {
	TEXT_OPTIONAL(struct config_spool, path),
	TEXT_OPTIONAL(struct config_spool, max_size),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t metrics_fields[] = {
	TEXT_OPTIONAL(struct config_metrics, address),
	TEXT_OPTIONAL(struct config_metrics, textfile),
	ENUM_OPTIONAL(struct config_metrics, vm_names, bools),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t fields[] = {
	TEXT_OPTIONAL(struct config, interval),
	TEXT_OPTIONAL(struct config, budget),
	TEXT_OPTIONAL(struct config, store),
	TEXT_OPTIONAL(struct config, user),
	STRINGS(struct config, vmlinux),
	STRINGS(struct config, vms),
	STRINGS(struct config, exclude_vms),
	ENUM_OPTIONAL(struct config, realtime, realtime_words),
	STRINGS(struct config, protect),
	CYAML_FIELD_SEQUENCE_COUNT("policies", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
				   struct config, policies, policy_count, &policy, 0,
				   CYAML_UNLIMITED),
	TEXT_OPTIONAL(struct config, socket),
	MAPPING("metrics", struct config, metrics, metrics_fields),
	MAPPING("spool", struct config, spool, spool_fields),
	CYAML_FIELD_SEQUENCE_COUNT("sinks", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config,
				   sinks, sink_count, &sink, 0, CYAML_UNLIMITED),
	CYAML_FIELD_END,
};

const cyaml_schema_value_t config_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct config, fields),
};
