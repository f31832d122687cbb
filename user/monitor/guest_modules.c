// SPDX-License-Identifier: LGPL-2.1-or-later
/* The modules of a guest's kernel, to name whose code an address is. */
#include "guest_modules.h"

#include "clock.h"

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
	if (ka_module_layout_new(kernel, types, &modules->layout))
		modules->layout = NULL;
	ka_types_free(types);
}

void guest_modules_read(struct guest_modules *modules, struct ka_vm *vm,
			const struct ka_kernel *kernel, uint64_t now_ns)
{
	uint32_t views;

	if (!modules->layout ||
	    (modules->read_ns && now_ns - modules->read_ns < NS_PER_S))
		return;
	if (!modules->modules)
		modules->modules = calloc(MODULES_MAX, sizeof(*modules->modules));
	if (!modules->modules)
		return;
	modules->read_ns = now_ns;
	if (ka_modules_read(vm, kernel, modules->layout, modules->modules, MODULES_MAX,
			    &modules->count, &views))
		modules->count = 0;
}

const char *guest_modules_name(const struct guest_modules *modules, uint64_t gva)
{
	const struct ka_module *module = ka_module_at(modules->modules, modules->count, gva);

	return module ? module->name : NULL;
}

void guest_modules_drop(struct guest_modules *modules)
{
	ka_module_layout_free(modules->layout);
	free(modules->modules);
	memset(modules, 0, sizeof(*modules));
}
