// SPDX-License-Identifier: LGPL-2.1-or-later
/* Opens files below a root that is not trusted; reads whole files, also those without a size. */
#define _GNU_SOURCE
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FILE_MAX = 512 << 20, READ_FIRST = 1 << 20 };

static void freep(void *pointer)
{
	free(*(void **)pointer);
}

int file_open_in(int root_fd, const char *path, int flags)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

/* Opened in two steps, so that a pipe or a device that lies there is not touched. */
int file_open_regular(int root_fd, const char *path, long max)
{
	int fd = file_open_in(root_fd, path, O_PATH), real = -ENOENT;
	char link[40];
	struct stat st;

	if (fd < 0)
		return fd;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size <= max) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		real = open(link, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (real < 0)
			real = -errno;
	}
	close(fd);
	return real;
}

/* /proc/kallsyms tells no size beforehand, so the buffer grows with what comes. */
int file_read(int fd, char **ret_bytes, size_t *ret_len)
{
	__attribute__((cleanup(freep))) char *bytes = NULL;
	size_t len = 0, room = 0;

	for (;;) {
		ssize_t got;

		if (len == room) {
			char *bigger;

			if (room >= FILE_MAX)
				return -EFBIG;
			room = room ? room * 2 : READ_FIRST;
			bigger = realloc(bytes, room);
			if (!bigger)
				return -ENOMEM;
			bytes = bigger;
		}
		got = read(fd, bytes + len, room - len);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		len += got;
	}
	*ret_bytes = bytes;
	*ret_len = len;
	bytes = NULL;
	return 0;
}
