// SPDX-License-Identifier: LGPL-2.1-or-later
/* Labels that operators gave to VMs, as text: one KEY=VALUE a line. */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "labels.h"
#include "text.h"

enum { KEY_MAX = 128, VALUE_MAX = 256 };

static const char separators[] = ";, \t";

static bool has_key(const char *labels, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = labels; *line; line = strchr(line, '\n') + 1)
		if (!strncmp(line, key, len) && line[len] == '=')
			return true;
	return false;
}

void labels_add(char labels[static KA_LABELS_MAX], const char *key, const char *value, size_t len)
{
	size_t used = strlen(labels), key_len;
	char name[KEY_MAX], text[VALUE_MAX];

	while (len && isspace((unsigned char)*value))
		value++, len--;
	while (len && isspace((unsigned char)value[len - 1]))
		len--;
	key_len = text_printable(key, strlen(key), name, sizeof(name));
	for (char *c = name; (c = strpbrk(c, "=.")); c++)
		*c = '_';
	len = text_printable(value, len, text, sizeof(text));
	if (!key_len || !len || used + key_len + len + 3 > KA_LABELS_MAX || has_key(labels, name))
		return;
	sprintf(labels + used, "%s=%s\n", name, text);
}

static void add_tags(char labels[static KA_LABELS_MAX], const char *line, size_t len)
{
	char tags[VALUE_MAX] = ";";
	size_t used = 1;

	while (len) {
		size_t tag = 0;

		while (tag < len && !strchr(separators, line[tag]))
			tag++;
		/* Whole ones only: half a tag may be another. */
		if (tag && used + tag + 2 <= sizeof(tags))
			used += snprintf(tags + used, sizeof(tags) - used, "%.*s;", (int)tag, line);
		line += tag + (tag < len);
		len -= tag + (tag < len);
	}
	if (used > 1)
		labels_add(labels, "tags", tags, used);
}

/* What follows the first "[" are snapshots and pending changes. */
void labels_add_proxmox(char labels[static KA_LABELS_MAX], const char *bytes, size_t len)
{
	static const char key[] = "tags:";

	while (len && *bytes != '[') {
		const char *end = memchr(bytes, '\n', len);
		size_t line = end ? (size_t)(end - bytes) : len;

		if (line > strlen(key) && !memcmp(bytes, key, strlen(key)))
			add_tags(labels, bytes + strlen(key), line - strlen(key));
		bytes += line + (end != NULL);
		len -= line + (end != NULL);
	}
}
