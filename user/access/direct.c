// SPDX-License-Identifier: LGPL-2.1-or-later
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cpuid.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "bpf/memory.skel.h"
#include "direct.h"
#include "host.h"

enum {
	PAGE_SIZE = 4096,
	TRIES = 3,
	/* The program asks for room for a whole page. What is more than this the system call reads faster. */
	DIRECT_BYTES_MAX = KVMBPF_COPIED_BYTES - PAGE_SIZE,
};

/* ---- where memory is ------------------------------------------------------------------------ */

/* Which bits of an entry are of an address: not the one that says that a page is encrypted. */
static uint64_t physical_mask(void)
{
	enum { LEAF_ADDRESS = 0x80000008, LEAF_ENCRYPTION = 0x8000001f, SME = 1 << 0 };
	unsigned int eax = 52, ebx = 0, ecx, edx;
	uint64_t mask;

	__get_cpuid(LEAF_ADDRESS, &eax, &ebx, &ecx, &edx);
	mask = (1ULL << ((eax & 0xff) < 52 ? eax & 0xff : 52)) - 1;
	if (__get_cpuid(LEAF_ENCRYPTION, &eax, &ebx, &ecx, &edx) && eax & SME)
		mask &= ~(1ULL << (ebx & 0x3f));
	return mask;
}

/* After the last page of memory that the kernel manages; 0: not known. */
static uint64_t memory_end(void)
{
	FILE *zones = fopen("/proc/zoneinfo", "re");
	unsigned long long spanned = 0, start, end = 0;
	char line[256];

	while (zones && fgets(line, sizeof(line), zones)) {
		if (sscanf(line, " spanned %llu", &spanned) == 1)
			continue;
		if (sscanf(line, " start_pfn: %llu", &start) == 1 && start + spanned > end)
			end = start + spanned;
	}
	if (zones)
		fclose(zones);
	return end * PAGE_SIZE;
}

/* By a page of our own that nobody else has. */
static int find_direct_map(const struct memory_bpf *programs)
{
	struct kvmbpf_find_call call = { .physical_mask = physical_mask(),
					 .memory_end = memory_end() };
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &call, .ctx_size_in = sizeof(call));
	uint64_t *page;
	int err;

	if (!call.memory_end || getrandom(call.token, sizeof(call.token), 0) != sizeof(call.token))
		return -ENOENT;
	page = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!page)
		return -ENOMEM;
	memcpy(page, call.token, sizeof(call.token));
	call.hva = (uintptr_t)page;
	err = bpf_prog_test_run_opts(bpf_program__fd(programs->progs.find_direct_map), &options);
	free(page);
	return err ? err : (int)options.retval;
}

/* ---- begin and end -------------------------------------------------------------------------- */

static void *map_array(const struct bpf_map *map, size_t size, int protection)
{
	void *array = mmap(NULL, size, protection, MAP_SHARED, bpf_map__fd(map), 0);

	return array == MAP_FAILED ? NULL : array;
}

static int direct_load(struct direct *direct)
{
	int err = -ENOENT;

	direct->programs = memory_bpf__open_and_load();
	if (!direct->programs)
		return -errno;
	/* The page may be moved just then. */
	for (int i = 0; i < TRIES && err; i++)
		err = find_direct_map(direct->programs);
	if (err)
		return err;
	direct->copy_fd = bpf_program__fd(direct->programs->progs.copy_memory);
	direct->copies = map_array(direct->programs->maps.copies,
				   KVMBPF_COPIES_MAX * sizeof(*direct->copies),
				   PROT_READ | PROT_WRITE);
	direct->copied = map_array(direct->programs->maps.copied, sizeof(*direct->copied), PROT_READ);
	return direct->copies && direct->copied ? 0 : -ENOMEM;
}

void direct_init(struct ka_host *host)
{
	struct direct *direct = calloc(1, sizeof(*direct));
	int err = direct ? direct_load(direct) : -ENOMEM;

	if (err) {
		host_feature(host, "direct_memory", KA_FEATURE_FALLBACK,
			     "not found in the kernel (%s): process_vm_readv reads all",
			     strerror(-err));
		direct_free(direct);
		return;
	}
	host_feature(host, "direct_memory", KA_FEATURE_ON,
		     "guest memory without page faults or locks");
	host->direct = direct;
}

void direct_free(struct direct *direct)
{
	if (!direct)
		return;
	if (direct->copies)
		munmap(direct->copies, KVMBPF_COPIES_MAX * sizeof(*direct->copies));
	if (direct->copied)
		munmap((void *)direct->copied, sizeof(*direct->copied));
	memory_bpf__destroy(direct->programs);
	free(direct);
}

/* ---- reads ---------------------------------------------------------------------------------- */

/* Page by page. Bytes of all of them, or 0: too much for one call. */
static uint32_t copies_fill(struct kvmbpf_copy *copies, const struct iovec *remote, size_t count,
			    uint32_t *ret_copies)
{
	uint32_t at = 0, n = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t hva = (uintptr_t)remote[i].iov_base, end = hva + remote[i].iov_len;

		if (remote[i].iov_len > DIRECT_BYTES_MAX)
			return 0;
		while (hva < end) {
			uint64_t page = (hva / PAGE_SIZE + 1) * PAGE_SIZE;
			uint32_t len = (uint32_t)((page < end ? page : end) - hva);

			if (n == KVMBPF_COPIES_MAX || at + len > DIRECT_BYTES_MAX)
				return 0;
			copies[n++] = (struct kvmbpf_copy){ .hva = hva, .len = len, .at = at };
			at += len;
			hva += len;
		}
	}
	*ret_copies = n;
	return at;
}

static bool copies_done(const struct kvmbpf_copy *copies, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (!copies[i].done)
			return false;
	return true;
}

static void scatter(const uint8_t *bytes, const struct iovec *local, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		memcpy(local[i].iov_base, bytes, local[i].iov_len);
		bytes += local[i].iov_len;
	}
}

ssize_t direct_readv(struct direct *direct, const struct host_vm *vm, const struct iovec *local,
		     size_t local_count, const struct iovec *remote, size_t remote_count)
{
	struct kvmbpf_copy_call call = { .kvm = vm->kvm, .clock_offset = vm->clock_offset };
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &call, .ctx_size_in = sizeof(call));
	uint32_t bytes;

	if (!direct)
		return 0;
	bytes = copies_fill(direct->copies, remote, remote_count, &call.count);
	if (!bytes || bpf_prog_test_run_opts(direct->copy_fd, &options) || options.retval ||
	    !copies_done(direct->copies, call.count))
		return 0;
	scatter(direct->copied->bytes, local, local_count);
	return bytes;
}
