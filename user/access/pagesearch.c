// SPDX-License-Identifier: LGPL-2.1-or-later
/* Looks through a guest's memory for pages that begin with certain bytes. */
#include "clock.h"
#include "pagesearch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PAGE_SIZE 4096ULL
/* Documentation/admin-guide/mm/pagemap.rst; this flag needs no privilege of its own. */
#define PAGEMAP_PRESENT (1ULL << 63)

enum { CHUNK_PAGES = BATCH_PIECES };

static const uint64_t time_max_ns = 1000 * 1000 * 1000ULL;

/* Up to CHUNK_PAGES pages of one memslot: what one system call looks at. */
struct chunk {
	uint64_t gpa, hva;
	size_t pages;
};

struct pagesearch {
	struct ka_vm *vm;
	const char *magic;
	int pagemap; /* or -1: any page may be resident */
	int (*found)(void *ctx, uint64_t gpa);
	void *ctx;
};

static uint64_t slot_chunks(const struct ka_memslot *slot)
{
	return (slot->size / PAGE_SIZE + CHUNK_PAGES - 1) / CHUNK_PAGES;
}

/* All memslots' chunks in a row, by GPA. */
static uint64_t chunks_count(const struct host_vm *vm)
{
	uint64_t count = 0;

	for (size_t i = 0; i < vm->memslot_count; i++)
		count += slot_chunks(&vm->memslots[i]);
	return count;
}

static uint64_t chunk_of(const struct host_vm *vm, uint64_t gpa)
{
	uint64_t at = 0;

	for (size_t i = 0; i < vm->memslot_count; i++) {
		const struct ka_memslot *slot = &vm->memslots[i];

		if (gpa >= slot->gpa && gpa - slot->gpa < slot->size)
			return at + (gpa - slot->gpa) / PAGE_SIZE / CHUNK_PAGES;
		at += slot_chunks(slot);
	}
	return 0;
}

/* False: nothing there, or not RAM that the guest can write. */
static bool chunk_get(const struct host_vm *vm, uint64_t index, struct chunk *ret_chunk)
{
	for (size_t i = 0; i < vm->memslot_count; i++) {
		const struct ka_memslot *slot = &vm->memslots[i];
		uint64_t first = index * CHUNK_PAGES, pages = slot->size / PAGE_SIZE;

		if (index >= slot_chunks(slot)) {
			index -= slot_chunks(slot);
			continue;
		}
		if (slot->flags & KVM_MEM_READONLY)
			return false;
		*ret_chunk = (struct chunk){
			.gpa = slot->gpa + first * PAGE_SIZE,
			.hva = slot->hva + first * PAGE_SIZE,
			.pages = pages - first < CHUNK_PAGES ? pages - first : CHUNK_PAGES,
		};
		return true;
	}
	return false;
}

/* The resident pages of a chunk, by their number in it. */
static size_t resident(const struct pagesearch *search, const struct chunk *chunk,
		       uint16_t pages[CHUNK_PAGES])
{
	uint64_t entries[CHUNK_PAGES];
	size_t count = 0, known = 0;
	ssize_t len = -1;

	if (search->pagemap >= 0)
		len = pread(search->pagemap, entries, chunk->pages * sizeof(entries[0]),
			    chunk->hva / PAGE_SIZE * sizeof(entries[0]));
	if (len > 0)
		known = len / sizeof(entries[0]);
	for (size_t i = 0; i < chunk->pages; i++)
		if (search->pagemap < 0 || (i < known && (entries[i] & PAGEMAP_PRESENT)))
			pages[count++] = i;
	return count;
}

static int look_at(const struct pagesearch *search, const struct chunk *chunk)
{
	uint8_t begins[CHUNK_PAGES][PAGESEARCH_MAGIC_MAX];
	struct iovec *remote = search->vm->host->batch->data.remote;
	size_t magic_len = strlen(search->magic);
	uint16_t pages[CHUNK_PAGES];
	size_t count = resident(search, chunk, pages);

	for (size_t at = 0; at < count;) {
		struct iovec local = { begins, (count - at) * sizeof(begins[0]) };
		ssize_t len;
		size_t got;

		for (size_t i = at; i < count; i++)
			remote[i - at] =
				(struct iovec){ (void *)(chunk->hva + pages[i] * PAGE_SIZE),
						sizeof(begins[0]) };
		len = vmm_readv(search->vm->vm, &local, 1, remote, count - at);
		if (len == -ESRCH || len == -ETIMEDOUT)
			return len == -ESRCH ? -EOWNERDEAD : (int)len;
		got = len > 0 ? len / sizeof(begins[0]) : 0;
		for (size_t i = 0; i < got; i++) {
			int err;

			if (memcmp(begins[i], search->magic, magic_len))
				continue;
			err = search->found(search->ctx, chunk->gpa + pages[at + i] * PAGE_SIZE);
			if (err != -ENODATA)
				return err;
		}
		/* It stops at a page that is gone since: go on behind that. */
		at += got < count - at ? got + 1 : got;
	}
	return -ENODATA;
}

/* Step by step away from where it starts, to both sides. */
static uint64_t chunk_at_step(uint64_t start, uint64_t step)
{
	return step % 2 ? start - (step + 1) / 2 : start + step / 2;
}

int pagesearch(struct ka_vm *vm, uint64_t near, const char *magic,
	       int (*found)(void *ctx, uint64_t gpa), void *ctx)
{
	struct pagesearch search = { .vm = vm, .magic = magic, .found = found, .ctx = ctx };
	uint64_t deadline = now_ns() + time_max_ns, total, start;
	int err = -ENODATA;
	char path[32];

	if (!vm->vm)
		return -EOWNERDEAD;
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)vm->info.pid);
	search.pagemap = open(path, O_RDONLY | O_CLOEXEC);
	total = chunks_count(vm->vm);
	start = chunk_of(vm->vm, near);
	for (; vm->search_step < 2 * total && err == -ENODATA; vm->search_step++) {
		/* Below zero it wraps, and is none of the VM's either. */
		uint64_t index = chunk_at_step(start, vm->search_step);
		struct chunk chunk;

		if (index >= total || !chunk_get(vm->vm, index, &chunk))
			continue;
		err = look_at(&search, &chunk);
		if (err == -ENODATA && now_ns() > deadline)
			err = -EAGAIN;
	}
	if (err != -EAGAIN)
		vm->search_step = 0;
	if (search.pagemap >= 0)
		close(search.pagemap);
	return err;
}
