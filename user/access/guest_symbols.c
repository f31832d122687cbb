// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Symbols of the running kernel, from the guest's own memory.
 *
 * What the CPUs point at is certain to be used: it tells where the kernel's text lies in physical
 * memory. All that memory says besides must agree with that.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kallsyms.h"
#include "kernel.h"
#include "pagesearch.h"
#include "symbols_build.h"
#include "vmcoreinfo.h"

#define PAGE_MASK 4095ULL
/* Where 64-bit kernels are linked, unless CONFIG_PHYSICAL_START was changed. */
#define LINKED_TEXT (START_KERNEL_MAP_64 + (16ULL << 20))

enum {
	STRETCH_MAX = 64 << 20,	 /* bytes from the first kallsyms table to the last */
	WINDOW_BYTES = 64 << 20, /* searched for tables that nothing names */
	WINDOW_STEP = 1 << 20,
	COUNT_MAX = 1 << 20,  /* symbols: a distribution's kernel has 200000 */
	LOADS_MAX = 3,	      /* tables read in one search: a guest can plant any number */
	SEARCHES_PATIENT = 3, /* for the text, before the tables are looked for without it */
	BANNER_MAX = 128,
};

struct guest_search {
	struct ka_vm *vm;
	const struct kernel_evidence *evidence;
	int64_t phys_base;
	uint64_t text; /* the lowest entry point that agrees with it */
	unsigned int loads;
	struct ka_symbols *symbols;
	char *build_id; /* is all that is wanted, where not NULL */
};

static void freep(void *pointer)
{
	free(*(void **)pointer);
}

static bool in_image(uint64_t gva)
{
	return gva >= START_KERNEL_MAP_64 && gva - START_KERNEL_MAP_64 < KASLR_RANGE;
}

static uint64_t image_gpa(const struct guest_search *search, uint64_t gva)
{
	return gva - START_KERNEL_MAP_64 + search->phys_base;
}

/* The image lies in one piece of physical memory. */
static int image_read(const struct guest_search *search, uint64_t gva, void *buf, size_t len)
{
	if (!in_image(gva) || len > KASLR_RANGE || !in_image(gva + len))
		return -EFAULT;
	return memory_read(search->vm, image_gpa(search, gva), buf, len);
}

/* ---- where the text is ---------------------------------------------------------------------- */

/* By most entry points, so that one hooked entry does not mislead. Even the page tables of user
 * mode under KPTI map them. */
static int text_find(struct guest_search *search)
{
	const struct kernel_evidence *evidence = search->evidence;
	int64_t base[KERNEL_ENTRY_POINTS];
	uint64_t address[KERNEL_ENTRY_POINTS];
	size_t count = 0, best_votes = 0;

	for (size_t i = 0; i < KERNEL_ENTRY_POINTS; i++) {
		struct kvmbpf_walk walk;

		address[count] = evidence->address[i];
		if (!in_image(address[count]) ||
		    translate_walk(search->vm, &evidence->paging, address[count], &walk))
			continue;
		base[count] = (int64_t)(walk.gpa - (address[count] - START_KERNEL_MAP_64));
		if (base[count] % (int64_t)KASLR_ALIGN_64 == 0)
			count++;
	}
	for (size_t i = 0; i < count; i++) {
		uint64_t lowest = UINT64_MAX;
		size_t votes = 0;

		for (size_t j = 0; j < count; j++)
			if (base[j] == base[i]) {
				votes++;
				lowest = address[j] < lowest ? address[j] : lowest;
			}
		if (votes > best_votes) {
			best_votes = votes;
			search->phys_base = base[i];
			search->text = lowest;
		}
	}
	return best_votes < KERNEL_VOTES_MIN ? -ENODATA : 0;
}

/* ---- what vmcoreinfo says ------------------------------------------------------------------- */

static struct ka_paging info_paging(const struct guest_search *search,
				    const struct vmcoreinfo *info)
{
	struct ka_paging paging = search->evidence->paging;

	paging.root = image_gpa(search, info->root);
	return paging;
}

static bool maps_image(const struct guest_search *search, const struct ka_paging *paging,
		       uint64_t gva)
{
	struct kvmbpf_walk walk;

	return !translate_walk(search->vm, paging, gva, &walk) &&
	       walk.gpa == image_gpa(search, gva);
}

/* Does the text agree with where the CPUs enter the kernel, and with the page tables it names? */
static bool info_agrees(const struct guest_search *search, const struct vmcoreinfo *info)
{
	struct ka_paging paging;
	struct kvmbpf_walk walk;

	if (info->phys_base != search->phys_base || info->slide >= KASLR_RANGE ||
	    info->slide % KASLR_ALIGN_64)
		return false;
	if (!in_image(info->stext) || !in_image(info->root) || info->root & PAGE_MASK ||
	    info->stext > search->text)
		return false;
	paging = info_paging(search, info);
	if (!maps_image(search, &paging, info->stext) || !maps_image(search, &paging, search->text))
		return false;
	/* KPTI's page tables of user mode need not map it. */
	return translate_walk(search->vm, &search->evidence->paging, info->stext, &walk) ||
	       walk.gpa == image_gpa(search, info->stext);
}

/* ---- the tables ----------------------------------------------------------------------------- */

/* The stretch from the first table to the end of the last. */
static int tables_bounds(const struct guest_search *search, const struct kallsyms_tables *tables,
			 uint64_t *ret_start, uint64_t *ret_end)
{
	uint64_t at[] = { tables->num_syms,    tables->names,	tables->token_table,
			  tables->token_index, tables->offsets, tables->relative_base };
	uint64_t start = UINT64_MAX, end = 0;
	uint32_t count;

	if (image_read(search, tables->num_syms, &count, sizeof(count)) || !count ||
	    count > COUNT_MAX || tables->names > tables->token_table)
		return -EBADMSG;
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		uint64_t len = at[i] == tables->offsets ? 4ULL * count : 512;

		if (!at[i] && at[i] == tables->relative_base)
			continue;
		if (!in_image(at[i]))
			return -EBADMSG;
		start = at[i] < start ? at[i] : start;
		end = at[i] + len > end ? at[i] + len : end;
	}
	start &= ~PAGE_MASK;
	if (end - start > STRETCH_MAX)
		return -EBADMSG;
	*ret_start = start;
	*ret_end = end;
	return 0;
}

static int symbols_from_tables(struct guest_search *search, const struct vmcoreinfo *info,
			       struct ka_symbols *symbols)
{
	__attribute__((cleanup(freep))) uint8_t *bytes = NULL;
	struct ka_paging paging = info_paging(search, info);
	struct kallsyms_image image;
	uint64_t start, end;
	int err;

	err = tables_bounds(search, &info->kallsyms, &start, &end);
	if (err)
		return err;
	if (!maps_image(search, &paging, start) || !maps_image(search, &paging, end - 1))
		return -EBADMSG;
	bytes = malloc(end - start);
	if (!bytes)
		return -ENOMEM;
	err = image_read(search, start, bytes, end - start);
	if (err)
		return err;
	image = (struct kallsyms_image){
		.bytes = bytes, .len = end - start, .base = start, .bits = 64
	};
	return kallsyms_parse(&image, &info->kallsyms, symbols);
}

/* What lies behind the text, as far as there is memory. */
static int window_read(const struct guest_search *search, uint8_t **ret_bytes,
		       struct kallsyms_image *ret_image)
{
	uint64_t start = search->text & ~(KASLR_ALIGN_64 - 1);
	uint8_t *bytes = malloc(WINDOW_BYTES);
	size_t len = 0;

	if (!bytes)
		return -ENOMEM;
	while (len < WINDOW_BYTES && !image_read(search, start + len, bytes + len, WINDOW_STEP))
		len += WINDOW_STEP;
	*ret_bytes = bytes;
	*ret_image =
		(struct kallsyms_image){ .bytes = bytes, .len = len, .base = start, .bits = 64 };
	return 0;
}

static int symbols_by_structure(struct guest_search *search, struct ka_symbols *symbols)
{
	__attribute__((cleanup(freep))) uint8_t *bytes = NULL;
	struct kallsyms_image image;
	struct kallsyms_tables tables;
	int err;

	err = window_read(search, &bytes, &image);
	if (!err)
		err = kallsyms_locate(&image, &tables);
	return err ? err : kallsyms_parse(&image, &tables, symbols);
}

static uint64_t slide_of(const struct ka_symbols *symbols)
{
	for (size_t i = 0; i < symbols_count(symbols); i++) {
		struct symbols_entry entry = symbols_at(symbols, i);

		if (!strcmp(entry.name, "_text"))
			return entry.addr - LINKED_TEXT;
	}
	return UINT64_MAX;
}

/* "Linux version 6.1.0-50-amd64 (…": the kernel's own linux_banner. */
static void release_set(const struct guest_search *search, uint64_t slide,
			struct ka_symbols *symbols)
{
	static const char prefix[] = "Linux version ";
	char banner[BANNER_MAX];
	size_t len = 0;
	uint64_t address;

	if (ka_symbols_find(symbols, "linux_banner", &address) ||
	    image_read(search, address + slide, banner, sizeof(banner)) ||
	    memcmp(banner, prefix, strlen(prefix)))
		return;
	while (strlen(prefix) + len < sizeof(banner) &&
	       isgraph((unsigned char)banner[strlen(prefix) + len]))
		len++;
	symbols_set_release(symbols, banner + strlen(prefix), len);
}

/* ---- the verdict ---------------------------------------------------------------------------- */

/* The symbols must find the kernel where everything else says that it is. */
static int symbols_verify(struct guest_search *search, const struct ka_symbols *symbols,
			  uint64_t slide)
{
	struct ka_kernel kernel;
	int err = kernel_try(search->vm, search->evidence, symbols, &kernel);

	if (err)
		return err;
	if (kernel.slide != slide || kernel.phys_base != search->phys_base)
		return -ENODATA;
	if (!in_image(kernel.base) || kernel.base > kernel.text_start ||
	    kernel.text_start > search->text || kernel.text_end <= search->text ||
	    kernel.image_end < kernel.text_end || !in_image(kernel.image_end))
		return -ENODATA;
	return 0;
}

/* With what vmcoreinfo says, or where there is none, without. */
static int symbols_load(struct guest_search *search, const struct vmcoreinfo *info, uint64_t gpa)
{
	__attribute__((cleanup(symbols_freep))) struct ka_symbols *symbols = NULL;
	uint64_t slide;
	int err = symbols_create(&symbols);

	if (!err)
		err = info && info->has_kallsyms ? symbols_from_tables(search, info, symbols)
						 : symbols_by_structure(search, symbols);
	if (err)
		return err;
	slide = info ? info->slide : slide_of(symbols);
	if (slide >= KASLR_RANGE)
		return -ENODATA;
	if (info) {
		symbols_set_vmcoreinfo(symbols, gpa);
		symbols_set_release(symbols, info->release, strlen(info->release));
	}
	if (info && info->has_build_id)
		symbols_set_build_id(symbols, info->build_id, sizeof(info->build_id));
	symbols_set_source(symbols, "guest");
	symbols_rebase(symbols, slide);
	err = symbols_seal(symbols);
	if (err)
		return err;
	if (!info)
		release_set(search, slide, symbols);
	err = symbols_verify(search, symbols, slide);
	if (err)
		return err;
	search->symbols = symbols;
	symbols = NULL;
	return 0;
}

static int build_id_take(struct guest_search *search, const struct vmcoreinfo *info)
{
	if (!info->has_build_id)
		return -ENODATA;
	for (size_t i = 0; i < VMCOREINFO_BUILD_ID; i++)
		sprintf(search->build_id + 2 * i, "%02x", info->build_id[i]);
	return 0;
}

/* A page that begins as vmcoreinfo does; others may follow. */
static int page_found(void *ctx, uint64_t gpa)
{
	struct guest_search *search = ctx;
	char text[VMCOREINFO_MAX];
	struct vmcoreinfo info;
	int err = memory_read(search->vm, gpa, text, sizeof(text));

	if (err == -EOWNERDEAD)
		return err;
	if (err || vmcoreinfo_parse(text, sizeof(text), &info) || !info_agrees(search, &info))
		return -ENODATA;
	if (search->loads++ == LOADS_MAX)
		return -EBADMSG;
	err = search->build_id ? build_id_take(search, &info) : symbols_load(search, &info, gpa);
	if (!err)
		search->vm->vmcoreinfo = gpa;
	return err && err != -EOWNERDEAD && err != -ENOMEM ? -ENODATA : err;
}

/* First where it was the last time. */
static int info_search(struct guest_search *search)
{
	int err = -ENODATA;

	if (search->vm->vmcoreinfo)
		err = page_found(search, search->vm->vmcoreinfo);
	return err != -ENODATA ? err
			       : pagesearch(search->vm, image_gpa(search, search->text),
					    VMCOREINFO_MAGIC, page_found, search);
}

static int build_id_search(struct guest_search *search)
{
	int err = info_search(search);

	return err == -EBADMSG ? -ENODATA : err;
}

static int symbols_search(struct guest_search *search)
{
	int err = info_search(search);

	/* A kernel that boots makes its text only after it has its entry points. */
	if (err == -ENODATA && ++search->vm->searches < SEARCHES_PATIENT)
		return -EAGAIN;
	/* None, or so many that fit and lie that none is to be believed. */
	if (err == -ENODATA || err == -EBADMSG)
		err = symbols_load(search, NULL, 0);
	search->vm->searches = 0;
	if (!err || err == -EOWNERDEAD || err == -ENOMEM || err == -EAGAIN)
		return err;
	return -ENODATA;
}

/* By each vCPU's text: all lead to the same, unless one was led elsewhere. */
static int search_all(struct ka_vm *vm, int (*look)(struct guest_search *search),
		      struct guest_search *ret_search)
{
	struct ka_registers registers[KERNEL_VCPUS_MAX];
	int64_t searched = INT64_MIN;
	int err, last = -EAGAIN;
	size_t vcpus;

	err = ka_registers_read_all(vm, registers, KERNEL_VCPUS_MAX, &vcpus);
	if (err)
		return err;
	for (size_t i = 0; i < vcpus; i++) {
		struct kernel_evidence evidence;
		struct guest_search search = { .vm = vm,
					       .evidence = &evidence,
					       .build_id = ret_search->build_id };

		err = kernel_gather(vm, &registers[i], &evidence);
		if (err == -EAGAIN)
			continue;
		last = -ENODATA;
		if (err || !ka_long_mode(&registers[i]) || text_find(&search) ||
		    search.phys_base == searched)
			continue;
		searched = search.phys_base;
		err = look(&search);
		if (!err)
			ret_search->symbols = search.symbols;
		if (err != -ENODATA)
			return err;
	}
	return last;
}

int ka_symbols_from_guest(struct ka_vm *vm, struct ka_symbols **ret_symbols)
{
	struct guest_search search = { 0 };
	int err = search_all(vm, symbols_search, &search);

	if (!err)
		*ret_symbols = search.symbols;
	return err;
}

int ka_build_id_from_guest(struct ka_vm *vm, char ret_build_id[static KA_BUILD_ID_MAX])
{
	char build_id[KA_BUILD_ID_MAX] = "";
	struct guest_search search = { .build_id = build_id };
	int err = search_all(vm, build_id_search, &search);

	if (!err)
		strcpy(ret_build_id, build_id);
	return err;
}
