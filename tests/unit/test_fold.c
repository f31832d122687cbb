// SPDX-License-Identifier: LGPL-2.1-or-later
/* Writes that follow each other closely become few reports, and none is lost from the count. */
#include <criterion/criterion.h>
#include <errno.h>

#include "monitor/clock.h"
#include "monitor/fold.h"

static struct fold_table table;

static void teardown(void)
{
	fold_table_deinit(&table);
}

TestSuite(fold, .fini = teardown);

static struct object_key entry(unsigned int index)
{
	return (struct object_key){ .check = CHECK_SYSCALL_TABLE,
				    .kind = OBJECT_SYSCALL_ENTRY,
				    .vcpu = OBJECT_SHARED,
				    .index = index };
}

/* A write of this value, which is what is expected if it is 0. */
static void put(unsigned int index, uint64_t value, uint64_t time_ns)
{
	struct ka_write write = { .time_ns = time_ns, .len = 8, .rip = value };
	struct fold_write judged = {
		.write = &write, .tried = { value }, .now = { value }, .differs = value
	};
	struct object_key object = entry(index);

	cr_assert_eq(fold_add(&table, &object, &judged, time_ns), 0);
}

/* Tells what is due; how many writes that were. */
static uint64_t tell(uint64_t now_ns, unsigned int *ret_reports)
{
	uint64_t count = 0;
	struct fold *fold;

	*ret_reports = 0;
	while ((fold = fold_due(&table, now_ns))) {
		count += fold->count;
		fold_told(fold, now_ns);
		(*ret_reports)++;
	}
	return count;
}

Test(fold, first_write_is_due_at_once)
{
	unsigned int reports;

	put(39, 1, 1000);
	cr_assert_eq(fold_next_ns(&table), 1000);
	cr_assert_eq(tell(1000, &reports), 1);
	cr_assert_eq(reports, 1);
	cr_assert_eq(fold_next_ns(&table), UINT64_MAX);
}

Test(fold, hook_of_ten_milliseconds_is_told_twice_each_time)
{
	unsigned int reports;

	for (uint64_t at = 0; at < 100; at++) {
		put(39, 1, at * 20 * NS_PER_MS);
		cr_assert_eq(tell(at * 20 * NS_PER_MS, &reports), 1);
		put(39, 0, (at * 20 + 10) * NS_PER_MS);
		cr_assert_eq(tell((at * 20 + 10) * NS_PER_MS, &reports), 1);
	}
}

Test(fold, burst_is_told_in_few_reports_that_count_all)
{
	unsigned int reports, sum = 0;
	uint64_t count = 0, now_ns = 0;

	for (unsigned int i = 0; i < 10000; i++) {
		now_ns = i * 100ull * NS_PER_US;
		put(39, 1 + i % 2, now_ns);
		count += tell(now_ns, &reports);
		sum += reports;
	}
	count += tell(now_ns + NS_PER_S, &reports);
	sum += reports;
	cr_assert_eq(count, 10000);
	cr_assert_lt(sum, 15);
}

Test(fold, hook_within_a_burst_is_kept_though_its_end_is_clean)
{
	struct object_key object = entry(39);
	unsigned int reports;
	struct fold *fold;

	put(39, 7, 0);
	tell(0, &reports);
	put(39, 0, NS_PER_MS);
	put(39, 8, 2 * NS_PER_MS);
	put(39, 0, 3 * NS_PER_MS);
	fold = fold_find(&table, &object);
	cr_assert_eq(fold->count, 3);
	cr_assert(fold->differed);
	cr_assert_eq(fold->tried[0], 8);
	cr_assert_eq(fold->write.rip, 8);
	cr_assert_eq(fold->now[0], 0);
	cr_assert_eq(fold->first_ns, 1 * NS_PER_MS);
	cr_assert_eq(fold->last_ns, 3 * NS_PER_MS);
}

Test(fold, objects_do_not_wait_for_each_other)
{
	unsigned int reports;

	put(39, 1, 0);
	tell(0, &reports);
	put(40, 1, NS_PER_MS);
	put(39, 2, NS_PER_MS);
	cr_assert_eq(tell(NS_PER_MS, &reports), 1);
	cr_assert_eq(fold_next_ns(&table), 5 * NS_PER_MS);
}

Test(fold, table_does_not_grow_without_end)
{
	struct ka_write write = { .len = 8 };
	struct fold_write judged = { .write = &write, .differs = true };
	unsigned int reports;
	struct object_key object;

	for (unsigned int i = 0; i < FOLDS_MAX; i++)
		put(i, 1, 0);
	object = entry(FOLDS_MAX);
	cr_assert_eq(fold_add(&table, &object, &judged, 0), -ENOSPC);
	tell(0, &reports);
	cr_assert_eq(reports, FOLDS_MAX);
	/* What was told long ago makes room. */
	put(FOLDS_MAX, 1, NS_PER_S);
	cr_assert_eq(table.count, 1);
}
