/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the objects of one kernel build hold, whatever the boot, the KASLR slide or the VM. */
#ifndef MONITOR_CONTENT_H
#define MONITOR_CONTENT_H

#include "check_gdt.h"
#include "check_idt.h"

#include <kvmaccess.h>

enum content_object {
	CONTENT_GDT,
	CONTENT_IDT,
	CONTENT_SYSCALL,
	CONTENT_SYSCALL_IA32,
	CONTENT_OBJECTS,
};

enum { CONTENT_MAX = 1024, CONTENT_DIGEST_MAX = 33 };

struct content_entry {
	uint64_t value[2]; /* an address in it is as linked where `relative` */
	bool relative;
	bool kept; /* false: differs by CPU or boot, nothing is known */
};

struct content {
	bool long_mode;
	char release[65];
	char trust[16]; /* "tofu", "reference" */
	char recorded_at[32];
	unsigned int count[CONTENT_OBJECTS];
	struct content_entry entry[CONTENT_OBJECTS][CONTENT_MAX];
};

const char *content_object_name(enum content_object object);
/* Bytes of a value. */
unsigned int content_size(enum content_object object, bool long_mode);

/* BLAKE2b-128 of all that is kept. */
void content_digest(const struct content *content, char ret_digest[static CONTENT_DIGEST_MAX]);
unsigned int content_kept(const struct content *content);

/* From a vendor's image: all that it tells. `recorded_at` is the caller's to set. */
void content_take_reference(struct content *content, const struct ka_reference *reference);
/* From bytes of a running guest into `content`. `len` in bytes. */
void content_take_gdt(struct content *content, const struct gdt_layout *layout,
		      const uint8_t *bytes, size_t len);
void content_take_idt(struct content *content, const struct ka_kernel *kernel, const uint8_t *bytes,
		      size_t len);
void content_take_syscalls(struct content *content, enum content_object object,
			   const struct ka_kernel *kernel, unsigned int entry_size,
			   const uint8_t *bytes, size_t len);

/*
 * From `content` over the bytes of a running guest: what is then expected of it. Entries that the
 * content does not have keep their bytes. The IDT's gates that may differ by boot keep theirs.
 */
void content_apply_gdt(const struct content *content, const struct gdt_layout *layout,
		       uint8_t *bytes, size_t len);
void content_apply_idt(const struct content *content, const struct ka_kernel *kernel,
		       uint8_t *bytes, size_t len);
void content_apply_syscalls(const struct content *content, enum content_object object,
			    const struct ka_kernel *kernel, unsigned int entry_size, uint8_t *bytes,
			    size_t len);

#endif
