// SPDX-License-Identifier: LGPL-2.1-or-later
/* Runs libcurl's transfers on sd-event: its sockets and its timer are sources of the loop. */
#include "web.h"

#include "../cleanup.h"
#include "../clock.h"

#include <errno.h>
#include <sys/epoll.h>

struct web {
	sd_event *event;
	CURLM *multi;
	sd_event_source *timer;
	void (*done)(void *ctx, CURLcode result);
	void *ctx;
};

static void act(struct web *web, curl_socket_t fd, int events)
{
	CURLMsg *message;
	int running, left;

	curl_multi_socket_action(web->multi, fd, events, &running);
	while ((message = curl_multi_info_read(web->multi, &left)))
		if (message->msg == CURLMSG_DONE)
			web->done(web->ctx, message->data.result);
}

static int on_socket(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
	int events = 0;

	(void)source;
	events |= revents & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0;
	events |= revents & EPOLLOUT ? CURL_CSELECT_OUT : 0;
	events |= revents & EPOLLERR ? CURL_CSELECT_ERR : 0;
	act(ctx, fd, events);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *ctx)
{
	(void)source, (void)usec;
	act(ctx, CURL_SOCKET_TIMEOUT, 0);
	return 0;
}

/* libcurl: this socket is to be watched for this from now on. */
static int socket_watch(CURL *easy, curl_socket_t fd, int what, void *ctx, void *assigned)
{
	sd_event_source *source = assigned;
	struct web *web = ctx;
	uint32_t events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		sd_event_source_disable_unref(source);
		curl_multi_assign(web->multi, fd, NULL);
		return 0;
	}
	events |= what & CURL_POLL_IN ? EPOLLIN : 0;
	events |= what & CURL_POLL_OUT ? EPOLLOUT : 0;
	if (source)
		return sd_event_source_set_io_events(source, events) < 0 ? -1 : 0;
	if (sd_event_add_io(web->event, &source, fd, events, on_socket, web) < 0)
		return -1;
	curl_multi_assign(web->multi, fd, source);
	return 0;
}

static int timer_set(CURLM *multi, long timeout_ms, void *ctx)
{
	struct web *web = ctx;
	int enabled = timeout_ms < 0 ? SD_EVENT_OFF : SD_EVENT_ONESHOT;

	(void)multi;
	if (timeout_ms >= 0)
		sd_event_source_set_time_relative(web->timer,
						  (uint64_t)timeout_ms * (NS_PER_MS / NS_PER_US));
	return sd_event_source_set_enabled(web->timer, enabled) < 0 ? -1 : 0;
}

int web_new(sd_event *event, void (*done)(void *ctx, CURLcode result), void *ctx,
	    struct web **ret_web)
{
	struct web *web = calloc(1, sizeof(*web));
	int r = -ENOMEM;

	if (!web)
		return -ENOMEM;
	web->done = done;
	web->ctx = ctx;
	web->event = sd_event_ref(event);
	web->multi = curl_global_init(CURL_GLOBAL_DEFAULT) ? NULL : curl_multi_init();
	if (web->multi)
		r = sd_event_add_time_relative(event, &web->timer, CLOCK_MONOTONIC, 0, 1000,
					       on_timer, web);
	if (r < 0) {
		web_free(web);
		return r;
	}
	sd_event_source_set_enabled(web->timer, SD_EVENT_OFF);
	curl_multi_setopt(web->multi, CURLMOPT_SOCKETFUNCTION, socket_watch);
	curl_multi_setopt(web->multi, CURLMOPT_SOCKETDATA, web);
	curl_multi_setopt(web->multi, CURLMOPT_TIMERFUNCTION, timer_set);
	curl_multi_setopt(web->multi, CURLMOPT_TIMERDATA, web);
	*ret_web = web;
	return 0;
}

void web_free(struct web *web)
{
	if (!web)
		return;
	if (web->multi)
		curl_multi_cleanup(web->multi);
	sd_event_source_disable_unref(web->timer);
	sd_event_unref(web->event);
	free(web);
}

int web_start(struct web *web, CURL *easy)
{
	return curl_multi_add_handle(web->multi, easy) == CURLM_OK ? 0 : -EIO;
}

void web_stop(struct web *web, CURL *easy)
{
	curl_multi_remove_handle(web->multi, easy);
}

void web_set_tls(CURL *easy, const struct config_tls *tls)
{
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
	if (tls->ca_file) {
		curl_easy_setopt(easy, CURLOPT_CAINFO, tls->ca_file);
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	if (tls->certificate_file)
		curl_easy_setopt(easy, CURLOPT_SSLCERT, tls->certificate_file);
	if (tls->key_file)
		curl_easy_setopt(easy, CURLOPT_SSLKEY, tls->key_file);
}
