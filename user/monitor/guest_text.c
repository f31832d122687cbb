// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Reads the kernel's text: all of it once its baseline is made, as fast as the other guests' cycles
 * allow, and a part in each cycle, in the same system call as the tables.
 */
#include "guest.h"

#include "clock.h"
#include "log.h"

#include <errno.h>
#include <string.h>

enum {
	PART_BYTES = 64 << 10,
	FIRST_LOOKS_SHARE = 8, /* of an interval, for the first looks of all guests */
	WRITTEN_SPACING_MS = 20, /* between looks at what was written, a part each */
};

enum { OPCODE_INT3 = 0xcc };

/* For no longer than this a breakpoint stands where the kernel patches. */
#define BREAKPOINT_NS NS_PER_S

/* Read and judged at once, so that one room serves all guests. */
static uint8_t part_room[PART_BYTES + 2 * KA_TEXT_MARGIN];

static int text_read(void *ctx, uint64_t address, void *buf, size_t len)
{
	struct guest *guest = ctx;
	struct ka_piece piece = { .paging = &guest->kernel.paging,
				  .address = address + guest->kernel.slide,
				  .buf = buf,
				  .len = (uint32_t)len };
	int r = ka_readv(guest->vm, &piece, 1);

	return r < 0 ? r : piece.error;
}

void guest_text_drop(struct guest *guest)
{
	guest_text_take_drop(guest);
	text_pass_free(&guest->text.pass);
	ka_tracing_layout_free(guest->text.tracing);
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

void guest_text_prepare_with(struct guest *guest, const struct ka_types *types)
{
	struct guest_text *text = &guest->text;

	if (text->tracing_tried)
		return;
	text->tracing_tried = true;
	if (ka_tracing_layout_new(&guest->kernel, types, &text->tracing))
		text->tracing = NULL;
}

/* Once a boot, and only where something differs: it takes the guest's types. */
static void tracing_prepare(struct guest *guest)
{
	struct ka_types *types = NULL;

	if (guest->text.tracing_tried)
		return;
	if (ka_types_from_guest(guest->vm, &guest->kernel, &types)) {
		guest->text.tracing_tried = true;
		return;
	}
	guest_text_prepare_with(guest, types);
	ka_types_free(types);
}

static size_t compare_once(struct guest_text *text)
{
	size_t count =
		ka_text_compare(text->text, &text->boot, text->address, part_room, text->len,
				text->from, text->to, text->differences, TEXT_DIFFERENCES_MAX);

	/* More of them in one part tell no more. */
	return count < TEXT_DIFFERENCES_MAX ? count : TEXT_DIFFERENCES_MAX;
}

/* Since when a breakpoint stands there that no record explains, if it is seen again. */
static uint64_t breakpoint_since(const struct guest_text *text, uint64_t address, uint64_t now)
{
	for (size_t i = 0; i < text->breakpoint_count; i++)
		if (text->breakpoints[i].address == address)
			return text->breakpoints[i].since_ns;
	return now;
}

/*
 * Breakpoints that nobody recorded, and that may be gone the next time, are put off: the kernel
 * has one wherever it patches, for a moment.
 */
static void put_off_breakpoints(struct guest_text *text)
{
	struct text_breakpoint seen[TEXT_DIFFERENCES_MAX];
	uint64_t now = clock_mono();
	size_t count = 0, kept = 0;

	for (size_t i = 0; i < text->count; i++) {
		const struct ka_text_difference *difference = &text->differences[i];
		uint64_t since = breakpoint_since(text, difference->address, now);
		bool breakpoint = difference->observed[0] == OPCODE_INT3 &&
				  difference->expected[0] != OPCODE_INT3;

		if (breakpoint)
			seen[count++] = (struct text_breakpoint){ difference->address, since };
		if (!breakpoint || now - since >= BREAKPOINT_NS)
			text->differences[kept++] = *difference;
	}
	/* Those of other parts; where there are too many, some are seen as if for the first time.
	 */
	for (size_t i = 0; i < text->breakpoint_count && count < TEXT_DIFFERENCES_MAX; i++)
		if (text->breakpoints[i].address < text->from ||
		    text->breakpoints[i].address >= text->to)
			seen[count++] = text->breakpoints[i];
	memcpy(text->breakpoints, seen, count * sizeof(seen[0]));
	text->breakpoint_count = count;
	text->count = kept;
}

struct ka_tracing *guest_text_tracing(struct guest *guest)
{
	struct ka_tracing *tracing = NULL;

	tracing_prepare(guest);
	return guest->text.tracing && !ka_tracing_read(guest->vm, &guest->kernel,
						       guest->text.tracing, &tracing)
		       ? tracing
		       : NULL;
}

/* What differs is held against what the guest's kernel says that it did. */
static void text_compare(struct guest *guest, struct guest_text *text)
{
	struct ka_tracing *tracing;

	text->count = compare_once(text);
	tracing = text->count ? guest_text_tracing(guest) : NULL;
	if (tracing) {
		text->boot.tracing = tracing;
		text->count = compare_once(text);
		text->boot.tracing = NULL;
		ka_tracing_free(tracing);
	}
	put_off_breakpoints(text);
}

/* One part, alone; what differs is read a second time, which decides. */
static int part_look(struct guest *guest, struct guest_text *text)
{
	int r = 0;

	for (int i = 0; !r && (!i || (i == 1 && text->count)); i++) {
		r = text_read(guest, text->address, part_room, text->len);
		if (!r)
			text_compare(guest, text);
	}
	return r;
}

static size_t part_of(const struct guest_text *text, uint64_t address)
{
	return (address - text->start) / PART_BYTES;
}

static uint64_t part_start(const struct guest_text *text, size_t part)
{
	return text->start + part * PART_BYTES;
}

bool guest_text_is(struct guest *guest, const struct ka_text *of)
{
	struct guest_text *text = &guest->text;

	text->text = of;
	text->boot = (struct ka_text_boot){ .slide = guest->kernel.slide,
					    .read = text_read,
					    .ctx = guest };
	ka_text_range(of, &text->start, &text->end);
	text->first = text->start;
	text->piece = SIZE_MAX;
	text_pass_free(&text->pass);
	return !text_pass_init(&text->pass, part_of(text, text->end - 1) + 1, clock_mono());
}

void guest_text_prepare(struct guest *guest)
{
	const struct ka_text *text =
		guest->reference ? references_text(guest->watch->references, guest->reference)
				 : NULL;

	guest_text_drop(guest);
	if (text && !guest_text_is(guest, text))
		guest_text_drop(guest);
}

bool guest_first_looks_allowed(const struct watch *watch, uint64_t now)
{
	struct first_looks *looks = watch->first_looks;

	if (!looks)
		return true;
	if (now - looks->since_ns >= watch->interval_ns) {
		looks->since_ns = now;
		looks->spent_ns = 0;
	}
	return looks->spent_ns < watch->interval_ns / FIRST_LOOKS_SHARE;
}

void guest_first_look_took(const struct watch *watch, uint64_t ns)
{
	if (watch->first_looks)
		watch->first_looks->spent_ns += ns;
}

/* Outside of the scan. */
static int look_and_judge(struct guest *guest, uint64_t from, bool by_write)
{
	struct guest_text *text = &guest->text;
	int r;

	text->piece = 0;
	text->by_write = by_write;
	text_aim(text, from);
	r = part_look(guest, text);
	if (!r && text->count && guest_text_unsettled(guest)) {
		guest_text_retake(guest);
		return -EAGAIN;
	}
	if (!r) {
		text_pass_seen(&text->pass, part_of(text, text->from), clock_mono());
		guest_judge_text(guest);
	} else {
		log_debug("%s: the kernel's text: %s", guest->info.name, strerror(-r));
	}
	/* Nothing is at hand until the next scan. */
	text->count = 0;
	text->piece = SIZE_MAX;
	return r;
}

void guest_text_first(struct guest *guest)
{
	struct guest_text *text = &guest->text;
	uint64_t now = clock_mono();
	bool unsettled;
	int r = 0;

	if (!text->text)
		guest_text_take(guest);
	unsettled = guest_text_unsettled(guest);
	while (!r && text->text && text->first < text->end &&
	       guest_first_looks_allowed(guest->watch, now)) {
		uint64_t begin = now;

		r = look_and_judge(guest, text->first, false);
		if (!r)
			text->first = text->to;
		now = clock_mono();
		guest_first_look_took(guest->watch, now - begin);
	}
	if (unsettled && text->text && text->first == text->end)
		guest_cover_text(guest);
}

bool guest_text_behind(const struct guest *guest)
{
	const struct guest_text *text = &guest->text;

	return text->text && text->first == text->end &&
	       text_pass_behind(&text->pass, clock_mono());
}

int guest_text_more(struct guest *guest)
{
	struct guest_text *text = &guest->text;

	return look_and_judge(guest, part_start(text, text_pass_next(&text->pass, clock_mono())),
			      false);
}

/* The n-th thing that wants to be looked at again: an open finding, or a young breakpoint. */
static bool part_again(const struct guest *guest, size_t n, uint64_t *ret_from)
{
	const struct guest_text *text = &guest->text;
	size_t i = 0;

	for (size_t f = 0; f < guest->findings.count; f++) {
		const struct object_key *object = &guest->findings.findings[f].difference.object;

		if (object->check == CHECK_TEXT && i++ == n) {
			*ret_from = part_start(text, object->index / PART_BYTES);
			return true;
		}
	}
	if (n - i >= text->breakpoint_count)
		return false;
	*ret_from = part_start(text, part_of(text, text->breakpoints[n - i].address));
	return true;
}

void guest_text_wrote(struct guest *guest, uint64_t address, uint32_t len)
{
	struct guest_text *text = &guest->text;
	uint64_t last = address + (len ? len - 1 : 0), now = clock_mono();

	if (!text->text || last < text->start || address >= text->end)
		return;
	if (address >= text->start)
		text_pass_wrote(&text->pass, part_of(text, address), now);
	if (last < text->end)
		text_pass_wrote(&text->pass, part_of(text, last), now);
	/* A look that is asked for already comes before this settles, and asks for the next. */
	if (!guest->soon_ns)
		guest_text_soon(guest);
}

void guest_text_soon(struct guest *guest)
{
	uint64_t due_ns, soonest_ns = clock_mono() + WRITTEN_SPACING_MS * NS_PER_MS;
	size_t part;

	if (guest->phase != GUEST_WATCHED || !text_pass_due(&guest->text.pass, &part, &due_ns))
		return;
	if (due_ns < soonest_ns)
		due_ns = soonest_ns;
	if (!guest->soon_ns || due_ns < guest->soon_ns)
		guest->soon_ns = due_ns;
}

/*
 * First what was written. Else every other cycle looks at one of those again that want it, so that it is
 * soon told what became of it.
 */
static uint64_t part_next(struct guest *guest)
{
	struct guest_text *text = &guest->text;
	uint64_t from, due_ns;
	size_t count = 0, part;

	text->by_write = text_pass_due(&text->pass, &part, &due_ns) && due_ns <= clock_mono();
	if (text->by_write)
		return part_start(text, part);
	while (guest->cycles % 2 && part_again(guest, count, &from))
		count++;
	if (count && part_again(guest, guest->cycles / 2 % count, &from))
		return from;
	return part_start(text, text_pass_next(&text->pass, clock_mono()));
}

int guest_text_part(struct guest *guest)
{
	uint64_t from;

	if (!guest->text.text || guest_text_unsettled(guest))
		return 0;
	from = part_next(guest);
	return look_and_judge(guest, from, guest->text.by_write);
}

void guest_text_add(struct guest *guest)
{
	struct guest_text *text = &guest->text;
	struct reader *reader = &guest->reader;

	text->piece = SIZE_MAX;
	if (!text->text || guest->phase != GUEST_WATCHED || reader->count == reader->max ||
	    guest_text_unsettled(guest))
		return;
	/* The second read of a cycle is of what the first one saw. */
	if (text->cycle != guest->cycles)
		text_aim(text, part_next(guest));
	text->cycle = guest->cycles;
	text->piece = reader->count;
	reader->pieces[reader->count++] = (struct ka_piece){
		.paging = &guest->kernel.paging,
		.address = text->address + guest->kernel.slide,
		.buf = part_room,
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
	if (text->error)
		return;
	text_pass_seen(&text->pass, part_of(text, text->from), clock_mono());
	text_compare(guest, text);
}
