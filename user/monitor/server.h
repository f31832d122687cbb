/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers GET requests of this host's readers, over a socket in a file or on a loopback port. */
#ifndef MONITOR_SERVER_H
#define MONITOR_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

struct server;

/* A page, made when it is asked for, and at most some times a second. */
struct server_page {
	const char *path, *content_type;
	/* Writes all of it to `out`, whose errors the server looks for. */
	void (*render)(void *ctx, FILE *out);
};

enum {
	SERVER_ERROR_MAX = 256,
	SERVER_CLIENTS_MAX = 8,	   /* at once; the others wait to be accepted */
	SERVER_REQUEST_MAX = 4096, /* bytes, headers included */
	SERVER_CLIENT_MS = 5000,   /* from accept() to the last byte of the answer */
};

/*
 * "unix:///PATH", or "tcp://ADDRESS:PORT" with a numeric address of the loopback interface
 * ("[::1]:9755" for IPv6). Errors: -EINVAL, not of this form; -EADDRNOTAVAIL, not loopback;
 * -ENAMETOOLONG.
 */
int server_address_parse(const char *text, struct sockaddr_storage *ret_address,
			 socklen_t *ret_len);

/*
 * Listens there; `pages`, up to one without a path (4 at most), must live as long. The file is made
 * with mode 0660, in place of one that a killed process has left there. Nothing here blocks, and in
 * each turn of the event loop a client gets a bounded amount of work.
 * Errors: those of bind(2), -EADDRINUSE where another process listens; `ret_error` says more.
 */
int server_new(sd_event *event, const char *address, const struct server_page *pages, void *ctx,
	       struct server **ret_server, char ret_error[static SERVER_ERROR_MAX]);
void server_free(struct server *server);

#endif
