// SPDX-License-Identifier: GPL-2.0-only
/* A guest's write to a tracked frame: taken apart, undone where it is protected, and told. */
#include <linux/moduleparam.h>
#include <linux/sched.h>
#include <linux/uaccess.h>

#include "kvmbpf.h"

static unsigned int hot_writes = KVMBPF_HOT_WRITES;
module_param(hot_writes, uint, 0644);
MODULE_PARM_DESC(hot_writes, "writes to one frame within a second after which it is untracked");

/* Here to be traced. */
noinline void kvmbpf_guest_wrote(const struct kvmbpf_write *write)
{
	asm volatile("" : : "r"(write) : "memory");
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

struct tracked_frame *frame_find(struct kvmbpf_tracker *tracker, gfn_t gfn)
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

bool heat_add(struct frame_heat *heat)
{
	heat->writes++;
	if (time_after(jiffies, heat->since + HZ)) {
		heat->since = jiffies;
		heat->recent = 0;
	}
	return ++heat->recent >= READ_ONCE(hot_writes);
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
	bool given_up = false;

	spin_lock(&tracker->lock);
	if (frame->active && frame->gfn == gfn && heat_add(&frame->heat) && !frame_protected(frame)) {
		frame->active = false;
		given_up = true;
	}
	spin_unlock(&tracker->lock);
	if (!given_up)
		return;
	tell_stop(tracker, gfn_to_gpa(gfn), KVMBPF_STOP_HOT, 1);
	deferred_ask(&vm_of(tracker)->settle);
}

/* The same of a frame without a copy. A write that comes as the frame is given up may be told. */
static void part_told(const struct told_frame *frame, const u8 *new, struct kvmbpf_write write)
{
	write.flags |= KVMBPF_WRITE_NO_OLD;
	write.cookie = READ_ONCE(frame->cookie);
	memcpy(write.new_bytes, new, write.len);
	tell_write(&write);
}

/* KVM holds kvm->srcu; a call is for one page. */
void frame_written(struct track_node *node, gpa_t gpa, const u8 *new, int bytes)
{
	struct kvmbpf_tracker *tracker = container_of(node, struct kvmbpf_tracker, node);
	struct kvm *kvm = vm_of(tracker)->kvm;
	gfn_t gfn = gpa_to_gfn(gpa);
	struct tracked_frame *frame = frame_find(tracker, gfn);
	struct told_frame *told = told_find(tracker, gfn);
	struct kvm_memory_slot *slot;
	u32 len = min_t(u32, bytes, PAGE_SIZE - offset_in_page(gpa)), done, part;
	struct kvm_vcpu *vcpu;

	if ((!frame && !told) || READ_ONCE(tracker->stop))
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
		if (told)
			part_told(told, new + done, write);
		if (frame)
			part_written(tracker, frame, slot, new + done, &write);
	}
	if (told)
		told_heat(tracker, told);
	if (frame)
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
