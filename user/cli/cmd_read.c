// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf read: guest memory, all of what is asked for or an error. */
#include <stdlib.h>

#include "memory.h"

static const struct argp_option read_options[] = {
	GPA_OPTION,
	RAW_OPTION("Write the bytes themselves to standard output"),
	MEMORY_VCPU_OPTION,
	{"symbol", OPTION_SYMBOL, "NAME", 0,
	 "At this symbol of the kernel, instead of an address (needs --vmlinux)", 0},
	{0},
};

static const struct argp read_argp = {
	.options = read_options, .parser = memory_parser,
	.args_doc = "VM ADDRESS LENGTH\nVM --symbol NAME LENGTH",
	.doc = "Reads guest memory: decimal numbers, or hexadecimal with 0x. All or nothing; "
	       "'kvmbpf dump' goes around holes.",
};

static const struct layout read_layout[] = {
	{.kind = LAYOUT_HEXDUMP, .key = "data"},
	{0},
};

static int find_symbol(struct cli *cli, const struct ka_kernel *kernel, const char *name,
		       uint64_t *ret_address)
{
	int err = ka_kernel_symbol(kernel, name, ret_address);

	return err ? cli_fail(cli, cli_error_exit(err), "symbol '%s': %s", name,
			      cli_error_text(err)) : CLI_OK;
}

static int print_bytes(struct cli *cli, const struct memory_space *space, uint64_t address,
		       const uint8_t *bytes, size_t len, bool raw)
{
	json_t *result;

	if (raw) {
		cli->raw = true;
		if (fwrite(bytes, 1, len, stdout) != len)
			return cli_fail(cli, CLI_RUNTIME, "standard output: cannot write");
		return CLI_OK;
	}
	result = cli_result(cli, read_layout);
	json_object_set_new(result, "address_space", json_string(space->name));
	json_object_set_new(result, "length", json_integer(len));
	json_object_set_new(result, "data", json_pack("[{s:o, s:o}]",
			    "address", output_hex(address), "data", output_bytes(bytes, len)));
	return CLI_OK;
}

static int parse_numbers(struct cli *cli, const struct memory_options *options,
			 uint64_t *ret_address, uint64_t *ret_len)
{
	unsigned int at = 1;

	if (cli->arg_count != (options->symbol ? 2 : 3))
		return cli_fail(cli, CLI_USAGE, "kvmbpf read: it takes VM ADDRESS LENGTH, or VM "
				"LENGTH with --symbol");
	if (options->raw && cli->json)
		return cli_fail(cli, CLI_USAGE, "--raw and --json exclude each other");
	if (options->symbol && options->gpa)
		return cli_fail(cli, CLI_USAGE, "--symbol and --gpa exclude each other");
	if (!options->symbol && !cli_number(cli->arg[at++], ret_address))
		return cli_fail(cli, CLI_USAGE, "'%s' is no address: hexadecimal needs 0x",
				cli->arg[1]);
	if (!cli_number(cli->arg[at], ret_len) || !*ret_len || *ret_len > MEMORY_SHOW_MAX)
		return cli_fail(cli, CLI_USAGE, "'%s' is no length from 1 to %d; 'kvmbpf dump' "
				"reads more", cli->arg[at], MEMORY_SHOW_MAX);
	return CLI_OK;
}

int cmd_read(struct cli *cli, int argc, char **argv)
{
	struct memory_options options = {0};
	struct ka_kernel kernel = {0};
	struct memory_space space;
	uint64_t address, len;
	uint8_t *bytes;
	int code, err;

	cli->options = &options;
	code = cli_parse(cli, &read_argp, argc, argv, 2, 3);
	if (!code)
		code = parse_numbers(cli, &options, &address, &len);
	if (!code)
		code = cli_open_vm(cli, cli->arg[0], 0);
	if (!code && !options.gpa)
		code = cli_find_kernel(cli, options.symbol, &kernel);
	if (!code && options.symbol)
		code = find_symbol(cli, &kernel, options.symbol, &address);
	if (!code)
		code = memory_space_find(cli, options.gpa, &kernel, &space);
	if (code)
		return code;
	bytes = malloc(len);
	if (!bytes)
		return cli_fail(cli, CLI_RUNTIME, "out of memory");
	err = memory_read(cli, &space, address, bytes, len);
	if (err)
		code = cli_fail_errno(cli, err, "0x%llx", (unsigned long long)address);
	else
		code = print_bytes(cli, &space, address, bytes, len, options.raw);
	free(bytes);
	return code;
}
