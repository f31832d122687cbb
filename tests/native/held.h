/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whose turn it is where a program is held up. */
#ifndef TESTS_NATIVE_HELD_H
#define TESTS_NATIVE_HELD_H

enum held_turn {
	HELD_RUNS,    /* it has not come so far */
	HELD_WAITS,   /* for the test */
	HELD_GOES_ON, /* as the test said */
	HELD_LATE,    /* as the test took too long */
};

#endif
