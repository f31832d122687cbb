// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf baseline: what is expected of each guest's kernel. */
#include <string.h>

#include "baseline.h"

enum { OPTION_STORE = 0x500, OPTION_CONTENTS, OPTION_KERNEL, OPTION_FORGET_YES };

static const struct argp_option baseline_argp_options[] = {
	{"store", OPTION_STORE, "FILE", 0, "The store (default: " BASELINE_STORE ")", 0},
	{"contents", OPTION_CONTENTS, NULL, 0, "show: also each object's place and value", 0},
	{"kernel", OPTION_KERNEL, NULL, 0,
	 "forget: also what its kernel build holds, for all VMs that run it", 0},
	{"yes", OPTION_FORGET_YES, NULL, 0, "forget: do it", 0},
	{0},
};

static error_t baseline_parser(int key, char *arg, struct argp_state *state)
{
	struct cli *cli = state->input;
	struct baseline_options *options = cli->options;

	switch (key) {
	case OPTION_STORE:
		options->store = arg;
		return 0;
	case OPTION_CONTENTS:
		options->contents = true;
		return 0;
	case OPTION_KERNEL:
		options->kernel = true;
		return 0;
	case OPTION_FORGET_YES:
		options->yes = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp baseline_argp = {
	.options = baseline_argp_options, .parser = baseline_parser,
	.args_doc = "show [VM]\nforget VM\nrecord VM\ndiff VM",
	.doc = "Works with the baselines in kvmbpf-monitor's store.\v"
	       "'show' lists them. 'forget' takes those of a VM out. Both take the VM's id or name "
	       "as the events have them: it need not run. A running monitor keeps the baseline "
	       "that it has in memory until the guest's next boot.\n\n"
	       "'record' watches a running VM until it has a baseline: the store's, if it has one "
	       "of this kernel, else what the kernel holds now, which is trusted then. 'diff' "
	       "holds a running VM against the store and writes nothing; its exit status is 4 "
	       "where they differ, 6 where not every check could be made. Give both the "
	       "--vmlinux that the monitor has.",
};

int cmd_baseline(struct cli *cli, int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(struct cli *cli, const struct baseline_options *options,
			   const char *selector);
		bool needs_vm;
	} actions[] = {
		{"show", baseline_show, false},
		{"forget", baseline_forget, true},
		{"record", baseline_record, true},
		{"diff", baseline_diff, true},
	};
	struct baseline_options options = {.store = BASELINE_STORE};
	int code;

	cli->options = &options;
	code = cli_parse(cli, &baseline_argp, argc, argv, 1, 2);
	if (code)
		return code;
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (strcmp(cli->arg[0], actions[i].name))
			continue;
		if (actions[i].needs_vm && cli->arg_count < 2)
			return cli_fail(cli, CLI_USAGE, "baseline %s: which VM?", actions[i].name);
		return actions[i].run(cli, &options, cli->arg_count > 1 ? cli->arg[1] : "");
	}
	return cli_fail(cli, CLI_USAGE, "'%s' is none of show, forget, record, diff", cli->arg[0]);
}
