// SPDX-License-Identifier: LGPL-2.1-or-later
/* Appends lines to a file, which is rotated by size and age, here or by others. */
#include "sinks.h"

#include "../cleanup.h"
#include "../clock.h"
#include "../duration.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WINDOW = 256, KEEP_DEFAULT = 5, TAIL_MAX = 64 * 1024 };

struct file_sink {
	struct sink sink;
	const struct config_file *config;
	uint64_t max_size, max_age_ns, begun_ns; /* 0: no limit; CLOCK_REALTIME */
	unsigned int keep;
	int fd;
	off_t size;
	uint64_t written[WINDOW]; /* positions of lines that are not yet on the disk */
	unsigned int count;
};

static struct file_sink *of(struct sink *sink)
{
	return (struct file_sink *)sink;
}

/* A crash may have left half a line, which will come again: a reader must not see it. */
static int trim(int fd, off_t *size)
{
	_cleanup_free_ char *tail = malloc(TAIL_MAX);
	off_t from = *size > TAIL_MAX ? *size - TAIL_MAX : 0;
	ssize_t len = tail ? pread(fd, tail, TAIL_MAX, from) : -1;
	const char *end;

	if (len < 0)
		return tail ? -errno : -ENOMEM;
	end = memrchr(tail, '\n', (size_t)len);
	if (len && end != tail + len - 1) {
		*size = end ? from + (end - tail) + 1 : from;
		if (ftruncate(fd, *size) < 0)
			return -errno;
	}
	return 0;
}

static uint64_t birth_ns(int fd)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &st) < 0 || !(st.stx_mask & STATX_BTIME))
		return clock_real();
	return (uint64_t)st.stx_btime.tv_sec * NS_PER_S + st.stx_btime.tv_nsec;
}

static int path_open(struct file_sink *sink)
{
	/* Without O_NONBLOCK a FIFO in its place would hold us up. */
	int fd = open(sink->config->path,
		      O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
	struct stat st;
	int r;

	if (fd < 0)
		return -errno;
	r = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EINVAL;
	if (!r)
		r = trim(fd, &st.st_size);
	if (r < 0) {
		close(fd);
		return r;
	}
	if (sink->fd >= 0)
		close(sink->fd);
	sink->fd = fd;
	sink->size = st.st_size;
	sink->begun_ns = birth_ns(fd);
	return 0;
}

static int open_sink(struct sink *base)
{
	int r = path_open(of(base));

	if (!r)
		sink_opened(base);
	return r;
}

/* What is on the disk is delivered. */
static void flush(struct sink *base)
{
	struct file_sink *sink = of(base);

	if (!sink->count)
		return;
	if (fdatasync(sink->fd) < 0) {
		sink_failed(base, "%s", strerror(errno));
		return;
	}
	for (unsigned int i = 0; i < sink->count; i++)
		sink_delivered(base, sink->written[i]);
	sink->count = 0;
}

static int rotate(struct file_sink *sink)
{
	char from[PATH_MAX], to[PATH_MAX];

	if (fdatasync(sink->fd) < 0)
		return -errno;
	for (unsigned int i = sink->keep; i > 0; i--) {
		snprintf(to, sizeof(to), "%s.%u", sink->config->path, i);
		snprintf(from, sizeof(from), i > 1 ? "%s.%u" : "%s", sink->config->path, i - 1);
		if (rename(from, to) < 0 && errno != ENOENT)
			return -errno;
	}
	return path_open(sink);
}

static bool rotation_is_due(const struct file_sink *sink, size_t len)
{
	return sink->size &&
	       ((sink->max_size && (uint64_t)sink->size + len > sink->max_size) ||
		(sink->max_age_ns && clock_real() > sink->begun_ns + sink->max_age_ns));
}

static int send_line(struct sink *base, const struct sink_line *line)
{
	struct file_sink *sink = of(base);
	ssize_t n;
	int r;

	if (rotation_is_due(sink, line->len)) {
		r = rotate(sink);
		if (r < 0)
			return r;
	}
	do
		n = write(sink->fd, line->text, line->len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if ((size_t)n < line->len) {
		/* The disk is full; a part of a line is worse than none. */
		r = ftruncate(sink->fd, sink->size) < 0 ? -errno : -ENOSPC;
		return r;
	}
	sink->size += n;
	sink->written[sink->count++] = line->position;
	return 0;
}

static void close_sink(struct sink *base)
{
	struct file_sink *sink = of(base);

	if (sink->fd >= 0)
		close(sink->fd);
	sink->fd = -1;
	sink->count = 0;
}

static int reopen(struct sink *base)
{
	return path_open(of(base));
}

static void free_sink(struct sink *base)
{
	free(of(base));
}

static const struct sink_ops ops = {
	.open = open_sink,
	.send = send_line,
	.flush = flush,
	.close = close_sink,
	.reopen = reopen,
	.free = free_sink,
	.window = WINDOW,
};

int sink_file_new(const struct config_file *config, struct sink **ret_sink)
{
	struct file_sink *sink = calloc(1, sizeof(*sink));

	if (!sink)
		return -ENOMEM;
	sink->sink.ops = &ops;
	sink->sink.lasting = true;
	sink->config = config;
	sink->fd = -1;
	sink->keep = config->keep ? *config->keep : KEEP_DEFAULT;
	/* Validated with the configuration. */
	if (config->max_size)
		size_parse(config->max_size, &sink->max_size);
	if (config->max_age)
		duration_parse(config->max_age, &sink->max_age_ns);
	*ret_sink = &sink->sink;
	return 0;
}
