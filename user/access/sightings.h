/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tasks where the kernel must have them to run and account for them: run queues and control groups. */
#ifndef KVMACCESS_SIGHTINGS_H
#define KVMACCESS_SIGHTINGS_H

#include "structs.h"

struct sighting {
	uint64_t task;
	uint32_t view; /* enum ka_task_view */
};

struct sightings {
	struct sighting *sighting; /* by task, once all are there */
	size_t count, size, max;
};

/* Where in the kernel's structs that is. */
struct sightings_layout {
	uint32_t views; /* of enum ka_task_view, that this kernel has */
	struct ka_member curr, idle, queued, group_node;   /* rq, task_struct */
	struct ka_member set_node, set_tasks, set_moving, set_dying, task_node; /* css_set, task_struct */
};

/* What is missing of it, `views` says. */
void sightings_layout_find(const struct ka_kernel *kernel, const struct ka_types *types,
			   struct sightings_layout *ret_layout);

/* All of them, sorted by task. Errors as structs_walk(). */
int sightings_read(const struct structs *guest, const struct sightings_layout *layout,
		   struct sightings *sightings);
void sightings_free(struct sightings *sightings);

#endif
