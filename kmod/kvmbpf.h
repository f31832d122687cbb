/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the module's files share.
 *
 * Locks, outermost first: vm->lock; KVM's own (slots_arch_lock, kvm->srcu, mmu_lock, track_srcu);
 * tracker.lock, or that of tracker.told. What BPF may call in any context takes none of them.
 */
#ifndef KVMBPF_KVMBPF_H
#define KVMBPF_KVMBPF_H

#include <linux/irq_work.h>
#include <linux/kvm_host.h>
#include <linux/mmu_notifier.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "compat.h"
#include "kvmbpf/helper.h"

/*
 * Work that any context may ask for, also one that holds a workqueue's lock, as a program that
 * traces the scheduler does: an interrupt on this CPU queues it.
 */
struct deferred {
	struct irq_work irq;
	struct work_struct work;
};

void deferred_init(struct deferred *deferred, work_func_t func);
void deferred_ask(struct deferred *deferred);
/* Once nobody asks any more; not from the work itself. */
void deferred_cancel(struct deferred *deferred);

struct tracked_range {
	u16 start, len; /* within the frame */
	u32 flags;      /* enum kvmbpf_track_flags */
	u64 cookie;
};

/* How often a frame is written. */
struct frame_heat {
	u64 writes; /* since it is tracked */
	u64 recent; /* since the time below */
	unsigned long since; /* jiffies */
};

struct tracked_frame {
	gfn_t gfn;
	bool counted; /* KVM counts it as tracked, on our behalf */
	bool active;  /* writes are told and undone; not active, but counted: the worker's turn */
	u32 range_count;
	struct frame_heat heat;
	struct tracked_range range[KVMBPF_TRACKED_RANGES_MAX];
	u8 bytes[PAGE_SIZE]; /* what it should hold */
};

/* Tracked without a copy. */
struct told_frame {
	gfn_t gfn;
	bool counted, active; /* as above */
	u64 cookie;
	struct frame_heat heat;
	struct told_frame *next; /* of those that are to be freed */
};

/* Part of the handle, of which its holder has a reference: there is never a second one. */
struct kvmbpf_tracker {
	pid_t pid; /* tgid of the holder; 0: nobody holds it */
	bool released;
	u32 stop;  /* enum kvmbpf_stop_reason; 0: it runs */
	bool registered;
	struct track_node node;
	spinlock_t lock; /* the frames' contents */
	u32 frame_count; /* they are freed when KVM no longer calls us, not before */
	struct tracked_frame *frame[KVMBPF_TRACKED_FRAMES_MAX];
	struct xarray told; /* struct told_frame by frame number; its lock is for their contents */
	u32 told_count;
	struct told_frame *told_out;
};

struct kvmbpf_vm_handle {
	refcount_t refs;
	struct hlist_node node;
	u64 address;     /* of its struct kvm, which need not be there any more */
	struct kvm *kvm; /* a reference; NULL once the VM has ended and nobody uses it */
	refcount_t users; /* of @kvm, and one until the VM ends */
	bool ended;
	bool detaching;
	struct mmu_notifier notifier; /* of the VMM's memory: tells that it goes */
	struct mutex lock;            /* end and tracker, in process context */
	struct deferred settle, free;
	struct kvmbpf_tracker tracker;
	struct rcu_head rcu;
};

int vm_init(void);
void vm_exit(void);
/* The VM, which stays until vm_leave(); NULL if it has ended. */
struct kvm *vm_enter(struct kvmbpf_vm_handle *vm);
void vm_leave(struct kvmbpf_vm_handle *vm);
/* Runs @func on a kernel thread that has the VMM's memory as its own. -EOWNERDEAD: it is gone. */
int vm_run_with_mm(struct kvmbpf_vm_handle *vm, int (*func)(struct kvmbpf_vm_handle *vm));
/* Does now what workers were asked to do. */
void vm_settle(struct kvmbpf_vm_handle *vm);
/* Ends the handle, soon. Any context. */
void vm_end(struct kvmbpf_vm_handle *vm);

/* Slot with RAM at @gfn that is not about to go, or NULL. Under kvm->srcu. */
struct kvm_memory_slot *memory_slot(struct kvm_memslots *slots, gfn_t gfn);
/* Copies a whole frame. -ENXIO: no RAM there. Under kvm->srcu. */
int memory_read_frame(struct kvm *kvm, gfn_t gfn, void *ret_bytes);

static inline struct kvmbpf_vm_handle *vm_of(struct kvmbpf_tracker *tracker)
{
	return container_of(tracker, struct kvmbpf_vm_handle, tracker);
}

void tracker_init(struct kvmbpf_tracker *tracker);
void tracker_vm_ends(struct kvmbpf_tracker *tracker);
/* Does what was put off, under vm->lock. True: the tracker's reference of the handle is yours now. */
bool tracker_settle(struct kvmbpf_vm_handle *vm);
/* Tells that @frames frames, or all (@gpa ~0), are no longer tracked. */
void tell_stop(struct kvmbpf_tracker *tracker, u64 gpa, u32 reason, u32 frames);
/*
 * Readies the tracker to track, and keeps the VMM's memory until tracker_leave(), which has KVM
 * forget what did not become active. Under vm->lock.
 */
int tracker_enter(struct kvmbpf_vm_handle *vm);
void tracker_leave(struct kvmbpf_vm_handle *vm);

/* An active frame, or NULL. It stays while KVM's callbacks run, and under vm->lock. */
struct tracked_frame *frame_find(struct kvmbpf_tracker *tracker, gfn_t gfn);
/* Counts a write. True: there were too many. */
bool heat_add(struct frame_heat *heat);
/* KVM calls this for all writes that it emulates. */
void frame_written(struct track_node *node, gpa_t gpa, const u8 *new, int bytes);

void told_init(struct kvmbpf_tracker *tracker);
/* The memslot goes, and with it KVM's counts. */
void told_removed(struct kvmbpf_tracker *tracker, gfn_t first, unsigned long count);
/* Has KVM forget the frames that are no longer active. Under vm->lock. */
void told_uncount(struct kvmbpf_vm_handle *vm);
/* Deactivates those from @first to before @end; returns how many. */
u32 told_untrack(struct kvmbpf_tracker *tracker, gfn_t first, gfn_t end);
/* Frees the frames that KVM does not count, once nobody can look at them. Under vm->lock. */
void told_reap(struct kvmbpf_vm_handle *vm);
/* Frees all of them: KVM no longer calls us. */
void told_unregistered(struct kvmbpf_tracker *tracker);
/* An active frame, or NULL. It stays while KVM's callbacks run. */
struct told_frame *told_find(struct kvmbpf_tracker *tracker, gfn_t gfn);
/* Counts a write, and gives the frame up if it costs the guest too much. */
void told_heat(struct kvmbpf_tracker *tracker, struct told_frame *frame);

#endif
