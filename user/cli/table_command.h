/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What kvmbpf gdt and kvmbpf idt share: a descriptor table of each vCPU. */
#ifndef CLI_TABLE_COMMAND_H
#define CLI_TABLE_COMMAND_H

#include "cli.h"

struct table_command {
	const struct argp *argp;
	const struct layout *layout;
	bool gdt;                  /* else the IDT */
	/* Adds the entries of a vCPU to `vcpu`; 0 or -errno. */
	int (*add_entries)(struct cli *cli, const struct ka_registers *registers,
			   const struct ka_kernel *kernel, bool all, json_t *vcpu);
};

/* Options of both, for their argp; --all is kept in struct table_options. */
extern const struct argp_option table_command_options[];
error_t table_command_parser(int key, char *arg, struct argp_state *state);

int table_command_run(struct cli *cli, const struct table_command *command, int argc, char **argv);

/* Both quadwords of a raw entry, or the low one of a short entry. */
json_t *table_command_raw(const uint64_t raw[2], unsigned int size);

#endif
