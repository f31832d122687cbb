// SPDX-License-Identifier: LGPL-2.1-or-later
/* Durations of the command line. */
#include <criterion/criterion.h>
#include <errno.h>

#include "monitor/duration.h"

static uint64_t parsed(const char *text)
{
	uint64_t ns = 0;

	cr_assert_eq(duration_parse(text, &ns), 0, "%s", text);
	return ns;
}

static int refused(const char *text)
{
	uint64_t ns = 42;
	int r = duration_parse(text, &ns);

	cr_assert_eq(ns, 42, "%s", text);
	return r;
}

Test(duration, go_style)
{
	cr_assert_eq(parsed("1s"), 1000000000ull);
	cr_assert_eq(parsed("500ms"), 500000000ull);
	cr_assert_eq(parsed("100ms"), 100000000ull);
	cr_assert_eq(parsed("1m"), 60000000000ull);
	cr_assert_eq(parsed("1h30m"), 5400000000000ull);
	cr_assert_eq(parsed("1.5s"), 1500000000ull);
	cr_assert_eq(parsed("0.25s"), 250000000ull);
	cr_assert_eq(parsed("1d"), 86400000000000ull);
	cr_assert_eq(parsed("200000us"), 200000000ull);
}

Test(duration, bare_numbers_and_nonsense_are_refused)
{
	static const char *const bad[] = { "",	  "1",	 "1000", "s",	"1x", "1s2",  "-1s",
					   "+1s", " 1s", "1s ",	 "1 s", ".s", "1e3s", "ms" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(refused(bad[i]), -EINVAL, "'%s'", bad[i]);
}

Test(duration, too_short_or_long_is_refused)
{
	static const char *const bad[] = { "0s",
					   "0ms",
					   "99ms",
					   "0.05s",
					   "25h",
					   "2d",
					   "18446744073709551616s",
					   "18446744073709551615h",
					   "99999999999999999999d" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(refused(bad[i]), -ERANGE, "'%s'", bad[i]);
}
