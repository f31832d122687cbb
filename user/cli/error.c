// SPDX-License-Identifier: LGPL-2.1-or-later
/* Errors and warnings of a command, kept until the result is printed. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const struct { int err, code; const char *text; } meanings[] = {
	{ESRCH, CLI_NOT_FOUND, "no such VM or vCPU"},
	{EOWNERDEAD, CLI_NOT_FOUND, "the VM is gone"},
	{EFAULT, CLI_RUNTIME, "not mapped by the guest's page tables"},
	{ENXIO, CLI_RUNTIME, "no RAM there: a hole, MMIO, or memory that the VMM has not got"},
	{EBADMSG, CLI_RUNTIME, "damaged, or a page-table entry with reserved bits set"},
	{EPERM, CLI_UNSUPPORTED, "not permitted"},
	{EACCES, CLI_UNSUPPORTED, "not permitted"},
	{EBUSY, CLI_RUNTIME, "the memory is being dirty-logged (live migration): try again later"},
	{EAGAIN, CLI_INCOMPLETE, "not readable now: nested guest, SMM, or kernel not up yet"},
	{ETIMEDOUT, CLI_RUNTIME, "the VMM is to bring that memory itself (userfaultfd), and did not in time"},
	{ENODATA, CLI_RUNTIME, "the guest or its kernel has no such thing"},
	{EOPNOTSUPP, CLI_UNSUPPORTED, "not possible on this host; 'kvmbpf probe' says why"},
	{EINVAL, CLI_USAGE, "not a valid address or index"},
	{ENOTUNIQ, CLI_USAGE, "not unique"},
	{EPROTONOSUPPORT, CLI_RUNTIME, "compressed in a way that is not supported"},
};

const char *cli_error_text(int err)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (meanings[i].err == -err)
			return meanings[i].text;
	return strerror(-err);
}

int cli_error_exit(int err)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (meanings[i].err == -err)
			return meanings[i].code;
	return CLI_RUNTIME;
}

static void keep_error(struct cli *cli, const char *format, va_list args)
{
	/* The first error is the cause. */
	if (!cli->error && vasprintf(&cli->error, format, args) < 0)
		cli->error = NULL;
}

int cli_fail(struct cli *cli, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	keep_error(cli, format, args);
	va_end(args);
	return code;
}

int cli_fail_errno(struct cli *cli, int err, const char *format, ...)
{
	char *what = NULL;
	va_list args;
	int code;

	va_start(args, format);
	if (vasprintf(&what, format, args) < 0)
		what = NULL;
	va_end(args);
	code = cli_fail(cli, cli_error_exit(err), "%s: %s", what ? what : "", cli_error_text(err));
	free(what);
	return code;
}

void cli_warn(struct cli *cli, const char *format, ...)
{
	char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	if (!text)
		return;
	if (!cli->warnings)
		cli->warnings = json_array();
	if (json_array_append_new(cli->warnings, json_string(text)))
		json_array_append_new(cli->warnings, output_guest_text(text));
	free(text);
}
