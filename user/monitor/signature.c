// SPDX-License-Identifier: LGPL-2.1-or-later
/* Ed25519 signatures of files in the form of minisign(1). */
#include "signature.h"

#include "cleanup.h"
#include "file.h"

#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ID_BYTES = 8, BLOB_MAX = 256, LINE_MAX_LEN = 512, PATH_LEN = 4096 };

static const char untrusted[] = "untrusted comment: ";
static const char trusted[] = "trusted comment: ";

/* Both are what is in a line of base64. */
struct public_key {
	char algorithm[2]; /* "Ed" */
	uint8_t id[ID_BYTES];
	uint8_t key[crypto_sign_PUBLICKEYBYTES];
};

struct signature {
	char algorithm[2]; /* "ED": of the file's BLAKE2b-512, "Ed": of the file itself */
	uint8_t id[ID_BYTES];
	uint8_t signature[crypto_sign_BYTES];
};

/* Ours: minisign encrypts its own with a password. */
struct secret_key {
	char algorithm[2]; /* "Ek" */
	uint8_t id[ID_BYTES];
	uint8_t key[crypto_sign_SECRETKEYBYTES];
};

/* Cuts the next line off. NULL: there is none. */
static char *next_line(char **text)
{
	char *line = *text, *end = line ? strchr(line, '\n') : NULL;

	if (!line || !*line)
		return NULL;
	if (end)
		*end = '\0';
	*text = end ? end + 1 : NULL;
	return line;
}

static bool decode(const char *line, void *ret_blob, size_t size)
{
	size_t len = 0;

	return line &&
	       !sodium_base642bin(ret_blob, size, line, strlen(line), "\r ", &len, NULL,
				  sodium_base64_VARIANT_ORIGINAL) &&
	       len == size;
}

static const char *encode(char buf[static BLOB_MAX], const void *blob, size_t size)
{
	return sodium_bin2base64(buf, BLOB_MAX, blob, size, sodium_base64_VARIANT_ORIGINAL);
}

/* The second line of a file, under a comment. */
static int blob_load(const char *path, const char *algorithm, void *ret_blob, size_t size,
		     char ret_error[static SIGNATURE_ERROR_MAX])
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	char *at;
	int r = file_load(path, &text, &len);

	if (r < 0) {
		snprintf(ret_error, SIGNATURE_ERROR_MAX, "%.400s: %s", path, strerror(-r));
		return r;
	}
	at = text;
	if (!next_line(&at) || !decode(next_line(&at), ret_blob, size) ||
	    memcmp(ret_blob, algorithm, 2)) {
		sodium_memzero(text, len);
		snprintf(ret_error, SIGNATURE_ERROR_MAX, "%.400s: not a key of this kind", path);
		return -EBADMSG;
	}
	sodium_memzero(text, len);
	return 0;
}

static void file_hash(const void *bytes, size_t len, uint8_t ret_hash[static 64])
{
	crypto_generichash(ret_hash, 64, bytes, len, NULL, 0);
}

static bool file_signed(const struct signature *signature, const void *bytes, size_t len,
			const struct public_key *key)
{
	uint8_t hash[64];

	if (signature->algorithm[1] == 'd')
		return !crypto_sign_verify_detached(signature->signature, bytes, len, key->key);
	file_hash(bytes, len, hash);
	return !crypto_sign_verify_detached(signature->signature, hash, sizeof(hash), key->key);
}

/* The second signature is of the first and the comment. */
static bool comment_signed(const struct signature *signature, const char *comment,
			   const uint8_t global[static crypto_sign_BYTES],
			   const struct public_key *key)
{
	uint8_t both[crypto_sign_BYTES + LINE_MAX_LEN];
	size_t len = strnlen(comment, LINE_MAX_LEN);

	memcpy(both, signature->signature, crypto_sign_BYTES);
	memcpy(both + crypto_sign_BYTES, comment, len);
	return !crypto_sign_verify_detached(global, both, crypto_sign_BYTES + len, key->key);
}

static int verify_text(char *text, const void *bytes, size_t len, const struct public_key *key)
{
	uint8_t global[crypto_sign_BYTES];
	struct signature signature;
	char *comment;

	if (!next_line(&text) || !decode(next_line(&text), &signature, sizeof(signature)) ||
	    signature.algorithm[0] != 'E' ||
	    (signature.algorithm[1] != 'D' && signature.algorithm[1] != 'd'))
		return -EBADMSG;
	comment = next_line(&text);
	if (!comment || strncmp(comment, trusted, strlen(trusted)) ||
	    !decode(next_line(&text), global, sizeof(global)))
		return -EBADMSG;
	if (memcmp(signature.id, key->id, ID_BYTES))
		return -ENOKEY;
	return file_signed(&signature, bytes, len, key) &&
			       comment_signed(&signature, comment + strlen(trusted), global, key)
		       ? 0
		       : -EKEYREJECTED;
}

int signature_verify(const char *path, const void *bytes, size_t len, const char *public_key,
		     char ret_error[static SIGNATURE_ERROR_MAX])
{
	_cleanup_free_ char *text = NULL;
	char name[PATH_LEN];
	struct public_key key;
	size_t text_len;
	int r = blob_load(public_key, "Ed", &key, sizeof(key), ret_error);

	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "%s.minisig", path);
	r = file_load(name, &text, &text_len);
	if (r < 0) {
		snprintf(
			ret_error, SIGNATURE_ERROR_MAX,
			"%.200s is refused: it is not signed (%.200s: %s), and a key is configured",
			path, name, strerror(-r));
		return -ENOKEY;
	}
	r = verify_text(text, bytes, len, &key);
	if (r < 0)
		snprintf(ret_error, SIGNATURE_ERROR_MAX, "%.200s is refused: %s", path,
			 r == -ENOKEY	      ? "it is signed with another key"
			 : r == -EKEYREJECTED ? "it was altered after it was signed"
					      : "its signature cannot be read");
	return r;
}

/* ---- making them --------------------------------------------------------------------------- */

static int text_save(const char *name, const char *suffix, const char *text, mode_t mode,
		     char ret_error[static SIGNATURE_ERROR_MAX])
{
	char path[PATH_LEN];
	int r;

	snprintf(path, sizeof(path), "%s%s", name, suffix);
	r = file_create(path, text, strlen(text), mode);
	if (r < 0)
		snprintf(ret_error, SIGNATURE_ERROR_MAX, "%.400s: %s", path, strerror(-r));
	return r;
}

int signature_keygen(const char *name, char ret_error[static SIGNATURE_ERROR_MAX])
{
	struct secret_key secret = { .algorithm = { 'E', 'k' } };
	struct public_key public = { .algorithm = { 'E', 'd' } };
	char text[2 * BLOB_MAX], blob[BLOB_MAX];
	int r;

	crypto_sign_keypair(public.key, secret.key);
	randombytes_buf(secret.id, ID_BYTES);
	memcpy(public.id, secret.id, ID_BYTES);
	snprintf(text, sizeof(text), "%skvmbpf secret key, not encrypted\n%s\n", untrusted,
		 encode(blob, &secret, sizeof(secret)));
	sodium_memzero(&secret, sizeof(secret));
	r = text_save(name, ".key", text, 0600, ret_error);
	sodium_memzero(text, sizeof(text));
	sodium_memzero(blob, sizeof(blob));
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "%skvmbpf public key\n%s\n", untrusted,
		 encode(blob, &public, sizeof(public)));
	return text_save(name, ".pub", text, 0644, ret_error);
}

static void sign(const struct secret_key *secret, const void *bytes, size_t len,
		 const char *comment, char *text, size_t size)
{
	struct signature signature = { .algorithm = { 'E', 'D' } };
	uint8_t hash[64], both[crypto_sign_BYTES + LINE_MAX_LEN], global[crypto_sign_BYTES];
	char first[BLOB_MAX], second[BLOB_MAX];

	memcpy(signature.id, secret->id, ID_BYTES);
	file_hash(bytes, len, hash);
	crypto_sign_detached(signature.signature, NULL, hash, sizeof(hash), secret->key);
	memcpy(both, signature.signature, crypto_sign_BYTES);
	memcpy(both + crypto_sign_BYTES, comment, strlen(comment));
	crypto_sign_detached(global, NULL, both, crypto_sign_BYTES + strlen(comment), secret->key);
	snprintf(text, size, "%skvmbpf baseline\n%s\n%s%s\n%s\n", untrusted,
		 encode(first, &signature, sizeof(signature)), trusted, comment,
		 encode(second, global, sizeof(global)));
}

int signature_sign(const char *path, const char *secret_key,
		   char ret_error[static SIGNATURE_ERROR_MAX])
{
	_cleanup_free_ char *bytes = NULL;
	char text[4 * BLOB_MAX], comment[LINE_MAX_LEN], name[PATH_LEN];
	const char *base = strrchr(path, '/');
	struct secret_key secret;
	size_t len;
	int r = blob_load(secret_key, "Ek", &secret, sizeof(secret), ret_error);

	if (r < 0)
		return r;
	r = file_load(path, &bytes, &len);
	if (r < 0) {
		snprintf(ret_error, SIGNATURE_ERROR_MAX, "%.400s: %s", path, strerror(-r));
	} else {
		snprintf(comment, sizeof(comment), "file:%.400s\thashed", base ? base + 1 : path);
		sign(&secret, bytes, len, comment, text, sizeof(text));
		/* One of before belongs to what the file was. */
		snprintf(name, sizeof(name), "%s.minisig", path);
		unlink(name);
		r = text_save(path, ".minisig", text, 0644, ret_error);
	}
	sodium_memzero(&secret, sizeof(secret));
	return r;
}
