/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds the page tables of a guest's kernel where CR3 cannot be read. */
#ifndef KVMACCESS_ROOT_H
#define KVMACCESS_ROOT_H

#include "vm.h"

/*
 * Sets vm->root from what vmcoreinfo says in the guest's memory; LSTAR and the text's begin must
 * be mapped by it to where the text says the kernel lies. Blocks for at most a second, as
 * pagesearch() does. -ENODATA: none, or not a 64-bit Linux; -EAGAIN: the next call goes on.
 */
int root_find(struct ka_vm *vm, const struct ka_registers *registers);

#endif
