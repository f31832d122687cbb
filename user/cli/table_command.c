// SPDX-License-Identifier: LGPL-2.1-or-later
/* What kvmbpf gdt and kvmbpf idt share: a descriptor table of each vCPU. */
#include <stdlib.h>

#include "table_command.h"
#include "vcpu_option.h"

const struct argp_option table_command_options[] = {
	VCPU_OPTION("Only this vCPU"),
	{"all", 'a', NULL, 0, "Show entries that are not present too", 0},
	{0},
};

error_t table_command_parser(int key, char *arg, struct argp_state *state)
{
	struct cli *cli = state->input;

	if (key != 'a')
		return vcpu_option_parser(key, arg, state);
	*(bool *)cli->options = true;
	return 0;
}

json_t *table_command_raw(const uint64_t raw[2], unsigned int size)
{
	if (size < 16)
		return output_hex(raw[0]);
	return json_sprintf("0x%016llx%016llx", (unsigned long long)raw[1],
			    (unsigned long long)raw[0]);
}

/* One vCPU that cannot be read does not hide the others; the result is then incomplete. */
static int add_vcpu(struct cli *cli, const struct table_command *command,
		    const struct ka_registers *registers, const struct ka_kernel *kernel, bool all,
		    json_t *vcpus)
{
	const struct ka_table_register *table = command->gdt ? &registers->gdtr : &registers->idtr;
	json_t *vcpu = cli_state_json(registers);
	int err = ka_registers_usable(registers);

	json_array_append_new(vcpus, vcpu);
	if (err) {
		cli_warn(cli, "vCPU %u %s", registers->vcpu,
			 json_string_value(json_object_get(vcpu, "reason")));
		return CLI_INCOMPLETE;
	}
	json_object_set_new(vcpu, "base", output_hex(table->base));
	json_object_set_new(vcpu, "limit", output_short_hex(table->limit));
	err = command->add_entries(cli, registers, kernel, all, vcpu);
	if (!err)
		return CLI_OK;
	cli_warn(cli, "vCPU %u: %s", registers->vcpu, cli_error_text(err));
	json_object_set_new(vcpu, "error", json_string(cli_error_text(err)));
	return CLI_INCOMPLETE;
}

int table_command_run(struct cli *cli, const struct table_command *command, int argc, char **argv)
{
	struct ka_registers *registers;
	struct ka_kernel kernel = {0};
	bool all = false;
	json_t *vcpus;
	size_t count;
	int code, worst = CLI_OK;

	cli->options = &all;
	code = cli_parse(cli, command->argp, argc, argv, 1, 1);
	if (!code)
		code = cli_open_vm(cli, cli->arg[0], 0);
	if (!code && cli->symbol_count)
		code = cli_find_kernel(cli, false, &kernel);
	if (!code)
		code = cli_read_registers(cli, &registers, &count);
	if (code)
		return code;
	vcpus = json_array();
	json_object_set_new(cli_result(cli, command->layout), "vcpus", vcpus);
	for (size_t i = 0; i < count; i++) {
		code = add_vcpu(cli, command, &registers[i], &kernel, all, vcpus);
		if (code)
			worst = code;
	}
	free(registers);
	if (worst)
		return cli_fail(cli, worst, "not every vCPU could be read");
	return CLI_OK;
}
