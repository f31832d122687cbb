// SPDX-License-Identifier: LGPL-2.1-or-later
/* The modules of a guest's kernel, to name whose code an address is. */
#include "guest_modules.h"

#include "clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MODULES_MAX = 512 };

void guest_modules_prepare(struct guest_modules *modules, struct ka_vm *vm,
			   const struct ka_kernel *kernel)
{
	struct ka_types *types;

	if (modules->prepared || !kernel->symbols)
		return;
	modules->prepared = true;
	if (ka_types_from_guest(vm, kernel, &types))
		return;
	modules->prepared = false;
	guest_modules_prepare_with(modules, kernel, types);
	ka_types_free(types);
}

void guest_modules_prepare_with(struct guest_modules *modules, const struct ka_kernel *kernel,
				const struct ka_types *types)
{
	if (modules->prepared)
		return;
	modules->prepared = true;
	if (ka_module_layout_new(kernel, types, &modules->layout))
		modules->layout = NULL;
}

int guest_modules_read(struct guest_modules *modules, struct ka_vm *vm,
		       const struct ka_kernel *kernel, uint64_t now_ns, uint64_t age_ns)
{
	uint32_t views;

	if (!modules->layout)
		return -ENODATA;
	if (modules->read_ns && now_ns - modules->read_ns < age_ns)
		return modules->error;
	if (!modules->modules)
		modules->modules = calloc(MODULES_MAX, sizeof(*modules->modules));
	if (!modules->modules)
		return -ENOMEM;
	modules->read_ns = now_ns;
	modules->error = ka_modules_read(vm, kernel, modules->layout, modules->modules, MODULES_MAX,
					 &modules->count, &views);
	if (modules->error)
		modules->count = 0;
	return modules->error;
}

const struct ka_module *guest_modules_at(const struct guest_modules *modules, uint64_t gva)
{
	return ka_module_at(modules->modules, modules->count, gva);
}

const char *guest_modules_name(const struct guest_modules *modules, uint64_t gva)
{
	const struct ka_module *module = guest_modules_at(modules, gva);

	return module ? module->name : NULL;
}

void guest_modules_drop(struct guest_modules *modules)
{
	ka_module_layout_free(modules->layout);
	free(modules->modules);
	memset(modules, 0, sizeof(*modules));
}
