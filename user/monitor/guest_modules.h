/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The modules of a guest's kernel, to name whose code an address is. */
#ifndef MONITOR_GUEST_MODULES_H
#define MONITOR_GUEST_MODULES_H

#include <kvmaccess.h>
#include <stdbool.h>

struct guest_modules {
	bool prepared;
	struct ka_module_layout *layout; /* NULL: this kernel's types are not known */
	struct ka_module *modules;
	size_t count;
	uint64_t read_ns; /* CLOCK_MONOTONIC */
	int error;	  /* of that read */
};

/*
 * Learns where this kernel keeps its modules: some 10 ms, and many times that where the guest means
 * it badly, so once a boot, however often it is asked for. Nothing of this is needed to find a
 * violation, so what fails is only not named.
 */
void guest_modules_prepare(struct guest_modules *modules, struct ka_vm *vm,
			   const struct ka_kernel *kernel);
/* The same with the types at hand. */
void guest_modules_prepare_with(struct guest_modules *modules, const struct ka_kernel *kernel,
				const struct ka_types *types);
/*
 * Reads them, unless that was done within `age_ns`. Errors: as ka_modules_read(); none are known then.
 */
int guest_modules_read(struct guest_modules *modules, struct ka_vm *vm,
		       const struct ka_kernel *kernel, uint64_t now_ns, uint64_t age_ns);
/* The module that has this address, as last read. NULL: none. */
const struct ka_module *guest_modules_at(const struct guest_modules *modules, uint64_t gva);
/* The name of the module that has this address, as last read; the guest's bytes. NULL: none. */
const char *guest_modules_name(const struct guest_modules *modules, uint64_t gva);
/* Forgets the kernel that they are of. */
void guest_modules_drop(struct guest_modules *modules);

#endif
