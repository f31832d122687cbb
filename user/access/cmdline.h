/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the command line of a VMM says about its VM. */
#ifndef KA_CMDLINE_H
#define KA_CMDLINE_H

#include <stddef.h>

#include "kvmaccess.h"

struct cmdline_facts {
	char name[KA_NAME_MAX];  /* printable; "" where there is none */
	char uuid[KA_UUID_MAX];  /* "" where there is none */
	char vmid[16];           /* Proxmox's number, "" elsewhere */
	const char *hypervisor;  /* static; "unknown" where the conventions fit none */
	const char *manager;     /* static; "none" */
};

/*
 * Reads NUL-separated arguments as in /proc/PID/cmdline. Any bytes are valid input. The name of
 * the executable plays no part: it is often a wrapper, "exe", or the VMM's choice.
 */
void cmdline_parse(const char *bytes, size_t len, struct cmdline_facts *ret_facts);

#endif
