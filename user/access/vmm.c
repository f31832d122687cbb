// SPDX-License-Identifier: LGPL-2.1-or-later
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "errand.h"
#include "host.h"
#include "vmm.h"

enum { FDS_MAX = 4096, WAIT_MS = 100 };

#define LOOK_NS (60ULL * 1000 * 1000 * 1000)

/* ---- does it provide memory? ---------------------------------------------------------------- */

static bool is_userfaultfd(int dir, const char *name)
{
	static const char link[] = "anon_inode:[userfaultfd]";
	char target[sizeof(link)];
	ssize_t len = readlinkat(dir, name, target, sizeof(target));

	return len == sizeof(link) - 1 && !memcmp(target, link, sizeof(link) - 1);
}

static bool has_userfaultfd(pid_t pid)
{
	struct dirent *entry;
	bool found = false;
	char path[32];
	DIR *fds;
	int i;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	fds = opendir(path);
	if (!fds)
		return errno != ENOENT;
	for (i = 0; !found && i < FDS_MAX && (entry = readdir(fds)); i++)
		found = is_userfaultfd(dirfd(fds), entry->d_name);
	closedir(fds);
	return found || i == FDS_MAX;
}

/* Looks, if the memslots have changed or after a minute. */
static bool provides(struct host_vm *vm)
{
	struct vmm *vmm = &vm->vmm;
	uint64_t now = now_ns();

	if (vmm->generation == vm->generation && now < vmm->look_ns)
		return vmm->provides;
	vmm->provides = has_userfaultfd(vm->info.pid);
	vmm->generation = vm->generation;
	vmm->look_ns = now + host_spread_ns(vm, LOOK_NS);
	return vmm->provides;
}

/* ---- a transfer that may not return --------------------------------------------------------- */

struct transfer {
	struct errand errand;
	pid_t pid;
	bool write;
	ssize_t result; /* bytes or -errno, once it is over */
	struct iovec local, *remote;
	size_t remote_count;
	uint8_t bytes[];
};

static void transfer_free(struct errand *errand)
{
	struct transfer *transfer = (struct transfer *)errand;

	free(transfer->remote);
	free(transfer);
}

static struct transfer *transfer_new(pid_t pid, bool write, size_t len, const struct iovec *remote,
				     size_t remote_count)
{
	struct transfer *transfer = malloc(sizeof(*transfer) + len);
	struct iovec *copy = calloc(remote_count, sizeof(*copy));

	if (!transfer || !copy) {
		free(transfer);
		free(copy);
		return NULL;
	}
	memcpy(copy, remote, remote_count * sizeof(*copy));
	*transfer = (struct transfer){
		.pid = pid,
		.write = write,
		.local = { transfer->bytes, len },
		.remote = copy,
		.remote_count = remote_count,
	};
	return transfer;
}

static ssize_t transfer_now(pid_t pid, bool write, const struct iovec *local, size_t local_count,
			    const struct iovec *remote, size_t remote_count)
{
	ssize_t bytes = write ? process_vm_writev(pid, local, local_count, remote, remote_count, 0)
			      : process_vm_readv(pid, local, local_count, remote, remote_count, 0);

	return bytes < 0 ? -errno : bytes;
}

static void transfer_run(struct errand *errand)
{
	struct transfer *transfer = (struct transfer *)errand;

	transfer->result = transfer_now(transfer->pid, transfer->write, &transfer->local, 1,
					transfer->remote, transfer->remote_count);
}

/* ---- bytes of many places ------------------------------------------------------------------- */

static size_t total(const struct iovec *vector, size_t count)
{
	size_t bytes = 0;

	for (size_t i = 0; i < count; i++)
		bytes += vector[i].iov_len;
	return bytes;
}

/* Between a row of bytes and the caller's vector: at most `len`. */
static void gather(uint8_t *bytes, const struct iovec *vector, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		memcpy(bytes, vector[i].iov_base, vector[i].iov_len);
		bytes += vector[i].iov_len;
	}
}

static void scatter(const uint8_t *bytes, size_t len, const struct iovec *vector, size_t count)
{
	for (size_t i = 0; i < count && len; i++) {
		size_t part = vector[i].iov_len < len ? vector[i].iov_len : len;

		memcpy(vector[i].iov_base, bytes, part);
		bytes += part;
		len -= part;
	}
}

/* ---- reads and writes ----------------------------------------------------------------------- */

void vmm_deinit(struct vmm *vmm)
{
	if (vmm->waiting)
		errand_put(&vmm->waiting->errand);
	vmm->waiting = NULL;
}

/* Has what was left behind come to its end? */
static bool is_free(struct vmm *vmm)
{
	if (vmm->waiting && !errand_wait(&vmm->waiting->errand, 0))
		return false;
	vmm_deinit(vmm);
	return true;
}

static ssize_t move_patiently(struct host_vm *vm, bool write, const struct iovec *local,
			      size_t local_count, const struct iovec *remote, size_t remote_count)
{
	struct transfer *transfer;
	ssize_t result;

	if (!is_free(&vm->vmm))
		return -ETIMEDOUT;
	transfer =
		transfer_new(vm->info.pid, write, total(local, local_count), remote, remote_count);
	if (!transfer)
		return -ENOMEM;
	if (write)
		gather(transfer->bytes, local, local_count);
	result = errand_start(&transfer->errand, transfer_run, transfer_free);
	if (!result && !errand_wait(&transfer->errand, WAIT_MS)) {
		vm->vmm.waiting = transfer;
		return -ETIMEDOUT;
	}
	if (!result)
		result = transfer->result;
	if (!write && result > 0)
		scatter(transfer->bytes, (size_t)result, local, local_count);
	errand_put(&transfer->errand);
	return result;
}

static ssize_t move(struct host_vm *vm, bool write, const struct iovec *local, size_t local_count,
		    const struct iovec *remote, size_t remote_count)
{
	/* Nothing overtakes what was left behind, even once the VMM has no userfaultfd any more. */
	if (provides(vm) || vm->vmm.waiting)
		return move_patiently(vm, write, local, local_count, remote, remote_count);
	return transfer_now(vm->info.pid, write, local, local_count, remote, remote_count);
}

ssize_t vmm_readv(struct host_vm *vm, const struct iovec *local, size_t local_count,
		  const struct iovec *remote, size_t remote_count)
{
	return move(vm, false, local, local_count, remote, remote_count);
}

ssize_t vmm_writev(struct host_vm *vm, const struct iovec *local, size_t local_count,
		   const struct iovec *remote, size_t remote_count)
{
	return move(vm, true, local, local_count, remote, remote_count);
}
