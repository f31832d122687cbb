// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf sym: the address of a symbol in a guest, or the symbol of an address. */
#include <stdio.h>

#include "cli.h"

static const struct argp sym_argp = {
	.args_doc = "VM NAME|ADDRESS",
	.doc = "Finds a symbol of the guest's kernel by its name or by an address in the guest. "
	       "Without --vmlinux or --system-map the guest's memory is searched for its symbols.",
};

static const struct layout sym_layout[] = {
	{.kind = LAYOUT_FIELDS, .columns = (const struct column[]){
		{"symbol", "symbol", 0}, {"gva", "address", 0},
		{"link_address", "at link time", 0}, {"slide", "KASLR slide", 0},
		{"kernel", "kernel", 0}, {"build_id", "build-id", 0}, {"source", "source", 0},
		{0}}},
	{0},
};

static void add_symbol(struct cli *cli, const struct ka_kernel *kernel, uint64_t gva)
{
	json_t *result = cli_result(cli, sym_layout);

	json_object_set_new(result, "symbol", cli_symbol_json(kernel, gva));
	json_object_set_new(result, "gva", output_hex(gva));
	json_object_set_new(result, "link_address", output_hex(gva - kernel->slide));
	json_object_set_new(result, "slide", output_short_hex(kernel->slide));
	json_object_set_new(result, "kernel", output_guest_text(kernel->release));
	json_object_set_new(result, "build_id", json_string(kernel->build_id));
	json_object_set_new(result, "source", json_string(ka_symbols_source(kernel->symbols)));
}

int cmd_sym(struct cli *cli, int argc, char **argv)
{
	int code = cli_parse(cli, &sym_argp, argc, argv, 2, 2), err;
	struct ka_kernel kernel;
	uint64_t gva, offset;
	const char *what;

	if (!code)
		code = cli_open_vm(cli, cli->arg[0], 0);
	if (!code)
		code = cli_find_kernel(cli, true, &kernel);
	if (code)
		return code;
	what = cli->arg[1];
	if (cli_number(what, &gva)) {
		if (!ka_kernel_name(&kernel, gva, &offset))
			return cli_fail(cli, CLI_RUNTIME,
					"%s: outside of the kernel image", what);
	} else {
		err = ka_kernel_symbol(&kernel, what, &gva);
		if (err)
			return cli_fail_errno(cli, err, "symbol '%s'", what);
	}
	add_symbol(cli, &kernel, gva);
	if (!cli_number(what, &gva))
		json_object_set_new(cli->result, "symbol", output_guest_text(what));
	return CLI_OK;
}
