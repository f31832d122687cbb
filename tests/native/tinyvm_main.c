// SPDX-License-Identifier: LGPL-2.1-or-later
/* The program tinyvm: tiny KVM guests that run until a signal; takes -name and -uuid like QEMU. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tinyvm.h"

static const char usage[] =
	"Usage: tinyvm [-accel kvm] [-nodefaults] [-name guest=NAME] [-uuid UUID] [OPTION...]\n"
	"Runs a tiny KVM guest, idle, until SIGTERM or SIGINT. Prints \"ready\" once it runs.\n"
	"The arguments that are named first do nothing but look like QEMU's: a monitor takes the\n"
	"name and UUID from a command line with -accel and -nodefaults in it.\n"
	"\n"
	"  --mode MODE       4level (default), 5level, pae, 32bit, reset (never run)\n"
	"  --vcpus N         1 to 64 (default 1)\n"
	"  --memory BYTES    default 4 MiB a memslot\n"
	"  --slots N         memory in N memslots with holes between them (default 1)\n"
	"  --hole BYTES      default 1 MiB\n"
	"  --backing KIND    anon (default): private; memfd: shared\n"
	"  --vms N           so many VMs in this process (default 1)\n"
	"  --irqchip         the interrupt controllers in KVM: HLT waits in the kernel\n";

enum { OPT_HELP, OPT_ACCEL, OPT_NODEFAULTS, OPT_NAME, OPT_UUID, OPT_MODE, OPT_VCPUS, OPT_MEMORY,
       OPT_SLOTS, OPT_HOLE, OPT_BACKING, OPT_VMS, OPT_IRQCHIP, OPT_CONTROL };

static const struct option long_options[] = {
	{ "help", no_argument, NULL, OPT_HELP },
	{ "accel", required_argument, NULL, OPT_ACCEL },
	{ "nodefaults", no_argument, NULL, OPT_NODEFAULTS },
	{ "name", required_argument, NULL, OPT_NAME },
	{ "uuid", required_argument, NULL, OPT_UUID },
	{ "mode", required_argument, NULL, OPT_MODE },
	{ "vcpus", required_argument, NULL, OPT_VCPUS },
	{ "memory", required_argument, NULL, OPT_MEMORY },
	{ "slots", required_argument, NULL, OPT_SLOTS },
	{ "hole", required_argument, NULL, OPT_HOLE },
	{ "backing", required_argument, NULL, OPT_BACKING },
	{ "vms", required_argument, NULL, OPT_VMS },
	{ "irqchip", no_argument, NULL, OPT_IRQCHIP },
	{ "control-fd", required_argument, NULL, OPT_CONTROL },
	{ 0 },
};

static int parse_number(const char *text, uint64_t *ret_number)
{
	char *end;
	unsigned long long number;

	errno = 0;
	number = strtoull(text, &end, 0);
	if (errno || end == text || *end || number > 1ull << 40)
		return -EINVAL;
	*ret_number = number;
	return 0;
}

static int parse_mode(const char *text, enum tinyvm_mode *ret_mode)
{
	for (unsigned int mode = 0; mode < TINYVM_MODES; mode++) {
		if (!strcmp(text, tinyvm_mode_name(mode))) {
			*ret_mode = mode;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_numeric(int option, const char *text, struct tinyvm_options *options, int *control)
{
	uint64_t number;

	if (parse_number(text, &number))
		return -EINVAL;
	switch (option) {
	case OPT_VCPUS: options->vcpus = number; return 0;
	case OPT_MEMORY: options->memory = number; return 0;
	case OPT_SLOTS: options->slots = number; return 0;
	case OPT_HOLE: options->hole = number; return 0;
	case OPT_VMS: options->vms = number; return 0;
	case OPT_CONTROL: *control = number; return 0;
	default: return -EINVAL;
	}
}

static int parse_option(int option, const char *text, struct tinyvm_options *options, int *control)
{
	switch (option) {
	case OPT_ACCEL:
		return strcmp(text, "kvm") ? -EINVAL : 0;
	case OPT_NODEFAULTS:
	case OPT_NAME:
	case OPT_UUID:
		return 0;  /* for those who read our command line */
	case OPT_MODE:
		return parse_mode(text, &options->mode);
	case OPT_BACKING:
		options->backing = strcmp(text, "memfd") ? TINYVM_ANONYMOUS : TINYVM_MEMFD;
		return strcmp(text, "memfd") && strcmp(text, "anon") ? -EINVAL : 0;
	case OPT_IRQCHIP:
		options->irqchip = true;
		return 0;
	case '?':
		return -EINVAL;
	default:
		return parse_numeric(option, text, options, control);
	}
}

int main(int argc, char **argv)
{
	struct tinyvm_options options = { 0 };
	int option, control = -1;

	while ((option = getopt_long_only(argc, argv, "", long_options, NULL)) != -1) {
		if (option == OPT_HELP) {
			fputs(usage, stdout);
			return 0;
		}
		if (parse_option(option, optarg, &options, &control)) {
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind < argc || tinyvm_options_complete(&options)) {
		fputs(usage, stderr);
		return 2;
	}
	return tinyvm_run(&options, control);
}
