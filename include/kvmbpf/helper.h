/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-2-Clause */
/*
 * What the kernel module kvmbpf_helper gives to our BPF programs: kfuncs, and the types that cross.
 *
 * Included by the module, which defines these functions, and by BPF programs, which call them.
 * Every argument is checked: any tracing program of a privileged user can call them, at any moment.
 *
 * Contexts. "Process context": programs of type syscall, sleepable. "Any context": tracing programs
 * as well, with interrupts off; never blocks. The verifier enforces both, and that what was
 * acquired is released.
 *
 * Guest memory and addresses in it are the guest's word.
 */
#ifndef KVMBPF_HELPER_H
#define KVMBPF_HELPER_H

#ifndef __bpf__ /* where vmlinux/kvm.h has the types */
#include <linux/types.h>
#endif
#include "kvmbpf/pagewalk.h"

#ifdef __bpf__
#define KVMBPF_KSYM __ksym __weak
/* libbpf 1.1 wants a definition where the prototype of a kfunc names a struct. */
struct kvmbpf_vm_handle {};
struct kvmbpf_tracker {};
#else
#define KVMBPF_KSYM
struct kvmbpf_vm_handle;
struct kvmbpf_tracker;
#endif

enum kvmbpf_helper_limits {
	KVMBPF_READ_MAX = 4096,         /* bytes of one read or write */
	KVMBPF_WRITE_BYTES = 32,        /* of a write that an event carries; longer ones come in parts */
	KVMBPF_TRACKED_FRAMES_MAX = 64, /* a tracker */
	KVMBPF_TRACKED_RANGES_MAX = 16, /* a frame */
	KVMBPF_TOLD_FRAMES_MAX = 16384, /* a tracker: frames without a copy */
	KVMBPF_TOLD_RUN_MAX = 512,      /* of one call */
	/* To one frame within a second: untracked, unless protected. The parameter hot_writes changes it. */
	KVMBPF_HOT_WRITES = 16384,
};

/* ---- VM handles ---- */

/*
 * The VM behind a descriptor of a kvm-vm file in the calling process (pidfd_getfd(2) brings it
 * there). One handle a VM: a second call returns the same. NULL: not a KVM VM, no memory, or the
 * VM is ending. Keeps struct kvm, but neither the VMM nor its memory. Process context.
 */
struct kvmbpf_vm_handle *kvmbpf_vm_acquire(__s32 fd) KVMBPF_KSYM;

/*
 * The handle of a VM that someone holds one of, by the address of its struct kvm, which is compared
 * and never followed. NULL: there is none, or the VM has ended. Any context.
 */
struct kvmbpf_vm_handle *kvmbpf_vm_find(__u64 kvm) KVMBPF_KSYM;

/* Gives up a handle. The last one's work is done later, by a worker. Any context. */
void kvmbpf_vm_release(struct kvmbpf_vm_handle *vm) KVMBPF_KSYM;

/* ---- guest memory ---- */

/*
 * Copies out__sz (1 to KVMBPF_READ_MAX) bytes at @gva, read through the guest's page tables at
 * paging->root; with paging->mode KVMBPF_PAGING_OFF @gva is a GPA. Pages that the host has swapped
 * out are brought in. Crosses pages and memslots.
 *
 * -EFAULT: not mapped by the guest; -ENXIO: no RAM there; -EBADMSG: reserved bits in an entry;
 * -EINVAL: not canonical, or the size; -EOWNERDEAD: the VMM's memory is gone. `out` is undefined
 * after a failure. Process context.
 */
int kvmbpf_gva_read(struct kvmbpf_vm_handle *vm, const struct kvmbpf_paging_state *paging,
		    __u64 gva, void *out, __u32 out__sz) KVMBPF_KSYM;

/*
 * The same without blocking, on a thread of the VMM, as its vCPUs are: -EXDEV elsewhere; -EAGAIN
 * where a page is not in the VMM's page tables now, and in an NMI. Any context.
 */
int kvmbpf_gva_read_nofault(struct kvmbpf_vm_handle *vm, const struct kvmbpf_paging_state *paging,
			    __u64 gva, void *out, __u32 out__sz) KVMBPF_KSYM;

/*
 * Writes data__sz bytes. Also -EBUSY: the memslot is dirty-logged, and a live migration would lose
 * the write; -EPERM: a read-only memslot. Either all bytes are written or, on -EBUSY, -EPERM and
 * translation errors, none. Not atomic towards the guest. Process context.
 */
int kvmbpf_gva_write(struct kvmbpf_vm_handle *vm, const struct kvmbpf_paging_state *paging,
		     __u64 gva, const void *data, __u32 data__sz) KVMBPF_KSYM;

/* ---- vCPU state ---- */

/* Guest state of a VMCS (Intel SDM vol. 3C, 24.4 and appendix B). */
struct kvmbpf_vmcs {
	__u64 cr0, cr0_mask, cr0_shadow; /* GUEST_CR0, CR0_GUEST_HOST_MASK, CR0_READ_SHADOW */
	__u64 cr4, cr4_mask, cr4_shadow;
	__u64 cr3;
	__u64 rip, rsp, rflags;
	__u64 gdt_base, idt_base;
	__u32 gdt_limit, idt_limit;
	__u64 fs_base, gs_base;
	__u64 sysenter_esp, sysenter_eip;
	__u32 sysenter_cs;
	__u32 ss_access;                 /* bits 5 and 6: CPL */
	__u16 selector[8];               /* enum kvmbpf_selector */
};

/*
 * Reads the guest state of the VMCS at kernel address @vmcs, which must be the current one of this
 * CPU: VMPTRST is asked, and the address is compared, never followed. -EOPNOTSUPP: no VMX here, or
 * not in VMX operation; -EXDEV: another VMCS (or none) is current; -EIO: VMREAD failed. Any context
 * with preemption off (tracepoints of KVM's exit and entry have it off); -EAGAIN otherwise.
 */
int kvmbpf_vmcs_read(__u64 vmcs, struct kvmbpf_vmcs *ret_vmcs) KVMBPF_KSYM;

/*
 * Wakes a vCPU that blocks in KVM (HLT), as an interrupt would, so that it is loaded once and its
 * state can be read; the guest sees nothing. -ESRCH: no vCPU with this id. Process context.
 */
int kvmbpf_vcpu_wake(struct kvmbpf_vm_handle *vm, __u32 vcpu_id) KVMBPF_KSYM;

/* ---- write tracking ---- */

/*
 * The right to track the VM's frames; one at a time. It is kept as a kptr in a map that nobody
 * pins, so that it ends with the process, whatever ends it: the frames are then untracked by a
 * worker. NULL: someone has it (kvmbpf_tracker_pid()), or this kernel has no write tracking.
 * Process context.
 */
struct kvmbpf_tracker *kvmbpf_tracker_acquire(struct kvmbpf_vm_handle *vm) KVMBPF_KSYM;
void kvmbpf_tracker_release(struct kvmbpf_tracker *tracker) KVMBPF_KSYM; /* any context */
/* Process (tgid) that holds the VM's tracker; 0: nobody. Process context. */
__s32 kvmbpf_tracker_pid(struct kvmbpf_vm_handle *vm) KVMBPF_KSYM;

enum kvmbpf_track_flags {
	KVMBPF_TRACK_PROTECT = 1u << 0, /* undo what the guest writes here */
};

/*
 * Tracks guest writes to @len bytes at @gpa, which lie in one frame. Its bytes are copied now: what
 * the frame should hold, and what events call old. @cookie comes back with each event.
 *
 * KVM emulates each guest write to a tracked frame, and stops a VM that writes there with an
 * instruction that it cannot emulate: only for frames that a running kernel does not write. It does
 * not tell of what it writes for the guest in other ways: SGDT, SIDT and the like (see
 * kvmbpf_tracked_compare()), paravirtual clocks, structures of nested guests. It moves no memslot of
 * a VM that has a tracked frame (since 6.6: KVM_SET_USER_MEMORY_REGION fails).
 *
 * -EINVAL: crosses a frame, or empty; -EEXIST: overlaps a tracked range; -ENOSPC: too many; -ENXIO:
 * no RAM there; -EBUSY: KVMBPF_TRACK_PROTECT under dirty logging; -ESHUTDOWN: tracking has stopped
 * (kvmbpf_tracker_restart()); -EAGAIN: the frame is being untracked, as too hot; -EOWNERDEAD: the
 * VM has ended. Process context.
 */
int kvmbpf_track(struct kvmbpf_tracker *tracker, __u64 gpa, __u32 len, __u32 flags,
		 __u64 cookie) KVMBPF_KSYM;
/*
 * Tracks @frames (1 to KVMBPF_TOLD_RUN_MAX) whole frames from @gpa on, without a copy: writes are
 * told (KVMBPF_WRITE_NO_OLD), and never compared or undone. All else is as said above. Frames that
 * are tracked so already stay as they are; one that has tracked ranges as well has its writes told
 * twice.
 *
 * Returns how many frames from @gpa on are tracked now; where it is fewer, a call for the next one
 * says why. -EINVAL: not at the start of a frame, or the number; -ENOSPC: KVMBPF_TOLD_FRAMES_MAX;
 * -ENOMEM; -ENXIO, -ESHUTDOWN, -EAGAIN and -EOWNERDEAD as above. Process context.
 */
int kvmbpf_tell_writes(struct kvmbpf_tracker *tracker, __u64 gpa, __u32 frames,
		       __u64 cookie) KVMBPF_KSYM;
/*
 * Ends the tracking of the ranges, and of the frames without a copy, that lie within @len bytes at
 * @gpa, and waits until no write to them is being handled. -ENOENT: none. Process context.
 */
int kvmbpf_untrack(struct kvmbpf_tracker *tracker, __u64 gpa, __u64 len) KVMBPF_KSYM;

struct kvmbpf_tracked {
	__u64 gpa;
	__u64 cookie;
	__u64 writes; /* to its frame since it is tracked */
	__u32 len;
	__u32 flags;  /* enum kvmbpf_track_flags */
};
/* The @index-th tracked range, in no order. -ENOENT: no more. Process context. */
int kvmbpf_tracked_at(struct kvmbpf_tracker *tracker, __u32 index,
		      struct kvmbpf_tracked *ret_tracked) KVMBPF_KSYM;

/*
 * The first frame without a copy at @gpa or above; its `len` is 0 where it was given up (too hot,
 * or its memslot went). -ENOENT: no more. Process context.
 */
int kvmbpf_told_next(struct kvmbpf_tracker *tracker, __u64 gpa,
		     struct kvmbpf_tracked *ret_tracked) KVMBPF_KSYM;

/*
 * Compares what is tracked of a VM with what it should hold, and takes each difference for a write
 * of this vCPU, which is told, and undone, as any other. For writes that KVM does not tell of: call
 * it on the return from KVM's emulator_write_std() and kvm_write_guest_virt_system(). Returns how
 * many parts differed. -ENOENT: no such VM; -EXDEV: this is not a thread of one of its vCPUs;
 * -EAGAIN: in an NMI. Any context.
 */
int kvmbpf_tracked_compare(__u64 kvm) KVMBPF_KSYM;

/* Why a frame, or all of them, are no longer tracked. */
enum kvmbpf_stop_reason {
	KVMBPF_STOP_KERNEL = 1,  /* the guest reset, or left its kernel (kexec) */
	KVMBPF_STOP_MEMSLOT = 2, /* the memslot was deleted or moved */
	KVMBPF_STOP_HOT = 3,     /* KVMBPF_HOT_WRITES */
	KVMBPF_STOP_VM = 4,      /* the VM has ended */
	KVMBPF_STOP_RELEASED = 5,
};

/*
 * Stops all tracking of a VM: from the return on nothing is undone or told, but for writes that are
 * being handled, and a worker untracks the frames. @reason: KVMBPF_STOP_KERNEL, or KVMBPF_STOP_VM,
 * which ends its handles, too. Returns 0, or -ENOENT where the VM has no tracker. Any context.
 */
int kvmbpf_tracking_stop(__u64 kvm, __u32 reason) KVMBPF_KSYM;
/* Lets a stopped tracker begin again with no frames. Process context. */
int kvmbpf_tracker_restart(struct kvmbpf_tracker *tracker) KVMBPF_KSYM;

/* ---- what the module tells: empty functions for fentry programs ---- */

enum kvmbpf_write_flags {
	KVMBPF_WRITE_UNDONE = 1u << 0,      /* the old bytes are back, before the vCPU runs again */
	KVMBPF_WRITE_STOOD_ASIDE = 1u << 1, /* protected, but dirty-logged: not undone */
	KVMBPF_WRITE_FAILED = 1u << 2,      /* protected, but the old bytes could not be written */
	KVMBPF_WRITE_NO_VCPU = 1u << 3,     /* the writer is not a vCPU's thread */
	KVMBPF_WRITE_NO_OLD = 1u << 4,      /* of a frame without a copy: the old bytes are 0 */
};

/* A guest write that touched a tracked range. Time: when the program runs. */
struct kvmbpf_write {
	__u64 kvm;
	__u64 gpa;    /* of the first byte written */
	__u64 cookie; /* of the (first) range it touches */
	__u64 rip;    /* of the writing instruction */
	__u32 vcpu_id;
	__u32 len;    /* bytes of old and new that count, 1 to KVMBPF_WRITE_BYTES */
	__u32 flags;  /* enum kvmbpf_write_flags */
	__u32 pad;
	__u8 old_bytes[KVMBPF_WRITE_BYTES];
	__u8 new_bytes[KVMBPF_WRITE_BYTES]; /* what was tried */
};

struct kvmbpf_stop {
	__u64 kvm;
	__u64 gpa;    /* of the frame; all frames of the VM: ~0 */
	__u32 reason; /* enum kvmbpf_stop_reason */
	__u32 frames; /* 1; all: 0; of a memslot's frames without a copy: how many, and gpa is its start */
};

/* Called on the writing vCPU's thread, after the write and before the vCPU runs again. */
void kvmbpf_guest_wrote(const struct kvmbpf_write *write);
/*
 * Called once a frame (once a VM, gpa ~0; once a memslot for its frames without a copy), when it is
 * decided, before KVM is told.
 */
void kvmbpf_tracking_stopped(const struct kvmbpf_stop *stop);

#ifdef __KERNEL__
#define KVMBPF_ASSERT_SIZE_OF(type, bytes) static_assert(sizeof(struct type) == (bytes))
#else
#define KVMBPF_ASSERT_SIZE_OF(type, bytes) \
	_Static_assert(sizeof(struct type) == (bytes), #type " has changed its size")
#endif
KVMBPF_ASSERT_SIZE_OF(kvmbpf_vmcs, 160);
KVMBPF_ASSERT_SIZE_OF(kvmbpf_tracked, 32);
KVMBPF_ASSERT_SIZE_OF(kvmbpf_write, 112);
KVMBPF_ASSERT_SIZE_OF(kvmbpf_stop, 24);

#endif
