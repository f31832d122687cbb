/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text for events and for the store: hex values, times, and strings that a guest may have chosen.
 */
#ifndef MONITOR_TEXT_H
#define MONITOR_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TEXT_HEX_MAX = 2 + 32 + 1, TEXT_TIME_MAX = 32, TEXT_UUID_MAX = 37 };

/* "0x" and 16 digits for up to 8 bytes, 32 digits for 16, most significant first. */
const char *text_hex(char buf[static TEXT_HEX_MAX], const uint64_t value[2], unsigned int size);
const char *text_hex64(char buf[static TEXT_HEX_MAX], uint64_t value);
/* The opposite. -EBADMSG unless it is exactly that form. */
int text_hex_parse(const char *text, uint64_t ret_value[2], unsigned int *ret_size);

/* RFC 3339, UTC, nine digits. */
const char *text_time(char buf[static TEXT_TIME_MAX], uint64_t realtime_ns);

/* The opposite. -EBADMSG unless it is exactly that form. */
int text_time_parse(const char *text, uint64_t *ret_realtime_ns);

/* Lower-case hex of `len` bytes; `buf` takes 2 * len + 1. */
void text_bytes(char *buf, const uint8_t *bytes, size_t len);

/*
 * Copies at most size - 1 bytes: what is not UTF-8, and characters that steer a terminal or the
 * direction of text, become U+FFFD. C0 controls stay, since JSON escapes them.
 */
void text_clean(char *buf, size_t size, const char *text);

/* UUID version 7 (RFC 9562) of this time and these ten random bytes. */
const char *text_uuid7(char buf[static TEXT_UUID_MAX], uint64_t realtime_ns,
		       const uint8_t random[10]);
/* A UUID of our own making (version 8) from 16 hash bytes. */
const char *text_uuid8(char buf[static TEXT_UUID_MAX], const uint8_t hash[16]);

#endif
