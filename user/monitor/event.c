// SPDX-License-Identifier: LGPL-2.1-or-later
/* Builds and renders events. */
#include "event.h"

#include "cleanup.h"
#include "clock.h"

#include <errno.h>
#include <inttypes.h>
#include <kvmaccess.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

static const char *uuid_text(char buf[static TEXT_UUID_MAX], sd_id128_t id)
{
	char hex[SD_ID128_STRING_MAX];

	sd_id128_to_string(id, hex);
	snprintf(buf, TEXT_UUID_MAX, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
		 hex + 20);
	return buf;
}

int event_stream_init(struct event_stream *stream)
{
	/* Made for this program with `systemd-id128 new`, as machine-id(5) asks. */
	static const sd_id128_t app =
		SD_ID128_MAKE(5b, 0c, 1d, 7e, 2a, 94, 4f, 31, 8e, 66, c0, 3f, 9a, 17, d2, 48);
	char name[sizeof(stream->host.name)] = "";
	sd_id128_t boot, host, run;
	int r;

	if (sodium_init() < 0)
		return -EIO;
	r = sd_id128_get_boot(&boot);
	if (r < 0)
		r = sd_id128_randomize(&boot);
	if (r < 0)
		return r;
	/* An image without a machine id is a new machine at each boot. */
	if (sd_id128_get_machine_app_specific(app, &host) < 0)
		host = boot;
	r = sd_id128_randomize(&run);
	if (r < 0)
		return r;
	gethostname(name, sizeof(name) - 1);
	text_clean(stream->host.name, sizeof(stream->host.name), name[0] ? name : "localhost");
	uuid_text(stream->host.id, host);
	uuid_text(stream->host.boot_id, boot);
	uuid_text(stream->run_id, run);
	snprintf(stream->version, sizeof(stream->version), "%s", ka_version());
	return 0;
}

json_t *event_string(const char *text)
{
	char clean[257];

	text_clean(clean, sizeof(clean), text);
	return json_string(clean);
}

json_t *event_labels(const char *labels)
{
	json_t *json = json_object();
	const char *end, *value;

	for (; (end = strchr(labels, '\n')); labels = end + 1) {
		value = memchr(labels, '=', end - labels);
		if (value)
			json_object_setn_new(json, labels, value - labels,
					     json_stringn(value + 1, end - value - 1));
	}
	return json;
}

json_t *event_hex(uint64_t value)
{
	char buf[TEXT_HEX_MAX];

	return json_string(text_hex64(buf, value));
}

json_t *event_time(uint64_t real_ns)
{
	char buf[TEXT_TIME_MAX];

	return json_string(text_time(buf, real_ns));
}

json_t *event_new(struct event_stream *stream, const char *type, enum severity severity,
		  uint64_t real_ns, uint64_t mono_ns, const char *message)
{
	char id[TEXT_UUID_MAX], time[TEXT_TIME_MAX], mono[24];
	uint8_t random[10];

	randombytes_buf(random, sizeof(random));
	snprintf(mono, sizeof(mono), "%" PRIu64, mono_ns);
	/* seq is set on rendering, so that an event that is never emitted leaves no gap. */
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:i, s:o, s:{s:s, s:s, s:s},"
			 " s:{s:s, s:s}}",
			 "schema", "kvmbpf.event/1", "type", type, "id",
			 text_uuid7(id, real_ns, random), "run_id", stream->run_id, "seq",
			 (json_int_t)0, "time", text_time(time, real_ns), "mono_ns", mono,
			 "severity", severity_name(severity), "severity_id", (int)severity,
			 "message", event_string(message), "host", "id", stream->host.id, "name",
			 stream->host.name, "boot_id", stream->host.boot_id, "product", "name",
			 "kvmbpf-monitor", "version", stream->version);
}

/* Lists first, since they are what grows, then everything that is not needed to tell what. */
static const char *const droppable[] = { "checks",   "changes", "open_findings", "sinks",
					 "features", "attack",	"baseline" };

/* Into the stream's line, with its newline. */
static int event_render(struct event_stream *stream, json_t *event, size_t *ret_len)
{
	size_t len;

	for (size_t dropped = 0;; dropped++) {
		len = json_dumpb(event, stream->line, sizeof(stream->line), JSON_COMPACT);
		if (!len)
			return -ENOMEM;
		if (len < EVENT_LINE_MAX || dropped == array_size(droppable))
			break;
		json_object_del(event, droppable[dropped]);
		json_object_set_new(event, "truncated", json_true());
	}
	if (len >= sizeof(stream->line))
		return -EMSGSIZE;
	stream->line[len] = '\n';
	*ret_len = len + 1;
	return 0;
}

int event_emit(struct event_stream *stream, json_t *event)
{
	enum severity severity;
	size_t len = 0;
	int r = -ENOMEM;

	if (!event)
		return -ENOMEM;
	severity = (enum severity)json_integer_value(json_object_get(event, "severity_id"));
	if (!json_object_set_new(event, "seq", json_integer((json_int_t)stream->seq)) &&
	    !json_object_set_new(event, "truncated", json_false()))
		r = event_render(stream, event, &len);
	if (!r) {
		stream->seq++;
		r = stream->write(stream->ctx, event, stream->line, len, severity);
	}
	json_decref(event);
	return r;
}
