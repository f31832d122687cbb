// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pieces that the results of several commands are made of. */
#include <errno.h>

#include "../monitor/event.h"
#include "cli.h"

json_t *cli_vm_json(const struct ka_vm_info *info)
{
	return json_pack("{s:s, s:s, s:i, s:o, s:i, s:I, s:s, s:s, s:s, s:s, s:o}",
			 "name", info->name, "uuid", info->uuid, "pid", (int)info->pid,
			 "start_ticks", json_sprintf("%llu", (unsigned long long)info->start_ticks),
			 "vcpus", (int)info->vcpus, "memory_bytes", (json_int_t)info->memory_bytes,
			 "hypervisor", info->hypervisor, "manager", info->manager,
			 "id_source", info->id_source, "id_confidence", info->id_confidence,
			 "labels", event_labels(info->labels));
}

json_t *cli_result(struct cli *cli, const struct layout *layout)
{
	json_decref(cli->result);
	cli->result = json_object();
	cli->layout = layout;
	if (cli->vm) {
		const struct ka_vm_info *info = ka_vm_info(cli->vm);

		json_object_set_new(cli->result, "vm",
				    json_pack("{s:s, s:s, s:i}", "name", info->name,
					      "uuid", info->uuid, "pid", (int)info->pid));
	}
	return cli->result;
}

json_t *cli_symbol_json(const struct ka_kernel *kernel, uint64_t gva)
{
	uint64_t offset = 0;
	const char *name;
	json_t *text, *whole;

	if (!kernel->symbols)
		return NULL;
	name = ka_kernel_name(kernel, gva, &offset);
	if (!name)
		return json_string("unknown");
	text = output_guest_text(name);
	if (!offset)
		return text;
	whole = json_sprintf("%s+0x%llx", json_string_value(text), (unsigned long long)offset);
	json_decref(text);
	return whole;
}

const char *cli_paging_name(const struct ka_paging *paging)
{
	static const char *const names[] = {"off", "32-bit", "PAE", "4-level", "5-level"};

	return paging->mode < sizeof(names) / sizeof(names[0]) ? names[paging->mode] : "unknown";
}

static const char *stale_reason(const struct ka_registers *registers)
{
	if (registers->flags & KA_REGISTERS_NESTED)
		return "runs a nested guest";
	if (registers->flags & KA_REGISTERS_SMM)
		return "is in system management mode";
	return "its kernel is not up yet (no paging)";
}

json_t *cli_state_json(const struct ka_registers *registers)
{
	int err = ka_registers_usable(registers);
	json_t *state = json_pack("{s:i}", "vcpu", (int)registers->vcpu);
	const char *name = "observed", *reason = NULL;

	if (err == -EAGAIN)
		name = "stale", reason = stale_reason(registers);
	else if (err)
		name = "unobservable", reason = "confidential guest: its registers are encrypted";
	else if (registers->flags & KA_REGISTERS_NO_VMCS)
		reason = "keeps some registers in the VMCS: without the kernel module they are not "
			 "known";
	else if (registers->flags & KA_REGISTERS_NO_MSRS)
		reason = "system call registers are not known on this host";
	json_object_set_new(state, "state", json_string(name));
	if (reason)
		json_object_set_new(state, "reason", json_string(reason));
	return state;
}
