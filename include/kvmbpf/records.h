/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-2-Clause */
/*
 * Records that cross from the BPF programs to user space.
 *
 * Fixed-width types, explicit zeroed padding, no pointers that anyone follows. Type numbers are
 * appended and never reused; a reader checks `size` and skips the types it does not know.
 */
#ifndef KVMBPF_RECORDS_H
#define KVMBPF_RECORDS_H

#ifndef __bpf__ /* where vmlinux/kvm.h has the types */
#include <linux/types.h>
#endif

enum kvmbpf_limits {
	KVMBPF_GPRS = 16,
	KVMBPF_SELECTORS = 8,
	/* An iterator's output for one file must fit its 32 KiB buffer (kernel/bpf/bpf_iter.c). */
	KVMBPF_MEMSLOTS_PER_READ = 512,
	KVMBPF_GFN_TREE_DEPTH = 64,
	KVMBPF_PUSHES_PER_WINDOW = 2048, /* of a VM */
	KVMBPF_PULLS_MAX = 1024,         /* vCPUs in one pull */
	KVMBPF_COPIES_MAX = 1024,        /* pieces of memory in one call */
	KVMBPF_COPIED_BYTES = 64 << 10,  /* of all of them */
	KVMBPF_TOKEN_WORDS = 4,
	KVMBPF_SEALS_MAX = 4096,         /* VMs */
	KVMBPF_SEAL_PARTS_MAX = 1 << 16, /* of all seals */
	KVMBPF_SEAL_CHECKS_MAX = 1024,   /* seals in one call */
	KVMBPF_SENTRIES = 16,
	KVMBPF_SENTRY_SEALS = 256,       /* that one looks at */
	KVMBPF_SENTRY_PARTS = 1024,      /* of a seal that a sentry looks at */
	KVMBPF_SENTRY_VCPU = 4,          /* parts that a vCPU counts as there */
};

enum kvmbpf_record_type {
	KVMBPF_RECORD_VM = 1,
	KVMBPF_RECORD_MEMSLOT = 2,
	KVMBPF_RECORD_VCPU = 3,
	KVMBPF_RECORD_SNAPSHOT = 4,
	KVMBPF_RECORD_WRITE = 5, /* kvmbpf/writes.h */
	KVMBPF_RECORD_STOP = 6,
	KVMBPF_RECORD_RESULT = 7, /* kvmbpf/requests.h */
	KVMBPF_RECORD_SENTRY = 8,
};

/* Every record begins with this. `size` counts the whole record, header included. */
struct kvmbpf_record {
	__u32 type;
	__u32 size;
	__u64 time_ns; /* CLOCK_MONOTONIC */
};

/* A process's descriptor of a VM. Several descriptors may name one `kvm`. */
struct kvmbpf_vm_record {
	struct kvmbpf_record header;
	__u64 kvm;           /* address of struct kvm: identity, never followed */
	__u64 start_boot_ns; /* start of the process, CLOCK_BOOTTIME */
	__u64 generation;    /* of the memslots, address space 0 */
	__u32 pid;           /* thread group */
	__s32 fd;            /* descriptor in that process */
	__u32 online_vcpus;
	__u32 created_vcpus;
	__u32 owner_pid;     /* kvm->userspace_pid: who created it */
	__u32 flags;         /* enum kvmbpf_vm_flags */
	__u32 memslots;      /* KVMBPF_RECORD_MEMSLOT records that stand before this one */
	__u32 inode;         /* of its folder in debugfs: not used again, as addresses are; 0: none */
	__s64 clock_offset;  /* of its kvmclock: struct kvmbpf_vcpu says why */
};

enum kvmbpf_vm_flags {
	KVMBPF_VM_MORE_MEMSLOTS = 1u << 0, /* read again with memslots_skip raised */
	KVMBPF_VM_DEAD = 1u << 1,          /* kvm->vm_dead or vm_bugged */
	KVMBPF_VM_OWN_MM = 1u << 2,        /* the process's address space is the VM's */
};

struct kvmbpf_memslot_record {
	struct kvmbpf_record header;
	__u64 kvm;
	__u64 gpa;   /* bytes */
	__u64 size;  /* bytes */
	__u64 hva;   /* bytes, in the VMM's address space */
	__u32 flags; /* KVM_MEM_*, <linux/kvm.h> */
	__s32 id;
};

struct kvmbpf_vcpu_record {
	struct kvmbpf_record header;
	__u64 kvm;
	__u64 vcpu; /* address of struct kvm_vcpu: key of map vcpu_slots */
	__u32 vcpu_id;
	__u32 vcpu_index;
	__u32 pid;
	__s32 fd;
};

enum kvmbpf_vendor {
	KVMBPF_VENDOR_NONE = 0,
	KVMBPF_VENDOR_SVM = 1,
	KVMBPF_VENDOR_VMX = 2,
	KVMBPF_VENDOR_PVM = 3,
};

/* Which program wrote a snapshot. */
enum kvmbpf_source {
	KVMBPF_SOURCE_NONE = 0,
	KVMBPF_SOURCE_PULL = 1,
	KVMBPF_SOURCE_EXIT = 2,
	KVMBPF_SOURCE_LOAD = 3,
	KVMBPF_SOURCE_ENTRY = 4,
};

enum kvmbpf_vcpu_flags {
	KVMBPF_VCPU_NESTED = 1u << 0,    /* runs a nested guest: the state is not L1's */
	KVMBPF_VCPU_SMM = 1u << 1,       /* in system management mode */
	KVMBPF_VCPU_ENCRYPTED = 1u << 2, /* SEV-ES or later: registers are not readable */
	KVMBPF_VCPU_NO_MSRS = 1u << 3,   /* this vendor keeps LSTAR and friends elsewhere */
	KVMBPF_VCPU_WP_SAMPLED = 1u << 4, /* CR0.WP toggles need not exit here */
	/* VMX without the module: GDTR, IDTR, CR3, RIP, RSP, RFLAGS, CPL, SYSENTER_*, selectors and
	 * bases are not known (0). */
	KVMBPF_VCPU_NO_VMCS = 1u << 5,
	KVMBPF_VCPU_NO_WP = 1u << 6, /* nor is CR0.WP */
};

/*
 * The guest's MSRs that KVM for Intel keeps among those that it restores only on its return to user
 * space. `uret_slots` says where in that array: 1 + index; 0: not known.
 */
enum kvmbpf_uret_msr {
	KVMBPF_STAR,
	KVMBPF_LSTAR,
	KVMBPF_CSTAR,
	KVMBPF_SFMASK,
	KVMBPF_URET_MSRS,
};

/* Order of `selector`. */
enum kvmbpf_selector {
	KVMBPF_ES,
	KVMBPF_CS,
	KVMBPF_SS,
	KVMBPF_DS,
	KVMBPF_FS,
	KVMBPF_GS,
	KVMBPF_LDTR,
	KVMBPF_TR,
};

struct kvmbpf_table_register {
	__u64 base;  /* GVA */
	__u32 limit; /* bytes less one */
	__u32 pad;
};

/*
 * State of one vCPU: value of the memory-mapped map `vcpus`.
 *
 * A sequence lock: `seq` is odd while a program writes, and changes with each write. A writer
 * that finds it odd drops its copy and counts it (counters.state_busy).
 */
struct kvmbpf_vcpu {
	__u32 seq;
	__u32 epoch; /* user space's epoch when this was written */
	__u64 kvm;
	__u64 vcpu;
	__u64 time_ns;
	__u32 vcpu_id;
	__u32 flags; /* enum kvmbpf_vcpu_flags */
	__u64 generation;   /* of the VM's memslots, to see when they must be read again */
	/*
	 * Of the VM's kvmclock: KVM takes it from the boot clock, in nanoseconds, as it makes the VM, so
	 * that no other VM at the same address has it. A VMM that sets the clock (KVM_SET_CLOCK) gives
	 * it another, and user space must read it again. Unlike the inode it lies in struct kvm itself.
	 */
	__s64 clock_offset;
	__u32 online_vcpus; /* of the VM */
	__u8 vendor; /* enum kvmbpf_vendor */
	__u8 source; /* enum kvmbpf_source */
	__u8 cpl;
	__u8 away;   /* a nested guest or SMM was told of since this was written */
	__u64 cr0, cr2, cr3, cr4;
	__u64 efer;
	struct kvmbpf_table_register gdtr, idtr;
	__u64 lstar, cstar, star, sfmask;
	__u64 sysenter_cs, sysenter_esp, sysenter_eip;
	__u64 gpr[KVMBPF_GPRS]; /* RAX RCX RDX RBX RSP RBP RSI RDI R8 … R15 */
	__u64 rip, rflags;
	__u64 fs_base, gs_base, kernel_gs_base;
	__u16 selector[KVMBPF_SELECTORS];
	__u64 dr[4], dr6, dr7;
};

/* Entry of the map `pulls`: a vCPU whose registers are to be read now. */
struct kvmbpf_pull {
	__u64 vcpu;  /* address of struct kvm_vcpu */
	__u32 slot;  /* in map vcpus */
	__u32 pad;
};

/* Argument of the programs pull_*. */
struct kvmbpf_pull_call {
	__u32 count; /* of entries, from the first */
};

/* Entry of the map `copies`: memory of a process that is to be read now, within a page of 4 KiB. */
struct kvmbpf_copy {
	__u64 hva;
	__u32 len;  /* bytes */
	__u32 at;   /* where to, in map copied */
	__u32 done; /* 1: it was read; 0: it was not */
	__u32 pad;
};

/* The one value of the map `copied`. */
struct kvmbpf_copied {
	__u8 bytes[KVMBPF_COPIED_BYTES];
};

/* Argument of the program `copy_memory`. */
struct kvmbpf_copy_call {
	__u64 kvm;          /* address of struct kvm, whose process is read */
	__s64 clock_offset; /* as in struct kvmbpf_vcpu: that it is still this VM */
	__u32 count;        /* of entries, from the first */
	__u32 pad;
};

/* Argument of the program `find_direct_map`. */
struct kvmbpf_find_call {
	__u64 hva; /* of these words, in the calling process, within a page */
	__u64 token[KVMBPF_TOKEN_WORDS];
	__u64 physical_mask; /* of an entry's bits: which are of an address */
	__u64 memory_end;    /* physical address after the last of memory */
};

/* What a part of a seal is. */
enum kvmbpf_seal_kind {
	KVMBPF_SEAL_ENTRY,       /* an entry of a page table, of 8 bytes */
	KVMBPF_SEAL_ENTRY_32BIT, /* of 4 */
	KVMBPF_SEAL_BYTES,
	KVMBPF_SEAL_VCPU,        /* no memory: registers, as struct kvmbpf_seal_registers */
};

/* Entry of the map `parts`: memory of a VM that was seen, within a page of 4 KiB; or a vCPU. */
struct kvmbpf_seal_part {
	__u64 hva;      /* of a vCPU: the address of struct kvm_vcpu */
	__u64 expected; /* the entry, whose bits A and D do not count; or the hash of the bytes */
	__u32 len;      /* bytes */
	__u32 kind;     /* enum kvmbpf_seal_kind */
};

/* Entry of the map `seals`: all parts of a VM. */
struct kvmbpf_seal {
	__u64 number;       /* no other seal of this map ever had it; not 0 */
	__u64 kvm;          /* address of struct kvm, whose process's memory it is */
	__s64 clock_offset; /* as in struct kvmbpf_vcpu: that it is still this VM */
	__u64 generation;   /* of its memslots */
	__u32 first, count; /* of its parts that are memory */
	__u32 vcpus;        /* parts, behind those: all of the VM's. For sentries */
	__u32 pad;
};

/* Entry of the map `checks`: is this seal intact? */
struct kvmbpf_seal_check {
	__u32 seal;
	__u32 intact; /* the answer; 0 also where that cannot be told now */
};

/* Argument of the program `check_seals`. */
struct kvmbpf_seal_call {
	__u32 count; /* of entries, from the first */
};

/* What of a vCPU's registers must stay as it is. */
struct kvmbpf_seal_registers {
	__u32 vcpu_id;
	__u32 flags; /* enum kvmbpf_vcpu_flags */
	__u64 cr0, cr4, efer;
	struct kvmbpf_table_register gdtr, idtr;
	__u64 lstar, cstar, star, sfmask;
	__u64 sysenter_cs, sysenter_esp, sysenter_eip;
	__u64 dr[4], dr7;
	__u64 cr3; /* last: it may change, as long as it leads to the same tables */
};

/*
 * Entry of the map `sentries`: a timer that looks at seals itself, in rounds, until it finds one that is not
 * intact. Which ones stand in map `posts`, from KVMBPF_SENTRY_SEALS * its index on. User space writes
 * while the timer is off, the program while it is on.
 */
struct kvmbpf_sentry {
	__u64 period_ns;
	__u64 due_ns;   /* begin of the round that is next, or under way; CLOCK_MONOTONIC */
	__u64 most;     /* rounds to be made, or missed; 0: no end of them */
	__u64 rounds;   /* that found all intact */
	__u64 round_ns; /* when the last of them began; CLOCK_MONOTONIC */
	__u64 began_ns; /* when the last one began, found or not */
	__u64 late;     /* rounds that began later than a tenth of the period */
	__u64 missed;   /* rounds that were left out */
	__u64 runs;     /* of the timer, since the map was made */
	__u64 run_ns;   /* that these took, but for the interrupts themselves */
	__u32 count;    /* of its seals */
	__u32 at;       /* which of them is next in the round under way */
	__u32 again;    /* 1: that one was not intact, and is looked at once more */
	__u32 ended;    /* 1: nor was it then */
};

/* Argument of the programs stand_*, which begin a sentry's rounds, and `relieve`, which ends them. */
struct kvmbpf_sentry_call {
	__u32 sentry;
};

/* Ring buffer `reports`: a sentry found a seal that is not intact. */
struct kvmbpf_sentry_record {
	struct kvmbpf_record header;
	__u32 sentry;
	__u32 pad;
};

/* Argument of the program `wake`. */
struct kvmbpf_wake_call {
	__s32 fd; /* of the VM, in the calling process */
	__u32 vcpu_id;
};

/* What differs from the snapshot before. */
enum kvmbpf_changed {
	KVMBPF_CHANGED_FIRST = 1u << 0,
	KVMBPF_CHANGED_CR0 = 1u << 1,
	KVMBPF_CHANGED_CR4 = 1u << 2,
	KVMBPF_CHANGED_EFER = 1u << 3,
	KVMBPF_CHANGED_LSTAR = 1u << 4,
	KVMBPF_CHANGED_GDTR = 1u << 5,
	KVMBPF_CHANGED_IDTR = 1u << 6,
	KVMBPF_CHANGED_MSRS = 1u << 7, /* of system calls, but LSTAR */
};

/* Ring buffer: something watched changed on a vCPU. */
struct kvmbpf_snapshot_record {
	struct kvmbpf_record header;
	__u32 slot;    /* index in map vcpus */
	__u32 changed; /* enum kvmbpf_changed */
	__u32 inode;   /* of the VM, as in struct kvmbpf_vm_record */
	__u32 pad;
	struct kvmbpf_vcpu state;
};

/* Value of the map `vms`: written by user space, for whoever looks with bpftool. */
struct kvmbpf_vm {
	__u64 kvm;
	__u32 pid;
	__s32 fd;
	__u32 vcpus;
	__u32 first_slot; /* of its vCPUs in map vcpus */
	char name[64];
	char uuid[40];
};

/*
 * Value of the map `budgets`. A guest can change registers as fast as it runs, so that each VM has
 * a budget of pushes: else it would fill the ring buffer, and hide the others' changes.
 */
struct kvmbpf_budget {
	__u64 window;     /* CLOCK_MONOTONIC in units of 2^30 ns */
	__u64 pushed;     /* in this window */
	__u64 dropped;    /* over the budget, since the VM is watched */
};

/* Per CPU: what the programs did, and what they lost. */
struct kvmbpf_counters {
	__u64 exits;          /* kvm_exit on a watched vCPU */
	__u64 loads;          /* vcpu_load on a watched vCPU */
	__u64 pulls;          /* vCPUs read because user space asked */
	__u64 changes;        /* snapshots pushed */
	__u64 ringbuf_lost;   /* snapshots that found the ring buffer full */
	__u64 dropped;        /* snapshots over their VM's budget */
	__u64 state_busy;     /* snapshots that met another writer */
	__u64 read_errors;    /* kernel reads that failed */
};

#define KVMBPF_ASSERT_SIZE(type, bytes) \
	_Static_assert(sizeof(struct type) == (bytes), #type " has changed its size")
KVMBPF_ASSERT_SIZE(kvmbpf_record, 16);
KVMBPF_ASSERT_SIZE(kvmbpf_vm_record, 80);
KVMBPF_ASSERT_SIZE(kvmbpf_memslot_record, 56);
KVMBPF_ASSERT_SIZE(kvmbpf_vcpu_record, 48);
KVMBPF_ASSERT_SIZE(kvmbpf_vcpu, 424);
KVMBPF_ASSERT_SIZE(kvmbpf_snapshot_record, 456);
KVMBPF_ASSERT_SIZE(kvmbpf_copy, 24);
KVMBPF_ASSERT_SIZE(kvmbpf_seal_part, 24);
KVMBPF_ASSERT_SIZE(kvmbpf_seal, 48);
KVMBPF_ASSERT_SIZE(kvmbpf_seal_check, 8);
KVMBPF_ASSERT_SIZE(kvmbpf_seal_registers, 168);
KVMBPF_ASSERT_SIZE(kvmbpf_sentry, 96);
KVMBPF_ASSERT_SIZE(kvmbpf_sentry_record, 24);
KVMBPF_ASSERT_SIZE(kvmbpf_vm, 128);
KVMBPF_ASSERT_SIZE(kvmbpf_budget, 24);
KVMBPF_ASSERT_SIZE(kvmbpf_counters, 64);

#endif
