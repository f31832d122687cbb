// SPDX-License-Identifier: LGPL-2.1-or-later
/* Clients of the server that are slow, many or wrong. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "monitor/clock.h"
#include "monitor/metrics.h"
#include "monitor/server.h"

enum { LONG = 4 * 1024 * 1024 };

static char folder[] = "/tmp/kvmbpf-server-XXXXXX", path[64], address[80], error[SERVER_ERROR_MAX];
static unsigned int rendered;
static sd_event *loop;
static struct server *server;

static void render_short(void *ctx, FILE *out)
{
	(void)ctx;
	fprintf(out, "%u\n", ++rendered);
}

static void render_long(void *ctx, FILE *out)
{
	(void)ctx;
	for (size_t i = 0; i < LONG; i++)
		fputc('x', out);
}

static const struct server_page pages[] = {
	{ "/short", "text/plain", render_short },
	{ "/long", "text/plain", render_long },
	{ NULL, NULL, NULL },
};

static void setup(void)
{
	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/socket", folder);
	snprintf(address, sizeof(address), "unix://%s", path);
	cr_assert_eq(sd_event_new(&loop), 0);
	cr_assert_eq(server_new(loop, address, pages, NULL, &server, error), 0, "%s", error);
}

static void take_down(void)
{
	server_free(server);
	cr_assert_neq(access(path, F_OK), 0);
	sd_event_unref(loop);
	unlink(path);
	rmdir(folder);
}

TestSuite(server, .init = setup, .fini = take_down, .timeout = 60);

static void loop_turn(void)
{
	while (sd_event_run(loop, 0) > 0)
		;
}

static int client(const char *request)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(un.sun_path, path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0, "%s", strerror(errno));
	cr_assert_eq(write(fd, request, strlen(request)), (ssize_t)strlen(request));
	return fd;
}

/* All that comes until it is closed; the loop runs meanwhile. */
static size_t answer(int fd, char *buf, size_t size)
{
	uint64_t end = clock_mono() + 20 * NS_PER_S;
	size_t got = 0;

	while (clock_mono() < end) {
		ssize_t n;

		sd_event_run(loop, 1000);
		n = read(fd, buf + got, size - got);
		if (n == 0 || (n < 0 && errno != EAGAIN)) {
			close(fd);
			buf[got] = '\0';
			return got;
		}
		got += n > 0 ? (size_t)n : 0;
	}
	cr_assert_fail("no end of the answer");
	return 0;
}

Test(server, a_page_comes_whole)
{
	static char buf[LONG + 1024];
	size_t len = answer(client("GET /long HTTP/1.0\r\n\r\n"), buf, sizeof(buf) - 1);
	const char *body = strstr(buf, "\r\n\r\n");

	cr_assert_eq(strncmp(buf, "HTTP/1.0 200 OK\r\n", 17), 0);
	cr_assert_not_null(body);
	cr_assert_eq(len - (size_t)(body + 4 - buf), (size_t)LONG);
}

Test(server, a_request_may_come_byte_by_byte)
{
	static const char rest[] = "ET /short?x=y HTTP/1.1\r\nHost: x\r\n\r\n";
	char buf[1024];
	int fd = client("G");

	for (const char *at = rest; *at; at++) {
		loop_turn();
		cr_assert_eq(write(fd, at, 1), 1);
	}
	answer(fd, buf, sizeof(buf) - 1);
	cr_assert_not_null(strstr(buf, "\r\n\r\n1\n"), "%s", buf);
}

Test(server, many_questions_make_one_page)
{
	char buf[1024];

	for (int i = 0; i < 100; i++)
		answer(client("GET /short HTTP/1.0\r\n\r\n"), buf, sizeof(buf) - 1);
	cr_assert_lt(rendered, 100);
}

Test(server, who_holds_a_place_makes_room)
{
	int held[SERVER_CLIENTS_MAX];
	char buf[1024];

	for (size_t i = 0; i < SERVER_CLIENTS_MAX; i++)
		held[i] = client("GET /");
	loop_turn();
	answer(client("GET /short HTTP/1.0\r\n\r\n"), buf, sizeof(buf) - 1);
	cr_assert_not_null(strstr(buf, "200 OK"));
	for (size_t i = 0; i < SERVER_CLIENTS_MAX; i++)
		close(held[i]);
}

Test(server, who_does_not_read_is_let_go)
{
	char buf[SERVER_REQUEST_MAX];
	uint64_t begin = clock_mono();
	int fd = client("GET /long HTTP/1.0\r\n\r\n");
	ssize_t n;

	while (clock_mono() - begin < (SERVER_CLIENT_MS + 1000) * (uint64_t)NS_PER_MS)
		sd_event_run(loop, 10000);
	/* What the kernel holds of it, and then the end. */
	do
		n = read(fd, buf, sizeof(buf));
	while (n > 0);
	cr_assert_eq(n, 0);
	close(fd);
}

Test(server, a_file_that_is_no_socket_stays)
{
	struct server *other;
	char name[80], where[90];
	FILE *file;

	snprintf(name, sizeof(name), "%s/file", folder);
	snprintf(where, sizeof(where), "unix://%s", name);
	file = fopen(name, "w");
	cr_assert_not_null(file);
	fclose(file);
	cr_assert_eq(server_new(loop, where, pages, NULL, &other, error), -EEXIST);
	cr_assert_eq(access(name, F_OK), 0);
	unlink(name);
	cr_assert_eq(server_new(loop, address, pages, NULL, &other, error), -EADDRINUSE);
}

Test(server, only_loopback_is_an_address)
{
	struct sockaddr_storage where;
	socklen_t len;

	cr_assert_eq(server_address_parse("tcp://127.255.0.1:80", &where, &len), 0);
	cr_assert_eq(((struct sockaddr_in *)&where)->sin_port, htons(80));
	cr_assert_eq(server_address_parse("tcp://[::1]:80", &where, &len), 0);
	cr_assert_eq(server_address_parse("tcp://128.0.0.1:80", &where, &len), -EADDRNOTAVAIL);
	cr_assert_eq(server_address_parse("tcp://[::ffff:127.0.0.1]:80", &where, &len),
		     -EADDRNOTAVAIL);
	cr_assert_eq(server_address_parse("tcp://:80", &where, &len), -EINVAL);
	cr_assert_eq(server_address_parse("tcp://[]:80", &where, &len), -EINVAL);
	cr_assert_eq(server_address_parse("tcp://127.0.0.1:+80", &where, &len), -EINVAL);
	cr_assert_eq(server_address_parse("unix:///", &where, &len), -EINVAL);
}

Test(server, labels_are_escaped)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	metrics_label(out, "a\"b\\c\nd\xff\x1b");
	fclose(out);
	cr_assert_eq(strncmp(text, "a\\\"b\\\\c\\nd", 10), 0, "%s", text);
	cr_assert_null(strchr(text, '\xff'));
	free(text);
}
