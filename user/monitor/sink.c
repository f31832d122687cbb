// SPDX-License-Identifier: LGPL-2.1-or-later
/* Queues lines and writes them without ever blocking on the reader. */
#include "sink.h"

#include "cleanup.h"
#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

struct line {
	TAILQ_ENTRY(line) entry;
	enum severity severity;
	size_t len;
	char text[];
};

TAILQ_HEAD(line_queue, line);

struct sink {
	char *path; /* NULL: stdout */
	int fd;
	bool regular;
	struct line_queue queue;
	size_t written; /* of the first line */
	struct sink_counters counters;
};

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

static int fd_is_regular(int fd, bool *ret_regular)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret_regular = S_ISREG(st.st_mode);
	return 0;
}

int sink_open(const char *path, struct sink **ret_sink)
{
	struct sink *sink = calloc(1, sizeof(*sink));
	int r;

	if (!sink)
		return -ENOMEM;
	TAILQ_INIT(&sink->queue);
	sink->path = path ? strdup(path) : NULL;
	sink->fd = path && !sink->path ? -ENOMEM : path ? file_open(path) : stdout_open();
	r = sink->fd < 0 ? sink->fd : fd_is_regular(sink->fd, &sink->regular);
	if (r < 0) {
		sink_close(sink);
		return r;
	}
	*ret_sink = sink;
	return 0;
}

static void line_remove(struct sink *sink, struct line *line)
{
	TAILQ_REMOVE(&sink->queue, line, entry);
	sink->counters.queued--;
	sink->counters.queued_bytes -= line->len;
	free(line);
}

void sink_close(struct sink *sink)
{
	if (!sink)
		return;
	while (!TAILQ_EMPTY(&sink->queue))
		line_remove(sink, TAILQ_FIRST(&sink->queue));
	if (sink->fd >= 0)
		close(sink->fd);
	free(sink->path);
	free(sink);
}

/* Bytes written, or -errno; -EAGAIN: not now. */
static ssize_t chunk_write(struct sink *sink, const char *data, size_t len)
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

int sink_flush(struct sink *sink)
{
	struct line *line;
	ssize_t n;

	while ((line = TAILQ_FIRST(&sink->queue))) {
		n = chunk_write(sink, line->text + sink->written, line->len - sink->written);
		if (n == -EINTR)
			continue;
		if (n < 0) {
			if (n != -EAGAIN)
				sink->counters.last_error = (int)n;
			return n == -EPIPE ? -EPIPE : 1;
		}
		sink->counters.last_error = 0;
		sink->written += (size_t)n;
		if (sink->written < line->len)
			continue;
		sink->written = 0;
		sink->counters.delivered++;
		line_remove(sink, line);
	}
	return 0;
}

/* Makes room by dropping the oldest line that is less severe, but not one half written. */
static bool line_evict(struct sink *sink, enum severity severity)
{
	struct line *line, *victim = NULL;

	TAILQ_FOREACH(line, &sink->queue, entry)
	{
		if (line == TAILQ_FIRST(&sink->queue) && sink->written)
			continue;
		if (line->severity <= severity && (!victim || line->severity < victim->severity))
			victim = line;
	}
	if (!victim)
		return false;
	line_remove(sink, victim);
	sink->counters.dropped++;
	return true;
}

int sink_write(struct sink *sink, const char *text, size_t len, enum severity severity)
{
	struct line *line;
	int r;

	while (sink->counters.queued_bytes + len > SINK_QUEUE_MAX)
		if (!line_evict(sink, severity)) {
			sink->counters.dropped++;
			return 0;
		}
	line = malloc(sizeof(*line) + len);
	if (!line) {
		sink->counters.dropped++;
		return -ENOMEM;
	}
	line->severity = severity;
	line->len = len;
	memcpy(line->text, text, len);
	TAILQ_INSERT_TAIL(&sink->queue, line, entry);
	sink->counters.queued++;
	sink->counters.queued_bytes += len;
	r = sink_flush(sink);
	return r < 0 ? r : 0;
}

int sink_drain(struct sink *sink, unsigned int timeout_ms)
{
	uint64_t end = clock_mono() + timeout_ms * (uint64_t)NS_PER_MS, now;
	struct pollfd pollfd = { .fd = sink->fd, .events = POLLOUT };
	int r;

	for (;;) {
		r = sink_flush(sink);
		now = clock_mono();
		if (r <= 0 || now >= end)
			return r;
		/* A full disk is writable all the time: look again in a while, not at once. */
		if (sink->regular)
			poll(NULL, 0, 100);
		else
			poll(&pollfd, 1, (int)((end - now) / NS_PER_MS) + 1);
	}
}

int sink_reopen(struct sink *sink)
{
	bool regular;
	int fd, r;

	if (!sink->path)
		return 0;
	fd = file_open(sink->path);
	if (fd < 0) {
		sink->counters.last_error = fd;
		return fd;
	}
	r = fd_is_regular(fd, &regular);
	if (r < 0) {
		close(fd);
		return r;
	}
	close(sink->fd);
	sink->fd = fd;
	sink->regular = regular;
	sink->written = 0; /* a line that was cut goes whole into the new file */
	r = sink_flush(sink);
	return r < 0 ? r : 0;
}

int sink_fd(const struct sink *sink)
{
	return sink->regular ? -1 : sink->fd;
}

const char *sink_name(const struct sink *sink)
{
	return sink->path ? sink->path : "stdout";
}

void sink_counters(const struct sink *sink, struct sink_counters *ret_counters)
{
	*ret_counters = sink->counters;
}
