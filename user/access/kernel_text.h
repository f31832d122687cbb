/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The text of a kernel build, or of a module where it lies. */
#ifndef KVMACCESS_KERNEL_TEXT_H
#define KVMACCESS_KERNEL_TEXT_H

#include "patch_judge.h"

struct ka_text {
	struct patch_judge judge;
	struct ka_reference *own; /* a module's, made for this place, or a guest's kernel's */
};

#endif
