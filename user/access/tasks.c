// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Tasks of the guest's kernel, as its process identifiers and its lists have them, and as it runs
 * them. A process that was taken off the lists still has an identifier, or nobody could signal it;
 * one that has neither still runs.
 *
 * Every link is the guest's: walks are bounded by the number of tasks that the caller takes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "sightings.h"
#include "structs.h"
#include "xarray.h"

enum {
	TRIES = 3,
	UNNUMBERED_MAX = 1024, /* tasks without an identifier: there should be none */
	WRITE_LOCKED = 0xff,   /* of a queued read-write lock, _QW_LOCKED */
	EXITING = 0x4,	       /* PF_EXITING */
};

/* Where what we want of the kernel's structs lies. */
struct ka_task_layout {
	struct ka_member tasks, thread_node, signal, thread_head; /* the lists */
	struct ka_member pid, tgid, comm, flags, cred, uid, parent;
	struct ka_member exit_state;
	struct ka_member ids, pid_tasks, pid_link; /* init_pid_ns to a task */
	struct xarray_layout array;
	struct ka_member locked; /* of tasklist_lock: the lists are being changed */
	struct sightings_layout sightings;
};

struct scan {
	struct structs guest;
	const struct ka_task_layout *layout;
	struct ka_task *tasks;
	size_t numbered; /* by identifiers, in their order */
	size_t count, max;
};

int ka_task_layout_new(const struct ka_kernel *kernel, const struct ka_types *types,
		       struct ka_task_layout **ret_layout)
{
	unsigned int word = structs_word(kernel);
	struct ka_task_layout layout = {};

	if (!xarray_layout_find(types, word, &layout.array) ||
	    !STRUCTS_FIND(types, { "task_struct", "tasks", &layout.tasks, 2 * word },
			  { "task_struct", "thread_node", &layout.thread_node, 2 * word },
			  { "task_struct", "signal", &layout.signal, word },
			  { "signal_struct", "thread_head", &layout.thread_head, 2 * word },
			  { "task_struct", "pid", &layout.pid, 4 },
			  { "task_struct", "tgid", &layout.tgid, 4 },
			  { "task_struct", "comm", &layout.comm, KA_TASK_COMM_MAX },
			  { "task_struct", "flags", &layout.flags, 4 },
			  { "task_struct", "exit_state", &layout.exit_state, 4 },
			  { "task_struct", "real_cred", &layout.cred, word },
			  { "cred", "uid", &layout.uid, 4 },
			  { "task_struct", "real_parent", &layout.parent, word },
			  { "pid_namespace", "idr.idr_rt", &layout.ids, 0 },
			  { "qrwlock", "wlocked", &layout.locked, 1 },
			  { "pid", "tasks[0]", &layout.pid_tasks, word },
			  { "task_struct", "pid_links[0]", &layout.pid_link, 2 * word }))
		return -ENODATA;
	sightings_layout_find(kernel, types, &layout.sightings);
	*ret_layout = malloc(sizeof(layout));
	if (!*ret_layout)
		return -ENOMEM;
	**ret_layout = layout;
	return 0;
}

void ka_task_layout_free(struct ka_task_layout *layout)
{
	free(layout);
}

/* ---- one task ------------------------------------------------------------------------------- */

static int read_people(const struct scan *scan, uint64_t cred, uint64_t parent,
		       struct ka_task *task)
{
	const struct ka_task_layout *layout = scan->layout;
	struct ka_piece pieces[] = {
		{ .address = cred + layout->uid.offset, .buf = &task->uid, .len = 4 },
		{ .address = parent + layout->tgid.offset, .buf = &task->ppid, .len = 4 },
	};

	return structs_readv(&scan->guest, pieces, sizeof(pieces) / sizeof(pieces[0]));
}

static int read_task(const struct scan *scan, uint64_t gva, struct ka_task *ret_task)
{
	const struct ka_task_layout *layout = scan->layout;
	struct ka_task task = { .gva = gva };
	uint64_t cred = 0, parent = 0;
	struct ka_piece pieces[] = {
		{ .address = gva + layout->pid.offset, .buf = &task.pid, .len = 4 },
		{ .address = gva + layout->tgid.offset, .buf = &task.tgid, .len = 4 },
		{ .address = gva + layout->comm.offset, .buf = task.comm, .len = KA_TASK_COMM_MAX },
		{ .address = gva + layout->flags.offset, .buf = &task.flags, .len = 4 },
		{ .address = gva + layout->exit_state.offset, .buf = &task.exit_state, .len = 4 },
		{ .address = gva + layout->cred.offset, .buf = &cred, .len = scan->guest.word },
		{ .address = gva + layout->parent.offset, .buf = &parent, .len = scan->guest.word },
	};
	int err = structs_readv(&scan->guest, pieces, sizeof(pieces) / sizeof(pieces[0]));

	if (!err)
		err = read_people(scan, cred, parent, &task);
	if (err)
		return err;
	task.comm[KA_TASK_COMM_MAX - 1] = '\0';
	*ret_task = task;
	return 0;
}

/* ---- by identifiers ------------------------------------------------------------------------- */

/* A struct pid; one that only names a group or a session has no task. */
static int add_numbered(void *ctx, uint64_t pid)
{
	struct scan *scan = ctx;
	uint64_t link;
	int err;

	err = structs_read_word(&scan->guest, pid + scan->layout->pid_tasks.offset, &link);
	if (err || !link)
		return err;
	if (scan->count == scan->max)
		return -ENOBUFS;
	err = read_task(scan, link - scan->layout->pid_link.offset, &scan->tasks[scan->count]);
	if (!err)
		scan->tasks[scan->count++].views = KA_TASK_NUMBERED;
	return err;
}

static int scan_numbers(struct scan *scan)
{
	uint64_t space;
	int err;

	if (ka_kernel_symbol(scan->guest.kernel, "init_pid_ns", &space))
		return -ENODATA;
	err = xarray_walk(&scan->guest, &scan->layout->array, space + scan->layout->ids.offset,
			  add_numbered, scan);
	scan->numbered = scan->count;
	return err;
}

/* ---- by lists ------------------------------------------------------------------------------- */

static int compare_pid(const void *key, const void *task)
{
	uint32_t a = *(const uint32_t *)key, b = ((const struct ka_task *)task)->pid;

	return a < b ? -1 : a > b;
}

static int note_listed(void *ctx, uint64_t gva)
{
	struct scan *scan = ctx;
	struct ka_task task, *known;
	int err = read_task(scan, gva, &task);

	if (err)
		return err;
	known = bsearch(&task.pid, scan->tasks, scan->numbered, sizeof(task), compare_pid);
	if (known && known->gva == gva) {
		known->views |= KA_TASK_LISTED;
		return 0;
	}
	for (size_t i = scan->numbered; i < scan->count; i++)
		if (scan->tasks[i].gva == gva)
			return 0;
	if (scan->count == scan->max || scan->count - scan->numbered == UNNUMBERED_MAX)
		return -ENOBUFS;
	task.views = KA_TASK_LISTED;
	scan->tasks[scan->count++] = task;
	return 0;
}

static int scan_threads(void *ctx, uint64_t leader)
{
	struct scan *scan = ctx;
	uint64_t signal;
	int err = structs_read_word(&scan->guest, leader + scan->layout->signal.offset, &signal);

	return err ? err
		   : structs_walk(&scan->guest, signal + scan->layout->thread_head.offset,
				  scan->layout->thread_node.offset, scan->max, note_listed, scan);
}

static int scan_lists(struct scan *scan)
{
	uint64_t init;

	if (ka_kernel_symbol(scan->guest.kernel, "init_task", &init))
		return -ENODATA;
	return structs_walk(&scan->guest, init + scan->layout->tasks.offset,
			    scan->layout->tasks.offset, scan->max, scan_threads, scan);
}

/* ---- where they run ------------------------------------------------------------------------- */

static int compare_gva(const void *a, const void *b)
{
	uint64_t x = (*(struct ka_task *const *)a)->gva, y = (*(struct ka_task *const *)b)->gva;

	return x < y ? -1 : x > y;
}

/* One that is in no record of tasks, but runs. */
static int add_unknown(struct scan *scan, uint64_t gva, uint32_t views)
{
	struct ka_task task;

	/* It may have ended since. */
	if (read_task(scan, gva, &task))
		return 0;
	if (scan->count == scan->max || scan->count - scan->numbered == UNNUMBERED_MAX)
		return -ENOBUFS;
	task.views = views;
	scan->tasks[scan->count++] = task;
	return 0;
}

static int note_sightings(struct scan *scan, const struct sightings *sightings)
{
	size_t known = scan->count, at = 0;
	struct ka_task **by_gva = calloc(known + 1, sizeof(struct ka_task *));
	int err = by_gva ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < known; i++)
		by_gva[i] = &scan->tasks[i];
	if (!err)
		qsort(by_gva, known, sizeof(struct ka_task *), compare_gva);
	for (size_t i = 0; !err && i < sightings->count;) {
		uint64_t gva = sightings->sighting[i].task;
		uint32_t views = 0;

		for (; i < sightings->count && sightings->sighting[i].task == gva; i++)
			views |= sightings->sighting[i].view;
		while (at < known && by_gva[at]->gva < gva)
			at++;
		if (at < known && by_gva[at]->gva == gva)
			by_gva[at]->views |= views;
		else
			err = add_unknown(scan, gva, views);
	}
	free(by_gva);
	return err;
}

/* ---- those that one of the records lacks ---------------------------------------------------- */

/* Has the identifier now a struct pid that leads to this task? */
static int look_up(const struct scan *scan, const struct ka_task *task, bool *ret_found)
{
	const struct ka_task_layout *layout = scan->layout;
	uint64_t space, pid = 0, link;
	int err;

	*ret_found = false;
	if (ka_kernel_symbol(scan->guest.kernel, "init_pid_ns", &space))
		return -ENODATA;
	err = xarray_find(&scan->guest, &layout->array, space + layout->ids.offset, task->pid, &pid);
	if (err || !pid)
		return err;
	err = structs_read_word(&scan->guest, pid + layout->pid_tasks.offset, &link);
	*ret_found = !err && link == task->gva + layout->pid_link.offset;
	return err;
}

/*
 * As it is now: one that began or ended while the records were read is rightly not in all of them.
 * False: it is to be forgotten.
 */
static bool settle(const struct scan *scan, struct ka_task *task)
{
	struct ka_task now;
	bool found;

	if (read_task(scan, task->gva, &now) || now.pid != task->pid || now.tgid != task->tgid ||
	    now.exit_state || now.flags & EXITING)
		return false;
	if (!(task->views & KA_TASK_NUMBERED) && !look_up(scan, task, &found) && found)
		task->views |= KA_TASK_NUMBERED;
	return true;
}

static int settle_all(struct scan *scan)
{
	uint32_t all = KA_TASK_LISTED | KA_TASK_NUMBERED;
	size_t kept = 0;
	uint64_t lock;
	uint8_t locked;
	struct ka_piece piece = { .buf = &locked, .len = 1 };
	int err = 0;

	for (size_t i = 0; i < scan->count; i++)
		if ((scan->tasks[i].views & all) == all || settle(scan, &scan->tasks[i]))
			scan->tasks[kept++] = scan->tasks[i];
	scan->count = kept;
	/* Who begins or ends is linked and unlinked under this lock, for as long as the vCPU may take. */
	if (ka_kernel_symbol(scan->guest.kernel, "tasklist_lock", &lock))
		return -ENODATA;
	piece.address = lock + scan->layout->locked.offset;
	err = structs_readv(&scan->guest, &piece, 1);
	return err ? err : locked == WRITE_LOCKED ? -EAGAIN : 0;
}

/* What runs first: what begins meanwhile is then in the records already. */
static int scan_all(struct scan *scan, struct sightings *sightings)
{
	int err = sightings_read(&scan->guest, &scan->layout->sightings, sightings);

	scan->count = 0;
	if (!err)
		err = scan_numbers(scan);
	if (!err)
		err = scan_lists(scan);
	if (!err)
		err = note_sightings(scan, sightings);
	return err ? err : settle_all(scan);
}

int ka_tasks_read(struct ka_vm *vm, const struct ka_kernel *kernel,
		  const struct ka_task_layout *layout, struct ka_task *tasks, size_t max,
		  size_t *ret_count, uint32_t *ret_views)
{
	struct scan scan = {
		.guest = structs_of(vm, kernel),
		.layout = layout,
		.tasks = tasks,
		.max = max,
	};
	struct sightings sightings = { .max = 4 * max };
	int err = registers_refresh(vm);

	if (err)
		return err;
	for (int tries = 0; tries < TRIES; tries++) {
		err = scan_all(&scan, &sightings);
		if (!err || err == -EOWNERDEAD || err == -ENOBUFS || err == -ENODATA ||
		    err == -ENOMEM)
			break;
		err = -EAGAIN;
	}
	sightings_free(&sightings);
	if (err)
		return err;
	*ret_count = scan.count;
	*ret_views = KA_TASK_LISTED | KA_TASK_NUMBERED | layout->sightings.views;
	return 0;
}
