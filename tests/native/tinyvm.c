// SPDX-License-Identifier: LGPL-2.1-or-later
/* The tests' side of the tiny guests: starts the program beside the test and talks to it. */
#define _GNU_SOURCE
#include "tinyvm.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

/* ---- starting ---- */

enum { ARGUMENTS_MAX = 32, NUMBER_MAX = 24, CONTROL_FD = 3 };

struct arguments {
	char *argv[ARGUMENTS_MAX];
	char number[8][NUMBER_MAX];
	char name[160];
	unsigned int argc, numbers;
};

static void add_number(struct arguments *arguments, char *option, uint64_t value)
{
	char *number = arguments->number[arguments->numbers++];

	snprintf(number, NUMBER_MAX, "%llu", (unsigned long long)value);
	arguments->argv[arguments->argc++] = option;
	arguments->argv[arguments->argc++] = number;
}

static void add_string(struct arguments *arguments, char *option, const char *value)
{
	arguments->argv[arguments->argc++] = option;
	arguments->argv[arguments->argc++] = (char *)value;
}

static void build_arguments(const struct tinyvm_options *options, struct arguments *ret_arguments)
{
	struct arguments *arguments = ret_arguments;

	arguments->argv[arguments->argc++] = "tinyvm";
	/* Without them a name is not taken for QEMU's. */
	if (options->name || options->uuid) {
		add_string(arguments, "-accel", "kvm");
		arguments->argv[arguments->argc++] = "-nodefaults";
	}
	if (options->name) {
		snprintf(arguments->name, sizeof(arguments->name), "guest=%s", options->name);
		add_string(arguments, "-name", arguments->name);
	}
	if (options->uuid)
		add_string(arguments, "-uuid", options->uuid);
	add_string(arguments, "--mode", tinyvm_mode_name(options->mode));
	add_string(arguments, "--backing", options->backing == TINYVM_MEMFD ? "memfd" : "anon");
	add_number(arguments, "--vms", options->vms);
	add_number(arguments, "--vcpus", options->vcpus);
	add_number(arguments, "--slots", options->slots);
	add_number(arguments, "--memory", options->memory);
	add_number(arguments, "--hole", options->hole);
	if (options->irqchip)
		arguments->argv[arguments->argc++] = "--irqchip";
	add_number(arguments, "--control-fd", CONTROL_FD);
}

/* In the child: nothing of the test's goes along but standard output and the socket. */
static void exec_program(struct arguments *arguments, int control)
{
	char self[PATH_MAX], path[PATH_MAX + 8];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	sigset_t none;

	if (len < 0)
		_exit(127);
	self[len] = '\0';
	snprintf(path, sizeof(path), "%s/tinyvm", dirname(self));
	/* A copy first: dup2() onto itself would leave it close-on-exec. */
	control = dup(control);
	if (control < 0 || dup2(control, CONTROL_FD) < 0)
		_exit(127);
	close_range(CONTROL_FD + 1, ~0u, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(path, arguments->argv);
	_exit(127);
}

static int receive(struct tinyvm *vm, struct tinyvm_reply *ret_reply)
{
	struct pollfd fd = { .fd = vm->control, .events = POLLIN };
	struct tinyvm_reply reply;
	int rc;

	do {
		rc = poll(&fd, 1, TINYVM_DEADLINE_MS + 5000);
	} while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return -ETIMEDOUT;
	if (recv(vm->control, &reply, sizeof(reply), 0) != sizeof(reply))
		return -EPIPE;
	if (reply.error)
		return reply.error;
	*ret_reply = reply;
	return 0;
}

int tinyvm_start(const struct tinyvm_options *options, struct tinyvm *ret_vm)
{
	struct tinyvm vm = { .options = *options };
	struct tinyvm_reply reply;
	struct arguments arguments = { 0 };
	int fd[2], rc = tinyvm_options_complete(&vm.options);

	if (rc)
		return rc;
	build_arguments(&vm.options, &arguments);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) < 0)
		return -errno;
	vm.pid = fork();
	if (vm.pid == 0)
		exec_program(&arguments, fd[1]);
	rc = vm.pid < 0 ? -errno : 0;
	close(fd[1]);
	vm.control = fd[0];
	if (rc) {
		close(fd[0]);
		return rc;
	}
	rc = receive(&vm, &reply);
	if (rc) {
		tinyvm_kill(&vm);
		return rc;
	}
	vm.ram = reply.value;
	vm.slots = tinyvm_slots(&vm.options, vm.slot);
	*ret_vm = vm;
	return 0;
}

void tinyvm_kill(struct tinyvm *vm)
{
	if (vm->pid <= 0)
		return;
	kill(vm->pid, SIGKILL);
	while (waitpid(vm->pid, NULL, 0) < 0 && errno == EINTR)
		;
	close(vm->control);
	vm->pid = 0;
	vm->control = -1;
}

/* ---- requests ---- */

int tinyvm_request(struct tinyvm *vm, const struct tinyvm_request *request,
		   struct tinyvm_reply *ret_reply)
{
	if (send(vm->control, request, sizeof(*request), MSG_NOSIGNAL) < 0)
		return -EPIPE;
	return receive(vm, ret_reply);
}

int tinyvm_ask(struct tinyvm *vm, enum tinyvm_op op, const uint64_t *args, size_t count,
	       uint64_t *ret_value)
{
	struct tinyvm_request request = { .op = op };
	struct tinyvm_reply reply;
	int rc;

	if (count)
		memcpy(request.arg, args, count * sizeof(*args));
	rc = tinyvm_request(vm, &request, &reply);
	if (!rc && ret_value)
		*ret_value = reply.value;
	return rc;
}

int tinyvm_registers(struct tinyvm *vm, unsigned int vcpu, struct tinyvm_registers *ret_registers)
{
	struct tinyvm_request request = { .op = TINYVM_OP_REGISTERS, .vcpu = vcpu };
	struct tinyvm_reply reply;
	int rc = tinyvm_request(vm, &request, &reply);

	if (!rc)
		*ret_registers = reply.registers;
	return rc;
}

static void slot_remember(struct tinyvm *vm, const struct tinyvm_slot *slot)
{
	size_t i = 0;

	while (i < vm->slots && vm->slot[i].id != slot->id)
		i++;
	if (slot->size) {
		vm->slot[i] = *slot;
		vm->slots += i == vm->slots;
	} else if (i < vm->slots) {
		vm->slot[i] = vm->slot[--vm->slots];
	}
}

int tinyvm_set_slot(struct tinyvm *vm, const struct tinyvm_slot *slot)
{
	uint64_t args[] = { slot->id, slot->flags, slot->gpa, slot->size, slot->ram_offset };
	int rc = vm->slots == TINYVM_SLOTS_MAX ? -ENOSPC
					       : tinyvm_ask(vm, TINYVM_OP_SET_SLOT, args, 5, NULL);

	if (!rc)
		slot_remember(vm, slot);
	return rc;
}

/* ---- the guest's vCPUs ---- */

int tinyvm_command(struct tinyvm *vm, unsigned int vcpu, uint64_t command, const uint64_t *args,
		   size_t count)
{
	struct tinyvm_request request = { .op = TINYVM_OP_COMMAND, .vcpu = vcpu,
					  .arg = { command } };
	struct tinyvm_reply reply;

	if (count)
		memcpy(request.arg + 1, args, count * sizeof(*args));
	return tinyvm_request(vm, &request, &reply);
}

static uint64_t mailbox_gpa(unsigned int vcpu, uint64_t offset)
{
	return GUEST_MAILBOX + (uint64_t)vcpu * GUEST_STRIDE + offset;
}

uint64_t tinyvm_mailbox(struct tinyvm *vm, unsigned int vcpu, uint64_t offset)
{
	return tinyvm_peek64(vm, mailbox_gpa(vcpu, offset));
}

/* Until the mailbox says `count` rounds (done: that the command is done). */
static int wait_mailbox(struct tinyvm *vm, unsigned int vcpu, bool done, uint64_t count)
{
	uint64_t deadline = now_ms() + TINYVM_DEADLINE_MS, box[MAILBOX_ARG / 8];
	struct timespec pause = { .tv_nsec = 200000 };

	for (;;) {
		int rc = tinyvm_peek(vm, mailbox_gpa(vcpu, 0), box, sizeof(box));

		if (rc)
			return rc;
		if (box[MAILBOX_FAULT / 8])
			return -EIO;
		if (done ? box[MAILBOX_DONE / 8] == box[MAILBOX_SEQ / 8]
			 : box[MAILBOX_COUNT / 8] >= count)
			return 0;
		if (now_ms() > deadline)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
}

int tinyvm_wait(struct tinyvm *vm, unsigned int vcpu)
{
	struct tinyvm_request settle = { .op = TINYVM_OP_SETTLE, .vcpu = vcpu };
	struct tinyvm_reply reply;
	int rc = wait_mailbox(vm, vcpu, true, 0);

	/* Until then the library sees the registers of the exit before. */
	return rc ? rc : tinyvm_request(vm, &settle, &reply);
}

int tinyvm_wait_count(struct tinyvm *vm, unsigned int vcpu, uint64_t count)
{
	return wait_mailbox(vm, vcpu, false, count);
}

int tinyvm_stop(struct tinyvm *vm, unsigned int vcpu)
{
	tinyvm_poke64(vm, mailbox_gpa(vcpu, MAILBOX_STOP), 1);
	return tinyvm_wait(vm, vcpu);
}

int tinyvm_do(struct tinyvm *vm, unsigned int vcpu, uint64_t command, uint64_t arg0, uint64_t arg1)
{
	uint64_t args[] = { arg0, arg1 };
	int rc = tinyvm_command(vm, vcpu, command, args, 2);

	return rc ? rc : tinyvm_wait(vm, vcpu);
}

/* ---- the guest's memory ---- */

static int hva_of(const struct tinyvm *vm, uint64_t gpa, size_t len, uint64_t *ret_hva)
{
	for (size_t i = 0; i < vm->slots; i++) {
		const struct tinyvm_slot *slot = &vm->slot[i];

		if (gpa < slot->gpa || gpa - slot->gpa + len > slot->size)
			continue;
		*ret_hva = vm->ram + slot->ram_offset + (gpa - slot->gpa);
		return 0;
	}
	return -ENXIO;
}

int tinyvm_peek(struct tinyvm *vm, uint64_t gpa, void *buf, size_t len)
{
	uint64_t hva;
	struct iovec local = { .iov_base = buf, .iov_len = len }, remote = { .iov_len = len };

	if (hva_of(vm, gpa, len, &hva))
		return -ENXIO;
	remote.iov_base = (void *)(uintptr_t)hva;
	if (process_vm_readv(vm->pid, &local, 1, &remote, 1, 0) == (ssize_t)len)
		return 0;
	return errno == ESRCH ? -EPIPE : -EFAULT;
}

int tinyvm_poke(struct tinyvm *vm, uint64_t gpa, const void *data, size_t len)
{
	uint64_t hva;
	struct iovec local = { .iov_base = (void *)data, .iov_len = len };
	struct iovec remote = { .iov_len = len };

	if (hva_of(vm, gpa, len, &hva))
		return -ENXIO;
	remote.iov_base = (void *)(uintptr_t)hva;
	if (process_vm_writev(vm->pid, &local, 1, &remote, 1, 0) == (ssize_t)len)
		return 0;
	return errno == ESRCH ? -EPIPE : -EFAULT;
}

uint64_t tinyvm_peek64(struct tinyvm *vm, uint64_t gpa)
{
	uint64_t value = 0;

	tinyvm_peek(vm, gpa, &value, sizeof(value));
	return value;
}

void tinyvm_poke64(struct tinyvm *vm, uint64_t gpa, uint64_t value)
{
	tinyvm_poke(vm, gpa, &value, sizeof(value));
}
