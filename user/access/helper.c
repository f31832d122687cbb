// SPDX-License-Identifier: LGPL-2.1-or-later
/* Finds the kernel module kvmbpf_helper, and brings it the VMs of other processes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"

bool helper_loaded(void)
{
	return access("/sys/kernel/btf/kvmbpf_helper", F_OK) == 0;
}

static void read_version(char *ret, size_t size)
{
	FILE *file = fopen("/sys/module/kvmbpf_helper/version", "re");

	snprintf(ret, size, "unknown version");
	if (file && fgets(ret, size, file))
		ret[strcspn(ret, "\n")] = '\0';
	if (file)
		fclose(file);
}

void helper_feature(struct ka_host *host)
{
	const char *lost = host->probe.vendor == KA_VENDOR_VMX ?
				   "GDT, GDTR, IDTR and CR0.WP are not seen, nor each write" :
				   "see writes and requests";
	char version[32];

	read_version(version, sizeof(version));
	if (host->helper)
		host_feature(host, "helper", KA_FEATURE_ON, "kvmbpf_helper %s", version);
	else if (helper_loaded())
		host_feature(host, "helper", KA_FEATURE_OFF,
			     "kvmbpf_helper %s is not used or does not take our programs: %s",
			     version, lost);
	else
		host_feature(host, "helper", KA_FEATURE_OFF,
			     "kvmbpf_helper is not loaded: %s", lost);
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
