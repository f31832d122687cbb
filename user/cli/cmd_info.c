// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf info: the guest's kernel, and where each fact about it comes from. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

static const struct argp info_argp = {
	.args_doc = "VM",
	.doc = "Shows which Linux kernel the guest runs, where it lies, and where each fact comes "
	       "from: a file that was given, or else the guest's own memory.",
};

static const struct layout info_layout[] = {
	{.kind = LAYOUT_TABLE, .key = "facts", .columns = (const struct column[]){
		{"fact", "FACT", 0}, {"value", "VALUE", 0}, {"source", "SOURCE", 0}, {0}}},
	{0},
};

static void add_fact(json_t *facts, const char *fact, json_t *value, const char *source)
{
	json_array_append_new(facts, json_pack("{s:s, s:o, s:s}", "fact", fact, "value", value,
					       "source", source));
}

static json_t *signed_hex(int64_t value)
{
	return json_sprintf("%s0x%" PRIx64, value < 0 ? "-" : "",
			    value < 0 ? -(uint64_t)value : (uint64_t)value);
}

/* Names of the symbols' own facts: of the file, or of the places in the guest's memory. */
static void symbol_sources(const struct ka_symbols *symbols, char ret_release[static 80],
			   char ret_symbols[static 80])
{
	const char *source = ka_symbols_source(symbols);
	uint64_t gpa;

	if (strcmp(source, "guest")) {
		snprintf(ret_release, 80, "file (%s)", source);
		snprintf(ret_symbols, 80, "file (%s)", source);
	} else if (!ka_symbols_vmcoreinfo(symbols, &gpa)) {
		snprintf(ret_release, 80, "guest: vmcoreinfo at physical 0x%" PRIx64, gpa);
		snprintf(ret_symbols, 80, "guest: kallsyms, named by vmcoreinfo");
	} else {
		snprintf(ret_release, 80, "guest: linux_banner");
		snprintf(ret_symbols, 80, "guest: kallsyms, found by its structure");
	}
}

static void add_facts(json_t *facts, const struct ka_kernel *kernel)
{
	char release[80], symbols[80], votes[80];

	symbol_sources(kernel->symbols, release, symbols);
	snprintf(votes, sizeof(votes), "LSTAR and exception gates: %u agree", kernel->votes);
	add_fact(facts, "release", output_guest_text(kernel->release), release);
	add_fact(facts, "build_id", json_string(kernel->build_id),
		 !kernel->build_id_read ? symbols :
		 *ka_symbols_build_id(kernel->symbols) ?
		 "guest: ELF notes, the same as with the symbols" : "guest: ELF notes");
	add_fact(facts, "slide", output_short_hex(kernel->slide), votes);
	add_fact(facts, "base", output_hex(kernel->base), "symbol _text and the slide");
	add_fact(facts, "phys_base", signed_hex(kernel->phys_base),
		 "page tables of a vCPU, at an exception's entry");
	add_fact(facts, "root", output_hex(kernel->paging.root), ka_symbols_64bit(kernel->symbols) ?
		 "symbol init_top_pgt; maps that entry alike" :
		 "symbol swapper_pg_dir; maps that entry alike");
	add_fact(facts, "paging", json_string(cli_paging_name(&kernel->paging)),
		 "registers of a vCPU");
	add_fact(facts, "symbols", json_integer(ka_symbols_count(kernel->symbols)), symbols);
}

int cmd_info(struct cli *cli, int argc, char **argv)
{
	int code = cli_parse(cli, &info_argp, argc, argv, 1, 1);
	struct ka_kernel kernel;
	json_t *facts;

	if (!code)
		code = cli_open_vm(cli, cli->arg[0], 0);
	if (!code)
		code = cli_find_kernel(cli, true, &kernel);
	if (code)
		return code;
	facts = json_array();
	add_facts(facts, &kernel);
	json_object_set_new(cli_result(cli, info_layout), "facts", facts);
	return CLI_OK;
}
