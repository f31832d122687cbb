/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Durations as Go writes them: 500ms, 1s, 1h30m. */
#ifndef MONITOR_DURATION_H
#define MONITOR_DURATION_H

#include <stdint.h>

/*
 * Nanoseconds. -EINVAL: not a duration (a bare number is none: of what?), -ERANGE: under 100 ms or
 * over a day.
 */
int duration_parse(const char *text, uint64_t *ret_ns);

#endif
