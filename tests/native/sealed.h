/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A tiny VM with a seal, and what it was made of. */
#ifndef TESTS_NATIVE_SEALED_H
#define TESTS_NATIVE_SEALED_H

#include "access/seal.h"
#include "access/vm.h"
#include "support.h"

enum { PAGE = 4096, VCPUS_MAX = 4, PIECES_MAX = 16 };

/* As the last look() saw them. */
extern struct ka_registers registers[VCPUS_MAX];
extern struct ka_paging paging[VCPUS_MAX];
extern struct ka_seal_vcpu vcpus[VCPUS_MAX];
extern struct ka_piece pieces[PIECES_MAX];
extern size_t vcpu_count, piece_count;

/* What a look at a kernel reads of t.ka: each vCPU's GDT and where the IDT is for it; the IDT, and
 * a table. */
void look(void);
/* Looks and seals. */
int seal(void);
/* Opens t with a seal; skips the test where the host has none. */
void open_sealed(const struct tinyvm_options *options);

void madvise_vmm(uint64_t gpa, uint64_t len, uint64_t advice);
void set_cr3(unsigned int vcpu, uint64_t cr3);

#endif
