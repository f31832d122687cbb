/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looks through a guest's memory for pages that begin with certain bytes. */
#ifndef KVMACCESS_PAGESEARCH_H
#define KVMACCESS_PAGESEARCH_H

#include "vm.h"

enum { PAGESEARCH_MAGIC_MAX = 16 };

/*
 * Calls @found for each page that begins with @magic, the nearest to @near first, until it returns
 * something other than -ENODATA, which then is the result. Pages that the VMM's process has not
 * resident are left out: reading them would make a shared memory allocate them, or wait for swap.
 * -ENODATA: all were seen; -EAGAIN: the time is over, and the next call goes on from there.
 */
int pagesearch(struct ka_vm *vm, uint64_t near, const char *magic,
	       int (*found)(void *ctx, uint64_t gpa), void *ctx);

#endif
