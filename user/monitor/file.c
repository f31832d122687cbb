// SPDX-License-Identifier: LGPL-2.1-or-later
/* Whole files. */
#include "file.h"

#include "cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOAD_MAX = 256 << 20 };

static void cleanup_stream(FILE **file)
{
	if (*file)
		fclose(*file);
}

int file_load(const char *path, char **ret_bytes, size_t *ret_len)
{
	_cleanup_(cleanup_stream) FILE *file = fopen(path, "re");
	struct stat info;
	char *bytes;
	size_t len;

	if (!file || fstat(fileno(file), &info) < 0)
		return -errno;
	if (S_ISDIR(info.st_mode))
		return -EISDIR;
	if (info.st_size > LOAD_MAX)
		return -EFBIG;
	len = (size_t)info.st_size;
	bytes = malloc(len + 1);
	if (!bytes)
		return -ENOMEM;
	if (fread(bytes, 1, len, file) != len) {
		free(bytes);
		return -EIO;
	}
	bytes[len] = '\0';
	*ret_bytes = bytes;
	*ret_len = len;
	return 0;
}

int file_create(const char *path, const void *bytes, size_t len, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode), r = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, bytes, len) != (ssize_t)len)
		r = errno ? -errno : -EIO;
	if (close(fd) < 0 && !r)
		r = -errno;
	if (r < 0)
		unlink(path);
	return r;
}
