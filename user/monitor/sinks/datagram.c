// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sends to a local datagram socket without waiting for its reader. */
#include "datagram.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int on_writable(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
	(void)fd, (void)revents;
	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	sink_ready(ctx);
	return 0;
}

int datagram_open(struct datagram *datagram, const char *path, struct sink *sink)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int r;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	datagram->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (datagram->fd < 0)
		return -errno;
	r = connect(datagram->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	if (!r)
		r = sd_event_add_io(sink->event, &datagram->writable, datagram->fd, EPOLLOUT,
				    on_writable, sink);
	if (r < 0)
		return r;
	sd_event_source_set_enabled(datagram->writable, SD_EVENT_OFF);
	return 0;
}

void datagram_close(struct datagram *datagram)
{
	datagram->writable = sd_event_source_disable_unref(datagram->writable);
	if (datagram->fd >= 0)
		close(datagram->fd);
	*datagram = datagram_none;
}

int datagram_send(struct datagram *datagram, const void *data, size_t len)
{
	ssize_t n;

	do
		n = send(datagram->fd, data, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 0;
	if (errno != EAGAIN)
		return -errno;
	sd_event_source_set_enabled(datagram->writable, SD_EVENT_ON);
	return -EAGAIN;
}
