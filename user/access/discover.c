// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reads the discovery iterator and keeps the host's table of VMs. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpf/discover.skel.h"
#include "clock.h"
#include "dispatch.h"
#include "host.h"
#include "identity.h"
#include "process.h"
#include "vm.h"

enum {
	READ_SIZE = 64 * 1024,
	SCAN_RETRIES = 4,       /* of a VM whose memslots change while they are read */
	ENTRIES_MAX = 1 << 17,  /* memslots or vCPUs of one scan: far above any host */
};

/* Managers have written by then who a VM is, on a host that is under load, too. */
static const uint64_t identify_ns = 60ULL * 1000 * 1000 * 1000;

/* A scan's raw result. */
struct scan {
	struct kvmbpf_vm_record *vms;
	size_t vm_count, vm_room;
	struct kvmbpf_vcpu_record *vcpus;
	size_t vcpu_count, vcpu_room;
	struct kvmbpf_memslot_record *memslots;
	size_t memslot_count, memslot_room;
};

static void scan_deinit(struct scan *scan)
{
	free(scan->vms);
	free(scan->vcpus);
	free(scan->memslots);
}

static int append(void **array, size_t *count, size_t *room, const void *item, size_t size)
{
	if (*count == *room) {
		size_t wanted = *room ? *room * 2 : 64;
		void *grown;

		if (wanted > ENTRIES_MAX)
			return -E2BIG;
		grown = reallocarray(*array, wanted, size);
		if (!grown)
			return -ENOMEM;
		*array = grown;
		*room = wanted;
	}
	memcpy((char *)*array + *count * size, item, size);
	(*count)++;
	return 0;
}

static int scan_add(struct scan *scan, const struct kvmbpf_record *record)
{
	switch (record->type) {
	case KVMBPF_RECORD_VM:
		if (record->size != sizeof(struct kvmbpf_vm_record))
			return -EPROTO;
		return append((void **)&scan->vms, &scan->vm_count, &scan->vm_room, record,
			      sizeof(*scan->vms));
	case KVMBPF_RECORD_VCPU:
		if (record->size != sizeof(struct kvmbpf_vcpu_record))
			return -EPROTO;
		return append((void **)&scan->vcpus, &scan->vcpu_count, &scan->vcpu_room, record,
			      sizeof(*scan->vcpus));
	case KVMBPF_RECORD_MEMSLOT:
		if (record->size != sizeof(struct kvmbpf_memslot_record))
			return -EPROTO;
		return append((void **)&scan->memslots, &scan->memslot_count, &scan->memslot_room,
			      record, sizeof(*scan->memslots));
	default:
		return 0;
	}
}

/* Takes whole records from the buffer and moves the rest to its front. */
static int scan_parse(struct scan *scan, char *buf, size_t *fill)
{
	size_t at = 0;

	while (*fill - at >= sizeof(struct kvmbpf_record)) {
		struct kvmbpf_record header;
		/* Records are copied, so that their alignment in the stream does not matter. */
		char copy[256] __attribute__((aligned(8)));
		int err;

		memcpy(&header, buf + at, sizeof(header));
		if (header.size < sizeof(header) || header.size > sizeof(copy))
			return -EPROTO;
		if (*fill - at < header.size)
			break;
		memcpy(copy, buf + at, header.size);
		err = scan_add(scan, (struct kvmbpf_record *)copy);
		if (err)
			return err;
		at += header.size;
	}
	memmove(buf, buf + at, *fill - at);
	*fill -= at;
	return 0;
}

static int scan_read(struct scan *scan, int link_fd)
{
	char buf[READ_SIZE];
	size_t fill = 0;
	int fd, err = 0;

	fd = bpf_iter_create(link_fd);
	if (fd < 0)
		return -errno;
	while (!err) {
		ssize_t len = read(fd, buf + fill, sizeof(buf) - fill);

		if (len < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (len <= 0) {
			err = len < 0 ? -errno : 0;
			break;
		}
		fill += len;
		err = scan_parse(scan, buf, &fill);
	}
	close(fd);
	return err;
}

static struct bpf_link *attach(struct ka_host *host, pid_t pid)
{
	union bpf_iter_link_info info = { .task.pid = pid };
	LIBBPF_OPTS(bpf_iter_attach_opts, options, .link_info = &info,
		    .link_info_len = sizeof(info));

	return bpf_program__attach_iter(host->discover->progs.discover, pid ? &options : NULL);
}

/* One pass over the files of one process or of all. */
static int scan_pass(struct ka_host *host, pid_t pid, struct scan *scan)
{
	struct bpf_link *link = pid ? attach(host, pid) : host->discover_link;
	int err;

	if (!link && pid) /* no restricted iterators before 6.1: look at everything */
		link = host->discover_link;
	if (!link)
		return -EOPNOTSUPP;
	err = scan_read(scan, bpf_link__fd(link));
	if (link != host->discover_link)
		bpf_link__destroy(link);
	return err;
}

/* Which of two descriptors of one VM to go by: the process whose memory it is comes first. */
static bool better(const struct kvmbpf_vm_record *a, const struct kvmbpf_vm_record *b)
{
	bool a_mm = a->flags & KVMBPF_VM_OWN_MM, b_mm = b->flags & KVMBPF_VM_OWN_MM;

	if (a_mm != b_mm)
		return a_mm;
	if ((a->pid == a->owner_pid) != (b->pid == b->owner_pid))
		return a->pid == a->owner_pid;
	return a->fd < b->fd;
}

/* ---- a scan in order ------------------------------------------------------------------------ */

static int order(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int by_kvm(const void *a, const void *b)
{
	const struct kvmbpf_vm_record *x = a, *y = b;

	return x->kvm != y->kvm ? order(x->kvm, y->kvm) : better(y, x) - better(x, y);
}

static int by_process(const void *a, const void *b)
{
	const struct kvmbpf_vm_record *x = a, *y = b;

	return x->pid != y->pid ? order(x->pid, y->pid) : (x->fd > y->fd) - (x->fd < y->fd);
}

static int by_vcpu(const void *a, const void *b)
{
	const struct kvmbpf_vcpu_record *x = a, *y = b;

	return x->kvm != y->kvm ? order(x->kvm, y->kvm) : order(x->vcpu_id, y->vcpu_id);
}

static int by_memslot(const void *a, const void *b)
{
	const struct kvmbpf_memslot_record *x = a, *y = b;

	return x->kvm != y->kvm ? order(x->kvm, y->kvm) :
	       x->gpa != y->gpa ? order(x->gpa, y->gpa) :
				  (x->id > y->id) - (x->id < y->id);
}

static void sort(void *records, size_t count, size_t size, int (*by)(const void *, const void *))
{
	if (count)
		qsort(records, count, size, by);
}

/*
 * One record a VM, the best; the records of its vCPUs and memslots stand together. -EAGAIN: one
 * descriptor or pass saw another generation of memslots than the other.
 */
static int scan_sort(struct scan *scan)
{
	size_t kept = 0;

	sort(scan->vms, scan->vm_count, sizeof(*scan->vms), by_kvm);
	for (size_t i = 0; i < scan->vm_count; i++) {
		if (!kept || scan->vms[i].kvm != scan->vms[kept - 1].kvm)
			scan->vms[kept++] = scan->vms[i];
		else if (scan->vms[i].generation != scan->vms[kept - 1].generation)
			return -EAGAIN;
	}
	scan->vm_count = kept;
	sort(scan->vms, scan->vm_count, sizeof(*scan->vms), by_process);
	sort(scan->vcpus, scan->vcpu_count, sizeof(*scan->vcpus), by_vcpu);
	sort(scan->memslots, scan->memslot_count, sizeof(*scan->memslots), by_memslot);
	return 0;
}

/* Where the records of a VM begin, and how many there are. All kinds have `kvm` at one place. */
static size_t records_of(const void *records, size_t count, size_t size, uint64_t kvm,
			 size_t *ret_count)
{
	const size_t place = offsetof(struct kvmbpf_vm_record, kvm);
	const char *bytes = records;
	size_t low = 0, high = count, end;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (*(const __u64 *)(bytes + middle * size + place) < kvm)
			low = middle + 1;
		else
			high = middle;
	}
	for (end = low; end < count; end++)
		if (*(const __u64 *)(bytes + end * size + place) != kvm)
			break;
	*ret_count = end - low;
	return low;
}

_Static_assert(offsetof(struct kvmbpf_vm_record, kvm) == offsetof(struct kvmbpf_vcpu_record, kvm) &&
	       offsetof(struct kvmbpf_vm_record, kvm) == offsetof(struct kvmbpf_memslot_record, kvm),
	       "records_of() goes by it");

/* ---- the table ------------------------------------------------------------------------------ */

static int old_slot(const struct host_vm *vm, uint64_t vcpu)
{
	for (size_t i = 0; i < vm->vcpu_count; i++)
		if (vm->vcpus[i].vcpu == vcpu)
			return vm->vcpus[i].slot;
	return NO_SLOT;
}

/* The VM's vCPUs: each once, however many descriptors name it. */
static int take_vcpus(struct host_vm *vm, const struct scan *scan)
{
	size_t count = 0, records, first = records_of(scan->vcpus, scan->vcpu_count,
						      sizeof(*scan->vcpus), vm->kvm, &records);
	struct host_vcpu *vcpus = calloc(records + 1, sizeof(*vcpus));

	if (!vcpus)
		return -ENOMEM;
	for (size_t i = 0; i < records; i++) {
		const struct kvmbpf_vcpu_record *record = &scan->vcpus[first + i];

		if (count && vcpus[count - 1].vcpu == record->vcpu)
			continue;
		vcpus[count++] = (struct host_vcpu){
			.vcpu = record->vcpu,
			.id = record->vcpu_id,
			.slot = old_slot(vm, record->vcpu),
		};
	}
	free(vm->vcpus);
	vm->vcpus = vcpus;
	vm->vcpu_count = count;
	return 0;
}

static bool same_slot(const struct ka_memslot *slot, const struct kvmbpf_memslot_record *record)
{
	return slot->gpa == record->gpa && slot->id == record->id;
}

/* The VM's memslots; several descriptors bring them several times. */
static int take_memslots(struct host_vm *vm, const struct scan *scan)
{
	size_t count = 0, records, first = records_of(scan->memslots, scan->memslot_count,
						      sizeof(*scan->memslots), vm->kvm, &records);
	struct ka_memslot *slots = calloc(records + 1, sizeof(*slots));
	uint64_t bytes = 0;

	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < records; i++) {
		const struct kvmbpf_memslot_record *record = &scan->memslots[first + i];

		if (!record->size || (count && same_slot(&slots[count - 1], record)))
			continue;
		slots[count++] = (struct ka_memslot){
			.gpa = record->gpa,
			.size = record->size,
			.hva = record->hva,
			.flags = record->flags,
			.id = record->id,
		};
		bytes += record->size;
	}
	free(vm->memslots);
	vm->memslots = slots;
	vm->memslot_count = count;
	vm->info.memory_bytes = bytes;
	return 0;
}

static void host_vm_free(struct host_vm *vm)
{
	if (vm->pidfd >= 0)
		close(vm->pidfd);
	windows_free(&vm->windows);
	vmm_deinit(&vm->vmm);
	free(vm->vcpus);
	free(vm->memslots);
	free(vm);
}

/* Without the bit that is set while KVM exchanges memslots (KVM_MEMSLOT_GEN_UPDATE_IN_PROGRESS). */
static uint64_t settled(uint64_t generation)
{
	return generation & ~(1ULL << 63);
}

/* From `*next` on, where it nearly always is: a scan and the table have the VMs in the same order. */
static struct host_vm *find(const struct ka_host *host, const struct kvmbpf_vm_record *record,
			    size_t *next)
{
	for (size_t i = 0; i < host->vm_count; i++) {
		size_t at = (*next + i) % host->vm_count;
		struct host_vm *vm = host->vms[at];

		/* The address of a struct kvm is used again; a generation never falls. */
		if (vm->kvm == record->kvm && vm->info.pid == (pid_t)record->pid &&
		    vm->start_boot_ns == record->start_boot_ns &&
		    vm->inode == record->inode &&
		    settled(vm->generation) <= settled(record->generation)) {
			*next = at + 1;
			return vm;
		}
	}
	return NULL;
}

static int add(struct ka_host *host, const struct kvmbpf_vm_record *record,
	       struct host_vm **ret_vm)
{
	struct host_vm **vms, *vm;

	vms = reallocarray(host->vms, host->vm_count + 1, sizeof(*vms));
	if (!vms)
		return -ENOMEM;
	host->vms = vms;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	vm->kvm = record->kvm;
	vm->inode = record->inode;
	vm->start_boot_ns = record->start_boot_ns;
	vm->info.key = ++host->next_key;
	vm->info.pid = record->pid;
	vm->info.fd = record->fd;
	vm->pidfd = dispatch_watch_process(host, record->pid);
	/* If the process has just ended, the next scan says so. */
	process_start_ticks(record->pid, &vm->info.start_ticks);
	identity_read(record->pid, &vm->info);
	vm->identify_until_ns = now_ns() + identify_ns;
	vms[host->vm_count++] = vm;
	*ret_vm = vm;
	return 0;
}

/*
 * A VM can be seen before its manager has written who it is. Never to what ranks lower: a VMM may
 * write over its arguments.
 */
static void identify(struct ka_host *host, struct host_vm *vm)
{
	struct ka_vm_info info = vm->info;

	if (identity_rank(&vm->info) == IDENTITY_SURE || now_ns() > vm->identify_until_ns ||
	    identity_read(info.pid, &info) || identity_rank(&info) <= identity_rank(&vm->info))
		return;
	vm->info = info;
	for (struct ka_vm *handle = vm->handle; handle; handle = handle->next)
		handle->info = info;
	vm->identified = vm->announced;
	host->news |= vm->identified;
}

static int merge_one(struct ka_host *host, const struct scan *scan,
		     const struct kvmbpf_vm_record *record, size_t *next)
{
	struct host_vm *vm = find(host, record, next);
	int err;

	if (!vm) {
		err = add(host, record, &vm);
		if (err)
			return err;
	} else {
		identify(host, vm);
	}
	vm->seen = true;
	vm->generation = record->generation;
	vm->clock_offset = record->clock_offset;
	vm->info.vcpus = record->online_vcpus;
	err = take_vcpus(vm, scan);
	if (err)
		return err;
	err = take_memslots(vm, scan);
	if (err)
		return err;
	vm->ready = vm->memslot_count && vm->vcpu_count &&
		    record->online_vcpus == record->created_vcpus;
	host->news |= vm->ready && !vm->announced;
	return vm->handle ? host_vm_watch(host, vm) : 0;
}

/* Drops the VMs that should have been seen and were not. */
static void sweep(struct ka_host *host, pid_t pid)
{
	size_t kept = 0;

	for (size_t i = 0; i < host->vm_count; i++) {
		struct host_vm *vm = host->vms[i];

		if (vm->seen || (pid && vm->info.pid != pid)) {
			host->vms[kept++] = vm;
			continue;
		}
		host_vm_gone(host, vm);
		host_vm_free(vm);
	}
	host->vm_count = kept;
}

static int merge(struct ka_host *host, const struct scan *scan, pid_t pid)
{
	size_t next = 0;
	int err = 0;

	for (size_t i = 0; i < host->vm_count; i++)
		host->vms[i]->seen = false;
	for (size_t i = 0; i < scan->vm_count && !err; i++)
		err = merge_one(host, scan, &scan->vms[i], &next);
	if (err)
		return err;
	sweep(host, pid);
	return 0;
}

static bool more_memslots(const struct scan *scan, size_t from)
{
	for (size_t i = from; i < scan->vm_count; i++)
		if (scan->vms[i].flags & KVMBPF_VM_MORE_MEMSLOTS)
			return true;
	return false;
}

/* All passes that the largest VM needs; the records of later ones only add memslots. */
static int scan_all(struct ka_host *host, pid_t pid, struct scan *scan)
{
	size_t from = 0;
	int err = 0;

	host->discover->bss->memslots_skip = 0;
	do {
		from = scan->vm_count;
		err = scan_pass(host, pid, scan);
		host->discover->bss->memslots_skip += KVMBPF_MEMSLOTS_PER_READ;
	} while (!err && more_memslots(scan, from));
	return err;
}

int discover_scan(struct ka_host *host, pid_t pid)
{
	int err = -EAGAIN;

	for (int try = 0; try < SCAN_RETRIES && err == -EAGAIN; try++) {
		struct scan scan = {};

		err = scan_all(host, pid, &scan);
		if (!err)
			err = scan_sort(&scan);
		if (!err)
			err = merge(host, &scan, pid);
		scan_deinit(&scan);
	}
	return err;
}

struct host_vm *host_vm_by_key(const struct ka_host *host, uint64_t key)
{
	for (size_t i = 0; i < host->vm_count; i++)
		if (host->vms[i]->info.key == key)
			return host->vms[i];
	return NULL;
}

struct host_vm *host_vm_by_slot(const struct ka_host *host, uint32_t slot)
{
	for (size_t i = 0; i < host->vm_count; i++)
		for (size_t j = 0; j < host->vms[i]->vcpu_count; j++)
			if (host->vms[i]->vcpus[j].slot == (int)slot)
				return host->vms[i];
	return NULL;
}

void host_vms_free(struct ka_host *host)
{
	for (size_t i = 0; i < host->vm_count; i++)
		host_vm_free(host->vms[i]);
	free(host->vms);
	free(host->gone);
}
