// SPDX-License-Identifier: LGPL-2.1-or-later
/* Listens to the kernel's uevents for VMs that are created and destroyed. */
#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host.h"

enum { UEVENT_MAX = 8192, KERNEL_GROUP = 1 };

int uevent_open(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = KERNEL_GROUP };
	int fd;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

/* Value of KEY=value among the NUL-separated strings of a message, or NULL. */
static const char *field(const char *message, size_t len, const char *key)
{
	size_t key_len = strlen(key);
	const char *end = message + len;

	while (message < end) {
		if (!strncmp(message, key, key_len) && message[key_len] == '=')
			return message + key_len + 1;
		message += strlen(message) + 1;
	}
	return NULL;
}

/* KVM's messages carry EVENT=create|destroy and PID= (kvm_uevent_notify_change()). */
static bool parse(const char *message, size_t len, pid_t *ret_pid, bool *ret_created)
{
	const char *path = field(message, len, "DEVPATH");
	const char *event = field(message, len, "EVENT");
	const char *pid = field(message, len, "PID");

	if (!path || !event || !pid || !strstr(path, "/misc/kvm"))
		return false;
	*ret_pid = atoi(pid);
	*ret_created = !strcmp(event, "create");
	return *ret_pid > 0;
}

int uevent_read(int fd, pid_t *ret_pid, bool *ret_created)
{
	char message[UEVENT_MAX + 1];

	for (;;) {
		struct sockaddr_nl from = {};
		socklen_t from_len = sizeof(from);
		ssize_t len = recvfrom(fd, message, UEVENT_MAX, 0, (struct sockaddr *)&from,
				       &from_len);

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return errno == EAGAIN ? 0 : -errno;
		/* Only the kernel, port 0, is to be believed. */
		if (from.nl_pid != 0)
			continue;
		message[len] = '\0';
		if (parse(message, len, ret_pid, ret_created))
			return 1;
	}
}
