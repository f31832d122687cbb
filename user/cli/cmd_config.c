// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf config: is kvmbpf-monitor's configuration right, and what does it come to? */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../monitor/config.h"
#include "cli.h"

enum { OPTION_ROOT = 0x600 };

static error_t config_parser(int key, char *arg, struct argp_state *state)
{
	struct cli *cli = state->input;

	if (key != OPTION_ROOT)
		return ARGP_ERR_UNKNOWN;
	*(const char **)cli->options = arg;
	return 0;
}

static const struct argp config_argp = {
	.options = (const struct argp_option[]){
		{"root", OPTION_ROOT, "DIR", 0, "Look for the files below DIR", 0}, {0}},
	.parser = config_parser,
	.args_doc = "check [FILE]\nshow [FILE]",
	.doc = "Reads kvmbpf-monitor's configuration: FILE, or what the monitor reads by itself, "
	       "/usr/lib/kvmbpf/conf.d, /etc/kvmbpf/kvmbpf.yaml and /etc/kvmbpf/conf.d.\v"
	       "'check' says which files there are and whether they are right: exit status 2, with "
	       "file and line, if not. 'show' prints what they come to, as one file.",
};

static const struct layout check_layout[] = {
	{.kind = LAYOUT_TABLE, .key = "files", .columns = (const struct column[]){
		{"path", "FILE", 0}, {"state", "STATE", 0}, {0}}},
	{0},
};

static void show_files(json_t *result, const struct config_set *set)
{
	json_t *files = json_array();
	size_t count;
	const char *const *paths = config_files(set, &count);

	for (size_t i = 0; i < count; i++)
		json_array_append_new(files, json_pack("{s:o, s:s}", "path",
						       output_guest_text(paths[i]), "state", "ok"));
	json_object_set_new(result, "files", files);
}

static int show_text(struct cli *cli, const struct config_set *set)
{
	char *text;
	int err = config_text(set, &text);

	if (err)
		return cli_fail_errno(cli, err, "cannot print the configuration");
	cli->layout = NULL;
	json_object_set_new(cli->result, "yaml", json_string(text));
	if (!cli->json)
		fputs(text, stdout);
	free(text);
	return CLI_OK;
}

int cmd_config(struct cli *cli, int argc, char **argv)
{
	char error[CONFIG_ERROR_MAX];
	struct config_set *set;
	const char *root = "";
	bool show;
	int code, err;

	cli->options = &root;
	code = cli_parse(cli, &config_argp, argc, argv, 1, 2);
	if (code)
		return code;
	show = !strcmp(cli->arg[0], "show");
	if (!show && strcmp(cli->arg[0], "check"))
		return cli_fail(cli, CLI_USAGE, "'%s' is none of check, show", cli->arg[0]);
	err = config_load(root, cli->arg_count > 1 ? cli->arg[1] : NULL, &set, error);
	if (err)
		return cli_fail(cli, err == -EINVAL ? CLI_USAGE : CLI_RUNTIME, "%s",
				error[0] ? error : strerror(-err));
	cli_result(cli, check_layout);
	show_files(cli->result, set);
	code = show ? show_text(cli, set) : CLI_OK;
	config_free(set);
	return code;
}
