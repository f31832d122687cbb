/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Turns strings that a guest or its VMM chose into strings that are safe to show and to store. */
#ifndef KA_TEXT_H
#define KA_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Copies `len` bytes as printable UTF-8 into `ret_text` of `size` bytes, always terminated, never
 * cut inside a character. What is not UTF-8 or not printable becomes '?'. Returns the length.
 */
size_t text_printable(const char *bytes, size_t len, char *ret_text, size_t size);

/*
 * A UUID in its canonical form, lower case, into `ret_uuid` of at least 37 bytes. False, and
 * nothing written, for anything else and for the nil UUID, which names no one.
 */
bool text_uuid(const char *bytes, size_t len, char *ret_uuid);

#endif
