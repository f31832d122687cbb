// SPDX-License-Identifier: LGPL-2.1-or-later
/* Text of events and of the store. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "monitor/text.h"

Test(text, hex_has_all_digits)
{
	char buf[TEXT_HEX_MAX];
	uint64_t wide[2] = { 0x1122334455667788, 0x99aabbccddeeff00 };

	cr_assert_str_eq(text_hex64(buf, 0x2a), "0x000000000000002a");
	cr_assert_str_eq(text_hex(buf, wide, 16), "0x99aabbccddeeff001122334455667788");
	cr_assert_str_eq(text_hex(buf, wide, 4), "0x1122334455667788");
}

Test(text, hex_is_read_back_and_nothing_else)
{
	static const char *const bad[] = { "",
					   "0x",
					   "0x1",
					   "2a",
					   "0X000000000000002a",
					   "0x000000000000002A",
					   "0x000000000000002a ",
					   "0x00000000000000000000000000000002a" };
	uint64_t value[2] = { 0, 0 };
	unsigned int size = 0;

	cr_assert_eq(text_hex_parse("0x99aabbccddeeff001122334455667788", value, &size), 0);
	cr_assert_eq(value[0], 0x1122334455667788);
	cr_assert_eq(value[1], 0x99aabbccddeeff00);
	cr_assert_eq(size, 16);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(text_hex_parse(bad[i], value, &size), -EBADMSG, "%s", bad[i]);
	cr_assert_eq(size, 16);
}

Test(text, time_is_rfc3339_with_nine_digits)
{
	char buf[TEXT_TIME_MAX];

	cr_assert_str_eq(text_time(buf, 1767323045123456789ull), "2026-01-02T03:04:05.123456789Z");
	cr_assert_str_eq(text_time(buf, 1), "1970-01-01T00:00:00.000000001Z");
}

Test(text, hostile_strings_are_cleaned)
{
	char buf[64], tiny[4];

	text_clean(buf, sizeof(buf), "plain");
	cr_assert_str_eq(buf, "plain");
	text_clean(buf, sizeof(buf), "\xc3\xa9");
	cr_assert_str_eq(buf, "\xc3\xa9");
	/* Cut, overlong, surrogate, beyond Unicode, bidi override, DEL, C1. */
	text_clean(buf, sizeof(buf), "a\xc3");
	cr_assert_str_eq(buf, "a\xef\xbf\xbd");
	text_clean(buf, sizeof(buf), "\xc0\xaf");
	cr_assert_str_eq(buf, "\xef\xbf\xbd\xef\xbf\xbd");
	text_clean(buf, sizeof(buf), "\xed\xa0\x80x");
	cr_assert_eq(strlen(buf), 10);
	text_clean(buf, sizeof(buf), "\xf4\x90\x80\x80");
	cr_assert_eq(strlen(buf), 12);
	text_clean(buf, sizeof(buf),
		   "\xe2\x80\xae"
		   "evil\x7f\xc2\x9b");
	cr_assert_str_eq(buf, "\xef\xbf\xbd"
			      "evil\xef\xbf\xbd\xef\xbf\xbd");
	text_clean(tiny, sizeof(tiny), "ab\xc3\xa9");
	cr_assert_str_eq(tiny, "ab");
}

Test(text, uuid7_carries_time_and_version)
{
	const uint8_t random[10] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	char buf[TEXT_UUID_MAX];

	cr_assert_str_eq(text_uuid7(buf, 0x0123456789abull * 1000000, random),
			 "01234567-89ab-7fff-bfff-ffffffffffff");
}
