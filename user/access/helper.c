// SPDX-License-Identifier: LGPL-2.1-or-later
/* Finds the kernel module kvmbpf_helper, and brings it the VMs of other processes. */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"

bool helper_loaded(void)
{
	return access("/sys/kernel/btf/kvmbpf_helper", F_OK) == 0;
}

int helper_vm_fd(const struct host_vm *vm)
{
	int fd;

	if (vm->pidfd < 0)
		return -EOWNERDEAD;
	fd = syscall(SYS_pidfd_getfd, vm->pidfd, vm->info.fd, 0);
	if (fd >= 0)
		return fd;
	return errno == ESRCH || errno == EBADF ? -EOWNERDEAD : -errno;
}
