/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads of the guest kernel's structs, as audits need them. */
#ifndef MONITOR_RECORDS_H
#define MONITOR_RECORDS_H

#include "../audit.h"

/* A member that is looked for. */
struct records_member {
	const char *type, *path;
	struct ka_member *ret_member;
	uint32_t size; /* that it must have, since it is read into a buffer of that; 0: any */
};

/* All of them; what was found of some stays where one is missing. */
bool records_find(const struct ka_types *types, const struct records_member *members, size_t count);

#define RECORDS_FIND(types, ...)                                                                   \
	records_find(types, (const struct records_member[]){ __VA_ARGS__ },                        \
		     sizeof((const struct records_member[]){ __VA_ARGS__ }) /                      \
			     sizeof(struct records_member))

/* Bytes of a pointer or a long. */
static inline unsigned int records_word(const struct audit_view *view)
{
	return ka_symbols_64bit(view->kernel->symbols) ? 8 : 4;
}

/* All of the pieces, in the kernel's address space, or an error. Buffers of words are zeroed
 * before. */
int records_read(const struct audit_view *view, struct ka_piece *pieces, size_t count);
int records_read_word(const struct audit_view *view, uint64_t gva, uint64_t *ret_word);
/* At most size - 1 bytes, cleaned of what steers terminals; "" where none can be read. */
void records_read_string(const struct audit_view *view, uint64_t gva, char *buf, size_t size);
/* A word of bytes that were read. */
uint64_t records_word_at(const struct audit_view *view, const uint8_t *bytes);

#endif
