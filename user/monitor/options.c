// SPDX-License-Identifier: LGPL-2.1-or-later
/* Parses the command line with argp. */
#include "options.h"

#include "cleanup.h"
#include "clock.h"
#include "duration.h"
#include "log.h"
#include "policy.h"
#include "share.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2 };

enum option_key {
	OPTION_INTERVAL = 'i',
	OPTION_OUTPUT = 'o',
	OPTION_PRETTY = 'p',
	OPTION_VERBOSE = 'v',
	OPTION_VERSION = 'V',
	OPTION_VM = 256,
	OPTION_EXCLUDE,
	OPTION_SYMBOLS,
	OPTION_STORE,
	OPTION_REFERENCE,
	OPTION_REFERENCE_KEY,
	OPTION_ONCE,
	OPTION_REALTIME,
	OPTION_NO_REALTIME,
	OPTION_PROTECT,
	OPTION_CONFIG,
	OPTION_USER,
	OPTION_BUDGET,
};

static const struct argp_option option_table[] = {
	{ "interval", OPTION_INTERVAL, "DURATION", 0,
	  "Check each VM this often: 500ms, 1s, 1h30m (default 1s, at least 100ms)", 0 },
	{ "budget", OPTION_BUDGET, "SHARE", 0,
	  "Of one CPU's time, for audits of all VMs: 0.5%, 10% (default 1%)", 0 },
	{ "vm", OPTION_VM, "PID|UUID|NAME", 0,
	  "Watch this VM only; may be repeated (default: all, also those that start later)", 0 },
	{ "exclude-vm", OPTION_EXCLUDE, "PID|UUID|NAME", 0, "Do not watch it; may be repeated", 0 },
	{ "vmlinux", OPTION_SYMBOLS, "FILE", 0,
	  "Symbols of a guest kernel: vmlinuz as packaged, vmlinux, System.map or kallsyms text; "
	  "may be repeated, and is matched by build-id",
	  0 },
	{ "system-map", OPTION_SYMBOLS, "FILE", 0, "The same", 0 },
	{ "store", OPTION_STORE, "FILE", 0,
	  "Kernel Object Store (default /var/lib/kvmbpf/store.db)", 0 },
	{ "reference", OPTION_REFERENCE, "FILE|DIR", 0,
	  "Take baselines of kernel builds, as `kvmbpf baseline derive` makes them, into the "
	  "store; "
	  "may be repeated",
	  0 },
	{ "reference-key", OPTION_REFERENCE_KEY, "FILE", 0,
	  "Take only those that are signed with this public key", 0 },
	{ "output", OPTION_OUTPUT, "FILE", 0, "Append events to FILE (default: stdout)", 0 },
	{ "realtime", OPTION_REALTIME, "text", OPTION_ARG_OPTIONAL,
	  "Tell writes to the IDT and system call tables as they happen, and with =text look at "
	  "once "
	  "at what is written to the code that each system call goes through; fail where the "
	  "kernel "
	  "module kvmbpf_helper is not loaded (default: do so where it is, without text)",
	  0 },
	{ "no-realtime", OPTION_NO_REALTIME, NULL, 0, "Find them by polling only", 0 },
	{ "protect", OPTION_PROTECT, "syscall,idt", 0,
	  "Undo what a guest writes to these tables, before it can make use of it; needs what "
	  "--realtime needs",
	  0 },
	{ "config", OPTION_CONFIG, "FILE", 0,
	  "Read this configuration and no other; see kvmbpf.yaml(5)", 0 },
	{ "user", OPTION_USER, "NAME", 0,
	  "Become this user once the BPF programs are loaded (default: kvmbpf, if there is one)",
	  0 },
	{ "once", OPTION_ONCE, NULL, 0, "Check all selected VMs once, and exit", 0 },
	{ "pretty", OPTION_PRETTY, NULL, 0, "Indent the events: several lines each", 0 },
	{ "verbose", OPTION_VERBOSE, NULL, 0, "Say more on stderr", 0 },
	{ "version", OPTION_VERSION, NULL, 0, "Print the version and what this host gives", 0 },
	{ 0 },
};

static int list_add(struct string_list *list, const char *item)
{
	const char **items = reallocarray(list->items, list->count + 1, sizeof(*items));

	if (!items)
		return ENOMEM;
	items[list->count++] = item;
	list->items = items;
	return 0;
}

static void interval_parse(const char *text, struct argp_state *state, struct options *options)
{
	switch (duration_parse(text, &options->interval_ns)) {
	case 0:
		return;
	case -ERANGE:
		argp_error(state, "--interval %s: must be from 100ms to 24h", text);
		return;
	default:
		argp_error(state, "--interval %s: not a duration; write 500ms, 1s or 1h30m", text);
	}
}

static void budget_parse(const char *text, struct argp_state *state, struct options *options)
{
	switch (share_parse(text, &options->budget_ppm)) {
	case 0:
		return;
	case -ERANGE:
		argp_error(state, "--budget %s: must be from 0.01%% to 100%%", text);
		return;
	default:
		argp_error(state, "--budget %s: not a share; write 1%% or 0.5%%", text);
	}
}

static void protect_parse(const char *text, struct argp_state *state, struct options *options)
{
	char copy[64], *word, *rest = copy;
	enum check_id check;

	/* Not in place: the command line is read again with the configuration. */
	snprintf(copy, sizeof(copy), "%s", text);
	while ((word = strsep(&rest, ","))) {
		if (!check_protectable(word, &check))
			argp_error(state, "--protect %s: not syscall or idt", word);
		options->protect[check] = true;
	}
}

static bool protects(const struct options *options)
{
	for (int check = 0; check < CHECKS; check++)
		if (options->protect[check])
			return true;
	return false;
}

static void protect_check(struct argp_state *state, const struct options *options)
{
	if (protects(options) && (options->realtime == REALTIME_OFF || options->once))
		argp_error(state, "--protect does not go with %s",
			   options->once ? "--once" : "--no-realtime");
}

/* Protection is not to be missing silently: where it is asked for, it must be there. */
static void realtime_configure(struct options *options, const struct config *config)
{
	enum check_id check;

	if (!protects(options) && options->realtime != REALTIME_OFF && !options->once)
		for (unsigned int i = 0; i < config->protect.count; i++)
			if (check_protectable(config->protect.items[i], &check))
				options->protect[check] = true;
	if (options->realtime == REALTIME_AUTO && config->realtime) {
		options->realtime =
			*config->realtime == CONFIG_REALTIME_NO ? REALTIME_OFF : REALTIME_ON;
		options->realtime_text = *config->realtime == CONFIG_REALTIME_TEXT;
	}
	if (protects(options))
		options->realtime = REALTIME_ON;
}

static error_t option_parse(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case OPTION_INTERVAL:
		interval_parse(arg, state, options);
		return 0;
	case OPTION_BUDGET:
		budget_parse(arg, state, options);
		return 0;
	case OPTION_VM:
		return list_add(&options->vms, arg);
	case OPTION_EXCLUDE:
		return list_add(&options->excluded, arg);
	case OPTION_SYMBOLS:
		return list_add(&options->symbol_files, arg);
	case OPTION_STORE:
		options->store = arg;
		return 0;
	case OPTION_REFERENCE:
		return list_add(&options->references, arg);
	case OPTION_REFERENCE_KEY:
		options->reference_key = arg;
		return 0;
	case OPTION_OUTPUT:
		options->output = arg;
		return 0;
	case OPTION_CONFIG:
		options->config_file = arg;
		return 0;
	case OPTION_USER:
		options->user = arg;
		return 0;
	case OPTION_ONCE:
		options->once = true;
		return 0;
	case OPTION_REALTIME:
		if (arg && strcmp(arg, "text"))
			argp_error(state, "--realtime=%s: only =text is known", arg);
		options->realtime = REALTIME_ON;
		options->realtime_text = arg;
		return 0;
	case OPTION_NO_REALTIME:
		options->realtime = REALTIME_OFF;
		return 0;
	case OPTION_PROTECT:
		protect_parse(arg, state, options);
		return 0;
	case OPTION_PRETTY:
		options->pretty = true;
		return 0;
	case OPTION_VERBOSE:
		options->verbose++;
		return 0;
	case OPTION_VERSION:
		options->version = true;
		return 0;
	case ARGP_KEY_END:
		protect_check(state, options);
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument: %s", arg);
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void list_default(struct string_list *list, const struct config_strings *strings)
{
	for (unsigned int i = 0; i < strings->count; i++)
		list_add(list, strings->items[i]);
}

/* What the command line says nothing of is as the files say, or as ever. */
static int options_configure(struct options *options)
{
	char error[CONFIG_ERROR_MAX];
	const struct config *config;
	int r = config_load("", options->config_file, &options->configs, error);

	if (r < 0) {
		log_error("configuration: %s%s", error[0] ? error : strerror(-r),
			  r == -EACCES ? ": the monitor's user must be allowed to read it" : "");
		return r;
	}
	config = config_merged(options->configs);
	options->config = config;
	if (!options->interval_ns) {
		options->interval_ns = NS_PER_S;
		if (config->interval)
			duration_parse(config->interval, &options->interval_ns); /* validated */
	}
	if (!options->budget_ppm)
		share_parse(config->budget ? config->budget : "1%", &options->budget_ppm); /* validated */
	if (!options->store)
		options->store = config->store ? config->store : "/var/lib/kvmbpf/store.db";
	options->user = options->user ? options->user : config->user;
	if (!options->symbol_files.count)
		list_default(&options->symbol_files, &config->vmlinux);
	realtime_configure(options, config);
	return 0;
}

int options_parse(int argc, char **argv, struct options *ret_options)
{
	static const struct argp argp = {
		.options = option_table,
		.parser = option_parse,
		.doc = "Watches the kernels of this host's KVM guests, from the host, and writes "
		       "what "
		       "it finds as lines of JSON.\v"
		       "Exit status: 0 ok, 1 failure, 2 usage, 3 unsupported host or missing "
		       "privilege, "
		       "and with --once: 4 violations found, 5 VM not found, 6 not every check "
		       "could "
		       "look. See kvmbpf-monitor(8).",
	};
	struct options options = { .argc = argc, .argv = argv };
	int r;

	argp_err_exit_status = EXIT_USAGE;
	r = -(int)argp_parse(&argp, argc, argv, 0, NULL, &options);
	if (!r && !options.version)
		r = options_configure(&options);
	if (r < 0) {
		options_deinit(&options);
		return r;
	}
	*ret_options = options;
	return 0;
}

int options_reload(const struct options *running, struct options *ret_options)
{
	return options_parse(running->argc, running->argv, ret_options);
}

static bool text_same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static bool files_same(const struct string_list *a, const struct string_list *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->items[i], b->items[i]))
			return false;
	return true;
}

static bool spool_same(const struct config_spool *a, const struct config_spool *b)
{
	static const struct config_spool none;

	a = a ? a : &none;
	b = b ? b : &none;
	return text_same(a->path, b->path) && text_same(a->max_size, b->max_size);
}

void options_tell_late(const struct options *running, const struct options *fresh)
{
	const struct {
		const char *key;
		bool same;
	} keys[] = {
		{ "store", text_same(running->store, fresh->store) },
		{ "user", text_same(running->user, fresh->user) },
		{ "vmlinux", files_same(&running->symbol_files, &fresh->symbol_files) },
		{ "realtime", running->realtime == fresh->realtime &&
				      running->realtime_text == fresh->realtime_text },
		{ "protect", !memcmp(running->protect, fresh->protect, sizeof(fresh->protect)) },
		{ "spool", spool_same(running->config->spool, fresh->config->spool) },
	};

	for (size_t i = 0; i < array_size(keys); i++)
		if (!keys[i].same)
			log_warning("configuration: %s is taken up at the next start only",
				    keys[i].key);
}

void options_deinit(struct options *options)
{
	free(options->vms.items);
	free(options->excluded.items);
	free(options->symbol_files.items);
	free(options->references.items);
	config_free(options->configs);
	memset(options, 0, sizeof(*options));
}

static bool list_matches(const struct string_list *list, const struct ka_vm_info *info)
{
	for (size_t i = 0; i < list->count; i++)
		if (ka_vm_matches(info, list->items[i]))
			return true;
	return false;
}

bool options_select(const struct options *options, const struct ka_vm_info *info)
{
	const struct config *config = options->config;
	bool wanted = options->vms.count ? list_matches(&options->vms, info) :
		      config->vms.count	 ? patterns_match(&config->vms, info) :
					   true;

	return wanted && !list_matches(&options->excluded, info) &&
	       !patterns_match(&config->exclude_vms, info);
}
