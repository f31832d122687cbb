// SPDX-License-Identifier: LGPL-2.1-or-later
/* Options and arguments: those that all commands take, around a command's own. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

enum { OPTION_VMLINUX = 0x100, OPTION_SYSTEM_MAP };

static const struct argp_option common_options[] = {
	{NULL, 0, NULL, 0, "All commands:", 10},
	{"json", 'j', NULL, 0, "Print JSON, errors too", 10},
	{"pretty", 'p', NULL, 0, "Print indented JSON", 10},
	{"vmlinux", OPTION_VMLINUX, "FILE", 0,
	 "Kernel image of the guest with its symbols: vmlinuz or vmlinux (repeatable)", 10},
	{"system-map", OPTION_SYSTEM_MAP, "FILE", 0,
	 "Symbols of the guest's kernel: System.map or kallsyms text (repeatable)", 10},
	{"verbose", 'v', NULL, 0, "Show libbpf's messages on stderr", 10},
	{"help", 'h', NULL, 0, "Show this help", 11},
	{"version", 'V', NULL, 0, "Show the version", 11},
	{0},
};

bool cli_number(const char *text, uint64_t *ret_value)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	unsigned long long value;
	char *end;

	if (hex)
		text += 2;
	if (!*text || strspn(text, hex ? "0123456789abcdefABCDEF" : "0123456789") != strlen(text))
		return false;
	errno = 0;
	value = strtoull(text, &end, hex ? 16 : 10);
	if (errno || *end)
		return false;
	*ret_value = value;
	return true;
}

error_t cli_bad_option(struct cli *cli, const char *format, ...)
{
	va_list args;

	if (cli->error)
		return EINVAL;
	va_start(args, format);
	if (vasprintf(&cli->error, format, args) < 0)
		cli->error = NULL;
	va_end(args);
	return EINVAL;
}

static error_t take_argument(struct cli *cli, char *arg, struct argp_state *state)
{
	if (cli->want_command) {
		cli->command_at = state->next - 1;
		state->next = state->argc;
		return 0;
	}
	if (cli->arg_count == CLI_ARGS_MAX)
		return cli_bad_option(cli, "too many arguments at '%s'", arg);
	cli->arg[cli->arg_count++] = arg;
	return 0;
}

static error_t take_symbols(struct cli *cli, const char *path)
{
	if (cli->symbol_count == CLI_SYMBOLS_MAX)
		return cli_bad_option(cli, "more than %d symbol files", CLI_SYMBOLS_MAX);
	cli->symbol_path[cli->symbol_count++] = path;
	return 0;
}

static error_t common_parser(int key, char *arg, struct argp_state *state)
{
	struct cli *cli = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = cli;
		return 0;
	case 'j':
		cli->json = true;
		return 0;
	case 'p':
		cli->json = cli->pretty = true;
		return 0;
	case 'v':
		cli->verbose = true;
		return 0;
	case OPTION_VMLINUX:
	case OPTION_SYSTEM_MAP:
		return take_symbols(cli, arg);
	case 'V':
		cli->version = true;
		return 0;
	case 'h':
		argp_help(state->root_argp, stdout, ARGP_HELP_STD_HELP & ~ARGP_HELP_EXIT_OK,
			  (char *)cli->program);
		cli->helped = true;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_ARG:
		return take_argument(cli, arg, state);
	case ARGP_KEY_ERROR:
		/* argp and getopt would print on stderr only: with -j it belongs into the JSON. */
		if (!cli->error && state->next > 0)
			cli_bad_option(cli, "unknown option, or one without its value: '%s'",
				       state->argv[state->next - 1]);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int cli_parse(struct cli *cli, const struct argp *argp, int argc, char **argv,
	      unsigned int min_args, unsigned int max_args)
{
	const struct argp_child children[] = {{.argp = argp}, {0}};
	const struct argp outer = {
		.options = common_options, .parser = common_parser, .children = children,
	};
	unsigned int flags = ARGP_NO_ERRS | ARGP_NO_HELP | ARGP_NO_EXIT;

	if (cli->want_command)
		flags |= ARGP_IN_ORDER;
	if (argp_parse(&outer, argc, argv, flags, NULL, cli))
		return cli_fail(cli, CLI_USAGE, "bad arguments");
	if (cli->helped || cli->version)
		return CLI_DONE;
	if (cli->want_command)
		return CLI_OK;
	if (cli->arg_count < min_args || cli->arg_count > max_args) {
		const char *takes = argp->args_doc ? argp->args_doc : "";

		return cli_fail(cli, CLI_USAGE, "too %s arguments; it is: %s %.*s",
				cli->arg_count < min_args ? "few" : "many", cli->program,
				(int)strcspn(takes, "\n"), takes);
	}
	return CLI_OK;
}
