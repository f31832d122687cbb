/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where `stores` has its data, for its code (assembly) and the tests: after it, in the same page. */
#ifndef TESTS_KMOD_STORES_H
#define TESTS_KMOD_STORES_H

#define STORES_BYTES 64       /* of a string move, and of what is compared at most */
#define STORES_BEFORE 0x800   /* what stood at the target before */
#define STORES_SOURCE 0x900   /* of string moves; the tests fill it */

#endif
