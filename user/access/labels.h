/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Labels that operators gave to VMs, as text: one KEY=VALUE a line. */
#ifndef KA_LABELS_H
#define KA_LABELS_H

#include <stddef.h>

#include "kvmaccess.h"

/*
 * Adds one; any bytes are valid input. Both become printable, the value without white space around it;
 * '=' and '.' of the key become '_', since event stores take a dot for nesting. Left out: what has no
 * value, a key that is there, and what there is no room for.
 */
void labels_add(char labels[static KA_LABELS_MAX], const char *key, const char *value, size_t len);

/* The tags of a Proxmox configuration file: one label "tags", ";web;prod;". */
void labels_add_proxmox(char labels[static KA_LABELS_MAX], const char *bytes, size_t len);

#endif
