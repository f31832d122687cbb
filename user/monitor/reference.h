/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The vendors' kernels that the store knows, each loaded once for all guests that run it. */
#ifndef MONITOR_REFERENCE_H
#define MONITOR_REFERENCE_H

#include <kvmaccess.h>

struct store;
struct references;

int references_new(struct store *store, struct references **ret_references);
/* All must have been put back. */
void references_free(struct references *references);

/* Has the store references at all? */
bool references_any(const struct references *references);
/* NULL: the store has no reference of this build, or `references` is NULL. */
const struct ka_reference *references_get(struct references *references, const char *build_id);
/* Its text, which lives as long; NULL: it has none that could be compared. */
const struct ka_text *references_text(struct references *references,
				      const struct ka_reference *reference);
/* The same of its read-only data. */
const struct ka_text *references_rodata(struct references *references,
					const struct ka_reference *reference);
/* A module that came with it, which lives as long; NULL: none of this name did. */
const struct ka_module_image *references_module(struct references *references,
						const struct ka_reference *reference,
						const char *name);
/* Did any? */
bool references_have_modules(struct references *references, const struct ka_reference *reference);
void references_put(struct references *references, const struct ka_reference *reference);

enum { REFERENCE_ERROR_MAX = 640 };

/*
 * Takes the baselines of a file, or of all files named *.db of a directory, into the store. Each
 * replaces what the store had of that kernel build. With a public key, each file must be signed
 * with it (signature_verify()). Returns how many kernels came in. On failure `ret_error` says what
 * is wrong; kernels of earlier files of the directory stay.
 */
int references_import(struct store *store, const char *path, const char *public_key,
		      char ret_error[static REFERENCE_ERROR_MAX]);

#endif
