// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * net MILLISECONDS: work with TCP and UDP sockets over the loopback device for so long, of all the
 * kinds that come and go: bound, listening, connected, half closed, reset, waiting, and bound
 * again.
 */
#define _GNU_SOURCE /* unshare(2) */
#include <arpa/inet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LISTENERS = 4, BURST = 8, LASTING = 16 };

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	ioctl(fd, SIOCSIFFLAGS, &request);
	close(fd);
}

/* Of any kind; of TCP it listens. */
static int serve(int family, int type, uint16_t port)
{
	struct sockaddr_in six[2] = {};
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(port) };
	int one = 1, fd = socket(family, type, 0);
	socklen_t len = family == AF_INET ? sizeof(four) : 28; /* struct sockaddr_in6 */

	six[0].sin_family = AF_INET6;
	six[0].sin_port = htons(port);
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (fd < 0 || bind(fd, family == AF_INET ? (void *)&four : (void *)six, len) ||
	    (type == SOCK_STREAM && listen(fd, 64))) {
		perror("net: serve");
		exit(1);
	}
	return fd;
}

static int call(int type, uint16_t port)
{
	struct sockaddr_in to = loopback(port);
	int fd = socket(AF_INET, type, 0);

	if (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Short connections, each of which ends in another way. */
static void connections(uint16_t port, int server)
{
	struct linger reset = { .l_onoff = 1 };
	char byte = 0;

	for (int i = 0; i < BURST; i++) {
		int caller = call(SOCK_STREAM, port), served;

		if (caller < 0)
			continue;
		if (i % 4 == 3) {
			close(caller); /* before it is accepted, as the next one */
			continue;
		}
		served = accept(server, NULL, NULL);
		if (write(caller, &byte, 1) != 1 || read(served, &byte, 1) < 0)
			perror("net: connection");
		if (i % 4 == 1)
			shutdown(caller, SHUT_WR);
		if (i % 4 == 2)
			setsockopt(caller, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(i % 2 ? served : caller);
		close(i % 2 ? caller : served);
	}
}

static void datagrams(uint16_t port)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	struct sockaddr_in any = loopback(0);
	int servers[LISTENERS];
	char byte = 0;

	for (int i = 0; i < LISTENERS; i++)
		servers[i] = serve(i % 2 ? AF_INET6 : AF_INET, SOCK_DGRAM, port);
	for (int i = 0; i < BURST; i++) {
		int caller = call(SOCK_DGRAM, port);

		send(caller, &byte, 1, 0);
		/* Its address goes, and a part of it comes again. */
		connect(caller, &none, sizeof(none));
		if (i % 2)
			bind(caller, (struct sockaddr *)&any, sizeof(any));
		sendto(caller, &byte, 1, 0, (struct sockaddr *)&any, sizeof(any));
		close(caller);
	}
	for (int i = 0; i < LISTENERS; i++)
		close(servers[i]);
}

static void streams(uint16_t port)
{
	int servers[LISTENERS];

	for (int i = 0; i < LISTENERS; i++)
		servers[i] = serve(i % 2 ? AF_INET6 : AF_INET, SOCK_STREAM, port + i);
	for (int i = 0; i < LISTENERS; i++)
		connections(port + i, servers[i]);
	shutdown(servers[0], SHUT_RDWR);
	listen(servers[0], 8);
	shutdown(servers[0], SHUT_RDWR); /* bound, and listens no more */
	for (int i = 0; i < LISTENERS; i++)
		close(servers[i]);
}

/* What stays for all the time, beside what comes and goes. */
static void last(uint16_t port)
{
	int server = serve(AF_INET, SOCK_STREAM, port);

	serve(AF_INET6, SOCK_DGRAM, port);
	serve(AF_INET, SOCK_DGRAM, port + 1);
	/* Bound only. */
	bind(socket(AF_INET, SOCK_STREAM, 0),
	     (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET },
	     sizeof(struct sockaddr_in));
	for (int i = 0; i < LASTING; i++) {
		int caller = call(SOCK_STREAM, port), served = accept(server, NULL, NULL);

		/* A few are half closed, with nobody who has the other half. */
		if (i % 4 == 1)
			close(caller);
		if (i % 4 == 2)
			shutdown(served, SHUT_WR);
	}
}

static void work(uint16_t port, long milliseconds)
{
	struct timespec begin, now;

	loopback_up();
	last(port);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		streams(port + 10);
		datagrams(port + 20);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 <
		 milliseconds);
}

static void set(const char *path, const char *value)
{
	FILE *file = fopen(path, "w");

	/* Older kernels have none. */
	if (!file)
		return;
	fputs(value, file);
	fclose(file);
}

int main(int argc, char **argv)
{
	long milliseconds = argc > 1 ? atol(argv[1]) : 1000;

	if (!fork()) {
		work(7000, milliseconds);
		return 0;
	}
	/* A network namespace, with tables of its own where the kernel has such. */
	set("/proc/sys/net/ipv4/tcp_child_ehash_entries", "256");
	set("/proc/sys/net/ipv4/udp_child_hash_entries", "256");
	if (unshare(CLONE_NEWNET))
		perror("net: unshare");
	else
		work(7000, milliseconds);
	wait(NULL);
	return 0;
}
