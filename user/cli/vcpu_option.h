/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The option --vcpu, for the commands that have it. */
#ifndef CLI_VCPU_OPTION_H
#define CLI_VCPU_OPTION_H

#include <limits.h>

#include "cli.h"

enum { OPTION_VCPU = 0x200 };

#define VCPU_OPTION(help) {"vcpu", OPTION_VCPU, "N", 0, help, 0}

static inline error_t vcpu_option_take(struct cli *cli, const char *text)
{
	uint64_t value;

	if (!cli_number(text, &value) || value > INT_MAX)
		return cli_bad_option(cli, "--vcpu: '%s' is no vCPU id", text);
	cli->vcpu = value;
	return 0;
}

/* The parser of a command that has no option but this one. */
static inline error_t vcpu_option_parser(int key, char *arg, struct argp_state *state)
{
	return key == OPTION_VCPU ? vcpu_option_take(state->input, arg) : ARGP_ERR_UNKNOWN;
}

#endif
