// SPDX-License-Identifier: LGPL-2.1-or-later
/* The VMM of the tiny guests: KVM's ioctls, and one thread per vCPU. */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest_image.h"

enum {
	TSS_ADDRESS = 0xfffbd000,
	IDENTITY_MAP_ADDRESS = 0xfffbc000,
	CPUID_ENTRIES = 256,
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP = 0x175,
	MSR_SYSENTER_EIP = 0x176,
	MSR_STAR = 0xc0000081,
	MSR_LSTAR = 0xc0000082,
	MSR_CSTAR = 0xc0000083,
	MSR_SFMASK = 0xc0000084,
	SYSCALL_MSRS = 7,
};

/* KVM's variable-sized arguments, with room for their entries. */
union cpuid {
	struct kvm_cpuid2 header;
	uint8_t room[sizeof(struct kvm_cpuid2) + CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2)];
};

union syscall_msrs {
	struct kvm_msrs header;
	uint8_t room[sizeof(struct kvm_msrs) + SYSCALL_MSRS * sizeof(struct kvm_msr_entry)];
};

static int xioctl(int fd, unsigned long request, void *arg)
{
	int rc = ioctl(fd, request, arg);

	return rc < 0 ? -errno : rc;
}

static int xioctl_value(int fd, unsigned long request, unsigned long arg)
{
	int rc = ioctl(fd, request, arg);

	return rc < 0 ? -errno : rc;
}

/* ---- a vCPU's thread ---- */

static uint8_t *mailbox(const struct machine *machine, unsigned int vcpu)
{
	return machine->ram + GUEST_MAILBOX + (uint64_t)vcpu * GUEST_STRIDE;
}

static uint64_t mailbox_get(const struct machine *machine, unsigned int vcpu, unsigned int offset)
{
	return __atomic_load_n((uint64_t *)(mailbox(machine, vcpu) + offset), __ATOMIC_ACQUIRE);
}

static void mailbox_set(struct machine *machine, unsigned int vcpu, unsigned int offset,
			uint64_t value)
{
	__atomic_store_n((uint64_t *)(mailbox(machine, vcpu) + offset), value, __ATOMIC_RELEASE);
}

static bool vcpu_has_work(const struct machine_vcpu *vcpu)
{
	const struct machine *machine = vcpu->machine;

	return !mailbox_get(machine, vcpu->id, MAILBOX_REACHED) ||
	       mailbox_get(machine, vcpu->id, MAILBOX_SEQ) !=
		       mailbox_get(machine, vcpu->id, MAILBOX_DONE);
}

/* Out of a HLT in which KVM itself waits: there is no device that could send an interrupt. */
static void vcpu_wake(struct machine_vcpu *vcpu)
{
	struct kvm_mp_state state = { .mp_state = KVM_MP_STATE_RUNNABLE };

	if (vcpu->machine->options->irqchip)
		xioctl(vcpu->fd, KVM_SET_MP_STATE, &state);
}

static void vcpu_fail(struct machine_vcpu *vcpu, int error)
{
	uint64_t one = 1;

	fprintf(stderr, "tinyvm: vCPU %u stopped: %s, exit reason %u, detail %#llx\n", vcpu->id,
		strerror(-error), vcpu->run->exit_reason,
		(unsigned long long)vcpu->run->hw.hardware_exit_reason);
	vcpu->machine->quit = true;
	if (write(vcpu->machine->failed_fd, &one, sizeof(one)) < 0)
		abort();
}

/* Under the lock, which it leaves while the guest runs. */
static void vcpu_run_once(struct machine_vcpu *vcpu)
{
	struct machine *machine = vcpu->machine;
	int error;

	vcpu->in_run = true;
	pthread_mutex_unlock(&machine->lock);
	error = xioctl_value(vcpu->fd, KVM_RUN, 0);
	pthread_mutex_lock(&machine->lock);
	vcpu->in_run = false;
	vcpu->runs++;
	vcpu->run->immediate_exit = 0;
	pthread_cond_broadcast(&machine->changed);
	if (error == -EINTR || error == -EAGAIN)
		vcpu_wake(vcpu);
	else if (error < 0 || vcpu->run->exit_reason != KVM_EXIT_HLT)
		vcpu_fail(vcpu, error);
}

static void *vcpu_main(void *arg)
{
	struct machine_vcpu *vcpu = arg;
	struct machine *machine = vcpu->machine;

	pthread_mutex_lock(&machine->lock);
	while (!machine->quit) {
		/* With KVM's irqchip the guest is left to wait in KVM_RUN, as under QEMU. */
		if (machine->paused || (!machine->options->irqchip && !vcpu_has_work(vcpu)))
			pthread_cond_wait(&machine->changed, &machine->lock);
		else
			vcpu_run_once(vcpu);
	}
	pthread_mutex_unlock(&machine->lock);
	return NULL;
}

/* Under the lock. */
static void vcpu_kick(struct machine_vcpu *vcpu)
{
	if (!vcpu->started || !vcpu->in_run)
		return;
	vcpu->run->immediate_exit = 1;
	pthread_kill(vcpu->thread, SIGUSR1);
}

void machine_pause(struct machine *machine)
{
	pthread_mutex_lock(&machine->lock);
	machine->paused = true;
	for (unsigned int i = 0; i < machine->options->vcpus; i++) {
		vcpu_kick(&machine->vcpu[i]);
		while (machine->vcpu[i].in_run)
			pthread_cond_wait(&machine->changed, &machine->lock);
	}
	pthread_mutex_unlock(&machine->lock);
}

void machine_resume(struct machine *machine)
{
	pthread_mutex_lock(&machine->lock);
	machine->paused = false;
	pthread_cond_broadcast(&machine->changed);
	pthread_mutex_unlock(&machine->lock);
}

void machine_settle(struct machine *machine, unsigned int vcpu)
{
	struct machine_vcpu *settled = &machine->vcpu[vcpu];
	unsigned long runs;

	pthread_mutex_lock(&machine->lock);
	runs = settled->runs;
	/* Elsewhere HLT ends KVM_RUN. */
	if (machine->options->irqchip)
		vcpu_kick(settled);
	while (settled->in_run && settled->runs == runs && !machine->quit)
		pthread_cond_wait(&machine->changed, &machine->lock);
	pthread_mutex_unlock(&machine->lock);
}

uint64_t machine_post(struct machine *machine, unsigned int vcpu, uint64_t command,
		      const uint64_t *args, size_t count)
{
	uint64_t seq = mailbox_get(machine, vcpu, MAILBOX_SEQ) + 1;

	mailbox_set(machine, vcpu, MAILBOX_STOP, 0);
	mailbox_set(machine, vcpu, MAILBOX_COUNT, 0);
	mailbox_set(machine, vcpu, MAILBOX_COMMAND, command);
	for (size_t i = 0; i < count; i++)
		mailbox_set(machine, vcpu, MAILBOX_ARG + 8 * i, args[i]);
	pthread_mutex_lock(&machine->lock);
	mailbox_set(machine, vcpu, MAILBOX_SEQ, seq);
	vcpu_kick(&machine->vcpu[vcpu]);
	pthread_cond_broadcast(&machine->changed);
	pthread_mutex_unlock(&machine->lock);
	return seq;
}

int machine_reached(const struct machine *machine)
{
	if (machine->options->mode == TINYVM_RESET)
		return 1;
	for (unsigned int i = 0; i < machine->options->vcpus; i++) {
		if (mailbox_get(machine, i, MAILBOX_FAULT))
			return -EIO;
		if (!mailbox_get(machine, i, MAILBOX_REACHED))
			return 0;
	}
	return 1;
}

/* ---- registers ---- */

static void syscall_msrs_init(union syscall_msrs *msrs)
{
	static const uint32_t indices[SYSCALL_MSRS] = {
		MSR_LSTAR,	 MSR_CSTAR,	   MSR_STAR,	    MSR_SFMASK,
		MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP
	};

	memset(msrs, 0, sizeof(*msrs));
	msrs->header.nmsrs = SYSCALL_MSRS;
	for (unsigned int i = 0; i < SYSCALL_MSRS; i++)
		msrs->header.entries[i].index = indices[i];
}

int machine_registers(struct machine *machine, unsigned int vcpu,
		      struct tinyvm_registers *ret_registers)
{
	struct tinyvm_registers registers = { 0 };
	union syscall_msrs msrs;
	int fd = machine->vcpu[vcpu].fd;
	int rc = xioctl(fd, KVM_GET_REGS, &registers.regs);

	if (rc >= 0)
		rc = xioctl(fd, KVM_GET_SREGS, &registers.sregs);
	if (rc >= 0)
		rc = xioctl(fd, KVM_GET_DEBUGREGS, &registers.debug);
	if (rc < 0)
		return rc;
	syscall_msrs_init(&msrs);
	rc = xioctl(fd, KVM_GET_MSRS, &msrs);
	if (rc != SYSCALL_MSRS)
		return rc < 0 ? rc : -EIO;
	registers.lstar = msrs.header.entries[0].data;
	registers.cstar = msrs.header.entries[1].data;
	registers.star = msrs.header.entries[2].data;
	registers.sfmask = msrs.header.entries[3].data;
	registers.sysenter_cs = msrs.header.entries[4].data;
	registers.sysenter_esp = msrs.header.entries[5].data;
	registers.sysenter_eip = msrs.header.entries[6].data;
	*ret_registers = registers;
	return 0;
}

static int vcpu_set_msrs(struct machine_vcpu *vcpu)
{
	enum tinyvm_mode mode = vcpu->machine->options->mode;
	union syscall_msrs msrs;
	int rc;

	if (!tinyvm_mode_64bit(mode))
		return 0;
	syscall_msrs_init(&msrs);
	msrs.header.entries[0].data = guest_image_syscall(mode);
	msrs.header.entries[1].data = guest_image_syscall(mode);
	msrs.header.entries[2].data = 0x23ull << 48 | 0x10ull << 32;  /* as Linux */
	msrs.header.entries[3].data = 0x257fd5;
	msrs.header.entries[4].data = 0x10;
	msrs.header.entries[5].data = tinyvm_gva(mode, GUEST_STACK + vcpu->id * GUEST_STRIDE);
	msrs.header.entries[6].data = guest_image_syscall(mode);
	rc = xioctl(vcpu->fd, KVM_SET_MSRS, &msrs);
	return rc == SYSCALL_MSRS ? 0 : rc < 0 ? rc : -EIO;
}

static int vcpu_set_sregs(struct machine_vcpu *vcpu)
{
	struct kvm_sregs wanted, got;
	int rc = xioctl(vcpu->fd, KVM_GET_SREGS, &wanted);

	if (rc < 0)
		return rc;
	guest_image_sregs(vcpu->machine->options->mode, vcpu->id, &wanted);
	rc = xioctl(vcpu->fd, KVM_SET_SREGS, &wanted);
	/* PVM has LA57 in its CPUID and refuses it in CR4. */
	if (rc == -EINVAL && vcpu->machine->options->mode == TINYVM_5LEVEL)
		return -EOPNOTSUPP;
	if (rc >= 0)
		rc = xioctl(vcpu->fd, KVM_GET_SREGS, &got);
	if (rc < 0)
		return rc;
	/* It also drops, without an error, paging outside of long mode. */
	if (got.cr0 != wanted.cr0 || got.cr4 != wanted.cr4 || got.efer != wanted.efer)
		return -EOPNOTSUPP;
	return 0;
}

/* ---- construction ---- */

static bool cpuid_has_la57(const union cpuid *cpuid)
{
	for (unsigned int i = 0; i < cpuid->header.nent; i++) {
		const struct kvm_cpuid_entry2 *entry = &cpuid->header.entries[i];

		if (entry->function == 7 && entry->index == 0)
			return entry->ecx & 1 << 16;
	}
	return false;
}

static int cpuid_read(int kvm, const struct tinyvm_options *options, union cpuid *ret_cpuid)
{
	int rc;

	memset(ret_cpuid, 0, sizeof(*ret_cpuid));
	ret_cpuid->header.nent = CPUID_ENTRIES;
	rc = xioctl(kvm, KVM_GET_SUPPORTED_CPUID, ret_cpuid);
	if (rc < 0)
		return rc;
	return options->mode == TINYVM_5LEVEL && !cpuid_has_la57(ret_cpuid) ? -EOPNOTSUPP : 0;
}

static int vcpu_create(struct machine *machine, unsigned int id, union cpuid *cpuid)
{
	struct machine_vcpu *vcpu = &machine->vcpu[id];
	struct kvm_regs regs;
	int rc = xioctl_value(machine->fd, KVM_CREATE_VCPU, id);

	if (rc < 0)
		return rc;
	vcpu->machine = machine;
	vcpu->id = id;
	vcpu->fd = rc;
	vcpu->run = mmap(NULL, machine->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		return -errno;
	}
	rc = xioctl(vcpu->fd, KVM_SET_CPUID2, cpuid);
	if (rc < 0 || machine->options->mode == TINYVM_RESET)
		return rc;
	rc = vcpu_set_sregs(vcpu);
	if (!rc)
		rc = vcpu_set_msrs(vcpu);
	if (rc)
		return rc;
	guest_image_regs(machine->options->mode, id, &regs);
	rc = xioctl(vcpu->fd, KVM_SET_REGS, &regs);
	vcpu_wake(vcpu);
	return rc;
}

static int vcpu_start(struct machine_vcpu *vcpu)
{
	int rc = -pthread_create(&vcpu->thread, NULL, vcpu_main, vcpu);

	vcpu->started = !rc;
	return rc;
}

static int ram_create(struct machine *machine)
{
	uint64_t size = machine->options->memory;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *ram;

	if (machine->options->backing == TINYVM_MEMFD) {
		flags = MAP_SHARED;
		machine->ram_fd = memfd_create("tinyvm-ram", MFD_CLOEXEC);
		if (machine->ram_fd < 0 || ftruncate(machine->ram_fd, size) < 0)
			return -errno;
	}
	ram = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, machine->ram_fd, 0);
	if (ram == MAP_FAILED)
		return -errno;
	machine->ram = ram;
	guest_image_write(ram, machine->options->mode, machine->options->vcpus);
	return 0;
}

int machine_set_slot(struct machine *machine, const struct tinyvm_slot *slot)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot->id,
		.flags = slot->flags,
		.guest_phys_addr = slot->gpa,
		.memory_size = slot->size,
		.userspace_addr = (uintptr_t)machine->ram + slot->ram_offset,
	};

	return xioctl(machine->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static int slots_create(struct machine *machine)
{
	struct tinyvm_slot slot[TINYVM_SLOTS_MAX];
	size_t count = tinyvm_slots(machine->options, slot);

	for (size_t i = 0; i < count; i++) {
		int rc = machine_set_slot(machine, &slot[i]);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int vm_create(struct machine *machine, int kvm)
{
	uint64_t identity = IDENTITY_MAP_ADDRESS;
	int rc = xioctl_value(kvm, KVM_CREATE_VM, 0);

	if (rc < 0)
		return rc;
	machine->fd = rc;
	/* Intel needs both for real mode; elsewhere they do nothing. */
	rc = xioctl_value(machine->fd, KVM_SET_TSS_ADDR, TSS_ADDRESS);
	if (rc >= 0)
		rc = xioctl(machine->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	if (rc >= 0 && machine->options->irqchip)
		rc = xioctl_value(machine->fd, KVM_CREATE_IRQCHIP, 0);
	return rc < 0 ? rc : 0;
}

static int vcpus_create(struct machine *machine, int kvm)
{
	unsigned int vcpus = machine->options->vcpus;
	union cpuid *cpuid = malloc(sizeof(*cpuid));
	int rc = cpuid ? cpuid_read(kvm, machine->options, cpuid) : -ENOMEM;

	for (unsigned int i = 0; !rc && i < vcpus; i++)
		rc = vcpu_create(machine, i, cpuid);
	for (unsigned int i = 0; !rc && machine->options->mode != TINYVM_RESET && i < vcpus; i++)
		rc = vcpu_start(&machine->vcpu[i]);
	free(cpuid);
	return rc;
}

int machine_create(int kvm, const struct tinyvm_options *options, int failed_fd,
		   struct machine **ret_machine)
{
	struct machine *machine = calloc(1, sizeof(*machine));
	int run_size = xioctl_value(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), rc;

	if (!machine)
		return -ENOMEM;
	machine->options = options;
	machine->fd = machine->ram_fd = -1;
	machine->failed_fd = failed_fd;
	machine->run_size = run_size;
	pthread_mutex_init(&machine->lock, NULL);
	pthread_cond_init(&machine->changed, NULL);
	for (unsigned int i = 0; i < GUEST_VCPUS_MAX; i++)
		machine->vcpu[i].fd = -1;
	rc = run_size < 0 ? run_size : ram_create(machine);
	if (!rc)
		rc = vm_create(machine, kvm);
	if (!rc)
		rc = slots_create(machine);
	if (!rc)
		rc = vcpus_create(machine, kvm);
	if (rc) {
		machine_destroy(machine);
		return rc;
	}
	*ret_machine = machine;
	return 0;
}

static void vcpu_destroy(struct machine_vcpu *vcpu)
{
	if (vcpu->started)
		pthread_join(vcpu->thread, NULL);
	if (vcpu->run)
		munmap(vcpu->run, vcpu->machine->run_size);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
}

void machine_destroy(struct machine *machine)
{
	if (!machine)
		return;
	pthread_mutex_lock(&machine->lock);
	machine->quit = true;
	for (unsigned int i = 0; i < GUEST_VCPUS_MAX; i++)
		vcpu_kick(&machine->vcpu[i]);
	pthread_cond_broadcast(&machine->changed);
	pthread_mutex_unlock(&machine->lock);
	for (unsigned int i = 0; i < GUEST_VCPUS_MAX; i++)
		vcpu_destroy(&machine->vcpu[i]);
	if (machine->fd >= 0)
		close(machine->fd);
	if (machine->ram)
		munmap(machine->ram, machine->options->memory);
	if (machine->ram_fd >= 0)
		close(machine->ram_fd);
	pthread_mutex_destroy(&machine->lock);
	pthread_cond_destroy(&machine->changed);
	free(machine);
}
