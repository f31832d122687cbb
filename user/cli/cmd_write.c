// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf write: changes guest memory, if told so twice. */
#include <ctype.h>
#include <string.h>

#include "memory.h"

enum { WRITE_MAX = 4096 };

static const struct argp_option write_options[] = {
	GPA_OPTION,
	MEMORY_VCPU_OPTION,
	{"yes", OPTION_YES, NULL, 0, "Do it; without this nothing is written", 0},
	{0},
};

static const struct argp write_argp = {
	.options = write_options, .parser = memory_parser, .args_doc = "VM ADDRESS HEXBYTES",
	.doc = "Writes bytes, given as pairs of hexadecimal digits in their order in memory, into "
	       "the memory of a running guest, past its page protections. Refused while the "
	       "memory is dirty-logged (live migration).",
};

static const struct layout write_layout[] = {
	{.kind = LAYOUT_FIELDS, .columns = (const struct column[]){
		{"address", "address", 0}, {"before", "before", 0}, {"written", "written", 0},
		{0}}},
	{0},
};

static bool parse_hex(const char *text, uint8_t *ret_bytes, size_t *ret_len)
{
	static const char digits[] = "0123456789abcdef";
	size_t len = strlen(text);

	if (!len || len % 2 || len / 2 > WRITE_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		const char *digit = strchr(digits, tolower((unsigned char)text[i]));

		if (!digit)
			return false;
		ret_bytes[i / 2] = ret_bytes[i / 2] << 4 | (digit - digits);
	}
	*ret_len = len / 2;
	return true;
}

static int parse_write(struct cli *cli, const struct memory_options *options,
		       uint64_t *ret_address, uint8_t *ret_bytes, size_t *ret_len)
{
	if (!cli_number(cli->arg[1], ret_address))
		return cli_fail(cli, CLI_USAGE, "'%s' is no address: hexadecimal needs 0x",
				cli->arg[1]);
	if (!parse_hex(cli->arg[2], ret_bytes, ret_len))
		return cli_fail(cli, CLI_USAGE, "'%s' is not 1 to %d pairs of hexadecimal digits",
				cli->arg[2], WRITE_MAX);
	if (!options->yes)
		return cli_fail(cli, CLI_USAGE, "this would write %zu bytes into a running guest: "
				"add --yes to do it", *ret_len);
	return CLI_OK;
}

int cmd_write(struct cli *cli, int argc, char **argv)
{
	uint8_t bytes[WRITE_MAX] = {0}, before[WRITE_MAX];
	struct memory_options options = {0};
	struct ka_kernel kernel = {0};
	struct memory_space space;
	uint64_t address;
	json_t *result;
	int code, err;
	size_t len = 0;

	cli->options = &options;
	code = cli_parse(cli, &write_argp, argc, argv, 3, 3);
	if (!code)
		code = parse_write(cli, &options, &address, bytes, &len);
	if (!code)
		code = cli_open_vm(cli, cli->arg[0], KA_OPEN_WRITE);
	if (!code && !options.gpa)
		code = cli_find_kernel(cli, false, &kernel);
	if (!code)
		code = memory_space_find(cli, options.gpa, &kernel, &space);
	if (code)
		return code;
	err = memory_read(cli, &space, address, before, len);
	if (!err && space.gpa)
		err = ka_gpa_write(cli->vm, address, bytes, len);
	else if (!err)
		err = ka_gva_write(cli->vm, &space.paging, address, bytes, len);
	if (err)
		return cli_fail_errno(cli, err, "0x%llx", (unsigned long long)address);
	result = cli_result(cli, write_layout);
	json_object_set_new(result, "address_space", json_string(space.name));
	json_object_set_new(result, "address", output_hex(address));
	json_object_set_new(result, "before", output_bytes(before, len));
	json_object_set_new(result, "written", output_bytes(bytes, len));
	return CLI_OK;
}
