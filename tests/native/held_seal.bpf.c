// SPDX-License-Identifier: GPL-2.0-only
/* The program that looks at seals, held up where memory may have changed since it was read. */
#include "tests/native/held.bpf.h"

#define BEFORE_SECOND_LOOK() hold()
#include "bpf/seal.bpf.c"
