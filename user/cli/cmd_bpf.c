// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf bpf: the eBPF programs of the guest's kernel. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"

static const struct argp bpf_argp = {
	.args_doc = "VM",
	.doc = "Lists the eBPF programs of the guest, from its kernel's own records. HIDDEN FROM says "
	       "'ids' where one that runs has no identifier. LINK is the kind of link that runs it, TARGET "
	       "the function, tracepoint or network device that it is attached to. CALLS names helpers "
	       "with which it changes memory of processes or results of kernel functions.",
};

static const struct layout bpf_layout[] = {
	{.kind = LAYOUT_TABLE, .key = "programs", .columns = (const struct column[]){
		{"id", "ID", 0}, {"type", "TYPE", 0}, {"name", "NAME", 0}, {"tag", "TAG", 0},
		{"uid", "UID", 0}, {"loaded_s", "LOADED", 0}, {"link", "LINK", 0},
		{"target", "TARGET", 0}, {"calls", "CALLS", 0}, {"hidden_from", "HIDDEN FROM", 0}, {0}}},
	{0},
};

static json_t *tag_json(const struct ka_bpf_program *program)
{
	char text[2 * KA_BPF_TAG_BYTES + 1];

	for (int i = 0; i < KA_BPF_TAG_BYTES; i++)
		sprintf(text + 2 * i, "%02x", program->tag[i]);
	return json_string(text);
}

static json_t *program_json(const struct ka_bpf_program *program, uint32_t uses)
{
	json_t *calls = json_array(), *hidden = json_array();
	bool linked = program->views & KA_BPF_LINKED;
	json_t *json;

	if (uses & KA_BPF_WRITES_USER)
		json_array_append_new(calls, json_string("bpf_probe_write_user"));
	if (uses & KA_BPF_OVERRIDES)
		json_array_append_new(calls, json_string("bpf_override_return"));
	if (!(program->views & KA_BPF_NUMBERED) && program->references)
		json_array_append_new(hidden, json_string("ids"));
	json = json_pack("{s:I, s:s, s:I, s:o, s:o, s:I, s:I, s:I, s:b, s:o, s:o, s:o}",
			 "id", (json_int_t)program->id, "type", ka_bpf_type_name(program->type),
			 "attach_type", (json_int_t)program->attach_type,
			 "name", output_guest_text(program->name), "tag", tag_json(program),
			 "uid", (json_int_t)program->uid, "instructions", (json_int_t)program->insns,
			 "loaded_s", (json_int_t)(program->loaded_ns / 1000000000),
			 "linked", linked, "calls", calls,
			 "program", output_hex(program->gva), "hidden_from", hidden);
	if (linked)
		json_object_set_new(json, "link", json_string(ka_bpf_link_name(program->link)));
	if (program->target[0])
		json_object_set_new(json, "target", output_guest_text(program->target));
	return json;
}

static int find_layout(struct cli *cli, const struct ka_kernel *kernel,
		       struct ka_bpf_layout **ret_layout)
{
	struct ka_types *types;
	int err = ka_types_from_guest(cli->vm, kernel, &types);

	if (err)
		return err;
	err = ka_bpf_layout_new(kernel, types, ret_layout);
	ka_types_free(types);
	return err;
}

static int show_programs(struct cli *cli, const struct ka_kernel *kernel,
			 struct ka_bpf_program *programs)
{
	struct ka_bpf_layout *layout;
	size_t count = 0;
	json_t *array;
	int err = find_layout(cli, kernel, &layout);

	if (err)
		return cli_fail_errno(cli, err, "types (BTF) of the guest's kernel");
	err = ka_bpf_read(cli->vm, kernel, layout, programs, KA_BPF_PROGRAMS_MAX, &count);
	array = json_array();
	for (size_t i = 0; !err && i < count; i++) {
		uint32_t uses = 0;

		ka_bpf_uses(cli->vm, kernel, layout, &programs[i], &uses);
		json_array_append_new(array, program_json(&programs[i], uses));
	}
	ka_bpf_layout_free(layout);
	if (err) {
		json_decref(array);
		return cli_fail_errno(cli, err, "programs");
	}
	json_object_set_new(cli_result(cli, bpf_layout), "programs", array);
	return CLI_OK;
}

int cmd_bpf(struct cli *cli, int argc, char **argv)
{
	struct ka_bpf_program *programs;
	struct ka_kernel kernel;
	int code = cli_parse(cli, &bpf_argp, argc, argv, 1, 1);

	if (!code)
		code = cli_open_vm(cli, cli->arg[0], 0);
	if (!code)
		code = cli_find_kernel(cli, true, &kernel);
	if (code)
		return code;
	programs = calloc(KA_BPF_PROGRAMS_MAX, sizeof(*programs));
	code = programs ? show_programs(cli, &kernel, programs)
			: cli_fail_errno(cli, -ENOMEM, "programs");
	free(programs);
	return code;
}
