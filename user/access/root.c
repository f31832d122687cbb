// SPDX-License-Identifier: LGPL-2.1-or-later
/* Finds the page tables of a guest's kernel where CR3 cannot be read. */
#include <errno.h>

#include "kernel.h"
#include "pagesearch.h"
#include "root.h"
#include "vmcoreinfo.h"

struct root_search {
	struct ka_vm *vm;
	const struct ka_registers *registers;
	uint64_t root;
};

static uint64_t image_gpa(const struct vmcoreinfo *info, uint64_t gva)
{
	return gva - START_KERNEL_MAP_64 + info->phys_base;
}

static bool maps(const struct root_search *search, const struct vmcoreinfo *info, uint64_t gva)
{
	struct ka_paging paging = ka_paging(search->registers);
	struct kvmbpf_walk walk;

	paging.root = image_gpa(info, info->root);
	return gva >= START_KERNEL_MAP_64 && !translate_walk(search->vm, &paging, gva, &walk) &&
	       walk.gpa == image_gpa(info, gva);
}

/* A page that begins as vmcoreinfo does; others may follow. */
static int page_found(void *ctx, uint64_t gpa)
{
	struct root_search *search = ctx;
	char text[VMCOREINFO_MAX];
	struct vmcoreinfo info;
	int err = memory_read(search->vm, gpa, text, sizeof(text));

	if (err == -EOWNERDEAD)
		return err;
	if (err || vmcoreinfo_parse(text, sizeof(text), &info) || info.root < START_KERNEL_MAP_64 ||
	    !maps(search, &info, info.stext) || !maps(search, &info, search->registers->lstar))
		return -ENODATA;
	search->root = image_gpa(&info, info.root);
	return 0;
}

/* Those of a kernel that has ended since do not map the entry of the next. */
static bool root_stands(struct ka_vm *vm, const struct ka_registers *registers)
{
	struct ka_paging paging = ka_paging(registers);
	struct kvmbpf_walk walk;

	paging.root = vm->root;
	return vm->root && !translate_walk(vm, &paging, registers->lstar, &walk);
}

int root_find(struct ka_vm *vm, const struct ka_registers *registers)
{
	struct root_search search = { .vm = vm, .registers = registers };
	int err;

	if (!ka_long_mode(registers) || registers->lstar < START_KERNEL_MAP_64)
		return -ENODATA;
	if (root_stands(vm, registers))
		return 0;
	vm->root = 0;
	err = pagesearch(vm, 0, VMCOREINFO_MAGIC, page_found, &search);
	if (!err)
		vm->root = search.root;
	return err;
}
