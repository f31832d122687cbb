// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Records and compares the baseline of a running VM, with the monitor's own eyes: what it would
 * report is what is shown here.
 */
#include "baseline.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../monitor/clock.h"
#include "../monitor/guest.h"
#include "../monitor/log.h"
#include "../monitor/report.h"

enum { CYCLE_MS = 200, DEADLINE_S = 30 };

static const struct layout guest_layout[] = {
	{.kind = LAYOUT_FIELDS, .key = "baseline", .columns = (const struct column[]){
		{"id", "baseline", 0}, {"recorded_at", "recorded", 0}, {"trust", "trust", 0},
		{"trigger", "from", 0}, {"digest", "digest", 0}, {"objects", "objects", 0}, {0}}},
	{.kind = LAYOUT_TABLE, .key = "checks", .columns = (const struct column[]){
		{"vcpu", "VCPU", 0}, {"check", "CHECK", 0}, {"state", "STATE", 0},
		{"reason", "REASON", 0}, {0}}},
	{.kind = LAYOUT_EACH, .key = "differences", .inner = (const struct layout[]){
		{.kind = LAYOUT_FIELDS, .columns = (const struct column[]){
			{"message", "difference:", 0}, {0}}},
		{.kind = LAYOUT_FIELDS, .key = "expected", .columns = (const struct column[]){
			{"value", "  expected", 0}, {"symbol", "  symbol", 0}, {0}}},
		{.kind = LAYOUT_FIELDS, .key = "observed", .columns = (const struct column[]){
			{"value", "  observed", 0}, {"symbol", "  symbol", 0}, {0}}},
		{0}}},
	{0},
};

/* A VM under the monitor's eyes for a moment. */
struct look {
	struct cli *cli;
	struct event_stream stream;
	struct watch watch;
	struct guest *guest;
	json_t *baseline, *differences;
};

/* Events as they come; of those of one finding the last counts. */
static int take_event(void *ctx, const json_t *event, const char *line, size_t len,
		      enum severity severity)
{
	struct look *look = ctx;
	json_t *finding;
	const char *type = json_string_value(json_object_get(event, "type"));

	(void)line, (void)len, (void)severity;
	if (type && !strcmp(type, "baseline.recorded")) {
		json_decref(look->baseline);
		look->baseline = json_incref(json_object_get(event, "baseline"));
	}
	finding = json_object_get(json_object_get(event, "finding"), "id");
	if (type && finding && !strcmp(type, "integrity.violation"))
		json_object_set(look->differences, json_string_value(finding), (json_t *)event);
	else if (finding)
		json_object_del(look->differences, json_string_value(finding));
	return 0;
}

static int look_init(struct look *look, struct cli *cli, struct store *store)
{
	int err;

	*look = (struct look){
		.cli = cli, .differences = json_object(),
		.watch = {
			.store = store,
			.symbols = (const struct ka_symbols *const *)cli->symbols,
			.symbols_count = cli->symbols_loaded,
			.push_reason = "a single look sees the moment only",
			.interval_ns = (uint64_t)CYCLE_MS * NS_PER_MS,
			.audit_ppm = 1000000,
		},
	};
	/* Errors come back as results. */
	log_set_level(cli->verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	err = event_stream_init(&look->stream);
	if (err)
		return cli_fail_errno(cli, err, "this host's identity");
	look->stream.write = take_event;
	return CLI_OK;
}

static void look_deinit(struct look *look)
{
	guest_free(look->guest);
	references_free(look->watch.references);
	json_decref(look->baseline);
	json_decref(look->differences);
}

static json_t *checks_json(const struct guest *guest)
{
	json_t *array = json_array();

	for (size_t i = 0; i < guest->vcpu_count; i++)
		for (int check = 0; check < VCPU_CHECKS; check++)
			if (guest_has_check(guest, check))
				json_array_append_new(array, report_check_state(
					guest, &guest->vcpus[i], check));
	for (int check = VCPU_CHECKS; check < CHECKS; check++)
		if (guest_has_check(guest, check))
			json_array_append_new(array, report_check_state(guest, NULL, check));
	return array;
}

/* Why there is no baseline yet. */
static const char *waiting_reason(const struct guest *guest)
{
	const char *reason = guest->vcpu_count ? guest->vcpus[0].coverage[CHECK_GDT].reason : NULL;

	return reason ? reason : "its vCPUs have not run yet";
}

static int cycle(struct look *look)
{
	static const struct timespec pause = {.tv_nsec = (long)CYCLE_MS * NS_PER_MS};
	int err = guest_cycle(look->guest, SEAL_UNKNOWN);

	if (err)
		return cli_fail_errno(look->cli, err, "%s", look->guest->info.name);
	nanosleep(&pause, NULL);
	return CLI_OK;
}

/* Until there is a baseline and two cycles have been held against it. */
static int look_run(struct look *look)
{
	uint64_t deadline = clock_mono() + DEADLINE_S * NS_PER_S;
	struct ka_vm *vm = look->cli->vm;
	int code = CLI_OK, err;

	look->watch.stream = &look->stream;
	look->stream.ctx = look;
	look->cli->vm = NULL;
	err = references_new(look->watch.store, &look->watch.references);
	if (err)
		ka_close(vm);
	else
		err = guest_new(&look->watch, vm, &look->guest);
	if (err)
		return cli_fail_errno(look->cli, err, "the VM");
	while (!code && look->guest->phase != GUEST_WATCHED && clock_mono() < deadline)
		code = cycle(look);
	if (!code && look->guest->phase != GUEST_WATCHED)
		return cli_fail(look->cli, CLI_INCOMPLETE, "no baseline after %d s: %s", DEADLINE_S,
				waiting_reason(look->guest));
	for (int i = 0; !code && i < 2; i++)
		code = cycle(look);
	return code;
}

static int look_report(struct look *look)
{
	json_t *list = json_array(), *difference;
	const char *id;

	json_object_foreach(look->differences, id, difference) {
		json_t *entry = json_object();
		static const char *const members[] = {"message", "check", "object", "expected",
						      "observed", "reason", "finding"};

		for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
			if (json_object_get(difference, members[i]))
				json_object_set(entry, members[i],
						json_object_get(difference, members[i]));
		json_array_append_new(list, entry);
	}
	json_object_set(look->cli->result, "baseline", look->baseline);
	json_object_set_new(look->cli->result, "checks", checks_json(look->guest));
	json_object_set_new(look->cli->result, "differences", list);
	if (json_array_size(list))
		return cli_fail(look->cli, CLI_DIFFERENCES, "%zu objects differ from the baseline",
				json_array_size(list));
	if (!guest_complete(look->guest))
		return cli_fail(look->cli, CLI_INCOMPLETE, "not every check could be made");
	return CLI_OK;
}

static int with_store(struct cli *cli, const char *path, bool must_be_known)
{
	char why[STORE_ERROR_MAX];
	struct store *store;
	struct look look;
	int code, err = store_open(path, &store, why);

	if (err)
		return cli_fail(cli, cli_error_exit(err), "%s", why);
	cli_result(cli, guest_layout);
	code = look_init(&look, cli, store);
	if (!code)
		code = look_run(&look);
	/* What the copy of the store took as new was never recorded. */
	if (!code && must_be_known &&
	    strcmp(json_string_value(json_object_get(look.baseline, "trigger")) ?: "", "store"))
		code = cli_fail(cli, CLI_RUNTIME, "the store has no baseline of this guest's "
				"kernel: 'kvmbpf baseline record' makes one");
	else if (!code)
		code = look_report(&look);
	look_deinit(&look);
	store_close(store);
	return code;
}

int baseline_record(struct cli *cli, const struct baseline_options *options, const char *selector)
{
	int code = cli_open_vm(cli, selector, 0);

	return code ? code : with_store(cli, options->store, false);
}

/* Copies the store, so that the comparison can treat its copy as the monitor treats the store. */
static int copy_store(struct cli *cli, const char *path, const char *copy)
{
	sqlite3 *from = NULL, *to = NULL;
	sqlite3_backup *backup = NULL;
	int err = sqlite3_open_v2(path, &from, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOFOLLOW, NULL);

	if (!err)
		err = sqlite3_open(copy, &to);
	if (!err)
		sqlite3_busy_timeout(from, 5000);
	if (!err)
		backup = sqlite3_backup_init(to, "main", from, "main");
	if (backup) {
		err = sqlite3_backup_step(backup, -1);
		sqlite3_backup_finish(backup);
	}
	sqlite3_close(from);
	sqlite3_close(to);
	if (!backup || err != SQLITE_DONE)
		return cli_fail(cli, CLI_RUNTIME, "%s: %s", path, sqlite3_errstr(err));
	return CLI_OK;
}

int baseline_diff(struct cli *cli, const struct baseline_options *options, const char *selector)
{
	char copy[] = "/tmp/kvmbpf-diff-XXXXXX";
	int code, fd;

	if (access(options->store, F_OK))
		return cli_fail(cli, CLI_RUNTIME, "%s: no store there", options->store);
	code = cli_open_vm(cli, selector, 0);
	if (code)
		return code;
	fd = mkstemp(copy);
	if (fd < 0)
		return cli_fail(cli, CLI_RUNTIME, "%s: %s", copy, strerror(errno));
	close(fd);
	code = copy_store(cli, options->store, copy);
	if (!code)
		code = with_store(cli, copy, true);
	unlink(copy);
	return code;
}
