// SPDX-License-Identifier: LGPL-2.1-or-later
/* Name, UUID and origin of a VM, from what its VMM and its manager leave on the host. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmdline.h"
#include "errand.h"
#include "file.h"
#include "identity.h"
#include "labels.h"
#include "libvirt.h"

enum { CMDLINE_MAX = 1 << 20, PROC_TEXT_MAX = 16384, PROXMOX_MAX = 1 << 20,
       PROXMOX_MS = 100 };

/* Reads at most `max` bytes of /proc/PID/FILE; *ret_text, terminated, is the caller's. */
static int proc_read(const char *proc, pid_t pid, const char *file, size_t max, char **ret_text,
		     size_t *ret_len)
{
	char path[PATH_MAX], *text;
	size_t used = 0;
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "%s/%d/%s", proc, pid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	text = malloc(max + 1);
	if (!text) {
		close(fd);
		return -ENOMEM;
	}
	while (used < max && (len = read(fd, text + used, max - used)) > 0)
		used += len;
	close(fd);
	text[used] = '\0';
	*ret_text = text;
	*ret_len = used;
	return 0;
}

/* The pid that the process has in its own namespace, which is what a libvirt in there records. */
static pid_t inner_pid(const char *proc, pid_t pid)
{
	char *text, *line, *end, *last;
	pid_t inner = pid;
	size_t len;

	if (proc_read(proc, pid, "status", PROC_TEXT_MAX, &text, &len))
		return pid;
	line = strstr(text, "\nNSpid:");
	if (line) {
		end = strchrnul(line + 1, '\n');
		*end = '\0';
		last = strrchr(line, '\t');
		if (last)
			inner = strtol(last, NULL, 10);
	}
	free(text);
	return inner;
}

static int namespace_same(const char *proc, pid_t pid, const char *kind)
{
	char path[PATH_MAX];
	struct stat ours, theirs;

	snprintf(path, sizeof(path), "%s/self/ns/%s", proc, kind);
	if (stat(path, &ours))
		return -errno;
	snprintf(path, sizeof(path), "%s/%d/ns/%s", proc, pid, kind);
	if (stat(path, &theirs))
		return -errno;
	return ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
}

/*
 * Is there another file tree at /proc/PID/root that may be looked into? Not where the process has
 * a user namespace of its own: there it can mount a file system that never answers.
 */
static bool has_pod_root(const char *proc, pid_t pid)
{
	return namespace_same(proc, pid, "mnt") == 0 && namespace_same(proc, pid, "user") == 1;
}

static int status_below(const char *root, pid_t pid, const char *name,
			struct libvirt_status *ret_status)
{
	int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = libvirt_status_find(fd, pid, name, ret_status);
	close(fd);
	return err;
}

/* KubeVirt calls the domain NAMESPACE_NAME, of which neither holds a "_". */
static void add_kubevirt(struct ka_vm_info *info)
{
	const char *name = strchr(info->name, '_');

	if (!name)
		return;
	labels_add(info->labels, "kubevirt/namespace", info->name, name - info->name);
	labels_add(info->labels, "kubevirt/name", name + 1, strlen(name + 1));
}

static void take_status(struct ka_vm_info *info, const struct libvirt_status *status,
			const char *source, const char *confidence)
{
	if (*status->name)
		strcpy(info->name, status->name);
	if (*status->uuid)
		strcpy(info->uuid, status->uuid);
	/* A file in that folder is of libvirt's QEMU driver. */
	strcpy(info->hypervisor, "qemu");
	if (strcmp(status->manager, "libvirt") ||
	    (strcmp(info->manager, "openstack") && strcmp(info->manager, "kubevirt")))
		strcpy(info->manager, status->manager);
	memcpy(info->labels, status->labels, sizeof(info->labels));
	if (!strcmp(info->manager, "kubevirt"))
		add_kubevirt(info);
	strcpy(info->id_source, source);
	strcpy(info->id_confidence, confidence);
}

/* Asked whatever the arguments look like: a VMM that was taken over can write over them. */
static bool ask_libvirt(const char *proc, const char *root, pid_t pid, const char *name,
			struct ka_vm_info *info)
{
	struct libvirt_status status;
	char pod[PATH_MAX];

	if (!status_below(root, pid, name, &status)) {
		take_status(info, &status, "libvirt-status-xml", "high");
		return true;
	}
	if (!has_pod_root(proc, pid))
		return false;
	snprintf(pod, sizeof(pod), "%s/%d/root", proc, pid);
	if (status_below(pod, inner_pid(proc, pid), name, &status))
		return false;
	take_status(info, &status, "pod-libvirt-status-xml", "medium");
	return true;
}

/* A VMM can write over its arguments, but not leave its cgroup unless it is root. */
static bool confirm_proxmox(const char *proc, pid_t pid, const char *vmid)
{
	char want[48], *text, *found;
	size_t len;
	bool same;

	if (proc_read(proc, pid, "cgroup", PROC_TEXT_MAX, &text, &len))
		return false;
	snprintf(want, sizeof(want), "/qemu.slice/%s.scope", vmid);
	found = strstr(text, want);
	same = found && (found[strlen(want)] == '\n' || !found[strlen(want)]);
	free(text);
	return same;
}

/* Of a file system in user space, which hangs while its cluster does. */
struct proxmox {
	struct errand errand;
	int root_fd;
	char path[64];
	char *bytes;
	size_t len;
};

static void read_proxmox(struct errand *errand)
{
	struct proxmox *proxmox = (struct proxmox *)errand;
	int fd = file_open_regular(proxmox->root_fd, proxmox->path, PROXMOX_MAX);

	if (fd < 0)
		return;
	if (file_read(fd, &proxmox->bytes, &proxmox->len))
		proxmox->bytes = NULL;
	close(fd);
}

static void free_proxmox(struct errand *errand)
{
	struct proxmox *proxmox = (struct proxmox *)errand;

	if (proxmox->root_fd >= 0)
		close(proxmox->root_fd);
	free(proxmox->bytes);
	free(proxmox);
}

static struct proxmox *proxmox_new(const char *root, const char *vmid)
{
	struct proxmox *proxmox = calloc(1, sizeof(*proxmox));

	if (!proxmox)
		return NULL;
	proxmox->root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	snprintf(proxmox->path, sizeof(proxmox->path), "/etc/pve/qemu-server/%s.conf", vmid);
	return proxmox;
}

/* One that does not come back is not followed by others. */
static bool is_waited_for(_Atomic(struct errand *) *left_behind)
{
	struct errand *errand = atomic_load(left_behind);

	if (errand && !errand_wait(errand, 0))
		return true;
	if (errand)
		errand_put(errand);
	atomic_store(left_behind, NULL);
	return false;
}

/* False: it did not answer in time, or was not asked. */
static bool ask_proxmox(const char *root, const char *vmid, struct ka_vm_info *info)
{
	static _Atomic(struct errand *) left_behind;
	struct proxmox *proxmox;

	if (is_waited_for(&left_behind))
		return false;
	proxmox = proxmox_new(root, vmid);
	if (!proxmox)
		return false;
	if (!errand_start(&proxmox->errand, read_proxmox, free_proxmox) &&
	    !errand_wait(&proxmox->errand, PROXMOX_MS)) {
		atomic_store(&left_behind, &proxmox->errand);
		return false;
	}
	if (proxmox->bytes)
		labels_add_proxmox(info->labels, proxmox->bytes, proxmox->len);
	errand_put(&proxmox->errand);
	return true;
}

static void take_cmdline(const struct cmdline_facts *facts, pid_t pid, struct ka_vm_info *info)
{
	bool known = *facts->name || *facts->uuid;

	if (*facts->name)
		strcpy(info->name, facts->name);
	else
		snprintf(info->name, sizeof(info->name), "pid-%d", pid);
	strcpy(info->uuid, facts->uuid);
	snprintf(info->hypervisor, sizeof(info->hypervisor), "%s", facts->hypervisor);
	snprintf(info->manager, sizeof(info->manager), "%s", facts->manager);
	info->labels[0] = '\0';
	strcpy(info->id_source, known ? "cmdline" : "pid");
	strcpy(info->id_confidence, known ? "medium" : "low");
}

int identity_read_at(const char *proc, const char *root, pid_t pid, struct ka_vm_info *info)
{
	struct cmdline_facts facts;
	char *bytes = NULL;
	size_t len = 0;
	int err = proc_read(proc, pid, "cmdline", CMDLINE_MAX, &bytes, &len);

	if (err == -ESRCH || err == -ENOMEM)
		return err;
	cmdline_parse(bytes ? bytes : "", len, &facts);
	free(bytes);
	take_cmdline(&facts, pid, info);
	if (ask_libvirt(proc, root, pid, facts.name, info) || !*facts.vmid ||
	    !confirm_proxmox(proc, pid, facts.vmid))
		return 0;
	/* What is known for sure is not asked again, and policies go by the labels, too. */
	if (ask_proxmox(root, facts.vmid, info))
		strcpy(info->id_confidence, "high");
	return 0;
}

int identity_rank(const struct ka_vm_info *info)
{
	if (!strcmp(info->id_confidence, "high"))
		return IDENTITY_SURE;
	if (!strcmp(info->id_source, "pod-libvirt-status-xml"))
		return 2;
	return !strcmp(info->id_confidence, "medium");
}

int identity_read(pid_t pid, struct ka_vm_info *info)
{
	return identity_read_at("/proc", "/", pid, info);
}
