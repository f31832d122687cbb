/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Numbers about the monitor and what it watches, in Prometheus' text format. */
#ifndef MONITOR_METRICS_H
#define MONITOR_METRICS_H

#include "health.h"

#include <stdio.h>

enum { METRICS_BUCKETS = 12 };

/* What is counted as it happens, without an allocation; the rest is looked up when asked for. */
struct metrics {
	uint64_t events[SEVERITY_CRITICAL + 1];
	uint64_t bucket[METRICS_BUCKETS]; /* looks that took up to as long, and no bucket before */
	uint64_t looks, looks_us;
	uint64_t sealed; /* looks that found the seal intact */
};

/* A look at a guest has ended. */
void metrics_look(struct metrics *metrics, struct guest *guest);
/* So many that a sentry made, the last of them at this CLOCK_REALTIME. */
void metrics_rest(struct metrics *metrics, struct guest *guest, unsigned int looks,
		  uint64_t looked_ns);

/* `vm_names`: with a series for each VM, under its name and id. */
void metrics_render(const struct metrics *metrics, const struct health *health,
		    const struct health_view *view, bool vm_names, FILE *out);

/* ---- for tests ---- */

/* As the value of a label: cleaned, and escaped as the format asks. */
void metrics_label(FILE *out, const char *text);

#endif
