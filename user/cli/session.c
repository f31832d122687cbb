// SPDX-License-Identifier: LGPL-2.1-or-later
/* Opens what a command works on: host, VM, symbols, kernel, address space. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

enum { SEARCH_TRIES = 30 };

static void log_line(void *ctx, const char *line)
{
	size_t len = strlen(line);

	(void)ctx;
	fprintf(stderr, "%s%s", line, len && line[len - 1] == '\n' ? "" : "\n");
}

int cli_open_host(struct cli *cli)
{
	/* A single look needs nothing pushed, and costs the guests nothing this way. */
	const struct ka_host_options options = {
		.no_push = true, .map_ram = true, .log = cli->verbose ? log_line : NULL,
	};
	int err = ka_host_open(&options, &cli->host);

	if (err == -EPERM || err == -EACCES)
		return cli_fail(cli, CLI_UNSUPPORTED,
				"not permitted to load BPF programs: run as root");
	if (err)
		return cli_fail_errno(cli, err, "cannot watch this host");
	return CLI_OK;
}

static int load_symbols(struct cli *cli)
{
	for (size_t i = cli->symbols_loaded; i < cli->symbol_count; i++) {
		int err = ka_symbols_load(cli->symbol_path[i], &cli->symbols[i]);

		if (err == -ENODATA)
			return cli_fail(cli, CLI_RUNTIME,
					"%s: holds no symbols (a stub, or stripped)",
					cli->symbol_path[i]);
		if (err)
			return cli_fail_errno(cli, err, "%s", cli->symbol_path[i]);
		cli->symbols_loaded++;
	}
	return CLI_OK;
}

static int fail_ambiguous(struct cli *cli, const char *selector)
{
	struct ka_vm_info *vms = NULL;
	size_t count = 0;

	cli->candidates = json_array();
	if (!ka_list(cli->host, &vms, &count))
		for (size_t i = 0; i < count; i++)
			if (ka_vm_matches(&vms[i], selector))
				json_array_append_new(cli->candidates, cli_vm_json(&vms[i]));
	free(vms);
	return cli_fail(cli, CLI_USAGE, "'%s' means several VMs: give a pid or UUID", selector);
}

int cli_open_vm(struct cli *cli, const char *selector, unsigned int flags)
{
	int code = cli_open_host(cli), err;

	if (code)
		return code;
	err = ka_open(cli->host, selector, flags, &cli->vm);
	if (err == -ENOTUNIQ)
		return fail_ambiguous(cli, selector);
	if (err == -ESRCH)
		return cli_fail(cli, CLI_NOT_FOUND, "no VM '%s'; 'kvmbpf list' shows them",
				selector);
	if (err)
		return cli_fail_errno(cli, err, "VM '%s'", selector);
	return load_symbols(cli);
}

static int read_one(struct cli *cli, struct ka_registers **ret_registers, size_t *ret_count)
{
	struct ka_registers *registers = calloc(1, sizeof(*registers));
	int err = registers ? ka_register_read(cli->vm, cli->vcpu, registers) : -ENOMEM;

	if (err) {
		free(registers);
		return cli_fail_errno(cli, err, "vCPU %d", cli->vcpu);
	}
	*ret_registers = registers;
	*ret_count = 1;
	return CLI_OK;
}

int cli_read_registers(struct cli *cli, struct ka_registers **ret_registers, size_t *ret_count)
{
	/* Room for vCPUs that were plugged in meanwhile. */
	size_t max = ka_vm_info(cli->vm)->vcpus + 64;
	struct ka_registers *registers;
	int err;

	if (cli->vcpu != CLI_ANY_VCPU)
		return read_one(cli, ret_registers, ret_count);
	registers = calloc(max, sizeof(*registers));
	err = registers ? ka_registers_read_all(cli->vm, registers, max, ret_count) : -ENOMEM;
	if (err) {
		free(registers);
		return cli_fail_errno(cli, err, "registers");
	}
	*ret_registers = registers;
	return CLI_OK;
}

/* No file fits: by what the guest itself says. */
static int search_guest(struct cli *cli, struct ka_kernel *ret_kernel)
{
	const struct ka_symbols *symbols;
	int err;

	/* The search goes on where its time was over. */
	for (int tries = 0; tries < SEARCH_TRIES; tries++) {
		err = ka_symbols_from_guest(cli->vm, &cli->guest_symbols);
		if (err != -EAGAIN)
			break;
	}
	if (err)
		return err;
	symbols = cli->guest_symbols;
	return ka_kernel_find(cli->vm, &symbols, 1, ret_kernel);
}

int cli_find_kernel(struct cli *cli, bool required, struct ka_kernel *ret_kernel)
{
	struct ka_kernel kernel = {0};
	int err = ka_kernel_find(cli->vm, (const struct ka_symbols *const *)cli->symbols,
				 cli->symbols_loaded, &kernel);

	if (cli->symbol_count && (err || !kernel.symbols))
		cli_warn(cli, "no symbols from a file: %s", err && err != -ENODATA ?
			 cli_error_text(err) : "none of them fits this guest");
	if (required && err == -ENODATA)
		err = search_guest(cli, &kernel);
	if (required && err == -ENODATA)
		return cli_fail(cli, CLI_RUNTIME, "the guest's kernel is needed, and its memory "
				"holds no Linux kernel's symbols: --vmlinux FILE");
	if (required && err)
		return cli_fail_errno(cli, err, "the guest's kernel");
	*ret_kernel = err ? (struct ka_kernel){0} : kernel;
	return CLI_OK;
}

int cli_paging(struct cli *cli, const struct ka_kernel *kernel, struct ka_paging *ret_paging,
	       char ret_name[static 16])
{
	const struct ka_registers *best = NULL;
	struct ka_registers *registers;
	size_t count;
	int code;

	if (cli->vcpu == CLI_ANY_VCPU && kernel->paging.root) {
		*ret_paging = kernel->paging;
		snprintf(ret_name, 16, "kernel");
		return CLI_OK;
	}
	code = cli_read_registers(cli, &registers, &count);
	if (code)
		return code;
	/* In user mode the page tables may hold almost nothing of the kernel (KPTI). */
	for (size_t i = 0; i < count; i++) {
		bool usable = !ka_registers_usable(&registers[i]);
		bool better = !best || (best->cpl && !registers[i].cpl);

		if (cli->vcpu != CLI_ANY_VCPU || (usable && better))
			best = &registers[i];
	}
	if (best) {
		*ret_paging = ka_paging(best);
		snprintf(ret_name, 16, "vcpu %u", best->vcpu);
	}
	free(registers);
	return best ? CLI_OK : cli_fail_errno(cli, -EAGAIN, "page tables");
}

void cli_deinit(struct cli *cli)
{
	if (cli->vm)
		ka_close(cli->vm);
	for (size_t i = 0; i < cli->symbols_loaded; i++)
		ka_symbols_free(cli->symbols[i]);
	ka_symbols_free(cli->guest_symbols);
	ka_host_close(cli->host);
	json_decref(cli->result);
	json_decref(cli->warnings);
	json_decref(cli->candidates);
	free(cli->error);
}
