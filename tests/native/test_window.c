// SPDX-License-Identifier: LGPL-2.1-or-later
/* RAM that the VMM shares, read through a mapping of our own. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

TestSuite(window, .fini = support_close, .timeout = TEST_TIMEOUT_S);

enum { PAGE = 4096 };

static const struct tinyvm_options shared = { .backing = TINYVM_MEMFD };
static uint8_t copy[2 * PAGE], buf[2 * PAGE];

/* Lines of our own maps with all of these words. */
static size_t maps_count(const char *rights, const char *name)
{
	FILE *file = fopen("/proc/self/maps", "re");
	char line[512];
	size_t count = 0;

	while (file && fgets(line, sizeof(line), file))
		count += strstr(line, rights) && strstr(line, name);
	if (file)
		fclose(file);
	return count;
}

static int read_piece(uint64_t gpa, void *data, uint32_t len)
{
	struct ka_piece piece = {
		.paging = &t.paging, .address = gva(gpa), .buf = data, .len = len
	};
	int err = ka_readv(t.ka, &piece, 1);

	if (!err && !piece.error)
		assert_hex(piece.gpa, gpa);
	return err ? err : piece.error;
}

/* A descriptor of the VMM's file, to be written to as the VMM could. */
static int ram_open(void)
{
	char path[64], link[128], target[256];
	struct dirent *entry;
	DIR *fds;
	int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/fd", t.vm.pid);
	fds = opendir(path);
	while (fds && fd < 0 && (entry = readdir(fds))) {
		ssize_t len;

		snprintf(link, sizeof(link), "%s/%.20s", path, entry->d_name);
		len = readlink(link, target, sizeof(target) - 1);
		if (len > 0 && !strncmp(target, "/memfd:", 7))
			fd = open(link, O_RDWR | O_CLOEXEC);
	}
	if (fds)
		closedir(fds);
	return fd;
}

Test(window, shared_memory_is_mapped_read_only)
{
	support_open(&shared, 0);
	cr_assert_eq(maps_count("r--s", "memfd"), 1);
	cr_assert_eq(maps_count("rw-s", "memfd"), 0);
}

Test(window, private_memory_is_not_mapped)
{
	support_open(&(struct tinyvm_options){ 0 }, 0);
	cr_assert_eq(maps_count("r--s", "memfd"), 0);
	assert_ok(read_piece(GUEST_SCRATCH, buf, PAGE));
}

MODE_TEST(window, every_read_is_fresh)
{
	support_open(&(struct tinyvm_options){ .backing = TINYVM_MEMFD, .mode = mode }, 0);
	for (unsigned int seed = 0; seed < 4; seed++) {
		pattern_poke(GUEST_SCRATCH, copy, sizeof(copy), seed);
		assert_ok(read_piece(GUEST_SCRATCH + 5, buf, sizeof(buf) - 5));
		cr_assert_arr_eq(buf, copy + 5, sizeof(buf) - 5);
	}
}

Test(window, page_tables_are_walked_each_time)
{
	support_open(&shared, 0);
	for (unsigned int i = 0; i < 4; i++) {
		struct ka_piece piece = {
			.paging = &t.paging, .address = window_gva(0), .buf = buf, .len = PAGE
		};
		uint64_t gpa = GUEST_SCRATCH + (i & 1) * PAGE;

		pattern_poke(gpa, copy, PAGE, i);
		window_set(0, gpa | 3);
		assert_ok(ka_readv(t.ka, &piece, 1));
		assert_ok(piece.error);
		assert_hex(piece.gpa, gpa);
		cr_assert_arr_eq(buf, copy, PAGE);
	}
	window_set(0, 0);
	assert_rc(ka_gva_read(t.ka, &t.paging, window_gva(0), buf, 1), -EFAULT);
}

/* Tables of their own for one page of the window, in four pages at GPA `tables`. */
static struct ka_paging other_tables(uint64_t tables, uint64_t address, uint64_t gpa)
{
	struct ka_paging other = t.paging;

	other.root = tables;
	for (unsigned int level = 0; level < 4; level++)
		tinyvm_poke64(&t.vm, tables + level * PAGE + (address >> (39 - 9 * level) & 511) * 8,
			      (level < 3 ? tables + (level + 1) * PAGE : gpa) | 3);
	return other;
}

Test(window, neighbours_are_translated_by_their_own_tables)
{
	const uint64_t small = GUEST_POINTERS + 0x100; /* GPA that a page of 4 KiB maps */
	uint64_t words[7], address;
	struct ka_piece pieces[7];
	struct ka_paging other;

	support_open(&shared, 0);
	address = window_gva(0);
	other = other_tables(GUEST_SCRATCH + 16 * PAGE, address, GUEST_SCRATCH + 2 * PAGE);
	for (unsigned int i = 0; i < 3; i++)
		tinyvm_poke64(&t.vm, GUEST_SCRATCH + i * PAGE, 40 + i);
	tinyvm_poke64(&t.vm, small, 43);
	window_set(0, (GUEST_SCRATCH + PAGE) | 3);
	window_set(1, GUEST_SCRATCH | 3);
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < 6; i++)
			pieces[i] = (struct ka_piece){ .paging = i % 2 ? &other : &t.paging,
						       .address = address + i / 2 * PAGE,
						       .buf = &words[i],
						       .len = 8 };
		/* Between two of one table a page of another. */
		pieces[6] = pieces[4];
		pieces[4] = pieces[2];
		pieces[2] = (struct ka_piece){ .paging = &t.paging,
					       .address = gva(small),
					       .buf = &words[6],
					       .len = 8 };
		memset(words, 0, sizeof(words));
		assert_ok(ka_readv(t.ka, pieces, 7));
		cr_assert_eq(words[0], 41);
		cr_assert_eq(words[1], 42);
		cr_assert_eq(words[2], 40);
		cr_assert_eq(words[6], 43);
		assert_rc(pieces[3].error, -EFAULT);
		assert_rc(pieces[5].error, -EFAULT);
		assert_rc(pieces[6].error, -EFAULT);
	}
}

Test(window, a_file_that_shrinks_fails_the_read_and_nothing_else)
{
	int fd;

	support_open(&shared, 0);
	assert_ok(read_piece(GUEST_SCRATCH, buf, PAGE));
	assert_ok(read_piece(GUEST_SCRATCH, buf, PAGE));
	fd = ram_open();
	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, 0), 0);
	assert_rc(read_piece(GUEST_SCRATCH, buf, PAGE), -ENXIO);
	assert_rc(read_piece(GUEST_SCRATCH, buf, PAGE), -ENXIO);
	close(fd);
}

Test(window, memory_goes_with_its_vm)
{
	support_open(&shared, 0);
	assert_ok(read_piece(GUEST_SCRATCH, buf, PAGE));
	tinyvm_kill(&t.vm);
	assert_rc(ka_gpa_read(t.ka, GUEST_SCRATCH, buf, 8), -EOWNERDEAD);
	cr_assert_eq(maps_count("r--s", "memfd"), 0);
}

Test(window, a_slot_that_moves_is_read_where_it_is)
{
	struct tinyvm_slot slot;

	support_open(&(struct tinyvm_options){ .backing = TINYVM_MEMFD, .slots = 2 }, 0);
	slot = t.vm.slot[1];
	pattern_poke(slot.gpa, copy, PAGE, 7);
	assert_ok(ka_gpa_read(t.ka, slot.gpa, buf, PAGE));
	assert_ok(tinyvm_set_slot(&t.vm, &(struct tinyvm_slot){ .id = slot.id }));
	assert_rc(ka_gpa_read(t.ka, slot.gpa, buf, PAGE), -ENXIO);
	slot.gpa += 64 << 20;
	assert_ok(tinyvm_set_slot(&t.vm, &slot));
	memset(buf, 0, PAGE);
	assert_ok(ka_gpa_read(t.ka, slot.gpa, buf, PAGE));
	cr_assert_arr_eq(buf, copy, PAGE);
}
