/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tables that an image's symbols do not name, found by what they hold. */
#ifndef KVMACCESS_REFERENCE_UNNAMED_H
#define KVMACCESS_REFERENCE_UNNAMED_H

#include "reference.h"
#include "vmlinux.h"

/*
 * -ENODATA: not found, or named already. The bytes are the image's, or those of the static tables
 * of an IDT one after the other, until the next call.
 */
int reference_find_syscalls(const struct ka_reference *reference, const struct vmlinux *image,
			    struct ka_section *ret_section);
int reference_find_idts(const struct ka_reference *reference, const struct vmlinux *image,
			struct ka_section *ret_section);
int reference_find_gdt(const struct ka_reference *reference, const struct vmlinux *image,
		       struct ka_section *ret_section);

#endif
