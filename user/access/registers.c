// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reads vCPU registers: pulls them into the shared map, and copies them out of it. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "prefetch.h"
#include "registers.h"

enum {
	SEQ_RETRIES = 1000,   /* a writer holds the sequence lock for well under a microsecond */
	PULL_RETRIES = 3,
	PREFETCHED_VCPUS = 8,
};

enum { CR0_PE = 1 << 0 };
#define CR0_PG (1ULL << 31)
#define EFER_LMA (1ULL << 10)

/* CPU_ENTRY_AREA_RO_IDT: fixed since 4.15 (92a0f81d8957, "x86/cpu_entry_area: Move it out of the
 * fixmap"). */
#define LINUX_IDT 0xfffffe0000000000ULL

/* How old the last exit of a vCPU in the guest may be: ten ticks of the slowest host. */
#define RUNNING_NS (100ULL * 1000 * 1000)

void registers_from_state(const struct kvmbpf_vcpu *state, struct ka_registers *ret_registers)
{
	struct ka_registers *r = ret_registers;

	*r = (struct ka_registers){
		.vcpu = state->vcpu_id,
		.time_ns = state->time_ns,
		.rip = state->rip,
		.rflags = state->rflags,
		.cr0 = state->cr0,
		.cr2 = state->cr2,
		.cr3 = state->cr3,
		.cr4 = state->cr4,
		.efer = state->efer,
		.gdtr = { state->gdtr.base, state->gdtr.limit },
		.idtr = { state->idtr.base, state->idtr.limit },
		.lstar = state->lstar,
		.cstar = state->cstar,
		.star = state->star,
		.sfmask = state->sfmask,
		.sysenter_cs = state->sysenter_cs,
		.sysenter_esp = state->sysenter_esp,
		.sysenter_eip = state->sysenter_eip,
		.fs_base = state->fs_base,
		.gs_base = state->gs_base,
		.kernel_gs_base = state->kernel_gs_base,
		.dr7 = state->dr7,
		.cpl = state->cpl,
	};
	memcpy(r->gpr, state->gpr, sizeof(r->gpr));
	memcpy(r->selector, state->selector, sizeof(r->selector));
	memcpy(r->dr, state->dr, sizeof(r->dr));
	if (state->flags & KVMBPF_VCPU_NESTED)
		r->flags |= KA_REGISTERS_NESTED;
	if (state->flags & KVMBPF_VCPU_SMM)
		r->flags |= KA_REGISTERS_SMM;
	if (state->flags & KVMBPF_VCPU_ENCRYPTED)
		r->flags |= KA_REGISTERS_ENCRYPTED;
	if (state->flags & KVMBPF_VCPU_NO_MSRS)
		r->flags |= KA_REGISTERS_NO_MSRS;
	if (state->flags & KVMBPF_VCPU_WP_SAMPLED)
		r->flags |= KA_REGISTERS_WP_SAMPLED;
	if (state->flags & KVMBPF_VCPU_NO_VMCS)
		r->flags |= KA_REGISTERS_NO_VMCS;
	if (state->flags & KVMBPF_VCPU_NO_WP)
		r->flags |= KA_REGISTERS_NO_WP;
	if (state->vendor == KVMBPF_VENDOR_SVM)
		r->flags |= KA_REGISTERS_SYSENTER_LOW;
}

void registers_complete(struct ka_vm *vm, struct ka_registers *registers)
{
	if (!(registers->flags & KA_REGISTERS_NO_VMCS))
		return;
	/* The first vCPU is in real mode: what boots next has page tables of its own. */
	if (!registers->vcpu && !(registers->cr0 & CR0_PG))
		vm->root = 0;
	registers->cr3 = vm->root;
	if (ka_long_mode(registers))
		registers->idtr = (struct ka_table_register){ LINUX_IDT, KA_IDT_MAX * 16 - 1 };
}

int state_copy(const struct kvmbpf_vcpu *state, struct kvmbpf_vcpu *ret_copy)
{
	for (int try = 0; try < SEQ_RETRIES; try++) {
		uint32_t seq = __atomic_load_n(&state->seq, __ATOMIC_ACQUIRE);

		if (seq & 1)
			continue;
		memcpy(ret_copy, state, sizeof(*ret_copy));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&state->seq, __ATOMIC_RELAXED) == seq)
			return 0;
	}
	return -EAGAIN;
}

/* The address of a VM that ended may be the one of the process's next VM. */
static bool state_of(const struct kvmbpf_vcpu *state, const struct host_vm *vm)
{
	return state->kvm == vm->kvm && state->clock_offset == vm->clock_offset;
}

/*
 * Of this VM, and written since the last pull began: what is older was not read now. A VMCS is read
 * at exits only, and a vCPU that is in the guest has none between two ticks of the host.
 */
static bool state_fresh(const struct ka_vm *vm, const struct kvmbpf_vcpu *state)
{
	uint64_t since = vm->pulled_ns;

	if (host_reads_vmcs(vm->host))
		since -= RUNNING_NS;
	return state_of(state, vm->vm) && state->time_ns >= since;
}

static void pull_add(struct ka_host *host, const struct host_vcpu *vcpu, unsigned int *count)
{
	if (vcpu->slot == NO_SLOT)
		return;
	host->pulls[(*count)++] = (struct kvmbpf_pull){
		.vcpu = vcpu->vcpu,
		.slot = (uint32_t)vcpu->slot,
	};
}

/* What is pointed at must be there first. */
static void pull_prefetch(struct ka_vm *const *vms, size_t left)
{
	enum { VM = 6, FOUND = 4, VCPUS = 2, BYTES = 64 };

	if (left > VM)
		prefetch(vms[VM], BYTES);
	if (left > FOUND && vms[FOUND]->vm)
		prefetch(vms[FOUND]->vm, BYTES);
	if (left > VCPUS && vms[VCPUS]->vm)
		prefetch(vms[VCPUS]->vm->vcpus, BYTES);
}

/* Reads the vCPUs of these VMs, in as few calls as their number takes. */
static int pull(struct ka_host *host, struct ka_vm *const *vms, size_t count)
{
	uint64_t begin = now_ns();
	unsigned int pulls = 0;
	int err = 0;

	for (size_t i = 0; i < count && !err; i++) {
		pull_prefetch(vms + i, count - i);
		vms[i]->pulled_ns = begin;
		for (size_t j = 0; vms[i]->vm && j < vms[i]->vm->vcpu_count && !err; j++) {
			pull_add(host, &vms[i]->vm->vcpus[j], &pulls);
			if (pulls < KVMBPF_PULLS_MAX)
				continue;
			err = host_pull(host, pulls);
			pulls = 0;
		}
	}
	return err || !pulls ? err : host_pull(host, pulls);
}

int ka_registers_pull(struct ka_host *host, struct ka_vm *const *vms, size_t count)
{
	int err = pull(host, vms, count);

	for (size_t i = 0; i < count && !err; i++)
		vms[i]->pulled = true;
	return err;
}

void ka_vm_prefetch(const struct ka_vm *vm, unsigned int ahead)
{
	const struct host_vm *found = vm->vm;

	if (!found)
		return;
	if (!ahead) {
		windows_prefetch(&found->windows);
		return;
	}
	prefetch(found->windows.reads, sizeof(*found->windows.reads));
	prefetch(found->memslots, sizeof(*found->memslots));
	for (size_t i = 0; i < found->vcpu_count && i < PREFETCHED_VCPUS; i++)
		if (found->vcpus[i].slot != NO_SLOT)
			prefetch(&vm->host->states[found->vcpus[i].slot],
				 sizeof(*vm->host->states));
}

/*
 * Did the last pull read every vCPU, and are the VM's memslots and vCPUs as they were? A vCPU whose
 * state another program just held was written by that program, so it is as fresh.
 */
static bool pull_complete(const struct ka_vm *vm)
{
	const struct host_vm *found = vm->vm;

	for (size_t i = 0; i < found->vcpu_count; i++) {
		const struct kvmbpf_vcpu *state;

		if (found->vcpus[i].slot == NO_SLOT)
			return false;
		state = &vm->host->states[found->vcpus[i].slot];
		if (!state_fresh(vm, state) || state->generation != found->generation ||
		    state->online_vcpus != found->vcpu_count)
			return false;
	}
	return found->vcpu_count;
}

bool registers_pulled(const struct ka_vm *vm)
{
	return vm->pulled && pull_complete(vm);
}

static int refresh(struct ka_vm *vm)
{
	bool pulled = vm->pulled;
	int err;

	vm->pulled = false;
	for (int try = 0; try < PULL_RETRIES; try++) {
		if (!vm->vm)
			return -EOWNERDEAD;
		err = try || !pulled ? pull(vm->host, &vm, 1) : 0;
		if (err)
			return err;
		if (pull_complete(vm))
			return 0;
		/* vCPUs, memslots or the whole VM came or went. */
		err = discover_scan(vm->host, vm->info.pid);
		if (err)
			return err;
	}
	return vm->vm ? 0 : -EOWNERDEAD;
}

int registers_refresh(struct ka_vm *vm)
{
	int err = refresh(vm);

	if (err)
		return err;
	if (vm->host->map_ram)
		windows_refresh(vm->vm, vm->pulled_ns);
	return 0;
}

int ka_registers_read_all(struct ka_vm *vm, struct ka_registers *registers, size_t max,
			  size_t *ret_count)
{
	struct kvmbpf_vcpu state;
	size_t count = 0;
	int err;

	err = registers_refresh(vm);
	if (err)
		return err;
	for (size_t i = 0; i < vm->vm->vcpu_count && count < max; i++) {
		if (vm->vm->vcpus[i].slot == NO_SLOT)
			continue;
		if (state_copy(&vm->host->states[vm->vm->vcpus[i].slot], &state))
			continue;
		if (!state_fresh(vm, &state))
			continue;
		registers_from_state(&state, &registers[count]);
		registers_complete(vm, &registers[count++]);
	}
	*ret_count = count;
	return 0;
}

int ka_register_read(struct ka_vm *vm, unsigned int vcpu, struct ka_registers *ret_registers)
{
	struct kvmbpf_vcpu state;
	int err;

	err = registers_refresh(vm);
	if (err)
		return err;
	for (size_t i = 0; i < vm->vm->vcpu_count; i++) {
		if (vm->vm->vcpus[i].id != vcpu)
			continue;
		if (vm->vm->vcpus[i].slot == NO_SLOT)
			return -EOPNOTSUPP;
		err = state_copy(&vm->host->states[vm->vm->vcpus[i].slot], &state);
		if (!err && !state_fresh(vm, &state))
			err = -EAGAIN;
		if (err)
			return err;
		registers_from_state(&state, ret_registers);
		registers_complete(vm, ret_registers);
		return 0;
	}
	return -ESRCH;
}

int ka_registers_usable(const struct ka_registers *registers)
{
	if (registers->flags & KA_REGISTERS_ENCRYPTED)
		return -EOPNOTSUPP;
	if (registers->flags & (KA_REGISTERS_NESTED | KA_REGISTERS_SMM))
		return -EAGAIN;
	if (!(registers->cr0 & CR0_PE) || !(registers->cr0 & CR0_PG))
		return -EAGAIN;
	return 0;
}

bool ka_long_mode(const struct ka_registers *registers)
{
	return registers->efer & EFER_LMA;
}

struct ka_paging ka_paging(const struct ka_registers *registers)
{
	return (struct ka_paging){
		.root = registers->cr3,
		.mode = kvmbpf_paging_mode(registers->cr0, registers->cr4, registers->efer),
		.pse = !!(registers->cr4 & KVMBPF_CR4_PSE),
		.nx = !!(registers->efer & KVMBPF_EFER_NXE),
	};
}
