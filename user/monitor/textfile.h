/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replaces a file's contents whole, in a thread of its own, since a disk may keep one waiting. */
#ifndef MONITOR_TEXTFILE_H
#define MONITOR_TEXTFILE_H

#include <stddef.h>

struct textfile;

int textfile_new(const char *path, struct textfile **ret_file);
/* Takes `text` (from malloc()) over, also where it is dropped: the last one is still being written. */
void textfile_write(struct textfile *file, char *text, size_t len);
/* 0, or -errno of the last write that has ended. */
int textfile_error(struct textfile *file);
/* Waits for what is being written; removes the file, since it says how things are now. */
void textfile_free(struct textfile *file);

#endif
