// SPDX-License-Identifier: LGPL-2.1-or-later
/* Signatures: what minisign(1) signed is accepted, and nothing that differs in a byte. */
#include <criterion/criterion.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/file.h"
#include "monitor/signature.h"

/* Made by minisign 0.11: -G -W, then -S of a file that holds "hello\n", and -S -l of the same. */
static const char minisign_key[] = "untrusted comment: minisign public key BFE24ECBF9078C52\n"
				   "RWRSjAf5y07iv1YIR4toZIvIU+CBymujrcpQRqGZnJXcdcD2d7+qyjWp\n";
static const char minisign_hashed[] =
	"untrusted comment: signature from minisign secret key\n"
	"RURSjAf5y07iv3Cq6KrA5ZfscV2v0wimYuOYNEWyqQdZcFKsI3Jdz/4iL940c8ZhQvPRPSgw742xpGj6fs5I6j09"
	"Gisalld7Rg8=\n"
	"trusted comment: timestamp:1795309475\tfile:f\thashed\n"
	"bjs8BMw90khqaQo2hpyFUX3uwEqBioDx+jyVeKABZ06Ew2JhLdAKcP24v20xiW4IcFhWGyeJxrgEpUzv1kBIBA=="
	"\n";
static const char minisign_legacy[] =
	"untrusted comment: signature from minisign secret key\n"
	"RWRSjAf5y07iv5UQfXDbKxmP1Ct9QTRoWbN4NyrXo67F9k3matK0J24YHuFgZ3ANk6kSFJfedSgpqPRaNkxJYwYK"
	"NQ97YqQIKgs=\n"
	"trusted comment: timestamp:1795309475\tfile:f\n"
	"k4Psp2RzSD+qchyyi+WP+4JMb4IG75ppolnryp1YD3NrFMZA3UXqQTEHMLpJ1q6nLrGPPggSAgZ3jfVB6B6LDw=="
	"\n";

static char folder[64], error[SIGNATURE_ERROR_MAX];

static void setup(void)
{
	cr_assert(sodium_init() >= 0);
	strcpy(folder, "/tmp/kvmbpf-signature-XXXXXX");
	cr_assert(mkdtemp(folder));
}

static const char *at(const char *name)
{
	static char paths[4][128];
	static int turn;
	char *path = paths[turn++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static void put(const char *name, const char *text)
{
	unlink(at(name));
	cr_assert_eq(file_create(at(name), text, strlen(text), 0600), 0);
}

static void teardown(void)
{
	static const char *const names[] = { "f", "f.minisig", "k.pub", "k.key", "o.pub", "o.key" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(at(names[i]));
	rmdir(folder);
}

TestSuite(signature, .init = setup, .fini = teardown);

static int verify(const char *bytes)
{
	return signature_verify(at("f"), bytes, strlen(bytes), at("k.pub"), error);
}

Test(signature, what_minisign_signed_is_accepted)
{
	put("k.pub", minisign_key);
	put("f.minisig", minisign_hashed);
	cr_expect_eq(verify("hello\n"), 0, "%s", error);
	put("f.minisig", minisign_legacy);
	cr_expect_eq(verify("hello\n"), 0, "%s", error);
}

Test(signature, an_altered_file_is_refused)
{
	put("k.pub", minisign_key);
	put("f.minisig", minisign_hashed);
	cr_expect_eq(verify("hellO\n"), -EKEYREJECTED);
	cr_expect_eq(verify("hello"), -EKEYREJECTED);
	put("f.minisig", minisign_legacy);
	cr_expect_eq(verify("hello\n\n"), -EKEYREJECTED);
}

/* Comments of the first line are nobody's word; all else is signed. */
Test(signature, every_altered_byte_of_a_signature_is_refused)
{
	size_t first = strcspn(minisign_hashed, "\n") + 1;
	char *text = strdup(minisign_hashed);

	put("k.pub", minisign_key);
	for (size_t i = first; i < strlen(minisign_hashed); i++) {
		if (text[i] == '=' || text[i] == '\n')
			continue;
		text[i] ^= 1;
		put("f.minisig", text);
		cr_expect_lt(verify("hello\n"), 0, "byte %zu", i);
		text[i] ^= 1;
	}
	free(text);
}

Test(signature, ours_is_accepted_with_its_key_alone)
{
	struct stat info;

	put("f", "a baseline");
	cr_assert_eq(signature_keygen(at("k"), error), 0, "%s", error);
	cr_assert_eq(signature_keygen(at("o"), error), 0, "%s", error);
	cr_assert_eq(signature_keygen(at("k"), error), -EEXIST);
	cr_assert_eq(stat(at("k.key"), &info), 0);
	cr_expect_eq(info.st_mode & 077, 0);
	cr_expect_eq(verify("a baseline"), -ENOKEY);
	cr_assert_eq(signature_sign(at("f"), at("o.key"), error), 0, "%s", error);
	cr_expect_eq(verify("a baseline"), -ENOKEY);
	cr_assert_eq(signature_sign(at("f"), at("k.key"), error), 0, "%s", error);
	cr_expect_eq(verify("a baseline"), 0, "%s", error);
	cr_expect_eq(verify("a Baseline"), -EKEYREJECTED);
}

Test(signature, what_is_no_key_is_refused)
{
	put("f", "a baseline");
	put("k.pub", "untrusted comment: nothing\nAAAA\n");
	cr_expect_eq(verify("a baseline"), -EBADMSG);
	cr_expect_eq(signature_sign(at("f"), at("k.pub"), error), -EBADMSG);
	put("k.pub", "");
	cr_expect_eq(verify("a baseline"), -EBADMSG);
	put("k.pub", minisign_key);
	put("f.minisig", "untrusted comment: signature\n");
	cr_expect_eq(verify("a baseline"), -EBADMSG);
}
