// SPDX-License-Identifier: LGPL-2.1-or-later
/* Makes sinks as they are configured. */
#include "sinks.h"

#include "../log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const uint64_t spool_max_default = 256ull * 1024 * 1024;
static const char spool_path_default[] = "/var/lib/kvmbpf/spool.db";

static int kind_new(const struct config_sink *config, struct sink **ret_sink)
{
	if (config->file)
		return sink_file_new(config->file, ret_sink);
	if (config->journald)
		return sink_journald_new(config->journald, ret_sink);
	if (config->syslog)
		return sink_syslog_new(config->syslog, ret_sink);
	if (config->http)
		return sink_http_new(config->http, ret_sink);
	if (config->kafka)
		return sink_kafka_new(config->kafka, ret_sink);
	return sink_stdout_new(NULL, ret_sink);
}

static void filter_set(struct filter *filter, const struct config_filter *config)
{
	*filter = (struct filter){
		.min_severity = config->min_severity ? *config->min_severity : SEVERITY_INFO,
		.types = (const char *const *)config->types.items,
		.type_count = config->types.count,
		.vms = (const char *const *)config->vms.items,
		.vm_count = config->vms.count,
		.checks = (const char *const *)config->checks.items,
		.check_count = config->checks.count,
	};
}

static int configured_add(struct outputs *outputs, const struct config_sink *config, bool pretty)
{
	struct sink *sink;
	int r = kind_new(config, &sink);

	if (r < 0) {
		log_error("sink %s: %s", config->name, strerror(-r));
		return r;
	}
	snprintf(sink->name, sizeof(sink->name), "%s", config->name);
	sink->format = config->format;
	if (config->stdout_)
		sink->pretty = pretty ||
			       (config->stdout_->pretty && *config->stdout_->pretty == CONFIG_YES);
	if (config->filter)
		filter_set(&sink->filter, config->filter);
	return outputs_add(outputs, sink);
}

static int plain_add(struct outputs *outputs, const char *output, bool pretty)
{
	struct sink *sink;
	int r = sink_stdout_new(output, &sink);

	if (r < 0) {
		log_error("%s: %s", output ? output : "stdout", strerror(-r));
		return r;
	}
	sink->pretty = pretty;
	return outputs_add(outputs, sink);
}

int sinks_start(struct outputs *outputs, const struct config *config, const char *output,
		bool pretty)
{
	const char *path =
		config->spool && config->spool->path ? config->spool->path : spool_path_default;
	uint64_t max = spool_max_default;
	bool lasting = false;
	int r = 0;

	if (config->spool && config->spool->max_size)
		size_parse(config->spool->max_size, &max); /* validated */
	for (unsigned int i = 0; !r && i < config->sink_count; i++) {
		r = configured_add(outputs, &config->sinks[i], pretty);
		lasting |= !config->sinks[i].stdout_;
	}
	if (!r && (output || !config->sink_count))
		r = plain_add(outputs, output, pretty);
	return r < 0 ? r : outputs_start(outputs, lasting ? path : NULL, max);
}
