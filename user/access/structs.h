/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Structs of the guest's kernel: where their members lie, and their words and links read. */
#ifndef KVMACCESS_STRUCTS_H
#define KVMACCESS_STRUCTS_H

#include "kvmaccess.h"

/* A member that is looked for. */
struct structs_member {
	const char *type, *path;
	struct ka_member *ret_member;
	uint32_t size; /* that it must have, since it is read into a buffer of that; 0: any */
};

/* All of them; what was found of some stays where one is missing. */
bool structs_find(const struct ka_types *types, const struct structs_member *members, size_t count);

#define STRUCTS_FIND(types, ...)                                                                   \
	structs_find(types, (const struct structs_member[]){ __VA_ARGS__ },                        \
		     sizeof((const struct structs_member[]){ __VA_ARGS__ }) /                      \
			     sizeof(struct structs_member))

/* Where structs are read. */
struct structs {
	struct ka_vm *vm;
	const struct ka_kernel *kernel;
	unsigned int word; /* bytes of a pointer or a long */
};

unsigned int structs_word(const struct ka_kernel *kernel);
struct structs structs_of(struct ka_vm *vm, const struct ka_kernel *kernel);

/* All of the pieces, in the kernel's address space, or an error. */
int structs_readv(const struct structs *guest, struct ka_piece *pieces, size_t count);
int structs_read_word(const struct structs *guest, uint64_t gva, uint64_t *ret_word);

/* Of a list_head. */
struct structs_links {
	uint64_t next, prev;
};

/* Two words as they were read. */
struct structs_links structs_links(const struct structs *guest, const uint8_t bytes[16]);
int structs_read_links(const struct structs *guest, uint64_t gva, struct structs_links *ret_links);

/*
 * Calls `each` for the struct around each entry of the list at `head`, at most `max`. -EAGAIN: it
 * changed while it was read, or is bent; -ENOBUFS: too many; else what `each` returned.
 */
int structs_walk(const struct structs *guest, uint64_t head, uint32_t offset, size_t max,
		 int (*each)(void *ctx, uint64_t gva), void *ctx);

enum { STRUCTS_CPUS_MAX = 1024 };

/* What to add to a per-CPU symbol for each CPU. -ENODATA; -ENOBUFS: more CPUs than that. */
int structs_read_cpus(const struct structs *guest, uint64_t bases[static STRUCTS_CPUS_MAX],
		      size_t *ret_count);
/* A per-CPU symbol, to which a CPU's base is added. -ENOENT. */
int structs_percpu(const struct ka_kernel *kernel, const char *name, uint64_t *ret_symbol);

#endif
