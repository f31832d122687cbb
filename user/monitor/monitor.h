/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon: its event loop over the host's VMs, timers, signals and the sink. */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "options.h"

enum monitor_exit {
	MONITOR_OK = 0,
	MONITOR_FAILURE = 1,
	MONITOR_USAGE = 2,
	MONITOR_UNSUPPORTED = 3,
	MONITOR_VIOLATIONS = 4, /* these three: with --once */
	MONITOR_NOT_FOUND = 5,
	MONITOR_INCOMPLETE = 6,
};

/* Runs until a signal, or once. Says on stderr why, where it fails. */
enum monitor_exit monitor_run(const struct options *options);
/* Prints version, libraries and what this host gives to stdout. */
enum monitor_exit monitor_version(void);

#endif
