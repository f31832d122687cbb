// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reads whole files, also those that do not tell their size. */
#include "file.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { FILE_MAX = 512 << 20, READ_FIRST = 1 << 20 };

static void freep(void *pointer)
{
	free(*(void **)pointer);
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
