// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf idt: the interrupt descriptor table of each vCPU. */
#include <errno.h>
#include <stdlib.h>

#include "table_command.h"

static const struct argp idt_argp = {
	.options = table_command_options, .parser = table_command_parser, .args_doc = "VM",
	.doc = "Shows the interrupt descriptor table of each vCPU, decoded; with --vmlinux also "
	       "the handlers' names ('unknown': outside of the kernel image).",
};

static const struct layout idt_inner[] = {
	{.kind = LAYOUT_FIELDS, .per_line = 4, .columns = (const struct column[]){
		{"vcpu", "vCPU", 0}, {"state", "state", 0}, {"base", "base", 0},
		{"limit", "limit", 0}, {0}}},
	{.kind = LAYOUT_TABLE, .key = "entries", .columns = (const struct column[]){
		{"vector", "VECTOR", 0}, {"type_name", "TYPE", 0}, {"selector", "SELECTOR", 0},
		{"offset", "HANDLER", 0}, {"dpl", "DPL", 0}, {"ist", "IST", 0},
		{"present", "PRESENT", 0}, {"symbol", "SYMBOL", 0}, {0}}},
	{0},
};

static const struct layout idt_layout[] = {
	{.kind = LAYOUT_EACH, .key = "vcpus", .inner = idt_inner},
	{0},
};

static json_t *gate_json(size_t vector, const struct ka_gate *gate,
			 const struct ka_kernel *kernel)
{
	json_t *entry = json_pack("{s:i, s:s, s:i, s:o, s:o, s:i, s:i, s:b, s:o}",
				  "vector", (int)vector, "type_name", ka_gate_type_name(gate),
				  "type", gate->type,
				  "selector", json_sprintf("0x%04x", gate->selector),
				  "offset", output_hex(gate->offset), "dpl", gate->dpl,
				  "ist", gate->ist, "present", gate->present,
				  "raw", table_command_raw(gate->raw, gate->size));
	json_t *symbol = cli_symbol_json(kernel, gate->offset);

	if (symbol)
		json_object_set_new(entry, "symbol", symbol);
	return entry;
}

static int add_gates(struct cli *cli, const struct ka_registers *registers,
		     const struct ka_kernel *kernel, bool all, json_t *vcpu)
{
	struct ka_gate *gates = calloc(KA_IDT_MAX, sizeof(*gates));
	json_t *entries;
	size_t count;
	int err;

	if (!gates)
		return -ENOMEM;
	err = ka_idt_read(cli->vm, registers->vcpu, gates, KA_IDT_MAX, &count);
	if (!err) {
		entries = json_array();
		for (size_t i = 0; i < count; i++)
			if (all || gates[i].present)
				json_array_append_new(entries, gate_json(i, &gates[i], kernel));
		json_object_set_new(vcpu, "entries", entries);
	}
	free(gates);
	return err;
}

int cmd_idt(struct cli *cli, int argc, char **argv)
{
	static const struct table_command command = {
		.argp = &idt_argp, .layout = idt_layout, .add_entries = add_gates,
	};

	return table_command_run(cli, &command, argc, argv);
}
