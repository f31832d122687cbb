// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Takes the text of a kernel that there is no reference of, once that kernel cannot write to it any more,
 * to hold it against itself from then on. It is looked at once more before that: where it is not the same,
 * the kernel was patching, and it is taken anew.
 */
#include "guest.h"

#include "clock.h"
#include "log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	TAKE_BYTES = 256 << 10, /* at once */
	TRIES = 16,
	TEXT_BYTES_MAX = 128 << 20,
};

/* Of all guests: a host has more memory than its monitor should take of it. */
static const uint64_t taken_max = 2ull << 30;
static uint64_t taken;

static const uint64_t again_ns = 60 * NS_PER_S;

void guest_text_take_drop(struct guest *guest)
{
	struct text_taking *taking = &guest->text.taking;

	taken -= taking->len;
	free(taking->bytes);
	ka_text_free(taking->text);
	*taking = (struct text_taking){ 0 };
}

/* A kernel that patches is at rest a moment later; one that never was is tried again later on. */
static void take_again(struct guest *guest)
{
	struct text_taking *taking = &guest->text.taking;
	const struct text_taking before = *taking;

	guest_text_take_drop(guest);
	taking->tries = (before.tries + 1) % TRIES;
	taking->reason = before.reason;
	taking->again_ns = before.again_ns;
	if (taking->tries)
		return;
	taking->reason = "no reference of this kernel build, and its text was not at rest to be taken";
	taking->again_ns = clock_mono() + again_ns;
}

void guest_text_retake(struct guest *guest)
{
	struct guest_text *text = &guest->text;

	text->text = NULL;
	text->count = text->breakpoint_count = 0;
	text->piece = SIZE_MAX;
	text_pass_free(&text->pass);
	take_again(guest);
}

/* 1: it has begun; 0: not yet. */
static int take_begin(struct guest *guest)
{
	struct text_taking *taking = &guest->text.taking;
	const struct ka_kernel *kernel = &guest->kernel;
	uint64_t len = kernel->text_end - kernel->text_start;
	struct ka_translation translation = { .rights = KA_RIGHT_WRITE };
	int r = ka_translate(guest->vm, &kernel->paging, kernel->text_start, &translation);

	if (r < 0)
		return r;
	if (translation.rights & KA_RIGHT_WRITE) {
		taking->reason = "no reference of this kernel build, and it can still write to its text";
		return 0;
	}
	if (kernel->text_end <= kernel->text_start || len > TEXT_BYTES_MAX ||
	    !ka_symbols_64bit(kernel->symbols))
		return -ENODATA;
	if (taken + len > taken_max)
		return -ENOBUFS;
	taking->bytes = malloc(len);
	if (!taking->bytes)
		return -ENOMEM;
	taken += taking->len = len;
	taking->start = taking->next = kernel->text_start;
	/* What failed before stays told until there is a text. */
	if (!taking->again_ns)
		taking->reason = NULL;
	return 1;
}

static int take_part(struct guest *guest)
{
	struct text_taking *taking = &guest->text.taking;
	uint64_t done = taking->next - taking->start;
	uint64_t len = taking->len - done < TAKE_BYTES ? taking->len - done : TAKE_BYTES;
	int r = ka_gva_read(guest->vm, &guest->kernel.paging, taking->next, taking->bytes + done,
			    len);

	taking->next += len;
	return r;
}

static int take_end(struct guest *guest)
{
	struct text_taking *taking = &guest->text.taking;
	struct ka_tracing *tracing = guest_text_tracing(guest);
	uint8_t *bytes = taking->bytes;
	int r;

	/* Lawful probes would be told as changes. */
	if (!tracing)
		return -EOPNOTSUPP;
	taking->bytes = NULL;
	r = ka_text_from_guest(guest->vm, &guest->kernel, bytes, tracing, &taking->text);
	ka_tracing_free(tracing);
	if (!r && !guest_text_is(guest, taking->text))
		r = -ENOMEM;
	return r;
}

static const char *reason_of(int error)
{
	switch (error) {
	case -ENOBUFS:
		return "no reference of this kernel build, and the text of other guests' kernels at first "
		       "sight takes 2 GiB already";
	case -EOPNOTSUPP:
		return "no reference of this kernel build, and no type information (BTF) in it to know "
		       "its probes by";
	case -ENODATA:
	case -EBADMSG:
		return "no reference of this kernel build, and it does not tell where it patches itself";
	case -ENOMEM:
		return "no reference of this kernel build, and no memory for its text";
	default:
		return NULL; /* it may be readable later */
	}
}

static void take_failed(struct guest *guest, int error)
{
	struct text_taking *taking = &guest->text.taking;
	const char *reason = reason_of(error);

	log_debug("%s: the kernel's text at first sight: %s", guest->info.name, strerror(-error));
	guest->text.text = NULL;
	take_again(guest);
	if (!reason)
		return;
	taking->reason = reason;
	taking->again_ns = error == -ENOBUFS || error == -ENOMEM ? clock_mono() + again_ns
								 : UINT64_MAX;
}

void guest_text_take(struct guest *guest)
{
	struct text_taking *taking = &guest->text.taking;
	uint64_t now = clock_mono();
	int r = 1;

	if (now < taking->again_ns || guest->policy.off[CHECK_TEXT] || !guest->kernel.symbols)
		return;
	if (!taking->bytes)
		r = take_begin(guest);
	while (r > 0 && guest_first_looks_allowed(guest->watch, now)) {
		uint64_t begin = now;

		r = taking->next - taking->start < taking->len ? take_part(guest) : take_end(guest);
		now = clock_mono();
		guest_first_look_took(guest->watch, now - begin);
		/* A part is followed by the next one, the end by nothing. */
		if (!r && taking->bytes)
			r = 1;
	}
	if (r < 0)
		take_failed(guest, r);
}
