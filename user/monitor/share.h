/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shares of a CPU's time, written "1%". */
#ifndef MONITOR_SHARE_H
#define MONITOR_SHARE_H

#include <stdint.h>

/* Into millionths of one CPU. -EINVAL: not a share; -ERANGE: not from 0.01% to 100%. */
int share_parse(const char *text, uint64_t *ret_ppm);

#endif
