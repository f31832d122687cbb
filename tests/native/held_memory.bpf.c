// SPDX-License-Identifier: GPL-2.0-only
/* The program that reads memory, held up where tables may change. */
#include "tests/native/held.bpf.h"

#define BETWEEN_WALKS() hold()
#include "bpf/memory.bpf.c"
