// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reads the configuration files, says in which line one is wrong, and merges them. */
#include "config.h"

#include "cleanup.h"
#include "clock.h"
#include "config_schema.h"
#include "duration.h"
#include "server.h"
#include "share.h"
#include "sink.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>
#include <yaml.h>

struct config_set {
	unsigned int holders;
	char **files;
	struct config **parts; /* what libcyaml made of each; NULL: nothing in it */
	size_t count;
	struct config merged; /* points into the parts, and here */
	struct config_spool spool;
	struct config_metrics metrics;
};

/* ---- errors -------------------------------------------------------------------------------- */

/* What libcyaml says of an error: the cause, and then where, from inside out. */
struct complaint {
	char cause[200];
	unsigned int line;
};

static void on_complaint(cyaml_log_t level, void *ctx, const char *format, va_list args)
{
	struct complaint *complaint = ctx;
	char text[200];
	const char *line;

	(void)level;
	vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\n")] = '\0';
	line = strstr(text, "(line: ");
	if (!complaint->cause[0])
		snprintf(complaint->cause, sizeof(complaint->cause), "%s",
			 strncmp(text, "Load: ", 6) ? text : text + 6);
	else if (line && !complaint->line)
		complaint->line = (unsigned int)strtoul(line + 7, NULL, 10);
}

/*
 * The line of the first scalar `key` at or after `from` that is followed by the scalar `value`
 * (NULL: by anything); 0 if there is none.
 */
static unsigned int line_of(const char *file, const char *key, const char *value, unsigned int from)
{
	FILE *stream = fopen(file, "re");
	unsigned int found = 0, key_line = 0;
	yaml_parser_t parser;
	yaml_event_t event;
	bool end = false;

	if (!stream || !yaml_parser_initialize(&parser)) {
		if (stream)
			fclose(stream);
		return 0;
	}
	yaml_parser_set_input_file(&parser, stream);
	while (!found && !end && yaml_parser_parse(&parser, &event)) {
		const char *text = event.type == YAML_SCALAR_EVENT
					   ? (const char *)event.data.scalar.value
					   : "";
		unsigned int line = (unsigned int)event.start_mark.line + 1;

		if (key_line && (!value || !strcmp(text, value)))
			found = key_line;
		key_line = event.type == YAML_SCALAR_EVENT && line >= from && !strcmp(text, key)
				   ? line
				   : 0;
		end = event.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	fclose(stream);
	return found;
}

static int complain(char error[static CONFIG_ERROR_MAX], const char *file, const char *key,
		    const char *value, const char *why)
{
	unsigned int line = line_of(file, key, value, 1);

	/* One of a list stands by itself. */
	line = line ? line : line_of(file, value, NULL, 1);
	snprintf(error, CONFIG_ERROR_MAX, "%s:%u: %s: %s: %s", file, line, key, value, why);
	return -EINVAL;
}

/* ---- what the schema cannot say ------------------------------------------------------------ */

int size_parse(const char *text, uint64_t *ret_bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB" };
	char *end;
	unsigned long long number;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	number = strtoull(text, &end, 10);
	for (unsigned int i = 0; i < array_size(units); i++)
		if (!strcmp(end, units[i])) {
			unsigned int shift = 10 * (i + 1);

			if (errno || number > 1ull << (40 - shift) || number << shift < 64 * 1024)
				return -ERANGE;
			*ret_bytes = number << shift;
			return 0;
		}
	return -EINVAL;
}

struct validation {
	const char *file;
	char *error;
};

static int validate_duration(const struct validation *v, const char *key, const char *text)
{
	uint64_t ns;
	int r = text ? duration_parse(text, &ns) : 0;

	return !r ? 0
		  : complain(v->error, v->file, key, text,
			     r == -ERANGE ? "must be from 100ms to 24h"
					  : "not a duration; write 500ms, 1s or 1h30m");
}

static int validate_size(const struct validation *v, const char *key, const char *text)
{
	uint64_t bytes;
	int r = text ? size_parse(text, &bytes) : 0;

	return !r ? 0
		  : complain(v->error, v->file, key, text,
			     r == -ERANGE ? "must be from 64KiB to 1024GiB"
					  : "not a size; write 64KiB, 10MiB or 1GiB");
}

static bool begins(const char *text, const char *start)
{
	return !strncmp(text, start, strlen(start)) && text[strlen(start)];
}

static bool check_is_known(const char *pattern)
{
	for (int i = 0; i < CHECKS; i++)
		if (!strcmp(checks[i].name, pattern))
			return true;
	return strpbrk(pattern, "*?[");
}

static int validate_kinds(const struct validation *v, const struct config_sink *sink)
{
	int kinds = !!sink->stdout_ + !!sink->file + !!sink->journald + !!sink->syslog +
		    !!sink->http + !!sink->kafka;
	int r = 0;

	if (kinds != 1)
		return complain(v->error, v->file, "name", sink->name,
				"must have exactly one of stdout, file, journald, syslog, http, "
				"kafka");
	if (sink->file) {
		r = validate_size(v, "max_size", sink->file->max_size);
		r = r ? r : validate_duration(v, "max_age", sink->file->max_age);
		if (!r && sink->file->keep && !*sink->file->keep)
			r = complain(v->error, v->file, "keep", "0", "must be at least 1");
	}
	if (sink->syslog && !begins(sink->syslog->address, "unix:///") &&
	    !begins(sink->syslog->address, "tcp://") && !begins(sink->syslog->address, "tls://"))
		r = complain(v->error, v->file, "address", sink->syslog->address,
			     "must begin with unix:///, tcp:// or tls://");
	if (sink->http) {
		r = validate_duration(v, "timeout", sink->http->timeout);
		if (!begins(sink->http->url, "https://") && !begins(sink->http->url, "http://"))
			r = complain(v->error, v->file, "url", sink->http->url,
				     "must begin with https:// or http://");
	}
	for (unsigned int i = 0; !r && sink->kafka && i < sink->kafka->properties.count; i++)
		if (!strchr(sink->kafka->properties.items[i], '='))
			r = complain(v->error, v->file, "properties",
				     sink->kafka->properties.items[i], "must be NAME=VALUE");
	return r;
}

static int validate_sinks(const struct validation *v, const struct config *config)
{
	int r = 0;

	for (unsigned int i = 0; !r && i < config->sink_count; i++) {
		const struct config_sink *sink = &config->sinks[i];
		const struct config_filter *filter = sink->filter;

		if (strlen(sink->name) >= SINK_NAME_MAX)
			return complain(v->error, v->file, "name", sink->name, "too long");
		for (unsigned int j = 0; j < i; j++)
			if (!strcmp(config->sinks[j].name, sink->name))
				return complain(v->error, v->file, "name", sink->name,
						"there are two sinks of this name");
		for (unsigned int j = 0; filter && j < filter->checks.count; j++)
			if (!check_is_known(filter->checks.items[j]))
				return complain(v->error, v->file, "checks",
						filter->checks.items[j], "no such check");
		r = validate_kinds(v, sink);
	}
	return r;
}

static const char *action_wrong(const struct config_action *action)
{
	const bool exec = action->kind == ACTION_EXEC, pause = action->kind == ACTION_PAUSE;

	if (exec && (!action->command.count || action->command.items[0][0] != '/'))
		return "needs a command, a list that begins with the program's whole path";
	if (!exec && (action->command.count || action->user))
		return "command and user are for exec only";
	if (pause && !action->qmp == !action->libvirt)
		return "needs exactly one of qmp, libvirt";
	if (!pause && (action->qmp || action->libvirt))
		return "qmp and libvirt are for pause only";
	if (action->timeout && !exec && !pause)
		return "timeout is for exec and pause only";
	return NULL;
}

static bool pattern_right(const char *pattern)
{
	const char *brace = strchr(pattern, '{');

	return pattern[0] == '/' && strlen(pattern) < 100 &&
	       (!brace || ((!strncmp(brace, "{name}", 6) || !strncmp(brace, "{uuid}", 6) ||
			    !strncmp(brace, "{pid}", 5)) &&
			   !strchr(brace + 1, '{')));
}

static int validate_action(const struct validation *v, const struct config_action *action)
{
	static const char *const names[] = { "report", "restore", "pause", "exec" };
	const char *wrong = action_wrong(action);
	int r = wrong ? complain(v->error, v->file, "action", names[action->kind], wrong) : 0;

	if (!r && action->qmp && !pattern_right(action->qmp))
		r = complain(v->error, v->file, "qmp", action->qmp,
			     "must be the whole path of a socket, with {name}, {uuid} or {pid} once");
	for (unsigned int i = 0; !r && i < action->checks.count; i++)
		if (!check_is_known(action->checks.items[i]))
			r = complain(v->error, v->file, "checks", action->checks.items[i],
				     "no such check");
	return r ? r : validate_duration(v, "timeout", action->timeout);
}

static int validate_policies(const struct validation *v, const struct config *config)
{
	int r = 0;

	for (unsigned int i = 0; !r && i < config->policy_count; i++) {
		const struct config_policy *policy = &config->policies[i];

		r = validate_duration(v, "interval", policy->interval);
		for (unsigned int j = 0; !r && j < policy->labels.count; j++)
			if (!strchr(policy->labels.items[j], '='))
				r = complain(v->error, v->file, "labels", policy->labels.items[j],
					     "must be KEY=PATTERN");
		for (unsigned int j = 0; !r && j < policy->action_count; j++)
			r = validate_action(v, &policy->actions[j]);
	}
	return r;
}

static int validate_address(const struct validation *v, const char *key, const char *text)
{
	struct sockaddr_storage address;
	socklen_t len;
	int r = text ? server_address_parse(text, &address, &len) : 0;

	return !r ? 0
		  : complain(v->error, v->file, key, text,
			     r == -EADDRNOTAVAIL  ? "must be a loopback address: 127.0.0.1 or [::1]"
			     : r == -ENAMETOOLONG ? "is too long"
						  : "must be unix:///PATH or tcp://ADDRESS:PORT");
}

static int validate_published(const struct validation *v, const struct config *config)
{
	const struct config_metrics *metrics = config->metrics;
	const char *socket = config->socket, *textfile = metrics ? metrics->textfile : NULL;
	int r = metrics ? validate_address(v, "address", metrics->address) : 0;

	if (!r && textfile && textfile[0] != '/')
		r = complain(v->error, v->file, "textfile", textfile, "must begin with /");
	if (!r && socket && strcmp(socket, "off") &&
	    (socket[0] != '/' || strlen(socket) >= sizeof(((struct sockaddr_un *)0)->sun_path)))
		r = complain(v->error, v->file, "socket", socket,
			     "must be off, or a path that begins with / and has under 108 bytes");
	return r;
}

static int validate(const char *file, const struct config *config, char *error)
{
	const struct validation v = { .file = file, .error = error };
	int r = validate_duration(&v, "interval", config->interval);
	enum check_id check;
	uint64_t ppm;

	if (!r && config->budget && share_parse(config->budget, &ppm))
		r = complain(error, file, "budget", config->budget,
			     "not a share from 0.01% to 100%");
	for (unsigned int i = 0; !r && i < config->protect.count; i++)
		if (!check_protectable(config->protect.items[i], &check))
			r = complain(error, file, "protect", config->protect.items[i],
				     "not syscall or idt");
	if (!r && config->spool)
		r = validate_size(&v, "max_size", config->spool->max_size);
	if (!r)
		r = validate_published(&v, config);
	if (!r)
		r = validate_policies(&v, config);
	return r ? r : validate_sinks(&v, config);
}

/* ---- files --------------------------------------------------------------------------------- */

static const cyaml_config_t cyaml = {
	.mem_fn = cyaml_mem,
	.log_level = CYAML_LOG_ERROR,
	.flags = CYAML_CFG_NO_ALIAS,
};

static int part_load(const char *file, struct config **ret_part,
		     char error[static CONFIG_ERROR_MAX])
{
	static const char unknown_key[] = "Unexpected key: ";
	struct complaint complaint = { .line = 0 };
	cyaml_config_t with_log = cyaml;
	struct config *part = NULL;
	cyaml_err_t err;
	int r, fd;

	/* Not access(), which knows nothing of the capabilities that another user than root has. */
	fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		r = -errno;
		snprintf(error, CONFIG_ERROR_MAX, "%s: %s", file, strerror(-r));
		return r;
	}
	close(fd);
	with_log.log_fn = on_complaint;
	with_log.log_ctx = &complaint;
	err = cyaml_load_file(file, &with_log, &config_schema, (cyaml_data_t **)&part, NULL);
	if (err != CYAML_OK) {
		unsigned int line = complaint.line ? complaint.line : 1, exact = 0;
		size_t skip = sizeof(unknown_key) - 1;

		/* libcyaml tells where the value before it ended. */
		if (!strncmp(complaint.cause, unknown_key, skip))
			exact = line_of(file, complaint.cause + skip, NULL, line);
		line = exact ? exact : line;
		snprintf(error, CONFIG_ERROR_MAX, "%s:%u: %s", file, line,
			 complaint.cause[0] ? complaint.cause : cyaml_strerror(err));
		return -EINVAL;
	}
	r = part ? validate(file, part, error) : 0;
	if (r < 0) {
		cyaml_free(&cyaml, &config_schema, part, 0);
		return r;
	}
	*ret_part = part;
	return 0;
}

static int part_add(struct config_set *set, const char *file, char error[static CONFIG_ERROR_MAX])
{
	struct config **parts = reallocarray(set->parts, set->count + 1, sizeof(*parts));
	char **files, *copy;
	int r;

	set->parts = parts ? parts : set->parts;
	files = reallocarray(set->files, set->count + 1, sizeof(*files));
	set->files = files ? files : set->files;
	copy = parts && files ? strdup(file) : NULL;
	if (!copy)
		return -ENOMEM;
	r = part_load(file, &set->parts[set->count], error);
	if (r < 0) {
		free(copy);
		return r;
	}
	set->files[set->count++] = copy;
	return 0;
}

static int is_yaml(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return entry->d_name[0] != '.' && dot && !strcmp(dot, ".yaml");
}

static int folder_add(struct config_set *set, const char *folder,
		      char error[static CONFIG_ERROR_MAX])
{
	struct dirent **entries = NULL;
	int count = scandir(folder, &entries, is_yaml, alphasort), r = 0;
	char path[PATH_MAX];

	if (count < 0 && errno != ENOENT) {
		r = -errno;
		snprintf(error, CONFIG_ERROR_MAX, "%s: %s", folder, strerror(-r));
	}
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
		if (!r)
			r = part_add(set, path, error);
		free(entries[i]);
	}
	free(entries);
	return r;
}

/* ---- all as one ---------------------------------------------------------------------------- */

static void merge_strings(struct config_strings *merged, const struct config_strings *part)
{
	if (part->count)
		*merged = *part;
}

static int merge_sink(struct config *merged, const struct config_sink *sink)
{
	struct config_sink *sinks;

	for (unsigned int i = 0; i < merged->sink_count; i++)
		if (!strcmp(merged->sinks[i].name, sink->name)) {
			merged->sinks[i] = *sink;
			return 0;
		}
	sinks = reallocarray(merged->sinks, merged->sink_count + 1, sizeof(*sinks));
	if (!sinks)
		return -ENOMEM;
	sinks[merged->sink_count++] = *sink;
	merged->sinks = sinks;
	return 0;
}

static void merge_metrics(struct config_set *set, const struct config_metrics *part)
{
	struct config_metrics *merged = &set->metrics;

	set->merged.metrics = merged;
	merged->address = part->address ? part->address : merged->address;
	merged->textfile = part->textfile ? part->textfile : merged->textfile;
	merged->vm_names = part->vm_names ? part->vm_names : merged->vm_names;
}

static int merge(struct config_set *set, const struct config *part)
{
	struct config *merged = &set->merged;
	int r = 0;

	merged->interval = part->interval ? part->interval : merged->interval;
	merged->budget = part->budget ? part->budget : merged->budget;
	merged->store = part->store ? part->store : merged->store;
	merged->user = part->user ? part->user : merged->user;
	if (part->spool) {
		merged->spool = &set->spool;
		set->spool.path = part->spool->path ? part->spool->path : set->spool.path;
		set->spool.max_size =
			part->spool->max_size ? part->spool->max_size : set->spool.max_size;
	}
	merged->socket = part->socket ? part->socket : merged->socket;
	if (part->metrics)
		merge_metrics(set, part->metrics);
	merge_strings(&merged->vmlinux, &part->vmlinux);
	merge_strings(&merged->vms, &part->vms);
	merge_strings(&merged->exclude_vms, &part->exclude_vms);
	merged->realtime = part->realtime ? part->realtime : merged->realtime;
	merge_strings(&merged->protect, &part->protect);
	if (part->policy_count) {
		merged->policies = part->policies;
		merged->policy_count = part->policy_count;
	}
	for (unsigned int i = 0; !r && i < part->sink_count; i++)
		r = merge_sink(merged, &part->sinks[i]);
	return r;
}

int config_load(const char *prefix, const char *file, struct config_set **ret_set,
		char ret_error[static CONFIG_ERROR_MAX])
{
	struct config_set *set = calloc(1, sizeof(*set));
	char path[PATH_MAX];
	int r = 0;

	ret_error[0] = '\0';
	if (!set)
		return -ENOMEM;
	set->holders = 1;
	if (file) {
		r = part_add(set, file, ret_error);
	} else {
		snprintf(path, sizeof(path), "%s/usr/lib/kvmbpf/conf.d", prefix);
		r = folder_add(set, path, ret_error);
		snprintf(path, sizeof(path), "%s/etc/kvmbpf/kvmbpf.yaml", prefix);
		if (!r && !access(path, F_OK))
			r = part_add(set, path, ret_error);
		snprintf(path, sizeof(path), "%s/etc/kvmbpf/conf.d", prefix);
		if (!r)
			r = folder_add(set, path, ret_error);
	}
	for (size_t i = 0; !r && i < set->count; i++)
		if (set->parts[i])
			r = merge(set, set->parts[i]);
	if (r < 0) {
		config_free(set);
		return r;
	}
	*ret_set = set;
	return 0;
}

struct config_set *config_ref(struct config_set *set)
{
	set->holders++;
	return set;
}

void config_free(struct config_set *set)
{
	if (!set || --set->holders)
		return;
	for (size_t i = 0; i < set->count; i++) {
		cyaml_free(&cyaml, &config_schema, set->parts[i], 0);
		free(set->files[i]);
	}
	free(set->merged.sinks);
	free(set->parts);
	free(set->files);
	free(set);
}

const struct config *config_merged(const struct config_set *set)
{
	return &set->merged;
}

const char *const *config_files(const struct config_set *set, size_t *ret_count)
{
	*ret_count = set->count;
	return (const char *const *)set->files;
}

bool config_sink_same(const struct config_sink *a, const struct config_sink *b)
{
	char *text[2] = { NULL, NULL };
	size_t len[2] = { 0, 0 };
	bool same;

	same = cyaml_save_data(&text[0], &len[0], &cyaml, &config_sink_schema, (void *)a, 0) ==
		       CYAML_OK &&
	       cyaml_save_data(&text[1], &len[1], &cyaml, &config_sink_schema, (void *)b, 0) ==
		       CYAML_OK &&
	       len[0] == len[1] && !memcmp(text[0], text[1], len[0]);
	free(text[0]);
	free(text[1]);
	return same;
}

int config_text(const struct config_set *set, char **ret_text)
{
	char *text = NULL, *copy;
	size_t len = 0;

	if (cyaml_save_data(&text, &len, &cyaml, &config_schema, (void *)&set->merged, 0) !=
	    CYAML_OK)
		return -ENOMEM;
	copy = strndup(text, len);
	free(text);
	if (!copy)
		return -ENOMEM;
	*ret_text = copy;
	return 0;
}
