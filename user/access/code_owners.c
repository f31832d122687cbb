// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Whose code lies where in a guest's kernel, by the kernel's own records: its image, modules, images of
 * BPF, trampolines of ftrace, slots of kprobes, the code that brings up CPUs.
 *
 * Every link is the guest's: walks are bounded, and a record that names too much only explains what
 * is told by other checks, if at all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "structs.h"

#define PAGE_SIZE 4096ULL
#define PAGE_UP(address) (((address) + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1))
#define PAGE_DOWN(address) ((address) & ~(PAGE_SIZE - 1))

/* arch/x86/include/uapi/asm/vsyscall.h */
#define VSYSCALL_PAGE 0xffffffffff600000ULL
#define BPF_PACK_BYTES (2ULL << 20) /* for each NUMA node */

enum { TRIES = 3, LIST_MAX = 1 << 14, MODULES_MAX = 1024, NODES_MAX = 1024 };

struct ka_code_layout {
	struct ka_module_layout *modules;
	struct ka_member pack_list, pack_ptr;
	struct ka_member ksym_start, ksym_end, ksym_link;
	struct ka_member ops_list, ops_trampoline, ops_size;
	struct ka_member cache_pages, page_list, page_insns;
	struct ka_module *module; /* MODULES_MAX, for the time of a call */
};

struct scan {
	struct structs guest;
	const struct ka_code_layout *layout;
	struct ka_code_range *ranges;
	size_t count, max;
	uint64_t pack_bytes;
};

int ka_code_layout_new(const struct ka_kernel *kernel, const struct ka_types *types,
		       struct ka_code_layout **ret_layout)
{
	unsigned int word = structs_word(kernel);
	struct ka_code_layout *layout = calloc(1, sizeof(*layout));

	if (!layout)
		return -ENOMEM;
	layout->module = calloc(MODULES_MAX, sizeof(*layout->module));
	if (!layout->module || ka_module_layout_new(kernel, types, &layout->modules) ||
	    !STRUCTS_FIND(types, { "bpf_prog_pack", "list", &layout->pack_list, 2 * word },
			  { "bpf_prog_pack", "ptr", &layout->pack_ptr, word },
			  { "bpf_ksym", "start", &layout->ksym_start, word },
			  { "bpf_ksym", "end", &layout->ksym_end, word },
			  { "bpf_ksym", "lnode", &layout->ksym_link, 2 * word },
			  { "ftrace_ops", "list", &layout->ops_list, 2 * word },
			  { "ftrace_ops", "trampoline", &layout->ops_trampoline, word },
			  { "ftrace_ops", "trampoline_size", &layout->ops_size, word },
			  { "kprobe_insn_cache", "pages", &layout->cache_pages, 2 * word },
			  { "kprobe_insn_page", "list", &layout->page_list, 2 * word },
			  { "kprobe_insn_page", "insns", &layout->page_insns, word })) {
		ka_code_layout_free(layout);
		return -ENODATA;
	}
	*ret_layout = layout;
	return 0;
}

void ka_code_layout_free(struct ka_code_layout *layout)
{
	if (!layout)
		return;
	ka_module_layout_free(layout->modules);
	free(layout->module);
	free(layout);
}

static int add(struct scan *scan, uint64_t start, uint64_t end)
{
	if (end <= start)
		return 0;
	if (scan->count == scan->max)
		return -ENOBUFS;
	scan->ranges[scan->count++] =
		(struct ka_code_range){ .start = PAGE_DOWN(start), .end = PAGE_UP(end) };
	return 0;
}

/* ---- the kernel's image --------------------------------------------------------------------- */

/* With the rest of the last large page, which was given back but stays mapped. */
static int add_image(struct scan *scan)
{
	const struct ka_kernel *kernel = scan->guest.kernel;
	uint64_t rodata;
	int err;

	if (ka_kernel_symbol(kernel, "__start_rodata", &rodata))
		return -ENODATA;
	err = add(scan, kernel->base, rodata);
	return err ? err : add(scan, VSYSCALL_PAGE, VSYSCALL_PAGE + PAGE_SIZE);
}

/* What CPUs begin with, in the first MiB. */
static int add_real_mode(struct scan *scan)
{
	uint64_t pointer, start, blob, end;
	int err;

	if (ka_kernel_symbol(scan->guest.kernel, "real_mode_header", &pointer) ||
	    ka_kernel_symbol(scan->guest.kernel, "real_mode_blob", &blob) ||
	    ka_kernel_symbol(scan->guest.kernel, "real_mode_blob_end", &end))
		return 0;
	err = structs_read_word(&scan->guest, pointer, &start);
	if (err || end < blob || end - blob > 1 << 20)
		return err;
	return add(scan, start, start + (end - blob));
}

/* ---- records -------------------------------------------------------------------------------- */

static int add_modules(struct scan *scan)
{
	struct ka_module *module = scan->layout->module;
	uint32_t views;
	size_t count;
	int err = ka_modules_read(scan->guest.vm, scan->guest.kernel, scan->layout->modules, module,
				  MODULES_MAX, &count, &views);

	for (size_t i = 0; !err && i < count; i++) {
		err = add(scan, module[i].text_start, module[i].text_start + module[i].text_size);
		if (!err)
			err = add(scan, module[i].init_start,
				  module[i].init_start + module[i].init_size);
	}
	return err;
}

static int read_pair(const struct scan *scan, uint64_t a, uint64_t b, uint64_t *ret_a, uint64_t *ret_b)
{
	struct ka_piece pieces[] = {
		{ .address = a, .buf = ret_a, .len = scan->guest.word },
		{ .address = b, .buf = ret_b, .len = scan->guest.word },
	};

	*ret_a = *ret_b = 0;
	return structs_readv(&scan->guest, pieces, 2);
}

static int add_pack(void *ctx, uint64_t gva)
{
	struct scan *scan = ctx;
	uint64_t start;
	int err = structs_read_word(&scan->guest, gva + scan->layout->pack_ptr.offset, &start);

	return err ? err : add(scan, start, start + scan->pack_bytes);
}

static int add_ksym(void *ctx, uint64_t gva)
{
	struct scan *scan = ctx;
	uint64_t start, end;
	int err = read_pair(scan, gva + scan->layout->ksym_start.offset,
			    gva + scan->layout->ksym_end.offset, &start, &end);

	return err ? err : add(scan, start, end);
}

static int add_trampoline(void *ctx, uint64_t gva)
{
	struct scan *scan = ctx;
	uint64_t start, size;
	int err = read_pair(scan, gva + scan->layout->ops_trampoline.offset,
			    gva + scan->layout->ops_size.offset, &start, &size);

	return err ? err : add(scan, start, start + size);
}

static int add_slots(void *ctx, uint64_t gva)
{
	struct scan *scan = ctx;
	uint64_t start;
	int err = structs_read_word(&scan->guest, gva + scan->layout->page_insns.offset, &start);

	return err ? err : add(scan, start, start + PAGE_SIZE);
}

/* A list that this kernel does not have explains nothing. */
static int add_list(struct scan *scan, const char *symbol, uint32_t head_offset, uint32_t offset,
		    int (*each)(void *ctx, uint64_t gva))
{
	uint64_t head;

	if (ka_kernel_symbol(scan->guest.kernel, symbol, &head))
		return 0;
	return structs_walk(&scan->guest, head + head_offset, offset, LIST_MAX, each, scan);
}

static int read_nodes(struct scan *scan)
{
	uint32_t nodes = 1;
	uint64_t symbol;
	int err = 0;

	if (!ka_kernel_symbol(scan->guest.kernel, "nr_node_ids", &symbol)) {
		struct ka_piece piece = { .address = symbol, .buf = &nodes, .len = sizeof(nodes) };

		err = structs_readv(&scan->guest, &piece, 1);
	}
	if (!err && (!nodes || nodes > NODES_MAX))
		err = -EAGAIN;
	scan->pack_bytes = nodes * BPF_PACK_BYTES;
	return err;
}

static int read_all(struct scan *scan)
{
	const struct ka_code_layout *layout = scan->layout;
	uint32_t pages = layout->cache_pages.offset;
	int err = read_nodes(scan);

	scan->count = 0;
	if (!err)
		err = add_image(scan);
	if (!err)
		err = add_real_mode(scan);
	if (!err)
		err = add_modules(scan);
	if (!err)
		err = add_list(scan, "pack_list", 0, layout->pack_list.offset, add_pack);
	if (!err)
		err = add_list(scan, "bpf_kallsyms", 0, layout->ksym_link.offset, add_ksym);
	if (!err)
		err = add_list(scan, "ftrace_ops_trampoline_list", 0, layout->ops_list.offset,
			       add_trampoline);
	if (!err)
		err = add_list(scan, "kprobe_insn_slots", pages, layout->page_list.offset, add_slots);
	if (!err)
		err = add_list(scan, "kprobe_optinsn_slots", pages, layout->page_list.offset,
			       add_slots);
	return err;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = ((const struct ka_code_range *)a)->start;
	uint64_t y = ((const struct ka_code_range *)b)->start;

	return x < y ? -1 : x > y;
}

int ka_code_read(struct ka_vm *vm, const struct ka_kernel *kernel, const struct ka_code_layout *layout,
		 struct ka_code_range *ranges, size_t max, size_t *ret_count)
{
	struct scan scan = {
		.guest = structs_of(vm, kernel), .layout = layout, .ranges = ranges, .max = max
	};
	int err = registers_refresh(vm);

	for (int tries = 0; tries < TRIES; tries++) {
		if (err)
			return err;
		err = read_all(&scan);
		if (!err || err == -EOWNERDEAD || err == -ENOBUFS || err == -ENODATA)
			break;
		err = tries == TRIES - 1 ? -EAGAIN : 0;
	}
	if (err)
		return err;
	qsort(ranges, scan.count, sizeof(*ranges), compare);
	*ret_count = scan.count;
	return 0;
}

size_t ka_code_unowned(const struct ka_code_range *mapped, size_t mapped_count,
		       const struct ka_code_range *owned, size_t owned_count,
		       struct ka_code_range *unowned, size_t max)
{
	size_t count = 0;

	for (size_t i = 0; i < mapped_count; i++) {
		uint64_t at = mapped[i].start, end = mapped[i].end;

		for (size_t o = 0; o < owned_count && at < end; o++) {
			if (owned[o].end <= at || owned[o].start >= end)
				continue;
			if (owned[o].start > at) {
				if (count < max)
					unowned[count] = (struct ka_code_range){
						at, owned[o].start, mapped[i].writable };
				count++;
			}
			at = owned[o].end;
		}
		if (at < end) {
			if (count < max)
				unowned[count] =
					(struct ka_code_range){ at, end, mapped[i].writable };
			count++;
		}
	}
	return count;
}
