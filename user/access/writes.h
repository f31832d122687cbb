/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Write tracking on a host: its programs, and what they tell. */
#ifndef KVMACCESS_WRITES_H
#define KVMACCESS_WRITES_H

#include "vm.h"

/* Loads and attaches; without the module that is not possible, and no failure of the host. Says in
 * the host's features what came of it. */
void writes_init(struct ka_host *host);
void writes_deinit(struct ka_host *host);

/* Gives up the tracker, of the VM that has or had its struct kvm there. */
void writes_end(struct ka_vm *vm, uint64_t kvm);

/* Passes on what was written since the last call. Returns 0 or -errno. */
int writes_dispatch(struct ka_host *host);

#endif
