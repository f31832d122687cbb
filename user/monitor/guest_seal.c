// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Looks at a guest of which nothing has changed: once a look was clean, what it saw is sealed, and as long
 * as the seal is intact the next ones would see the same. What is not under the seal is looked at as ever: a
 * part of the kernel's text, audits, and writes.
 */
#include "guest.h"

#include "clock.h"
#include "log.h"

#include <errno.h>
#include <string.h>

enum {
	/* A seal that broke sooner was hardly worth its cost: the next one waits for longer. */
	LASTING_CYCLES = 4,
	WAIT_MAX_CYCLES = 64,
	VCPUS_MAX = 256, /* of a guest that is sealed */
};

void guest_settle(struct guest *guest)
{
	struct guest_seal *seal = &guest->seal;

	for (size_t i = 0; seal->looks && i < guest->vcpu_count; i++)
		for (int check = 0; check < VCPU_CHECKS; check++) {
			struct coverage *coverage = &guest->vcpus[i].coverage[check];

			coverage->cycles[coverage->state] += seal->looks;
			/* What the look before the seal has seen in order is so still. */
			if (coverage->last_ok_ns >= seal->whole_ns)
				coverage->last_ok_ns = guest->looked_ns;
		}
	seal->looks = 0;
}

void guest_unseal(struct guest *guest)
{
	struct guest_seal *seal = &guest->seal;

	if (!seal->is)
		return;
	guest_settle(guest);
	ka_unseal(guest->vm);
	seal->is = false;
	if (guest->cycles - seal->since < LASTING_CYCLES && seal->wait < WAIT_MAX_CYCLES)
		seal->wait = seal->wait * 2 + 1;
	else if (guest->cycles - seal->since >= LASTING_CYCLES)
		seal->wait = 0;
	seal->next = guest->cycles + seal->wait;
}

/* Was the last look at it a whole one that leaves nothing to be found out, and all it saw in order? */
static bool vcpu_is_quiet(const struct guest_vcpu *vcpu)
{
	/* The MSRs of one that runs VMs of its own are lent to those. */
	return vcpu->present && !vcpu->usable && vcpu->phase == VCPU_JUDGED &&
	       !vcpu->held_changed && !vcpu->push_missed && !vcpu_error(vcpu) &&
	       !registers_run_vms(&vcpu->registers);
}

static bool guest_is_quiet(const struct guest *guest)
{
	const struct guest_text *text = &guest->text;

	if (guest->phase != GUEST_WATCHED || guest->reset_seen || guest->going_down ||
	    guest->check_now || guest->emptied_ns || guest->writes_first ||
	    guest->changes_missed || guest->findings.count || !guest->scanned ||
	    fold_any_lives(&guest->folds, clock_mono()))
		return false;
	/* Until it is taken, and was looked at once, what is said of it changes. */
	if (text->text ? text->first < text->end || text->breakpoint_count || text->error
		       : text->taking.bytes != NULL)
		return false;
	/* Who wrote to the text is told before that it differs. */
	if (guest->text_tracking.runs)
		return false;
	for (size_t i = 0; i < guest->vcpu_count; i++)
		if (!vcpu_is_quiet(&guest->vcpus[i]))
			return false;
	return guest->vcpu_count && guest->vcpu_count <= VCPUS_MAX;
}

static int seal_scan(struct guest *guest)
{
	struct ka_seal_vcpu vcpus[VCPUS_MAX];

	for (size_t i = 0; i < guest->vcpu_count; i++)
		vcpus[i] = (struct ka_seal_vcpu){ &guest->vcpus[i].registers,
						  &guest->vcpus[i].paging };
	return ka_seal(guest->vm, vcpus, guest->vcpu_count, guest->reader.pieces, guest->scanned);
}

void guest_seal(struct guest *guest, enum seal_state state, uint64_t begin_real_ns)
{
	struct guest_seal *seal = &guest->seal;
	bool quiet = guest_is_quiet(guest);
	int r;

	/* One that nobody asked stays: it is of a look that was clean, too. */
	if (!quiet || state == SEAL_BROKEN)
		guest_unseal(guest);
	if (!quiet)
		return;
	seal->whole = guest->cycles;
	seal->whole_ns = begin_real_ns;
	if (seal->is || guest->cycles < seal->next)
		return;
	r = seal_scan(guest);
	seal->is = !r;
	seal->since = guest->cycles;
	if (r) {
		log_debug("%s: not sealed: %s", guest->info.name, strerror(-r));
		seal->wait = seal->wait < WAIT_MAX_CYCLES ? seal->wait * 2 + 1 : seal->wait;
		seal->next = guest->cycles + seal->wait;
	}
}

bool guest_may_rest(struct guest *guest)
{
	if (!guest->seal.is || guest->check_now || guest->changes_lost || guest_whole_is_due(guest))
		return false;
	/* That may find something. */
	return !guest_text_part(guest) && guest->seal.is;
}

void guest_rest(struct guest *guest, unsigned int looks)
{
	struct guest_seal *seal = &guest->seal;

	guest->cycles += looks;
	guest->judged += looks;
	seal->looks += looks;
}

bool guest_is_all_sealed(const struct guest *guest)
{
	const bool no_text = guest->policy.off[CHECK_TEXT];

	if (guest->watch->realtime || guest->text.taking.bytes || (guest->text.text && !no_text))
		return false;
	if (!guest->kernel.symbols)
		return true;
	/* By its policy. */
	if (!no_text || !guest->audits.prepared)
		return false;
	for (int i = 0; i < AUDITS; i++)
		if (guest->audits.audit[i].ready)
			return false;
	return true;
}

unsigned int guest_may_be_left(const struct guest *guest)
{
	if (!guest->seal.is || guest->check_now || guest->soon_ns || guest->changes_lost ||
	    !guest_is_all_sealed(guest) || guest_interval_ns(guest) != guest->watch->interval_ns)
		return 0;
	return guest_looks_left(guest);
}
