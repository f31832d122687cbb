// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf status: how the running kvmbpf-monitor is, and what it sees. */
#include <string.h>

#include "../monitor/status.h"
#include "cli.h"
#include "running.h"

enum { OPTION_SOCKET = 0x700 };

static error_t status_parser(int key, char *arg, struct argp_state *state)
{
	struct cli *cli = state->input;

	if (key != OPTION_SOCKET)
		return ARGP_ERR_UNKNOWN;
	*(const char **)cli->options = arg;
	return 0;
}

static const struct argp status_argp = {
	.options = (const struct argp_option[]){
		{"socket", OPTION_SOCKET, "PATH", 0,
		 "Where the monitor listens (default " STATUS_SOCKET ")", 0}, {0}},
	.parser = status_parser,
	.doc = "Asks the running kvmbpf-monitor for its VMs, how well they are seen, open findings, "
	       "and its sinks.",
};

static const struct layout finding_layout[] = {
	{.kind = LAYOUT_TABLE, .key = "findings", .columns = (const struct column[]){
		{"severity", "SEVERITY", 0}, {"first_seen", "SINCE", 0}, {"check", "CHECK", 0},
		{"object", "OBJECT", 0}, {0}}},
	{0},
};

static const struct layout status_layout[] = {
	{.kind = LAYOUT_FIELDS, .per_line = 4, .columns = (const struct column[]){
		{"version", "kvmbpf-monitor", 0}, {"host", "host", 0}, {"time", "at", 0}, {0}}},
	{.kind = LAYOUT_TABLE, .key = "vms", .columns = (const struct column[]){
		{"name", "VM", 0}, {"pid", "PID", 0}, {"seen", "SEEN", 0},
		{"baseline", "BASELINE", 0}, {"open_findings", "FINDINGS", 0},
		{"look_us", "LOOK/us", 0}, {"last_look", "LAST LOOK", 0}, {0}}},
	{.kind = LAYOUT_EACH, .key = "vms", .inner = finding_layout},
	{.kind = LAYOUT_TABLE, .key = "sinks", .columns = (const struct column[]){
		{"name", "SINK", 0}, {"state", "STATE", 0}, {"delivered", "DELIVERED", 0},
		{"queued", "WAIT", 0}, {"dropped", "DROPPED", 0}, {0}}},
	{0},
};

int cmd_status(struct cli *cli, int argc, char **argv)
{
	const char *socket = STATUS_SOCKET;
	char error[RUNNING_ERROR_MAX];
	json_t *status;
	int code;

	cli->options = &socket;
	code = cli_parse(cli, &status_argp, argc, argv, 0, 0);
	if (code)
		return code;
	if (running_status(socket, &status, error) < 0)
		return cli_fail(cli, CLI_RUNTIME, "%s", error);
	json_object_update(cli_result(cli, status_layout), status);
	json_decref(status);
	return CLI_OK;
}
