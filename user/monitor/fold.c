// SPDX-License-Identifier: LGPL-2.1-or-later
/* Keeps the table of objects that were written lately. */
#include "fold.h"

#include "clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What is set for longer than this is told when it is set, and again when it is restored. */
static const uint64_t window_first_ns = 5 * NS_PER_MS;
static const uint64_t window_max_ns = NS_PER_S;

void fold_table_deinit(struct fold_table *table)
{
	free(table->folds);
	memset(table, 0, sizeof(*table));
}

struct fold *fold_find(struct fold_table *table, const struct object_key *object)
{
	for (size_t i = 0; i < table->count; i++)
		if (object_equal(&table->folds[i].object, object))
			return &table->folds[i];
	return NULL;
}

static bool is_over(const struct fold *fold, uint64_t now_ns)
{
	return !fold->count && fold->due_ns <= now_ns;
}

bool fold_lives(struct fold_table *table, const struct object_key *object, uint64_t now_ns)
{
	const struct fold *fold = fold_find(table, object);

	return fold && !is_over(fold, now_ns);
}

bool fold_any_lives(const struct fold_table *table, uint64_t now_ns)
{
	for (size_t i = 0; i < table->count; i++)
		if (!is_over(&table->folds[i], now_ns))
			return true;
	return false;
}

static void drop_old(struct fold_table *table, uint64_t now_ns)
{
	size_t kept = 0;

	for (size_t i = 0; i < table->count; i++)
		if (!is_over(&table->folds[i], now_ns))
			table->folds[kept++] = table->folds[i];
	table->count = kept;
}

static struct fold *fold_new(struct fold_table *table)
{
	struct fold *folds;
	size_t max;

	if (table->count == table->max) {
		max = table->max ? table->max * 2 : 16;
		folds = reallocarray(table->folds, max, sizeof(*folds));
		if (!folds)
			return NULL;
		table->folds = folds;
		table->max = max;
	}
	return &table->folds[table->count++];
}

int fold_add(struct fold_table *table, const struct object_key *object,
	     const struct fold_write *write, uint64_t now_ns)
{
	struct fold *fold = fold_find(table, object);

	if (!fold || is_over(fold, now_ns)) {
		drop_old(table, now_ns);
		if (table->count == FOLDS_MAX)
			return -ENOSPC;
		fold = fold_new(table);
		if (!fold)
			return -ENOMEM;
		*fold = (struct fold){ .object = *object, .due_ns = now_ns };
	}
	if (!fold->count++)
		fold->first_ns = write->write->time_ns;
	fold->last_ns = write->write->time_ns;
	if (write->differs || !fold->differed) {
		fold->write = *write->write;
		memcpy(fold->tried, write->tried, sizeof(fold->tried));
	}
	fold->differed |= write->differs;
	memcpy(fold->now, write->now, sizeof(fold->now));
	return 0;
}

struct fold *fold_due(struct fold_table *table, uint64_t now_ns)
{
	for (size_t i = 0; i < table->count; i++)
		if (table->folds[i].count && table->folds[i].due_ns <= now_ns)
			return &table->folds[i];
	return NULL;
}

void fold_told(struct fold *fold, uint64_t now_ns)
{
	fold->count = 0;
	fold->differed = false;
	fold->window_ns = fold->window_ns ? fold->window_ns * 2 : window_first_ns;
	if (fold->window_ns > window_max_ns)
		fold->window_ns = window_max_ns;
	fold->due_ns = now_ns + fold->window_ns;
}

uint64_t fold_next_ns(const struct fold_table *table)
{
	uint64_t next_ns = UINT64_MAX;

	for (size_t i = 0; i < table->count; i++)
		if (table->folds[i].count && table->folds[i].due_ns < next_ns)
			next_ns = table->folds[i].due_ns;
	return next_ns;
}
