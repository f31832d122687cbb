/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel writes while it starts, and makes read-only then (ro_after_init). */
#ifndef MONITOR_RODATA_H
#define MONITOR_RODATA_H

#include "../audit.h"

enum { RODATA_WORD_BYTES = 8 };

/* A word that is not what it was. */
typedef void rodata_add(void *ctx, uint64_t gva, const uint8_t *expected, const uint8_t *observed);

struct rodata_init;

/* -ENODATA: this kernel does not tell where it is. */
int rodata_init_prepare(const struct audit_view *view, struct rodata_init **ret_init);
void rodata_init_release(struct rodata_init *init);
/* Is it of that range? `init` may be NULL. */
bool rodata_init_has(const struct rodata_init *init, uint64_t gva);
/* Is all of it held against what it was? What is writable yet, or still, is not. */
bool rodata_init_complete(const struct rodata_init *init);
/* The next part of it; what is there for the first time is kept. */
int rodata_init_look(struct rodata_init *init, const struct audit_view *view, rodata_add *add,
		     void *ctx);
/* One word of it. */
int rodata_init_again(struct rodata_init *init, const struct audit_view *view, uint64_t gva,
		      rodata_add *add, void *ctx);

#endif
