// SPDX-License-Identifier: LGPL-2.1-or-later
/* Processes and threads that hide: missing from the kernel's lists of tasks or from its identifiers. */
#include "../audit.h"
#include "../text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { TASKS_MIN = 1024 };

struct processes {
	struct ka_task_layout *layout;
	struct ka_task *tasks;
	size_t max; /* grows with what the guest has, up to KA_TASKS_MAX */
};

static void processes_release(void *state)
{
	struct processes *processes = state;

	if (!processes)
		return;
	ka_task_layout_free(processes->layout);
	free(processes->tasks);
	free(processes);
}

static int processes_prepare(const struct audit_view *view, void **ret_state)
{
	struct processes *processes = calloc(1, sizeof(*processes));
	int err = processes ? ka_task_layout_new(view->kernel, view->types, &processes->layout)
			    : -ENOMEM;

	if (err) {
		processes_release(processes);
		return err;
	}
	*ret_state = processes;
	return 0;
}

static int processes_grow(struct processes *processes)
{
	size_t max = processes->max ? 2 * processes->max : TASKS_MIN;
	struct ka_task *more;

	if (processes->max == KA_TASKS_MAX)
		return -ENOBUFS;
	more = reallocarray(processes->tasks, max, sizeof(*more));
	if (!more)
		return -ENOMEM;
	processes->tasks = more;
	processes->max = max;
	return 0;
}

static int read_tasks(struct processes *processes, const struct audit_view *view, size_t *ret_count,
		      uint32_t *ret_views)
{
	int err = processes->max ? 0 : processes_grow(processes);

	while (!err) {
		err = ka_tasks_read(view->vm, view->kernel, processes->layout, processes->tasks,
				    processes->max, ret_count, ret_views);
		if (err != -ENOBUFS)
			break;
		err = processes_grow(processes);
	}
	return err;
}

static void views_text(char *buf, size_t size, uint32_t views)
{
	snprintf(buf, size, "%s%s%s%s", views & KA_TASK_LISTED ? " list" : "",
		 views & KA_TASK_NUMBERED ? " pids" : "", views & KA_TASK_GROUPED ? " cgroup" : "",
		 views & KA_TASK_QUEUED ? " runqueue" : "");
}

/* Its name and its pid are the guest's word; where it lies tells it from others. */
static void add_hidden(struct audit_result *result, const struct ka_task *task, uint32_t views)
{
	uint32_t all = KA_TASK_LISTED | KA_TASK_NUMBERED;
	struct difference *difference =
		audit_add(result, CHECK_PROCESSES, OBJECT_PROCESS, task->gva);
	char text[32];

	if (!difference)
		return;
	text_clean(difference->name, sizeof(difference->name), task->comm);
	difference->gva = task->gva;
	difference->problem = "hidden";
	views_text(text, sizeof(text), all & ~task->views);
	snprintf(difference->what, sizeof(difference->what), "(pid %u, uid %u) %s, but is hidden from:%s",
		 task->pid, task->uid, task->views & KA_TASK_QUEUED ? "runs" : "exists", text);
	views_text(text, sizeof(text), (views | all) & ~KA_TASK_QUEUED);
	snprintf(difference->expected_text, sizeof(difference->expected_text), "%s", text + 1);
	views_text(text, sizeof(text), task->views);
	snprintf(difference->observed_text, sizeof(difference->observed_text), "%s", text + 1);
}

static int processes_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	const uint32_t all = KA_TASK_LISTED | KA_TASK_NUMBERED;
	struct processes *processes = state;
	uint32_t views = 0;
	size_t count = 0;
	int err = read_tasks(processes, view, &count, &views);

	for (size_t i = 0; !err && i < count; i++)
		if ((processes->tasks[i].views & all) != all)
			add_hidden(result, &processes->tasks[i], views);
	return err;
}

const struct audit audit_processes = {
	.prepare = processes_prepare,
	.look = processes_look,
	.release = processes_release,
};
