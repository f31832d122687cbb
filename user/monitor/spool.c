// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Keeps lines in a list, and writes them to SQLite where there is a file. The list has the youngest
 * lines: those that wait for the next commit, or for room on the disk, and before them the last
 * ones that are on the disk already, so that sinks which keep up need not read them back.
 */
#include "spool.h"

#include "cleanup.h"
#include "sql.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

enum { APPLICATION_ID = 0x4b564d53 /* "KVMS" */, VERSION = 1 };

/* Bytes of lines that stay in memory although they are on disk, and that have their events there.
 */
enum { KEPT_MAX = 512 * 1024 };

static const char schema[] =
	"CREATE TABLE sink (bit INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;"
	"CREATE TABLE line (position INTEGER PRIMARY KEY, severity INTEGER NOT NULL,"
	" wanted INTEGER NOT NULL, size INTEGER NOT NULL, text TEXT NOT NULL) STRICT;"
	"CREATE INDEX line_severity ON line (severity, position);";

enum statement { INSERT, NEXT, DELIVERED, REMOVE, VICTIM, STATEMENTS };

static const char *const statements[STATEMENTS] = {
	[INSERT] = "INSERT INTO line VALUES (?1, ?2, ?3, ?4, ?5)",
	[NEXT] = "SELECT position, text, size FROM line WHERE position > ?1 AND wanted & ?2"
		 " AND position <= ?3"
		 " ORDER BY position LIMIT 1",
	[DELIVERED] = "UPDATE line SET wanted = wanted & ~?2 WHERE position = ?1"
		      " RETURNING wanted, size",
	[REMOVE] = "DELETE FROM line WHERE position = ?1",
	[VICTIM] = "SELECT position, wanted, size FROM line WHERE position <> ?1"
		   " ORDER BY severity, position LIMIT 1",
};

struct line {
	TAILQ_ENTRY(line) entry;
	uint64_t position, wanted;
	enum severity severity;
	json_t *event; /* NULL: it is to be read from the text */
	size_t len;
	char text[];
};

TAILQ_HEAD(line_list, line);

struct delivery {
	unsigned int bit;
	uint64_t position;
	size_t len; /* of a line that nobody wants any more; 0: it is to be asked */
};

struct spool {
	sqlite3 *db; /* NULL: memory only */
	sqlite3_stmt *statement[STATEMENTS];
	uint64_t disk_max, disk_lines, disk_bytes;
	uint64_t disk_last;  /* highest position on disk */
	uint64_t disk_alone; /* highest position that the list does not have */
	int error;
	struct line_list list;
	uint64_t list_bytes, position, held;
	struct delivery *deliveries; /* of lines on disk, not yet written there */
	size_t delivery_count, delivery_max;
	uint64_t bits, lasting; /* of the sinks */
	struct spool_queue queue[SPOOL_SINKS_MAX];
};

static int execute(struct spool *spool, const char *sql)
{
	return sql_error(sqlite3_exec(spool->db, sql, NULL, NULL, NULL));
}

static int64_t number(struct spool *spool, const char *sql)
{
	sqlite3_stmt *statement = NULL;
	int64_t value = -1;

	if (sqlite3_prepare_v2(spool->db, sql, -1, &statement, NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		value = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return value;
}

static sqlite3_stmt *bound(struct spool *spool, enum statement which, uint64_t first,
			   uint64_t second)
{
	sqlite3_stmt *statement = spool->statement[which];

	sqlite3_reset(statement);
	sqlite3_bind_int64(statement, 1, (int64_t)first);
	if (sqlite3_bind_parameter_count(statement) > 1)
		sqlite3_bind_int64(statement, 2, (int64_t)second);
	return statement;
}

static int run(struct spool *spool, enum statement which, uint64_t first, uint64_t second)
{
	sqlite3_stmt *statement = bound(spool, which, first, second);
	int code = sqlite3_step(statement);

	sqlite3_reset(statement);
	return sql_error(code);
}

static void queue_add(struct spool *spool, uint64_t wanted, uint64_t size)
{
	for (unsigned int bit = 0; bit < SPOOL_SINKS_MAX; bit++)
		if (wanted >> bit & 1) {
			spool->queue[bit].lines++;
			spool->queue[bit].bytes += size;
		}
}

static void queue_remove(struct spool *spool, uint64_t wanted, uint64_t size, bool dropped)
{
	for (unsigned int bit = 0; bit < SPOOL_SINKS_MAX; bit++)
		if (wanted >> bit & 1) {
			spool->queue[bit].lines--;
			spool->queue[bit].bytes -= size;
			spool->queue[bit].dropped += dropped;
		}
}

/* ---- the file ------------------------------------------------------------------------------ */

static int file_open(struct spool *spool, const char *path)
{
	char sql[128];
	int r, fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	/* Events tell an attacker what is seen: the file is made for its owner alone. */
	if (fd >= 0)
		close(fd);
	r = sql_error(sqlite3_open_v2(path, &spool->db, SQLITE_OPEN_READWRITE, NULL));
	/* One monitor at a time: two would send everything twice, and take each other's lines. */
	if (!r)
		r = execute(spool, "PRAGMA page_size = 16384; PRAGMA locking_mode = EXCLUSIVE;"
				   "PRAGMA journal_mode = WAL;"
				   "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;"
				   "PRAGMA wal_autocheckpoint = 256;"
				   "BEGIN EXCLUSIVE");
	if (r < 0)
		return r;
	if (!number(spool, "SELECT count(*) FROM sqlite_schema")) {
		r = execute(spool, schema);
		snprintf(sql, sizeof(sql), "PRAGMA application_id = %d; PRAGMA user_version = %d",
			 APPLICATION_ID, VERSION);
		if (!r)
			r = execute(spool, sql);
	} else if (number(spool, "PRAGMA application_id") != APPLICATION_ID ||
		   number(spool, "PRAGMA user_version") != VERSION) {
		return -EBADMSG;
	}
	return r < 0 ? r : execute(spool, "COMMIT");
}

static int file_load(struct spool *spool)
{
	for (int i = 0; i < STATEMENTS; i++)
		if (sqlite3_prepare_v3(spool->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
				       &spool->statement[i], NULL) != SQLITE_OK)
			return -EBADMSG;
	/* What only waited for sinks that begin anew in each run. */
	if (execute(spool, "UPDATE line SET wanted = wanted &"
			   " (SELECT ifnull(sum(1 << bit), 0) FROM sink)") < 0)
		return -EIO;
	spool->position = (uint64_t)number(spool, "SELECT ifnull(max(position), 0) FROM line");
	spool->disk_last = spool->disk_alone = spool->position;
	return 0;
}

int spool_open(const char *path, uint64_t disk_max, struct spool **ret_spool,
	       char ret_error[static SPOOL_ERROR_MAX])
{
	struct spool *spool = calloc(1, sizeof(*spool));
	int r = 0;

	if (!spool)
		return -ENOMEM;
	TAILQ_INIT(&spool->list);
	spool->disk_max = disk_max;
	if (path)
		r = file_open(spool, path);
	if (path && !r)
		r = file_load(spool);
	if (r < 0) {
		snprintf(ret_error, SPOOL_ERROR_MAX, "%s: %s", path,
			 r == -EBUSY	 ? "another monitor has it"
			 : r == -EBADMSG ? "damaged, or not a spool; move it away to begin anew"
					 : sqlite3_errmsg(spool->db));
		spool_close(spool);
		return r;
	}
	*ret_spool = spool;
	return 0;
}

static void line_free(struct spool *spool, struct line *line)
{
	TAILQ_REMOVE(&spool->list, line, entry);
	spool->list_bytes -= line->len;
	json_decref(line->event);
	free(line);
}

/* Lines on the disk leave the list until it has no more than so many bytes. */
static void list_trim(struct spool *spool, uint64_t bytes)
{
	struct line *line;

	while (spool->list_bytes > bytes && (line = TAILQ_FIRST(&spool->list)) &&
	       line->position <= spool->disk_last) {
		spool->disk_alone = line->position;
		line_free(spool, line);
	}
}

static bool all_saved(const struct spool *spool)
{
	const struct line *last = TAILQ_LAST(&spool->list, line_list);

	return !last || last->position <= spool->disk_last;
}

void spool_close(struct spool *spool)
{
	if (!spool)
		return;
	while (!TAILQ_EMPTY(&spool->list))
		line_free(spool, TAILQ_FIRST(&spool->list));
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(spool->statement[i]);
	sqlite3_close(spool->db);
	free(spool->deliveries);
	free(spool);
}

/* ---- sinks --------------------------------------------------------------------------------- */

static int bit_of_name(struct spool *spool, const char *name, unsigned int *ret_bit)
{
	sqlite3_stmt *statement = NULL;
	int r = sql_error(sqlite3_prepare_v2(spool->db, "SELECT bit FROM sink WHERE name = ?", -1,
					     &statement, NULL));

	if (!r)
		r = sql_error(sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC));
	if (!r && sqlite3_step(statement) == SQLITE_ROW)
		*ret_bit = (unsigned int)sqlite3_column_int64(statement, 0);
	else if (!r)
		r = -ENOENT;
	sqlite3_finalize(statement);
	return r < 0 ? r : *ret_bit < SPOOL_SINKS_MAX ? 0 : -EBADMSG;
}

static bool bit_is_taken(struct spool *spool, unsigned int bit)
{
	char sql[80];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM sink WHERE bit = %u", bit);
	return spool->bits >> bit & 1 || (spool->db && number(spool, sql));
}

int spool_sink_add(struct spool *spool, const char *name, bool lasting, unsigned int *ret_bit)
{
	unsigned int bit = 0;
	int r = -ENOENT;
	char *sql;

	lasting &= !!spool->db;
	if (lasting)
		r = bit_of_name(spool, name, &bit);
	if (r == -ENOENT) {
		while (bit < SPOOL_SINKS_MAX && bit_is_taken(spool, bit))
			bit++;
		if (bit == SPOOL_SINKS_MAX)
			return -ENOSPC;
		sql = lasting ? sqlite3_mprintf("INSERT INTO sink VALUES (%u, %Q)", bit, name)
			      : NULL;
		r = lasting ? sql ? execute(spool, sql) : -ENOMEM : 0;
		sqlite3_free(sql);
	}
	if (r < 0)
		return r;
	spool->bits |= 1ull << bit;
	spool->lasting |= lasting ? 1ull << bit : 0;
	*ret_bit = bit;
	return 0;
}

int spool_sinks_done(struct spool *spool)
{
	sqlite3_stmt *statement = NULL;
	char *sql;
	int r;

	if (!spool->db)
		return 0;
	sql = sqlite3_mprintf("BEGIN; DELETE FROM sink WHERE NOT (%lld >> bit) & 1;"
			      "UPDATE line SET wanted = wanted & %lld WHERE wanted & ~%lld;"
			      "DELETE FROM line WHERE wanted = 0; COMMIT",
			      (long long)spool->lasting, (long long)spool->lasting,
			      (long long)spool->lasting);
	r = sql ? execute(spool, sql) : -ENOMEM;
	sqlite3_free(sql);
	if (!r)
		r = sql_error(sqlite3_prepare_v2(spool->db, "SELECT wanted, size FROM line", -1,
						 &statement, NULL));
	while (!r && sqlite3_step(statement) == SQLITE_ROW) {
		uint64_t size = (uint64_t)sqlite3_column_int64(statement, 1);

		queue_add(spool, (uint64_t)sqlite3_column_int64(statement, 0), size);
		spool->disk_lines++;
		spool->disk_bytes += size;
	}
	sqlite3_finalize(statement);
	return r;
}

static int disk_forget(struct spool *spool, uint64_t mask)
{
	char *sql = sqlite3_mprintf("BEGIN; DELETE FROM sink WHERE %lld >> bit & 1;"
				    "UPDATE line SET wanted = wanted & ~%lld WHERE wanted & %lld;"
				    "DELETE FROM line WHERE wanted = 0; COMMIT",
				    (long long)mask, (long long)mask, (long long)mask);
	int r = sql ? execute(spool, sql) : -ENOMEM;

	sqlite3_free(sql);
	if (r < 0) {
		sqlite3_exec(spool->db, "ROLLBACK", NULL, NULL, NULL);
		return r;
	}
	spool->disk_lines = (uint64_t)number(spool, "SELECT count(*) FROM line");
	spool->disk_bytes = (uint64_t)number(spool, "SELECT ifnull(sum(size), 0) FROM line");
	return 0;
}

int spool_sink_remove(struct spool *spool, unsigned int bit)
{
	const uint64_t mask = 1ull << bit;
	struct line *line, *next;
	int r = 0;

	spool_commit(spool);
	for (line = TAILQ_FIRST(&spool->list); line; line = next) {
		next = TAILQ_NEXT(line, entry);
		line->wanted &= ~mask;
		if (!line->wanted)
			line_free(spool, line);
	}
	if (spool->db) {
		sqlite3_reset(spool->statement[NEXT]);
		r = disk_forget(spool, mask);
	}
	memset(&spool->queue[bit], 0, sizeof(spool->queue[bit]));
	spool->bits &= ~mask;
	spool->lasting &= ~mask;
	return r;
}

/* ---- in memory ----------------------------------------------------------------------------- */

/* Drops the oldest line of the lowest severity. */
static bool list_evict(struct spool *spool)
{
	struct line *line, *victim = NULL;

	TAILQ_FOREACH(line, &spool->list, entry)
	if (line->position != spool->held && (!victim || line->severity < victim->severity))
		victim = line;
	if (!victim)
		return false;
	queue_remove(spool, victim->wanted, victim->len, true);
	line_free(spool, victim);
	return true;
}

int spool_add(struct spool *spool, const json_t *event, const char *text, size_t len,
	      enum severity severity, uint64_t wanted)
{
	struct line *line;

	if (!wanted)
		return 0;
	line = malloc(sizeof(*line) + len);
	queue_add(spool, wanted, len);
	if (!line) {
		queue_remove(spool, wanted, len, true);
		return -ENOMEM;
	}
	*line = (struct line){
		.position = ++spool->position, .wanted = wanted, .severity = severity, .len = len
	};
	if (event && spool->list_bytes < KEPT_MAX)
		line->event = json_incref((json_t *)event);
	memcpy(line->text, text, len);
	TAILQ_INSERT_TAIL(&spool->list, line, entry);
	spool->list_bytes += len;
	list_trim(spool, SPOOL_MEMORY_MAX);
	while (spool->list_bytes > SPOOL_MEMORY_MAX && list_evict(spool))
		;
	return 0;
}

void spool_hold(struct spool *spool, uint64_t position)
{
	spool->held = position;
}

int spool_next(struct spool *spool, unsigned int bit, uint64_t *position,
	       struct spool_line *ret_line)
{
	sqlite3_stmt *statement;
	struct line *line;
	int code;

	if (spool->db && *position < spool->disk_alone) {
		statement = bound(spool, NEXT, *position, 1ull << bit);
		sqlite3_bind_int64(statement, 3, (int64_t)spool->disk_alone);
		code = sqlite3_step(statement);
		if (code == SQLITE_ROW) {
			ret_line->position = (uint64_t)sqlite3_column_int64(statement, 0);
			ret_line->event = NULL;
			ret_line->text = (const char *)sqlite3_column_text(statement, 1);
			ret_line->len = (size_t)sqlite3_column_bytes(statement, 1);
			*position = ret_line->position;
			return 0;
		}
		sqlite3_reset(statement);
		if (sql_error(code) < 0) {
			spool->error = sql_error(code);
			return -ENOENT;
		}
		*position = spool->disk_alone;
	}
	TAILQ_FOREACH(line, &spool->list, entry)
	if (line->position > *position && line->wanted >> bit & 1) {
		*position = line->position;
		*ret_line =
			(struct spool_line){ line->position, line->event, line->text, line->len };
		return 0;
	}
	*position = spool->position;
	return -ENOENT;
}

static void delivery_remember(struct spool *spool, unsigned int bit, uint64_t position, size_t len)
{
	size_t max = spool->delivery_max ? spool->delivery_max * 2 : 64;
	struct delivery *all;

	if (spool->delivery_count == spool->delivery_max) {
		all = reallocarray(spool->deliveries, max, sizeof(*all));
		/* Forgotten, it will be sent again, under the same id. */
		if (!all)
			return;
		spool->deliveries = all;
		spool->delivery_max = max;
	}
	spool->deliveries[spool->delivery_count++] = (struct delivery){ bit, position, len };
}

void spool_delivered(struct spool *spool, unsigned int bit, uint64_t position)
{
	struct line *line;

	if (position <= spool->disk_alone) {
		delivery_remember(spool, bit, position, 0);
		return;
	}
	TAILQ_FOREACH(line, &spool->list, entry)
	if (line->position == position)
		break;
	if (!line || !(line->wanted >> bit & 1))
		return;
	line->wanted &= ~(1ull << bit);
	if (position <= spool->disk_last)
		delivery_remember(spool, bit, position, line->wanted ? 0 : line->len);
	else
		queue_remove(spool, 1ull << bit, line->len, false);
	if (!line->wanted)
		line_free(spool, line);
}

/* ---- to disk ------------------------------------------------------------------------------- */

/* A line that nobody wants any more. */
static int commit_removal(struct spool *spool, uint64_t position, size_t len)
{
	spool->disk_lines--;
	spool->disk_bytes -= len;
	return run(spool, REMOVE, position, 0);
}

static int commit_delivery(struct spool *spool, const struct delivery *delivery)
{
	sqlite3_stmt *statement;
	uint64_t wanted, size;
	int code, r;
	bool row;

	if (delivery->len) {
		queue_remove(spool, 1ull << delivery->bit, delivery->len, false);
		return commit_removal(spool, delivery->position, delivery->len);
	}
	statement = bound(spool, DELIVERED, delivery->position, 1ull << delivery->bit);
	code = sqlite3_step(statement);
	r = sql_error(code);
	row = code == SQLITE_ROW;
	wanted = row ? (uint64_t)sqlite3_column_int64(statement, 0) : 1;
	size = row ? (uint64_t)sqlite3_column_int64(statement, 1) : 0;
	sqlite3_reset(statement);
	if (row)
		queue_remove(spool, 1ull << delivery->bit, size, false);
	return !r && !wanted ? commit_removal(spool, delivery->position, size) : r;
}

static int commit_line(struct spool *spool, const struct line *line)
{
	sqlite3_stmt *statement = bound(spool, INSERT, line->position, (uint64_t)line->severity);
	int code;

	sqlite3_bind_int64(statement, 3, (int64_t)line->wanted);
	sqlite3_bind_int64(statement, 4, (int64_t)line->len);
	sqlite3_bind_text(statement, 5, line->text, (int)line->len, SQLITE_STATIC);
	code = sqlite3_step(statement);
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	spool->disk_lines++;
	spool->disk_bytes += line->len;
	return sql_error(code);
}

static int commit_evictions(struct spool *spool)
{
	int r = 0;

	while (!r && spool->disk_bytes > spool->disk_max) {
		sqlite3_stmt *statement = bound(spool, VICTIM, spool->held, 0);
		uint64_t position, wanted, size;

		if (sqlite3_step(statement) != SQLITE_ROW) {
			sqlite3_reset(statement);
			return 0;
		}
		position = (uint64_t)sqlite3_column_int64(statement, 0);
		wanted = (uint64_t)sqlite3_column_int64(statement, 1);
		size = (uint64_t)sqlite3_column_int64(statement, 2);
		sqlite3_reset(statement);
		r = commit_removal(spool, position, size);
		queue_remove(spool, wanted, size, true);
	}
	return r;
}

static int commit_all(struct spool *spool)
{
	struct line *line;
	int r = execute(spool, "BEGIN IMMEDIATE");

	for (size_t i = 0; !r && i < spool->delivery_count; i++)
		r = commit_delivery(spool, &spool->deliveries[i]);
	TAILQ_FOREACH(line, &spool->list, entry)
	if (!r && line->position > spool->disk_last)
		r = commit_line(spool, line);
	if (!r)
		r = commit_evictions(spool);
	return r < 0 ? r : execute(spool, "COMMIT");
}

int spool_commit(struct spool *spool)
{
	/* If lines are to be dropped from the disk, none of them may be in the list as well. */
	const bool full = spool->disk_bytes + spool->list_bytes > spool->disk_max;
	struct spool before;
	int r;

	if (!spool->db || (!spool->delivery_count && all_saved(spool)))
		return 0;
	if (full)
		list_trim(spool, 0);
	before = *spool;
	sqlite3_reset(spool->statement[NEXT]);
	r = commit_all(spool);
	if (r < 0) {
		sqlite3_exec(spool->db, "ROLLBACK", NULL, NULL, NULL);
		/* The log may hold what the file has room for. */
		if (r == -ENOSPC)
			sqlite3_wal_checkpoint_v2(spool->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL,
						  NULL);
		*spool = before; /* the counts; nothing else has changed */
		spool->error = r;
		return r;
	}
	spool->error = 0;
	spool->delivery_count = 0;
	spool->disk_last = spool->position;
	list_trim(spool, full ? 0 : KEPT_MAX);
	return 0;
}

void spool_queue(const struct spool *spool, unsigned int bit, struct spool_queue *ret_queue)
{
	*ret_queue = spool->queue[bit];
}

void spool_counters(const struct spool *spool, struct spool_counters *ret_counters)
{
	const struct line *line;

	*ret_counters = (struct spool_counters){
		.lines = spool->disk_lines,
		.bytes = spool->disk_bytes,
		.error = spool->error,
	};
	TAILQ_FOREACH(line, &spool->list, entry)
	ret_counters->unsaved += spool->error && line->position > spool->disk_last;
}
