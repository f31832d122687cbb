// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a guest's kernel has recorded of code that it put into its text while it runs: kprobes
 * (kernel/kprobes.c), direct calls of ftrace (kernel/trace/ftrace.c) and images of BPF
 * (kernel/bpf/trampoline.c, dispatcher.c, core.c), and where its modules lie.
 *
 * Every link is the guest's: walks are bounded, and what is found is looked at, not believed.
 */
#include "tracing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "structs.h"

enum {
	PROBE_BUCKET_BITS = 6, /* KPROBE_HASH_BITS */
	PROBES_MAX = 8192,
	DIRECT_BITS_MAX = 12, /* FTRACE_HASH_MAX_BITS */
	DIRECTS_MAX = 16384,
	IMAGES_MAX = 16384,
	MODULES_MAX = 1024,
	IMAGE_NAME_BYTES = 16,
};

struct ka_tracing_layout {
	struct ka_member probe_link, probe_addr, probe_opcode, probe_handler;
	struct ka_member copied, slot, size; /* of struct optimized_kprobe */
	struct ka_member hash_bits, hash_buckets, entry_link, entry_ip, entry_direct;
	struct ka_member image_start, image_end, image_name, image_link;
	struct ka_module_layout *modules;
	bool has_probes, has_slots, has_directs, has_images;
};

int ka_tracing_layout_new(const struct ka_kernel *kernel, const struct ka_types *types,
			  struct ka_tracing_layout **ret_layout)
{
	unsigned int word = structs_word(kernel);
	struct ka_tracing_layout *layout = calloc(1, sizeof(*layout));

	if (!layout)
		return -ENOMEM;
	layout->has_probes = STRUCTS_FIND(
		types, { "kprobe", "hlist.next", &layout->probe_link, word },
		{ "kprobe", "addr", &layout->probe_addr, word },
		{ "kprobe", "opcode", &layout->probe_opcode, 1 },
		{ "kprobe", "pre_handler", &layout->probe_handler, word });
	layout->has_slots =
		layout->has_probes &&
		STRUCTS_FIND(types, { "optimized_kprobe", "optinsn.copied_insn", &layout->copied,
				      TRACING_COPIED_BYTES },
			     { "optimized_kprobe", "optinsn.insn", &layout->slot, word },
			     { "optimized_kprobe", "optinsn.size", &layout->size, word });
	layout->has_directs =
		STRUCTS_FIND(types, { "ftrace_hash", "size_bits", &layout->hash_bits, word },
			     { "ftrace_hash", "buckets", &layout->hash_buckets, word },
			     { "ftrace_func_entry", "hlist.next", &layout->entry_link, word },
			     { "ftrace_func_entry", "ip", &layout->entry_ip, word },
			     { "ftrace_func_entry", "direct", &layout->entry_direct, word });
	layout->has_images =
		STRUCTS_FIND(types, { "bpf_ksym", "start", &layout->image_start, word },
			     { "bpf_ksym", "end", &layout->image_end, word },
			     { "bpf_ksym", "name", &layout->image_name, 0 },
			     { "bpf_ksym", "lnode", &layout->image_link, 2 * word }) &&
		layout->image_name.size >= IMAGE_NAME_BYTES;
	if (ka_module_layout_new(kernel, types, &layout->modules))
		layout->modules = NULL;
	if (!layout->has_probes && !layout->has_images) {
		ka_tracing_layout_free(layout);
		return -ENODATA;
	}
	*ret_layout = layout;
	return 0;
}

void ka_tracing_layout_free(struct ka_tracing_layout *layout)
{
	if (!layout)
		return;
	ka_module_layout_free(layout->modules);
	free(layout);
}

/* ---- what is read of the guest -------------------------------------------------------------- */

struct scan {
	struct structs guest;
	const struct ka_tracing_layout *layout;
	struct ka_tracing *tracing;
};

/* Room for one more of `size` bytes; -ENOBUFS beyond `max`. */
static int grow(void **array, size_t count, size_t *room, size_t max, size_t size)
{
	size_t wanted = *room ? *room * 2 : 32;
	void *bigger;

	if (count < *room)
		return 0;
	if (count == max)
		return -ENOBUFS;
	bigger = realloc(*array, (wanted < max ? wanted : max) * size);
	if (!bigger)
		return -ENOMEM;
	*array = bigger;
	*room = wanted < max ? wanted : max;
	return 0;
}

static uint64_t link_time(const struct scan *scan, uint64_t gva)
{
	return gva ? gva - scan->guest.kernel->slide : 0;
}

static int add_range(struct scan *scan, uint64_t start, uint64_t end, enum tracing_range_kind kind)
{
	struct ka_tracing *tracing = scan->tracing;
	int err = grow((void **)&tracing->ranges, tracing->range_count, &tracing->range_room,
		       IMAGES_MAX + MODULES_MAX, sizeof(*tracing->ranges));

	if (err)
		return err;
	tracing->ranges[tracing->range_count++] = (struct tracing_range){
		.start = link_time(scan, start), .end = link_time(scan, end), .kind = kind
	};
	return 0;
}

/* ---- kprobes -------------------------------------------------------------------------------- */

/* hash_ptr(): one that stands in another chain is not found by the breakpoint's handler. */
static unsigned int probe_bucket(uint64_t addr)
{
	return (unsigned int)(addr * 0x61c8864680b583ebull >> (64 - PROBE_BUCKET_BITS));
}

/* A probe that is shared, which all are that a slot is made for, is part of a larger struct. */
static int read_slot(const struct scan *scan, uint64_t gva, struct tracing_probe *probe)
{
	const struct ka_tracing_layout *layout = scan->layout;
	struct ka_piece pieces[] = {
		{ .address = gva + layout->copied.offset,
		  .buf = probe->copied,
		  .len = TRACING_COPIED_BYTES },
		{ .address = gva + layout->slot.offset, .buf = &probe->slot, .len = 8 },
		{ .address = gva + layout->size.offset, .buf = &probe->size, .len = 8 },
	};
	int err = structs_readv(&scan->guest, pieces, sizeof(pieces) / sizeof(pieces[0]));

	probe->slot = link_time(scan, probe->slot);
	return err;
}

static int read_probe(struct scan *scan, uint64_t gva, uint64_t shared, unsigned int bucket,
		      uint64_t *ret_next)
{
	const struct ka_tracing_layout *layout = scan->layout;
	struct ka_tracing *tracing = scan->tracing;
	struct tracing_probe probe = { .gva = gva };
	uint64_t addr = 0, next = 0, handler = 0;
	struct ka_piece pieces[] = {
		{ .address = gva + layout->probe_link.offset, .buf = &next, .len = 8 },
		{ .address = gva + layout->probe_addr.offset, .buf = &addr, .len = 8 },
		{ .address = gva + layout->probe_opcode.offset, .buf = &probe.opcode, .len = 1 },
		{ .address = gva + layout->probe_handler.offset, .buf = &handler, .len = 8 },
	};
	int err = structs_readv(&scan->guest, pieces, sizeof(pieces) / sizeof(pieces[0]));

	if (!err && layout->has_slots && shared && handler == shared)
		err = read_slot(scan, gva, &probe);
	if (!err)
		err = grow((void **)&tracing->probes, tracing->probe_count, &tracing->probe_room,
			   PROBES_MAX, sizeof(*tracing->probes));
	if (err)
		return err;
	*ret_next = next;
	probe.address = link_time(scan, addr);
	if (probe_bucket(addr) == bucket)
		tracing->probes[tracing->probe_count++] = probe;
	return 0;
}

static int compare_probes(const void *left, const void *right)
{
	const struct tracing_probe *a = left, *b = right;

	return a->address < b->address ? -1 : a->address > b->address;
}

static int scan_probes(struct scan *scan)
{
	uint64_t table, shared = 0, at;
	size_t steps = 0;
	int err = 0;

	if (!scan->layout->has_probes ||
	    ka_kernel_symbol(scan->guest.kernel, "kprobe_table", &table))
		return 0;
	ka_kernel_symbol(scan->guest.kernel, "aggr_pre_handler", &shared);
	for (unsigned int i = 0; !err && i < 1u << PROBE_BUCKET_BITS; i++) {
		err = structs_read_word(&scan->guest, table + 8ull * i, &at);
		while (!err && at) {
			if (steps++ == PROBES_MAX)
				return -ENOBUFS;
			err = read_probe(scan, at - scan->layout->probe_link.offset, shared, i,
					 &at);
		}
	}
	return err;
}

/* ---- direct calls --------------------------------------------------------------------------- */

static int read_direct(struct scan *scan, uint64_t gva, uint64_t *ret_next)
{
	const struct ka_tracing_layout *layout = scan->layout;
	struct ka_tracing *tracing = scan->tracing;
	uint64_t next = 0, ip = 0, direct = 0;
	struct ka_piece pieces[] = {
		{ .address = gva + layout->entry_link.offset, .buf = &next, .len = 8 },
		{ .address = gva + layout->entry_ip.offset, .buf = &ip, .len = 8 },
		{ .address = gva + layout->entry_direct.offset, .buf = &direct, .len = 8 },
	};
	int err = structs_readv(&scan->guest, pieces, sizeof(pieces) / sizeof(pieces[0]));

	if (!err)
		err = grow((void **)&tracing->directs, tracing->direct_count, &tracing->direct_room,
			   DIRECTS_MAX, sizeof(*tracing->directs));
	if (err)
		return err;
	*ret_next = next;
	tracing->directs[tracing->direct_count++] =
		(struct tracing_direct){ link_time(scan, ip), link_time(scan, direct) };
	return 0;
}

static int scan_directs(struct scan *scan)
{
	const struct ka_tracing_layout *layout = scan->layout;
	uint64_t hash, bits, buckets, at;
	size_t steps = 0;
	int err;

	if (!layout->has_directs ||
	    ka_kernel_symbol(scan->guest.kernel, "direct_functions", &hash))
		return 0;
	err = structs_read_word(&scan->guest, hash, &hash);
	if (err || !hash)
		return err;
	err = structs_read_word(&scan->guest, hash + layout->hash_bits.offset, &bits);
	if (!err)
		err = structs_read_word(&scan->guest, hash + layout->hash_buckets.offset, &buckets);
	if (err || bits > DIRECT_BITS_MAX)
		return err;
	for (uint64_t i = 0; !err && i < 1ull << bits; i++) {
		err = structs_read_word(&scan->guest, buckets + 8 * i, &at);
		while (!err && at) {
			if (steps++ == DIRECTS_MAX)
				return -ENOBUFS;
			err = read_direct(scan, at - layout->entry_link.offset, &at);
		}
	}
	return err;
}

/* ---- images of BPF, and modules ------------------------------------------------------------- */

static int read_image(struct scan *scan, uint64_t gva)
{
	static const struct {
		const char *prefix;
		enum tracing_range_kind kind;
	} kinds[] = { { "bpf_trampoline_", TRACING_TRAMPOLINE },
		      { "bpf_dispatcher_", TRACING_DISPATCHER } };
	const struct ka_tracing_layout *layout = scan->layout;
	uint64_t start = 0, end = 0;
	char name[IMAGE_NAME_BYTES];
	struct ka_piece pieces[] = {
		{ .address = gva + layout->image_start.offset, .buf = &start, .len = 8 },
		{ .address = gva + layout->image_end.offset, .buf = &end, .len = 8 },
		{ .address = gva + layout->image_name.offset, .buf = name, .len = sizeof(name) },
	};
	int err = structs_readv(&scan->guest, pieces, sizeof(pieces) / sizeof(pieces[0]));

	for (size_t i = 0; !err && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strncmp(name, kinds[i].prefix, strlen(kinds[i].prefix)))
			err = add_range(scan, start, end, kinds[i].kind);
	return err;
}

static int scan_images(struct scan *scan)
{
	struct structs_links links;
	uint64_t head;
	int err;

	if (!scan->layout->has_images ||
	    ka_kernel_symbol(scan->guest.kernel, "bpf_kallsyms", &head))
		return 0;
	err = structs_read_links(&scan->guest, head, &links);
	for (size_t i = 0; !err && links.next != head; i++) {
		if (i == IMAGES_MAX)
			return -ENOBUFS;
		err = read_image(scan, links.next - scan->layout->image_link.offset);
		if (!err)
			err = structs_read_links(&scan->guest, links.next, &links);
	}
	return err;
}

/* Those that hide from the list are none. */
static int scan_modules(struct scan *scan)
{
	struct ka_module *modules = NULL;
	size_t count = 0;
	uint32_t views;
	int err = 0;

	if (!scan->layout->modules)
		return 0;
	modules = calloc(MODULES_MAX, sizeof(*modules));
	if (!modules)
		return -ENOMEM;
	if (ka_modules_read(scan->guest.vm, scan->guest.kernel, scan->layout->modules, modules,
			    MODULES_MAX, &count, &views))
		count = 0;
	for (size_t i = 0; !err && i < count; i++)
		if (modules[i].views & KA_MODULE_LISTED)
			err = add_range(scan, modules[i].text_start,
					modules[i].text_start + modules[i].text_size,
					TRACING_MODULE);
	free(modules);
	return err;
}

/* ---- all of it ------------------------------------------------------------------------------ */

int ka_tracing_read(struct ka_vm *vm, const struct ka_kernel *kernel,
		    const struct ka_tracing_layout *layout, struct ka_tracing **ret_tracing)
{
	static int (*const steps[])(struct scan *scan) = { scan_probes, scan_directs, scan_images,
							   scan_modules };
	struct scan scan = {
		.guest = structs_of(vm, kernel),
		.layout = layout,
		.tracing = calloc(1, sizeof(*scan.tracing)),
	};
	int err = scan.tracing ? 0 : -ENOMEM;

	if (!err && !ka_symbols_64bit(kernel->symbols))
		err = -ENODATA;
	/* A record that is bent, or changes while it is read, explains nothing; the others do. */
	for (size_t i = 0; !err && i < sizeof(steps) / sizeof(steps[0]); i++) {
		err = steps[i](&scan);
		if (err != -ENOMEM && err != -EOWNERDEAD)
			err = 0;
	}
	if (err) {
		ka_tracing_free(scan.tracing);
		return err;
	}
	if (scan.tracing->probe_count)
		qsort(scan.tracing->probes, scan.tracing->probe_count,
		      sizeof(*scan.tracing->probes), compare_probes);
	*ret_tracing = scan.tracing;
	return 0;
}

void ka_tracing_free(struct ka_tracing *tracing)
{
	if (!tracing)
		return;
	free(tracing->probes);
	free(tracing->directs);
	free(tracing->ranges);
	free(tracing);
}

size_t tracing_probe_from(const struct ka_tracing *tracing, uint64_t address)
{
	size_t low = 0, high = tracing ? tracing->probe_count : 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (tracing->probes[middle].address < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool tracing_in_range(const struct ka_tracing *tracing, enum tracing_range_kind kind,
		      uint64_t address)
{
	for (size_t i = 0; tracing && i < tracing->range_count; i++) {
		const struct tracing_range *range = &tracing->ranges[i];

		if (range->kind == kind && address >= range->start && address < range->end)
			return true;
	}
	return false;
}

bool tracing_has_direct(const struct ka_tracing *tracing, uint64_t place, uint64_t target)
{
	for (size_t i = 0; tracing && i < tracing->direct_count; i++)
		if (tracing->directs[i].place == place && tracing->directs[i].target == target)
			return tracing_in_range(tracing, TRACING_TRAMPOLINE, target);
	return false;
}
