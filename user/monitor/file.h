/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whole files. */
#ifndef MONITOR_FILE_H
#define MONITOR_FILE_H

#include <stddef.h>
#include <sys/types.h>

/* The caller frees *ret_bytes, behind which there is a zero. -EFBIG: more than 256 MiB. */
int file_load(const char *path, char **ret_bytes, size_t *ret_len);
/* A new file; -EEXIST where there is one. */
int file_create(const char *path, const void *bytes, size_t len, mode_t mode);

#endif
