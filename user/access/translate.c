// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Guest virtual memory: page walks, and reads of many pieces in one system call.
 *
 * ka_readv() believes a cached walk only as far as its entries still say the same: they are read
 * in the same system call as the data, before it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "vm.h"

#define PAGE_SIZE 4096ULL
#define PAGE_OFFSET(address) ((address) & (PAGE_SIZE - 1))

struct kvmbpf_paging_state paging_state(const struct ka_paging *paging)
{
	return (struct kvmbpf_paging_state){
		.root = paging->root,
		.mode = paging->mode,
		.pse = paging->pse,
		.nx = paging->nx,
	};
}

static int read_entry(void *ctx, __u64 gpa, void *buf, __u32 len)
{
	return memory_read(ctx, gpa, buf, len);
}

int translate_walk(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva,
		   struct kvmbpf_walk *ret_walk)
{
	struct kvmbpf_paging_state state = paging_state(paging);

	return kvmbpf_walk(&state, gva, read_entry, vm, ret_walk);
}

int ka_translate(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva,
		 struct ka_translation *ret_translation)
{
	struct kvmbpf_walk walk;
	int err;

	err = registers_refresh(vm);
	if (err)
		return err;
	err = translate_walk(vm, paging, gva, &walk);
	if (err)
		return err;
	*ret_translation = (struct ka_translation){
		.gpa = walk.gpa,
		.page_size = paging->mode == KA_PAGING_OFF ? 0 : walk.page_size,
		.rights = walk.rights,
		.depth = walk.depth,
	};
	for (unsigned int i = 0; i < walk.depth; i++)
		ret_translation->step[i] =
			(struct ka_walk_step){ walk.step[i].gpa, walk.step[i].entry };
	return 0;
}

static size_t in_page(uint64_t address, size_t len)
{
	size_t left = PAGE_SIZE - PAGE_OFFSET(address);

	return len < left ? len : left;
}

/* Calls `each` for the parts of a range that lie in one page. */
static int each_page(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva, void *buf,
		     size_t len,
		     int (*each)(struct ka_vm *vm, uint64_t gpa, void *buf, size_t len))
{
	while (len) {
		size_t part = in_page(gva, len);
		struct kvmbpf_walk walk;
		int err;

		err = translate_walk(vm, paging, gva, &walk);
		if (!err)
			err = each(vm, walk.gpa, buf, part);
		if (err)
			return err;
		buf = (char *)buf + part;
		gva += part;
		len -= part;
	}
	return 0;
}

int ka_gva_read(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva, void *buf,
		size_t len)
{
	int err = registers_refresh(vm);

	return err ? err : each_page(vm, paging, gva, buf, len, memory_read);
}

static int check_page(struct ka_vm *vm, uint64_t gpa, void *buf, size_t len)
{
	(void)buf;
	return memory_check_write(vm, gpa, len);
}

static int write_page(struct ka_vm *vm, uint64_t gpa, void *buf, size_t len)
{
	return ka_gpa_write(vm, gpa, buf, len);
}

int ka_gva_write(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva, const void *data,
		 size_t len)
{
	int err;

	if (!(vm->flags & KA_OPEN_WRITE))
		return -EPERM;
	err = registers_refresh(vm);
	/* All pages first: a range that is not mapped to its end is not written at all. */
	if (!err)
		err = each_page(vm, paging, gva, (void *)data, len, check_page);
	return err ? err : each_page(vm, paging, gva, (void *)data, len, write_page);
}

/* ---- ka_readv() ----------------------------------------------------------------------------- */

/* A part of a piece within one page, on its way through a batch. */
struct part {
	struct ka_piece *piece;
	struct translation *translation; /* NULL: physical */
	struct kvmbpf_walk_step step[KVMBPF_WALK_LEVELS]; /* as read */
	const __u64 *entry[KVMBPF_WALK_LEVELS];		  /* where: in this part or one before */
	unsigned int depth;
	uint64_t gpa;  /* where `buf` was read */
	bool queued;
	size_t last;   /* one past the last iovec that it needs */
	uint64_t gva;
	void *buf;
	uint32_t len;
};

enum { BATCH_PARTS = 128, IOVECS_PER_PART = KVMBPF_WALK_LEVELS + 1 };
_Static_assert(BATCH_PARTS * IOVECS_PER_PART <= BATCH_PIECES, "a batch of parts must fit");

/* It begins small; a VM whose pages are in each other's way gets more. What was known goes. */
static int translations_grow(struct ka_vm *vm)
{
	size_t count = vm->translations ? vm->translation_count * 2 : TRANSLATIONS_MIN;
	struct translation *translations = calloc(count, sizeof(*translations));

	if (!translations)
		return -ENOMEM;
	free(vm->translations);
	vm->translations = translations;
	vm->translation_count = count;
	vm->collisions = 0;
	return 0;
}

static struct translation *cached(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva)
{
	uint64_t page = gva / PAGE_SIZE;
	/* Fibonacci hashing: neighbours spread over the table. */
	size_t index = (page * 0x9e3779b97f4a7c15ULL) >> 54;
	struct translation *entry = &vm->translations[index & (vm->translation_count - 1)];

	if (entry->valid && (entry->page != page || entry->paging.mode != paging->mode ||
			     entry->paging.pse != paging->pse || entry->paging.nx != paging->nx)) {
		entry->valid = false;
		vm->collisions++;
	}
	entry->page = page;
	entry->paging = *paging;
	return entry;
}

/* Before a batch: what it has from the table must stay until it is read. */
static int translations_prepare(struct ka_vm *vm)
{
	if (vm->translations && (vm->collisions < 2 * vm->translation_count ||
				 vm->translation_count == TRANSLATIONS_MAX))
		return 0;
	return translations_grow(vm) && !vm->translations ? -ENOMEM : 0;
}

static void batch_clear(struct batch *batch)
{
	batch->count = 0;
	batch->bytes = 0;
	batch->number++;
}

static int batch_add(struct ka_vm *vm, uint64_t gpa, void *buf, size_t len)
{
	struct batch *batch = vm->host->batch;
	const struct ka_memslot *slot;
	uint64_t hva, left;
	int err;

	err = memory_hva(vm->vm, gpa, &hva, &left, &slot);
	if (err)
		return err;
	if (left < len)
		return -ENXIO;
	batch->local[batch->count] = (struct iovec){ buf, len };
	batch->remote[batch->count] = (struct iovec){ (void *)hva, len };
	batch->count++;
	batch->bytes += len;
	return 0;
}

/*
 * Queues an entry of a walk. Walks share their upper entries, which are read once a batch: by the
 * first part that needs them.
 */
static int queue_entry(struct ka_vm *vm, struct part *part, unsigned int i, uint32_t size)
{
	struct batch *batch = vm->host->batch;
	struct batch_entry *known =
		&batch->entry[(part->step[i].gpa / sizeof(uint64_t)) % BATCH_ENTRIES];
	int err;

	if (known->batch == batch->number && known->gpa == part->step[i].gpa && known->size == size) {
		part->entry[i] = known->value;
		return 0;
	}
	err = batch_add(vm, part->step[i].gpa, &part->step[i].entry, size);
	if (err)
		return err;
	part->entry[i] = &part->step[i].entry;
	*known = (struct batch_entry){ part->step[i].gpa, size, part->entry[i], batch->number };
	return 0;
}

/* Queues the entries of the cached walk, from this root, and the data behind them. */
static int queue_part(struct ka_vm *vm, struct part *part)
{
	struct kvmbpf_paging_state state = paging_state(part->piece->paging);
	const struct kvmbpf_walk *walk = &part->translation->walk;
	struct kvmbpf_walk start;
	int err;

	/* The cached walk may change before this part is looked at. */
	part->depth = walk->depth;
	part->gpa = walk->gpa + PAGE_OFFSET(part->gva);
	err = kvmbpf_walk_begin(&state, part->gva, &start);
	for (unsigned int i = 0; i < walk->depth && err >= 0; i++) {
		part->step[i].gpa = i ? walk->step[i].gpa : start.step[0].gpa;
		part->step[i].entry = 0;
		err = queue_entry(vm, part, i, kvmbpf_walk_entry_size(&state));
	}
	if (err >= 0 && part->buf)
		err = batch_add(vm, part->gpa, part->buf, part->len);
	return err < 0 ? err : 0;
}

/* After the read: do the entries still lead to where the data was read from? */
static bool part_proven(struct part *part)
{
	struct kvmbpf_paging_state state = paging_state(part->piece->paging);
	struct kvmbpf_walk now;

	for (unsigned int i = 0; i < part->depth; i++)
		part->step[i].entry = *part->entry[i];
	if (kvmbpf_walk_resolve(&state, part->gva, part->step, part->depth, &now))
		return false;
	return now.gpa == part->gpa;
}

/* Walks, reads, and remembers the walk: what the cache could not answer. */
static int part_slow(struct ka_vm *vm, struct part *part)
{
	struct kvmbpf_walk walk;
	int err;

	part->translation->valid = false;
	err = translate_walk(vm, part->piece->paging, part->gva, &walk);
	if (err)
		return err;
	if (part->gva == part->piece->address)
		part->piece->gpa = walk.gpa;
	walk.gpa -= PAGE_OFFSET(part->gva);
	part->translation->walk = walk;
	part->translation->valid = true;
	if (!part->buf)
		return 0;
	return memory_read(vm, walk.gpa + PAGE_OFFSET(part->gva), part->buf, part->len);
}

static void part_seen(const struct host_vm *vm, const struct part *part)
{
	if (!vm->windows.count)
		return;
	for (unsigned int i = 0; i < part->depth; i++)
		memory_seen(vm, part->step[i].gpa, sizeof(part->step[i].entry));
	if (part->buf)
		memory_seen(vm, part->gpa, part->len);
}

static int part_finish(struct ka_vm *vm, struct part *part, size_t complete)
{
	if (part->queued && part->last <= complete && part_proven(part)) {
		part_seen(vm->vm, part);
		if (part->gva == part->piece->address)
			part->piece->gpa = part->gpa;
		return 0;
	}
	/* Its place in the cache may have been taken by a later part of this batch. */
	part->translation->page = part->gva / PAGE_SIZE;
	part->translation->paging = *part->piece->paging;
	return part_slow(vm, part);
}

/* How many iovecs of the batch were read whole. */
static size_t iovecs_complete(const struct batch *batch, size_t bytes)
{
	size_t count = 0;

	while (count < batch->count && batch->local[count].iov_len <= bytes)
		bytes -= batch->local[count++].iov_len;
	return count;
}

static int flush(struct ka_vm *vm, struct part *parts, size_t *count)
{
	struct batch *batch = vm->host->batch;
	size_t complete = 0;
	ssize_t bytes;

	if (batch->count) {
		bytes = vmm_readv(vm->vm, batch->local, batch->count, batch->remote, batch->count);
		if (bytes == -ESRCH)
			return -EOWNERDEAD;
		if (bytes > 0)
			complete = iovecs_complete(batch, bytes);
	}
	for (size_t i = 0; i < *count; i++) {
		int err = part_finish(vm, &parts[i], complete);

		if (err == -EOWNERDEAD)
			return err;
		if (err && !parts[i].piece->error)
			parts[i].piece->error = err;
	}
	*count = 0;
	batch_clear(batch);
	return 0;
}

/* Puts one page's part into the batch if the cache knows the page. */
static void add_part(struct ka_vm *vm, struct part *part)
{
	part->translation = cached(vm, part->piece->paging, part->gva);
	part->queued = part->translation->valid && !queue_part(vm, part);
	part->last = vm->host->batch->count;
}

static int peek_entry(void *ctx, __u64 gpa, void *buf, __u32 len)
{
	return memory_peek(ctx, gpa, buf, len);
}

/* Where all that it takes is mapped here. Else, and where it fails: false. */
static bool read_mapped(const struct ka_vm *vm, struct ka_piece *piece, uint64_t done, size_t len)
{
	struct kvmbpf_paging_state state = paging_state(piece->paging);
	struct kvmbpf_walk walk;

	if (!vm->vm->windows.count ||
	    kvmbpf_walk(&state, piece->address + done, peek_entry, vm->vm, &walk) ||
	    (piece->buf && memory_peek(vm->vm, walk.gpa, (char *)piece->buf + done, len)))
		return false;
	if (!done)
		piece->gpa = walk.gpa;
	return true;
}

static int add_piece(struct ka_vm *vm, struct ka_piece *piece, struct part *parts, size_t *count)
{
	uint64_t done = 0;

	/* Translating needs no length; the first byte's page is meant. */
	do {
		uint32_t len = in_page(piece->address + done, piece->len - done);
		int err;

		if (read_mapped(vm, piece, done, len)) {
			done += len;
			continue;
		}
		err = *count == BATCH_PARTS ? flush(vm, parts, count) : 0;
		if (!err && !*count)
			err = translations_prepare(vm);
		if (err)
			return err;
		parts[*count] = (struct part){
			.piece = piece,
			.gva = piece->address + done,
			.buf = piece->buf ? (char *)piece->buf + done : NULL,
			.len = len,
		};
		add_part(vm, &parts[(*count)++]);
		done += len;
	} while (piece->buf && done < piece->len);
	return 0;
}

int ka_readv(struct ka_vm *vm, struct ka_piece *pieces, size_t count)
{
	struct part parts[BATCH_PARTS];
	size_t part_count = 0;
	int err = 0;

	if (!vm->vm)
		return -EOWNERDEAD;
	batch_clear(vm->host->batch);
	windows_begin(&vm->vm->windows);
	for (size_t i = 0; i < count && !err; i++) {
		pieces[i].error = 0;
		pieces[i].gpa = pieces[i].address;
		if (pieces[i].paging)
			err = add_piece(vm, &pieces[i], parts, &part_count);
		else if (pieces[i].buf)
			pieces[i].error = memory_read(vm, pieces[i].address, pieces[i].buf,
						      pieces[i].len);
	}
	return err ? err : flush(vm, parts, &part_count);
}
