// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Tasks where the kernel must have them to run and account for them: run queues and control groups.
 * Rootkits leave these alone, since a task that is in no run queue does not run.
 */
#include "sightings.h"

#include <errno.h>
#include <stdlib.h>

enum { SET_BUCKETS = 128, SETS_MAX = 1 << 14 };

void sightings_layout_find(const struct ka_kernel *kernel, const struct ka_types *types,
			   struct sightings_layout *ret_layout)
{
	unsigned int word = structs_word(kernel);
	struct sightings_layout layout = {};
	uint64_t symbol;

	if (STRUCTS_FIND(types, { "rq", "curr", &layout.curr, word },
			 { "rq", "idle", &layout.idle, word },
			 { "rq", "cfs_tasks", &layout.queued, 2 * word },
			 { "task_struct", "se.group_node", &layout.group_node, 2 * word }) &&
	    !structs_percpu(kernel, "runqueues", &symbol))
		layout.views |= KA_TASK_QUEUED;
	if (STRUCTS_FIND(types, { "css_set", "hlist", &layout.set_node, 2 * word },
			 { "css_set", "tasks", &layout.set_tasks, 2 * word },
			 { "css_set", "mg_tasks", &layout.set_moving, 2 * word },
			 { "css_set", "dying_tasks", &layout.set_dying, 2 * word },
			 { "task_struct", "cg_list", &layout.task_node, 2 * word }) &&
	    !ka_kernel_symbol(kernel, "css_set_table", &symbol))
		layout.views |= KA_TASK_GROUPED;
	*ret_layout = layout;
}

void sightings_free(struct sightings *sightings)
{
	free(sightings->sighting);
	*sightings = (struct sightings){};
}

static int add(struct sightings *sightings, uint64_t task, uint32_t view)
{
	if (sightings->count == sightings->max)
		return -ENOBUFS;
	if (sightings->count == sightings->size) {
		size_t size = sightings->size ? 2 * sightings->size : 256;
		struct sighting *more =
			reallocarray(sightings->sighting, size, sizeof(*more));

		if (!more)
			return -ENOMEM;
		sightings->sighting = more;
		sightings->size = size;
	}
	sightings->sighting[sightings->count++] =
		(struct sighting){ .task = task, .view = view };
	return 0;
}

static int add_queued(void *ctx, uint64_t task)
{
	return add(ctx, task, KA_TASK_QUEUED);
}

static int add_grouped(void *ctx, uint64_t task)
{
	return add(ctx, task, KA_TASK_GROUPED);
}

/* What a CPU runs, unless it idles, and what waits for it. */
static int read_queue(const struct structs *guest, const struct sightings_layout *layout,
		      uint64_t queue, struct sightings *sightings)
{
	uint64_t curr = 0, idle = 0;
	struct ka_piece pieces[] = {
		{ .address = queue + layout->curr.offset, .buf = &curr, .len = guest->word },
		{ .address = queue + layout->idle.offset, .buf = &idle, .len = guest->word },
	};
	int err = structs_readv(guest, pieces, sizeof(pieces) / sizeof(pieces[0]));

	if (!err && !idle) /* never came up */
		return 0;
	if (!err && curr != idle)
		err = add(sightings, curr, KA_TASK_QUEUED);
	if (!err)
		err = structs_walk(guest, queue + layout->queued.offset, layout->group_node.offset,
				   sightings->max, add_queued, sightings);
	return err;
}

static int read_queues(const struct structs *guest, const struct sightings_layout *layout,
		       struct sightings *sightings)
{
	uint64_t bases[STRUCTS_CPUS_MAX], queues;
	size_t count = 0;
	int err = structs_percpu(guest->kernel, "runqueues", &queues);

	if (!err)
		err = structs_read_cpus(guest, bases, &count);
	for (size_t i = 0; !err && i < count; i++)
		err = read_queue(guest, layout, queues + bases[i], sightings);
	return err;
}

static int read_set(const struct structs *guest, const struct sightings_layout *layout, uint64_t set,
		    struct sightings *sightings)
{
	const uint32_t lists[] = { layout->set_tasks.offset, layout->set_moving.offset,
				   layout->set_dying.offset };
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(lists) / sizeof(lists[0]); i++)
		err = structs_walk(guest, set + lists[i], layout->task_node.offset, sightings->max,
				   add_grouped, sightings);
	return err;
}

static int read_sets(const struct structs *guest, const struct sightings_layout *layout,
		     struct sightings *sightings)
{
	uint64_t table, sets = 0;
	int err = ka_kernel_symbol(guest->kernel, "css_set_table", &table);

	for (unsigned int i = 0; !err && i < SET_BUCKETS; i++) {
		uint64_t node;

		err = structs_read_word(guest, table + i * guest->word, &node);
		while (!err && node) {
			if (sets++ == SETS_MAX)
				return -ENOBUFS;
			err = read_set(guest, layout, node - layout->set_node.offset, sightings);
			if (!err)
				err = structs_read_word(guest, node, &node);
		}
	}
	return err;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = ((const struct sighting *)a)->task, y = ((const struct sighting *)b)->task;

	return x < y ? -1 : x > y;
}

int sightings_read(const struct structs *guest, const struct sightings_layout *layout,
		   struct sightings *sightings)
{
	int err = 0;

	sightings->count = 0;
	if (layout->views & KA_TASK_GROUPED)
		err = read_sets(guest, layout, sightings);
	if (!err && layout->views & KA_TASK_QUEUED)
		err = read_queues(guest, layout, sightings);
	if (!err && sightings->count)
		qsort(sightings->sighting, sightings->count, sizeof(*sightings->sighting), compare);
	return err;
}
