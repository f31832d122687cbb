// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The Kernel Object Store as kvmbpf baseline shows and trims it.
 *
 * The store's own code has validated the file before anything here looks at it; the queries here
 * are those that the monitor has no use for.
 */
#include "baseline.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../monitor/store.h"

#define WHICH_BOOTS "(?1 = '' OR vm_id = ?1 OR vm_name = ?1)"

static const struct layout show_layout[] = {
	{.kind = LAYOUT_TABLE, .key = "boots", .columns = (const struct column[]){
		{"vm_name", "NAME", 0}, {"vm_id", "ID", 0}, {"generation", "BOOT", 0},
		{"recorded_at", "RECORDED", 0}, {"trust", "TRUST", 0}, {"release", "KERNEL", 0},
		{"slide", "SLIDE", 0}, {"kernel_key", "KERNEL KEY", 0}, {0}}},
	{.kind = LAYOUT_TABLE, .key = "places", .columns = (const struct column[]){
		{"vm_id", "ID", 0}, {"generation", "BOOT", 0}, {"object", "OBJECT", 0},
		{"vcpu", "VCPU", 0}, {"page", "PAGE", 0}, {"gva", "VIRTUAL", 0},
		{"gpa", "PHYSICAL", 0}, {"size", "SIZE", 0}, {0}}},
	{.kind = LAYOUT_TABLE, .key = "contents", .columns = (const struct column[]){
		{"kernel_key", "KERNEL KEY", 0}, {"object", "OBJECT", 0}, {"idx", "INDEX", 0},
		{"value", "VALUE", 0}, {"symbol", "SYMBOL", 0}, {0}}},
	{0},
};

static const struct layout forget_layout[] = {
	{.kind = LAYOUT_FIELDS, .columns = (const struct column[]){
		{"boots", "boots forgotten", 0}, {"kernels", "kernels forgotten", 0}, {0}}},
	{0},
};

/* Opens the file for our own queries, after the store's code has found it whole. */
static int open_store(struct cli *cli, const char *path, sqlite3 **ret_db)
{
	char why[STORE_ERROR_MAX];
	struct store *store;
	sqlite3 *db;
	int err;

	/* Looking must not leave an empty store behind. */
	if (access(path, F_OK))
		return cli_fail(cli, CLI_RUNTIME, "%s: no store there: kvmbpf-monitor makes one, "
				"--store says where", path);
	err = store_open(path, &store, why);
	if (err)
		return cli_fail(cli, cli_error_exit(err), "%s", why);
	store_close(store);
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL)) {
		cli_fail(cli, CLI_RUNTIME, "%s: %s", path, sqlite3_errmsg(db));
		sqlite3_close(db);
		return CLI_RUNTIME;
	}
	sqlite3_busy_timeout(db, 5000);
	sqlite3_exec(db, "PRAGMA foreign_keys = ON", NULL, NULL, NULL);
	*ret_db = db;
	return CLI_OK;
}

static json_t *column_json(sqlite3_stmt *statement, int column)
{
	const char *name = sqlite3_column_name(statement, column);

	if (!strcmp(name, "relative") || !strcmp(name, "long_mode"))
		return json_boolean(sqlite3_column_int(statement, column));
	if (sqlite3_column_type(statement, column) == SQLITE_INTEGER)
		return json_integer(sqlite3_column_int64(statement, column));
	if (sqlite3_column_type(statement, column) == SQLITE_NULL)
		return json_null();
	return output_guest_text((const char *)sqlite3_column_text(statement, column));
}

/* The rows of a query on one VM, members named as the columns; NULL after an error. */
static json_t *query(struct cli *cli, sqlite3 *db, const char *sql, const char *selector)
{
	json_t *rows = json_array();
	sqlite3_stmt *statement = NULL;
	int status = SQLITE_ERROR;

	/* sqlite3_bind_text() refuses a statement without parameters; it is the same to us. */
	if (!sqlite3_prepare_v2(db, sql, -1, &statement, NULL))
		sqlite3_bind_text(statement, 1, selector, -1, SQLITE_STATIC);
	while (statement && (status = sqlite3_step(statement)) == SQLITE_ROW) {
		json_t *row = json_object();

		for (int i = 0; i < sqlite3_column_count(statement); i++)
			json_object_set_new(row, sqlite3_column_name(statement, i),
					    column_json(statement, i));
		json_array_append_new(rows, row);
	}
	if (!statement || status != SQLITE_DONE) {
		cli_fail(cli, CLI_RUNTIME, "the store: %s", sqlite3_errmsg(db));
		json_decref(rows);
		rows = NULL;
	}
	sqlite3_finalize(statement);
	return rows;
}

/* A name may be of several VMs; an id is of one. */
static int check_selector(struct cli *cli, sqlite3 *db, const char *selector)
{
	json_t *vms = query(cli, db, "SELECT vm_id AS uuid, max(vm_name) AS name FROM boot WHERE "
			    WHICH_BOOTS " GROUP BY vm_id", selector);
	size_t count = json_array_size(vms);

	if (!vms)
		return CLI_RUNTIME;
	if (count > 1 && *selector) {
		cli->candidates = vms;
		return cli_fail(cli, CLI_USAGE, "'%s' means several VMs: give the id", selector);
	}
	json_decref(vms);
	if (!count && *selector)
		return cli_fail(cli, CLI_NOT_FOUND, "the store has no VM with the id or name '%s'",
				selector);
	return CLI_OK;
}

static int show(struct cli *cli, sqlite3 *db, const char *selector, bool contents)
{
	static const struct { const char *key, *sql; bool contents; } queries[] = {
		{"boots", "SELECT vm_id, vm_name, generation, boot.recorded_at, kernel_key, slide, "
		 "release, trust, kernel.recorded_at AS kernel_recorded_at, digest, gdt, idt, "
		 "syscall, syscall_ia32 FROM boot LEFT JOIN kernel ON key = kernel_key WHERE "
		 WHICH_BOOTS " ORDER BY vm_name, vm_id, generation", false},
		{"places", "SELECT place.* FROM place JOIN boot USING (vm_id, generation) WHERE "
		 WHICH_BOOTS " ORDER BY vm_id, generation, object, vcpu, page", true},
		{"contents", "SELECT key AS kernel_key, object, idx, value, relative, symbol FROM "
		 "content JOIN kernel ON kernel.id = content.kernel WHERE key IN "
		 "(SELECT kernel_key FROM boot WHERE " WHICH_BOOTS ") ORDER BY key, object, idx",
		 true},
	};
	json_t *result = cli_result(cli, show_layout);

	for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
		json_t *rows;

		if (queries[i].contents && !contents)
			continue;
		rows = query(cli, db, queries[i].sql, selector);
		if (!rows)
			return CLI_RUNTIME;
		json_object_set_new(result, queries[i].key, rows);
	}
	return CLI_OK;
}

int baseline_show(struct cli *cli, const struct baseline_options *options, const char *selector)
{
	sqlite3 *db;
	int code = open_store(cli, options->store, &db);

	if (code)
		return code;
	code = check_selector(cli, db, selector);
	if (!code)
		code = show(cli, db, selector, options->contents);
	sqlite3_close(db);
	return code;
}

static int execute(struct cli *cli, sqlite3 *db, const char *sql, const char *selector,
		   int *ret_changes)
{
	json_t *rows = query(cli, db, sql, selector);

	if (!rows)
		return CLI_RUNTIME;
	json_decref(rows);
	if (ret_changes)
		*ret_changes = sqlite3_changes(db);
	return CLI_OK;
}

/*
 * A kernel's contents are shared by all VMs that run it: they go only when asked for (recorded
 * while it was tampered with), or when no boot is left that refers to them.
 */
static int forget(struct cli *cli, sqlite3 *db, const char *selector, bool kernel, int *ret_boots,
		  int *ret_kernels)
{
	int code = execute(cli, db, "DELETE FROM place WHERE (vm_id, generation) IN "
			   "(SELECT vm_id, generation FROM boot WHERE " WHICH_BOOTS ")", selector,
			   NULL);

	*ret_kernels = 0;
	if (!code && kernel)
		code = execute(cli, db, "DELETE FROM kernel WHERE key IN (SELECT kernel_key FROM "
			       "boot WHERE " WHICH_BOOTS ")", selector, ret_kernels);
	if (!code)
		code = execute(cli, db, "DELETE FROM boot WHERE " WHICH_BOOTS, selector, ret_boots);
	/* Those without a build-id belong to one boot of one VM. */
	if (!code)
		code = execute(cli, db, "DELETE FROM kernel WHERE key LIKE 'vm:%' AND ?1 = ?1 AND "
			       "key NOT IN (SELECT kernel_key FROM boot)", selector, NULL);
	return code;
}

int baseline_forget(struct cli *cli, const struct baseline_options *options, const char *selector)
{
	int code, boots = 0, kernels = 0;
	json_t *result;
	sqlite3 *db;

	if (!options->yes)
		return cli_fail(cli, CLI_USAGE, "this would take the baseline of '%s' out of %s, "
				"and what its kernel holds next would be trusted: add --yes to do it",
				selector, options->store);
	code = open_store(cli, options->store, &db);
	if (code)
		return code;
	code = check_selector(cli, db, selector);
	if (!code)
		code = execute(cli, db, "BEGIN IMMEDIATE", "", NULL);
	if (!code)
		code = forget(cli, db, selector, options->kernel, &boots, &kernels);
	if (!code)
		code = execute(cli, db, "COMMIT", "", NULL);
	sqlite3_close(db);
	if (code)
		return code;
	result = cli_result(cli, forget_layout);
	json_object_set_new(result, "boots", json_integer(boots));
	json_object_set_new(result, "kernels", json_integer(kernels));
	return CLI_OK;
}
