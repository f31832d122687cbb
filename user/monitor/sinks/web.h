/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libcurl's transfers on sd-event. */
#ifndef MONITOR_WEB_H
#define MONITOR_WEB_H

#include "../config.h"

#include <curl/curl.h>
#include <systemd/sd-event.h>

struct web;

/* `done` is called from the event loop for each transfer that has ended; it still has to be
 * stopped. */
int web_new(sd_event *event, void (*done)(void *ctx, CURLcode result), void *ctx,
	    struct web **ret_web);
void web_free(struct web *web);
int web_start(struct web *web, CURL *easy);
void web_stop(struct web *web, CURL *easy);

/* Which certificates to trust and to show. */
void web_set_tls(CURL *easy, const struct config_tls *tls);

#endif
