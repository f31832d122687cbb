// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf baseline: what is expected of each guest's kernel. */
#include <string.h>

#include "baseline.h"

enum {
	OPTION_STORE = 0x500,
	OPTION_CONTENTS,
	OPTION_KERNEL,
	OPTION_FORGET_YES,
	OPTION_IMAGE,
	OPTION_OUT,
	OPTION_KEY,
	OPTION_MODULES,
};

static const struct argp_option baseline_argp_options[] = {
	{"store", OPTION_STORE, "FILE", 0, "The store (default: " BASELINE_STORE ")", 0},
	{"contents", OPTION_CONTENTS, NULL, 0, "show: also each object's place and value", 0},
	{"kernel", OPTION_KERNEL, NULL, 0,
	 "forget: also what its kernel build holds, for all VMs that run it", 0},
	{"image", OPTION_IMAGE, "FILE", 0,
	 "derive: the vendor's kernel, a vmlinuz as packaged or a vmlinux", 0},
	{"modules", OPTION_MODULES, "DIR", 0,
	 "derive: also the kernel's modules, as packaged, in this directory and below", 0},
	{"out", OPTION_OUT, "FILE", 0, "derive, export, keygen: what to write, which must be new", 0},
	{"key", OPTION_KEY, "FILE", 0,
	 "sign: with this secret key; import: only what this public key verifies", 0},
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
	case OPTION_IMAGE:
		options->image = arg;
		return 0;
	case OPTION_MODULES:
		options->modules = arg;
		return 0;
	case OPTION_OUT:
		options->out = arg;
		return 0;
	case OPTION_KEY:
		options->key = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp baseline_argp = {
	.options = baseline_argp_options, .parser = baseline_parser,
	.args_doc = "show [VM]\nforget VM\nrecord VM\ndiff VM\n"
		    "derive --image FILE [--modules DIR] --out FILE\nimport FILE|DIR\nexport BUILD-ID --out FILE\n"
		    "keygen --out NAME\nsign FILE --key FILE",
	.doc = "Works with the baselines in kvmbpf-monitor's store.\v"
	       "'show' lists them. 'forget' takes those of a VM out. Both take the VM's id or name "
	       "as the events have them: it need not run. A running monitor keeps the baseline "
	       "that it has in memory until the guest's next boot.\n\n"
	       "'record' watches a running VM until it has a baseline: the store's, if it has one "
	       "of this kernel, else what the kernel holds now, which is trusted then. 'diff' "
	       "holds a running VM against the store and writes nothing; its exit status is 4 "
	       "where they differ, 6 where not every check could be made. Give both the "
	       "--vmlinux that the monitor has.\n\n"
	       "'derive' makes the baseline of a kernel build from the vendor's image alone. "
	       "'import' takes it into the store, where it replaces what was recorded of that "
	       "build: a guest that was tampered with before it was first seen is then found "
	       "out. 'export' is the opposite. 'keygen' and 'sign' make keys and signatures in "
	       "the form of minisign(1), with which import --key and the monitor's "
	       "--reference-key refuse what was altered.",
};

int cmd_baseline(struct cli *cli, int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(struct cli *cli, const struct baseline_options *options,
			   const char *selector);
		const char *needs; /* an argument; NULL: none */
	} actions[] = {
		{"show", baseline_show, NULL},
		{"forget", baseline_forget, "VM"},
		{"record", baseline_record, "VM"},
		{"diff", baseline_diff, "VM"},
		{"derive", baseline_derive, NULL},
		{"import", baseline_import, "file"},
		{"export", baseline_export, "build-id"},
		{"keygen", baseline_keygen, NULL},
		{"sign", baseline_sign, "file"},
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
		if (actions[i].needs && cli->arg_count < 2)
			return cli_fail(cli, CLI_USAGE, "baseline %s: which %s?", actions[i].name,
					actions[i].needs);
		return actions[i].run(cli, &options, cli->arg_count > 1 ? cli->arg[1] : "");
	}
	return cli_fail(cli, CLI_USAGE, "'%s' is none of show, forget, record, diff, derive, "
			"import, export, keygen, sign", cli->arg[0]);
}
