// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames whose writes are told and nothing more: no copy, so that there can be thousands.
 *
 * They live as other tracked frames do (see track.c), but for one thing: a frame's entry stays its
 * own, and is freed only once it is out of the array and KVM's callbacks have been waited for.
 *
 * Whoever walks them holds the lock for so many at a time. KVM calls told_removed() where it may
 * sleep, and no frame of that memslot can be counted meanwhile: it is marked invalid.
 */
#include <linux/slab.h>

#include "kvmbpf.h"

enum { WALK_BATCH = 64 };

#define TOLD_UNCOUNT XA_MARK_0 /* counted, but not active: the worker's turn */

/* Returns for how many @func, which is called under the lock, says true. */
static u32 frames_walk(struct kvmbpf_tracker *tracker, gfn_t first, gfn_t last,
		       bool (*func)(struct kvmbpf_tracker *tracker, struct told_frame *frame))
{
	unsigned long gfn = first;
	struct told_frame *frame;
	u32 i, count = 0;

	do {
		xa_lock(&tracker->told);
		for (i = 0; i < WALK_BATCH; i++, gfn++) {
			frame = xa_find(&tracker->told, &gfn, last, XA_PRESENT);
			if (!frame)
				break;
			count += func(tracker, frame);
		}
		xa_unlock(&tracker->told);
		cond_resched();
	} while (frame);
	return count;
}

static bool frame_deactivate(struct kvmbpf_tracker *tracker, struct told_frame *frame)
{
	if (!frame->active)
		return false;
	WRITE_ONCE(frame->active, false);
	__xa_set_mark(&tracker->told, frame->gfn, TOLD_UNCOUNT);
	return true;
}

/* KVM does not count it (any more). */
static bool frame_free(struct kvmbpf_tracker *tracker, struct told_frame *frame)
{
	bool active = frame->active;

	WRITE_ONCE(frame->active, false);
	frame->counted = false;
	__xa_clear_mark(&tracker->told, frame->gfn, TOLD_UNCOUNT);
	return active;
}

static bool frame_take_out(struct kvmbpf_tracker *tracker, struct told_frame *frame)
{
	if (frame->counted)
		return false;
	__xa_erase(&tracker->told, frame->gfn);
	frame->next = tracker->told_out;
	tracker->told_out = frame;
	tracker->told_count--;
	return true;
}

static void frames_free(struct kvmbpf_tracker *tracker)
{
	struct told_frame *frame;

	while ((frame = tracker->told_out)) {
		tracker->told_out = frame->next;
		kfree(frame);
		cond_resched();
	}
}

void told_reap(struct kvmbpf_vm_handle *vm)
{
	if (!frames_walk(&vm->tracker, 0, ULONG_MAX, frame_take_out))
		return;
	track_wait(vm->kvm);
	frames_free(&vm->tracker);
}

void told_init(struct kvmbpf_tracker *tracker)
{
	xa_init_flags(&tracker->told, XA_FLAGS_ACCOUNT);
}

void told_removed(struct kvmbpf_tracker *tracker, gfn_t first, unsigned long count)
{
	u32 frames = count ? frames_walk(tracker, first, first + count - 1, frame_free) : 0;

	if (frames && !READ_ONCE(tracker->stop))
		tell_stop(tracker, gfn_to_gpa(first), KVMBPF_STOP_MEMSLOT, frames);
}

void told_uncount(struct kvmbpf_vm_handle *vm)
{
	struct kvmbpf_tracker *tracker = &vm->tracker;
	gfn_t uncount[WALK_BATCH];
	struct told_frame *frame;
	unsigned long gfn = 0;
	u32 count, i;
	int slots;

	do {
		slots = srcu_read_lock(&vm->kvm->srcu);
		xa_lock(&tracker->told);
		for (count = 0; count < WALK_BATCH; count++, gfn++) {
			frame = xa_find(&tracker->told, &gfn, ULONG_MAX, TOLD_UNCOUNT);
			if (!frame)
				break;
			frame_free(tracker, frame);
			uncount[count] = gfn;
		}
		xa_unlock(&tracker->told);
		for (i = 0; i < count; i++)
			track_remove(vm->kvm, uncount[i]);
		srcu_read_unlock(&vm->kvm->srcu, slots);
		cond_resched();
	} while (count == WALK_BATCH);
}

u32 told_untrack(struct kvmbpf_tracker *tracker, gfn_t first, gfn_t end)
{
	return first < end ? frames_walk(tracker, first, end - 1, frame_deactivate) : 0;
}

void told_unregistered(struct kvmbpf_tracker *tracker)
{
	frames_walk(tracker, 0, ULONG_MAX, frame_take_out);
	frames_free(tracker);
}

/* ---- tracking ---- */

static int frame_new(struct kvmbpf_tracker *tracker, gfn_t gfn, struct told_frame **ret_frame)
{
	struct told_frame *frame;
	int err;

	if (tracker->told_count >= KVMBPF_TOLD_FRAMES_MAX)
		return -ENOSPC;
	frame = kzalloc(sizeof(*frame), GFP_KERNEL_ACCOUNT);
	if (!frame)
		return -ENOMEM;
	frame->gfn = gfn;
	err = xa_err(xa_store(&tracker->told, gfn, frame, GFP_KERNEL_ACCOUNT));
	if (err) {
		kfree(frame);
		return err;
	}
	tracker->told_count++;
	*ret_frame = frame;
	return 0;
}

/* Under vm->lock and kvm->srcu. */
static int frame_tell(struct kvmbpf_vm_handle *vm, gfn_t gfn, u64 cookie)
{
	struct kvmbpf_tracker *tracker = &vm->tracker;
	struct told_frame *frame;
	bool active, counted;
	int err = 0;

	if (!memory_slot(kvm_memslots(vm->kvm), gfn))
		return -ENXIO;
	frame = xa_load(&tracker->told, gfn);
	if (!frame)
		err = frame_new(tracker, gfn, &frame);
	if (err)
		return err;
	xa_lock(&tracker->told);
	active = frame->active;
	counted = frame->counted;
	if (!counted) {
		frame->cookie = cookie;
		memset(&frame->heat, 0, sizeof(frame->heat));
		frame->heat.since = jiffies;
		/* Before KVM counts: told_removed() looks at it. */
		frame->counted = true;
		WRITE_ONCE(frame->active, true);
	}
	xa_unlock(&tracker->told);
	if (counted)
		return active ? 0 : -EAGAIN; /* too hot, just now */
	err = track_add(vm->kvm, gfn);
	if (err) {
		xa_lock(&tracker->told);
		frame_free(tracker, frame);
		xa_unlock(&tracker->told);
	}
	return err;
}

/* Under vm->lock, with the VMM's memory. */
static int run_tell(struct kvmbpf_vm_handle *vm, gfn_t first, u32 frames, u64 cookie)
{
	int slots, err = 0;
	u32 i;

	if (vm->tracker.told_count + frames > KVMBPF_TOLD_FRAMES_MAX)
		told_reap(vm);
	for (i = 0; i < frames && !err; i++) {
		slots = srcu_read_lock(&vm->kvm->srcu);
		err = frame_tell(vm, first + i, cookie);
		srcu_read_unlock(&vm->kvm->srcu, slots);
		cond_resched();
	}
	return err && i == 1 ? err : i - !!err;
}

__bpf_kfunc int kvmbpf_tell_writes(struct kvmbpf_tracker *tracker, u64 gpa, u32 frames, u64 cookie)
{
	struct kvmbpf_vm_handle *vm = vm_of(tracker);
	int result;

	if (offset_in_page(gpa) || !frames || frames > KVMBPF_TOLD_RUN_MAX)
		return -EINVAL;
	mutex_lock(&vm->lock);
	result = tracker_enter(vm);
	if (!result) {
		result = run_tell(vm, gpa_to_gfn(gpa), frames, cookie);
		tracker_leave(vm);
	}
	mutex_unlock(&vm->lock);
	return result;
}

__bpf_kfunc int kvmbpf_told_next(struct kvmbpf_tracker *tracker, u64 gpa,
				 struct kvmbpf_tracked *ret_tracked)
{
	struct kvmbpf_vm_handle *vm = vm_of(tracker);
	unsigned long gfn = gpa_to_gfn(gpa);
	struct told_frame *frame;

	mutex_lock(&vm->lock);
	xa_lock(&tracker->told);
	frame = xa_find(&tracker->told, &gfn, ULONG_MAX, XA_PRESENT);
	if (frame)
		*ret_tracked = (struct kvmbpf_tracked){
			.gpa = gfn_to_gpa(frame->gfn),
			.cookie = frame->cookie,
			.writes = frame->heat.writes,
			.len = frame->active ? PAGE_SIZE : 0,
		};
	xa_unlock(&tracker->told);
	mutex_unlock(&vm->lock);
	return frame ? 0 : -ENOENT;
}

/* ---- writes ---- */

struct told_frame *told_find(struct kvmbpf_tracker *tracker, gfn_t gfn)
{
	struct told_frame *frame = xa_load(&tracker->told, gfn);

	return frame && READ_ONCE(frame->active) ? frame : NULL;
}

void told_heat(struct kvmbpf_tracker *tracker, struct told_frame *frame)
{
	gfn_t gfn = frame->gfn;
	bool given_up;

	xa_lock(&tracker->told);
	given_up = frame->active && heat_add(&frame->heat);
	if (given_up)
		frame_deactivate(tracker, frame);
	xa_unlock(&tracker->told);
	if (!given_up)
		return;
	tell_stop(tracker, gfn_to_gpa(gfn), KVMBPF_STOP_HOT, 1);
	deferred_ask(&vm_of(tracker)->settle);
}
