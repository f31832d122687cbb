// SPDX-License-Identifier: LGPL-2.1-or-later
/* Parses shares of a CPU's time. */
#include "share.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const double ppm_min = 100, ppm_max = 1000000, ppm_per_percent = 10000;

int share_parse(const char *text, uint64_t *ret_ppm)
{
	char *end;
	double ppm;

	/* strtod() takes more than a number. */
	if (!isdigit((unsigned char)text[0]) || strspn(text, "0123456789.") + 1 != strlen(text))
		return -EINVAL;
	ppm = strtod(text, &end) * ppm_per_percent;
	if (strcmp(end, "%"))
		return -EINVAL;
	if (!(ppm >= ppm_min && ppm <= ppm_max))
		return -ERANGE;
	*ret_ppm = (uint64_t)ppm;
	return 0;
}
