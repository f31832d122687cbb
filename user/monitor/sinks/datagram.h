/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A local datagram socket, as journald and /dev/log have one. */
#ifndef MONITOR_DATAGRAM_H
#define MONITOR_DATAGRAM_H

#include "../sink.h"

struct datagram {
	int fd;
	sd_event_source *writable;
};

static const struct datagram datagram_none = { .fd = -1 };

/* sink_ready() is called when one that was full takes more. */
int datagram_open(struct datagram *datagram, const char *path, struct sink *sink);
void datagram_close(struct datagram *datagram);
/* -EAGAIN: full; -EMSGSIZE: never. */
int datagram_send(struct datagram *datagram, const void *data, size_t len);

#endif
