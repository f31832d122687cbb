/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The monitor's state at one moment, as one JSON object. */
#ifndef MONITOR_STATUS_H
#define MONITOR_STATUS_H

#include "health.h"

#include <stdio.h>

/* Where kvmbpf looks for it. */
#define STATUS_SOCKET "/run/kvmbpf/monitor.sock"

/*
 * kvmbpf.status/1: VMs with their vCPUs, checks and open findings (of one VM the first 256), sinks,
 * and what the monitor itself costs.
 */
json_t *status_json(const struct watch *watch, const struct health *health,
		    const struct health_view *view);
/* The same as a line. */
void status_write(const struct watch *watch, const struct health *health,
		  const struct health_view *view, FILE *out);

/* For people, as diagnostics. */
void status_log(const struct health *health, const struct health_view *view);

#endif
