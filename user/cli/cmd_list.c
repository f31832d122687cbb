// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf list: the VMs of this host, and what can be observed of each. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const struct argp list_argp = {
	.doc = "Lists the VMs of this host. STATE is 'observed' where the registers of all vCPUs "
	       "can be read now, 'stale' where not now, 'unobservable' where not at all.",
};

static const struct layout list_layout[] = {
	{.kind = LAYOUT_TABLE, .key = "vms", .columns = (const struct column[]){
		{"pid", "PID", 0}, {"name", "NAME", 0}, {"uuid", "UUID", 0},
		{"vcpus", "VCPUS", 0}, {"memory_bytes", "MEMORY", COLUMN_BYTES},
		{"hypervisor", "HYPERVISOR", 0}, {"manager", "MANAGER", 0},
		{"state", "STATE", 0}, {"reason", "REASON", 0}, {0}}},
	{0},
};

static int state_rank(const char *state)
{
	return !strcmp(state, "observed") ? 0 : !strcmp(state, "stale") ? 1 : 2;
}

static void set_state(json_t *vm, const char *state, json_t *reason)
{
	json_object_set_new(vm, "state", json_string(state));
	if (reason)
		json_object_set_new(vm, "reason", reason);
}

/* A VM is as observable as its worst vCPU: one clean vCPU proves nothing about the others. */
static void add_vcpu_states(json_t *vm, const struct ka_registers *registers, size_t count)
{
	json_t *states = json_array(), *worst = NULL;
	const char *reason;

	for (size_t i = 0; i < count; i++) {
		json_t *state = cli_state_json(&registers[i]);
		const char *name = json_string_value(json_object_get(state, "state"));

		json_array_append_new(states, state);
		if (!worst || state_rank(name) >
		    state_rank(json_string_value(json_object_get(worst, "state"))))
			worst = state;
	}
	if (!worst) {
		set_state(vm, "stale", json_string("its vCPUs have not run yet"));
	} else {
		reason = json_string_value(json_object_get(worst, "reason"));
		set_state(vm, json_string_value(json_object_get(worst, "state")),
			  reason ? json_sprintf("vCPU %d %s", (int)json_integer_value(
				   json_object_get(worst, "vcpu")), reason) : NULL);
	}
	json_object_set_new(vm, "observed_vcpus", states);
}

/* -ESRCH or -EOWNERDEAD where it ended meanwhile. */
static int add_state(struct cli *cli, const struct ka_vm_info *info, json_t *vm)
{
	size_t max = info->vcpus + 64, count = 0;
	struct ka_registers *registers = calloc(max, sizeof(*registers));
	struct ka_vm *handle;
	int err;

	if (!registers)
		return -ENOMEM;
	err = ka_open_key(cli->host, info->key, 0, &handle);
	if (!err) {
		err = ka_registers_read_all(handle, registers, max, &count);
		ka_close(handle);
	}
	if (!err)
		add_vcpu_states(vm, registers, count);
	else if (err != -ESRCH && err != -EOWNERDEAD)
		set_state(vm, err == -EAGAIN ? "stale" : "unobservable",
			  json_string(cli_error_text(err)));
	free(registers);
	return err == -ESRCH || err == -EOWNERDEAD ? err : 0;
}

int cmd_list(struct cli *cli, int argc, char **argv)
{
	int code = cli_parse(cli, &list_argp, argc, argv, 0, 0), err;
	struct ka_vm_info *vms;
	json_t *array;
	size_t count;

	if (!code)
		code = cli_open_host(cli);
	if (code)
		return code;
	err = ka_list(cli->host, &vms, &count);
	if (err)
		return cli_fail_errno(cli, err, "list of VMs");
	array = json_array();
	for (size_t i = 0; i < count; i++) {
		json_t *vm = cli_vm_json(&vms[i]);

		if (add_state(cli, &vms[i], vm))
			json_decref(vm);
		else
			json_array_append_new(array, vm);
	}
	free(vms);
	json_object_set_new(cli_result(cli, list_layout), "vms", array);
	return CLI_OK;
}
