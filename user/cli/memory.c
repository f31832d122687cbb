// SPDX-License-Identifier: LGPL-2.1-or-later
/* Guest memory as kvmbpf read, write and dump address it. */
#include <stdio.h>

#include "memory.h"

error_t memory_parser(int key, char *arg, struct argp_state *state)
{
	struct cli *cli = state->input;
	struct memory_options *options = cli->options;

	switch (key) {
	case OPTION_GPA:
		options->gpa = true;
		return 0;
	case OPTION_RAW:
		options->raw = true;
		return 0;
	case OPTION_YES:
		options->yes = true;
		return 0;
	case OPTION_QUEUE:
		options->queue = true;
		return 0;
	case OPTION_SYMBOL:
		options->symbol = arg;
		return 0;
	case OPTION_OUT:
		options->out = arg;
		return 0;
	default:
		return vcpu_option_parser(key, arg, state);
	}
}

int memory_space_find(struct cli *cli, bool gpa, const struct ka_kernel *kernel,
		      struct memory_space *ret_space)
{
	struct memory_space space = {.gpa = gpa};
	int code = CLI_OK;

	if (gpa)
		snprintf(space.name, sizeof(space.name), "physical");
	else
		code = cli_paging(cli, kernel, &space.paging, space.name);
	if (!code)
		*ret_space = space;
	return code;
}

int memory_read(struct cli *cli, const struct memory_space *space, uint64_t address, void *buf,
		size_t len)
{
	if (space->gpa)
		return ka_gpa_read(cli->vm, address, buf, len);
	return ka_gva_read(cli->vm, &space->paging, address, buf, len);
}
