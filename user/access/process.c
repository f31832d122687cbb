// SPDX-License-Identifier: LGPL-2.1-or-later
/* What /proc says about a process. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "process.h"

enum { STAT_FIELD_STATE = 3, STAT_FIELD_START = 22 };

int process_stat_start_ticks(const char *text, size_t len, uint64_t *ret_ticks)
{
	const char *end = text + len, *p = memrchr(text, ')', len);
	uint64_t ticks = 0;

	/* A process chooses its name: only the last parenthesis is the kernel's own. */
	if (!p)
		return -EBADMSG;
	p++;
	for (int field = STAT_FIELD_STATE; field <= STAT_FIELD_START; field++) {
		p = memchr(p, ' ', end - p);
		if (!p)
			return -EBADMSG;
		p++;
	}
	if (p == end || *p < '0' || *p > '9')
		return -EBADMSG;
	for (; p < end && *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(ticks, 10, &ticks) ||
		    __builtin_add_overflow(ticks, *p - '0', &ticks))
			return -EBADMSG;
	if (p < end && *p != ' ' && *p != '\n')
		return -EBADMSG;
	*ret_ticks = ticks;
	return 0;
}

int process_start_ticks(pid_t pid, uint64_t *ret_ticks)
{
	char path[32], text[1024];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	len = read(fd, text, sizeof(text));
	if (len < 0)
		len = -errno;
	close(fd);
	if (len < 0)
		return len;
	return process_stat_start_ticks(text, len, ret_ticks);
}
