/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a guest's CPUs say about its kernel, and whether a symbol table fits that. */
#ifndef KVMACCESS_KERNEL_H
#define KVMACCESS_KERNEL_H

#include "vm.h"

#define START_KERNEL_MAP_64 0xffffffff80000000ULL
/* KASLR keeps the image within 1 GiB and to CONFIG_PHYSICAL_ALIGN, 2 MiB on x86-64. */
#define KASLR_RANGE (1ULL << 30)
#define KASLR_ALIGN_64 (1ULL << 21)

enum { KERNEL_VCPUS_MAX = 512, KERNEL_ENTRY_POINTS = 10, KERNEL_VOTES_MIN = 4 };

/* Where one vCPU enters the kernel, 0 where not known. */
struct kernel_evidence {
	struct ka_registers registers;
	struct ka_paging paging;
	uint64_t address[KERNEL_ENTRY_POINTS];
};

/* -EAGAIN: this vCPU is not up, or not in its kernel's paging mode. */
int kernel_gather(struct ka_vm *vm, const struct ka_registers *registers,
		  struct kernel_evidence *ret_evidence);

/* -ENODATA: these are not the symbols of the kernel that the evidence is of. */
int kernel_try(struct ka_vm *vm, const struct kernel_evidence *evidence,
	       const struct ka_symbols *symbols, struct ka_kernel *ret_kernel);

#endif
