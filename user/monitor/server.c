// SPDX-License-Identifier: LGPL-2.1-or-later
/* Answers GET requests of this host's readers, as HTTP/1.0: one request a connection. */
#include "server.h"

#include "cleanup.h"
#include "clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	BACKLOG = 16,
	/* One that holds a place for so long makes room for one that waits. */
	GRACE_MS = 1000,
	SEND_MAX = 64 * 1024, /* bytes in one turn */
	SWEEP_US = 250 * 1000,
	/* So often a page is made anew at most, however often it is asked for. */
	PAGE_MS = 200,
	PAGES_MAX = 4,
	HEAD_MAX = 256,
};

struct client {
	struct server *server;
	sd_event_source *source;
	int fd; /* -1: the place is free */
	uint64_t since_ns;
	char request[SERVER_REQUEST_MAX];
	size_t got;
	char *answer; /* NULL: not asked yet */
	size_t len, sent;
};

/* A whole answer, one moment's. */
struct rendered {
	char *text;
	size_t len;
	uint64_t made_ns;
};

struct server {
	sd_event *event;
	sd_event_source *listener, *sweep;
	int fd;
	const struct server_page *pages;
	void *ctx;
	char *path; /* of its file, to be removed; NULL: none */
	struct client clients[SERVER_CLIENTS_MAX];
	struct rendered rendered[PAGES_MAX];
};

/* ---- addresses ----------------------------------------------------------------------------- */

static int unix_parse(const char *path, struct sockaddr_storage *ret_address, socklen_t *ret_len)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (path[0] != '/' || !path[1])
		return -EINVAL;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	memcpy(ret_address, &address, sizeof(address));
	*ret_len = sizeof(address);
	return 0;
}

static int port_parse(const char *text, in_port_t *ret_port)
{
	unsigned long port;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	port = strtoul(text, &end, 10);
	if (*end || !port || port > UINT16_MAX)
		return -EINVAL;
	*ret_port = htons((uint16_t)port);
	return 0;
}

/* Who is not on this host has no business here: there is neither encryption nor a password. */
static int tcp_parse(const char *text, struct sockaddr_storage *ret_address, socklen_t *ret_len)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	struct sockaddr_in four = { .sin_family = AF_INET };
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 2];
	size_t len = colon ? (size_t)(colon - text) : 0;
	in_port_t port;

	if (len < 3 || len >= sizeof(host) || port_parse(colon + 1, &port) < 0)
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	if (host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		if (inet_pton(AF_INET6, host + 1, &six.sin6_addr) != 1)
			return -EINVAL;
		six.sin6_port = port;
		memcpy(ret_address, &six, sizeof(six));
		*ret_len = sizeof(six);
		return IN6_IS_ADDR_LOOPBACK(&six.sin6_addr) ? 0 : -EADDRNOTAVAIL;
	}
	if (inet_pton(AF_INET, host, &four.sin_addr) != 1)
		return -EINVAL;
	four.sin_port = port;
	memcpy(ret_address, &four, sizeof(four));
	*ret_len = sizeof(four);
	return ntohl(four.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET ? 0 : -EADDRNOTAVAIL;
}

int server_address_parse(const char *text, struct sockaddr_storage *ret_address,
			 socklen_t *ret_len)
{
	struct sockaddr_storage address = { 0 };
	socklen_t len = 0;
	int r = -EINVAL;

	if (!strncmp(text, "unix://", 7))
		r = unix_parse(text + 7, &address, &len);
	else if (!strncmp(text, "tcp://", 6))
		r = tcp_parse(text + 6, &address, &len);
	if (r < 0)
		return r;
	*ret_address = address;
	*ret_len = len;
	return 0;
}

/* ---- clients ------------------------------------------------------------------------------- */

static void listener_settle(struct server *server);

static void client_close(struct client *client)
{
	client->source = sd_event_source_disable_unref(client->source);
	close(client->fd);
	client->fd = -1;
	free(client->answer);
	client->answer = NULL;
	client->got = client->len = client->sent = 0;
	listener_settle(client->server);
}

static void client_send(struct client *client)
{
	size_t left = client->len - client->sent;
	ssize_t n = send(client->fd, client->answer + client->sent,
			 left < SEND_MAX ? left : SEND_MAX, MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		client->sent += (size_t)n;
	if (n <= 0 || client->sent == client->len)
		client_close(client);
}

static const struct server_page *page_find(const struct server *server, const char *path,
					   size_t len)
{
	for (const struct server_page *page = server->pages; page->path; page++)
		if (strlen(page->path) == len && !memcmp(page->path, path, len))
			return page;
	return NULL;
}

static void answer_status(struct client *client, const char *status, const char *header)
{
	int len = asprintf(&client->answer,
			   "HTTP/1.0 %s\r\nContent-Type: text/plain; charset=utf-8\r\n%s"
			   "Content-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
			   status, header, strlen(status) + 1, status);

	client->len = len < 0 ? 0 : (size_t)len;
	client->answer = len < 0 ? NULL : client->answer;
}

static int page_render(struct server *server, const struct server_page *page,
		       struct rendered *rendered)
{
	_cleanup_free_ char *body = NULL;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&body, &len);
	bool failed;
	int head;

	if (!out)
		return -ENOMEM;
	page->render(server->ctx, out);
	failed = ferror(out);
	if (!fclose(out) && !failed)
		text = malloc(HEAD_MAX + len);
	if (!text)
		return -ENOMEM;
	head = snprintf(text, HEAD_MAX,
			"HTTP/1.0 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
			"Cache-Control: no-store\r\nConnection: close\r\n\r\n",
			page->content_type, len);
	memcpy(text + head, body, len);
	free(rendered->text);
	*rendered = (struct rendered){ text, (size_t)head + len, clock_mono() };
	return 0;
}

static void answer_page(struct client *client, const struct server_page *page)
{
	struct server *server = client->server;
	struct rendered *rendered = &server->rendered[page - server->pages];

	if ((!rendered->text ||
	     clock_mono() - rendered->made_ns > PAGE_MS * (uint64_t)NS_PER_MS) &&
	    page_render(server, page, rendered) < 0)
		return;
	client->answer = malloc(rendered->len);
	if (!client->answer)
		return;
	memcpy(client->answer, rendered->text, rendered->len);
	client->len = rendered->len;
}

/* The whole request is there; only its first line matters. */
static void client_answer(struct client *client)
{
	const char *line = client->request, *path, *end;
	const struct server_page *page;

	if (strncmp(line, "GET /", 5)) {
		answer_status(client, "405 Method Not Allowed", "Allow: GET\r\n");
		return;
	}
	path = line + 4;
	end = path + strcspn(path, " ?\r\n");
	page = page_find(client->server, path, (size_t)(end - path));
	if (page)
		answer_page(client, page);
	else
		answer_status(client, "404 Not Found", "");
}

static void client_read(struct client *client)
{
	/* Room for the terminating zero. */
	ssize_t n = recv(client->fd, client->request + client->got,
			 sizeof(client->request) - 1 - client->got, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_close(client);
		return;
	}
	client->got += (size_t)n;
	client->request[client->got] = '\0';
	if (strlen(client->request) < client->got)
		answer_status(client, "400 Bad Request", "");
	else if (strstr(client->request, "\r\n\r\n") || strstr(client->request, "\n\n"))
		client_answer(client);
	else if (client->got == sizeof(client->request) - 1)
		answer_status(client, "431 Request Header Fields Too Large", "");
	else
		return;
	if (!client->answer ||
	    sd_event_source_set_io_events(client->source, EPOLLOUT) < 0) {
		client_close(client);
		return;
	}
	client_send(client);
}

static int on_client(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
	struct client *client = ctx;

	(void)source, (void)fd, (void)revents;
	if (client->answer)
		client_send(client);
	else
		client_read(client);
	return 0;
}

/* ---- the listener -------------------------------------------------------------------------- */

static struct client *place_free(struct server *server)
{
	for (size_t i = 0; i < SERVER_CLIENTS_MAX; i++)
		if (server->clients[i].fd < 0)
			return &server->clients[i];
	return NULL;
}

static struct client *client_oldest(struct server *server)
{
	struct client *oldest = NULL;

	for (size_t i = 0; i < SERVER_CLIENTS_MAX; i++) {
		struct client *client = &server->clients[i];

		if (client->fd >= 0 && (!oldest || client->since_ns < oldest->since_ns))
			oldest = client;
	}
	return oldest;
}

/* Accepts while there is a place. */
static void listener_settle(struct server *server)
{
	sd_event_source_set_enabled(server->listener, place_free(server) ? SD_EVENT_ON
									 : SD_EVENT_OFF);
}

static int on_sweep(sd_event_source *source, uint64_t usec, void *ctx)
{
	struct server *server = ctx;
	uint64_t now = clock_mono();
	struct client *client;

	(void)usec;
	if (!place_free(server)) {
		client = client_oldest(server);
		if (now - client->since_ns > GRACE_MS * (uint64_t)NS_PER_MS)
			client_close(client);
	}
	for (;;) {
		client = client_oldest(server);
		if (!client || now - client->since_ns <= SERVER_CLIENT_MS * (uint64_t)NS_PER_MS)
			break;
		client_close(client);
	}
	if (!client)
		return 0;
	sd_event_source_set_time(source, now / NS_PER_US + SWEEP_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int on_listener(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
	struct server *server = ctx;
	struct client *client = place_free(server);
	int accepted;

	(void)source, (void)revents;
	if (!client)
		return 0;
	accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (accepted < 0)
		return 0;
	client->since_ns = clock_mono();
	client->fd = accepted;
	if (sd_event_add_io(server->event, &client->source, accepted, EPOLLIN, on_client, client) <
	    0) {
		client_close(client);
		return 0;
	}
	listener_settle(server);
	sd_event_source_set_time(server->sweep, client->since_ns / NS_PER_US + SWEEP_US);
	sd_event_source_set_enabled(server->sweep, SD_EVENT_ONESHOT);
	return 0;
}

/* ---- start and end ------------------------------------------------------------------------- */

/* A socket that nobody listens at is what a killed process leaves. */
static int leftover_remove(const char *path, const struct sockaddr_storage *address, socklen_t len)
{
	struct stat st;
	int fd, r;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = connect(fd, (const struct sockaddr *)address, len) < 0 ? -errno : -EADDRINUSE;
	close(fd);
	if (r == -EAGAIN)
		r = -EADDRINUSE;
	if (r == -ECONNREFUSED)
		r = unlink(path) < 0 ? -errno : 0;
	return r;
}

static int listen_at(struct server *server, const struct sockaddr_storage *address, socklen_t len)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)address;
	bool file = address->ss_family == AF_UNIX;
	int r = file ? leftover_remove(un->sun_path, address, len) : 0, one = 1;
	mode_t mask;

	if (r < 0)
		return r;
	server->fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (server->fd < 0)
		return -errno;
	if (!file)
		setsockopt(server->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	mask = umask(0117);
	r = bind(server->fd, (const struct sockaddr *)address, len) < 0 ? -errno : 0;
	umask(mask);
	if (!r && file) {
		server->path = strdup(un->sun_path);
		r = server->path ? 0 : -ENOMEM;
	}
	return r < 0 ? r : listen(server->fd, BACKLOG) < 0 ? -errno : 0;
}

static int sources_add(struct server *server)
{
	int r = sd_event_add_io(server->event, &server->listener, server->fd, EPOLLIN, on_listener,
				server);

	if (r >= 0)
		r = sd_event_add_time(server->event, &server->sweep, CLOCK_MONOTONIC, 0, 0,
				      on_sweep, server);
	return r < 0 ? r : sd_event_source_set_enabled(server->sweep, SD_EVENT_OFF);
}

int server_new(sd_event *event, const char *address, const struct server_page *pages, void *ctx,
	       struct server **ret_server, char ret_error[static SERVER_ERROR_MAX])
{
	struct server *server = calloc(1, sizeof(*server));
	struct sockaddr_storage where;
	socklen_t len;
	int r;

	if (!server)
		return -ENOMEM;
	server->event = sd_event_ref(event);
	server->fd = -1;
	server->pages = pages;
	server->ctx = ctx;
	for (size_t i = 0; i < SERVER_CLIENTS_MAX; i++)
		server->clients[i] = (struct client){ .server = server, .fd = -1 };
	r = server_address_parse(address, &where, &len);
	if (!r)
		r = listen_at(server, &where, len);
	if (!r)
		r = sources_add(server);
	if (r < 0) {
		snprintf(ret_error, SERVER_ERROR_MAX, "%s: %s", address,
			 r == -EADDRINUSE ? "another process listens there"
			 : r == -EEXIST	  ? "there is a file that is no socket"
					  : strerror(-r));
		server_free(server);
		return r;
	}
	*ret_server = server;
	return 0;
}

void server_free(struct server *server)
{
	if (!server)
		return;
	for (size_t i = 0; i < SERVER_CLIENTS_MAX; i++)
		if (server->clients[i].fd >= 0)
			client_close(&server->clients[i]);
	sd_event_source_disable_unref(server->listener);
	sd_event_source_disable_unref(server->sweep);
	sd_event_unref(server->event);
	for (size_t i = 0; i < PAGES_MAX; i++)
		free(server->rendered[i].text);
	if (server->fd >= 0)
		close(server->fd);
	if (server->path)
		unlink(server->path);
	free(server->path);
	free(server);
}
