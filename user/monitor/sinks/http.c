// SPDX-License-Identifier: LGPL-2.1-or-later
/* Posts events over HTTP, many at a time and one request after the other. */
#include "sinks.h"

#include "../cleanup.h"
#include "../clock.h"
#include "../duration.h"
#include "../log.h"
#include "http_body.h"
#include "web.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum {
	WINDOW = 64, /* events in a request */
	BODY_MAX = 1024 * 1024,
	ANSWER_MAX = 256 * 1024,
	CONNECT_TIMEOUT_S = 10,
};

static const uint64_t timeout_default_ns = 30 * NS_PER_S;

struct http_sink {
	struct sink sink;
	const struct config_http *config;
	struct web *web;
	CURL *easy;
	struct curl_slist *headers;
	bool busy;
	FILE *body; /* writes to `text` */
	char *text;
	size_t len;
	uint64_t positions[WINDOW];
	unsigned int count, count_max; /* events in the request; as few as 1 after a refusal */
	char answer[ANSWER_MAX + 1];
	size_t answer_len;
	char error[CURL_ERROR_SIZE];
};

static struct http_sink *of(struct sink *sink)
{
	return (struct http_sink *)sink;
}

/* ---- setting up ---------------------------------------------------------------------------- */

static void header_add(struct http_sink *sink, const char *header)
{
	struct curl_slist *headers = curl_slist_append(sink->headers, header);

	sink->headers = headers ? headers : sink->headers;
}

/* Read each time: it may have been renewed. */
static int token_add(struct http_sink *sink)
{
	static const char *const schemes[] = {
		[HTTP_SPLUNK_HEC] = "Splunk",
		[HTTP_ELASTICSEARCH] = "ApiKey",
		[HTTP_OTLP] = "Bearer",
	};
	char token[4096] = "", header[sizeof(token) + 64];
	FILE *file;

	if (!sink->config->token_file)
		return 0;
	file = fopen(sink->config->token_file, "re");
	if (!file)
		return -errno;
	if (fgets(token, sizeof(token), file))
		token[strcspn(token, "\r\n")] = '\0';
	fclose(file);
	if (!token[0])
		return -ENODATA;
	snprintf(header, sizeof(header), "Authorization: %s %s", schemes[sink->config->kind],
		 token);
	header_add(sink, header);
	return 0;
}

static size_t take_answer(char *data, size_t size, size_t count, void *ctx)
{
	struct http_sink *sink = ctx;
	size_t len = size * count, room = ANSWER_MAX - sink->answer_len;

	len = len < room ? len : room;
	memcpy(sink->answer + sink->answer_len, data, len);
	sink->answer_len += len;
	return size * count; /* what is too long is no answer that we know, and is left out */
}

static void set_url(struct http_sink *sink)
{
	const struct config_http *config = sink->config;
	char url[PATH_MAX];

	if (config->kind == HTTP_ELASTICSEARCH)
		snprintf(url, sizeof(url), "%s/%s/_bulk", config->url,
			 config->index ? config->index : "kvmbpf");
	else
		snprintf(url, sizeof(url), "%s", config->url);
	curl_easy_setopt(sink->easy, CURLOPT_URL, url);
}

static void easy_set_up(struct http_sink *sink)
{
	uint64_t timeout_ns = timeout_default_ns;

	if (sink->config->timeout)
		duration_parse(sink->config->timeout, &timeout_ns); /* validated */
	set_url(sink);
	header_add(sink, sink->config->kind == HTTP_ELASTICSEARCH
				 ? "Content-Type: application/x-ndjson"
				 : "Content-Type: application/json");
	header_add(sink, "Expect:");
	curl_easy_setopt(sink->easy, CURLOPT_HTTPHEADER, sink->headers);
	curl_easy_setopt(sink->easy, CURLOPT_USERAGENT, "kvmbpf-monitor/" KVMBPF_VERSION);
	curl_easy_setopt(sink->easy, CURLOPT_POST, 1L);
	curl_easy_setopt(sink->easy, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(sink->easy, CURLOPT_WRITEDATA, sink);
	curl_easy_setopt(sink->easy, CURLOPT_ERRORBUFFER, sink->error);
	curl_easy_setopt(sink->easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
	curl_easy_setopt(sink->easy, CURLOPT_TIMEOUT_MS, (long)(timeout_ns / NS_PER_MS));
	curl_easy_setopt(sink->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(sink->easy, CURLOPT_NOSIGNAL, 1L);
	web_set_tls(sink->easy, &sink->config->tls);
}

/* ---- requests ------------------------------------------------------------------------------ */

static void body_drop(struct http_sink *sink)
{
	if (sink->body)
		fclose(sink->body);
	sink->body = NULL;
	free(sink->text);
	sink->text = NULL;
	sink->count = 0;
}

static void request_start(struct http_sink *sink)
{
	int r;

	http_body_end(sink->body, sink->config->kind);
	fclose(sink->body);
	sink->body = NULL;
	sink->answer_len = 0;
	sink->error[0] = '\0';
	curl_easy_setopt(sink->easy, CURLOPT_POSTFIELDS, sink->text);
	curl_easy_setopt(sink->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)sink->len);
	r = web_start(sink->web, sink->easy);
	if (r < 0) {
		sink_failed(&sink->sink, "%s", strerror(-r));
		return;
	}
	sink->busy = true;
}

/* The status was good; each event may still have its own fate. */
static void request_taken(struct http_sink *sink, const json_t *answer)
{
	unsigned int count = sink->count, again = 0;
	uint64_t positions[WINDOW];

	memcpy(positions, sink->positions, sizeof(positions));
	body_drop(sink);
	sink->count_max = WINDOW;
	for (unsigned int i = 0; i < count; i++) {
		switch (http_item_verdict(sink->config->kind, answer, i)) {
		case HTTP_DELIVERED:
			sink_delivered(&sink->sink, positions[i]);
			break;
		case HTTP_REJECTED:
			sink_rejected(&sink->sink, positions[i], "the receiver rejects it");
			break;
		case HTTP_AGAIN:
			again++;
		}
	}
	if (again)
		sink_failed(&sink->sink, "the receiver did not take %u of %u events", again, count);
	else
		sink_ready(&sink->sink);
}

/* One that it does not like spoils them all: which one, is found by sending them one by one. */
static void request_refused(struct http_sink *sink, long status)
{
	uint64_t position = sink->positions[0];
	unsigned int count = sink->count;
	char why[64];

	body_drop(sink);
	if (count > 1) {
		sink->count_max = 1;
		sink_again(&sink->sink);
		return;
	}
	snprintf(why, sizeof(why), "HTTP status %ld", status);
	sink_rejected(&sink->sink, position, why);
	sink_ready(&sink->sink);
}

static void on_done(void *ctx, CURLcode result)
{
	struct http_sink *sink = ctx;
	curl_off_t retry_after = 0;
	json_t *answer;
	long status = 0;

	sink->busy = false;
	web_stop(sink->web, sink->easy);
	curl_easy_getinfo(sink->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(sink->easy, CURLINFO_RETRY_AFTER, &retry_after);
	if (result != CURLE_OK) {
		sink_failed(&sink->sink, "%s",
			    sink->error[0] ? sink->error : curl_easy_strerror(result));
		return;
	}
	answer = json_loadb(sink->answer, sink->answer_len, 0, NULL);
	switch (http_status_verdict(sink->config->kind, status, answer)) {
	case HTTP_DELIVERED:
		request_taken(sink, answer);
		break;
	case HTTP_REJECTED:
		request_refused(sink, status);
		break;
	case HTTP_AGAIN:
		sink->sink.retry_after_s = retry_after < 3600 ? (unsigned int)retry_after : 3600;
		sink_failed(&sink->sink, "HTTP status %ld", status);
	}
	json_decref(answer);
}

/* ---- the sink ------------------------------------------------------------------------------ */

static int open_sink(struct sink *base)
{
	struct http_sink *sink = of(base);
	int r = sink->web ? 0 : web_new(base->event, on_done, sink, &sink->web);

	if (!r)
		r = token_add(sink);
	if (r < 0) {
		sink_failed(base, "%s: %s",
			    sink->config->token_file ? sink->config->token_file : "libcurl",
			    strerror(-r));
		return 0;
	}
	sink->easy = curl_easy_init();
	if (!sink->easy)
		return -ENOMEM;
	easy_set_up(sink);
	sink_opened(base);
	return 0;
}

static int send_line(struct sink *base, const struct sink_line *line)
{
	struct http_sink *sink = of(base);

	if (sink->busy || sink->count >= sink->count_max ||
	    (sink->body && ftell(sink->body) > BODY_MAX))
		return -EAGAIN;
	if (!sink->body)
		sink->body = open_memstream(&sink->text, &sink->len);
	if (!sink->body)
		return -ENOMEM;
	http_body_add(sink->body, sink->config->kind, line->event, line->text, line->len,
		      !sink->count);
	sink->positions[sink->count++] = line->position;
	return 0;
}

static void flush(struct sink *base)
{
	struct http_sink *sink = of(base);

	if (sink->count && !sink->busy)
		request_start(sink);
}

static void close_sink(struct sink *base)
{
	struct http_sink *sink = of(base);

	if (sink->busy)
		web_stop(sink->web, sink->easy);
	sink->busy = false;
	curl_easy_cleanup(sink->easy);
	sink->easy = NULL;
	curl_slist_free_all(sink->headers);
	sink->headers = NULL;
	body_drop(sink);
}

static void free_sink(struct sink *base)
{
	struct http_sink *sink = of(base);

	web_free(sink->web);
	free(sink);
}

static const struct sink_ops ops = {
	.open = open_sink,
	.send = send_line,
	.flush = flush,
	.close = close_sink,
	.free = free_sink,
	.window = WINDOW,
};

int sink_http_new(const struct config_http *config, struct sink **ret_sink)
{
	struct http_sink *sink = calloc(1, sizeof(*sink));

	if (!sink)
		return -ENOMEM;
	sink->sink.ops = &ops;
	sink->sink.lasting = true;
	sink->config = config;
	sink->count_max = WINDOW;
	*ret_sink = &sink->sink;
	return 0;
}
