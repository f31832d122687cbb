// SPDX-License-Identifier: LGPL-2.1-or-later
/* Lists VMs, opens and closes them. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bpf/snapshot.skel.h"
#include "identity.h"
#include "requests.h"
#include "vm.h"
#include "vmx.h"
#include "writes.h"

int ka_list(struct ka_host *host, struct ka_vm_info **ret_vms, size_t *ret_count)
{
	struct ka_vm_info *vms = NULL;
	int err;

	err = discover_scan(host, 0);
	if (err)
		return err;
	if (host->vm_count) {
		vms = calloc(host->vm_count, sizeof(*vms));
		if (!vms)
			return -ENOMEM;
	}
	for (size_t i = 0; i < host->vm_count; i++)
		vms[i] = host->vms[i]->info;
	*ret_vms = vms;
	*ret_count = host->vm_count;
	return 0;
}

bool ka_vm_matches(const struct ka_vm_info *info, const char *selector)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", info->pid);
	return !strcmp(selector, pid) || (info->uuid[0] && !strcasecmp(selector, info->uuid)) ||
	       !strcmp(selector, info->name);
}

/* ---- slots: a vCPU's place in the shared map ------------------------------------------------ */

static int slot_take(struct ka_host *host)
{
	for (uint32_t i = 0; i < host->slot_count; i++)
		if (!host->slot_used[i]) {
			host->slot_used[i] = 1;
			return i;
		}
	return NO_SLOT;
}

static void slot_free(struct ka_host *host, struct host_vcpu *vcpu)
{
	if (vcpu->slot == NO_SLOT)
		return;
	bpf_map_delete_elem(bpf_map__fd(host->snapshot->maps.vcpu_slots), &vcpu->vcpu);
	host->slot_used[vcpu->slot] = 0;
	vcpu->slot = NO_SLOT;
}

/* The programs write a slot only once it stands in vcpu_slots, so it is emptied before that. */
static int slot_assign(struct ka_host *host, struct host_vcpu *vcpu)
{
	uint32_t slot;

	vcpu->slot = slot_take(host);
	if (vcpu->slot == NO_SLOT)
		return -ENOSPC;
	slot = vcpu->slot;
	memset(&host->states[slot], 0, sizeof(host->states[slot]));
	if (bpf_map_update_elem(bpf_map__fd(host->snapshot->maps.vcpu_slots), &vcpu->vcpu, &slot,
				BPF_ANY)) {
		int err = -errno;

		host->slot_used[slot] = 0;
		vcpu->slot = NO_SLOT;
		return err;
	}
	return 0;
}

static void table_update(struct ka_host *host, const struct host_vm *vm)
{
	struct kvmbpf_vm entry = {
		.kvm = vm->kvm,
		.pid = vm->info.pid,
		.fd = vm->info.fd,
		.vcpus = vm->vcpu_count,
		.first_slot = vm->vcpu_count ? (uint32_t)vm->vcpus[0].slot : 0,
	};

	snprintf(entry.name, sizeof(entry.name), "%.*s", (int)sizeof(entry.name) - 1,
		 vm->info.name);
	snprintf(entry.uuid, sizeof(entry.uuid), "%s", vm->info.uuid);
	bpf_map_update_elem(bpf_map__fd(host->snapshot->maps.vms), &vm->kvm, &entry, BPF_ANY);
}

int host_vm_watch(struct ka_host *host, struct host_vm *vm)
{
	bool fresh = false;
	int err = 0;

	for (size_t i = 0; i < vm->vcpu_count && !err; i++)
		if (vm->vcpus[i].slot == NO_SLOT) {
			err = slot_assign(host, &vm->vcpus[i]);
			fresh = true;
		}
	table_update(host, vm);
	/* Once: a paused vCPU does not show itself, but will when it runs. */
	if (fresh && host_reads_vmcs(host))
		vmx_wake_unseen(host, vm);
	/* A full map costs those vCPUs' checks, not the others': the monitor sees them missing. */
	return err == -ENOSPC ? 0 : err;
}

static void unwatch(struct ka_host *host, struct host_vm *vm)
{
	for (size_t i = 0; i < vm->vcpu_count; i++)
		slot_free(host, &vm->vcpus[i]);
	bpf_map_delete_elem(bpf_map__fd(host->snapshot->maps.vms), &vm->kvm);
	bpf_map_delete_elem(bpf_map__fd(host->snapshot->maps.budgets), &vm->kvm);
	vm->dropped = 0;
	windows_free(&vm->windows);
	requests_release(host, vm);
}

void host_vm_gone(struct ka_host *host, struct host_vm *vm)
{
	for (struct ka_vm *handle = vm->handle; handle; handle = handle->next) {
		writes_end(handle, vm->kvm);
		handle->vm = NULL;
	}
	if (vm->handle)
		unwatch(host, vm);
	if (vm->announced) {
		uint64_t *gone = reallocarray(host->gone, host->gone_count + 1, sizeof(*gone));

		if (!gone)
			return;
		host->gone = gone;
		gone[host->gone_count++] = vm->info.key;
	}
}

/* ---- handles -------------------------------------------------------------------------------- */

static void handle_free(struct ka_vm *vm)
{
	requests_forget(vm);
	ka_unseal(vm);
	free(vm->translations);
	free(vm);
}

static int open_found(struct ka_host *host, struct host_vm *found, unsigned int flags,
		      struct ka_vm **ret_vm)
{
	struct ka_vm *vm = calloc(1, sizeof(*vm));
	int err;

	if (!vm)
		return -ENOMEM;
	vm->host = host;
	vm->info = found->info;
	vm->flags = flags;
	err = host_vm_watch(host, found);
	if (err) {
		handle_free(vm);
		return err;
	}
	vm->vm = found;
	vm->next = found->handle;
	found->handle = vm;
	*ret_vm = vm;
	return 0;
}

int ka_open_key(struct ka_host *host, uint64_t key, unsigned int flags, struct ka_vm **ret_vm)
{
	struct host_vm *found = host_vm_by_key(host, key);

	if (flags & ~(unsigned int)KA_OPEN_WRITE)
		return -EINVAL;
	return found ? open_found(host, found, flags, ret_vm) : -ESRCH;
}

/* How a selector fits: a pid before a UUID before a name. */
static int rank(const struct ka_vm_info *info, const char *selector)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", info->pid);
	if (!strcmp(selector, pid))
		return 3;
	if (info->uuid[0] && !strcasecmp(selector, info->uuid))
		return 2;
	return strcmp(selector, info->name) ? 0 : 1;
}

int ka_open(struct ka_host *host, const char *selector, unsigned int flags, struct ka_vm **ret_vm)
{
	struct host_vm *found = NULL;
	int best = 0, fits = 0;
	int err;

	err = discover_scan(host, 0);
	if (err)
		return err;
	for (size_t i = 0; i < host->vm_count; i++) {
		int r = rank(&host->vms[i]->info, selector);

		if (!r || r < best)
			continue;
		fits = r == best ? fits + 1 : 1;
		best = r;
		found = host->vms[i];
	}
	if (!found)
		return -ESRCH;
	if (fits > 1)
		return -ENOTUNIQ;
	return ka_open_key(host, found->info.key, flags, ret_vm);
}

void ka_close(struct ka_vm *vm)
{
	if (!vm)
		return;
	if (vm->vm) {
		struct ka_vm **at = &vm->vm->handle;

		writes_end(vm, vm->vm->kvm);
		while (*at != vm)
			at = &(*at)->next;
		*at = vm->next;
		if (!vm->vm->handle)
			unwatch(vm->host, vm->vm);
	}
	handle_free(vm);
}

const struct ka_vm_info *ka_vm_info(const struct ka_vm *vm)
{
	return vm->vm ? &vm->vm->info : &vm->info;
}

int ka_vm_relabel(struct ka_vm *vm)
{
	struct ka_vm_info info = *ka_vm_info(vm);

	if (!vm->vm || identity_read(info.pid, &info))
		return -EOWNERDEAD;
	/* Who it is stays. */
	memcpy(vm->vm->info.labels, info.labels, sizeof(info.labels));
	return 0;
}

int ka_vm_memslots(struct ka_vm *vm, const struct ka_memslot **ret_slots, size_t *ret_count)
{
	int err = registers_refresh(vm);

	if (err)
		return err;
	*ret_slots = vm->vm->memslots;
	*ret_count = vm->vm->memslot_count;
	return 0;
}

const char *ka_version(void)
{
	return KVMBPF_VERSION;
}
