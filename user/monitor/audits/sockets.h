/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sockets that one of the kernel's tables has and another one lacks. */
#ifndef MONITOR_SOCKETS_H
#define MONITOR_SOCKETS_H

#include "records.h"

enum { SOCKETS_SUSPECTS_MAX = 32 };

enum socket_kind { SOCKET_PACKET, SOCKET_LISTENS, SOCKET_CONNECTED, SOCKET_UDP };

/* What tells it from another one that lies there later, and since when it is suspect. */
struct socket_suspect {
	uint64_t socket;
	enum socket_kind kind;
	uint16_t number; /* its port, or the type of the packets that it is handed */
	uint32_t hash;	 /* of a connection */
	uint64_t since_ns, since_ticks;
};

/* A look under way. */
struct sockets_look {
	const struct audit_view *view;
	uint64_t ticks;	    /* of the guest */
	unsigned int steps; /* of the part under way */
	const char *gap;    /* what was not looked at; NULL: nothing */
	struct socket_suspect suspects[SOCKETS_SUSPECTS_MAX];
	size_t count;
};

/* One that some table lacks: told once it has been so for long enough. */
void sockets_suspect(struct sockets_look *look, const struct socket_suspect *suspect);

/* sockets_packet.c: packet sockets that receive, against the list of them. */
struct sockets_packet;
int sockets_packet_prepare(const struct audit_view *view, struct sockets_packet **ret_packet);
int sockets_packet_look(struct sockets_look *look, const struct sockets_packet *packet);

/* sockets_inet.c: TCP and UDP sockets that have a port, against those that a lookup finds. */
struct sockets_inet;
int sockets_inet_prepare(const struct audit_view *view, struct sockets_inet **ret_inet);
int sockets_inet_look(struct sockets_look *look, struct sockets_inet *inet);

#endif
