// SPDX-License-Identifier: LGPL-2.1-or-later
/* Modules that hide: live, and missing from one of the kernel's own records of them. */
#include "../audit.h"
#include "../text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MODULES_MAX = 512 };

struct modules {
	struct ka_module_layout *layout;
	struct ka_module module[MODULES_MAX];
};

static void modules_release(void *state)
{
	struct modules *modules = state;

	if (modules)
		ka_module_layout_free(modules->layout);
	free(modules);
}

static int modules_prepare(const struct audit_view *view, void **ret_state)
{
	struct modules *modules = calloc(1, sizeof(*modules));
	int err = modules ? ka_module_layout_new(view->kernel, view->types, &modules->layout)
			  : -ENOMEM;

	if (err) {
		modules_release(modules);
		return err;
	}
	*ret_state = modules;
	return 0;
}

static void views_text(char *buf, size_t size, uint32_t views)
{
	snprintf(buf, size, "%s%s%s", views & KA_MODULE_LISTED ? " list" : "",
		 views & KA_MODULE_IN_TREE ? " tree" : "", views & KA_MODULE_IN_SYSFS ? " sysfs" : "");
}

/* Its name in the list of loaded modules is the guest's; where it lies tells it from its namesakes. */
static void add_hidden(struct audit_result *result, const struct ka_module *module, uint32_t views)
{
	struct difference *difference =
		audit_add(result, CHECK_MODULES, OBJECT_MODULE, module->gva);
	char missing[32], text[32];

	if (!difference)
		return;
	text_clean(difference->name, sizeof(difference->name), module->name);
	difference->gva = module->gva;
	difference->problem = "hidden";
	views_text(missing, sizeof(missing), views & ~module->views);
	snprintf(difference->what, sizeof(difference->what), "is loaded, but hidden from:%s", missing);
	views_text(text, sizeof(text), views);
	snprintf(difference->expected_text, sizeof(difference->expected_text), "%s", text + 1);
	views_text(text, sizeof(text), module->views);
	snprintf(difference->observed_text, sizeof(difference->observed_text), "%s", text + 1);
}

static int modules_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	struct modules *modules = state;
	uint32_t views = 0;
	size_t count = 0;
	int err = ka_modules_read(view->vm, view->kernel, modules->layout, modules->module,
				  MODULES_MAX, &count, &views);

	for (size_t i = 0; !err && i < count; i++) {
		const struct ka_module *module = &modules->module[i];

		/* One that comes or goes is rightly not in all of them. */
		if (module->state == KA_MODULE_LIVE && views & ~module->views)
			add_hidden(result, module, views);
	}
	return err;
}

const struct audit audit_modules = {
	.prepare = modules_prepare,
	.look = modules_look,
	.release = modules_release,
};
