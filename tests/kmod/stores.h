/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where `stores` has its data, for its code (assembly) and the tests: in the page after it. Where the
 * host is emulated, each write to a page with code would make the emulator forget the code.
 */
#ifndef TESTS_KMOD_STORES_H
#define TESTS_KMOD_STORES_H

#define STORES_BYTES 64       /* of a string move, and of what is compared at most */
#define STORES_BEFORE 0x1000  /* what stood at the target before */
#define STORES_SOURCE 0x1100  /* of string moves; the tests fill it */

#endif
