/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads whole files, also those that do not tell their size. */
#ifndef KVMACCESS_FILE_H
#define KVMACCESS_FILE_H

#include <stddef.h>

/* From the descriptor's place on; the caller frees *@ret_bytes. -EFBIG: more than 512 MiB. */
int file_read(int fd, char **ret_bytes, size_t *ret_len);

#endif
