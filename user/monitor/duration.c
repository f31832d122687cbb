// SPDX-License-Identifier: LGPL-2.1-or-later
/* Parses durations as Go writes them. */
#include "duration.h"

#include "cleanup.h"
#include "clock.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static const struct unit {
	char name[3];
	uint64_t ns;
} units[] = {
	/* "ms" before "m": the longer name wins. */
	{ "ms", NS_PER_MS },	{ "us", NS_PER_US },	  { "s", NS_PER_S },
	{ "m", 60 * NS_PER_S }, { "h", 3600 * NS_PER_S }, { "d", 24 * 3600 * NS_PER_S },
};

static const uint64_t duration_min = 100 * NS_PER_MS, duration_max = 24 * 3600 * NS_PER_S;

static const struct unit *unit_find(const char *text)
{
	for (size_t i = 0; i < array_size(units); i++)
		if (!strncmp(text, units[i].name, strlen(units[i].name)))
			return &units[i];
	return NULL;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* One "1.5h" of a duration; *text moves behind it. */
static int part_parse(const char **text, uint64_t *ret_ns)
{
	const char *at = *text;
	uint64_t whole = 0, part = 0, scale = 1, ns;
	bool digits = false;
	const struct unit *unit;

	for (; is_digit(*at); at++, digits = true)
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, (uint64_t)(*at - '0'), &whole))
			return -ERANGE;
	if (*at == '.') {
		/* Nine digits are nanoseconds of a second; more are cut off. */
		for (at++; is_digit(*at); at++, digits = true)
			if (scale < NS_PER_S) {
				part = part * 10 + (uint64_t)(*at - '0');
				scale *= 10;
			}
	}
	unit = unit_find(at);
	if (!digits || !unit)
		return -EINVAL;
	if (__builtin_mul_overflow(whole, unit->ns, &ns) ||
	    __builtin_add_overflow(ns, (uint64_t)((__uint128_t)part * unit->ns / scale), &ns))
		return -ERANGE;
	*text = at + strlen(unit->name);
	*ret_ns = ns;
	return 0;
}

int duration_parse(const char *text, uint64_t *ret_ns)
{
	uint64_t total = 0, part = 0;
	int r;

	if (!*text)
		return -EINVAL;
	while (*text) {
		r = part_parse(&text, &part);
		if (r < 0)
			return r;
		if (__builtin_add_overflow(total, part, &total))
			return -ERANGE;
	}
	if (total < duration_min || total > duration_max)
		return -ERANGE;
	*ret_ns = total;
	return 0;
}
