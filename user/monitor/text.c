// SPDX-License-Identifier: LGPL-2.1-or-later
/* Formats hex values, times and UUIDs, and cleans strings of unknown origin. */
#include "text.h"

#include "clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

const char *text_hex(char buf[static TEXT_HEX_MAX], const uint64_t value[2], unsigned int size)
{
	if (size > 8)
		snprintf(buf, TEXT_HEX_MAX, "0x%016" PRIx64 "%016" PRIx64, value[1], value[0]);
	else
		snprintf(buf, TEXT_HEX_MAX, "0x%016" PRIx64, value[0]);
	return buf;
}

const char *text_hex64(char buf[static TEXT_HEX_MAX], uint64_t value)
{
	return text_hex(buf, (uint64_t[2]){ value, 0 }, 8);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int text_hex_parse(const char *text, uint64_t ret_value[2], unsigned int *ret_size)
{
	uint64_t value[2] = { 0, 0 };
	size_t len = strnlen(text, TEXT_HEX_MAX);
	int digit;

	if ((len != 18 && len != 34) || text[0] != '0' || text[1] != 'x')
		return -EBADMSG;
	for (size_t i = 2; i < len; i++) {
		digit = hex_digit(text[i]);
		if (digit < 0)
			return -EBADMSG;
		value[1] = value[1] << 4 | value[0] >> 60;
		value[0] = value[0] << 4 | (uint64_t)digit;
	}
	memcpy(ret_value, value, sizeof(value));
	*ret_size = len == 34 ? 16 : 8;
	return 0;
}

const char *text_time(char buf[static TEXT_TIME_MAX], uint64_t realtime_ns)
{
	time_t seconds = (time_t)(realtime_ns / NS_PER_S);
	struct tm tm = { 0 };
	char date[24];

	gmtime_r(&seconds, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf, TEXT_TIME_MAX, "%.19s.%09uZ", date, (unsigned int)(realtime_ns % NS_PER_S));
	return buf;
}

int text_time_parse(const char *text, uint64_t *ret_realtime_ns)
{
	unsigned int ns = 0;
	struct tm tm = { 0 };
	char zone = 0, more;
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

	if (!rest || strlen(rest) != 11 || sscanf(rest, ".%9u%c%c", &ns, &zone, &more) != 2 ||
	    zone != 'Z')
		return -EBADMSG;
	*ret_realtime_ns = (uint64_t)timegm(&tm) * NS_PER_S + ns;
	return 0;
}

void text_bytes(char *buf, const uint8_t *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		buf[2 * i] = digits[bytes[i] >> 4];
		buf[2 * i + 1] = digits[bytes[i] & 15];
	}
	buf[2 * len] = '\0';
}

/* Length of the UTF-8 character at `at`, and its code point; 0 if it is none. */
static size_t utf8_decode(const unsigned char *at, uint32_t *ret_code)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = at[0] < 0x80	    ? 1
		     : (at[0] >> 5) == 0x6  ? 2
		     : (at[0] >> 4) == 0xe  ? 3
		     : (at[0] >> 3) == 0x1e ? 4
					    : 0;
	uint32_t code;

	if (!len)
		return 0;
	code = len == 1 ? at[0] : at[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((at[i] & 0xc0) != 0x80) /* also stops at the end of the string */
			return 0;
		code = code << 6 | (at[i] & 0x3f);
	}
	if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	*ret_code = code;
	return len;
}

static bool is_unsafe(uint32_t code)
{
	return (code >= 0x7f && code < 0xa0) || (code >= 0x200e && code <= 0x200f) ||
	       (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

void text_clean(char *buf, size_t size, const char *text)
{
	static const char replacement[] = "\xef\xbf\xbd";
	const unsigned char *at = (const unsigned char *)text;
	size_t used = 0;

	while (*at) {
		uint32_t code = 0;
		size_t len = utf8_decode(at, &code);
		bool bad = !len || is_unsafe(code);
		const void *from = bad ? (const void *)replacement : at;
		size_t take = bad ? 3 : len;

		if (used + take + 1 > size)
			break;
		memcpy(buf + used, from, take);
		used += take;
		at += len ? len : 1;
	}
	if (size)
		buf[used] = '\0';
}

static const char *uuid_format(char *buf, uint8_t bytes[16], unsigned int version)
{
	char hex[33];

	bytes[6] = (uint8_t)((bytes[6] & 0x0f) | version << 4);
	bytes[8] = (bytes[8] & 0x3f) | 0x80;
	text_bytes(hex, bytes, 16);
	snprintf(buf, TEXT_UUID_MAX, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
		 hex + 20);
	return buf;
}

const char *text_uuid7(char buf[static TEXT_UUID_MAX], uint64_t realtime_ns,
		       const uint8_t random[10])
{
	uint64_t ms = realtime_ns / NS_PER_MS;
	uint8_t bytes[16];

	for (int i = 0; i < 6; i++)
		bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
	memcpy(bytes + 6, random, 10);
	return uuid_format(buf, bytes, 7);
}

const char *text_uuid8(char buf[static TEXT_UUID_MAX], const uint8_t hash[16])
{
	uint8_t bytes[16];

	memcpy(bytes, hash, sizeof(bytes));
	return uuid_format(buf, bytes, 8);
}
