// SPDX-License-Identifier: LGPL-2.1-or-later
/* When the text of a kernel without a reference is taken, and when not. */
#include <criterion/criterion.h>
#include <errno.h>
#include <kvmaccess.h>
#include <stdlib.h>
#include <string.h>

/* A guest that answers as it is told to. */
static struct {
	uint32_t rights;
	int read_error, text_error;
	bool no_records;
	size_t texts, reads;
} fake;

static char records, room; /* their addresses stand for what they are of */

#define guest_text_is taken_text_is
#define guest_text_tracing taken_text_tracing
#define guest_text_take tested_guest_text_take
#define guest_text_retake tested_guest_text_retake
#define guest_text_take_drop tested_guest_text_take_drop
#define guest_first_looks_allowed fake_first_looks_allowed
#define guest_first_look_took fake_first_look_took
#define ka_translate(vm, paging, gva, translation) \
	((void)(vm), (void)(paging), (void)(gva), (translation)->rights = fake.rights, 0)
#define ka_gva_read(vm, paging, gva, buf, len) \
	((void)(vm), (void)(paging), (void)(gva), (void)(buf), (void)(len), fake.reads++, fake.read_error)
#define ka_symbols_64bit(symbols) ((void)(symbols), true)
#define ka_tracing_free(tracing) ((void)(tracing))
#define ka_text_free(text) (fake.texts -= (text) != NULL)
#define ka_text_from_guest(vm, kernel, bytes, tracing, ret_text) \
	((void)(vm), (void)(kernel), fake_text(bytes, tracing, ret_text))

static int fake_text(uint8_t *bytes, const struct ka_tracing *tracing, struct ka_text **ret_text)
{
	cr_assert_not_null(tracing);
	free(bytes);
	if (fake.text_error)
		return fake.text_error;
	fake.texts++;
	*ret_text = (struct ka_text *)(void *)&room;
	return 0;
}

#include "monitor/guest_text_take.c"

bool taken_text_is(struct guest *guest, const struct ka_text *of)
{
	guest->text.text = of;
	guest->text.end = 1;
	return true;
}

struct ka_tracing *taken_text_tracing(struct guest *guest)
{
	(void)guest;
	return fake.no_records ? NULL : (struct ka_tracing *)(void *)&records;
}

bool fake_first_looks_allowed(const struct watch *watch, uint64_t now)
{
	(void)now;
	return watch;
}

void fake_first_look_took(const struct watch *watch, uint64_t ns)
{
	(void)watch;
	(void)ns;
}

static struct watch watch;
static struct guest *guest;

static struct guest *guest_with(uint64_t len)
{
	struct guest *made = calloc(1, sizeof(*made));

	made->watch = &watch;
	made->kernel = (struct ka_kernel){ .symbols = (const struct ka_symbols *)(void *)&room,
					   .text_start = 0xffffffff81000000,
					   .text_end = 0xffffffff81000000 + len };
	return made;
}

static void begin(void)
{
	memset(&fake, 0, sizeof(fake));
	guest = guest_with(1 << 20);
}

static void finish(void)
{
	guest_text_take_drop(guest);
	free(guest);
	cr_expect_eq(taken, 0);
	cr_expect_eq(fake.texts, 0);
}

TestSuite(text_take, .init = begin, .fini = finish);

Test(text_take, text_is_taken_whole)
{
	guest_text_take(guest);
	cr_expect_not_null(guest->text.text);
	cr_expect_null(guest->text.taking.reason);
	cr_expect_eq(fake.reads, 4);
	cr_expect_eq(taken, 1 << 20);
	cr_expect(guest_text_unsettled(guest));
	cr_expect_not(guest_text_is_known(guest));
	guest->text.first = guest->text.end;
	cr_expect(guest_text_is_known(guest));
}

Test(text_take, kernel_that_can_write_to_its_text_is_waited_for)
{
	fake.rights = KA_RIGHT_WRITE;
	guest_text_take(guest);
	cr_expect_null(guest->text.text);
	cr_expect_not_null(guest->text.taking.reason);
	fake.rights = 0;
	guest_text_take(guest);
	cr_expect_not_null(guest->text.text);
	cr_expect_null(guest->text.taking.reason);
}

Test(text_take, kernel_that_patches_is_tried_again_and_then_later)
{
	fake.text_error = -EAGAIN;
	for (int i = 0; i < TRIES - 1; i++) {
		guest_text_take(guest);
		cr_assert_eq(guest->text.taking.again_ns, 0);
	}
	cr_expect_not(guest_text_is_known(guest));
	guest_text_take(guest);
	cr_expect_gt(guest->text.taking.again_ns, clock_mono());
	cr_expect_not_null(guest->text.taking.reason);
	cr_expect(guest_text_is_known(guest), "that it is not looked at is told");
	fake.text_error = 0;
	guest_text_take(guest);
	cr_expect_null(guest->text.text);
	guest->text.taking.again_ns = 1;
	fake.text_error = -EAGAIN;
	guest_text_take(guest);
	cr_expect_not_null(guest->text.taking.reason);
	cr_expect(guest_text_is_known(guest));
	fake.text_error = 0;
	guest_text_take(guest);
	cr_expect_not_null(guest->text.text);
	cr_expect(guest_text_is_known(guest), "it was told of, and stays so");
}

Test(text_take, text_that_was_not_at_rest_is_taken_anew)
{
	guest_text_take(guest);
	guest_text_retake(guest);
	cr_expect_null(guest->text.text);
	cr_expect_eq(taken, 0);
	guest_text_take(guest);
	cr_expect_not_null(guest->text.text);
}

/* Lawful probes would be told as changes. */
Test(text_take, kernel_without_records_is_not_taken)
{
	fake.no_records = true;
	guest_text_take(guest);
	cr_expect_null(guest->text.text);
	cr_expect_eq(guest->text.taking.again_ns, UINT64_MAX);
	cr_expect(strstr(guest->text.taking.reason, "BTF"));
	cr_expect_not(guest_text_is_known(guest), "it is not made of such guests");
}

Test(text_take, memory_that_cannot_be_read_is_tried_again)
{
	fake.read_error = -EFAULT;
	guest_text_take(guest);
	cr_expect_null(guest->text.text);
	fake.read_error = 0;
	guest_text_take(guest);
	cr_expect_not_null(guest->text.text);
}

Test(text_take, check_that_is_off_takes_nothing)
{
	guest->policy.off[CHECK_TEXT] = true;
	guest_text_take(guest);
	cr_expect_eq(fake.reads, 0);
}

Test(text_take, all_guests_together_are_bounded)
{
	struct guest *others[20];
	size_t count = 0;

	for (size_t i = 0; i < 20; i++) {
		others[i] = guest_with(TEXT_BYTES_MAX);
		guest_text_take(others[i]);
		count += others[i]->text.text != NULL;
	}
	cr_expect_eq(count, taken_max / TEXT_BYTES_MAX);
	cr_expect(strstr(others[19]->text.taking.reason, "2 GiB"));
	for (size_t i = 0; i < 20; i++) {
		guest_text_take_drop(others[i]);
		free(others[i]);
	}
}

Test(text_take, text_that_is_too_long_is_none)
{
	guest->kernel.text_end += TEXT_BYTES_MAX;
	guest_text_take(guest);
	cr_expect_eq(fake.reads, 0);
	cr_expect_eq(guest->text.taking.again_ns, UINT64_MAX);
}
