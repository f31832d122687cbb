// SPDX-License-Identifier: LGPL-2.1-or-later
/* A page that a guest left: what is accepted is text and stays within its bounds. */
#include "access/vmcoreinfo.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	/* Of its own, so that a byte read beyond it is seen. */
	char *page = malloc(len ? len : 1);
	struct vmcoreinfo info;
	int err;

	if (!page)
		return 0;
	memcpy(page, data, len);
	memset(&info, 0xa5, sizeof(info));
	err = vmcoreinfo_parse(page, len, &info);
	free(page);
	if (err) {
		CHECK(err == -EBADMSG || err == -ENODATA);
		CHECK((uint8_t)info.release[0] == 0xa5);
		return 0;
	}
	CHECK(info.release[0] &&
	      strnlen(info.release, sizeof(info.release)) < sizeof(info.release));
	for (const char *c = info.release; *c; c++)
		CHECK(isgraph((unsigned char)*c));
	return 0;
}
