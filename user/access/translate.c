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

enum { PAGE_SHIFT = 12, LARGE_SHIFT = 21 };

static uint64_t offset_in(uint64_t gva, unsigned int shift)
{
	return gva & ((1ULL << shift) - 1);
}

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
	size_t left = PAGE_SIZE - offset_in(address, PAGE_SHIFT);

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
	size_t last;   /* of the batch's data: one past what it needs, or 0 */
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

static struct translation *place_of(const struct ka_vm *vm, uint64_t page)
{
	/* Fibonacci hashing: neighbours spread over the table. */
	size_t index = (page * 0x9e3779b97f4a7c15ULL) >> 54;

	return &vm->translations[index & (vm->translation_count - 1)];
}

static bool translates(const struct translation *entry, const struct ka_paging *paging, uint64_t gva,
		       unsigned int shift)
{
	return entry->valid && entry->shift == shift && entry->page == gva >> shift &&
	       entry->paging.mode == paging->mode && entry->paging.pse == paging->pse &&
	       entry->paging.nx == paging->nx;
}

/* The entry for the page, or the one that will be. That of a large page is looked for last, as most of what
 * each cycle reads lies in small ones. */
static struct translation *cached(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva)
{
	struct translation *entry = place_of(vm, gva >> PAGE_SHIFT), *large;

	if (translates(entry, paging, gva, PAGE_SHIFT))
		return entry;
	large = place_of(vm, gva >> LARGE_SHIFT);
	if (translates(large, paging, gva, LARGE_SHIFT))
		return large;
	vm->collisions += entry->valid;
	entry->valid = false;
	return entry;
}

/* Remembers the walk of a page. A later part of the same batch may have taken its place. */
static void remember(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva,
		     const struct kvmbpf_walk *walk)
{
	unsigned int shift = walk->page_size >> LARGE_SHIFT ? LARGE_SHIFT : PAGE_SHIFT;
	struct translation *entry = place_of(vm, gva >> shift);

	*entry = (struct translation){
		.page = gva >> shift,
		.shift = shift,
		.paging = *paging,
		.valid = true,
		.walk = *walk,
	};
	entry->walk.gpa -= offset_in(gva, shift);
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
	batch->entries.local_count = batch->entries.remote_count = 0;
	batch->data.local_count = batch->data.remote_count = 0;
	batch->number++;
}

static void transfers_add(struct transfers *transfers, uint64_t hva, void *buf, size_t len)
{
	struct iovec *next = &transfers->remote[transfers->remote_count];

	transfers->local[transfers->local_count++] = (struct iovec){ buf, len };
	if (transfers->remote_count && (uint64_t)next[-1].iov_base + next[-1].iov_len == hva) {
		next[-1].iov_len += len;
	} else {
		*next = (struct iovec){ (void *)hva, len };
		transfers->remote_count++;
	}
}

static int batch_add(const struct ka_vm *vm, struct transfers *transfers, uint64_t gpa, void *buf,
		     size_t len)
{
	const struct ka_memslot *slot;
	uint64_t hva, left;
	int err;

	err = memory_hva(vm->vm, gpa, &hva, &left, &slot);
	if (err)
		return err;
	if (left < len)
		return -ENXIO;
	transfers_add(transfers, hva, buf, len);
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
	err = batch_add(vm, &batch->entries, part->step[i].gpa, &part->step[i].entry, size);
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
	part->gpa = walk->gpa + offset_in(part->gva, part->translation->shift);
	err = kvmbpf_walk_begin(&state, part->gva, &start);
	for (unsigned int i = 0; i < walk->depth && err >= 0; i++) {
		part->step[i].gpa = i ? walk->step[i].gpa : start.step[0].gpa;
		part->step[i].entry = 0;
		err = queue_entry(vm, part, i, kvmbpf_walk_entry_size(&state));
	}
	if (err >= 0 && part->buf)
		err = batch_add(vm, &vm->host->batch->data, part->gpa, part->buf, part->len);
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

	err = translate_walk(vm, part->piece->paging, part->gva, &walk);
	if (err)
		return err;
	if (part->gva == part->piece->address)
		part->piece->gpa = walk.gpa;
	remember(vm, part->piece->paging, part->gva, &walk);
	return part->buf ? memory_read(vm, walk.gpa, part->buf, part->len) : 0;
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

/* What the batch read: all entries, and so many pieces of data. */
static int part_finish(struct ka_vm *vm, struct part *part, bool entries, size_t data)
{
	if (part->queued && entries && part->last <= data && part_proven(part)) {
		part_seen(vm->vm, part);
		if (part->gva == part->piece->address)
			part->piece->gpa = part->gpa;
		return 0;
	}
	/* Or a small page's would stand before that of the large one that is there now. */
	part->translation->valid = false;
	return part_slow(vm, part);
}

/* How many of these were read whole. */
static size_t iovecs_complete(const struct iovec *local, size_t max, size_t bytes)
{
	size_t count = 0;

	while (count < max && local[count].iov_len <= bytes)
		bytes -= local[count++].iov_len;
	return count;
}

/* Says whether all entries were read, and how many pieces of data. */
static int batch_read(struct ka_vm *vm, bool *ret_entries, size_t *ret_data)
{
	struct batch *batch = vm->host->batch;
	struct transfers *all = &batch->entries;
	size_t entries = all->local_count, complete;
	ssize_t bytes;

	*ret_entries = false;
	*ret_data = 0;
	memcpy(&all->local[entries], batch->data.local,
	       batch->data.local_count * sizeof(all->local[0]));
	memcpy(&all->remote[all->remote_count], batch->data.remote,
	       batch->data.remote_count * sizeof(all->remote[0]));
	all->local_count += batch->data.local_count;
	all->remote_count += batch->data.remote_count;
	if (!all->local_count)
		return 0;
	bytes = memory_readv(vm, all->local, all->local_count, all->remote, all->remote_count);
	if (bytes == -ESRCH)
		return -EOWNERDEAD;
	complete = bytes > 0 ? iovecs_complete(all->local, all->local_count, bytes) : 0;
	*ret_entries = complete >= entries;
	*ret_data = complete > entries ? complete - entries : 0;
	return 0;
}

static int flush(struct ka_vm *vm, struct part *parts, size_t *count)
{
	bool entries;
	size_t data;
	int err = batch_read(vm, &entries, &data);

	if (err)
		return err;
	for (size_t i = 0; i < *count; i++) {
		err = part_finish(vm, &parts[i], entries, data);
		if (err == -EOWNERDEAD)
			return err;
		if (err && !parts[i].piece->error)
			parts[i].piece->error = err;
	}
	*count = 0;
	batch_clear(vm->host->batch);
	return 0;
}

/* Puts one page's part into the batch if the cache knows the page. */
static void add_part(struct ka_vm *vm, struct part *part)
{
	part->translation = cached(vm, part->piece->paging, part->gva);
	part->queued = part->translation->valid && !queue_part(vm, part);
	part->last = part->buf ? vm->host->batch->data.local_count : 0;
}

/* ---- mapped memory -------------------------------------------------------------------------- */

/*
 * The table that translated the last page, whose neighbours it mostly translates, too. It is believed for
 * as many pages as a batch has, whose upper entries are read once as well.
 */
struct table {
	const struct ka_paging *paging;
	uint64_t gva;        /* of the first page that it translates */
	unsigned int shift;  /* GVA >> shift is the same for all of them */
	uint64_t gpa;
	unsigned int level, depth;
	unsigned int left;   /* pages */
};

static void table_take(struct table *table, const struct ka_paging *paging,
		       const struct kvmbpf_paging_state *state, uint64_t gva,
		       const struct kvmbpf_walk *walk)
{
	unsigned int level, shift;

	if (!walk->depth) /* paging is off */
		return;
	level = kvmbpf_walk_levels(state) - walk->depth + 1;
	shift = kvmbpf_walk_shift(state, level + 1);
	*table = (struct table){
		.paging = paging,
		.gva = gva >> shift << shift,
		.shift = shift,
		.gpa = walk->step[walk->depth - 1].gpa & ~(PAGE_SIZE - 1),
		.level = level,
		.depth = walk->depth - 1,
		.left = BATCH_PARTS - 1,
	};
}

static bool table_has(const struct table *table, const struct ka_paging *paging, uint64_t gva)
{
	return table->left && table->paging == paging &&
	       gva >> table->shift << table->shift == table->gva;
}

static int peek_entry(void *ctx, __u64 gpa, void *buf, __u32 len)
{
	return memory_peek(ctx, gpa, buf, len);
}

static int walk_mapped(const struct ka_vm *vm, struct table *table, const struct ka_paging *paging,
		       uint64_t gva, uint64_t *ret_gpa)
{
	struct kvmbpf_paging_state state = paging_state(paging);
	struct kvmbpf_walk walk;
	int err;

	if (table_has(table, paging, gva)) {
		table->left--;
		walk.rights = 0; /* are not asked for */
		walk.depth = table->depth;
		walk.step[walk.depth].gpa =
			kvmbpf_walk_slot(&state, table->gpa, table->level, gva);
		err = kvmbpf_walk_on(&state, gva, peek_entry, vm->vm, &walk);
	} else {
		err = kvmbpf_walk(&state, gva, peek_entry, vm->vm, &walk);
		if (!err)
			table_take(table, paging, &state, gva, &walk);
	}
	if (!err)
		*ret_gpa = walk.gpa;
	return err;
}

/* Where all that it takes is mapped here. Else, and where it fails: false. */
static bool read_mapped(const struct ka_vm *vm, struct table *table, struct ka_piece *piece,
			uint64_t done, size_t len)
{
	uint64_t gpa;

	if (!vm->vm->windows.count ||
	    walk_mapped(vm, table, piece->paging, piece->address + done, &gpa) ||
	    (piece->buf && memory_peek(vm->vm, gpa, (char *)piece->buf + done, len)))
		return false;
	if (!done)
		piece->gpa = gpa;
	return true;
}

/* ---- all pieces ----------------------------------------------------------------------------- */

static int add_piece(struct ka_vm *vm, struct ka_piece *piece, struct table *table,
		     struct part *parts, size_t *count)
{
	uint64_t done = 0;

	/* Translating needs no length; the first byte's page is meant. */
	do {
		uint32_t len = in_page(piece->address + done, piece->len - done);
		int err;

		if (read_mapped(vm, table, piece, done, len)) {
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
	struct table table = { 0 };
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
			err = add_piece(vm, &pieces[i], &table, parts, &part_count);
		else if (pieces[i].buf)
			pieces[i].error = memory_read(vm, pieces[i].address, pieces[i].buf,
						      pieces[i].len);
	}
	return err ? err : flush(vm, parts, &part_count);
}
