// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Writes to the journal, with fields. By journald's native protocol, not sd_journal_sendv(): that
 * one waits for a journald that is busy, and says nothing where there is none.
 */
#include "sinks.h"

#include "../cleanup.h"
#include "datagram.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

struct journald_sink {
	struct sink sink;
	const struct config_journald *config;
	struct datagram socket;
};

static struct journald_sink *of(struct sink *sink)
{
	return (struct journald_sink *)sink;
}

static int open_sink(struct sink *base)
{
	struct journald_sink *sink = of(base);
	const char *namespace = sink->config->namespace;
	char path[PATH_MAX];
	int r;

	snprintf(path, sizeof(path), "/run/systemd/journal%s%s/socket", namespace ? "." : "",
		 namespace ? namespace : "");
	r = datagram_open(&sink->socket, path, base);
	if (!r)
		sink_opened(base);
	return r;
}

/* In the form that takes any bytes: name, newline, length, value, newline. */
static void field(FILE *out, const char *name, const char *value)
{
	uint64_t len;

	if (!value)
		return;
	len = htole64(strlen(value));
	fprintf(out, "%s\n", name);
	fwrite(&len, sizeof(len), 1, out);
	fprintf(out, "%s\n", value);
}

static const char *priority(const json_t *event)
{
	static const char *const priorities[] = { "6", "6", "5", "4", "3", "2" };
	json_int_t severity = json_integer_value(json_object_get(event, "severity_id"));

	return severity > 0 && severity < (json_int_t)array_size(priorities) ? priorities[severity]
									     : priorities[0];
}

static void write_fields(FILE *out, const json_t *event)
{
	field(out, "MESSAGE", json_text(event, "message"));
	field(out, "PRIORITY", priority(event));
	field(out, "SYSLOG_IDENTIFIER", "kvmbpf-monitor");
	field(out, "KVMBPF_TYPE", json_text(event, "type"));
	field(out, "KVMBPF_ID", json_text(event, "id"));
	field(out, "KVMBPF_TIME", json_text(event, "time"));
	field(out, "KVMBPF_SEVERITY", json_text(event, "severity"));
	field(out, "KVMBPF_VM_ID", json_text(event, "vm", "id"));
	field(out, "KVMBPF_VM_NAME", json_text(event, "vm", "name"));
	field(out, "KVMBPF_CHECK", json_text(event, "check", "name"));
	field(out, "KVMBPF_FINDING", json_text(event, "finding", "id"));
}

static int send_line(struct sink *base, const struct sink_line *line)
{
	_cleanup_free_ char *text = strndup(line->text, line->len - 1), *entry = NULL;
	size_t len = 0;
	FILE *out = text ? open_memstream(&entry, &len) : NULL;
	int r;

	if (!out)
		return -ENOMEM;
	write_fields(out, line->event);
	field(out, "KVMBPF_EVENT", text);
	if (fclose(out))
		return -ENOMEM;
	r = datagram_send(&of(base)->socket, entry, len);
	if (r == -EMSGSIZE)
		sink_rejected(base, line->position, "too long for a datagram");
	else if (!r)
		sink_delivered(base, line->position);
	return r == -EMSGSIZE ? 0 : r;
}

static void close_sink(struct sink *base)
{
	datagram_close(&of(base)->socket);
}

static void free_sink(struct sink *base)
{
	free(of(base));
}

static const struct sink_ops ops = {
	.open = open_sink,
	.send = send_line,
	.close = close_sink,
	.free = free_sink,
	.window = 1,
};

int sink_journald_new(const struct config_journald *config, struct sink **ret_sink)
{
	struct journald_sink *sink = calloc(1, sizeof(*sink));

	if (!sink)
		return -ENOMEM;
	sink->sink.ops = &ops;
	sink->sink.lasting = true;
	sink->config = config;
	sink->socket = datagram_none;
	*ret_sink = &sink->sink;
	return 0;
}
