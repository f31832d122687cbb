/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ed25519 signatures of files in the form of minisign(1): FILE.minisig beside FILE, a public key of
 * two lines. Either tool verifies what the other one signed.
 */
#ifndef MONITOR_SIGNATURE_H
#define MONITOR_SIGNATURE_H

#include <stddef.h>

enum { SIGNATURE_ERROR_MAX = 640 };

/*
 * -ENOKEY: `path`.minisig is missing, or was made with another key; -EKEYREJECTED: the file was
 * altered since; -EBADMSG: one of the files is no signature or key. `ret_error` says which, and is
 * untouched on success.
 */
int signature_verify(const char *path, const void *bytes, size_t len, const char *public_key,
		     char ret_error[static SIGNATURE_ERROR_MAX]);

/* A new pair: `name`.pub and `name`.key, which only its owner may read. -EEXIST. */
int signature_keygen(const char *name, char ret_error[static SIGNATURE_ERROR_MAX]);
/* Writes `path`.minisig. */
int signature_sign(const char *path, const char *secret_key,
		   char ret_error[static SIGNATURE_ERROR_MAX]);

#endif
