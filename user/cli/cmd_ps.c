// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf ps: the tasks of the guest's kernel. */
#include <errno.h>
#include <stdlib.h>

#include "cli.h"

/* include/linux/sched.h */
#define PF_KTHREAD 0x00200000

static const struct argp_option ps_options[] = {
	{"threads", 'T', NULL, 0, "Show each thread, not only processes", 0},
	{0},
};

static error_t ps_parser(int key, char *arg, struct argp_state *state)
{
	struct cli *cli = state->input;

	(void)arg;
	if (key != 'T')
		return ARGP_ERR_UNKNOWN;
	*(bool *)cli->options = true;
	return 0;
}

static const struct argp ps_argp = {
	.options = ps_options,
	.parser = ps_parser,
	.args_doc = "VM",
	.doc = "Lists the processes of the guest, from its kernel's own records. HIDDEN FROM names "
	       "those in which one is not: the lists of tasks, or the process identifiers; one that is "
	       "in neither is seen where it runs.",
};

static const struct layout ps_layout[] = {
	{.kind = LAYOUT_TABLE, .key = "tasks", .columns = (const struct column[]){
		{"pid", "PID", 0}, {"tgid", "TGID", 0}, {"ppid", "PPID", 0}, {"uid", "UID", 0},
		{"kernel", "KERNEL", 0}, {"comm", "COMMAND", 0},
		{"hidden_from", "HIDDEN FROM", 0}, {0}}},
	{0},
};

static json_t *task_json(const struct ka_task *task)
{
	json_t *hidden = json_array();

	if (!(task->views & KA_TASK_LISTED))
		json_array_append_new(hidden, json_string("list"));
	if (!(task->views & KA_TASK_NUMBERED))
		json_array_append_new(hidden, json_string("pids"));
	return json_pack("{s:I, s:I, s:I, s:I, s:b, s:o, s:o, s:o}",
			 "pid", (json_int_t)task->pid, "tgid", (json_int_t)task->tgid,
			 "ppid", (json_int_t)task->ppid, "uid", (json_int_t)task->uid,
			 "kernel", !!(task->flags & PF_KTHREAD),
			 "comm", output_guest_text(task->comm), "task", output_hex(task->gva),
			 "hidden_from", hidden);
}

static int find_layout(struct cli *cli, const struct ka_kernel *kernel,
		       struct ka_task_layout **ret_layout)
{
	struct ka_types *types;
	int err = ka_types_from_guest(cli->vm, kernel, &types);

	if (err)
		return err;
	err = ka_task_layout_new(kernel, types, ret_layout);
	ka_types_free(types);
	return err;
}

static int read_tasks(struct cli *cli, const struct ka_kernel *kernel, struct ka_task *tasks,
		      size_t *ret_count)
{
	struct ka_task_layout *layout;
	uint32_t views;
	int err = find_layout(cli, kernel, &layout);

	if (err)
		return cli_fail_errno(cli, err, "types (BTF) of the guest's kernel");
	err = ka_tasks_read(cli->vm, kernel, layout, tasks, KA_TASKS_MAX, ret_count, &views);
	ka_task_layout_free(layout);
	return err ? cli_fail_errno(cli, err, "tasks") : CLI_OK;
}

int cmd_ps(struct cli *cli, int argc, char **argv)
{
	struct ka_task *tasks = NULL;
	struct ka_kernel kernel;
	bool threads = false;
	size_t count;
	int code;

	cli->options = &threads;
	code = cli_parse(cli, &ps_argp, argc, argv, 1, 1);
	if (!code)
		code = cli_open_vm(cli, cli->arg[0], 0);
	if (!code)
		code = cli_find_kernel(cli, true, &kernel);
	if (!code) {
		tasks = calloc(KA_TASKS_MAX, sizeof(*tasks));
		code = tasks ? read_tasks(cli, &kernel, tasks, &count) :
			       cli_fail_errno(cli, -ENOMEM, "tasks");
	}
	if (!code) {
		json_t *array = json_array();

		for (size_t i = 0; i < count; i++)
			if (threads || tasks[i].pid == tasks[i].tgid)
				json_array_append_new(array, task_json(&tasks[i]));
		json_object_set_new(cli_result(cli, ps_layout), "tasks", array);
	}
	free(tasks);
	return code;
}
