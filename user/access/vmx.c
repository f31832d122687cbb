// SPDX-License-Identifier: LGPL-2.1-or-later
/* Intel VMX: finds the MSRs that KVM keeps in memory, and wakes vCPUs whose VMCS was not read yet. */
#include <bpf/bpf.h>
#include <string.h>
#include <unistd.h>

#include "bpf/msrs.skel.h"
#include "bpf/snapshot.skel.h"
#include "helper.h"
#include "vmx.h"

/* More than a tick of the slowest host (CONFIG_HZ=100). */
enum { WAIT_STEP_US = 200, WAIT_STEPS = 60 };

void vmx_slots_find(uint8_t slots[KVMBPF_URET_MSRS])
{
	LIBBPF_OPTS(bpf_test_run_opts, options);
	struct msrs_bpf *skel = msrs_bpf__open_and_load();

	if (skel && !bpf_prog_test_run_opts(bpf_program__fd(skel->progs.find_slots), &options))
		memcpy(slots, skel->bss->slots, KVMBPF_URET_MSRS);
	msrs_bpf__destroy(skel);
}

static bool is_unseen(const struct ka_host *host, const struct host_vcpu *vcpu)
{
	return vcpu->slot != NO_SLOT &&
	       !__atomic_load_n(&host->states[vcpu->slot].time_ns, __ATOMIC_RELAXED);
}

static size_t unseen(const struct ka_host *host, const struct host_vm *vm)
{
	size_t count = 0;

	for (size_t i = 0; i < vm->vcpu_count; i++)
		count += is_unseen(host, &vm->vcpus[i]);
	return count;
}

static void wake(struct ka_host *host, const struct host_vm *vm, int fd)
{
	for (size_t i = 0; i < vm->vcpu_count; i++) {
		struct kvmbpf_wake_call call = { .fd = fd, .vcpu_id = vm->vcpus[i].id };
		LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &call,
			    .ctx_size_in = sizeof(call));

		if (is_unseen(host, &vm->vcpus[i]))
			bpf_prog_test_run_opts(bpf_program__fd(host->snapshot->progs.wake),
					       &options);
	}
}

void vmx_wake_unseen(struct ka_host *host, const struct host_vm *vm)
{
	int fd = unseen(host, vm) ? helper_vm_fd(vm) : -1;

	if (fd < 0)
		return;
	wake(host, vm, fd);
	close(fd);
	for (int i = 0; i < WAIT_STEPS && unseen(host, vm); i++)
		usleep(WAIT_STEP_US);
}
