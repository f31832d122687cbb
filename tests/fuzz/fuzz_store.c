// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Loading of a Kernel Object Store that somebody else made: either a whole SQLite file, or SQL that
 * was run on a sound one. It is refused, or everything in it can be read.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "monitor/store.h"

enum { SQL_MAX = 4096, STEPS_MAX = 20000 };

static char path[64];
static struct content content;

static void file_write(const uint8_t *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	CHECK(fd >= 0 && write(fd, data, len) == (ssize_t)len);
	close(fd);
}

static const char build_id[] = "00112233445566778899aabbccddeeff00112233";

static void reference_save(struct store *store)
{
	static const char symbols[] = "ffffffff81000000 T _text\nffffffff82000000 B _end\n";
	static const uint8_t text[] = { 0x90, 0xc3 };
	static const struct ka_kernel kernel;
	const struct ka_section parts[] = {
		{ "symbols", 0, (const uint8_t *)symbols, strlen(symbols) },
		{ ".text", 0xffffffff81000000, text, sizeof(text) },
	};
	struct ka_reference *reference = NULL;

	CHECK(!ka_reference_create(build_id, "6.1.0", parts, 2, &reference));
	CHECK(!store_content_save(store, build_id, &content, &kernel));
	CHECK(!store_reference_save(store, build_id, reference));
	ka_reference_free(reference);
}

static void sound_store(void)
{
	static const struct ka_kernel kernel;
	struct store_boot boot = { .vm_id = "vm",
				   .vm_name = "name",
				   .fingerprint = "f",
				   .kernel_key = "k",
				   .generation = 1,
				   .recorded_at = "now" };
	struct view view = { .gva = 0x1000, .limit = 127, .pages = 1, .gpa = { 0x2000 } };
	char error[STORE_ERROR_MAX];
	struct store *store;

	memset(&content, 0, sizeof(content));
	content.long_mode = true;
	strcpy(content.trust, "tofu");
	content.count[CONTENT_GDT] = content.count[CONTENT_IDT] = content.count[CONTENT_SYSCALL] =
		2;
	content.entry[CONTENT_GDT][1].kept = content.entry[CONTENT_IDT][0].kept = true;
	content.entry[CONTENT_SYSCALL][1].kept = content.entry[CONTENT_SYSCALL][1].relative = true;
	unlink(path);
	CHECK(!store_open(path, &store, error));
	CHECK(!store_begin(store));
	CHECK(!store_content_save(store, "k", &content, &kernel));
	reference_save(store);
	CHECK(!store_boot_save(store, &boot));
	CHECK(!store_place_save(store, "vm", 1, "gdtr", 0, &view));
	CHECK(!store_commit(store));
	store_close(store);
}

static int steps;

static int on_progress(void *ctx)
{
	(void)ctx;
	return ++steps > STEPS_MAX;
}

/* What a program with the sqlite3 tool could do to it, but not to other files. */
static int authorize(void *ctx, int action, const char *a, const char *b, const char *c,
		     const char *d)
{
	(void)ctx, (void)b, (void)c, (void)d;
	if (action == SQLITE_ATTACH || action == SQLITE_DETACH)
		return SQLITE_DENY;
	if (action == SQLITE_PRAGMA && a && strcmp(a, "user_version") &&
	    strcmp(a, "application_id") && strcmp(a, "writable_schema"))
		return SQLITE_DENY;
	return SQLITE_OK;
}

static void sql_run(const uint8_t *data, size_t len)
{
	char sql[SQL_MAX + 1];
	sqlite3 *db;

	len = len < SQL_MAX ? len : SQL_MAX;
	memcpy(sql, data, len);
	sql[len] = '\0';
	CHECK(sqlite3_open(path, &db) == SQLITE_OK);
	sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 100000);
	sqlite3_set_authorizer(db, authorize, NULL);
	steps = 0;
	sqlite3_progress_handler(db, 100, on_progress, NULL);
	sqlite3_exec(db, sql, NULL, NULL, NULL);
	sqlite3_close(db);
}

/* A module that is none: its digest is not that of its bytes, until somebody makes it so. */
static void module_plant(void)
{
	static const char insert[] =
		"INSERT INTO module (kernel, name, build_id, size, digest, zstd) "
		"SELECT id, 'm', '00', 16, zeroblob(32), zeroblob(64) FROM kernel";

	sql_run((const uint8_t *)insert, strlen(insert));
}

/* As kvmbpf baseline import does. */
static void kernel_import(struct store *from)
{
	char error[STORE_ERROR_MAX];
	struct store *store = NULL;
	bool any, same;

	CHECK(!store_open(":memory:", &store, error));
	CHECK(store_kernel_copy(store, from, build_id) <= 0);
	CHECK(store_references_known(from, "6.1.0", &any, &same) <= 0);
	store_close(store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char magic[] = "SQLite format 3";
	char error[STORE_ERROR_MAX];
	struct ka_reference *reference = NULL;
	struct ka_module_image *image = NULL;
	struct store *store = NULL;
	int64_t modules = 0;
	struct store_boot boot;
	struct view view;
	int r;

	if (!path[0]) {
		CHECK(sodium_init() >= 0);
		snprintf(path, sizeof(path), "/dev/shm/kvmbpf-fuzz-store-%d", (int)getpid());
	}
	if (len > sizeof(magic) && !memcmp(data, magic, sizeof(magic))) {
		file_write(data, len);
	} else {
		sound_store();
		module_plant();
		sql_run(data, len);
	}
	error[0] = '\0';
	r = store_open(path, &store, error);
	if (r < 0) {
		CHECK(!store && error[0]);
		unlink(path);
		return 0;
	}
	r = store_content_load(store, "k", &content);
	CHECK(!r || r == -ENOENT);
	for (int i = 0; !r && i < CONTENT_OBJECTS; i++)
		CHECK(content.count[i] <= CONTENT_MAX);
	r = store_boot_find(store, "vm", NULL, &boot);
	CHECK(!r || r == -ENOENT);
	r = store_place_find(store, "vm", 1, "gdtr", 0, &view);
	CHECK(r == -ENOENT || (!r && view.pages <= VIEW_PAGES));
	r = store_reference_load(store, build_id, &reference);
	CHECK(r <= 0 && !r == !!reference);
	if (reference)
		CHECK(store_reference_complete(store, reference) <= 0);
	ka_reference_free(reference);
	r = store_modules_count(store, build_id, &modules);
	CHECK(r <= 0 && (r || modules >= 0));
	r = store_module_load(store, build_id, "m", &image);
	CHECK(r <= 0 && !r == !!image);
	ka_module_image_free(image);
	kernel_import(store);
	store_close(store);
	unlink(path);
	return 0;
}
