// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reads the kernel's text: all of it when its baseline is made, then a part in each cycle, in the
 * same system call as the tables.
 */
#include "guest.h"

#include "log.h"

#include <errno.h>
#include <string.h>

enum { PART_BYTES = 64 << 10 };

static int text_read(void *ctx, uint64_t address, void *buf, size_t len)
{
	struct guest *guest = ctx;

	return ka_gva_read(guest->vm, &guest->kernel.paging, address + guest->kernel.slide, buf,
			   len);
}

void guest_text_drop(struct guest *guest)
{
	free(guest->text.bytes);
	memset(&guest->text, 0, sizeof(guest->text));
}

/* The part from `from` on, and as much around it as lets each patched place be judged. */
static void text_aim(struct guest_text *text, uint64_t from)
{
	uint64_t end;

	text->from = from;
	text->to = text->end - from > PART_BYTES ? from + PART_BYTES : text->end;
	text->address = from - text->start > KA_TEXT_MARGIN ? from - KA_TEXT_MARGIN : text->start;
	end = text->end - text->to > KA_TEXT_MARGIN ? text->to + KA_TEXT_MARGIN : text->end;
	text->len = (uint32_t)(end - text->address);
}

static void text_compare(struct guest_text *text)
{
	text->count =
		ka_text_compare(text->text, &text->boot, text->address, text->bytes, text->len,
				text->from, text->to, text->differences, TEXT_DIFFERENCES_MAX);
	/* More of them in one part tell no more. */
	if (text->count > TEXT_DIFFERENCES_MAX)
		text->count = TEXT_DIFFERENCES_MAX;
}

/* One part, alone; what differs is read a second time, which decides. */
static int part_look(struct guest *guest)
{
	struct guest_text *text = &guest->text;
	int r = 0;

	for (int i = 0; !r && (!i || (i == 1 && text->count)); i++) {
		r = text_read(guest, text->address, text->bytes, text->len);
		if (!r)
			text_compare(text);
	}
	return r;
}

void guest_text_prepare(struct guest *guest)
{
	struct guest_text *text = &guest->text;

	guest_text_drop(guest);
	if (!guest->reference)
		return;
	text->text = references_text(guest->watch->references, guest->reference);
	text->bytes = malloc(PART_BYTES + 2 * KA_TEXT_MARGIN);
	if (!text->text || !text->bytes) {
		guest_text_drop(guest);
		return;
	}
	text->boot = (struct ka_text_boot){ .slide = guest->kernel.slide,
					    .read = text_read,
					    .ctx = guest };
	ka_text_range(text->text, &text->start, &text->end);
	text->next = text->start;
	text->piece = SIZE_MAX;
}

void guest_text_begin(struct guest *guest)
{
	struct guest_text *text = &guest->text;
	int r = 0;

	text->piece = 0;
	for (uint64_t at = text->start; !r && at < text->end; at = text->to) {
		text_aim(text, at);
		r = part_look(guest);
		if (!r)
			guest_judge_text(guest);
	}
	if (r < 0)
		log_debug("%s: the kernel's text: %s", guest->info.name, strerror(-r));
	/* Nothing is at hand until the next scan. */
	text->count = 0;
	text->piece = SIZE_MAX;
}

/* Every other cycle looks at an open finding again, so that it is soon told what was put back. */
static uint64_t part_next(struct guest *guest)
{
	struct guest_text *text = &guest->text;
	size_t open = 0, turn;
	uint64_t from;

	for (size_t i = 0; i < guest->findings.count; i++)
		open += guest->findings.findings[i].difference.object.check == CHECK_TEXT;
	turn = open ? guest->cycles / 2 % open : 0;
	for (size_t i = 0; open && guest->cycles % 2 && i < guest->findings.count; i++) {
		const struct object_key *object = &guest->findings.findings[i].difference.object;

		if (object->check == CHECK_TEXT && !turn--)
			return text->start + object->index / PART_BYTES * PART_BYTES;
	}
	from = text->next;
	text->next = text->end - from > PART_BYTES ? from + PART_BYTES : text->start;
	return from;
}

void guest_text_add(struct guest *guest)
{
	struct guest_text *text = &guest->text;
	struct reader *reader = &guest->reader;

	text->piece = SIZE_MAX;
	if (!text->text || guest->phase != GUEST_WATCHED || reader->count == reader->max)
		return;
	/* The second read of a cycle is of what the first one saw. */
	if (text->cycle != guest->cycles)
		text_aim(text, part_next(guest));
	text->cycle = guest->cycles;
	text->piece = reader->count;
	reader->pieces[reader->count++] = (struct ka_piece){
		.paging = &guest->kernel.paging,
		.address = text->address + guest->kernel.slide,
		.buf = text->bytes,
		.len = text->len,
	};
}

void guest_text_collect(struct guest *guest)
{
	struct guest_text *text = &guest->text;

	text->count = 0;
	if (text->piece == SIZE_MAX)
		return;
	text->error = guest->reader.pieces[text->piece].error;
	if (!text->error)
		text_compare(text);
}
