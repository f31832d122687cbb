// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf walk: how the guest's page tables map an address. */
#include <stdio.h>

#include "cli.h"
#include "vcpu_option.h"

static const struct argp_option walk_options[] = {
	VCPU_OPTION("In the address space of this vCPU, not in the kernel's own"),
	{0},
};

static const struct argp walk_argp = {
	.options = walk_options, .parser = vcpu_option_parser, .args_doc = "VM ADDRESS",
	.doc = "Walks the guest's page tables for a guest-virtual address: each entry, where it "
	       "lies, and what it allows.",
};

static const struct layout walk_layout[] = {
	{.kind = LAYOUT_FIELDS, .columns = (const struct column[]){
		{"gva", "virtual", 0}, {"address_space", "address space", 0},
		{"paging", "paging", 0}, {"root", "root", 0}, {0}}},
	{.kind = LAYOUT_TABLE, .key = "steps", .columns = (const struct column[]){
		{"table", "TABLE", 0}, {"gpa", "AT", 0}, {"entry", "ENTRY", 0},
		{"bits", "BITS", 0}, {0}}},
	{.kind = LAYOUT_FIELDS, .columns = (const struct column[]){
		{"gpa", "physical", 0}, {"page_size", "page", COLUMN_BYTES},
		{"rights", "rights", 0}, {0}}},
	{0},
};

static const unsigned int mode_depth[] = {0, 2, 3, 4, 5};

/* By the distance from the last level (Intel SDM vol. 3A, 4.2). */
static const char *const table_names[] = {"PT", "PD", "PDPT", "PML4", "PML5"};

/* Intel SDM vol. 3A, tables 4-14 to 4-20. */
static json_t *entry_bits(uint64_t entry, enum ka_paging_mode mode, bool leaf_size)
{
	static const struct { unsigned int bit; const char *name; } bits[] = {
		{0, "P"}, {1, "RW"}, {2, "US"}, {3, "PWT"}, {4, "PCD"}, {5, "A"}, {6, "D"},
		{8, "G"},
	};
	json_t *array = json_array();

	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		if (entry >> bits[i].bit & 1)
			json_array_append_new(array, json_string(bits[i].name));
	if (entry >> 7 & 1)
		json_array_append_new(array, json_string(leaf_size ? "PS" : "PAT"));
	if (mode != KA_PAGING_32BIT && entry >> 63)
		json_array_append_new(array, json_string("NX"));
	return array;
}

static json_t *steps_json(const struct ka_translation *translation, enum ka_paging_mode mode)
{
	json_t *steps = json_array();

	for (unsigned int i = 0; i < translation->depth && i < 5; i++) {
		const struct ka_walk_step *step = &translation->step[i];
		unsigned int level = mode_depth[mode] - 1 - i;

		json_array_append_new(steps, json_pack("{s:s, s:o, s:o, s:o}",
			"table", level < 5 ? table_names[level] : "?",
			"gpa", output_hex(step->gpa), "entry", output_hex(step->entry),
			"bits", entry_bits(step->entry, mode, level)));
	}
	return steps;
}

static json_t *rights_json(uint8_t rights)
{
	json_t *array = json_array();

	json_array_append_new(array, json_string("read"));
	if (rights & KA_RIGHT_WRITE)
		json_array_append_new(array, json_string("write"));
	if (rights & KA_RIGHT_EXEC)
		json_array_append_new(array, json_string("exec"));
	if (rights & KA_RIGHT_USER)
		json_array_append_new(array, json_string("user"));
	return array;
}

static void add_translation(struct cli *cli, uint64_t gva, const struct ka_paging *paging,
			    const char *space, const struct ka_translation *translation)
{
	json_t *result = cli_result(cli, walk_layout);

	json_object_set_new(result, "gva", output_hex(gva));
	json_object_set_new(result, "address_space", json_string(space));
	json_object_set_new(result, "paging", json_string(cli_paging_name(paging)));
	json_object_set_new(result, "root", output_hex(paging->root));
	json_object_set_new(result, "steps", steps_json(translation, paging->mode));
	json_object_set_new(result, "gpa", output_hex(translation->gpa));
	json_object_set_new(result, "page_size", json_integer(translation->page_size));
	json_object_set_new(result, "rights", rights_json(translation->rights));
}

int cmd_walk(struct cli *cli, int argc, char **argv)
{
	int code = cli_parse(cli, &walk_argp, argc, argv, 2, 2), err;
	struct ka_translation translation;
	struct ka_kernel kernel = {0};
	struct ka_paging paging;
	char space[16];
	uint64_t gva;

	if (!code && !cli_number(cli->arg[1], &gva))
		return cli_fail(cli, CLI_USAGE, "'%s' is no address: hexadecimal needs 0x",
				cli->arg[1]);
	if (!code)
		code = cli_open_vm(cli, cli->arg[0], 0);
	if (!code)
		code = cli_find_kernel(cli, false, &kernel);
	if (!code)
		code = cli_paging(cli, &kernel, &paging, space);
	if (code)
		return code;
	err = ka_translate(cli->vm, &paging, gva, &translation);
	if (err)
		return cli_fail_errno(cli, err, "0x%llx in the address space of %s",
				      (unsigned long long)gva, space);
	add_translation(cli, gva, &paging, space, &translation);
	return CLI_OK;
}
