// SPDX-License-Identifier: GPL-2.0-only
/*
 * Write tracking: KVM write-protects frames for us, emulates guest writes to them, and calls
 * frame_written() on the writing vCPU's thread after the write, before the vCPU runs again.
 *
 * A frame's life: free -> counted and active -> counted only (told and undone no more; any context
 * can bring it there) -> free, by frames_uncount(). Where KVM drops the memslot, its counts go with
 * it, and the frame is free at once: to uncount it later would hit the memslot that comes next.
 *
 * Why that is no race: KVM marks the slot invalid, waits for readers of kvm->srcu, and calls
 * region_removed() only then; before a new slot takes its place it waits for them once more. So who
 * saw a valid slot under kvm->srcu counts before that call, and who saw a frame counted uncounts
 * before there is a new slot.
 *
 * Frames without a copy, of which there can be thousands, are in told.c: each step here takes them
 * along.
 */
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "kvmbpf.h"

/* ---- what BPF hears ---- */

/* Here to be traced. */
noinline void kvmbpf_tracking_stopped(const struct kvmbpf_stop *stop)
{
	asm volatile("" : : "r"(stop) : "memory");
}

/*
 * With preemption off: see tell_write(). Under none of our locks: a program that hears of it may call
 * what takes them.
 */
void tell_stop(struct kvmbpf_tracker *tracker, u64 gpa, u32 reason, u32 frames)
{
	struct kvmbpf_stop stop = {
		.kvm = vm_of(tracker)->address,
		.gpa = gpa,
		.reason = reason,
		.frames = frames,
	};

	preempt_disable();
	kvmbpf_tracking_stopped(&stop);
	preempt_enable();
}

/* ---- untracking ---- */

/* Forgets a frame whose memslot goes, and KVM's count with it. Was it active? */
static bool frame_removed(struct kvmbpf_tracker *tracker, struct tracked_frame *frame, gfn_t first,
			  unsigned long count, gfn_t *ret_gfn)
{
	bool was_active = false;

	spin_lock(&tracker->lock);
	if (frame->counted && frame->gfn - first < count) {
		was_active = frame->active;
		*ret_gfn = frame->gfn;
		frame->counted = false;
		frame->active = false;
	}
	spin_unlock(&tracker->lock);
	return was_active;
}

static void region_removed(struct track_node *node, gfn_t first, unsigned long count)
{
	struct kvmbpf_tracker *tracker = container_of(node, struct kvmbpf_tracker, node);
	u32 frames = smp_load_acquire(&tracker->frame_count), i;
	gfn_t gfn;

	for (i = 0; i < frames; i++)
		if (frame_removed(tracker, tracker->frame[i], first, count, &gfn) &&
		    !READ_ONCE(tracker->stop))
			tell_stop(tracker, gfn_to_gpa(gfn), KVMBPF_STOP_MEMSLOT, 1);
	told_removed(tracker, first, count);
}

/* Has KVM forget the frames that are no longer active. */
static void frames_uncount(struct kvmbpf_vm_handle *vm)
{
	struct kvmbpf_tracker *tracker = &vm->tracker;
	struct tracked_frame *frame;
	bool uncount;
	int slots;
	u32 i;

	for (i = 0; i < tracker->frame_count; i++) {
		frame = tracker->frame[i];
		slots = srcu_read_lock(&vm->kvm->srcu);
		spin_lock(&tracker->lock);
		uncount = frame->counted && !frame->active;
		if (uncount)
			frame->counted = false;
		spin_unlock(&tracker->lock);
		if (uncount)
			track_remove(vm->kvm, frame->gfn);
		srcu_read_unlock(&vm->kvm->srcu, slots);
	}
	told_uncount(vm);
}

static void frames_deactivate(struct kvmbpf_tracker *tracker)
{
	u32 i;

	spin_lock(&tracker->lock);
	for (i = 0; i < tracker->frame_count; i++)
		tracker->frame[i]->active = false;
	spin_unlock(&tracker->lock);
	told_untrack(tracker, 0, ULONG_MAX);
}

static void tracker_unregister(struct kvmbpf_vm_handle *vm)
{
	struct kvmbpf_tracker *tracker = &vm->tracker;

	if (!tracker->registered)
		return;
	frames_deactivate(tracker);
	frames_uncount(vm);
	/* Before KVM waits for its readers, of which frames_compare() is one. */
	WRITE_ONCE(tracker->registered, false);
	track_unregister(vm->kvm, &tracker->node);
	while (tracker->frame_count)
		kfree(tracker->frame[--tracker->frame_count]);
	told_unregistered(tracker);
}

bool tracker_settle(struct kvmbpf_vm_handle *vm)
{
	struct kvmbpf_tracker *tracker = &vm->tracker;
	bool released = READ_ONCE(tracker->released);

	lockdep_assert_held(&vm->lock);
	if (READ_ONCE(tracker->stop) || READ_ONCE(vm->ended))
		tracker_unregister(vm);
	else if (tracker->registered)
		frames_uncount(vm);
	if (released) {
		tracker->released = false;
		WRITE_ONCE(tracker->pid, 0);
	}
	return released;
}

/* From here on nothing is told or undone, but for writes that vCPUs are in the midst of. */
static void tracker_stop(struct kvmbpf_tracker *tracker, u32 reason)
{
	if (!cmpxchg(&tracker->stop, 0, reason))
		tell_stop(tracker, ~0ULL, reason, 0);
}

void tracker_vm_ends(struct kvmbpf_tracker *tracker)
{
	if (READ_ONCE(tracker->pid))
		tracker_stop(tracker, KVMBPF_STOP_VM);
}

__bpf_kfunc int kvmbpf_tracking_stop(u64 kvm, u32 reason)
{
	struct kvmbpf_vm_handle *vm;
	bool held;

	if (reason != KVMBPF_STOP_KERNEL && reason != KVMBPF_STOP_VM)
		return -EINVAL;
	vm = kvmbpf_vm_find(kvm);
	if (!vm)
		return -ENOENT;
	held = READ_ONCE(vm->tracker.pid);
	if (reason == KVMBPF_STOP_VM) {
		vm_end(vm);
	} else if (held) {
		tracker_stop(&vm->tracker, reason);
		deferred_ask(&vm->settle);
	}
	kvmbpf_vm_release(vm);
	return held ? 0 : -ENOENT;
}

/* ---- the tracker ---- */

void tracker_init(struct kvmbpf_tracker *tracker)
{
	spin_lock_init(&tracker->lock);
	told_init(tracker);
	tracker->node.written = frame_written;
	tracker->node.removed = region_removed;
}

__bpf_kfunc struct kvmbpf_tracker *kvmbpf_tracker_acquire(struct kvmbpf_vm_handle *vm)
{
	struct kvmbpf_tracker *tracker = &vm->tracker;
	bool free;

	if (!TRACK_SUPPORTED)
		return NULL;
	vm_settle(vm); /* who released it may have done so just now */
	mutex_lock(&vm->lock);
	free = !tracker->pid && !READ_ONCE(vm->ended);
	if (free) {
		refcount_inc(&vm->refs);
		WRITE_ONCE(tracker->stop, 0);
		WRITE_ONCE(tracker->pid, task_tgid_nr(current));
	}
	mutex_unlock(&vm->lock);
	return free ? tracker : NULL;
}

__bpf_kfunc void kvmbpf_tracker_release(struct kvmbpf_tracker *tracker)
{
	tracker_stop(tracker, KVMBPF_STOP_RELEASED);
	WRITE_ONCE(tracker->released, true);
	deferred_ask(&vm_of(tracker)->settle); /* and the worker releases the handle */
}

__bpf_kfunc s32 kvmbpf_tracker_pid(struct kvmbpf_vm_handle *vm)
{
	return READ_ONCE(vm->tracker.pid);
}

__bpf_kfunc int kvmbpf_tracker_restart(struct kvmbpf_tracker *tracker)
{
	struct kvmbpf_vm_handle *vm = vm_of(tracker);
	int err = -EOWNERDEAD;

	mutex_lock(&vm->lock);
	if (!READ_ONCE(vm->ended)) {
		if (tracker->stop)
			tracker_unregister(vm);
		WRITE_ONCE(tracker->stop, 0);
		err = 0;
	}
	mutex_unlock(&vm->lock);
	return err;
}

/* ---- tracking ---- */

static int tracker_register_now(struct kvmbpf_vm_handle *vm)
{
	return track_register(vm->kvm, &vm->tracker.node);
}

static int tracker_register(struct kvmbpf_vm_handle *vm)
{
	int err;

	if (vm->tracker.registered)
		return 0;
	/* KVM wants current->mm to be the VMM's. */
	err = vm_run_with_mm(vm, tracker_register_now);
	WRITE_ONCE(vm->tracker.registered, !err);
	return err;
}

/* A frame that is free, for @gfn, not active yet. */
static int frame_take_free(struct kvmbpf_tracker *tracker, gfn_t gfn,
			   struct tracked_frame **ret_frame)
{
	struct tracked_frame *frame;
	u32 i;

	for (i = 0; i < tracker->frame_count; i++) {
		if (!tracker->frame[i]->counted)
			break;
	}
	if (i == KVMBPF_TRACKED_FRAMES_MAX)
		return -ENOSPC;
	if (i == tracker->frame_count) {
		frame = kzalloc(sizeof(*frame), GFP_KERNEL_ACCOUNT);
		if (!frame)
			return -ENOMEM;
		tracker->frame[i] = frame;
		smp_store_release(&tracker->frame_count, i + 1);
	}
	frame = tracker->frame[i];
	frame->range_count = 0;
	frame->heat.writes = 0;
	frame->heat.recent = 0;
	WRITE_ONCE(frame->gfn, gfn);
	*ret_frame = frame;
	return 0;
}

/* Has KVM write-protect the frame. Under kvm->srcu, where a valid slot was seen. */
static int frame_count_in(struct kvmbpf_vm_handle *vm, struct tracked_frame *frame)
{
	int err;

	/* Before KVM counts: region_removed() looks at it. */
	spin_lock(&vm->tracker.lock);
	frame->counted = true;
	spin_unlock(&vm->tracker.lock);
	err = track_add(vm->kvm, frame->gfn);
	if (err) {
		spin_lock(&vm->tracker.lock);
		frame->counted = false;
		spin_unlock(&vm->tracker.lock);
	}
	return err;
}

static bool range_touches(const struct tracked_range *range, u32 start, u32 len)
{
	return range->start < start + len && start < range->start + range->len;
}

static int range_check(const struct tracked_frame *frame, u32 start, u32 len)
{
	u32 i;

	if (frame->range_count == KVMBPF_TRACKED_RANGES_MAX)
		return -ENOSPC;
	for (i = 0; i < frame->range_count; i++) {
		if (range_touches(&frame->range[i], start, len))
			return -EEXIST;
	}
	return 0;
}

/* Makes the frame active, if this is its first range. */
static int range_add(struct kvmbpf_tracker *tracker, struct tracked_frame *frame, const u8 *bytes,
		     const struct tracked_range *range)
{
	int err = 0;

	spin_lock(&tracker->lock);
	if (!frame->range_count)
		memcpy(frame->bytes, bytes, PAGE_SIZE);
	else if (!frame->active) /* too hot, since we looked */
		err = -EAGAIN;
	else
		memcpy(frame->bytes + range->start, bytes + range->start, range->len);
	if (!err) {
		frame->range[frame->range_count++] = *range;
		WRITE_ONCE(frame->active, true);
	}
	spin_unlock(&tracker->lock);
	return err;
}

/*
 * Under vm->lock and kvm->srcu. A write after the bytes were read and before the range is added is
 * not told: who tracks looks at the memory afterwards. A frame that is counted, but does not become
 * active, is uncounted later.
 */
static int track(struct kvmbpf_vm_handle *vm, gfn_t gfn, const struct tracked_range *range,
		 u8 *buf)
{
	struct kvmbpf_tracker *tracker = &vm->tracker;
	struct kvm_memory_slot *slot = memory_slot(kvm_memslots(vm->kvm), gfn);
	struct tracked_frame *frame = frame_find(tracker, gfn);
	int err;

	if (!slot)
		return -ENXIO;
	if ((range->flags & KVMBPF_TRACK_PROTECT) && kvm_slot_dirty_track_enabled(slot))
		return -EBUSY;
	if (frame)
		err = range_check(frame, range->start, range->len);
	else
		err = frame_take_free(tracker, gfn, &frame) ?: frame_count_in(vm, frame);
	if (!err)
		err = memory_read_frame(vm->kvm, gfn, buf);
	if (!err)
		err = range_add(tracker, frame, buf, range);
	return err;
}

int tracker_enter(struct kvmbpf_vm_handle *vm)
{
	int err;

	lockdep_assert_held(&vm->lock);
	if (READ_ONCE(vm->ended))
		return -EOWNERDEAD;
	if (READ_ONCE(vm->tracker.stop))
		return -ESHUTDOWN;
	err = tracker_register(vm);
	if (err)
		return err;
	if (!mmget_not_zero(vm->kvm->mm))
		return -EOWNERDEAD;
	frames_uncount(vm);
	return 0;
}

void tracker_leave(struct kvmbpf_vm_handle *vm)
{
	frames_uncount(vm);
	mmput(vm->kvm->mm);
}

/* Under vm->lock. */
static int track_in_vm(struct kvmbpf_vm_handle *vm, gfn_t gfn, const struct tracked_range *range,
		       u8 *buf)
{
	int slots, err = tracker_enter(vm);

	if (err)
		return err;
	slots = srcu_read_lock(&vm->kvm->srcu);
	err = track(vm, gfn, range, buf);
	srcu_read_unlock(&vm->kvm->srcu, slots);
	tracker_leave(vm);
	return err;
}

__bpf_kfunc int kvmbpf_track(struct kvmbpf_tracker *tracker, u64 gpa, u32 len, u32 flags,
			     u64 cookie)
{
	struct kvmbpf_vm_handle *vm = vm_of(tracker);
	struct tracked_range range = {
		.start = offset_in_page(gpa),
		.len = len,
		.flags = flags,
		.cookie = cookie,
	};
	u8 *buf;
	int err;

	if (!len || len > PAGE_SIZE - offset_in_page(gpa) || flags & ~KVMBPF_TRACK_PROTECT)
		return -EINVAL;
	buf = kmalloc(PAGE_SIZE, GFP_KERNEL_ACCOUNT);
	if (!buf)
		return -ENOMEM;
	mutex_lock(&vm->lock);
	err = track_in_vm(vm, gpa_to_gfn(gpa), &range, buf);
	mutex_unlock(&vm->lock);
	kfree(buf);
	return err;
}

/* Removes the ranges within [gpa, last]. Returns how many. Under tracker->lock. */
static u32 frame_untrack(struct tracked_frame *frame, u64 gpa, u64 last)
{
	u64 base = gfn_to_gpa(frame->gfn);
	u32 kept = 0, removed, i;

	for (i = 0; i < frame->range_count; i++) {
		struct tracked_range *range = &frame->range[i];

		if (base + range->start < gpa || base + range->start + range->len - 1 > last)
			frame->range[kept++] = *range;
	}
	removed = frame->range_count - kept;
	frame->range_count = kept;
	if (!kept)
		frame->active = false;
	return removed;
}

__bpf_kfunc int kvmbpf_untrack(struct kvmbpf_tracker *tracker, u64 gpa, u64 len)
{
	struct kvmbpf_vm_handle *vm = vm_of(tracker);
	u64 last = len > ~0ULL - gpa ? ~0ULL : gpa + len - 1;
	u32 removed = 0, i;

	mutex_lock(&vm->lock);
	spin_lock(&tracker->lock);
	for (i = 0; len && i < tracker->frame_count; i++) {
		if (tracker->frame[i]->active)
			removed += frame_untrack(tracker->frame[i], gpa, last);
	}
	spin_unlock(&tracker->lock);
	if (len)
		removed += told_untrack(tracker, gpa_to_gfn(gpa) + !!offset_in_page(gpa),
					gpa_to_gfn(last) + !offset_in_page(last + 1));
	if (removed) {
		frames_uncount(vm);
		/* Nothing is undone there after our return. */
		track_wait(vm->kvm);
		told_reap(vm);
	}
	mutex_unlock(&vm->lock);
	return removed ? 0 : -ENOENT;
}

__bpf_kfunc int kvmbpf_tracked_at(struct kvmbpf_tracker *tracker, u32 index,
				  struct kvmbpf_tracked *ret_tracked)
{
	struct tracked_frame *frame = NULL;
	struct kvmbpf_vm_handle *vm = vm_of(tracker);
	int err = -ENOENT;
	u32 i;

	mutex_lock(&vm->lock);
	spin_lock(&tracker->lock);
	for (i = 0; i < tracker->frame_count; i++) {
		frame = tracker->frame[i];
		if (frame->active && index < frame->range_count)
			break;
		index -= frame->active ? frame->range_count : 0;
	}
	if (i < tracker->frame_count) {
		*ret_tracked = (struct kvmbpf_tracked){
			.gpa = gfn_to_gpa(frame->gfn) + frame->range[index].start,
			.cookie = frame->range[index].cookie,
			.writes = frame->heat.writes,
			.len = frame->range[index].len,
			.flags = frame->range[index].flags,
		};
		err = 0;
	}
	spin_unlock(&tracker->lock);
	mutex_unlock(&vm->lock);
	return err;
}
