// SPDX-License-Identifier: LGPL-2.1-or-later
/* Says when the audits of a guest look, within the budget, and what becomes of what they find. */
#include "guest.h"

#include "clock.h"
#include "log.h"
#include "report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BURST_NS (20 * 1000 * 1000ull) /* saved up, or what an interval earns, if that is more */
/* Without a good look for so long, and for so many periods, what was seen is too old to go by. */
#define STALE_NS (60 * NS_PER_S)
enum { STALE_PERIODS = 10, LOOK_TRIES = 3 };

static void audits_cover(struct guest *guest, enum coverage_state state, const char *reason)
{
	uint64_t real_ns = clock_real();

	for (int i = 0; i < AUDITS; i++)
		coverage_set(&guest->audits.audit[i].coverage, state, reason, real_ns);
}

void guest_audits_drop(struct guest *guest)
{
	struct guest_audits *all = &guest->audits;

	for (int i = 0; i < AUDITS; i++) {
		if (all->audit[i].ready)
			audits[i]->release(all->audit[i].state);
		all->audit[i].state = NULL;
		all->audit[i].ready = false;
		all->audit[i].next_ns = all->audit[i].looked_ns = 0;
	}
	if (all->prepared)
		audits_cover(guest, COVERAGE_STALE, "the guest's kernel is not up yet");
	all->prepared = all->code_known = false;
	all->code_count = 0;
}

static struct audit_view view_of(const struct guest *guest)
{
	return (struct audit_view){
		.vm = guest->vm,
		.kernel = &guest->kernel,
		.modules = &guest->modules,
		/* What is of the guest itself is no more than its word. */
		.text = guest->text.taking.text ? NULL : guest->text.text,
		.first_text = guest_text_unsettled(guest) ? NULL : guest->text.taking.text,
		.boot = &guest->text.boot,
		.references = guest->watch->references,
		.reference = guest->reference,
		.policy = &guest->policy,
	};
}

/* Copying and searching the types takes long, so the audits share them, once a boot. */
static void audits_prepare(struct guest *guest)
{
	struct guest_audits *all = &guest->audits;
	struct audit_view view = view_of(guest);
	struct ka_types *types = NULL;
	int err = ka_types_from_guest(guest->vm, &guest->kernel, &types);

	all->prepared = true;
	view.types = types;
	if (!err) {
		guest_modules_prepare_with(&guest->modules, &guest->kernel, types);
		guest_text_prepare_with(guest, types);
	}
	for (int i = 0; i < AUDITS; i++) {
		struct guest_audit *audit = &all->audit[i];

		audit->coverage.off = guest->policy.off[VCPU_CHECKS + i];
		audit->ready = (!err || audits[i]->without_types) && !audit->coverage.off &&
			       (guest->modules.layout || !audits[i]->needs_modules) &&
			       !audits[i]->prepare(&view, &audit->state);
		if (!audit->ready)
			coverage_set(
				&audit->coverage, COVERAGE_UNOBSERVABLE,
				err && !audits[i]->without_types
					? "the guest's kernel has no type information (BTF)"
					: "the guest's kernel does not tell where its records are",
				clock_real());
	}
	ka_types_free(types);
}

/* ---- when ---------------------------------------------------------------------------------- */

static uint64_t share_of(const struct guest *guest, uint64_t ns)
{
	return ns / 1000 * guest->watch->audit_ppm / 1000;
}

static void budget_earn(struct guest *guest, uint64_t now)
{
	struct guest_audits *all = &guest->audits;
	int64_t most = (int64_t)share_of(guest, guest->watch->interval_ns);

	if (most < (int64_t)BURST_NS)
		most = BURST_NS;
	/* Of long intervals, too: other guests wait meanwhile. */
	if (most > (int64_t)NS_PER_S)
		most = NS_PER_S;
	all->budget_ns += all->earned_ns ? (int64_t)share_of(guest, now - all->earned_ns) : most;
	if (all->budget_ns > most)
		all->budget_ns = most;
	all->earned_ns = now;
}

/* The one that has waited longest. -1: none is due. */
static int audit_due(const struct guest *guest, uint64_t now)
{
	const struct guest_audit *all = guest->audits.audit;
	int due = -1;

	for (int i = 0; i < AUDITS; i++)
		if (all[i].ready && !audits[i]->each_cycle && all[i].next_ns <= now &&
		    all[i].cycle != guest->cycles && (due < 0 || all[i].next_ns < all[due].next_ns))
			due = i;
	return due;
}

/* From half to one and a half times the period, so that nobody can tell the moment. */
static uint64_t period_next(struct guest_audits *all, unsigned int period_ms)
{
	uint64_t period_ns = period_ms * NS_PER_MS;

	all->random = all->random * 6364136223846793005ull + 1442695040888963407ull;
	return period_ns / 2 + (all->random >> 33) % (period_ns + 1);
}

/* ---- a look -------------------------------------------------------------------------------- */

static bool result_has(const struct audit_result *result, const struct object_key *object)
{
	for (size_t i = 0; i < result->count && i < AUDIT_DIFFERENCES_MAX; i++)
		if (object_equal(&result->differences[i].object, object))
			return true;
	return false;
}

/* Modules and programs that came and went are told at once: they are no findings. */
static int look_once(const struct guest *guest, int which, const struct audit_view *view,
		     struct audit_result *result)
{
	int err;

	result->count = result->change_count = 0;
	result->gap = NULL;
	err = audits[which]->look(guest->audits.audit[which].state, view, result);
	for (size_t i = 0; i < result->change_count; i++)
		report_change(guest, &result->changes[i]);
	return err;
}

/* A record that is just being freed leads nowhere, and the next try no more there. */
static int look_tried(struct guest *guest, int which, uint64_t modules_age_ns,
		      struct audit_result *result)
{
	struct audit_view view = view_of(guest);
	int err = 0;

	view.first = !guest->audits.audit[which].looked_ns;
	result->count = result->change_count = 0;
	result->gap = NULL;
	if (audits[which]->needs_modules)
		err = guest_modules_read(&guest->modules, guest->vm, &guest->kernel, clock_mono(),
					 modules_age_ns);
	if (err)
		return err;
	for (int i = 0; i < LOOK_TRIES; i++) {
		err = look_once(guest, which, &view, result);
		if (err != -EAGAIN && err != -EFAULT && err != -ENXIO && err != -EINVAL)
			break;
	}
	return err;
}

/* What two looks in a row saw; the second says how it is. */
static int audit_look(struct guest *guest, int which, struct audit_result *result)
{
	struct audit_result again;
	size_t kept = 0;
	int err = look_tried(guest, which, NS_PER_S, result);

	if (err || !result->count)
		return err;
	/* A module that was just loaded would be nobody. */
	err = look_tried(guest, which, 0, &again);
	for (size_t i = 0; !err && i < again.count && i < AUDIT_DIFFERENCES_MAX; i++)
		if (result_has(result, &again.differences[i].object))
			again.differences[kept++] = again.differences[i];
	again.count = kept;
	*result = again;
	return err;
}

static void audit_cover(struct guest_audit *audit, const struct audit *kind, int err, size_t found,
			const char *gap)
{
	uint64_t real_ns = clock_real(),
		 age = STALE_PERIODS * (uint64_t)kind->period_ms * NS_PER_MS;

	if (!err) {
		const char *sampled =
			gap ? gap : "looked at now and then, as the budget for audits allows";

		coverage_set(&audit->coverage,
			     kind->each_cycle ? COVERAGE_OBSERVED : COVERAGE_SAMPLED,
			     kind->each_cycle ? NULL : sampled, real_ns);
		if (!found)
			audit->coverage.last_ok_ns = real_ns;
	} else if (err != -EAGAIN || clock_mono() - audit->looked_ns > STALE_NS + age) {
		coverage_set(&audit->coverage, COVERAGE_STALE,
			     err == -EAGAIN ? "the records changed while they were read, each time"
					    : scan_reason(err),
			     real_ns);
	}
}

/*
 * In an older list a module that was just loaded would be nobody, or the one that lay there before.
 * That it cannot be named is no error.
 */
static void name_owners(struct guest *guest, const struct audit_result *result)
{
	const struct ka_kernel *kernel = &guest->kernel;

	for (size_t i = 0; i < result->count && i < AUDIT_DIFFERENCES_MAX; i++) {
		uint64_t target = result->differences[i].target;

		if (!target || (target >= kernel->base && target < kernel->image_end))
			continue;
		guest_modules_read(&guest->modules, guest->vm, kernel, clock_mono(), 0);
		return;
	}
}

static void code_add(struct guest *guest, enum check_id check, uint64_t gva)
{
	struct guest_audits *all = &guest->audits;
	struct ka_translation translation;

	if (ka_translate(guest->vm, &guest->kernel.paging, gva, &translation))
		return;
	translation.gpa -= translation.gpa % FRAME_BYTES;
	for (size_t i = 0; i < all->code_count; i++)
		if (all->code[i].gpa == translation.gpa)
			return;
	if (all->code_count < TRACKED_CODE_MAX)
		all->code[all->code_count++] = (struct tracked_range){ .gpa = translation.gpa,
								       .len = FRAME_BYTES,
								       .check = check };
}

/* Anew in each boot: where the frames lie that hold what an audit has hot spots in. */
static void code_find(struct guest *guest, int which)
{
	struct audit_range ranges[TRACKED_CODE_MAX];
	size_t count = audits[which]->hot_spots(guest->audits.audit[which].state, ranges,
						TRACKED_CODE_MAX);

	for (size_t i = 0; i < count; i++) {
		uint64_t end = ranges[i].gva + ranges[i].len;

		for (uint64_t gva = ranges[i].gva - ranges[i].gva % FRAME_BYTES; gva < end;
		     gva += FRAME_BYTES)
			code_add(guest, (enum check_id)(VCPU_CHECKS + which), gva);
	}
}

const struct tracked_range *guest_code_frames(struct guest *guest, size_t *ret_count)
{
	struct guest_audits *all = &guest->audits;

	for (int i = 0; !all->code_known && all->prepared && i < AUDITS; i++)
		if (all->audit[i].ready && audits[i]->hot_spots)
			code_find(guest, i);
	all->code_known = all->prepared;
	*ret_count = all->code_count;
	return all->code;
}

static void audit_run(struct guest *guest, int which, uint64_t now)
{
	struct guest_audit *audit = &guest->audits.audit[which];
	enum check_id check = (enum check_id)(VCPU_CHECKS + which);
	struct audit_result result;
	uint64_t begin = clock_thread(), cost_ns;
	int err;

	err = audit_look(guest, which, &result);
	if (!err)
		name_owners(guest, &result);
	cost_ns = clock_thread() - begin;
	log_debug("%s: audit %s took %llu us", guest->info.name, checks[check].name,
		  (unsigned long long)(cost_ns / NS_PER_US));
	if (!err) {
		audit->looked_ns = clock_mono();
		if (!audit->first_ns)
			audit->first_ns = audit->looked_ns;
		guest_judge_audit(guest, check, result.differences, result.count,
				  guest->audits.code_written && audits[which]->hot_spots ? "write"
											 : "poll");
	} else {
		log_debug("%s: audit %s: %s", guest->info.name, checks[check].name, strerror(-err));
	}
	audit_cover(audit, audits[which], err, result.count, result.gap);
	audit->next_ns = now + period_next(&guest->audits, audits[which]->period_ms);
	audit->cycle = guest->cycles;
	if (!audits[which]->each_cycle)
		guest->audits.budget_ns -= (int64_t)cost_ns;
}

/* Of the kernel's text what is due, with what the audits have left. */
static void text_keep_pace(struct guest *guest)
{
	struct guest_audits *all = &guest->audits;
	int r = 0;

	while (!r && all->budget_ns > 0 && guest_text_behind(guest)) {
		uint64_t begin = clock_thread();

		r = guest_text_more(guest);
		all->budget_ns -= (int64_t)(clock_thread() - begin);
	}
}

static void audits_keep_pace(struct guest *guest)
{
	struct guest_audits *all = &guest->audits;
	uint64_t now = clock_mono();
	int due;

	while (all->budget_ns > 0 && (due = audit_due(guest, now)) >= 0) {
		audit_run(guest, due, now);
		now = clock_mono();
	}
}

void guest_audit(struct guest *guest)
{
	struct guest_audits *all = &guest->audits;
	uint64_t now = clock_mono(), begin;

	if (guest->phase != GUEST_WATCHED || guest->going_down || !guest->kernel.symbols)
		return;
	if (!all->random)
		all->random = guest->info.key ^ now;
	budget_earn(guest, now);
	if (!all->prepared) {
		/* Once a boot: it uses up what was saved, but puts off no look. */
		begin = clock_thread();
		audits_prepare(guest);
		all->budget_ns -= (int64_t)(clock_thread() - begin);
		if (all->budget_ns < 1)
			all->budget_ns = 1;
		now = clock_mono();
	}
	for (int i = 0; i < AUDITS; i++)
		if (all->audit[i].ready && audits[i]->each_cycle &&
		    all->audit[i].cycle != guest->cycles)
			audit_run(guest, i, now);
	all->code_written = false;
	audits_keep_pace(guest);
	text_keep_pace(guest);
}

bool guest_audits_wait(const struct guest *guest)
{
	for (int i = 0; i < AUDITS; i++)
		if (guest->audits.audit[i].ready &&
		    guest->audits.audit[i].coverage.state == COVERAGE_NONE)
			return true;
	return guest->phase == GUEST_WATCHED && guest->kernel.symbols && !guest->audits.prepared;
}

bool guest_audits_complete(const struct guest *guest)
{
	if (!guest->kernel.symbols)
		return true;
	for (int i = 0; i < AUDITS; i++)
		if (!guest->policy.off[VCPU_CHECKS + i] &&
		    guest_has_check(guest, VCPU_CHECKS + i) &&
		    !coverage_seen(guest->audits.audit[i].coverage.state))
			return false;
	return true;
}
