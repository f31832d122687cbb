// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Tasks of the guest's kernel, as its process identifiers and its lists have them. A process that
 * was taken off the lists still has an identifier, or nobody could signal it, and the reverse.
 *
 * Every link is the guest's: walks are bounded by the number of tasks that the caller takes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "structs.h"

enum {
	TRIES = 3,
	SLOTS = 64, /* of an xa_node, XA_CHUNK_SIZE without CONFIG_BASE_SMALL */
	NODES_MAX = 1 << 17,
	DEPTH_MAX = 6 * SLOTS, /* nodes that wait: a level of 64 each for 32-bit indices */
	UNNUMBERED_MAX = 1024, /* tasks without an identifier: there should be none */
};

/* Where what we want of the kernel's structs lies. */
struct ka_task_layout {
	struct ka_member tasks, thread_node, signal, thread_head; /* the lists */
	struct ka_member pid, tgid, comm, flags, cred, uid, parent;
	struct ka_member ids, slots, pid_tasks, pid_link; /* init_pid_ns to a task */
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

	if (!STRUCTS_FIND(types, { "task_struct", "tasks", &layout.tasks, 2 * word },
			  { "task_struct", "thread_node", &layout.thread_node, 2 * word },
			  { "task_struct", "signal", &layout.signal, word },
			  { "signal_struct", "thread_head", &layout.thread_head, 2 * word },
			  { "task_struct", "pid", &layout.pid, 4 },
			  { "task_struct", "tgid", &layout.tgid, 4 },
			  { "task_struct", "comm", &layout.comm, KA_TASK_COMM_MAX },
			  { "task_struct", "flags", &layout.flags, 4 },
			  { "task_struct", "real_cred", &layout.cred, word },
			  { "cred", "uid", &layout.uid, 4 },
			  { "task_struct", "real_parent", &layout.parent, word },
			  { "pid_namespace", "idr.idr_rt.xa_head", &layout.ids, word },
			  { "xa_node", "slots", &layout.slots, SLOTS * word },
			  { "pid", "tasks[0]", &layout.pid_tasks, word },
			  { "task_struct", "pid_links[0]", &layout.pid_link, 2 * word }))
		return -ENODATA;
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
static int add_numbered(struct scan *scan, uint64_t pid)
{
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

/* Pointers to nodes have bit 1 set; small values are marks of the tree itself. */
static bool is_node(uint64_t entry)
{
	return (entry & 3) == 2 && entry > 4096;
}

/* Its entries go on top of those that wait, the first of them topmost. */
static int open_node(const struct scan *scan, uint64_t node, uint64_t *waiting, size_t *depth)
{
	uint8_t bytes[SLOTS * 8];
	struct ka_piece piece = { .address = node - 2 + scan->layout->slots.offset,
				  .buf = bytes,
				  .len = scan->layout->slots.size };
	int err = structs_readv(&scan->guest, &piece, 1);

	for (int i = SLOTS - 1; !err && i >= 0; i--) {
		uint64_t entry = 0;

		memcpy(&entry, bytes + i * scan->guest.word, scan->guest.word);
		if (!entry || (entry & 3 && !is_node(entry)))
			continue;
		if (*depth == DEPTH_MAX)
			return -EAGAIN;
		waiting[(*depth)++] = entry;
	}
	return err;
}

static int scan_numbers(struct scan *scan)
{
	uint64_t waiting[DEPTH_MAX], space;
	size_t depth = 0, nodes = 0;
	int err;

	if (ka_kernel_symbol(scan->guest.kernel, "init_pid_ns", &space))
		return -ENODATA;
	err = structs_read_word(&scan->guest, space + scan->layout->ids.offset, &waiting[0]);
	depth = !err && waiting[0] ? 1 : 0;
	while (!err && depth) {
		uint64_t entry = waiting[--depth];

		if (!is_node(entry))
			err = add_numbered(scan, entry);
		else if (nodes++ == NODES_MAX)
			err = -EAGAIN;
		else
			err = open_node(scan, entry, waiting, &depth);
	}
	scan->numbered = scan->count;
	return err;
}

/* ---- by lists ------------------------------------------------------------------------------- */

static int compare_pid(const void *key, const void *task)
{
	uint32_t a = *(const uint32_t *)key, b = ((const struct ka_task *)task)->pid;

	return a < b ? -1 : a > b;
}

static int note_listed(struct scan *scan, uint64_t gva)
{
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

/* Calls `each` for the struct around each entry of a list. */
static int walk_list(struct scan *scan, uint64_t head, uint32_t offset,
		     int (*each)(struct scan *scan, uint64_t gva))
{
	struct structs_links links;
	uint64_t at = head;
	int err = structs_read_links(&scan->guest, head, &links);

	for (size_t i = 0; !err && links.next != head; i++) {
		uint64_t before = at;

		if (i == scan->max)
			return -ENOBUFS;
		at = links.next;
		err = structs_read_links(&scan->guest, at, &links);
		/* Changed while it was read, or bent: the next try tells. */
		if (!err && links.prev != before)
			err = -EAGAIN;
		if (!err)
			err = each(scan, at - offset);
	}
	return err;
}

static int scan_threads(struct scan *scan, uint64_t leader)
{
	uint64_t signal;
	int err = structs_read_word(&scan->guest, leader + scan->layout->signal.offset, &signal);

	return err ? err
		   : walk_list(scan, signal + scan->layout->thread_head.offset,
			       scan->layout->thread_node.offset, note_listed);
}

static int scan_lists(struct scan *scan)
{
	uint64_t init;

	if (ka_kernel_symbol(scan->guest.kernel, "init_task", &init))
		return -ENODATA;
	return walk_list(scan, init + scan->layout->tasks.offset, scan->layout->tasks.offset,
			 scan_threads);
}

int ka_tasks_read(struct ka_vm *vm, const struct ka_kernel *kernel,
		  const struct ka_task_layout *layout, struct ka_task *tasks, size_t max,
		  size_t *ret_count)
{
	struct scan scan = {
		.guest = structs_of(vm, kernel),
		.layout = layout,
		.tasks = tasks,
		.max = max,
	};
	int err = registers_refresh(vm);

	if (err)
		return err;
	for (int tries = 0; tries < TRIES; tries++) {
		scan.count = 0;
		err = scan_numbers(&scan);
		if (!err)
			err = scan_lists(&scan);
		if (!err)
			*ret_count = scan.count;
		if (!err || err == -EOWNERDEAD || err == -ENOBUFS || err == -ENODATA)
			return err;
	}
	return -EAGAIN;
}
