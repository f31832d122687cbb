/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all commands of kvmbpf share: options, the host, the VM, the result and the errors. */
#ifndef CLI_H
#define CLI_H

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "kvmaccess.h"
#include "output.h"

enum cli_exit {
	CLI_OK = 0,
	CLI_RUNTIME = 1,
	CLI_USAGE = 2,
	CLI_UNSUPPORTED = 3,   /* not on this host, or not permitted */
	CLI_DIFFERENCES = 4,
	CLI_NOT_FOUND = 5,     /* no such VM or vCPU */
	CLI_INCOMPLETE = 6,
	CLI_DONE = -1,         /* help was printed: nothing more to do, and well */
};

enum { CLI_ARGS_MAX = 4, CLI_SYMBOLS_MAX = 16, CLI_ANY_VCPU = -1 };

struct cli {
	/* options of all commands */
	bool json, pretty, verbose;
	int vcpu;                     /* or CLI_ANY_VCPU */
	const char *symbol_path[CLI_SYMBOLS_MAX];
	size_t symbol_count;          /* paths */
	void *options;                /* the command's own */

	/* arguments */
	const char *program;          /* "kvmbpf read" */
	bool want_command, helped, version;
	int command_at;               /* index in argv, 0: none */
	const char *arg[CLI_ARGS_MAX];
	unsigned int arg_count;

	/* what was opened; cli_deinit() closes it */
	struct ka_host *host;
	struct ka_vm *vm;
	struct ka_symbols *symbols[CLI_SYMBOLS_MAX];
	size_t symbols_loaded;
	struct ka_symbols *guest_symbols; /* from the guest's memory */

	/* what is printed at the end */
	json_t *result;
	const struct layout *layout;
	json_t *warnings, *candidates;
	char *error;
	bool raw;                     /* stdout took bytes: the result goes to stderr as text */
};

struct command {
	const char *name, *summary;
	int (*run)(struct cli *cli, int argc, char **argv);
};

int cmd_baseline(struct cli *cli, int argc, char **argv);
int cmd_bpf(struct cli *cli, int argc, char **argv);
int cmd_config(struct cli *cli, int argc, char **argv);
int cmd_dump(struct cli *cli, int argc, char **argv);
int cmd_gdt(struct cli *cli, int argc, char **argv);
int cmd_idt(struct cli *cli, int argc, char **argv);
int cmd_info(struct cli *cli, int argc, char **argv);
int cmd_list(struct cli *cli, int argc, char **argv);
int cmd_modules(struct cli *cli, int argc, char **argv);
int cmd_probe(struct cli *cli, int argc, char **argv);
int cmd_ps(struct cli *cli, int argc, char **argv);
int cmd_read(struct cli *cli, int argc, char **argv);
int cmd_regs(struct cli *cli, int argc, char **argv);
int cmd_sym(struct cli *cli, int argc, char **argv);
int cmd_status(struct cli *cli, int argc, char **argv);
int cmd_syscalls(struct cli *cli, int argc, char **argv);
int cmd_top(struct cli *cli, int argc, char **argv);
int cmd_walk(struct cli *cli, int argc, char **argv);
int cmd_write(struct cli *cli, int argc, char **argv);

/* ---- arguments (args.c) -------------------------------------------------------------------- */

/*
 * Parses a command's options, those of `argp` and the common ones; `argp` has the struct cli as
 * its input. Returns CLI_OK, CLI_USAGE, or CLI_DONE.
 */
int cli_parse(struct cli *cli, const struct argp *argp, int argc, char **argv,
	      unsigned int min_args, unsigned int max_args);
/* Decimal, or hex with 0x; nothing else around it. */
bool cli_number(const char *text, uint64_t *ret_value);
/* For an argp parser: says what is wrong and ends the parsing. */
error_t cli_bad_option(struct cli *cli, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- errors (error.c) ---------------------------------------------------------------------- */

/* Records what failed, once, to be printed at the end; returns `code`. */
int cli_fail(struct cli *cli, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* With the meaning of a negative errno of libkvmaccess; returns its exit code. */
int cli_fail_errno(struct cli *cli, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void cli_warn(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *cli_error_text(int err);
int cli_error_exit(int err);

/* ---- host and VM (session.c) --------------------------------------------------------------- */

int cli_open_host(struct cli *cli);
/* Opens cli->vm; opens the host and loads the symbol files too. */
int cli_open_vm(struct cli *cli, const char *selector, unsigned int flags);
/* The registers of all vCPUs, or of --vcpu; the array is the caller's to free. */
int cli_read_registers(struct cli *cli, struct ka_registers **ret_registers, size_t *ret_count);
/*
 * The guest's kernel, by the files that were given. Where it is `required` and none fits, the
 * guest's memory is searched; else CLI_OK with no symbols.
 */
int cli_find_kernel(struct cli *cli, bool required, struct ka_kernel *ret_kernel);
/*
 * The address space that addresses are meant in: of --vcpu, else of the kernel, else of a vCPU
 * that runs kernel code. *ret_name ("kernel", "vcpu 0") goes into the result.
 */
int cli_paging(struct cli *cli, const struct ka_kernel *kernel, struct ka_paging *ret_paging,
	       char ret_name[static 16]);
void cli_deinit(struct cli *cli);

/* ---- pieces of results (pieces.c) ---------------------------------------------------------- */

json_t *cli_vm_json(const struct ka_vm_info *info);
/* The start of a command's result: {"vm": …}. */
json_t *cli_result(struct cli *cli, const struct layout *layout);
/* "name+0x10", "unknown" outside of the kernel image, NULL without symbols. */
json_t *cli_symbol_json(const struct ka_kernel *kernel, uint64_t gva);
/* "off", "32-bit", "PAE", "4-level", "5-level". */
const char *cli_paging_name(const struct ka_paging *paging);
/* {"state": …, "reason": …} of one vCPU: observed, stale or unobservable. */
json_t *cli_state_json(const struct ka_registers *registers);

#endif
