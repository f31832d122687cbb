/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configuration: YAML files, the later ones over the earlier. See kvmbpf.yaml(5). */
#ifndef MONITOR_CONFIG_H
#define MONITOR_CONFIG_H

#include "check.h"
#include "format.h"

#include <stddef.h>

/* Members are NULL, or FORMAT_NATIVE, where no file says anything. */

enum config_bool { CONFIG_NO, CONFIG_YES };
enum config_realtime { CONFIG_REALTIME_NO, CONFIG_REALTIME_YES, CONFIG_REALTIME_TEXT };

struct config_strings {
	char **items;
	unsigned int count;
};

struct config_filter {
	enum severity *min_severity;
	struct config_strings types, vms, checks;
};

struct config_stdout {
	enum config_bool *pretty;
};

struct config_file {
	char *path, *max_size, *max_age;
	unsigned int *keep; /* rotated files */
};

struct config_journald {
	char *namespace;
};

struct config_tls {
	char *ca_file, *certificate_file, *key_file;
};

struct config_syslog {
	char *address; /* unix:///dev/log, tcp://HOST:PORT, tls://HOST:PORT */
	int *facility;
	struct config_tls tls;
};

enum config_http_kind { HTTP_SPLUNK_HEC, HTTP_ELASTICSEARCH, HTTP_OTLP };

struct config_http {
	enum config_http_kind kind;
	char *url, *index, *token_file, *timeout;
	struct config_tls tls;
};

struct config_kafka {
	char *brokers, *topic;
	struct config_strings properties; /* "name=value" of librdkafka */
};

/* Exactly one of the kinds is there. */
struct config_sink {
	char *name;
	enum format format;
	struct config_filter *filter;
	struct config_stdout *stdout_;
	struct config_file *file;
	struct config_journald *journald;
	struct config_syslog *syslog;
	struct config_http *http;
	struct config_kafka *kafka;
};

struct config_spool {
	char *path, *max_size;
};

struct config_metrics {
	char *address, *textfile;
	enum config_bool *vm_names;
};

/* CONFIG_CHECK_OFF or enum severity. */
enum { CONFIG_CHECK_OFF = 0 };

struct config_checks {
	int *level[CHECKS];
};

enum config_action_kind { ACTION_REPORT, ACTION_RESTORE, ACTION_PAUSE, ACTION_EXEC };

struct config_action {
	enum config_action_kind kind;
	struct config_strings checks; /* patterns; none: all */
	enum severity *min_severity;
	struct config_strings command; /* exec */
	char *user, *timeout;
	char *qmp, *libvirt; /* pause: one of them */
};

struct config_policy {
	struct config_strings vms; /* none: all */
	struct config_strings labels; /* patterns of KEY=VALUE; none: all */
	char *interval;
	struct config_strings allow_modules; /* patterns of names: may have hooks */
	struct config_checks checks;
	struct config_action *actions;
	unsigned int action_count;
};

struct config {
	char *interval, *budget, *store, *user;
	struct config_strings vmlinux, vms, exclude_vms;
	enum config_realtime *realtime;
	struct config_strings protect; /* as check_protectable() has them */
	struct config_policy *policies;
	unsigned int policy_count;
	char *socket; /* "off": none */
	struct config_metrics *metrics;
	struct config_spool *spool;
	struct config_sink *sinks;
	unsigned int sink_count;
};

struct config_set;

enum { CONFIG_ERROR_MAX = 1024 };

/*
 * Reads PREFIX/usr/lib/kvmbpf/conf.d, PREFIX/etc/kvmbpf/kvmbpf.yaml, PREFIX/etc/kvmbpf/conf.d in
 * this order; files of a folder by name. None of them need be there. With `file` only that one.
 * A later value replaces an earlier one; a sink, the one of the same name.
 * -EINVAL: `ret_error` says which file, which line, and what. -ENOENT, -EACCES, -ENOMEM.
 */
int config_load(const char *prefix, const char *file, struct config_set **ret_set,
		char ret_error[static CONFIG_ERROR_MAX]);
/* One more that holds it; each is to free it. */
struct config_set *config_ref(struct config_set *set);
void config_free(struct config_set *set);

/* All files as one. */
const struct config *config_merged(const struct config_set *set);
/* The files that were read, in their order. */
const char *const *config_files(const struct config_set *set, size_t *ret_count);
/* As one file; the caller frees it. */
int config_text(const struct config_set *set, char **ret_text);

/* Do both say the same? */
bool config_sink_same(const struct config_sink *a, const struct config_sink *b);

/* "64KiB", "10MiB", "1GiB". -EINVAL: not a size, -ERANGE: under 64 KiB or over 1 TiB. */
int size_parse(const char *text, uint64_t *ret_bytes);

#endif
