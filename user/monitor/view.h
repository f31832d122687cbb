/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A table of the guest as one vCPU sees it: where it lies, page by page, and what it holds. */
#ifndef MONITOR_VIEW_H
#define MONITOR_VIEW_H

#include "difference.h"

#include <kvmaccess.h>
#include <stddef.h>

enum {
	/* A Linux GDT is at most a page; what a larger one holds behind that is not watched. */
	VIEW_GDT_BYTES = 4096,
	VIEW_IDT_BYTES = 4096,
	VIEW_SYSCALL_BYTES = 8192,
	VIEW_PAGES = 3,
};

struct view {
	uint64_t gva;
	uint32_t limit; /* of the register that points at it; 0 for other tables */
	uint32_t len;	/* bytes watched */
	uint64_t gpa[VIEW_PAGES];
	unsigned int pages;
	int error;	/* of the last read: 0 or -errno */
	bool no_ram;	/* mapped, but what is there cannot be read */
	bool contents;	/* bytes were asked for, not the place alone */
	uint8_t *bytes; /* `capacity` of them */
	uint32_t capacity;
	size_t piece; /* first of its pieces in the reader */
};

/* Sets where the next read looks. */
void view_aim(struct view *view, uint64_t gva, uint32_t limit, uint32_t len);
void view_copy(struct view *to, const struct view *from);
/* Same pages and limit. The GVA may differ: Linux has each GDT mapped twice. */
bool view_same_place(const struct view *a, const struct view *b);
bool view_same_bytes(const struct view *a, const struct view *b);
struct place view_place(const struct view *view);
/* GPA of a byte of it. */
uint64_t view_gpa(const struct view *view, uint32_t offset);
/* The opposite; false: not in it. */
bool view_offset(const struct view *view, uint64_t gpa, uint32_t *ret_offset);
/* Little-endian value at an offset; 0 beyond the end. */
void view_value(const struct view *view, uint32_t offset, unsigned int size, uint64_t ret_value[2]);

/* Many views in one ka_readv(). */
struct reader {
	struct ka_piece *pieces;
	size_t count, max;
};

int reader_reserve(struct reader *reader, size_t views);
void reader_deinit(struct reader *reader);
void reader_begin(struct reader *reader);
/* `paging` must live until the run. */
void reader_add(struct reader *reader, struct view *view, const struct ka_paging *paging,
		bool contents);
int reader_run(struct reader *reader, struct ka_vm *vm);
/* Takes the result of a run into the view. */
void reader_collect(const struct reader *reader, struct view *view);

#endif
