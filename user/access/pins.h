/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pins maps and programs for bpftool. Links are not pinned: a monitor that is killed lets go of
 * KVM at once, and its maps and programs lie there, unused, until the next one replaces them.
 */
#ifndef KVMACCESS_PINS_H
#define KVMACCESS_PINS_H

#include "host.h"

/* Pins under a bpffs directory; says in the host's features whether it could. */
void pins_add(struct ka_host *host, const char *path);
void pins_remove(struct ka_host *host);

#endif
