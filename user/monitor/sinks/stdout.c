// SPDX-License-Identifier: LGPL-2.1-or-later
/* Writes lines to standard output, or to what --output names, without ever blocking on a reader. */
#include "sinks.h"

#include "../cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

struct stdout_sink {
	struct sink sink;
	char *path; /* NULL: stdout */
	int fd;
	bool watched, regular;
	sd_event_source *writable;
	uint64_t position; /* of the line that is half written, and how much of it is */
	size_t written;
};

static struct stdout_sink *of(struct sink *sink)
{
	return (struct stdout_sink *)sink;
}

static int file_open(const char *path)
{
	int fd =
		open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);

	return fd < 0 ? -errno : fd;
}

/*
 * O_NONBLOCK belongs to the open file, which stdout shares with others, the shell among them. So
 * a pipe or terminal is opened anew where /proc allows it; elsewhere (sockets) chunk_write() asks
 * first. A regular file is never waited for, and has an offset to share.
 */
static int stdout_open(void)
{
	struct stat st;
	int fd = -1;

	if (fstat(STDOUT_FILENO, &st) < 0)
		return -errno;
	if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))
		fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

static int on_writable(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
	(void)fd, (void)revents;
	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	sink_ready(ctx);
	return 0;
}

static int descriptor_watch(struct stdout_sink *sink, int fd)
{
	sd_event_source *writable = NULL;
	struct stat st;
	int r = fstat(fd, &st) < 0 ? -errno : 0;

	if (!r && !S_ISREG(st.st_mode)) {
		r = sd_event_add_io(sink->sink.event, &writable, fd, EPOLLOUT, on_writable, sink);
		/* /dev/null and the like are always writable. */
		r = r == -EPERM ? 0 : r;
		sd_event_source_set_enabled(writable, SD_EVENT_OFF);
	}
	if (r < 0)
		return r;
	sd_event_source_disable_unref(sink->writable);
	sink->writable = writable;
	sink->regular = S_ISREG(st.st_mode);
	sink->watched = true;
	return 0;
}

static int reopen(struct sink *base)
{
	struct stdout_sink *sink = of(base);
	int fd, r;

	if (!sink->path)
		return 0;
	fd = file_open(sink->path);
	if (fd < 0)
		return fd;
	r = descriptor_watch(sink, fd);
	if (r < 0) {
		close(fd);
		return r;
	}
	close(sink->fd);
	sink->fd = fd;
	sink->written = 0; /* a line that was cut goes whole into the new file */
	spool_hold(base->spool, 0);
	return 0;
}

/* After a failure (a full disk) the same file goes on where it was. */
static int open_sink(struct sink *base)
{
	struct stdout_sink *sink = of(base);
	int r = sink->watched ? 0 : descriptor_watch(sink, sink->fd);

	if (!r)
		sink_opened(base);
	return r;
}

/* Bytes written, or -errno; -EAGAIN: not now. */
static ssize_t chunk_write(struct stdout_sink *sink, const char *data, size_t len)
{
	struct pollfd pollfd = { .fd = sink->fd, .events = POLLOUT };
	ssize_t n;

	if (!sink->regular) {
		/* A writable pipe has room for PIPE_BUF bytes, also where it may block. */
		if (poll(&pollfd, 1, 0) < 0)
			return -errno;
		if (!(pollfd.revents & (POLLOUT | POLLERR | POLLHUP)))
			return -EAGAIN;
		len = len < PIPE_BUF ? len : PIPE_BUF;
	}
	n = write(sink->fd, data, len);
	return n < 0 ? -errno : n;
}

static int send_line(struct sink *base, const struct sink_line *line)
{
	struct stdout_sink *sink = of(base);
	ssize_t n;

	if (sink->position != line->position)
		sink->written = 0;
	sink->position = line->position;
	while (sink->written < line->len) {
		n = chunk_write(sink, line->text + sink->written, line->len - sink->written);
		if (n == -EINTR)
			continue;
		if (n > 0) {
			sink->written += (size_t)n;
			continue;
		}
		if (sink->written)
			spool_hold(base->spool, line->position);
		if (n == -EPIPE)
			sink_gone(base);
		sd_event_source_set_enabled(sink->writable,
					    n == -EAGAIN ? SD_EVENT_ON : SD_EVENT_OFF);
		return (int)n;
	}
	sink->written = 0;
	spool_hold(base->spool, 0);
	sink_delivered(base, line->position);
	return 0;
}

static void close_nothing(struct sink *base)
{
	sd_event_source_set_enabled(of(base)->writable, SD_EVENT_OFF);
}

static void free_sink(struct sink *base)
{
	struct stdout_sink *sink = of(base);

	sd_event_source_disable_unref(sink->writable);
	if (sink->fd >= 0)
		close(sink->fd);
	free(sink->path);
	free(sink);
}

static const struct sink_ops ops = {
	.open = open_sink,
	.send = send_line,
	.close = close_nothing,
	.reopen = reopen,
	.free = free_sink,
	.window = 1,
};

int sink_stdout_new(const char *path, struct sink **ret_sink)
{
	struct stdout_sink *sink = calloc(1, sizeof(*sink));

	if (!sink)
		return -ENOMEM;
	sink->sink.ops = &ops;
	snprintf(sink->sink.name, sizeof(sink->sink.name), "%s", path ? path : "stdout");
	sink->path = path ? strdup(path) : NULL;
	sink->fd = path && !sink->path ? -ENOMEM : path ? file_open(path) : stdout_open();
	if (sink->fd < 0) {
		int r = sink->fd;

		free_sink(&sink->sink);
		return r;
	}
	*ret_sink = &sink->sink;
	return 0;
}
