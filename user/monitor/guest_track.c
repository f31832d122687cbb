// SPDX-License-Identifier: LGPL-2.1-or-later
/* Keeps what is tracked in step with what is watched: while a kernel is up, its tables. */
#include "guest.h"

#include "clock.h"
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What is written too often is given this time to calm down. */
static const uint64_t hot_ns = 60 * NS_PER_S;

static void off(struct guest *guest, enum check_id check, const char *reason)
{
	struct tracking *tracking = &guest->tracking[check];

	tracking->state = TRACKING_OFF;
	/* Nearly always it is off for the same reason as before. */
	if (!strcmp(tracking->reason, reason))
		return;
	snprintf(tracking->reason, sizeof(tracking->reason), "%s", reason);
}

static void off_all(struct guest *guest, const char *reason)
{
	for (int i = 0; i < TRACKED_CHECKS; i++)
		off(guest, tracked_checks[i], reason);
}

/* ---- what is wanted ------------------------------------------------------------------------- */

struct wanted {
	struct tracked_range ranges[TRACKED_RANGES_MAX];
	size_t count;
	int error[CHECKS]; /* of the last range that cannot be tracked */
};

static void want_range(struct wanted *wanted, const struct tracked_range *range)
{
	for (size_t i = 0; i < wanted->count; i++)
		if (wanted->ranges[i].gpa < range->gpa + range->len &&
		    range->gpa < wanted->ranges[i].gpa + wanted->ranges[i].len)
			return;
	if (wanted->count == TRACKED_RANGES_MAX)
		wanted->error[range->check] = -ENOSPC;
	else
		wanted->ranges[wanted->count++] = *range;
}

static bool has_findings(const struct guest *guest, enum check_id check)
{
	for (size_t i = 0; i < guest->findings.count; i++)
		if (guest->findings.findings[i].difference.object.check == check)
			return true;
	return false;
}

/*
 * Why what a user wants protected is not. What differs already must not be what protection keeps,
 * and of other systems than Linux it is not known what they write.
 */
static const char *unprotected_reason(const struct guest *guest, enum check_id check)
{
	return !guest->kernel.symbols	    ? "not a Linux kernel that is known"
	       : has_findings(guest, check) ? "a finding is open"
					    : NULL;
}

/* A range a frame. */
static void want_view(const struct guest *guest, struct wanted *wanted, enum check_id check,
		      const struct view *view)
{
	struct tracked_range range = {
		.check = check,
		.protect = guest->watch->protect[check] && !unprotected_reason(guest, check),
	};

	for (uint32_t at = 0; at < view->len; at += range.len) {
		range.gpa = view_gpa(view, at);
		range.len = FRAME_BYTES - (uint32_t)(range.gpa % FRAME_BYTES);
		if (range.len > view->len - at)
			range.len = view->len - at;
		want_range(wanted, &range);
	}
}

/* Nothing while the kernel is not up: another will write where its tables are. */
static bool kernel_is_up(const struct guest *guest)
{
	return guest->phase == GUEST_WATCHED && !guest->going_down && !guest->reset_seen;
}

static bool is_hot(const struct guest *guest, enum check_id check)
{
	return clock_mono() < guest->tracking[check].hot_until_ns;
}

static bool is_wanted(const struct guest *guest, enum check_id check)
{
	return !guest->policy.off[check] && !is_hot(guest, check);
}

static bool is_asked_for(const struct guest *guest, enum check_id check)
{
	return (check != CHECK_DISPATCH && check != CHECK_TEXT) || guest->watch->realtime_text;
}

static void want_code(struct guest *guest, struct wanted *wanted)
{
	size_t count;
	const struct tracked_range *frames = guest_code_frames(guest, &count);

	for (size_t i = 0; i < count; i++)
		if (is_asked_for(guest, frames[i].check) && is_wanted(guest, frames[i].check))
			want_range(wanted, &frames[i]);
}

static void want_all(struct guest *guest, struct wanted *ret_wanted)
{
	*ret_wanted = (struct wanted){ 0 };
	if (!kernel_is_up(guest))
		return;
	for (size_t i = 0; i < guest->vcpu_count; i++)
		if (guest->vcpus[i].phase == VCPU_JUDGED && is_wanted(guest, CHECK_IDT))
			want_view(guest, ret_wanted, CHECK_IDT, &guest->vcpus[i].idt_expected);
	for (int t = 0; t < SYSCALL_TABLES; t++)
		if (guest->table[t].known && is_wanted(guest, CHECK_SYSCALL_TABLE))
			want_view(guest, ret_wanted, CHECK_SYSCALL_TABLE,
				  &guest->table[t].expected);
	want_code(guest, ret_wanted);
}

/* ---- asking for it -------------------------------------------------------------------------- */

static const char *track_reason(int error)
{
	switch (error) {
	case -EEXIST:
		return "another table of this guest lies there";
	case -ENOSPC:
		return "more frames than can be tracked";
	case -ENXIO:
		return "no RAM is there";
	case -EOPNOTSUPP:
		return "the host's kernel has no write tracking";
	case -EPERM:
		return "not permitted on this host";
	default:
		return strerror(-error);
	}
}

/* Takes the right to track, or begins anew with it after tracking has stopped. */
static bool begin(struct guest *guest)
{
	char reason[sizeof(guest->tracking[0].reason)];
	pid_t pid = 0;
	int r;

	if (guest->tracks)
		return true;
	r = ka_track_begin(guest->vm);
	guest->tracks = !r;
	guest->range_count = 0;
	guest_text_forget(guest);
	if (!r) {
		guest_modules_prepare(&guest->modules, guest->vm, &guest->kernel);
		return true;
	}
	if (r == -EBUSY && !ka_tracker_pid(guest->vm, &pid) && pid)
		snprintf(reason, sizeof(reason), "held by process %d", (int)pid);
	else
		snprintf(reason, sizeof(reason), "%s", track_reason(r));
	off_all(guest, reason);
	return false;
}

static bool holds(const struct tracked_range *ranges, size_t count,
		  const struct tracked_range *range)
{
	for (size_t i = 0; i < count; i++)
		if (ranges[i].gpa == range->gpa && ranges[i].len == range->len &&
		    ranges[i].protect == range->protect)
			return true;
	return false;
}

static void drop_unwanted(struct guest *guest, const struct wanted *wanted)
{
	size_t kept = 0;

	for (size_t i = 0; i < guest->range_count; i++) {
		const struct tracked_range *range = &guest->ranges[i];

		if (holds(wanted->ranges, wanted->count, range))
			guest->ranges[kept++] = *range;
		else
			ka_untrack(guest->vm, range->gpa, range->len);
	}
	guest->range_count = kept;
}

/*
 * A live migration under way would lose what is undone: it is only told meanwhile, and protection
 * is asked for again in each cycle.
 */
static int track(struct guest *guest, struct tracked_range *range)
{
	int r = ka_track(guest->vm, range->gpa, range->len, range->protect ? KA_TRACK_PROTECT : 0,
			 range->check);

	if (r != -EBUSY || !range->protect)
		return r;
	range->protect = false;
	return ka_track(guest->vm, range->gpa, range->len, 0, range->check);
}

/* False: tracking has stopped meanwhile. */
static bool add_wanted(struct guest *guest, struct wanted *wanted)
{
	for (size_t i = 0; i < wanted->count; i++) {
		struct tracked_range *range = &wanted->ranges[i];
		int r;

		if (holds(guest->ranges, guest->range_count, range))
			continue;
		r = track(guest, range);
		if (r == -ESHUTDOWN || r == -EOWNERDEAD)
			return false;
		if (r)
			wanted->error[range->check] = r;
		else
			guest->ranges[guest->range_count++] = *range;
	}
	return true;
}

/* ---- what came of it ------------------------------------------------------------------------ */

static const char *unwanted_reason(const struct guest *guest, enum check_id check)
{
	if (guest->policy.off[check])
		return "the check is switched off";
	if (!is_asked_for(guest, check))
		return "not asked for: --realtime=text";
	if (!kernel_is_up(guest))
		return "the guest's kernel is not up";
	return is_hot(guest, check) ? "written too often: tried again after a minute"
				    : "no such table is known";
}

static void check_settle(struct guest *guest, enum check_id check, int error)
{
	struct tracking *tracking = &guest->tracking[check];
	const char *unprotected = unprotected_reason(guest, check);
	bool any = false, all_protected = true;

	for (size_t i = 0; i < guest->range_count; i++)
		if (guest->ranges[i].check == check) {
			any = true;
			all_protected &= guest->ranges[i].protect;
		}
	if (error)
		off(guest, check, track_reason(error));
	else if (!any)
		off(guest, check, unwanted_reason(guest, check));
	else if (!all_protected && guest->watch->protect[check])
		snprintf(tracking->reason, sizeof(tracking->reason), "not protected: %s",
			 unprotected ? unprotected : "live migration");
	else
		tracking->reason[0] = '\0';
	if (any && !error)
		tracking->state = all_protected ? TRACKING_PROTECTED : TRACKING_ON;
}

/* NULL: it is to be tracked. */
static const char *text_unwanted_reason(const struct guest *guest)
{
	if (!is_asked_for(guest, CHECK_TEXT) || !is_wanted(guest, CHECK_TEXT) ||
	    !kernel_is_up(guest))
		return unwanted_reason(guest, CHECK_TEXT);
	if (!guest->text.text)
		return "there is no reference of this kernel, and its text was not taken yet";
	if (guest->text.first < guest->text.end)
		return "its first look is under way";
	return guest->tracks ? NULL : "no other write is tracked";
}

static void text_settle(struct guest *guest)
{
	struct tracking *tracking = &guest->tracking[CHECK_TEXT];
	const char *reason = text_unwanted_reason(guest);
	int r;

	if (reason) {
		if (guest->text_tracking.runs)
			guest_text_untrack(guest);
		off(guest, CHECK_TEXT, reason);
		return;
	}
	r = guest_text_track(guest);
	if (r <= 0) {
		off(guest, CHECK_TEXT,
		    !r			   ? "frame by frame, under way"
		    : r == -EOPNOTSUPP ? "the module kvmbpf_helper is an older one"
				       : track_reason(r));
		return;
	}
	tracking->state = TRACKING_ON;
	snprintf(tracking->reason, sizeof(tracking->reason), "%s",
		 guest->text_tracking.hot_until_ns
			 ? "not where it is written too often: tried again after a minute"
			 : "");
}

void guest_track(struct guest *guest)
{
	struct wanted wanted;

	if (!guest->watch->realtime) {
		if (guest->untracked != guest->watch->realtime_reason)
			off_all(guest, guest->watch->realtime_reason);
		guest->untracked = guest->watch->realtime_reason;
		return;
	}
	want_all(guest, &wanted);
	if (wanted.count && !begin(guest))
		return;
	drop_unwanted(guest, &wanted);
	if (!add_wanted(guest, &wanted)) {
		guest_tracking_stopped(guest, UINT64_MAX, KA_STOP_KERNEL);
		return;
	}
	for (int i = 0; i < TRACKED_CHECKS; i++)
		if (tracked_checks[i] != CHECK_TEXT)
			check_settle(guest, tracked_checks[i], wanted.error[tracked_checks[i]]);
	text_settle(guest);
}

static const char *stop_reason(enum ka_stop_reason reason)
{
	static const char *const names[] = {
		[KA_STOP_KERNEL] = "the guest left its kernel: reset, kexec, or an emptied IDT",
		[KA_STOP_MEMSLOT] = "its memory was taken from the VM, or moved",
		[KA_STOP_HOT] = "written too often: tried again after a minute",
		[KA_STOP_VM] = "the VM has ended",
		[KA_STOP_RELEASED] = "ended",
	};

	return names[reason];
}

/* A frame that is tracked in both ways is given up in both: which one it was is not told. */
static void text_stopped(struct guest *guest, uint64_t gpa, enum ka_stop_reason reason)
{
	if (gpa == UINT64_MAX || reason == KA_STOP_MEMSLOT) {
		/* What of it is tracked still, in other memslots, stays so. */
		guest_text_forget(guest);
	} else if (guest_text_is_tracked(guest, gpa)) {
		ka_untrack(guest->vm, gpa - gpa % FRAME_BYTES, FRAME_BYTES);
		guest_text_hot(guest);
	}
}

void guest_tracking_stopped(struct guest *guest, uint64_t gpa, enum ka_stop_reason reason)
{
	size_t kept = 0;

	text_stopped(guest, gpa, reason);
	for (size_t i = 0; i < guest->range_count; i++) {
		const struct tracked_range *range = &guest->ranges[i];

		if (gpa != UINT64_MAX && range->gpa / FRAME_BYTES != gpa / FRAME_BYTES) {
			guest->ranges[kept++] = *range;
			continue;
		}
		off(guest, range->check, stop_reason(reason));
		if (reason == KA_STOP_HOT)
			guest->tracking[range->check].hot_until_ns = clock_mono() + hot_ns;
	}
	guest->range_count = kept;
	if (gpa == UINT64_MAX) {
		guest->tracks = false;
		off_all(guest, stop_reason(reason));
	}
	report_coverage(guest);
}

void guest_writes_lost(struct guest *guest, uint64_t count)
{
	struct ka_tracked tracked[TRACKED_RANGES_MAX];
	size_t left = 0, kept = 0;

	guest->writes_lost += count;
	if (guest->text_tracking.runs)
		guest_text_retrack(guest);
	/* A stop may be among them: what is tracked still? */
	if (ka_tracked(guest->vm, tracked, TRACKED_RANGES_MAX, &left) < 0)
		left = 0;
	for (size_t i = 0; i < guest->range_count; i++)
		for (size_t j = 0; j < left; j++)
			if (tracked[j].gpa == guest->ranges[i].gpa) {
				guest->ranges[kept++] = guest->ranges[i];
				break;
			}
	guest->range_count = kept;
}
