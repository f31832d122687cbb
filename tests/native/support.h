/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the native tests share: the reason to skip all of them, a host, a tiny VM and its handle. */
#ifndef TESTS_NATIVE_SUPPORT_H
#define TESTS_NATIVE_SUPPORT_H

#include <criterion/criterion.h>
#include <errno.h>
#include <kvmaccess.h>

#include "tinyvm.h"

/*
 * support.c also has main(): without /dev/kvm or root it prints one line
 * "SKIP native_...: reason" and exits with this, as for `make check` of automake.
 */
enum { SKIP_STATUS = 77, TEST_TIMEOUT_S = 240 };

/* Of the running test; support_close() is its suite's .fini, also after a failure. */
struct support {
	struct ka_host *host;
	struct ka_vm *ka;
	struct tinyvm vm;
	struct ka_registers registers;  /* vCPU 0's, when it was opened */
	struct ka_paging paging;        /* of them */
	bool no_direct;                 /* set before: memory is read by process_vm_readv() alone */
};
extern struct support t;

/* Starts t.vm; skips the test where KVM has no such paging mode. */
void support_start(const struct tinyvm_options *options);
/* The host with nothing attached to exits (push: with it). */
void support_host(bool push);
/* Start, host, and a handle by pid with `flags`. */
void support_open(const struct tinyvm_options *options, unsigned int flags);
void support_close(void);

struct ka_vm *support_open_pid(pid_t pid, unsigned int flags);
uint64_t support_now_ms(void);

/* GVA in t.vm's mode. */
uint64_t gva(uint64_t gpa);
/* Entry `index` of GUEST_WINDOW_PT, and the address of its page. */
void window_set(unsigned int index, uint64_t entry);
uint64_t window_gva(unsigned int index);
/* Fills `len` bytes at a GPA with a pattern that no other `seed` shares, and keeps a copy. */
void pattern_poke(uint64_t gpa, uint8_t *ret_copy, size_t len, unsigned int seed);

/* Entries in /proc/self/fd, and those that are KVM's. */
size_t descriptors_open(void);
/* Waits for up to 2 s: what is left behind on a busy machine closes its own when it comes to its end. */
bool descriptors_end_at(size_t most);
size_t descriptors_of_kvm(void);

/* Declares a test once per paging mode that a running kernel can have. */
#define MODE_TEST(suite, name)                                                  \
	static void suite##_##name(enum tinyvm_mode mode);                      \
	Test(suite, name##_4level) { suite##_##name(TINYVM_4LEVEL); }           \
	Test(suite, name##_5level) { suite##_##name(TINYVM_5LEVEL); }           \
	Test(suite, name##_pae) { suite##_##name(TINYVM_PAE); }                 \
	Test(suite, name##_32bit) { suite##_##name(TINYVM_32BIT); }             \
	static void suite##_##name(enum tinyvm_mode mode)

/* The same for what differs between 64-bit and 32-bit kernels, however they page. */
#define WIDTH_TEST(suite, name)                                                 \
	static void suite##_##name(enum tinyvm_mode mode);                      \
	Test(suite, name##_64bit) { suite##_##name(TINYVM_4LEVEL); }            \
	Test(suite, name##_32bit) { suite##_##name(TINYVM_PAE); }               \
	static void suite##_##name(enum tinyvm_mode mode)

#define assert_rc(call, expected)                                                            \
	do {                                                                                 \
		long rc_ = (call), expected_ = (expected);                                   \
		cr_assert(rc_ == expected_, "%s: %ld (%s), not %ld (%s)", #call, rc_,        \
			  rc_ < 0 ? strerrorname_np(-rc_) : "", expected_,                   \
			  expected_ < 0 ? strerrorname_np(-expected_) : "");                 \
	} while (0)
#define assert_ok(call) assert_rc(call, 0)
#define assert_hex(actual, expected)                                                         \
	do {                                                                                 \
		unsigned long long a_ = (actual), e_ = (expected);                           \
		cr_assert(a_ == e_, "%s: %#llx, not %#llx", #actual, a_, e_);                \
	} while (0)

#endif
