// SPDX-License-Identifier: LGPL-2.1-or-later
/* Shares of a CPU's time. */
#include "monitor/share.h"

#include <criterion/criterion.h>
#include <errno.h>

static int parse(const char *text)
{
	uint64_t ppm = 77;
	int r = share_parse(text, &ppm);

	if (r < 0)
		cr_assert_eq(ppm, 77, "%s: touched on failure", text);
	return r < 0 ? r : (int)ppm;
}

Test(share, percents_are_millionths)
{
	cr_assert_eq(parse("1%"), 10000);
	cr_assert_eq(parse("0.5%"), 5000);
	cr_assert_eq(parse("100%"), 1000000);
	cr_assert_eq(parse("0.01%"), 100);
}

Test(share, nothing_else_is_one)
{
	static const char *const wrong[] = { "", "%", "1", "1 %", "0x1%", "-1%", "1e1%", "nan%",
					     "inf%", "1%%", "1.2.3%", " 1%" };

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_assert_eq(parse(wrong[i]), -EINVAL, "%s", wrong[i]);
}

Test(share, too_little_and_too_much_are_refused)
{
	cr_assert_eq(parse("0%"), -ERANGE);
	cr_assert_eq(parse("0.001%"), -ERANGE);
	cr_assert_eq(parse("100.1%"), -ERANGE);
	cr_assert_eq(parse("99999999999999999999999999%"), -ERANGE);
}
