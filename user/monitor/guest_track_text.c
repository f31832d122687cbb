// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Has writes to the frames of the kernel's text told, in bounded parts. The kernel patches itself, so
 * that a write is no finding: it has its part of the text looked at soon.
 */
#include "guest.h"

#include "clock.h"

#include <errno.h>
#include <string.h>

enum { FRAMES_PER_CYCLE = 512 };

static const uint64_t text_hot_ns = 60 * NS_PER_S;

static bool is_of_this_boot(const struct guest *guest)
{
	const struct text_tracking *tracking = &guest->text_tracking;

	return tracking->text == guest->text.text && tracking->slide == guest->kernel.slide &&
	       tracking->generation == guest->generation;
}

static uint64_t first_frame(const struct guest *guest)
{
	uint64_t gva = guest->text.start + guest->kernel.slide;

	return gva - gva % FRAME_BYTES;
}

static uint64_t end_of_text(const struct guest *guest)
{
	return guest->text.end + guest->kernel.slide;
}

static struct text_run *run_of(struct text_tracking *tracking, uint64_t gpa)
{
	for (size_t i = 0; i < tracking->runs; i++)
		if (gpa - tracking->run[i].gpa < tracking->run[i].len)
			return &tracking->run[i];
	return NULL;
}

/* What was tracked again, after it was given up, has its run already, at least of its beginning. */
static int run_add(struct text_tracking *tracking, uint64_t gva, uint64_t gpa, uint64_t len)
{
	struct text_run *last = tracking->runs ? &tracking->run[tracking->runs - 1] : NULL;
	const struct text_run *known = run_of(tracking, gpa);

	if (known) {
		uint64_t covered = known->gpa + known->len - gpa;

		if (covered >= len)
			return 0;
		gva += covered;
		gpa += covered;
		len -= covered;
	}
	if (last && last->gpa + last->len == gpa && last->gva + last->len == gva) {
		last->len += len;
		return 0;
	}
	if (tracking->runs == TEXT_RUNS_MAX)
		return -ENOSPC;
	tracking->run[tracking->runs++] = (struct text_run){ gva, gpa, len };
	return 0;
}

/* Of one page of the guest's, at most `most` frames. Returns how many, or -errno. */
static int frames_track(struct guest *guest, uint64_t gva, uint64_t most)
{
	struct ka_translation translation;
	int r = ka_translate(guest->vm, &guest->kernel.paging, gva, &translation);
	uint64_t frames;

	if (r < 0)
		return r;
	frames = (translation.page_size - translation.gpa % translation.page_size) / FRAME_BYTES;
	r = ka_track_frames(guest->vm, translation.gpa, frames < most ? frames : most, CHECK_TEXT);
	if (r > 0 && run_add(&guest->text_tracking, gva, translation.gpa, (uint64_t)r * FRAME_BYTES) < 0) {
		ka_untrack(guest->vm, translation.gpa, (uint64_t)r * FRAME_BYTES);
		return -ENOSPC;
	}
	return r;
}

int guest_text_track(struct guest *guest)
{
	struct text_tracking *tracking = &guest->text_tracking;
	uint64_t end = end_of_text(guest), left = FRAMES_PER_CYCLE;

	if (!is_of_this_boot(guest)) {
		guest_text_untrack(guest);
		*tracking = (struct text_tracking){ .text = guest->text.text,
						    .slide = guest->kernel.slide,
						    .generation = guest->generation,
						    .next = first_frame(guest) };
	}
	if (tracking->hot_until_ns && clock_mono() >= tracking->hot_until_ns) {
		tracking->hot_until_ns = 0;
		tracking->next = first_frame(guest);
	}
	while (tracking->next < end && left) {
		uint64_t frames = (end - tracking->next + FRAME_BYTES - 1) / FRAME_BYTES;
		int r = frames_track(guest, tracking->next, frames < left ? frames : left);

		/* One that is just being given up is told as such. */
		if (r == -EAGAIN)
			r = 1;
		if (r <= 0)
			return r ? r : -EIO;
		tracking->next += (uint64_t)r * FRAME_BYTES;
		left -= (uint64_t)r;
	}
	return tracking->next >= end;
}

void guest_text_untrack(struct guest *guest)
{
	struct text_tracking *tracking = &guest->text_tracking;

	for (size_t i = 0; guest->tracks && i < tracking->runs; i++)
		ka_untrack(guest->vm, tracking->run[i].gpa, tracking->run[i].len);
	guest_text_forget(guest);
}

void guest_text_forget(struct guest *guest)
{
	guest->text_tracking = (struct text_tracking){ 0 };
}

void guest_text_retrack(struct guest *guest)
{
	guest->text_tracking.next = first_frame(guest);
	text_pass_wrote_any(&guest->text.pass, clock_mono());
}

bool guest_text_is_tracked(struct guest *guest, uint64_t gpa)
{
	return run_of(&guest->text_tracking, gpa);
}

void guest_text_hot(struct guest *guest)
{
	guest->text_tracking.hot_until_ns = clock_mono() + text_hot_ns;
}

void guest_text_written(struct guest *guest, const struct ka_write *write)
{
	const struct text_run *run = run_of(&guest->text_tracking, write->gpa);

	if (run && is_of_this_boot(guest))
		guest_text_wrote(guest, run->gva + (write->gpa - run->gpa) - guest->kernel.slide,
				 write->len);
}
