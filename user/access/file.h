/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opens files below a root that is not trusted; reads whole files, also those without a size. */
#ifndef KVMACCESS_FILE_H
#define KVMACCESS_FILE_H

#include <stddef.h>

/* open(2) below the directory `root_fd`, which is not left whatever links lie there. -errno. */
int file_open_in(int root_fd, const char *path, int flags);

/* The same for reading, and only a regular file of at most `max` bytes. -ENOENT: another. */
int file_open_regular(int root_fd, const char *path, long max);

/* From the descriptor's place on; the caller frees *@ret_bytes. -EFBIG: more than 512 MiB. */
int file_read(int fd, char **ret_bytes, size_t *ret_len);

#endif
