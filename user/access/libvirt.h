/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What libvirt's status files say about a VM. */
#ifndef KA_LIBVIRT_H
#define KA_LIBVIRT_H

#include <stddef.h>
#include <sys/types.h>

#include "kvmaccess.h"

struct libvirt_status {
	char name[KA_NAME_MAX];  /* printable; "" where there is none */
	char uuid[KA_UUID_MAX];
	const char *manager;     /* static: "libvirt" or what stands above it */
	char labels[KA_LABELS_MAX]; /* of its metadata, as ka_vm_info has them */
};

enum { LIBVIRT_STATUS_MAX = 1 << 20 };

/*
 * Reads the text of a status file. Errors: -ESRCH (of another process), -EBADMSG (not one, or
 * damaged, or with a document type: libvirt writes none, and entities are an attack).
 */
int libvirt_status_parse(const char *xml, size_t len, pid_t pid, struct libvirt_status *ret_status);

/*
 * Looks for the status of the VMM `pid` below the root directory `root_fd`, which is not left
 * whatever links lie there. `name` is tried first. `pid` is as libvirt sees it. Errors: -ENOENT.
 */
int libvirt_status_find(int root_fd, pid_t pid, const char *name,
			struct libvirt_status *ret_status);

#endif
