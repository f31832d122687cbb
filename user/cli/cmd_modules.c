// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf modules: the modules of the guest's kernel. */
#include <errno.h>
#include <stdlib.h>

#include "cli.h"

static const struct argp modules_argp = {
	.args_doc = "VM",
	.doc = "Lists the modules of the guest's kernel: those that lsmod(8) in the guest would "
	       "show, and those that hide from it. HIDDEN FROM names the records of the kernel in "
	       "which a live module is not: the list of lsmod, the tree of addresses, sysfs.",
};

static const struct layout modules_layout[] = {
	{.kind = LAYOUT_TABLE, .key = "modules", .columns = (const struct column[]){
		{"name", "NAME", 0}, {"state", "STATE", 0}, {"text", "TEXT", 0},
		{"text_size", "SIZE", 0}, {"taints", "TAINTS", 0},
		{"hidden_from", "HIDDEN FROM", 0}, {0}}},
	{0},
};

static const char *state_name(uint32_t state)
{
	static const char *const names[] = {
		[KA_MODULE_LIVE] = "live",
		[KA_MODULE_COMING] = "coming",
		[KA_MODULE_GOING] = "going",
		[KA_MODULE_UNFORMED] = "unformed",
	};

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

/* The letters of /proc/modules, bit by bit (kernel/panic.c, taint_flags). */
static json_t *taints_json(uint64_t taints)
{
	static const char letters[] = "PFSRMBUDAWCIOELKXTNJ";
	char text[sizeof(letters)];
	size_t len = 0;

	for (size_t bit = 0; bit < sizeof(letters) - 1; bit++)
		if (taints & 1ULL << bit)
			text[len++] = letters[bit];
	text[len] = '\0';
	return json_string(text);
}

/* Of the views that there are; one that comes or goes is rightly not in all of them. */
static json_t *hidden_json(const struct ka_module *module, uint32_t views)
{
	uint32_t missing = module->state == KA_MODULE_LIVE ? views & ~module->views : 0;
	json_t *array = json_array();

	if (missing & KA_MODULE_LISTED)
		json_array_append_new(array, json_string("list"));
	if (missing & KA_MODULE_IN_TREE)
		json_array_append_new(array, json_string("tree"));
	if (missing & KA_MODULE_IN_SYSFS)
		json_array_append_new(array, json_string("sysfs"));
	return array;
}

static json_t *module_json(const struct ka_module *module, uint32_t views)
{
	return json_pack("{s:o, s:s, s:o, s:I, s:o, s:o, s:o}", "name",
			 output_guest_text(module->name), "state", state_name(module->state),
			 "text", output_hex(module->text_start), "text_size",
			 (json_int_t)module->text_size, "taints", taints_json(module->taints),
			 "module", output_hex(module->gva), "hidden_from",
			 hidden_json(module, views));
}

static int find_layout(struct cli *cli, const struct ka_kernel *kernel,
		       struct ka_module_layout **ret_layout)
{
	struct ka_types *types;
	int err = ka_types_from_guest(cli->vm, kernel, &types);

	if (err)
		return err;
	err = ka_module_layout_new(kernel, types, ret_layout);
	ka_types_free(types);
	return err;
}

static int read_modules(struct cli *cli, const struct ka_kernel *kernel, struct ka_module *modules,
			size_t *ret_count, uint32_t *ret_views)
{
	struct ka_module_layout *layout;
	int err = find_layout(cli, kernel, &layout);

	if (err)
		return cli_fail_errno(cli, err, "types (BTF) of the guest's kernel");
	err = ka_modules_read(cli->vm, kernel, layout, modules, KA_MODULES_MAX, ret_count,
			      ret_views);
	ka_module_layout_free(layout);
	return err ? cli_fail_errno(cli, err, "list of modules") : CLI_OK;
}

int cmd_modules(struct cli *cli, int argc, char **argv)
{
	int code = cli_parse(cli, &modules_argp, argc, argv, 1, 1);
	struct ka_module *modules = NULL;
	struct ka_kernel kernel;
	uint32_t views;
	size_t count;

	if (!code)
		code = cli_open_vm(cli, cli->arg[0], 0);
	if (!code)
		code = cli_find_kernel(cli, true, &kernel);
	if (!code) {
		modules = calloc(KA_MODULES_MAX, sizeof(*modules));
		code = modules ? read_modules(cli, &kernel, modules, &count, &views) :
				 cli_fail_errno(cli, -ENOMEM, "list of modules");
	}
	if (!code) {
		json_t *array = json_array();

		for (size_t i = 0; i < count; i++)
			json_array_append_new(array, module_json(&modules[i], views));
		json_object_set_new(cli_result(cli, modules_layout), "modules", array);
	}
	free(modules);
	return code;
}
