// SPDX-License-Identifier: LGPL-2.1-or-later
/* Makes sinks as they are configured. */
#include "sinks.h"

#include "../cleanup.h"
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

/* What can change without a new one. */
static void configure(struct sink *sink, const struct config_sink *config,
		      struct config_set *configs, bool pretty)
{
	struct config_set *before = sink->configs;

	snprintf(sink->name, sizeof(sink->name), "%s", config->name);
	sink->format = config->format;
	if (config->stdout_)
		sink->pretty = pretty ||
			       (config->stdout_->pretty && *config->stdout_->pretty == CONFIG_YES);
	sink->filter = (struct filter){ 0 };
	if (config->filter)
		filter_set(&sink->filter, config->filter);
	sink->config = config;
	sink->configs = config_ref(configs);
	config_free(before);
}

static int configured_new(const struct config_sink *config, struct config_set *configs, bool pretty,
			  struct sink **ret_sink)
{
	int r = kind_new(config, ret_sink);

	if (r < 0)
		log_error("sink %s: %s", config->name, strerror(-r));
	else
		configure(*ret_sink, config, configs, pretty);
	return r;
}

static int plain_new(const char *output, bool pretty, struct sink **ret_sink)
{
	int r = sink_stdout_new(output, ret_sink);

	if (r < 0)
		log_error("%s: %s", output ? output : "stdout", strerror(-r));
	else
		(*ret_sink)->pretty = pretty;
	return r;
}

/* Is standard output, or --output, wanted besides? */
static bool plain_wanted(const struct config *config, const char *output)
{
	return output || !config->sink_count;
}

int sinks_start(struct outputs *outputs, struct config_set *configs, const char *output,
		bool pretty)
{
	const struct config *config = config_merged(configs);
	const char *path =
		config->spool && config->spool->path ? config->spool->path : spool_path_default;
	uint64_t max = spool_max_default;
	bool lasting = false;
	struct sink *sink;
	int r = 0;

	if (config->spool && config->spool->max_size)
		size_parse(config->spool->max_size, &max); /* validated */
	for (unsigned int i = 0; !r && i < config->sink_count; i++) {
		r = configured_new(&config->sinks[i], configs, pretty, &sink);
		r = r < 0 ? r : outputs_add(outputs, sink);
		lasting |= !config->sinks[i].stdout_;
	}
	if (!r && plain_wanted(config, output)) {
		r = plain_new(output, pretty, &sink);
		r = r < 0 ? r : outputs_add(outputs, sink);
	}
	return r < 0 ? r : outputs_start(outputs, lasting ? path : NULL, max);
}

/* ---- going over to another configuration --------------------------------------------------- */

/* What is to be there: one that is there already, or a new one. */
struct plan {
	const struct config_sink *config; /* NULL: the command line's */
	struct sink *kept, *fresh;
};

/* Standard output is one, whatever its name: a line may be half written. */
static struct sink *find(const struct outputs *outputs, const struct config_sink *config)
{
	struct sink *sink;

	for (size_t i = 0; (sink = outputs_sink_at(outputs, i)); i++)
		if (!config ? !sink->config
			    : sink->config && (config->stdout_ ? sink->config->stdout_ != NULL
							       : !strcmp(sink->name, config->name)))
			return sink;
	return NULL;
}

static int plan_one(const struct outputs *outputs, struct config_set *configs, const char *output,
		    bool pretty, struct plan *plan)
{
	struct sink *there = find(outputs, plan->config);

	if (!plan->config) {
		plan->kept = there;
		return there ? 0 : plain_new(output, pretty, &plan->fresh);
	}
	if (there && (plan->config->stdout_ || config_sink_same(there->config, plan->config))) {
		plan->kept = there;
		return 0;
	}
	if (!plan->config->stdout_ && !outputs_lasting(outputs)) {
		log_error("sink %s: events were only kept in memory so far, and the spool is made at "
			  "the start: start the monitor anew",
			  plan->config->name);
		return -EOPNOTSUPP;
	}
	return configured_new(plan->config, configs, pretty, &plan->fresh);
}

static bool is_kept(const struct plan *plans, size_t count, const struct sink *sink)
{
	for (size_t i = 0; i < count; i++)
		if (plans[i].kept == sink)
			return true;
	return false;
}

static bool is_followed(const struct plan *plans, size_t count, const struct sink *sink)
{
	for (size_t i = 0; i < count; i++)
		if (plans[i].fresh && sink->lasting && plans[i].fresh->lasting &&
		    !strcmp(plans[i].fresh->name, sink->name))
			return true;
	return false;
}

static int plans_apply(struct outputs *outputs, struct config_set *configs, bool pretty,
		       struct plan *plans, size_t count)
{
	struct sink *sink;
	int r = 0;

	for (size_t i = 0; (sink = outputs_sink_at(outputs, i));) {
		if (is_kept(plans, count, sink))
			i++;
		else
			outputs_remove(outputs, sink, !is_followed(plans, count, sink));
	}
	for (size_t i = 0; i < count; i++) {
		if (plans[i].kept && plans[i].config && plans[i].config->stdout_)
			configure(plans[i].kept, plans[i].config, configs, pretty);
		if (!plans[i].fresh)
			continue;
		r = outputs_enter(outputs, plans[i].fresh);
		if (r < 0)
			log_error("a sink cannot be started: %s", strerror(-r));
	}
	return r;
}

int sinks_reload(struct outputs *outputs, struct config_set *configs, const char *output,
		 bool pretty)
{
	const struct config *config = config_merged(configs);
	size_t count = config->sink_count + plain_wanted(config, output);
	_cleanup_free_ struct plan *plans = calloc(count, sizeof(*plans));
	int r = plans ? 0 : -ENOMEM;

	for (size_t i = 0; !r && i < count; i++) {
		plans[i].config = i < config->sink_count ? &config->sinks[i] : NULL;
		r = plan_one(outputs, configs, output, pretty, &plans[i]);
	}
	if (!r)
		return plans_apply(outputs, configs, pretty, plans, count);
	for (size_t i = 0; plans && i < count; i++)
		sink_free(plans[i].fresh);
	return r;
}
