/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Layouts of the structs of one kernel, from its BTF. */
#ifndef KVMACCESS_TYPES_H
#define KVMACCESS_TYPES_H

#include "kvmaccess.h"

/* BTF of a kernel as it lies in memory or in a vmlinux's section .BTF; copied. -EBADMSG: damaged. */
int types_parse(const void *btf, size_t len, struct ka_types **ret_types);

#endif
