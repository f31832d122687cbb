/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SQLite's result codes as negative errno. */
#ifndef MONITOR_SQL_H
#define MONITOR_SQL_H

/* 0 also for a row. -EBUSY, -EROFS, -EBADMSG (damaged), -ENOENT, -ENOMEM, -ENOSPC, -EIO. */
int sql_error(int code);

#endif
