/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the HTTP sinks say and hear: pure, for each kind of receiver. */
#ifndef MONITOR_HTTP_BODY_H
#define MONITOR_HTTP_BODY_H

#include "../config.h"

#include <stdio.h>

/*
 * Writes one event into the body of a request; `text` is it in the sink's format, with the newline.
 * `first`: it is the first of the body.
 */
void http_body_add(FILE *body, enum config_http_kind kind, const json_t *event, const char *text,
		   size_t len, bool first);
/* After the last one. */
void http_body_end(FILE *body, enum config_http_kind kind);

enum http_verdict {
	HTTP_DELIVERED,
	HTTP_AGAIN,    /* later */
	HTTP_REJECTED, /* never */
};

/*
 * What became of the whole request, by its status and the receiver's answer (NULL: it had none that
 * is JSON). Only what speaks of the content is rejected: a wrong token, address or index can be
 * mended, and then nothing is to be lost.
 */
enum http_verdict http_status_verdict(enum config_http_kind kind, long status,
				      const json_t *answer);
/* What became of event `index` of a request with a good status. */
enum http_verdict http_item_verdict(enum config_http_kind kind, const json_t *answer, size_t index);

#endif
