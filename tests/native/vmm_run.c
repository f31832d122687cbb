// SPDX-License-Identifier: LGPL-2.1-or-later
/* The process around the tiny guests: starts them, serves the test's requests, ends on a signal. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "vmm.h"

struct process {
	const struct tinyvm_options *options;
	int kvm, control, signal_fd, failed_fd;
	struct machine **machine;  /* options->vms of them */
};

static void ignore_signal(int number)
{
	(void)number;
}

/* SIGUSR1 only interrupts KVM_RUN; what ends us comes through the signalfd. */
static int signals_open(void)
{
	struct sigaction action = { .sa_handler = ignore_signal };
	sigset_t set;

	sigaction(SIGUSR1, &action, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

static int wait_reached(struct process *process, struct machine *machine)
{
	uint64_t deadline = now_ms() + TINYVM_DEADLINE_MS;
	struct pollfd failed = { .fd = process->failed_fd, .events = POLLIN };
	int rc;

	while (!(rc = machine_reached(machine))) {
		if (now_ms() > deadline)
			return -ETIMEDOUT;
		if (poll(&failed, 1, 1) > 0)
			return -EIO;
	}
	return rc < 0 ? rc : 0;
}

static int start_machines(struct process *process)
{
	int rc = 0;

	for (unsigned int i = 0; !rc && i < process->options->vms; i++)
		rc = machine_create(process->kvm, process->options, process->failed_fd,
				    &process->machine[i]);
	for (unsigned int i = 0; !rc && i < process->options->vms; i++)
		rc = wait_reached(process, process->machine[i]);
	return rc;
}

/* A child that does nothing but hold the descriptors, as a VMM that forks a helper leaves one. */
static int64_t fork_holder(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		return -errno;
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == parent)
		pause();
	_exit(0);
}

static int64_t serve_process(struct process *process, const struct tinyvm_request *request)
{
	struct machine **machine = &process->machine[request->vm];

	switch (request->op) {
	case TINYVM_OP_DESTROY:
		machine_destroy(*machine);
		*machine = NULL;
		return 0;
	case TINYVM_OP_CREATE: {
		int rc = *machine ? -EEXIST
				  : machine_create(process->kvm, process->options,
						   process->failed_fd, machine);

		return rc ? rc : wait_reached(process, *machine);
	}
	case TINYVM_OP_FORK:
		return fork_holder();
	default:
		return -EINVAL;
	}
}

/* What is not there is waited for, until somebody brings it through the descriptor. */
static int64_t provide(void *start, uint64_t size)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register region = { .range = { (uintptr_t)start, size },
					  .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC), rc;

	if (fd < 0)
		return -errno;
	rc = ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &region) ? -errno : fd;
	if (rc < 0)
		close(fd);
	return rc;
}

static int64_t serve_machine(struct machine *machine, const struct tinyvm_request *request,
			     struct tinyvm_reply *reply)
{
	const uint64_t *arg = request->arg;
	int rc;

	switch (request->op) {
	case TINYVM_OP_COMMAND:
		return machine_post(machine, request->vcpu, arg[0], arg + 1, 6);
	case TINYVM_OP_PAUSE:
		machine_pause(machine);
		return 0;
	case TINYVM_OP_RESUME:
		machine_resume(machine);
		return 0;
	case TINYVM_OP_SETTLE:
		machine_settle(machine, request->vcpu);
		return 0;
	case TINYVM_OP_REGISTERS:
		return machine_registers(machine, request->vcpu, &reply->registers);
	case TINYVM_OP_SET_SLOT:
		return machine_set_slot(machine, &(struct tinyvm_slot){
			.id = arg[0], .flags = arg[1], .gpa = arg[2], .size = arg[3],
			.ram_offset = arg[4] });
	case TINYVM_OP_DUPLICATE:
		rc = dup(machine->fd);
		return rc < 0 ? -errno : rc;
	case TINYVM_OP_MADVISE:
		return madvise(machine->ram + arg[0], arg[1], arg[2]) < 0 ? -errno : 0;
	case TINYVM_OP_UNMAP:
		return munmap(machine->ram + arg[0], arg[1]) < 0 ? -errno : 0;
	case TINYVM_OP_PROVIDE:
		return provide(machine->ram + arg[0], arg[1]);
	case TINYVM_OP_SET_CLOCK: {
		struct kvm_clock_data data = { .clock = arg[0] };

		return ioctl(machine->fd, KVM_SET_CLOCK, &data) < 0 ? -errno : 0;
	}
	default:
		return -EINVAL;
	}
}

/* 0, or -EPIPE at the end of the socket. */
static int serve(struct process *process)
{
	struct tinyvm_request request;
	struct tinyvm_reply reply = { 0 };
	int64_t value = -EINVAL;

	if (recv(process->control, &request, sizeof(request), 0) != sizeof(request))
		return -EPIPE;
	if (request.vm >= process->options->vms || request.vcpu >= process->options->vcpus)
		value = -EINVAL;
	else if (request.op >= TINYVM_OP_DESTROY || request.op == TINYVM_OP_FORK)
		value = serve_process(process, &request);
	else if (process->machine[request.vm])
		value = serve_machine(process->machine[request.vm], &request, &reply);
	reply.error = value < 0 ? value : 0;
	reply.value = value < 0 ? 0 : value;
	return send(process->control, &reply, sizeof(reply), MSG_NOSIGNAL) < 0 ? -EPIPE : 0;
}

static int report_start(struct process *process, int error)
{
	struct tinyvm_reply reply = { .error = error };

	if (process->control >= 0) {
		if (!error)
			reply.value = (uintptr_t)process->machine[0]->ram;
		send(process->control, &reply, sizeof(reply), MSG_NOSIGNAL);
		return error;
	}
	if (error == -EOPNOTSUPP)
		fprintf(stderr, "tinyvm: this host's KVM has no %s paging\n",
			tinyvm_mode_name(process->options->mode));
	else if (error)
		fprintf(stderr, "tinyvm: cannot start the guest: %s\n", strerror(-error));
	else if (puts("ready") < 0 || fflush(stdout) < 0)
		return -EIO;
	return error;
}

static int run_until_end(struct process *process)
{
	struct pollfd fd[3] = {
		{ .fd = process->signal_fd, .events = POLLIN },
		{ .fd = process->failed_fd, .events = POLLIN },
		{ .fd = process->control, .events = POLLIN },
	};

	for (;;) {
		if (poll(fd, 3, -1) < 0 && errno != EINTR)
			return -errno;
		if (fd[1].revents)
			return -EIO;
		if (fd[0].revents || (fd[2].revents && serve(process)))
			return 0;
	}
}

int tinyvm_run(const struct tinyvm_options *options, int control)
{
	struct process process = { .options = options, .control = control };
	int rc;

	if (control >= 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	process.machine = calloc(options->vms, sizeof(struct machine *));
	process.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	rc = process.kvm < 0 ? -errno : 0;
	process.signal_fd = signals_open();
	process.failed_fd = eventfd(0, EFD_CLOEXEC);
	if (!process.machine || process.signal_fd < 0 || process.failed_fd < 0)
		rc = rc ? rc : -ENOMEM;
	if (!rc)
		rc = start_machines(&process);
	rc = report_start(&process, rc);
	if (!rc)
		rc = run_until_end(&process);
	for (unsigned int i = 0; process.machine && i < options->vms; i++)
		machine_destroy(process.machine[i]);
	free(process.machine);
	close(process.failed_fd);
	close(process.signal_fd);
	close(process.kvm);
	return rc ? 1 : 0;
}
