// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf: looks at the kernels of KVM guests by hand. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const struct command commands[] = {
	{"list", "VMs of this host, and what can be observed of each", cmd_list},
	{"info", "the guest's kernel, and where each fact comes from", cmd_info},
	{"regs", "registers of the vCPUs", cmd_regs},
	{"gdt", "global descriptor table of each vCPU", cmd_gdt},
	{"idt", "interrupt descriptor table of each vCPU", cmd_idt},
	{"syscalls", "system call table", cmd_syscalls},
	{"modules", "modules of the guest's kernel", cmd_modules},
	{"ps", "processes of the guest", cmd_ps},
	{"bpf", "eBPF programs of the guest", cmd_bpf},
	{"read", "guest memory", cmd_read},
	{"write", "change guest memory", cmd_write},
	{"dump", "a range of guest memory, around its holes", cmd_dump},
	{"walk", "how the guest's page tables map an address", cmd_walk},
	{"sym", "address of a symbol, or symbol of an address", cmd_sym},
	{"baseline", "what is expected of guests and of kernel builds", cmd_baseline},
	{"config", "kvmbpf-monitor's configuration: check, show", cmd_config},
	{"status", "the running kvmbpf-monitor: VMs, open findings, sinks", cmd_status},
	{"top", "the same, live", cmd_top},
	{"probe", "what this host allows, and what is lost", cmd_probe},
};

enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

static const struct argp main_argp = {
	.args_doc = "COMMAND [ARGUMENT...]",
	.doc = "Looks at the kernels of KVM guests from the host.\v"
	       "A VM is given by its pid, UUID or name; 'kvmbpf COMMAND --help' says more.\n\n"
	       "Exit status: 0 ok, 1 error, 2 usage, 3 not supported or not permitted, "
	       "4 differences found, 5 no such VM, 6 incomplete.",
};

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static void print_commands(void)
{
	puts("\nCommands:");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		printf("  %-10s %s\n", commands[i].name, commands[i].summary);
}

static const struct layout version_layout[] = {
	{.kind = LAYOUT_FIELDS, .columns = (const struct column[]){{"version", "kvmbpf", 0}, {0}}},
	{0},
};

static int print_version(struct cli *cli)
{
	cli_result(cli, version_layout);
	json_object_set_new(cli->result, "version", json_string(ka_version()));
	return CLI_OK;
}

static int run_command(struct cli *cli, int argc, char **argv)
{
	const struct command *command = find_command(argv[0]);
	char program[64];
	int code;

	if (!command)
		return cli_fail(cli, CLI_USAGE, "no command '%s'; 'kvmbpf --help' lists them",
				argv[0]);
	snprintf(program, sizeof(program), "kvmbpf %s", command->name);
	cli->program = program;
	code = command->run(cli, argc, argv);
	cli->program = "kvmbpf";
	return code;
}

static int run(struct cli *cli, int argc, char **argv)
{
	int code;

	cli->want_command = true;
	code = cli_parse(cli, &main_argp, argc, argv, 0, 0);
	cli->want_command = false;
	if (code == CLI_DONE && cli->helped)
		print_commands();
	else if (code == CLI_OK && !cli->command_at)
		return cli_fail(cli, CLI_USAGE, "a command is missing; 'kvmbpf --help' lists them");
	else if (code == CLI_OK)
		code = run_command(cli, argc - cli->command_at, argv + cli->command_at);
	return code == CLI_DONE && cli->version ? print_version(cli) : code;
}

/* An error in the options must be JSON too, wherever -j stands. */
static void look_for_json(struct cli *cli, int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
		if (!strcmp(argv[i], "-p") || !strcmp(argv[i], "--pretty"))
			cli->json = cli->pretty = true;
		else if (!strcmp(argv[i], "-j") || !strcmp(argv[i], "--json"))
			cli->json = true;
	}
}

static void print_json(struct cli *cli, FILE *out, int code)
{
	json_t *result = cli->result ? cli->result : json_object();

	cli->result = result;
	json_object_del(result, "text");
	if (cli->warnings)
		json_object_set(result, "warnings", cli->warnings);
	if (cli->error) {
		json_t *text = json_string(cli->error);

		json_object_set_new(result, "error", text ? text : output_guest_text(cli->error));
		json_object_set_new(result, "exit", json_integer(code));
	}
	if (cli->candidates)
		json_object_set(result, "candidates", cli->candidates);
	output_json(out, result, cli->pretty);
}

static const struct layout candidates_layout[] = {
	{.kind = LAYOUT_TABLE, .columns = (const struct column[]){
		{"pid", "PID", 0}, {"uuid", "UUID", 0}, {"name", "NAME", 0}, {0}}},
	{0},
};

static void print_text(struct cli *cli, FILE *out)
{
	json_t *warning;
	size_t i;

	if (cli->result && cli->layout)
		output_text(out, cli->result, cli->layout);
	fflush(out);
	json_array_foreach(cli->warnings, i, warning)
		fprintf(stderr, "kvmbpf: %s\n", json_string_value(warning));
	if (cli->error)
		fprintf(stderr, "kvmbpf: %s\n", cli->error);
	if (cli->candidates)
		output_text(stderr, cli->candidates, candidates_layout);
}

int main(int argc, char **argv)
{
	struct cli cli = {.vcpu = CLI_ANY_VCPU, .program = "kvmbpf"};
	FILE *out;
	int code;

	look_for_json(&cli, argc, argv);
	code = run(&cli, argc, argv);
	if (code == CLI_DONE)
		code = CLI_OK;
	else if (code && !cli.error)
		cli_fail(&cli, code, "failed");
	out = cli.raw ? stderr : stdout;
	if (!cli.helped && cli.json)
		print_json(&cli, out, code);
	else if (!cli.helped)
		print_text(&cli, out);
	if ((fflush(stdout) || ferror(stdout)) && !code) {
		perror("kvmbpf: standard output");
		code = CLI_RUNTIME;
	}
	cli_deinit(&cli);
	return code;
}
