/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The Kernel Object Store as kvmbpf baseline shows and trims it. */
#ifndef CLI_BASELINE_H
#define CLI_BASELINE_H

#include "../monitor/store.h"
#include "cli.h"

#define BASELINE_STORE "/var/lib/kvmbpf/store.db"

struct baseline_options {
	const char *store, *image, *modules, *out, *key;
	bool contents, kernel, yes;
};

/*
 * The boots of the store, and with --contents what is expected of them: of all VMs, or of the one
 * whose id (vm.id of the events) or name is `selector`.
 */
int baseline_show(struct cli *cli, const struct baseline_options *options, const char *selector);

/* Takes a VM's boots out of the store; with --kernel its kernels' contents too. */
int baseline_forget(struct cli *cli, const struct baseline_options *options,
		    const char *selector);

/*
 * Watches a running VM until it has a baseline: the store's, else one that is recorded now.
 * CLI_DIFFERENCES where the store had one and the guest is not as it says.
 */
int baseline_record(struct cli *cli, const struct baseline_options *options,
		    const char *selector);

/* Holds a running VM against the store, and writes nothing into it. */
int baseline_diff(struct cli *cli, const struct baseline_options *options, const char *selector);

/* ---- of kernel builds (baseline_build.c) ---- */

/* Writes what the vendor's --image tells to --out. */
int baseline_derive(struct cli *cli, const struct baseline_options *options, const char *unused);

/* What came of a directory of modules. */
struct baseline_modules {
	unsigned int taken, others; /* the latter are of another kernel, or none */
};

/* All modules of that kernel in a directory and below (baseline_modules.c). */
int baseline_modules_take(struct store *store, const struct ka_reference *reference,
			  const char *directory, struct baseline_modules *ret_modules);

/* Takes the baselines of a file or directory into the store; with --key signed ones only. */
int baseline_import(struct cli *cli, const struct baseline_options *options, const char *path);

/* Writes what the store knows of a kernel build to --out. */
int baseline_export(struct cli *cli, const struct baseline_options *options,
		    const char *build_id);

/* A new pair of keys, --out NAME: NAME.pub and NAME.key. */
int baseline_keygen(struct cli *cli, const struct baseline_options *options, const char *unused);

/* Signs a file with --key. */
int baseline_sign(struct cli *cli, const struct baseline_options *options, const char *path);

#endif
