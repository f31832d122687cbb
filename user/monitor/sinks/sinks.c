// SPDX-License-Identifier: LGPL-2.1-or-later
/* Makes sinks as they are configured. */
#include "sinks.h"

#include <stdio.h>

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

int sink_new(const struct config_sink *config, struct sink **ret_sink)
{
	struct sink *sink;
	int r = kind_new(config, &sink);

	if (r < 0)
		return r;
	snprintf(sink->name, sizeof(sink->name), "%s", config->name);
	sink->format = config->format;
	sink->pretty = config->stdout_ && config->stdout_->pretty &&
		       *config->stdout_->pretty == CONFIG_YES;
	if (config->filter)
		filter_set(&sink->filter, config->filter);
	*ret_sink = sink;
	return 0;
}
