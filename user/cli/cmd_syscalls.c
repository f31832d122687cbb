// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf syscalls: the system call table. */
#include <errno.h>

#include "cli.h"

enum { OPTION_IA32 = 0x300 };

static const struct argp_option syscalls_options[] = {
	{"ia32", OPTION_IA32, NULL, 0, "The table of 32-bit programs, where the kernel has one", 0},
	{0},
};

static error_t syscalls_parser(int key, char *arg, struct argp_state *state)
{
	struct cli *cli = state->input;

	(void)arg;
	if (key != OPTION_IA32)
		return ARGP_ERR_UNKNOWN;
	*(enum ka_syscall_table_kind *)cli->options = KA_SYSCALL_IA32;
	return 0;
}

static const struct argp syscalls_argp = {
	.options = syscalls_options, .parser = syscalls_parser, .args_doc = "VM",
	.doc = "Shows the system call table with the handlers' names ('unknown': outside of the "
	       "kernel image). Needs --vmlinux.",
};

static const struct layout syscalls_layout[] = {
	{.kind = LAYOUT_FIELDS, .key = "table", .per_line = 4, .columns = (const struct column[]){
		{"gva", "table", 0}, {"count", "entries", 0}, {"kernel", "kernel", 0}, {0}}},
	{.kind = LAYOUT_TABLE, .key = "entries", .columns = (const struct column[]){
		{"number", "NUMBER", 0}, {"handler", "HANDLER", 0}, {"symbol", "SYMBOL", 0}, {0}}},
	{0},
};

static void add_table(struct cli *cli, const struct ka_kernel *kernel,
		      const struct ka_syscall_table *table, const uint64_t *handlers, size_t count)
{
	json_t *result = cli_result(cli, syscalls_layout), *entries = json_array();

	json_object_set_new(result, "table",
			    json_pack("{s:o, s:i, s:i, s:o}", "gva", output_hex(table->gva),
				      "count", (int)table->count,
				      "entry_size", (int)table->entry_size,
				      "kernel", output_guest_text(kernel->release)));
	for (size_t i = 0; i < count; i++)
		json_array_append_new(entries,
				      json_pack("{s:i, s:o, s:o}", "number", (int)i,
						"handler", output_hex(handlers[i]),
						"symbol", cli_symbol_json(kernel, handlers[i])));
	json_object_set_new(result, "entries", entries);
}

int cmd_syscalls(struct cli *cli, int argc, char **argv)
{
	enum ka_syscall_table_kind kind = KA_SYSCALL_NATIVE;
	uint64_t handlers[KA_SYSCALLS_MAX];
	struct ka_syscall_table table;
	struct ka_kernel kernel;
	size_t count;
	int code, err;

	cli->options = &kind;
	code = cli_parse(cli, &syscalls_argp, argc, argv, 1, 1);
	if (!code)
		code = cli_open_vm(cli, cli->arg[0], 0);
	if (!code)
		code = cli_find_kernel(cli, true, &kernel);
	if (code)
		return code;
	err = ka_syscall_table_find(cli->vm, &kernel, kind, &table);
	if (err == -ENODATA)
		return cli_fail(cli, CLI_RUNTIME, "this kernel has no such table");
	if (!err)
		err = ka_syscall_table_read(cli->vm, &kernel, &table, handlers, KA_SYSCALLS_MAX,
					    &count);
	if (err)
		return cli_fail_errno(cli, err, "system call table");
	add_table(cli, &kernel, &table, handlers, count);
	return CLI_OK;
}
