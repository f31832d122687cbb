// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf gdt: the global descriptor table of each vCPU. */
#include <errno.h>
#include <stdlib.h>

#include "table_command.h"

static const struct argp gdt_argp = {
	.options = table_command_options, .parser = table_command_parser, .args_doc = "VM",
	.doc = "Shows the global descriptor table of each vCPU, decoded.",
};

static const struct layout gdt_inner[] = {
	{.kind = LAYOUT_FIELDS, .per_line = 4, .columns = (const struct column[]){
		{"vcpu", "vCPU", 0}, {"state", "state", 0}, {"base", "base", 0},
		{"limit", "limit", 0}, {0}}},
	{.kind = LAYOUT_TABLE, .key = "entries", .columns = (const struct column[]){
		{"index", "INDEX", 0}, {"selector", "SELECTOR", 0}, {"type_name", "TYPE", 0},
		{"base", "BASE", 0}, {"limit", "LIMIT", 0}, {"dpl", "DPL", 0},
		{"present", "PRESENT", 0}, {"long_mode", "L", 0}, {"db", "D/B", 0},
		{"raw", "RAW", 0}, {0}}},
	{0},
};

static const struct layout gdt_layout[] = {
	{.kind = LAYOUT_EACH, .key = "vcpus", .inner = gdt_inner},
	{0},
};

static json_t *descriptor_json(size_t index, const struct ka_descriptor *d)
{
	return json_pack("{s:i, s:o, s:s, s:i, s:b, s:o, s:o, s:i, s:b, s:b, s:b, s:b, s:b, s:i, "
			 "s:o}",
			 "index", (int)index, "selector", json_sprintf("0x%04x", (int)index << 3),
			 "type_name", ka_descriptor_type_name(d), "type", d->type,
			 "system", d->system, "base", output_hex(d->base),
			 "limit", output_short_hex(d->limit), "dpl", d->dpl,
			 "present", d->present, "avl", d->avl, "long_mode", d->long_mode,
			 "db", d->db, "granularity", d->granularity, "size", d->size,
			 "raw", table_command_raw(d->raw, d->size));
}

static int add_descriptors(struct cli *cli, const struct ka_registers *registers,
			   const struct ka_kernel *kernel, bool all, json_t *vcpu)
{
	struct ka_descriptor *descriptors = calloc(KA_GDT_MAX, sizeof(*descriptors));
	json_t *entries;
	size_t count;
	int err;

	(void)kernel;
	if (!descriptors)
		return -ENOMEM;
	err = ka_gdt_read(cli->vm, registers->vcpu, descriptors, KA_GDT_MAX, &count);
	if (!err) {
		entries = json_array();
		for (size_t i = 0; i < count; i++)
			if (descriptors[i].size && (all || descriptors[i].present))
				json_array_append_new(entries, descriptor_json(i, &descriptors[i]));
		json_object_set_new(vcpu, "entries", entries);
	}
	free(descriptors);
	return err;
}

int cmd_gdt(struct cli *cli, int argc, char **argv)
{
	static const struct table_command command = {
		.argp = &gdt_argp, .layout = gdt_layout, .gdt = true,
		.add_entries = add_descriptors,
	};

	return table_command_run(cli, &command, argc, argv);
}
