/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asks the running kvmbpf-monitor how it is. */
#ifndef CLI_RUNNING_H
#define CLI_RUNNING_H

#include <jansson.h>

enum { RUNNING_ERROR_MAX = 256 };

/* The state as /status has it, kvmbpf.status/1. Waits up to 5 s. -errno, and why. */
int running_status(const char *socket, json_t **ret_status, char ret_error[static RUNNING_ERROR_MAX]);

#endif
