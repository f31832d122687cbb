// SPDX-License-Identifier: LGPL-2.1-or-later
/* The Kernel Object Store: what goes in comes out, and a bad file is refused. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/store.h"

static char path[64], error[STORE_ERROR_MAX];
static struct store *store;
static struct content content;

static void teardown(void)
{
	store_close(store);
	store = NULL;
	unlink(path);
}

static void setup(void)
{
	int fd;

	strcpy(path, "/tmp/kvmbpf-store-XXXXXX");
	fd = mkstemp(path);
	close(fd);
	unlink(path);
}

TestSuite(store, .init = setup, .fini = teardown);

static int reopen(void)
{
	store_close(store);
	store = NULL;
	error[0] = '\0';
	return store_open(path, &store, error);
}

static void fill(void)
{
	content = (struct content){ .long_mode = true,
				    .release = "6.1.0-1-amd64",
				    .trust = "tofu",
				    .recorded_at = "2026-01-02T03:04:05.000000000Z" };
	content.count[CONTENT_GDT] = 16;
	content.entry[CONTENT_GDT][1] =
		(struct content_entry){ { 0x00cf9a000000ffff }, false, true };
	content.count[CONTENT_IDT] = 256;
	for (int i = 0; i < 256; i++)
		content.entry[CONTENT_IDT][i] = (struct content_entry){
			{ 0x81008e0000100000 + i, 0xffffffff }, true, true
		};
	content.count[CONTENT_SYSCALL] = 400;
	for (int i = 0; i < 400; i++)
		content.entry[CONTENT_SYSCALL][i] =
			(struct content_entry){ { 0xffffffff81000000 + 16 * i }, true, true };
}

static void save(void)
{
	static const struct ka_kernel kernel;

	fill();
	cr_assert_eq(reopen(), 0, "%s", error);
	cr_assert_eq(store_begin(store), 0);
	cr_assert_eq(store_content_save(store, "0123abcd", &content, &kernel), 0);
	cr_assert_eq(store_commit(store), 0);
}

static void sql(const char *text)
{
	sqlite3 *db;
	char *message = NULL;

	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	cr_assert_eq(sqlite3_exec(db, text, NULL, NULL, &message), SQLITE_OK, "%s: %s", text,
		     message);
	sqlite3_close(db);
}

Test(store, contents_come_back)
{
	struct content *loaded = calloc(1, sizeof(*loaded));

	save();
	cr_assert_eq(reopen(), 0, "%s", error);
	cr_assert_eq(store_content_load(store, "0123abcd", loaded), 0);
	cr_assert_eq(memcmp(loaded, &content, sizeof(content)), 0);
	cr_assert_eq(store_content_load(store, "unknown", loaded), -ENOENT);
	cr_assert_eq(memcmp(loaded, &content, sizeof(content)), 0);
	free(loaded);
}

static const char build_id[] = "00112233445566778899aabbccddeeff00112233";

static struct ka_reference *make_reference(void)
{
	static const char symbols[] = "ffffffff81000000 T _text\nffffffff82000000 B _end\n";
	static const uint8_t text[3] = { 0x90, 0xc3, 0xcc };
	const struct ka_section parts[] = {
		{ "symbols", 0, (const uint8_t *)symbols, strlen(symbols) },
		{ ".text", 0xffffffff81000000, text, sizeof(text) },
	};
	struct ka_reference *reference = NULL;

	cr_assert_eq(ka_reference_create(build_id, "6.1.0-1-amd64", parts, 2, &reference), 0);
	return reference;
}

static void save_reference(void)
{
	struct ka_reference *reference = make_reference();
	static const struct ka_kernel kernel;

	fill();
	strcpy(content.trust, "reference");
	cr_assert_eq(reopen(), 0, "%s", error);
	cr_assert_eq(store_content_save(store, build_id, &content, &kernel), 0);
	cr_assert_eq(store_reference_save(store, build_id, reference), 0);
	ka_reference_free(reference);
}

static void reference_is_whole(struct store *from)
{
	struct ka_reference *reference = NULL;
	const struct ka_section *parts;
	size_t count;

	cr_assert_eq(store_reference_load(from, build_id, &reference), 0);
	cr_expect_eq(ka_symbols_count(ka_reference_symbols(reference)), 2);
	cr_assert_eq(store_reference_complete(from, reference), 0);
	parts = ka_reference_sections(reference, &count);
	cr_assert_eq(count, 2);
	cr_expect_str_eq(parts[1].name, ".text");
	cr_expect_eq(parts[1].address, 0xffffffff81000000);
	cr_expect_eq(parts[1].len, 3);
	cr_expect_eq(parts[1].bytes[1], 0xc3);
	cr_expect_str_eq(ka_reference_release(reference), "6.1.0-1-amd64");
	ka_reference_free(reference);
}

Test(store, references_come_back)
{
	struct ka_reference *reference;

	save_reference();
	cr_assert_eq(reopen(), 0, "%s", error);
	reference_is_whole(store);
	cr_expect_eq(store_reference_load(store, "unknown", &reference), -ENOENT);
}

Test(store, references_of_32_bit_kernels_are_told_apart)
{
	static const struct ka_kernel kernel;
	char key[STORE_KEY_MAX] = "";

	save_reference();
	cr_expect_eq(store_reference_32bit(store, 0, key), -ENOENT);
	content.long_mode = false;
	memset(content.count, 0, sizeof(content.count));
	cr_assert_eq(store_content_save(store, "32 bit", &content, &kernel), 0);
	strcpy(content.trust, "tofu");
	cr_assert_eq(store_content_save(store, "32 bit, learned", &content, &kernel), 0);
	cr_assert_eq(store_reference_32bit(store, 0, key), 0);
	cr_expect_str_eq(key, "32 bit");
	cr_expect_eq(store_reference_32bit(store, 1, key), -ENOENT);
}

static int complete_reference(void)
{
	struct ka_reference *reference = NULL;
	int r = store_reference_load(store, build_id, &reference);

	cr_assert_eq(r, 0);
	r = store_reference_complete(store, reference);
	ka_reference_free(reference);
	return r;
}

Test(store, a_part_that_was_altered_is_refused)
{
	struct ka_reference *reference;

	save_reference();
	store_close(store);
	store = NULL;
	sql("UPDATE section SET digest = '00' WHERE name = '.text'");
	cr_assert_eq(reopen(), 0, "%s", error);
	cr_expect_eq(complete_reference(), -EBADMSG);
	sql("UPDATE section SET zstd = x'00' WHERE name = '.text'");
	cr_expect_eq(complete_reference(), -EBADMSG);
	sql("UPDATE section SET digest = '00' WHERE name = 'symbols'");
	cr_expect_eq(store_reference_load(store, build_id, &reference), -EBADMSG);
	sql("UPDATE section SET size = -1 WHERE name = '.text'");
	cr_expect_eq(reopen(), -EBADMSG);
}

Test(store, a_reference_replaces_what_was_recorded)
{
	struct content *loaded = calloc(1, sizeof(*loaded));
	static const struct ka_kernel kernel;
	char other[sizeof(path)], key[STORE_KEY_MAX];
	struct store *from, *to;

	save_reference();
	from = store;
	strcpy(other, path);
	setup();
	store = NULL;
	cr_assert_eq(reopen(), 0, "%s", error);
	to = store;
	fill();
	cr_assert_eq(store_content_save(to, build_id, &content, &kernel), 0);
	cr_assert_eq(store_kernel_nth(from, 0, key), 0);
	cr_assert_eq(store_kernel_nth(from, 1, key), -ENOENT);
	cr_assert_eq(store_kernel_nth(from, 0, key), 0);
	cr_assert_eq(store_kernel_copy(to, from, key), 0);
	cr_assert_eq(store_content_load(to, build_id, loaded), 0);
	cr_expect_str_eq(loaded->trust, "reference");
	reference_is_whole(to);
	store_close(from);
	unlink(other);
	free(loaded);
}

Test(store, a_file_of_the_first_version_is_brought_up_to_date)
{
	save();
	store_close(store);
	store = NULL;
	sql("DROP TABLE section; DROP TABLE module; PRAGMA user_version = 1");
	cr_assert_eq(reopen(), 0, "%s", error);
	cr_assert_eq(store_content_load(store, "0123abcd", &content), 0);
	save_reference();
	reference_is_whole(store);
}

Test(store, bytes_of_a_file_are_read_as_the_file)
{
	struct store *from = NULL;
	static char bytes[1 << 20];
	size_t len;
	FILE *file;

	save_reference();
	file = fopen(path, "r");
	len = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	cr_assert_eq(store_open_bytes("bytes", bytes, len, &from, error), 0, "%s", error);
	reference_is_whole(from);
	store_close(from);
	cr_expect_eq(store_open_bytes("bytes", bytes, len / 2, &from, error), -EBADMSG);
	cr_expect_eq(store_open_bytes("bytes", "nothing", 7, &from, error), -EBADMSG);
}

Test(store, boots_and_places_come_back)
{
	struct store_boot boot = { .vm_id = "vm",
				   .vm_name = "web01",
				   .fingerprint = "aa",
				   .kernel_key = "k",
				   .generation = 1,
				   .slide = 0x1000000,
				   .recorded_at = "now" },
			  found;
	struct view view = { .gva = 0xfffffe0000001000,
			     .limit = 127,
			     .pages = 2,
			     .gpa = { 0x1000, 0x2000 } },
		    place = { 0 };

	cr_assert_eq(reopen(), 0, "%s", error);
	cr_assert_eq(store_boot_find(store, "vm", NULL, &found), -ENOENT);
	cr_assert_eq(store_boot_save(store, &boot), 0);
	boot.generation = 2;
	strcpy(boot.fingerprint, "bb");
	cr_assert_eq(store_boot_save(store, &boot), 0);
	cr_assert_eq(store_place_save(store, "vm", 2, "gdtr", 0, &view), 0);
	cr_assert_eq(reopen(), 0, "%s", error);
	cr_assert_eq(store_boot_find(store, "vm", NULL, &found), 0);
	cr_assert_eq(found.generation, 2);
	cr_assert_eq(store_boot_find(store, "vm", "aa", &found), 0);
	cr_assert_eq(found.generation, 1);
	cr_assert_eq(found.slide, 0x1000000);
	cr_assert_eq(store_place_find(store, "vm", 2, "gdtr", 0, &place), 0);
	cr_assert_eq(place.gva, view.gva);
	cr_assert_eq(place.pages, 2);
	cr_assert_eq(place.gpa[1], 0x2000);
	cr_assert_eq(store_place_find(store, "vm", 2, "gdtr", 1, &place), -ENOENT);
}

Test(store, old_boots_are_forgotten)
{
	struct store_boot boot = { .vm_id = "vm",
				   .vm_name = "n",
				   .fingerprint = "a",
				   .kernel_key = "k",
				   .recorded_at = "now" },
			  found;

	cr_assert_eq(reopen(), 0, "%s", error);
	for (boot.generation = 1; boot.generation <= 40; boot.generation++) {
		snprintf(boot.fingerprint, sizeof(boot.fingerprint), "%u", boot.generation);
		cr_assert_eq(store_boot_save(store, &boot), 0);
	}
	cr_assert_eq(store_boot_find(store, "vm", "24", &found), -ENOENT);
	cr_assert_eq(store_boot_find(store, "vm", "25", &found), 0);
}

Test(store, an_edited_or_missing_row_is_damage)
{
	static const char *const damage[] = {
		("UPDATE content SET value = '0x0000000000000001' "
		 "WHERE object = 'syscall' AND idx = 3"),
		"UPDATE content SET value = 'zz' WHERE object = 'idt' AND idx = 3",
		"UPDATE content SET value = '0x1' WHERE object = 'syscall' AND idx = 3",
		"UPDATE content SET relative = 7 WHERE object = 'idt' AND idx = 0",
		"UPDATE content SET idx = 1000 WHERE object = 'syscall' AND idx = 3",
		"UPDATE content SET idx = -1 WHERE object = 'syscall' AND idx = 3",
		"UPDATE content SET object = 'ldt' WHERE object = 'gdt'",
		"DELETE FROM content WHERE object = 'syscall' AND idx = 3",
		"UPDATE kernel SET syscall = 99999",
		"UPDATE kernel SET trust = 'blind'",
		"UPDATE kernel SET long_mode = 0",
		"UPDATE kernel SET release = CAST(x'ff' AS TEXT)",
		"UPDATE kernel SET digest = ''",
		"DELETE FROM kernel WHERE 0; PRAGMA user_version = 0",
		"PRAGMA application_id = 1",
		"DROP TABLE place",
		"CREATE TABLE more (x)",
		"CREATE TRIGGER t AFTER INSERT ON boot BEGIN DELETE FROM kernel; END",
		"ALTER TABLE place RENAME TO p; CREATE VIEW place AS SELECT * FROM p",
	};

	for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
		save();
		store_close(store);
		store = NULL;
		sql(damage[i]);
		cr_assert_eq(reopen(), -EBADMSG, "%s", damage[i]);
		cr_assert(strstr(error, "damaged"), "%s", error);
		unlink(path);
	}
}

Test(store, a_bad_place_is_damage)
{
	static const char *const damage[] = {
		"INSERT INTO place VALUES ('v', 1, 'gdtr', 0, 9, '0x0000000000000000', "
		"'0x0000000000000000', 1)",
		"INSERT INTO place VALUES ('v', 1, 'gdtr', 0, 0, 'x', '0x0000000000000000', 1)",
		"INSERT INTO place VALUES ('v', 1, 'gdtr', 0, 0, '0x0000000000000000', "
		"'0x0000000000000000', -1)",
		"INSERT INTO boot VALUES ('v', 0, 'n', 'f', 'k', '0x0000000000000000', 'now')",
		"INSERT INTO boot VALUES ('v', 1, 'n', 'f', 'k', 'slide', 'now')",
	};

	for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
		cr_assert_eq(reopen(), 0, "%s", error);
		store_close(store);
		store = NULL;
		sql(damage[i]);
		cr_assert_eq(reopen(), -EBADMSG, "%s", damage[i]);
		unlink(path);
	}
}

Test(store, other_files_are_refused_and_left_alone)
{
	static const char text[] =
		"these are notes and no database, and they are long enough to be "
		"more than a header of a hundred bytes, which is what SQLite reads";
	char back[sizeof(text)] = "";
	int fd = open(path, O_CREAT | O_RDWR, 0600);

	cr_assert_eq(write(fd, text, sizeof(text)), sizeof(text));
	cr_assert_eq(reopen(), -EBADMSG);
	cr_assert_eq(pread(fd, back, sizeof(back), 0), sizeof(back));
	cr_assert_str_eq(back, text);
	close(fd);
}

Test(store, truncated_file_is_damage)
{
	save();
	store_close(store);
	store = NULL;
	cr_assert_eq(truncate(path, 20000), 0);
	cr_assert_eq(reopen(), -EBADMSG);
}

Test(store, newer_version_is_refused)
{
	save();
	store_close(store);
	store = NULL;
	sql("PRAGMA user_version = 4");
	cr_assert_eq(reopen(), -EPROTONOSUPPORT);
	cr_assert(strstr(error, "newer version"));
}

Test(store, missing_folder_says_so)
{
	strcpy(path, "/nonexistent/store.db");
	cr_assert_eq(reopen(), -ENOENT);
	cr_assert(strstr(error, "folder"), "%s", error);
}

Test(store, held_by_another_is_busy)
{
	sqlite3 *db;

	save();
	store_close(store);
	store = NULL;
	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	cr_assert_eq(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
	cr_assert_eq(reopen(), -EBUSY);
	sqlite3_close(db);
}

Test(store, an_interrupted_save_leaves_nothing)
{
	static const struct ka_kernel kernel;
	struct content *loaded = calloc(1, sizeof(*loaded));

	fill();
	cr_assert_eq(reopen(), 0, "%s", error);
	cr_assert_eq(store_begin(store), 0);
	cr_assert_eq(store_content_save(store, "0123abcd", &content, &kernel), 0);
	store_rollback(store);
	cr_assert_eq(store_content_load(store, "0123abcd", loaded), -ENOENT);
	free(loaded);
}
