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
 */
#include <linux/moduleparam.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kvmbpf.h"

static unsigned int hot_writes = KVMBPF_HOT_WRITES;
module_param(hot_writes, uint, 0644);
MODULE_PARM_DESC(hot_writes, "writes to one frame within a second after which it is untracked");

/* ---- what BPF hears ---- */

/* Here to be traced. */
noinline void kvmbpf_guest_wrote(const struct kvmbpf_write *write)
{
	asm volatile("" : : "r"(write) : "memory");
}

noinline void kvmbpf_tracking_stopped(const struct kvmbpf_stop *stop)
{
	asm volatile("" : : "r"(stop) : "memory");
}

static struct kvmbpf_vm_handle *vm_of(struct kvmbpf_tracker *tracker)
{
	return container_of(tracker, struct kvmbpf_vm_handle, tracker);
}

/*
 * With preemption off: a program that is entered while another thread is in it on the same CPU is
 * passed over (prog->active), and what it would have heard is lost.
 */
static void tell_write(const struct kvmbpf_write *write)
{
	preempt_disable();
	kvmbpf_guest_wrote(write);
	preempt_enable();
}

static void tell_stop(struct kvmbpf_tracker *tracker, u64 gpa, u32 reason)
{
	struct kvmbpf_stop stop = {
		.kvm = vm_of(tracker)->address,
		.gpa = gpa,
		.reason = reason,
	};

	preempt_disable();
	kvmbpf_tracking_stopped(&stop);
	preempt_enable();
}

/* ---- a write ---- */

/* The bits of bytes @start to @start + @len of a part of a write, as far as it has them. */
static u32 part_mask(u32 start, u32 len)
{
	return len ? GENMASK(start + len - 1, start) : 0;
}

/* The bytes of [offset, offset + len) that @range covers. */
static u32 range_mask(const struct tracked_range *range, u32 offset, u32 len)
{
	u32 start = max_t(u32, range->start, offset);
	u32 end = min_t(u32, range->start + range->len, offset + len);

	return start < end ? part_mask(start - offset, end - start) : 0;
}

/*
 * Fills in a part of a write and takes over the bytes that nothing protects. False: it touches no
 * tracked range. Under tracker->lock.
 */
static bool frame_take(struct tracked_frame *frame, u32 offset, const u8 *new,
		       struct kvmbpf_write *write, u32 *ret_protected)
{
	u32 i, mask, touched = 0, protected = 0;

	for (i = 0; i < frame->range_count; i++) {
		mask = range_mask(&frame->range[i], offset, write->len);
		if (mask && !touched)
			write->cookie = frame->range[i].cookie;
		touched |= mask;
		if (frame->range[i].flags & KVMBPF_TRACK_PROTECT)
			protected |= mask;
	}
	memcpy(write->old_bytes, frame->bytes + offset, write->len);
	memcpy(write->new_bytes, new, write->len);
	for (i = 0; i < write->len; i++) {
		if (!(protected & BIT(i)))
			frame->bytes[offset + i] = new[i];
	}
	*ret_protected = protected;
	return touched;
}

static unsigned long gpa_to_hva(const struct kvm_memory_slot *slot, u64 gpa)
{
	return __gfn_to_hva_memslot(slot, gpa_to_gfn(gpa)) + offset_in_page(gpa);
}

/* One store each, as aligned as it can be: another vCPU that reads a pointer sees no half of it. */
static int put_bytes(unsigned long hva, const u8 *bytes, u32 len)
{
	u64 value;
	u32 size;
	int err = 0;

	for (; len && !err; hva += size, bytes += size, len -= size) {
		size = min_t(u32, 1U << __ffs(hva | 8), rounddown_pow_of_two(len));
		memcpy(&value, bytes, size); /* little endian */
		switch (size) {
		case 8:
			err = put_user(value, (u64 __user *)hva);
			break;
		case 4:
			err = put_user((u32)value, (u32 __user *)hva);
			break;
		case 2:
			err = put_user((u16)value, (u16 __user *)hva);
			break;
		default:
			err = put_user((u8)value, (u8 __user *)hva);
		}
	}
	return err;
}

/*
 * Puts the @protected bytes back, and touches no others: another vCPU may write those right now.
 * All vCPUs' writes of protected bytes are followed by such a call, so the last word is ours.
 */
static u32 undo(const struct kvm_memory_slot *slot, u64 gpa, const u8 *bytes, u32 protected)
{
	unsigned long hva = gpa_to_hva(slot, gpa);
	u32 start, len;

	/* KVM has noted the frame as dirty before this write of ours, and is not told of it. */
	if (kvm_slot_dirty_track_enabled(slot))
		return KVMBPF_WRITE_STOOD_ASIDE;
	while (protected) {
		start = __ffs(protected);
		len = ffz(protected >> start);
		if (put_bytes(hva + start, bytes + start, len))
			return KVMBPF_WRITE_FAILED;
		protected &= ~part_mask(start, len);
	}
	return KVMBPF_WRITE_UNDONE;
}

/* The vCPU whose thread this is: the only one that changes vcpu->pid to something of ours. */
static struct kvm_vcpu *current_vcpu(struct kvm *kvm)
{
	struct kvm_vcpu *vcpu;
	unsigned long i;

	kvm_for_each_vcpu(i, vcpu, kvm) {
		if (rcu_access_pointer(vcpu->pid) == task_pid(current))
			return vcpu;
	}
	return NULL;
}

static struct tracked_frame *frame_find(struct kvmbpf_tracker *tracker, gfn_t gfn)
{
	u32 count = smp_load_acquire(&tracker->frame_count), i;

	for (i = 0; i < count; i++) {
		struct tracked_frame *frame = tracker->frame[i];

		if (READ_ONCE(frame->active) && READ_ONCE(frame->gfn) == gfn)
			return frame;
	}
	return NULL;
}

/* At most KVMBPF_WRITE_BYTES of a write. */
static void part_written(struct kvmbpf_tracker *tracker, struct tracked_frame *frame,
			 const struct kvm_memory_slot *slot, const u8 *new,
			 struct kvmbpf_write *write)
{
	bool touched = false;
	u32 protected = 0;

	spin_lock(&tracker->lock);
	/* Since it was found it can have been given up, and taken again for another. */
	if (frame->active && frame->gfn == gpa_to_gfn(write->gpa))
		touched = frame_take(frame, offset_in_page(write->gpa), new, write, &protected);
	spin_unlock(&tracker->lock);
	if (!touched)
		return;
	if (protected && current->mm == vm_of(tracker)->kvm->mm)
		write->flags |= undo(slot, write->gpa, write->old_bytes, protected);
	else if (protected)
		write->flags |= KVMBPF_WRITE_FAILED;
	tell_write(write);
}

static bool frame_protected(const struct tracked_frame *frame)
{
	u32 i;

	for (i = 0; i < frame->range_count; i++) {
		if (frame->range[i].flags & KVMBPF_TRACK_PROTECT)
			return true;
	}
	return false;
}

/*
 * Counts a write, and gives the frame up if it costs the guest too much: but not a protected one,
 * or writing often would be the way around protection.
 */
static void frame_heat(struct kvmbpf_tracker *tracker, struct tracked_frame *frame, gfn_t gfn)
{
	spin_lock(&tracker->lock);
	if (frame->active && frame->gfn == gfn) {
		frame->writes++;
		if (time_after(jiffies, frame->heat_since + HZ)) {
			frame->heat_since = jiffies;
			frame->heat_writes = 0;
		}
		if (++frame->heat_writes >= READ_ONCE(hot_writes) && !frame_protected(frame)) {
			frame->active = false;
			tell_stop(tracker, gfn_to_gpa(gfn), KVMBPF_STOP_HOT);
			deferred_ask(&vm_of(tracker)->settle);
		}
	}
	spin_unlock(&tracker->lock);
}

/* KVM calls this for all writes that it emulates, a page at a time, and holds kvm->srcu. */
static void frame_written(struct track_node *node, gpa_t gpa, const u8 *new, int bytes)
{
	struct kvmbpf_tracker *tracker = container_of(node, struct kvmbpf_tracker, node);
	struct kvm *kvm = vm_of(tracker)->kvm;
	gfn_t gfn = gpa_to_gfn(gpa);
	struct tracked_frame *frame = frame_find(tracker, gfn);
	struct kvm_memory_slot *slot;
	u32 len = min_t(u32, bytes, PAGE_SIZE - offset_in_page(gpa)), done, part;
	struct kvm_vcpu *vcpu;

	if (!frame || READ_ONCE(tracker->stop))
		return;
	vcpu = current_vcpu(kvm);
	slot = memory_slot(vcpu ? kvm_vcpu_memslots(vcpu) : kvm_memslots(kvm), gfn);
	/* In SMM a vCPU has other memslots, of which we track none. */
	if (!slot || slot->as_id)
		return;
	for (done = 0; done < len; done += part) {
		struct kvmbpf_write write = {
			.kvm = vm_of(tracker)->address,
			.gpa = gpa + done,
			.rip = vcpu ? vcpu_rip(vcpu) : 0,
			.vcpu_id = vcpu ? vcpu->vcpu_id : 0,
			.flags = vcpu ? 0 : KVMBPF_WRITE_NO_VCPU,
		};

		part = min_t(u32, len - done, KVMBPF_WRITE_BYTES);
		write.len = part;
		part_written(tracker, frame, slot, new + done, &write);
	}
	frame_heat(tracker, frame, gfn);
}

/* ---- writes that KVM does not tell of ---- */

/* Copies the @index-th range of the frame at @gfn. False: there is none. */
static bool range_at(struct kvmbpf_tracker *tracker, const struct tracked_frame *frame, gfn_t gfn,
		     u32 index, struct tracked_range *ret_range)
{
	bool found;

	spin_lock(&tracker->lock);
	found = frame->active && frame->gfn == gfn && index < frame->range_count;
	if (found)
		*ret_range = frame->range[index];
	spin_unlock(&tracker->lock);
	return found;
}

/* Cuts a part of a range down to what differs: from the first such byte to the last. */
static bool part_differs(struct kvmbpf_tracker *tracker, struct tracked_frame *frame,
			 const struct kvm_memory_slot *slot, struct kvmbpf_write *write)
{
	const u8 *bytes = frame->bytes + offset_in_page(write->gpa);
	u8 now[KVMBPF_WRITE_BYTES];
	u32 first = 0;

	if (copy_from_user_nofault(now, (const void __user *)gpa_to_hva(slot, write->gpa), write->len))
		return false;
	spin_lock(&tracker->lock);
	while (write->len && now[write->len - 1] == bytes[write->len - 1])
		write->len--;
	while (first < write->len && now[first] == bytes[first])
		first++;
	spin_unlock(&tracker->lock);
	if (first == write->len)
		return false;
	write->gpa += first;
	write->len -= first;
	part_written(tracker, frame, slot, now + first, write);
	return true;
}

static u32 frame_compare(struct kvmbpf_tracker *tracker, struct tracked_frame *frame,
			 const struct kvm_vcpu *vcpu)
{
	gfn_t gfn = READ_ONCE(frame->gfn);
	struct kvm_memory_slot *slot = memory_slot(kvm_memslots(vcpu->kvm), gfn);
	struct tracked_range range;
	u32 index, done, part, found = 0;

	for (index = 0; slot && range_at(tracker, frame, gfn, index, &range); index++) {
		for (done = 0; done < range.len; done += part) {
			struct kvmbpf_write write = {
				.kvm = vm_of(tracker)->address,
				.gpa = gfn_to_gpa(gfn) + range.start + done,
				.rip = vcpu_rip(vcpu),
				.vcpu_id = vcpu->vcpu_id,
			};

			part = min_t(u32, range.len - done, KVMBPF_WRITE_BYTES);
			write.len = part;
			found += part_differs(tracker, frame, slot, &write);
		}
	}
	return found;
}

/* On a vCPU's thread, where no page can be faulted in. */
static u32 frames_compare(struct kvmbpf_tracker *tracker, const struct kvm_vcpu *vcpu)
{
	struct kvm *kvm = vcpu->kvm;
	int slots = srcu_read_lock(&kvm->srcu);
	/* As in frame_written(): the frames are not freed as long as we are in here. */
	int tracking = track_read_lock(kvm);
	u32 count, i, found = 0;

	if (READ_ONCE(tracker->registered) && !READ_ONCE(tracker->stop)) {
		count = smp_load_acquire(&tracker->frame_count);
		pagefault_disable();
		for (i = 0; i < count; i++)
			found += frame_compare(tracker, tracker->frame[i], vcpu);
		pagefault_enable();
	}
	track_read_unlock(kvm, tracking);
	srcu_read_unlock(&kvm->srcu, slots);
	return found;
}

__bpf_kfunc int kvmbpf_tracked_compare(u64 kvm)
{
	struct kvmbpf_vm_handle *vm;
	struct kvm_vcpu *vcpu;
	struct kvm *held;
	int result = -ENOENT;

	if (in_nmi()) /* where SRCU cannot be used */
		return -EAGAIN;
	vm = kvmbpf_vm_find(kvm);
	if (!vm)
		return -ENOENT;
	held = vm_enter(vm);
	if (held) {
		vcpu = current->mm == held->mm ? current_vcpu(held) : NULL;
		result = vcpu ? frames_compare(&vm->tracker, vcpu) : -EXDEV;
		vm_leave(vm);
	}
	kvmbpf_vm_release(vm);
	return result;
}

/* ---- untracking ---- */

/* The memslot goes, and with it KVM's counts. */
static void region_removed(struct track_node *node, gfn_t first, unsigned long count)
{
	struct kvmbpf_tracker *tracker = container_of(node, struct kvmbpf_tracker, node);
	u32 frames = smp_load_acquire(&tracker->frame_count), i;
	struct tracked_frame *frame;

	spin_lock(&tracker->lock);
	for (i = 0; i < frames; i++) {
		frame = tracker->frame[i];
		if (!frame->counted || frame->gfn - first >= count)
			continue;
		frame->counted = false;
		if (frame->active && !READ_ONCE(tracker->stop))
			tell_stop(tracker, gfn_to_gpa(frame->gfn), KVMBPF_STOP_MEMSLOT);
		frame->active = false;
	}
	spin_unlock(&tracker->lock);
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
}

static void frames_deactivate(struct kvmbpf_tracker *tracker)
{
	u32 i;

	spin_lock(&tracker->lock);
	for (i = 0; i < tracker->frame_count; i++)
		tracker->frame[i]->active = false;
	spin_unlock(&tracker->lock);
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
		tell_stop(tracker, ~0ULL, reason);
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
	frame->writes = 0;
	frame->heat_writes = 0;
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
 * Under vm->lock and kvm->srcu. Counts before it reads the frame: what is written after the bytes
 * were read is heard of. A frame that is counted, but does not become active, is uncounted later.
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

/* Under vm->lock. */
static int track_in_vm(struct kvmbpf_vm_handle *vm, gfn_t gfn, const struct tracked_range *range,
		       u8 *buf)
{
	int slots, err;

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
	slots = srcu_read_lock(&vm->kvm->srcu);
	err = track(vm, gfn, range, buf);
	srcu_read_unlock(&vm->kvm->srcu, slots);
	if (err)
		frames_uncount(vm);
	mmput(vm->kvm->mm);
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
	if (removed) {
		frames_uncount(vm);
		/* Nothing is undone there after our return. */
		track_wait(vm->kvm);
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
			.writes = frame->writes,
			.len = frame->range[index].len,
			.flags = frame->range[index].flags,
		};
		err = 0;
	}
	spin_unlock(&tracker->lock);
	mutex_unlock(&vm->lock);
	return err;
}
