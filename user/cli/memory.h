/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guest memory as kvmbpf read, write and dump address it. */
#ifndef CLI_MEMORY_H
#define CLI_MEMORY_H

#include "cli.h"
#include "vcpu_option.h"

enum { OPTION_GPA = 0x400, OPTION_RAW, OPTION_SYMBOL, OPTION_OUT, OPTION_YES,
       OPTION_QUEUE };

enum { MEMORY_SHOW_MAX = 16 << 20 };  /* bytes that hex and JSON show at most */

/* What these commands take as options; each has those that it lists in its argp. */
struct memory_options {
	bool gpa, raw, yes, queue;
	const char *symbol, *out;
};

#define GPA_OPTION {"gpa", OPTION_GPA, NULL, 0, "The address is guest-physical", 0}
#define RAW_OPTION(help) {"raw", OPTION_RAW, NULL, 0, help, 0}
#define MEMORY_VCPU_OPTION \
	VCPU_OPTION("In the address space of this vCPU, not in the kernel's own")

error_t memory_parser(int key, char *arg, struct argp_state *state);

/* An address space: physical, or behind page tables. */
struct memory_space {
	bool gpa;
	struct ka_paging paging;
	char name[16];        /* "physical", "kernel", "vcpu 0" */
};

int memory_space_find(struct cli *cli, bool gpa, const struct ka_kernel *kernel,
		      struct memory_space *ret_space);
int memory_read(struct cli *cli, const struct memory_space *space, uint64_t address, void *buf,
		size_t len);

#endif
