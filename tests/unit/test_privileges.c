// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a process cannot do any more, each tried by a child that gave its privileges up. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "monitor/privileges.h"

enum { CHILD_FAILED = 125 };

static pid_t parent;

/* The errno that `attempt` ends with in such a child; 0 where it can be done. */
static int tried(int (*attempt)(void))
{
	pid_t child;
	int status;

	if (geteuid())
		cr_skip_test("only root has privileges to give up");
	parent = getpid();
	child = fork();
	if (!child) {
		char error[PRIVILEGES_ERROR_MAX];

		if (privileges_drop("nobody", NULL, false, error))
			_exit(CHILD_FAILED);
		errno = 0;
		_exit(attempt() < 0 ? errno : 0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
	cr_assert_neq(WEXITSTATUS(status), CHILD_FAILED, "privileges are not given up");
	return WEXITSTATUS(status);
}

#define FORBIDDEN(name, expression)                                                                \
	static int name(void)                                                                      \
	{                                                                                          \
		return (int)(expression);                                                          \
	}                                                                                          \
	Test(privileges, name##_is_forbidden)                                                      \
	{                                                                                          \
		cr_assert_eq(tried(name), EPERM);                                                  \
	}

static union bpf_attr load_attr(void)
{
	static const struct bpf_insn instructions[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return (union bpf_attr){
		.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
		.insn_cnt = 2,
		.insns = (uintptr_t)instructions,
		.license = (uintptr_t) "GPL",
	};
}

static char target[8];
static const struct iovec target_iovec = { target, sizeof(target) };

FORBIDDEN(exec, execl("/bin/true", "true", NULL))
FORBIDDEN(fork_, fork())
FORBIDDEN(becoming_root, setresuid(0, 0, 0))
FORBIDDEN(root_group, setresgid(0, 0, 0))
FORBIDDEN(signal_to_others, kill(parent, SIGUSR1))
FORBIDDEN(trace, ptrace(PTRACE_SEIZE, parent, 0, 0))
FORBIDDEN(write_to_others, process_vm_writev(parent, &target_iovec, 1, &target_iovec, 1, 0))

/* Only where it was asked for. */
Test(privileges, a_monitor_that_restores_can_write_to_vms)
{
	char error[PRIVILEGES_ERROR_MAX];
	pid_t child;
	int status;

	if (geteuid())
		cr_skip_test("only root has privileges to give up");
	parent = getpid();
	child = fork();
	if (!child) {
		if (privileges_drop("nobody", NULL, true, error))
			_exit(CHILD_FAILED);
		_exit(process_vm_writev(parent, &target_iovec, 1, &target_iovec, 1, 0) !=
		      sizeof(target));
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
}

FORBIDDEN(bpf_load, syscall(SYS_bpf, BPF_PROG_LOAD, &(union bpf_attr[]){ load_attr() },
			    sizeof(union bpf_attr)))
FORBIDDEN(raw_packets, socket(AF_PACKET, SOCK_RAW, 0))
FORBIDDEN(mounts, mount("none", "/mnt", "tmpfs", 0, NULL))
FORBIDDEN(namespaces, unshare(CLONE_NEWUSER))
FORBIDDEN(modules, syscall(SYS_finit_module, 0, "", 0))
FORBIDDEN(terminals, ioctl(0, TIOCSTI, ""))

static int capabilities_back(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct all[_LINUX_CAPABILITY_U32S_3] = {
		{ UINT32_MAX, UINT32_MAX, 0 }, { UINT32_MAX, UINT32_MAX, 0 }
	};

	return (int)syscall(SYS_capset, &header, all);
}

Test(privileges, capabilities_do_not_come_back)
{
	cr_assert_eq(tried(capabilities_back), EPERM);
}

static int write_as_root(void)
{
	return open("/etc/passwd", O_WRONLY | O_CLOEXEC);
}

Test(privileges, files_of_root_are_not_written)
{
	cr_assert_eq(tried(write_as_root), EACCES);
}

/* What the monitor lives on. */

static int read_other(void)
{
	return (int)process_vm_readv(parent, &target_iovec, 1, &target_iovec, 1, 0);
}

Test(privileges, other_processes_are_read)
{
	cr_assert_eq(tried(read_other), 0);
}

static int read_secret(void)
{
	return open("/etc/shadow", O_RDONLY | O_CLOEXEC);
}

Test(privileges, files_of_root_are_read)
{
	cr_assert_eq(tried(read_secret), 0);
}

static void *thread(void *arg)
{
	return arg;
}

static int run_thread(void)
{
	pthread_t id;

	errno = pthread_create(&id, NULL, thread, NULL);
	return errno ? -1 : -pthread_join(id, NULL);
}

Test(privileges, threads_run)
{
	cr_assert_eq(tried(run_thread), 0);
}

Test(privileges, a_user_that_is_missing_is_an_error)
{
	char error[PRIVILEGES_ERROR_MAX] = "";

	cr_assert_eq(privileges_drop("no-such-user", NULL, false, error), -ENOENT);
	cr_assert(strstr(error, "no-such-user"));
	cr_assert_eq(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0, "half dropped");
}

Test(privileges, a_path_that_cannot_be_given_is_an_error)
{
	static const char *const owned[] = { "/no/such/path", NULL };
	char error[PRIVILEGES_ERROR_MAX] = "";

	if (geteuid())
		cr_skip_test("only root has privileges to give up");
	cr_assert_eq(privileges_drop("nobody", owned, false, error), -ENOENT);
	cr_assert_eq(geteuid(), 0);
}
