/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The Kernel Object Store: what each kernel build's objects hold, and where each boot has them.
 * One SQLite file with text values, made to be read with sqlite3(1).
 */
#ifndef MONITOR_STORE_H
#define MONITOR_STORE_H

#include "content.h"
#include "view.h"

struct store;

enum { STORE_VERSION = 3, STORE_ERROR_MAX = 512, STORE_KEY_MAX = 128 };

/*
 * Opens or creates it, and validates every row. On failure `ret_error` says what is wrong and what
 * to do; nothing in the file was changed.
 * Errors: -EBADMSG (damaged, or not a store), -EPROTONOSUPPORT (made by a newer version), -EROFS
 * (cannot be written), -EBUSY (in use for long), -ENOENT (its folder), -EIO.
 */
int store_open(const char *path, struct store **ret_store, char ret_error[static STORE_ERROR_MAX]);
/*
 * The same of a file's bytes, which are never written to: of a baseline from elsewhere. `name` is
 * for `ret_error`.
 */
int store_open_bytes(const char *name, const void *bytes, size_t len, struct store **ret_store,
		     char ret_error[static STORE_ERROR_MAX]);
void store_close(struct store *store);
/* What SQLite said last. */
const char *store_error(struct store *store);

/* -ENOENT: nothing is known of this kernel. -EBADMSG, -EIO. */
int store_content_load(struct store *store, const char *key, struct content *ret_content);
/* Names of addresses, for people who read the file; `kernel` may have no symbols. */
int store_content_save(struct store *store, const char *key, const struct content *content,
		       const struct ka_kernel *kernel);

/*
 * What a reference baseline comes with of its vendor's image: its symbols, by which its kernel is
 * found, and later all the rest. -ENOENT: nothing is kept.
 */
int store_reference_load(struct store *store, const char *key, struct ka_reference **ret_reference);
int store_reference_complete(struct store *store, struct ka_reference *reference);
/* After store_content_save() of the same key. */
int store_reference_save(struct store *store, const char *key,
			 const struct ka_reference *reference);

/* A module of that kernel, by its name. -ENOENT, -EBADMSG. */
int store_module_load(struct store *store, const char *key, const char *name,
		      struct ka_module_image **ret_image);
/* After store_content_save() of the same key; over what was kept of the same module. */
int store_module_save(struct store *store, const char *key, const struct ka_module_image *image);
/* How many are kept of this kernel. */
int store_modules_count(struct store *store, const char *key, int64_t *ret_count);

/* Has it references at all, and one of a kernel of this release? */
int store_references_known(struct store *store, const char *release, bool *ret_any,
			   bool *ret_release);

/* The n-th reference of a 32-bit kernel. -ENOENT: there are not as many. */
int store_reference_32bit(struct store *store, unsigned int n, char ret_key[static STORE_KEY_MAX]);
/* The n-th kernel that something is known of. -ENOENT: there are not as many. */
int store_kernel_nth(struct store *store, unsigned int n, char ret_key[static STORE_KEY_MAX]);
/* Takes all out that is known of a kernel build. */
int store_kernel_forget(struct store *store, const char *key);
/* Copies what `from` knows of a kernel build over what is known of it. */
int store_kernel_copy(struct store *store, struct store *from, const char *key);

struct store_boot {
	char vm_id[40], vm_name[129];
	char fingerprint[33]; /* tells boots of this VM apart */
	char kernel_key[STORE_KEY_MAX];
	unsigned int generation;
	uint64_t slide;
	char recorded_at[32];
};

/* The boot of this VM with this fingerprint, or its latest where `fingerprint` is NULL. -ENOENT. */
int store_boot_find(struct store *store, const char *vm_id, const char *fingerprint,
		    struct store_boot *ret_boot);
/* Enters a boot, or the same one again; the oldest of a VM with many are forgotten. */
int store_boot_save(struct store *store, const struct store_boot *boot);

/* Places of a boot; `object` is "gdtr", "idtr", "syscall_table" or "syscall_table_ia32", and vcpu
 * OBJECT_SHARED for what all have. Only gva, limit, pages and gpa of the view count. */
int store_place_find(struct store *store, const char *vm_id, unsigned int generation,
		     const char *object, int vcpu, struct view *ret_view);
int store_place_save(struct store *store, const char *vm_id, unsigned int generation,
		     const char *object, int vcpu, const struct view *view);

/* Many saves as one: all or nothing. */
int store_begin(struct store *store);
int store_commit(struct store *store);
void store_rollback(struct store *store);

#endif
