/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Takes the vmlinux out of a bzImage, which is what distributions package as vmlinuz. */
#ifndef KVMACCESS_VMLINUZ_H
#define KVMACCESS_VMLINUZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether the bytes begin like an x86 kernel with the Linux boot protocol. */
bool vmlinuz_recognise(const void *bytes, size_t len);

/* What the payload is compressed with: "xz", "zstd", ...; NULL if it is not known or damaged. */
const char *vmlinuz_compression(const void *bytes, size_t len);

/*
 * Unpacks the payload; the caller frees *@ret_vmlinux. -EBADMSG: damaged; -EPROTONOSUPPORT: boot
 * protocol before 2.08 or a compression that is not known here; -EFBIG: more than 512 MiB.
 */
int vmlinuz_unpack(const void *bytes, size_t len, void **ret_vmlinux, size_t *ret_len);
/* The same of a file that is nothing but compressed, such as a module's. */
int vmlinuz_unpack_file(const void *bytes, size_t len, void **ret_bytes, size_t *ret_len);

#endif
