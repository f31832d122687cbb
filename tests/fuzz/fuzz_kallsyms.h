/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How an input of fuzz_kallsyms begins; the image follows. */
#ifndef TESTS_FUZZ_KALLSYMS_H
#define TESTS_FUZZ_KALLSYMS_H

#include <stdint.h>

enum { FUZZ_NO_TABLE = 0xffff };

struct fuzz_header {
	uint16_t bits32;    /* lowest bit */
	uint16_t tables[7]; /* offsets into the image, in the order of struct kallsyms_tables */
};

#endif
