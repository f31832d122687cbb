// SPDX-License-Identifier: LGPL-2.1-or-later
/* Turns strings that a guest or its VMM chose into strings that are safe to show and to store. */
#include <ctype.h>
#include <stdint.h>
#include <string.h>

#include "text.h"

/* Length of the UTF-8 character at `s`, 0 where there is none (RFC 3629: shortest form, no
 * surrogates, at most U+10FFFF). */
static size_t utf8_decode(const unsigned char *s, size_t len, uint32_t *ret_point)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t point;
	size_t n;

	if (s[0] < 0x80)
		n = 1, point = s[0];
	else if (s[0] >= 0xc2 && s[0] < 0xe0)
		n = 2, point = s[0] & 0x1f;
	else if (s[0] >= 0xe0 && s[0] < 0xf0)
		n = 3, point = s[0] & 0x0f;
	else if (s[0] >= 0xf0 && s[0] < 0xf5)
		n = 4, point = s[0] & 0x07;
	else
		return 0;
	if (n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (s[i] & 0x3f);
	}
	if (point < least[n] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
		return 0;
	*ret_point = point;
	return n;
}

/* Controls, and characters that hide or reorder their neighbours on a terminal. */
static bool point_is_printable(uint32_t point)
{
	static const struct { uint32_t first, last; } refused[] = {
		{0x00, 0x1f},         {0x7f, 0x9f},         {0xad, 0xad},
		{0x61c, 0x61c},       {0x180e, 0x180e},     {0x200b, 0x200f},
		{0x2028, 0x202e},     {0x2060, 0x206f},     {0xe000, 0xf8ff},
		{0xfdd0, 0xfdef},     {0xfe00, 0xfe0f},     {0xfeff, 0xfeff},
		{0xfff0, 0xfffb},     {0xe0000, 0x10ffff},
	};

	if ((point & 0xfffe) == 0xfffe)
		return false;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (point >= refused[i].first && point <= refused[i].last)
			return false;
	return true;
}

size_t text_printable(const char *bytes, size_t len, char *ret_text, size_t size)
{
	const unsigned char *s = (const unsigned char *)bytes;
	size_t used = 0;

	for (size_t i = 0; i < len; ) {
		uint32_t point;
		size_t n = utf8_decode(s + i, len - i, &point);
		bool keep = n && point_is_printable(point);
		size_t out = keep ? n : 1;

		if (used + out >= size)
			break;
		if (keep)
			memcpy(ret_text + used, s + i, n);
		else
			ret_text[used] = '?';
		used += out;
		i += n ? n : 1;
	}
	ret_text[used] = '\0';
	return used;
}

bool text_uuid(const char *bytes, size_t len, char *ret_uuid)
{
	static const char nil[] = "00000000-0000-0000-0000-000000000000";
	char uuid[sizeof(nil)];

	if (len != sizeof(nil) - 1)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = bytes[i];

		if (nil[i] == '-' ? c != '-' : !isxdigit(c))
			return false;
		uuid[i] = tolower(c);
	}
	uuid[len] = '\0';
	if (!strcmp(uuid, nil))
		return false;
	memcpy(ret_uuid, uuid, sizeof(uuid));
	return true;
}
