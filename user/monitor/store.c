// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Keeps the Kernel Object Store in SQLite. The file may be damaged or made by somebody else: its
 * schema must be word for word ours, and each value is validated before it is believed.
 */
#include "store.h"

#include "cleanup.h"
#include "sql.h"
#include "text.h"

#include <errno.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <zstd.h>

enum {
	APPLICATION_ID = 0x4b564d42, /* "KVMB" */
	BOOTS_KEPT = 16,
	SECTION_MAX = 128 << 20,  /* bytes of a part of a kernel's image */
};

static const char *const schema[][2] = {
	{ "kernel", "CREATE TABLE kernel (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, "
		    "release TEXT NOT NULL, long_mode INTEGER NOT NULL, trust TEXT NOT NULL, "
		    "recorded_at TEXT NOT NULL, digest TEXT NOT NULL, gdt INTEGER NOT NULL, "
		    "idt INTEGER NOT NULL, syscall INTEGER NOT NULL, "
		    "syscall_ia32 INTEGER NOT NULL) STRICT" },
	{ "content", "CREATE TABLE content (kernel INTEGER NOT NULL REFERENCES kernel(id) "
		     "ON DELETE CASCADE, object TEXT NOT NULL, idx INTEGER NOT NULL, "
		     "value TEXT NOT NULL, relative INTEGER NOT NULL, symbol TEXT NOT NULL, "
		     "PRIMARY KEY (kernel, object, idx)) STRICT, WITHOUT ROWID" },
	{ "boot", "CREATE TABLE boot (vm_id TEXT NOT NULL, generation INTEGER NOT NULL, "
		  "vm_name TEXT NOT NULL, fingerprint TEXT NOT NULL, kernel_key TEXT NOT NULL, "
		  "slide TEXT NOT NULL, recorded_at TEXT NOT NULL, "
		  "PRIMARY KEY (vm_id, generation)) STRICT, WITHOUT ROWID" },
	{ "place", "CREATE TABLE place (vm_id TEXT NOT NULL, generation INTEGER NOT NULL, "
		   "object TEXT NOT NULL, vcpu INTEGER NOT NULL, page INTEGER NOT NULL, "
		   "gva TEXT NOT NULL, gpa TEXT NOT NULL, size INTEGER NOT NULL, "
		   "PRIMARY KEY (vm_id, generation, object, vcpu, page)) STRICT, WITHOUT ROWID" },
	{ "section", "CREATE TABLE section (kernel INTEGER NOT NULL REFERENCES kernel(id) "
		     "ON DELETE CASCADE, name TEXT NOT NULL, address TEXT NOT NULL, "
		     "size INTEGER NOT NULL, digest TEXT NOT NULL, zstd BLOB NOT NULL, "
		     "PRIMARY KEY (kernel, name)) STRICT" },
	{ "module", "CREATE TABLE module (kernel INTEGER NOT NULL REFERENCES kernel(id) "
		    "ON DELETE CASCADE, name TEXT NOT NULL, build_id TEXT NOT NULL, "
		    "size INTEGER NOT NULL, digest TEXT NOT NULL, zstd BLOB NOT NULL, "
		    "PRIMARY KEY (kernel, name)) STRICT" },
};

/* How many of them each version of the schema has. */
static const size_t schema_tables[STORE_VERSION + 1] = { 0, 4, 5, 6 };

struct store {
	sqlite3 *db;
};

static void cleanup_statement(sqlite3_stmt **statement)
{
	sqlite3_finalize(*statement);
}

#define _cleanup_statement_ _cleanup_(cleanup_statement)

static int prepare(struct store *store, const char *sql, sqlite3_stmt **ret_statement)
{
	return sql_error(sqlite3_prepare_v2(store->db, sql, -1, ret_statement, NULL));
}

/* 1: a row, 0: no more. */
static int step(sqlite3_stmt *statement)
{
	int code = sqlite3_step(statement);

	return code == SQLITE_ROW ? 1 : sql_error(code);
}

static int execute(struct store *store, const char *sql)
{
	return sql_error(sqlite3_exec(store->db, sql, NULL, NULL, NULL));
}

/* 's' const char *, 'i' int64_t; from parameter 1 on. */
static int bind(sqlite3_stmt *statement, const char *types, ...)
{
	int code = SQLITE_OK;
	va_list args;

	va_start(args, types);
	for (int i = 1; types[i - 1] && code == SQLITE_OK; i++)
		code = types[i - 1] == 's'
			       ? sqlite3_bind_text(statement, i, va_arg(args, const char *), -1,
						   SQLITE_TRANSIENT)
			       : sqlite3_bind_int64(statement, i, va_arg(args, int64_t));
	va_end(args);
	return sql_error(code);
}

/* Text of a column: no NULL, no zero within, valid UTF-8 without controls, and it fits. */
static int column_text(sqlite3_stmt *statement, int column, char *buf, size_t size)
{
	const char *text;
	size_t len;

	if (sqlite3_column_type(statement, column) != SQLITE_TEXT)
		return -EBADMSG;
	text = (const char *)sqlite3_column_text(statement, column);
	len = (size_t)sqlite3_column_bytes(statement, column);
	if (!text || len >= size || memchr(text, 0, len))
		return -EBADMSG;
	text_clean(buf, size, text);
	return strcmp(buf, text) ? -EBADMSG : 0;
}

static int column_number(sqlite3_stmt *statement, int column, int64_t min, int64_t max,
			 int64_t *ret_number)
{
	int64_t number = sqlite3_column_int64(statement, column);

	if (sqlite3_column_type(statement, column) != SQLITE_INTEGER || number < min ||
	    number > max)
		return -EBADMSG;
	*ret_number = number;
	return 0;
}

static int column_hex(sqlite3_stmt *statement, int column, unsigned int size, uint64_t ret_value[2])
{
	char text[TEXT_HEX_MAX];
	unsigned int found = 0;
	uint64_t value[2];
	int r = column_text(statement, column, text, sizeof(text));

	if (!r)
		r = text_hex_parse(text, value, &found);
	if (r < 0 || found != size)
		return -EBADMSG;
	memcpy(ret_value, value, sizeof(value));
	return 0;
}

/* ---- the file ------------------------------------------------------------------------------ */

static int pragma_number(struct store *store, const char *sql, int64_t *ret_number)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	int r = prepare(store, sql, &statement);

	if (!r)
		r = step(statement);
	if (r <= 0)
		return r < 0 ? r : -EBADMSG;
	*ret_number = sqlite3_column_int64(statement, 0);
	return 0;
}

/* From table `first` on: all of them, or those that a later version has more. */
static int schema_create(struct store *store, size_t first)
{
	char sql[96];
	int r = store_begin(store);

	for (size_t i = first; !r && i < array_size(schema); i++)
		r = execute(store, schema[i][1]);
	snprintf(sql, sizeof(sql), "PRAGMA application_id = %d; PRAGMA user_version = %d",
		 APPLICATION_ID, STORE_VERSION);
	if (!r)
		r = execute(store, sql);
	if (!r)
		r = store_commit(store);
	if (r < 0)
		store_rollback(store);
	return r;
}

/* A view or trigger in place of a table, or beside it, would run somebody else's SQL. */
static int schema_validate(struct store *store, size_t tables)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	size_t found = 0;
	int r = prepare(store, "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL",
			&statement);

	if (r < 0)
		return r;
	while ((r = step(statement)) > 0) {
		char name[64], sql[1024];
		size_t i;

		if (column_text(statement, 0, name, sizeof(name)) < 0 ||
		    column_text(statement, 1, sql, sizeof(sql)) < 0)
			return -EBADMSG;
		for (i = 0; i < tables; i++)
			if (!strcmp(name, schema[i][0]) && !strcmp(sql, schema[i][1]))
				break;
		if (i == tables)
			return -EBADMSG;
		found++;
	}
	if (r < 0)
		return r;
	return found == tables ? 0 : -EBADMSG;
}

static int quick_check(struct store *store)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	int r = prepare(store, "PRAGMA quick_check(1)", &statement);
	char text[8];

	if (!r)
		r = step(statement);
	if (r <= 0)
		return r < 0 ? r : -EBADMSG;
	return column_text(statement, 0, text, sizeof(text)) || strcmp(text, "ok") ? -EBADMSG : 0;
}

static int kernels_validate(struct store *store)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	_cleanup_free_ struct content *content = calloc(1, sizeof(*content));
	char key[STORE_KEY_MAX];
	int r = content ? prepare(store, "SELECT key FROM kernel", &statement) : -ENOMEM;

	if (r < 0)
		return r;
	while ((r = step(statement)) > 0) {
		r = column_text(statement, 0, key, sizeof(key));
		if (!r)
			r = store_content_load(store, key, content);
		if (r < 0)
			return r == -ENOENT ? -EBADMSG : r;
	}
	return r;
}

static int boot_read(sqlite3_stmt *statement, struct store_boot *ret_boot);
static int place_read(sqlite3_stmt *statement, struct view *view);

static int part_describe(sqlite3_stmt *statement, struct ka_section *ret_section);

/* Their bytes are held against their digests when they are used. */
static int sections_validate(struct store *store)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	struct ka_section section;
	int r = prepare(store, "SELECT name, address, size FROM section", &statement);

	while (!r && (r = step(statement)) > 0)
		r = part_describe(statement, &section);
	return r;
}

static int boots_validate(struct store *store)
{
	_cleanup_statement_ sqlite3_stmt *boots = NULL, *places = NULL;
	struct store_boot boot;
	struct view view;
	int r;

	r = prepare(store,
		    "SELECT vm_id, generation, vm_name, fingerprint, kernel_key, slide, "
		    "recorded_at FROM boot",
		    &boots);
	while (!r && (r = step(boots)) > 0)
		r = boot_read(boots, &boot);
	if (!r)
		r = prepare(store,
			    "SELECT page, gva, gpa, size FROM place ORDER BY vm_id, "
			    "generation, object, vcpu, page",
			    &places);
	while (!r && (r = step(places)) > 0) {
		if (sqlite3_column_int64(places, 0) == 0)
			view = (struct view){ 0 };
		r = place_read(places, &view);
	}
	return r;
}

static int file_validate(struct store *store)
{
	int64_t id = 0, version = 0, objects = 0;
	int r = pragma_number(store, "PRAGMA application_id", &id);

	if (!r)
		r = pragma_number(store, "PRAGMA user_version", &version);
	if (!r)
		r = pragma_number(store, "SELECT count(*) FROM sqlite_schema", &objects);
	if (r < 0)
		return r;
	if (!id && !version && !objects)
		return schema_create(store, 0);
	if (id != APPLICATION_ID)
		return -EBADMSG;
	if (version > STORE_VERSION)
		return -EPROTONOSUPPORT;
	r = version < 1 ? -EBADMSG : quick_check(store);
	if (!r)
		r = schema_validate(store, schema_tables[version]);
	if (!r && version < STORE_VERSION)
		r = schema_create(store, schema_tables[version]);
	if (!r)
		r = kernels_validate(store);
	if (!r)
		r = sections_validate(store);
	if (!r)
		r = boots_validate(store);
	return r;
}

/* Not only the flag of the file: its folder must take the journal, and nobody else hold a lock. */
static int writable_validate(struct store *store)
{
	int r;

	if (sqlite3_db_readonly(store->db, "main"))
		return -EROFS;
	r = execute(store, "BEGIN IMMEDIATE");
	/* Writes one page and takes it back. */
	if (!r)
		r = execute(store, "PRAGMA user_version = 0");
	store_rollback(store);
	return r;
}

static void error_describe(const char *path, int error, struct store *store, char *buf)
{
	const char *said = store && store->db ? sqlite3_errmsg(store->db) : strerror(-error);

	switch (error) {
	case -EBADMSG:
		snprintf(buf, STORE_ERROR_MAX,
			 "%s is damaged, or not a store of kvmbpf: keep it for a look, restore a "
			 "copy "
			 "or give another --store; a new one begins with new baselines",
			 path);
		break;
	case -EPROTONOSUPPORT:
		snprintf(buf, STORE_ERROR_MAX,
			 "%s was made by a newer version of kvmbpf: use that one, or another "
			 "--store",
			 path);
		break;
	case -EROFS:
		snprintf(buf, STORE_ERROR_MAX,
			 "%s cannot be written (%s): give the monitor write permission for it and "
			 "its "
			 "folder, or another --store",
			 path, said);
		break;
	case -EBUSY:
		snprintf(buf, STORE_ERROR_MAX,
			 "%s is held by another program: end it, or give another --store", path);
		break;
	case -ENOENT:
		snprintf(buf, STORE_ERROR_MAX,
			 "%s cannot be opened or created (%s): make its folder, or give another "
			 "--store",
			 path, said);
		break;
	default:
		snprintf(buf, STORE_ERROR_MAX, "%s: %s", path, said);
	}
}

static void db_configure(sqlite3 *db)
{
	sqlite3_extended_result_codes(db, 1);
	sqlite3_busy_timeout(db, 3000);
	sqlite3_limit(db, SQLITE_LIMIT_LENGTH, SECTION_MAX);
	sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
	sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
}

static int open_validated(const char *name, struct store *store, bool writable, int r,
			  struct store **ret_store, char ret_error[static STORE_ERROR_MAX])
{
	if (!r)
		r = file_validate(store);
	if (!r && writable)
		r = writable_validate(store);
	if (r < 0) {
		error_describe(name, r, store, ret_error);
		store_close(store);
		return r;
	}
	*ret_store = store;
	return 0;
}

int store_open(const char *path, struct store **ret_store, char ret_error[static STORE_ERROR_MAX])
{
	struct store *store = calloc(1, sizeof(*store));
	int r;

	if (!store)
		return -ENOMEM;
	r = sql_error(sqlite3_open_v2(path, &store->db,
				     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
					     SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_PRIVATECACHE,
				     NULL));
	if (!r) {
		db_configure(store->db);
		/* One file, no -wal beside it; what is committed survives a power cut. */
		r = execute(store, "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; "
				   "PRAGMA foreign_keys = ON; PRAGMA journal_mode = DELETE; "
				   "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY");
	}
	return open_validated(path, store, true, r, ret_store, ret_error);
}

int store_open_bytes(const char *name, const void *bytes, size_t len, struct store **ret_store,
		     char ret_error[static STORE_ERROR_MAX])
{
	struct store *store = calloc(1, sizeof(*store));
	unsigned char *copy = sqlite3_malloc64(len ? len : 1);
	int r;

	if (!store || !copy) {
		sqlite3_free(copy);
		free(store);
		return -ENOMEM;
	}
	memcpy(copy, bytes, len);
	r = sql_error(sqlite3_open_v2(":memory:", &store->db, SQLITE_OPEN_READWRITE, NULL));
	if (!r) {
		db_configure(store->db);
		/* Takes the copy over, also on failure. Only a file of an older version is changed,
		 * and only in memory. */
		r = sql_error(sqlite3_deserialize(store->db, "main", copy, (int64_t)len,
						 (int64_t)len,
						 SQLITE_DESERIALIZE_FREEONCLOSE |
							 SQLITE_DESERIALIZE_RESIZEABLE));
	} else {
		sqlite3_free(copy);
	}
	if (!r)
		r = execute(store, "PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY");
	return open_validated(name, store, false, r, ret_store, ret_error);
}

void store_close(struct store *store)
{
	if (!store)
		return;
	sqlite3_close(store->db);
	free(store);
}

const char *store_error(struct store *store)
{
	return sqlite3_errmsg(store->db);
}

int store_begin(struct store *store)
{
	return execute(store, "BEGIN IMMEDIATE");
}

int store_commit(struct store *store)
{
	return execute(store, "COMMIT");
}

void store_rollback(struct store *store)
{
	if (!sqlite3_get_autocommit(store->db))
		execute(store, "ROLLBACK");
}

/* ---- contents ------------------------------------------------------------------------------ */

static int kernel_read(sqlite3_stmt *statement, struct content *content,
		       char digest[static CONTENT_DIGEST_MAX])
{
	int64_t number = 0;
	int r = column_text(statement, 1, content->release, sizeof(content->release));

	if (!r)
		r = column_number(statement, 2, 0, 1, &number);
	if (!r) {
		content->long_mode = number;
		r = column_text(statement, 3, content->trust, sizeof(content->trust));
	}
	if (!r && strcmp(content->trust, "tofu") && strcmp(content->trust, "reference"))
		r = -EBADMSG;
	if (!r)
		r = column_text(statement, 4, content->recorded_at, sizeof(content->recorded_at));
	if (!r)
		r = column_text(statement, 5, digest, CONTENT_DIGEST_MAX);
	for (int i = 0; !r && i < CONTENT_OBJECTS; i++) {
		r = column_number(statement, 6 + i, 0, CONTENT_MAX, &number);
		if (!r)
			content->count[i] = (unsigned int)number;
	}
	return r;
}

static int entry_read(sqlite3_stmt *statement, struct content *content)
{
	struct content_entry *entry;
	char name[16];
	unsigned int object;
	int64_t index = 0, relative = 0;
	int r = column_text(statement, 0, name, sizeof(name));

	if (r < 0)
		return r;
	for (object = 0; object < CONTENT_OBJECTS; object++)
		if (!strcmp(name, content_object_name(object)))
			break;
	if (object == CONTENT_OBJECTS)
		return -EBADMSG;
	r = column_number(statement, 1, 0, (int64_t)content->count[object] - 1, &index);
	if (!r)
		r = column_number(statement, 3, 0, 1, &relative);
	if (r < 0)
		return r;
	entry = &content->entry[object][index];
	entry->relative = relative;
	entry->kept = true;
	return column_hex(statement, 2, content_size(object, content->long_mode), entry->value);
}

int store_content_load(struct store *store, const char *key, struct content *ret_content)
{
	_cleanup_statement_ sqlite3_stmt *kernel = NULL, *entries = NULL;
	_cleanup_free_ struct content *content = calloc(1, sizeof(*content));
	char stored[CONTENT_DIGEST_MAX], digest[CONTENT_DIGEST_MAX];
	int r;

	if (!content)
		return -ENOMEM;
	r = prepare(store,
		    "SELECT id, release, long_mode, trust, recorded_at, digest, gdt, idt, "
		    "syscall, syscall_ia32 FROM kernel WHERE key = ?",
		    &kernel);
	if (!r)
		r = bind(kernel, "s", key);
	if (!r)
		r = step(kernel);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	r = kernel_read(kernel, content, stored);
	if (!r)
		r = prepare(store,
			    "SELECT object, idx, value, relative FROM content WHERE kernel = ?",
			    &entries);
	if (!r)
		r = bind(entries, "i", (int64_t)sqlite3_column_int64(kernel, 0));
	while (!r && (r = step(entries)) > 0)
		r = entry_read(entries, content);
	if (r < 0)
		return r;
	/* Rows that are missing, or were edited by hand. */
	content_digest(content, digest);
	if (strcmp(stored, digest))
		return -EBADMSG;
	memcpy(ret_content, content, sizeof(*content));
	return 0;
}

static const char *entry_symbol(const struct ka_kernel *kernel, const struct content *content,
				enum content_object object, const struct content_entry *entry,
				char *buf, size_t size)
{
	uint64_t address = object == CONTENT_IDT
				   ? idt_gate_handler(content->long_mode, entry->value)
				   : entry->value[0],
		 offset = 0;
	const char *name = NULL;

	if (object != CONTENT_GDT && entry->relative && kernel->symbols)
		name = ka_kernel_name(kernel, address + kernel->slide, &offset);
	if (!name)
		return "";
	snprintf(buf, size, offset ? "%.200s+0x%llx" : "%.200s", name, (unsigned long long)offset);
	return buf;
}

static int entries_save(struct store *store, int64_t kernel_id, const struct content *content,
			const struct ka_kernel *kernel)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	char value[TEXT_HEX_MAX], symbol[256];
	int r = prepare(store,
			"INSERT INTO content (kernel, object, idx, value, relative, symbol) "
			"VALUES (?, ?, ?, ?, ?, ?)",
			&statement);

	for (unsigned int object = 0; object < CONTENT_OBJECTS; object++)
		for (unsigned int i = 0; !r && i < content->count[object]; i++) {
			const struct content_entry *entry = &content->entry[object][i];

			if (!entry->kept)
				continue;
			r = bind(statement, "isisis", kernel_id, content_object_name(object),
				 (int64_t)i,
				 text_hex(value, entry->value,
					  content_size(object, content->long_mode)),
				 (int64_t)entry->relative,
				 entry_symbol(kernel, content, object, entry, symbol,
					      sizeof(symbol)));
			if (!r)
				r = step(statement);
			sqlite3_reset(statement);
		}
	return r;
}

int store_content_save(struct store *store, const char *key, const struct content *content,
		       const struct ka_kernel *kernel)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	char digest[CONTENT_DIGEST_MAX];
	int r;

	content_digest(content, digest);
	r = prepare(store,
		    "INSERT INTO kernel (key, release, long_mode, trust, recorded_at, digest, "
		    "gdt, idt, syscall, syscall_ia32) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		    &statement);
	if (!r)
		r = bind(statement, "ssisssiiii", key, content->release,
			 (int64_t)content->long_mode, content->trust, content->recorded_at, digest,
			 (int64_t)content->count[CONTENT_GDT], (int64_t)content->count[CONTENT_IDT],
			 (int64_t)content->count[CONTENT_SYSCALL],
			 (int64_t)content->count[CONTENT_SYSCALL_IA32]);
	if (!r)
		r = step(statement);
	if (r < 0)
		return r;
	return entries_save(store, sqlite3_last_insert_rowid(store->db), content, kernel);
}

/* ---- parts of images ----------------------------------------------------------------------- */

struct part {
	struct ka_section section;
	uint8_t *bytes; /* of the section */
};

static void part_digest(const uint8_t *bytes, size_t len, char ret_digest[static CONTENT_DIGEST_MAX])
{
	unsigned char hash[16];

	crypto_generichash(hash, sizeof(hash), bytes, len, NULL, 0);
	text_bytes(ret_digest, hash, sizeof(hash));
}

/* Columns name, address, size. */
static int part_describe(sqlite3_stmt *statement, struct ka_section *ret_section)
{
	uint64_t address[2];
	int64_t size = 0;
	int r = column_text(statement, 0, ret_section->name, sizeof(ret_section->name));

	if (!r)
		r = column_hex(statement, 1, 8, address);
	if (!r)
		r = column_number(statement, 2, 0, SECTION_MAX, &size);
	if (r < 0)
		return r;
	ret_section->address = address[0];
	ret_section->len = (size_t)size;
	return 0;
}

/* Columns as above, and digest and zstd. */
static int part_read(sqlite3_stmt *statement, struct part *part)
{
	char stored[CONTENT_DIGEST_MAX], digest[CONTENT_DIGEST_MAX];
	int r = part_describe(statement, &part->section);
	size_t len;

	if (!r)
		r = column_text(statement, 3, stored, sizeof(stored));
	if (r < 0)
		return r;
	part->bytes = malloc(part->section.len ? part->section.len : 1);
	if (!part->bytes)
		return -ENOMEM;
	part->section.bytes = part->bytes;
	len = ZSTD_decompress(part->bytes, part->section.len, sqlite3_column_blob(statement, 4),
			      (size_t)sqlite3_column_bytes(statement, 4));
	if (ZSTD_isError(len) || len != part->section.len)
		return -EBADMSG;
	part_digest(part->bytes, len, digest);
	return strcmp(stored, digest) ? -EBADMSG : 0;
}

static int release_load(struct store *store, const char *key, char ret_release[static STORE_KEY_MAX])
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	int r = prepare(store, "SELECT release FROM kernel WHERE key = ?", &statement);

	if (!r)
		r = bind(statement, "s", key);
	if (!r)
		r = step(statement);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	return column_text(statement, 0, ret_release, STORE_KEY_MAX);
}

static int parts_read(sqlite3_stmt *statement, struct ka_section *sections, size_t *count)
{
	int r;

	while ((r = step(statement)) > 0) {
		struct part part = { 0 };

		r = *count < KA_SECTIONS_MAX ? part_read(statement, &part) : -EBADMSG;
		if (r < 0) {
			free(part.bytes);
			return r;
		}
		sections[(*count)++] = part.section;
	}
	return r;
}

enum which_parts { PARTS_SYMBOLS, PARTS_OTHERS };

static int parts_load(struct store *store, const char *key, enum which_parts which,
		      struct ka_section *sections, size_t *count)
{
#define SELECT_PARTS                                                                               \
	"SELECT name, address, size, section.digest, zstd FROM section "                           \
	"JOIN kernel ON kernel.id = section.kernel WHERE key = ? AND "
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	int r = prepare(store,
			which == PARTS_SYMBOLS
				? SELECT_PARTS "name = '" KA_SECTION_SYMBOLS "'"
				: SELECT_PARTS "name != '" KA_SECTION_SYMBOLS "' ORDER BY name",
			&statement);
#undef SELECT_PARTS

	if (!r)
		r = bind(statement, "s", key);
	if (!r)
		r = parts_read(statement, sections, count);
	if (!r && !*count)
		r = -ENOENT;
	return r;
}

static void parts_free(struct ka_section *sections, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free((void *)sections[i].bytes);
}

int store_reference_load(struct store *store, const char *key, struct ka_reference **ret_reference)
{
	struct ka_section symbols[KA_SECTIONS_MAX];
	char release[STORE_KEY_MAX] = "";
	size_t count = 0;
	int r = parts_load(store, key, PARTS_SYMBOLS, symbols, &count);

	if (!r)
		r = release_load(store, key, release);
	if (!r)
		r = ka_reference_create(key, release, symbols, count, ret_reference);
	parts_free(symbols, count);
	return r;
}

int store_reference_complete(struct store *store, struct ka_reference *reference)
{
	struct ka_section sections[KA_SECTIONS_MAX];
	size_t count = 0;
	int r = parts_load(store, ka_reference_build_id(reference), PARTS_OTHERS, sections, &count);

	if (!r)
		r = ka_reference_add(reference, sections, count);
	parts_free(sections, count);
	return r == -ENOENT ? 0 : r;
}

static int part_save(sqlite3_stmt *statement, const char *key, const struct ka_section *section)
{
	char address[TEXT_HEX_MAX], digest[CONTENT_DIGEST_MAX];
	size_t room = ZSTD_compressBound(section->len), len;
	_cleanup_free_ void *packed = malloc(room);
	int r;

	if (!packed)
		return -ENOMEM;
	len = ZSTD_compress(packed, room, section->bytes, section->len, 0);
	if (ZSTD_isError(len))
		return -EIO;
	part_digest(section->bytes, section->len, digest);
	r = bind(statement, "sssis", key, section->name, text_hex64(address, section->address),
		 (int64_t)section->len, digest);
	if (!r)
		r = sql_error(sqlite3_bind_blob64(statement, 6, packed, len, SQLITE_TRANSIENT));
	if (!r)
		r = step(statement);
	sqlite3_reset(statement);
	return r;
}

int store_reference_save(struct store *store, const char *key, const struct ka_reference *reference)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	const struct ka_section *sections;
	size_t count;
	int r = prepare(store,
			"INSERT INTO section (kernel, name, address, size, digest, zstd) VALUES "
			"((SELECT id FROM kernel WHERE key = ?), ?, ?, ?, ?, ?)",
			&statement);

	sections = ka_reference_sections(reference, &count);
	for (size_t i = 0; !r && i < count; i++)
		r = part_save(statement, key, &sections[i]);
	return r;
}

/* ---- modules ------------------------------------------------------------------------------- */

static int module_insert(struct store *store, sqlite3_stmt **ret_statement)
{
	return prepare(store,
		       "INSERT OR REPLACE INTO module (kernel, name, build_id, size, digest, zstd) "
		       "VALUES ((SELECT id FROM kernel WHERE key = ?), ?, ?, ?, ?, ?)",
		       ret_statement);
}

int store_module_save(struct store *store, const char *key, const struct ka_module_image *image)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	char digest[CONTENT_DIGEST_MAX];
	size_t len, packed_len, room;
	const void *bytes = ka_module_image_bytes(image, &len);
	_cleanup_free_ void *packed = NULL;
	int r;

	room = ZSTD_compressBound(len);
	packed = malloc(room);
	if (!packed)
		return -ENOMEM;
	packed_len = ZSTD_compress(packed, room, bytes, len, 0);
	if (ZSTD_isError(packed_len))
		return -EIO;
	part_digest(bytes, len, digest);
	r = module_insert(store, &statement);
	if (!r)
		r = bind(statement, "sssis", key, ka_module_image_name(image),
			 ka_module_image_build_id(image), (int64_t)len, digest);
	if (!r)
		r = sql_error(sqlite3_bind_blob64(statement, 6, packed, packed_len,
						  SQLITE_STATIC));
	return r ? r : step(statement);
}

/* Columns size, digest, zstd. */
static int module_bytes(sqlite3_stmt *statement, uint8_t **ret_bytes, size_t *ret_len)
{
	char stored[CONTENT_DIGEST_MAX], digest[CONTENT_DIGEST_MAX];
	_cleanup_free_ uint8_t *bytes = NULL;
	int64_t size = 0;
	size_t len;
	int r = column_number(statement, 0, 1, SECTION_MAX, &size);

	if (!r)
		r = column_text(statement, 1, stored, sizeof(stored));
	if (r < 0)
		return r;
	bytes = malloc((size_t)size);
	if (!bytes)
		return -ENOMEM;
	len = ZSTD_decompress(bytes, (size_t)size, sqlite3_column_blob(statement, 2),
			      (size_t)sqlite3_column_bytes(statement, 2));
	if (ZSTD_isError(len) || len != (size_t)size)
		return -EBADMSG;
	part_digest(bytes, len, digest);
	if (strcmp(stored, digest))
		return -EBADMSG;
	*ret_bytes = bytes;
	*ret_len = len;
	bytes = NULL;
	return 0;
}

int store_module_load(struct store *store, const char *key, const char *name,
		      struct ka_module_image **ret_image)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t len;
	int r = prepare(store,
			"SELECT size, module.digest, zstd FROM module JOIN kernel ON "
			"kernel.id = module.kernel WHERE key = ? AND name = ?",
			&statement);

	if (!r)
		r = bind(statement, "ss", key, name);
	if (!r)
		r = step(statement);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	r = module_bytes(statement, &bytes, &len);
	return r ? r : ka_module_image_create(bytes, len, ret_image);
}

int store_modules_count(struct store *store, const char *key, int64_t *ret_count)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	int r = prepare(store,
			"SELECT count(*) FROM module JOIN kernel ON kernel.id = module.kernel "
			"WHERE key = ?",
			&statement);

	if (!r)
		r = bind(statement, "s", key);
	if (!r)
		r = step(statement);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	return column_number(statement, 0, 0, INT64_MAX, ret_count);
}

/* Each is what it says that it is, or none is taken. */
static int modules_copy(struct store *store, struct store *from, const char *key)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	int r = prepare(from,
			"SELECT size, module.digest, zstd FROM module JOIN kernel ON "
			"kernel.id = module.kernel WHERE key = ?",
			&statement);

	if (!r)
		r = bind(statement, "s", key);
	while (!r && (r = step(statement)) > 0) {
		struct ka_module_image *image = NULL;
		_cleanup_free_ uint8_t *bytes = NULL;
		size_t len;

		r = module_bytes(statement, &bytes, &len);
		if (!r)
			r = ka_module_image_create(bytes, len, &image) ? -EBADMSG : 0;
		if (!r)
			r = store_module_save(store, key, image);
		ka_module_image_free(image);
	}
	return r;
}

int store_references_known(struct store *store, const char *release, bool *ret_any,
			   bool *ret_release)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	int r = prepare(store,
			"SELECT count(*), coalesce(sum(release = ?), 0) FROM kernel WHERE "
			"trust = 'reference'",
			&statement);

	if (!r)
		r = bind(statement, "s", release);
	if (!r)
		r = step(statement);
	if (r <= 0)
		return r < 0 ? r : -EBADMSG;
	*ret_any = sqlite3_column_int64(statement, 0) > 0;
	*ret_release = sqlite3_column_int64(statement, 1) > 0;
	return 0;
}

/* ---- kernels ------------------------------------------------------------------------------- */

static int key_nth(struct store *store, const char *sql, unsigned int n,
		   char ret_key[static STORE_KEY_MAX])
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	int r = prepare(store, sql, &statement);

	if (!r)
		r = bind(statement, "i", (int64_t)n);
	if (!r)
		r = step(statement);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	return column_text(statement, 0, ret_key, STORE_KEY_MAX);
}

int store_reference_32bit(struct store *store, unsigned int n, char ret_key[static STORE_KEY_MAX])
{
	return key_nth(store,
		       "SELECT key FROM kernel WHERE trust = 'reference' AND NOT long_mode "
		       "ORDER BY key LIMIT 1 OFFSET ?",
		       n, ret_key);
}

int store_kernel_nth(struct store *store, unsigned int n, char ret_key[static STORE_KEY_MAX])
{
	return key_nth(store, "SELECT key FROM kernel ORDER BY key LIMIT 1 OFFSET ?", n, ret_key);
}

int store_kernel_forget(struct store *store, const char *key)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	int r = prepare(store, "DELETE FROM kernel WHERE key = ?", &statement);

	if (!r)
		r = bind(statement, "s", key);
	return r ? r : step(statement);
}

int store_kernel_copy(struct store *store, struct store *from, const char *key)
{
	_cleanup_free_ struct content *content = calloc(1, sizeof(*content));
	struct ka_reference *reference = NULL;
	struct ka_kernel kernel = { 0 };
	int r = content ? store_content_load(from, key, content) : -ENOMEM;

	if (!r) {
		r = store_reference_load(from, key, &reference);
		r = r == -ENOENT ? 0 : r;
	}
	if (!r && reference)
		r = store_reference_complete(from, reference);
	if (reference)
		kernel.symbols = ka_reference_symbols(reference);
	if (!r)
		r = store_kernel_forget(store, key);
	if (!r)
		r = store_content_save(store, key, content, &kernel);
	if (!r && reference)
		r = store_reference_save(store, key, reference);
	if (!r)
		r = modules_copy(store, from, key);
	ka_reference_free(reference);
	return r;
}

/* ---- boots and places ---------------------------------------------------------------------- */

static int boot_read(sqlite3_stmt *statement, struct store_boot *ret_boot)
{
	struct store_boot boot = { 0 };
	uint64_t slide[2];
	int64_t generation = 0;
	int r = column_text(statement, 0, boot.vm_id, sizeof(boot.vm_id));

	if (!r)
		r = column_number(statement, 1, 1, UINT32_MAX - 1, &generation);
	if (!r)
		r = column_text(statement, 2, boot.vm_name, sizeof(boot.vm_name));
	if (!r)
		r = column_text(statement, 3, boot.fingerprint, sizeof(boot.fingerprint));
	if (!r)
		r = column_text(statement, 4, boot.kernel_key, sizeof(boot.kernel_key));
	if (!r)
		r = column_hex(statement, 5, 8, slide);
	if (!r)
		r = column_text(statement, 6, boot.recorded_at, sizeof(boot.recorded_at));
	if (r < 0)
		return r;
	boot.generation = (unsigned int)generation;
	boot.slide = slide[0];
	*ret_boot = boot;
	return 0;
}

int store_boot_find(struct store *store, const char *vm_id, const char *fingerprint,
		    struct store_boot *ret_boot)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	int r = prepare(store,
			"SELECT vm_id, generation, vm_name, fingerprint, kernel_key, slide, "
			"recorded_at FROM boot WHERE vm_id = ?1 AND (?2 = '' OR "
			"fingerprint = ?2) ORDER BY generation DESC LIMIT 1",
			&statement);

	if (!r)
		r = bind(statement, "ss", vm_id, fingerprint ? fingerprint : "");
	if (!r)
		r = step(statement);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	return boot_read(statement, ret_boot);
}

static int boot_forget(struct store *store, const char *vm_id, unsigned int generation)
{
	static const char *const sql[] = {
		"DELETE FROM place WHERE vm_id = ? AND generation <= ?",
		"DELETE FROM boot WHERE vm_id = ? AND generation <= ?",
	};
	int r = 0;

	for (size_t i = 0; !r && i < array_size(sql); i++) {
		_cleanup_statement_ sqlite3_stmt *statement = NULL;

		r = prepare(store, sql[i], &statement);
		if (!r)
			r = bind(statement, "si", vm_id, (int64_t)generation);
		if (!r)
			r = step(statement);
	}
	/* Contents that belonged to such a boot alone. */
	if (!r)
		r = execute(store, "DELETE FROM kernel WHERE key LIKE 'vm:%' AND key NOT IN "
				   "(SELECT kernel_key FROM boot)");
	return r;
}

int store_boot_save(struct store *store, const struct store_boot *boot)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	char slide[TEXT_HEX_MAX];
	int r = prepare(store,
			"INSERT OR REPLACE INTO boot (vm_id, generation, vm_name, fingerprint, "
			"kernel_key, slide, recorded_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
			&statement);

	if (!r)
		r = bind(statement, "sisssss", boot->vm_id, (int64_t)boot->generation,
			 boot->vm_name, boot->fingerprint, boot->kernel_key,
			 text_hex64(slide, boot->slide), boot->recorded_at);
	if (!r)
		r = step(statement);
	if (!r && boot->generation > BOOTS_KEPT)
		r = boot_forget(store, boot->vm_id, boot->generation - BOOTS_KEPT);
	return r;
}

/* One page; those before it are in `view` already. */
static int place_read(sqlite3_stmt *statement, struct view *view)
{
	uint64_t gva[2], gpa[2];
	int64_t page = 0, limit = 0;
	int r = column_number(statement, 0, 0, VIEW_PAGES - 1, &page);

	if (!r)
		r = column_hex(statement, 1, 8, gva);
	if (!r)
		r = column_hex(statement, 2, 8, gpa);
	if (!r)
		r = column_number(statement, 3, 0, UINT32_MAX, &limit);
	if (r < 0)
		return r;
	if (page != view->pages)
		return -EBADMSG;
	view->gva = gva[0];
	view->gpa[view->pages++] = gpa[0];
	view->limit = (uint32_t)limit;
	return 0;
}

int store_place_find(struct store *store, const char *vm_id, unsigned int generation,
		     const char *object, int vcpu, struct view *ret_view)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	struct view view = { 0 };
	int r = prepare(store,
			"SELECT page, gva, gpa, size FROM place WHERE vm_id = ? AND "
			"generation = ? AND object = ? AND vcpu = ? ORDER BY page",
			&statement);

	if (!r)
		r = bind(statement, "sisi", vm_id, (int64_t)generation, object, (int64_t)vcpu);
	while (!r && (r = step(statement)) > 0)
		r = place_read(statement, &view);
	if (r < 0)
		return r;
	if (!view.pages)
		return -ENOENT;
	ret_view->gva = view.gva;
	ret_view->limit = view.limit;
	ret_view->pages = view.pages;
	memcpy(ret_view->gpa, view.gpa, sizeof(view.gpa));
	return 0;
}

int store_place_save(struct store *store, const char *vm_id, unsigned int generation,
		     const char *object, int vcpu, const struct view *view)
{
	_cleanup_statement_ sqlite3_stmt *statement = NULL;
	char gva[TEXT_HEX_MAX], gpa[TEXT_HEX_MAX];
	int r = prepare(store,
			"INSERT OR REPLACE INTO place (vm_id, generation, object, vcpu, page, "
			"gva, gpa, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			&statement);

	for (unsigned int i = 0; !r && i < view->pages; i++) {
		r = bind(statement, "sisiissi", vm_id, (int64_t)generation, object, (int64_t)vcpu,
			 (int64_t)i, text_hex64(gva, view->gva), text_hex64(gpa, view->gpa[i]),
			 (int64_t)view->limit);
		if (!r)
			r = step(statement);
		sqlite3_reset(statement);
	}
	return r;
}
