// SPDX-License-Identifier: LGPL-2.1-or-later
/* Writes back what the baseline says, once, where the guest still holds what was judged. */
#include "action.h"

#include "clock.h"
#include "guest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A guest that writes as fast as we restore shall not have all of our time. */
enum { RESTORES_PER_SECOND = 64, PAGE_BYTES = 4096 };

static void skip(struct action_result *result, const char *reason)
{
	result->outcome = ACTION_SKIPPED;
	snprintf(result->reason, sizeof(result->reason), "%s", reason);
}

static void fail(struct action_result *result, const char *what, int r)
{
	result->outcome = ACTION_FAILED;
	snprintf(result->reason, sizeof(result->reason), "%s: %s", what,
		 r == -EBUSY   ? "the VM is being migrated"
		 : r == -EPERM ? "not permitted: restoring is taken up at the start only"
			       : strerror(-r));
}

/* An entry of a table, whose bytes the baseline has. Registers are not ours to write; text has
 * places where more than one value is right. */
static bool restorable(const struct difference *difference)
{
	const enum object_kind kind = difference->object.kind;

	return (kind == OBJECT_GDT_DESCRIPTOR || kind == OBJECT_IDT_GATE ||
		kind == OBJECT_SYSCALL_ENTRY) &&
	       !difference->outside_text && difference->gpa && difference->size <= 16 &&
	       difference->gpa % PAGE_BYTES + difference->size <= PAGE_BYTES;
}

static bool allowed(struct guest *guest)
{
	uint64_t now = clock_mono();

	if (now - guest->restores_since_ns >= NS_PER_S) {
		guest->restores_since_ns = now;
		guest->restores = 0;
	}
	return ++guest->restores <= RESTORES_PER_SECOND;
}

static void restore(struct guest *guest, const struct difference *difference,
		    struct action_result *result)
{
	uint8_t now[16];
	int r = ka_gpa_read(guest->vm, difference->gpa, now, difference->size);

	if (r < 0) {
		fail(result, "cannot be read", r);
		return;
	}
	if (memcmp(now, difference->observed, difference->size)) {
		skip(result, "it has changed since");
		return;
	}
	r = ka_gpa_write(guest->vm, difference->gpa, difference->expected, difference->size);
	if (!r)
		r = ka_gpa_read(guest->vm, difference->gpa, now, difference->size);
	if (r < 0)
		fail(result, "cannot be written", r);
	else if (memcmp(now, difference->expected, difference->size))
		fail(result, "the guest has written again", -EAGAIN);
	/* The finding ends where the next look finds it so. */
	guest->check_now = true;
}

void action_restore(struct guest *guest, const struct finding *finding,
		    struct action_result *ret_result)
{
	uint64_t begin = clock_mono();

	*ret_result = (struct action_result){ .outcome = ACTION_OK, .exit_status = -1 };
	if (!restorable(&finding->difference))
		skip(ret_result, "only entries of tables are restored");
	else if (!allowed(guest))
		skip(ret_result, "restored too often within a second");
	else
		restore(guest, &finding->difference, ret_result);
	ret_result->duration_us = (clock_mono() - begin) / NS_PER_US;
}
