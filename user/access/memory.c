// SPDX-License-Identifier: LGPL-2.1-or-later
/* Guest physical memory: through the memslots into the VMM's address space. */
#include <errno.h>
#include <linux/kvm.h>
#include <sys/uio.h>

#include "direct.h"
#include "vm.h"

/* The memslot that holds a GPA, by binary search, and how many bytes of it are left there. */
int memory_hva(const struct host_vm *vm, uint64_t gpa, uint64_t *ret_hva, uint64_t *ret_left,
	       const struct ka_memslot **ret_slot)
{
	size_t low = 0, high = vm->memslot_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct ka_memslot *slot = &vm->memslots[middle];

		if (gpa < slot->gpa) {
			high = middle;
		} else if (gpa - slot->gpa >= slot->size) {
			low = middle + 1;
		} else {
			*ret_hva = slot->hva + (gpa - slot->gpa);
			*ret_left = slot->size - (gpa - slot->gpa);
			*ret_slot = slot;
			return 0;
		}
	}
	return -ENXIO;
}

/* errno of process_vm_readv() and process_vm_writev() in the words of kvmaccess.h. */
static int memory_error(int error)
{
	switch (error) {
	case ESRCH:
		return -EOWNERDEAD;
	case EFAULT:
		return -ENXIO;
	default:
		return -error;
	}
}

ssize_t memory_readv(const struct ka_vm *vm, const struct iovec *local, size_t local_count,
		     const struct iovec *remote, size_t remote_count)
{
	ssize_t bytes = direct_readv(vm->host->direct, vm->vm, local, local_count, remote,
				     remote_count);

	return bytes ? bytes : vmm_readv(vm->vm, local, local_count, remote, remote_count);
}

static int copy_piece(struct ka_vm *vm, uint64_t hva, void *buf, size_t len, bool write)
{
	struct iovec local = { buf, len }, remote = { (void *)hva, len };
	ssize_t done = write ? vmm_writev(vm->vm, &local, 1, &remote, 1) :
			       memory_readv(vm, &local, 1, &remote, 1);

	if (done < 0)
		return memory_error((int)-done);
	return (size_t)done == len ? 0 : -ENXIO;
}

static int writable(const struct ka_memslot *slot)
{
	if (slot->flags & KVM_MEM_LOG_DIRTY_PAGES)
		return -EBUSY;
	return slot->flags & KVM_MEM_READONLY ? -EPERM : 0;
}

/* Where nothing is mapped that was seen before: -EREMOTE. */
static int peek(const struct host_vm *vm, const struct ka_memslot *slot, uint64_t gpa, void *buf,
		size_t len)
{
	return window_peek(vm, (size_t)(slot - vm->memslots), gpa - slot->gpa, buf, len);
}

void memory_seen(const struct host_vm *vm, uint64_t gpa, size_t len)
{
	const struct ka_memslot *slot;
	uint64_t hva, left;

	if (vm->windows.count && !memory_hva(vm, gpa, &hva, &left, &slot) && len <= left)
		window_seen(vm, (size_t)(slot - vm->memslots), gpa - slot->gpa, len);
}

int memory_peek(const struct host_vm *vm, uint64_t gpa, void *buf, size_t len)
{
	const struct ka_memslot *slot;
	uint64_t hva, left;
	int err = memory_hva(vm, gpa, &hva, &left, &slot);

	if (err || left < len)
		return -EREMOTE;
	return peek(vm, slot, gpa, buf, len);
}

static int copy(struct ka_vm *vm, uint64_t gpa, void *buf, size_t len, bool write)
{
	while (len) {
		const struct ka_memslot *slot;
		uint64_t hva, left;
		int err;

		if (!vm->vm)
			return -EOWNERDEAD;
		err = memory_hva(vm->vm, gpa, &hva, &left, &slot);
		if (!err && write)
			err = writable(slot);
		if (err)
			return err;
		if (left > len)
			left = len;
		if (write || peek(vm->vm, slot, gpa, buf, left)) {
			err = copy_piece(vm, hva, buf, left, write);
			if (err)
				return err;
			memory_seen(vm->vm, gpa, left);
		}
		buf = (char *)buf + left;
		gpa += left;
		len -= left;
	}
	return 0;
}

/* With the memslots as they are known. */
int memory_read(struct ka_vm *vm, uint64_t gpa, void *buf, size_t len)
{
	return copy(vm, gpa, buf, len, false);
}

int ka_gpa_read(struct ka_vm *vm, uint64_t gpa, void *buf, size_t len)
{
	int err = registers_refresh(vm);

	return err ? err : copy(vm, gpa, buf, len, false);
}

/* Everything is checked before anything is written. */
int memory_check_write(struct ka_vm *vm, uint64_t gpa, size_t len)
{
	while (len) {
		const struct ka_memslot *slot;
		uint64_t hva, left;
		int err;

		err = memory_hva(vm->vm, gpa, &hva, &left, &slot);
		if (!err)
			err = writable(slot);
		if (err)
			return err;
		if (left > len)
			left = len;
		gpa += left;
		len -= left;
	}
	return 0;
}

int ka_gpa_write(struct ka_vm *vm, uint64_t gpa, const void *data, size_t len)
{
	int err;

	if (!(vm->flags & KA_OPEN_WRITE))
		return -EPERM;
	/* Dirty logging does not change the generation's slots in our copy: look again. */
	err = discover_scan(vm->host, vm->info.pid);
	if (!err && !vm->vm)
		err = -EOWNERDEAD;
	if (!err)
		err = memory_check_write(vm, gpa, len);
	return err ? err : copy(vm, gpa, (void *)data, len, true);
}
