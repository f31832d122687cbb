// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reads tables page by page, so that each page's place is known, and all of them at once. */
#include "view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_BYTES = 4096 };

void view_aim(struct view *view, uint64_t gva, uint32_t limit, uint32_t len)
{
	view->gva = gva;
	view->limit = limit;
	view->len = len < view->capacity ? len : view->capacity;
	view->pages = 0;
	view->error = -ENODATA;
}

void view_copy(struct view *to, const struct view *from)
{
	uint8_t *bytes = to->bytes;
	uint32_t capacity = to->capacity;

	*to = *from;
	to->bytes = bytes;
	to->capacity = capacity;
	if (to->len > capacity)
		to->len = capacity;
	if (to->len)
		memcpy(bytes, from->bytes, to->len);
}

bool view_same_place(const struct view *a, const struct view *b)
{
	return a->limit == b->limit && a->len == b->len && a->pages == b->pages &&
	       !memcmp(a->gpa, b->gpa, a->pages * sizeof(a->gpa[0]));
}

bool view_same_bytes(const struct view *a, const struct view *b)
{
	return a->len == b->len && !memcmp(a->bytes, b->bytes, a->len);
}

struct place view_place(const struct view *view)
{
	return (struct place){ .gva = view->gva,
			       .gpa = view->pages ? view->gpa[0] : 0,
			       .limit = view->limit };
}

/* Bytes of the view on its first page. */
static uint32_t first_part(const struct view *view)
{
	uint32_t room = PAGE_BYTES - (uint32_t)(view->gva & (PAGE_BYTES - 1));

	return view->len < room ? view->len : room;
}

uint64_t view_gpa(const struct view *view, uint32_t offset)
{
	uint32_t first = first_part(view), page;

	if (!view->pages)
		return 0;
	if (offset < first)
		return view->gpa[0] + offset;
	page = 1 + (offset - first) / PAGE_BYTES;
	return page < view->pages ? view->gpa[page] + (offset - first) % PAGE_BYTES : 0;
}

bool view_offset(const struct view *view, uint64_t gpa, uint32_t *ret_offset)
{
	uint32_t offset = 0, part = first_part(view);

	for (unsigned int i = 0; i < view->pages; i++) {
		if (gpa >= view->gpa[i] && gpa - view->gpa[i] < part) {
			*ret_offset = offset + (uint32_t)(gpa - view->gpa[i]);
			return true;
		}
		offset += part;
		part = view->len - offset < PAGE_BYTES ? view->len - offset : PAGE_BYTES;
	}
	return false;
}

void view_value(const struct view *view, uint32_t offset, unsigned int size, uint64_t ret_value[2])
{
	ret_value[0] = ret_value[1] = 0;
	if (size <= 16 && offset <= view->len && size <= view->len - offset)
		memcpy(ret_value, view->bytes + offset, size);
}

int reader_reserve(struct reader *reader, size_t views)
{
	size_t max = views * VIEW_PAGES;
	struct ka_piece *pieces;

	if (max <= reader->max)
		return 0;
	pieces = reallocarray(reader->pieces, max, sizeof(*pieces));
	if (!pieces)
		return -ENOMEM;
	reader->pieces = pieces;
	reader->max = max;
	return 0;
}

void reader_deinit(struct reader *reader)
{
	free(reader->pieces);
	memset(reader, 0, sizeof(*reader));
}

void reader_begin(struct reader *reader)
{
	reader->count = 0;
}

void reader_add(struct reader *reader, struct view *view, const struct ka_paging *paging,
		bool contents)
{
	uint32_t done = 0, part = first_part(view);

	view->piece = reader->count;
	view->contents = contents;
	view->pages = 0;
	view->error = -ENODATA;
	while (done < view->len && view->pages < VIEW_PAGES && reader->count < reader->max) {
		reader->pieces[reader->count++] = (struct ka_piece){
			.paging = paging,
			/* A table may be made to wrap around; the library refuses what is not
			   canonical. */
			.address = view->gva + done,
			.buf = contents ? view->bytes + done : NULL,
			.len = part,
		};
		view->pages++;
		done += part;
		part = view->len - done < PAGE_BYTES ? view->len - done : PAGE_BYTES;
	}
}

int reader_run(struct reader *reader, struct ka_vm *vm)
{
	return reader->count ? ka_readv(vm, reader->pieces, reader->count) : 0;
}

void reader_collect(const struct reader *reader, struct view *view)
{
	/* An empty table cannot be read. */
	view->error = view->pages ? 0 : -EFAULT;
	view->no_ram = false;
	for (unsigned int i = 0; i < view->pages; i++) {
		const struct ka_piece *piece = &reader->pieces[view->piece + i];

		if (piece->error)
			view->error = piece->error;
		view->no_ram |= piece->error == -ENXIO && piece->gpa != piece->address;
		view->gpa[i] = piece->error ? 0 : piece->gpa;
	}
}
