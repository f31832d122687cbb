// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Sends RFC 5424 messages: as datagrams to a local socket, or counted in octets (RFC 6587, RFC
 * 5425) over TCP or TLS. Connections, names and certificates are libcurl's.
 */
#include "sinks.h"

#include "../cleanup.h"
#include "../clock.h"
#include "datagram.h"
#include "web.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <syslog.h>

enum {
	WINDOW = 1024,
	CONNECT_TIMEOUT_S = 10,
	/*
	 * Syslog has no acknowledgement. A line counts as delivered once the receiver's TCP has it
	 * and the connection has stood for this long after that.
	 */
	SETTLE_US = 500000,
	USER_TIMEOUT_MS = 20000,
};

struct syslog_sink {
	struct sink sink;
	const struct config_syslog *config;
	struct datagram local;
	struct web *web;
	CURL *easy;
	sd_event_source *io, *settle;
	char *message; /* that is being sent */
	size_t len, sent;
	uint64_t positions[WINDOW];   /* of what was sent, oldest first */
	unsigned int count, settling; /* the first of them have arrived, it seems */
};

static struct syslog_sink *of(struct sink *sink)
{
	return (struct syslog_sink *)sink;
}

static bool is_local(const struct syslog_sink *sink)
{
	return !strncmp(sink->config->address, "unix://", 7);
}

/* ---- messages ------------------------------------------------------------------------------ */

static int priority(const struct syslog_sink *sink, const json_t *event)
{
	static const int levels[] = {
		LOG_INFO, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERR, LOG_CRIT
	};
	json_int_t severity = json_integer_value(json_object_get(event, "severity_id"));
	int level = severity > 0 && severity < (json_int_t)array_size(levels) ? levels[severity]
									      : LOG_INFO;

	return (sink->config->facility ? *sink->config->facility : LOG_DAEMON) | level;
}

/* A name as the header takes it: printable ASCII without spaces. */
static void header_name(char *buf, size_t size, const char *text)
{
	size_t i = 0;

	for (; text && text[i] && i < size - 1; i++)
		buf[i] = text[i] > ' ' && text[i] < 0x7f ? text[i] : '_';
	if (!i)
		buf[i++] = '-';
	buf[i] = '\0';
}

static int message_make(struct syslog_sink *sink, const struct sink_line *line)
{
	char header[512], time[32], host[256], type[33];
	int length, counted = 0;
	char count[16] = "";

	header_name(host, sizeof(host), json_text(line->event, "host", "name"));
	header_name(type, sizeof(type), json_text(line->event, "type"));
	/* Microseconds are all that RFC 5424 takes of the nine digits. */
	snprintf(time, sizeof(time), "%.26sZ", json_text(line->event, "time"));
	length = snprintf(header, sizeof(header), "<%d>1 %s %s kvmbpf-monitor - %s - ",
			  priority(sink, line->event), time, host, type);
	if (!is_local(sink))
		counted = snprintf(count, sizeof(count), "%zu ", (size_t)length + line->len - 1);
	free(sink->message);
	sink->sent = 0;
	sink->len = (size_t)(counted + length) + line->len - 1;
	sink->message = malloc(sink->len);
	if (!sink->message)
		return -ENOMEM;
	memcpy(sink->message, count, (size_t)counted);
	memcpy(sink->message + counted, header, (size_t)length);
	memcpy(sink->message + counted + length, line->text, line->len - 1);
	return 0;
}

/* ---- connections --------------------------------------------------------------------------- */

/* Writes what it takes. -EAGAIN: some is left. */
static int message_send(struct syslog_sink *sink)
{
	CURLcode code = CURLE_OK;
	size_t n;

	while (code == CURLE_OK && sink->sent < sink->len) {
		n = 0;
		code = curl_easy_send(sink->easy, sink->message + sink->sent,
				      sink->len - sink->sent, &n);
		sink->sent += n;
	}
	if (code != CURLE_OK && code != CURLE_AGAIN)
		return -EPIPE;
	sd_event_source_set_io_events(sink->io, EPOLLIN | (sink->sent < sink->len ? EPOLLOUT : 0));
	return sink->sent < sink->len ? -EAGAIN : 0;
}

/* Receivers send nothing: what there is to read is the end. */
static int on_io(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
	struct syslog_sink *sink = ctx;
	CURLcode code = CURLE_OK;
	char nothing[512];
	size_t n = 1;
	int r;

	(void)source, (void)fd;
	while (revents & (EPOLLIN | EPOLLHUP | EPOLLERR) && code == CURLE_OK && n)
		code = curl_easy_recv(sink->easy, nothing, sizeof(nothing), &n);
	if (!n || (code != CURLE_OK && code != CURLE_AGAIN)) {
		sink_failed(&sink->sink, "the receiver closed the connection");
		return 0;
	}
	if (sink->sent < sink->len) {
		r = message_send(sink);
		if (!r)
			sink_ready(&sink->sink);
		else if (r != -EAGAIN)
			sink_failed(&sink->sink, "the connection broke");
	}
	return 0;
}

static int on_settle(sd_event_source *source, uint64_t usec, void *ctx)
{
	struct syslog_sink *sink = ctx;
	unsigned int settled = sink->settling;
	curl_socket_t fd = CURL_SOCKET_BAD;
	int outstanding = 1;

	(void)usec;
	sd_event_source_set_time_relative(source, SETTLE_US);
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	curl_easy_getinfo(sink->easy, CURLINFO_ACTIVESOCKET, &fd);
	if (ioctl(fd, SIOCOUTQ, &outstanding) < 0 || outstanding || sink->sent < sink->len)
		return 0;
	for (unsigned int i = 0; i < settled; i++)
		sink_delivered(&sink->sink, sink->positions[i]);
	sink->count -= settled;
	memmove(sink->positions, sink->positions + settled,
		sink->count * sizeof(sink->positions[0]));
	sink->settling = sink->count;
	if (settled)
		sink_ready(&sink->sink);
	return 0;
}

static void connection_end(struct syslog_sink *sink)
{
	sink->io = sd_event_source_disable_unref(sink->io);
	sink->settle = sd_event_source_disable_unref(sink->settle);
	if (sink->easy) {
		web_stop(sink->web, sink->easy);
		curl_easy_cleanup(sink->easy);
	}
	sink->easy = NULL;
	sink->len = sink->sent = 0;
	sink->count = sink->settling = 0;
}

static void on_connected(void *ctx, CURLcode result)
{
	unsigned int user_timeout_ms = USER_TIMEOUT_MS;
	curl_socket_t fd = CURL_SOCKET_BAD;
	struct syslog_sink *sink = ctx;
	int r = 0;

	if (result != CURLE_OK) {
		sink_failed(&sink->sink, "%s", curl_easy_strerror(result));
		return;
	}
	curl_easy_getinfo(sink->easy, CURLINFO_ACTIVESOCKET, &fd);
	/* A receiver that is no more must not be waited for. */
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
	r = sd_event_add_io(sink->sink.event, &sink->io, fd, EPOLLIN, on_io, sink);
	if (r >= 0)
		r = sd_event_add_time_relative(sink->sink.event, &sink->settle, CLOCK_MONOTONIC,
					       SETTLE_US, 0, on_settle, sink);
	if (r < 0)
		sink_failed(&sink->sink, "%s", strerror(-r));
	else
		sink_opened(&sink->sink);
}

static int connection_begin(struct syslog_sink *sink)
{
	bool tls = !strncmp(sink->config->address, "tls://", 6);
	char url[512];
	int r = 0;

	if (!sink->web)
		r = web_new(sink->sink.event, on_connected, sink, &sink->web);
	sink->easy = r < 0 ? NULL : curl_easy_init();
	if (!sink->easy)
		return r < 0 ? r : -ENOMEM;
	/* The schemes stand for TLS or none; no HTTP is spoken. */
	snprintf(url, sizeof(url), "%s%s", tls ? "https" : "http", sink->config->address + 3);
	curl_easy_setopt(sink->easy, CURLOPT_URL, url);
	curl_easy_setopt(sink->easy, CURLOPT_CONNECT_ONLY, 1L);
	curl_easy_setopt(sink->easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
	curl_easy_setopt(sink->easy, CURLOPT_SSL_ENABLE_ALPN, 0L);
	curl_easy_setopt(sink->easy, CURLOPT_PROXY, "");
	curl_easy_setopt(sink->easy, CURLOPT_NOSIGNAL, 1L);
	web_set_tls(sink->easy, &sink->config->tls);
	return web_start(sink->web, sink->easy);
}

/* ---- the sink ------------------------------------------------------------------------------ */

static int open_sink(struct sink *base)
{
	struct syslog_sink *sink = of(base);
	int r;

	if (!is_local(sink))
		return connection_begin(sink);
	r = datagram_open(&sink->local, sink->config->address + 7, base);
	if (!r)
		sink_opened(base);
	return r;
}

static int send_line(struct sink *base, const struct sink_line *line)
{
	struct syslog_sink *sink = of(base);
	int r;

	if (!is_local(sink) && sink->sent < sink->len)
		return -EAGAIN;
	r = message_make(sink, line);
	if (r < 0)
		return r;
	if (is_local(sink)) {
		r = datagram_send(&sink->local, sink->message, sink->len);
		if (r == -EMSGSIZE)
			sink_rejected(base, line->position, "too long for a datagram");
		else if (!r)
			sink_delivered(base, line->position);
		return r == -EMSGSIZE ? 0 : r;
	}
	sink->positions[sink->count++] = line->position;
	r = message_send(sink);
	return r == -EAGAIN ? 0 : r;
}

static void close_sink(struct sink *base)
{
	datagram_close(&of(base)->local);
	connection_end(of(base));
}

static void free_sink(struct sink *base)
{
	struct syslog_sink *sink = of(base);

	web_free(sink->web);
	free(sink->message);
	free(sink);
}

static const struct sink_ops ops = {
	.open = open_sink,
	.send = send_line,
	.close = close_sink,
	.free = free_sink,
	.window = WINDOW,
};

int sink_syslog_new(const struct config_syslog *config, struct sink **ret_sink)
{
	struct syslog_sink *sink = calloc(1, sizeof(*sink));

	if (!sink)
		return -ENOMEM;
	sink->sink.ops = &ops;
	sink->sink.lasting = true;
	sink->config = config;
	sink->local = datagram_none;
	*ret_sink = &sink->sink;
	return 0;
}
