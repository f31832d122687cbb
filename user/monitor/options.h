/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line of kvmbpf-monitor, over its configuration. */
#ifndef MONITOR_OPTIONS_H
#define MONITOR_OPTIONS_H

#include "check.h"
#include "config.h"

#include <kvmaccess.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct string_list {
	const char **items;
	size_t count;
};

struct options {
	uint64_t interval_ns;
	uint64_t budget_ppm; /* of one CPU */
	struct string_list vms, excluded, symbol_files, references;
	const char *store, *output; /* output NULL: stdout, unless there are other sinks */
	const char *reference_key;  /* NULL: references need no signature */
	const char *user;	    /* to become; NULL: "kvmbpf" if there is one */
	const char *config_file;    /* NULL: those of the system */
	bool once, pretty, version;
	enum { REALTIME_AUTO, REALTIME_ON, REALTIME_OFF } realtime;
	bool realtime_text;
	bool protect[CHECKS];
	unsigned int verbose;
	int argc;
	char **argv;
	struct config_set *configs;
	const struct config *config; /* what the command line leaves to it */
};

/*
 * Strings belong to argv and the configuration. -EINVAL after a message on stderr; with --help or
 * --usage it prints and exits.
 */
int options_parse(int argc, char **argv, struct options *ret_options);
/* The same command line over the configuration as it is now. */
int options_reload(const struct options *running, struct options *ret_options);
/* Says on stderr what of `fresh` the monitor takes up at its next start only. */
void options_tell_late(const struct options *running, const struct options *fresh);
void options_deinit(struct options *options);

/* Is this VM to be watched? */
bool options_select(const struct options *options, const struct ka_vm_info *info);

#endif
