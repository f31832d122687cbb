/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kinds of sinks, one file each. */
#ifndef MONITOR_SINKS_H
#define MONITOR_SINKS_H

#include "../config.h"
#include "../outputs.h"

/* Standard output, or where `path` is not NULL, whatever is there or can be made: it is opened now,
 * so that what is wrong with it is told at once. */
int sink_stdout_new(const char *path, struct sink **ret_sink);

/* The configuration must outlive these. */
int sink_file_new(const struct config_file *config, struct sink **ret_sink);
int sink_journald_new(const struct config_journald *config, struct sink **ret_sink);
int sink_syslog_new(const struct config_syslog *config, struct sink **ret_sink);
int sink_http_new(const struct config_http *config, struct sink **ret_sink);
int sink_kafka_new(const struct config_kafka *config, struct sink **ret_sink);

/*
 * Adds all that are configured, and standard output (`output` NULL) or what is at `output` where
 * that is asked for or nothing else is; then starts, with a spool on disk where a sink needs one.
 * Says on stderr why it fails.
 */
int sinks_start(struct outputs *outputs, struct config_set *configs, const char *output,
		bool pretty);
/*
 * Goes over to another configuration. A sink of which nothing has changed goes on as it is; of one that
 * has, what waits stays for the one of the same name. On failure, which it tells on stderr, all is
 * as before.
 */
int sinks_reload(struct outputs *outputs, struct config_set *configs, const char *output,
		 bool pretty);

#endif
