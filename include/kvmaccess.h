/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libkvmaccess: reads, and where allowed writes, the kernel objects of KVM guests from the host.
 *
 * The functions are those of KvmAccess (Nam and Park, "System Integrity Monitoring System using
 * Kernel-based Virtual Machine", KIPS Transactions C 18-C(3), 2011), on stock kernels.
 *
 * Errors. Functions return 0 (or a count) or a negative errno; outputs (`ret_…`, last) are
 * untouched on failure. One meaning each, everywhere:
 *
 *   -ESRCH       no such VM or vCPU
 *   -EOWNERDEAD  the VM existed and is gone
 *   -EFAULT      the guest's page tables do not map the address
 *   -ENXIO       mapped, but no RAM is there: a hole, MMIO, or memory the VMM has not got
 *   -EBADMSG     a page-table entry has reserved bits set
 *   -EPERM       not permitted: privileges, or a write on a handle opened without KA_OPEN_WRITE
 *   -EBUSY       a write to memory that is being dirty-logged (live migration)
 *   -EAGAIN      not readable now, readable later: nested guest, SMM, kernel not yet paging
 *   -ETIMEDOUT   the VMM is to bring that memory itself (userfaultfd: a postcopy migration, a snapshot
 *                that is loaded page by page), and did not within 100 ms; until it did all writes to the
 *                VM's memory fail so at once, and all reads of what is not there, or of more than 60 KiB
 *   -ENODATA     the guest or its kernel has no such thing (no such table, no symbol file)
 *   -EOPNOTSUPP  not on this host: ka_probe() says why
 *   -EINVAL      an argument is wrong: a non-canonical address, an index out of range
 *
 * Threads. A ka_host and the ka_vms opened from it belong to one thread at a time. ka_symbols are
 * immutable and may be shared. Nothing here blocks on the guest, but for ka_finish_get(), until a
 * deadline, and for memory that the VMM brings itself (-ETIMEDOUT), which threads of the library's own
 * read; a read of memory that the host has swapped out waits for the host's disk. Whether a VMM does so is
 * looked at again when its memslots change, and once a minute.
 *
 * Guest memory and everything decoded from it is the guest's word: treat it as hostile.
 */
#ifndef KVMACCESS_H
#define KVMACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ka_host;
struct ka_vm;
struct ka_symbols;

/* ---- the host ------------------------------------------------------------------------------ */

enum ka_vendor { KA_VENDOR_NONE, KA_VENDOR_SVM, KA_VENDOR_VMX, KA_VENDOR_PVM };

struct ka_host_options {
	unsigned int max_vcpus;  /* watched at once on the host; 0: 8192 */
	/* Attach nothing to KVM's exits: pull only. On VMX without effect where the kernel module
	 * is loaded: there is nothing to pull from but what exits leave. */
	bool no_push;
	/*
	 * Map the RAM of guests whose VMM shares it (memfd, shm, hugetlbfs), read-only: what was read
	 * once is then read without a system call. Installs a handler of SIGBUS, which passes on what
	 * is not of these mappings. They keep such memory from being freed until the end of the VM was
	 * dispatched.
	 */
	bool map_ram;
	/* Read other memory by process_vm_readv(2) alone, and not through the kernel's direct map of memory. */
	bool no_direct;
	const char *pin_path;    /* bpffs directory for maps and programs, or NULL */
	/* libbpf's own messages, for -v; NULL: dropped. Not called after ka_host_open() returns. */
	void (*log)(void *ctx, const char *line);
	void *log_ctx;
};

/*
 * Loads the BPF programs that fit this host. Needs CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and,
 * where KVM is a module, CAP_SYS_ADMIN. Options may be NULL.
 * Errors: -EPERM; -EOPNOTSUPP (no KVM, no BTF, or a vendor that BPF cannot read).
 */
int ka_host_open(const struct ka_host_options *options, struct ka_host **ret_host);
/* Detaches and frees everything; NULL is ignored. Close its VMs first. */
void ka_host_close(struct ka_host *host);

/* What ka_host_open() found, fixed from then on. */
enum ka_feature_state { KA_FEATURE_ON, KA_FEATURE_FALLBACK, KA_FEATURE_OFF };

struct ka_feature {
	const char *name;    /* "kvm", "btf", "pull", "push_exit", "push_load", "uevents", … */
	enum ka_feature_state state;
	char detail[160];    /* what is used, or what is missing and which checks it costs */
};

enum { KA_FEATURES_MAX = 24 };

struct ka_probe {
	enum ka_vendor vendor;
	char kernel[65];     /* uname -r */
	char lockdown[24];   /* "none", "integrity", "confidentiality", "unknown" */
	size_t count;
	struct ka_feature feature[KA_FEATURES_MAX];
};

/* What this host gives, whether or not a ka_host could be opened. Loads and unloads programs. */
int ka_probe(struct ka_probe *ret_probe);
/* The same of an open host, at no cost. */
const struct ka_probe *ka_host_features(const struct ka_host *host);

/* Sums over all CPUs since ka_host_open(). */
struct ka_counters {
	uint64_t exits, loads, pulls, changes, ringbuf_lost, dropped, state_busy, read_errors;
	uint64_t results_lost; /* of requests: served from process context after their deadline */
	/* Interrupts of the sentries' timers, and for how many nanoseconds they took a CPU, but for what an
	 * interrupt takes by itself. */
	uint64_t sentry_runs, sentry_ns;
};
int ka_host_counters(struct ka_host *host, struct ka_counters *ret_counters);

/* ---- VMs ----------------------------------------------------------------------------------- */

enum { KA_NAME_MAX = 128, KA_UUID_MAX = 37, KA_LABELS_MAX = 2048 };

struct ka_vm_info {
	uint64_t key;             /* identity on this host while the VM lives; never reused within a
				   * ka_host */
	pid_t pid;
	uint64_t start_ticks;     /* of the process, as in /proc/PID/stat */
	int fd;                   /* of the VM in that process */
	unsigned int vcpus;       /* online */
	uint64_t memory_bytes;    /* sum of memslots */
	char name[KA_NAME_MAX];   /* UTF-8, printable; "pid-N" where the VMM gives none */
	char uuid[KA_UUID_MAX];   /* "" where the VMM gives none */
	char hypervisor[24];      /* "qemu", "firecracker", "cloud-hypervisor", "unknown" */
	char manager[24];         /* "libvirt", "openstack", "proxmox", "kubevirt", "none" */
	char id_source[32];       /* "libvirt-status-xml", "cmdline", "pid", … */
	char id_confidence[8];    /* "high", "medium", "low" */
	char labels[KA_LABELS_MAX]; /* of its manager: lines KEY=VALUE, UTF-8, printable; or "" */
};

/*
 * The VMs of the host now: a full scan. *ret_vms is an array to free() of *ret_count; NULL and 0
 * where there is none. Errors: -ENOMEM, -EPERM.
 */
int ka_list(struct ka_host *host, struct ka_vm_info **ret_vms, size_t *ret_count);

enum ka_open_flags { KA_OPEN_WRITE = 1u << 0 };

/*
 * Opens a VM for reading. By selector: a pid, a UUID, or a name, in this order; -ESRCH, or
 * -ENOTUNIQ if several fit (list them with ka_list()). By key: as ka_vm_info has it.
 * The handle holds no reference on the VM and never keeps it alive: once it is gone, calls
 * return -EOWNERDEAD. Memslots are read again by themselves when they change.
 */
int ka_open(struct ka_host *host, const char *selector, unsigned int flags, struct ka_vm **ret_vm);
int ka_open_key(struct ka_host *host, uint64_t key, unsigned int flags, struct ka_vm **ret_vm);
void ka_close(struct ka_vm *vm);
/* Does the selector (pid, UUID or name, compared whole) mean this VM? */
bool ka_vm_matches(const struct ka_vm_info *info, const char *selector);
const struct ka_vm_info *ka_vm_info(const struct ka_vm *vm);
/* Reads its labels again, which ka_vm_info() has then. -EOWNERDEAD. */
int ka_vm_relabel(struct ka_vm *vm);

struct ka_memslot {
	uint64_t gpa, size, hva;  /* bytes */
	uint32_t flags;           /* KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY: <linux/kvm.h> */
	int id;
};
/* The VM's memslots, by GPA; valid until the next call on this handle. */
int ka_vm_memslots(struct ka_vm *vm, const struct ka_memslot **ret_slots, size_t *ret_count);

/* ---- what happens on the host -------------------------------------------------------------- */

struct ka_registers;
struct ka_write;

/* Why a frame, or all of them, are no longer tracked. */
enum ka_stop_reason {
	KA_STOP_KERNEL,   /* the guest was reset, or left its kernel (kexec) */
	KA_STOP_MEMSLOT,  /* its memory was taken from the VM, or moved */
	KA_STOP_HOT,      /* it is written too often: ka_track() again costs the guest its speed */
	KA_STOP_VM,       /* the VM has ended */
	KA_STOP_RELEASED, /* ka_track_end() */
};

/* Called from ka_host_dispatch(). Any may be NULL. */
struct ka_host_events {
	/* A VM is there and its memory is known. From the first ka_host_dispatch() on, also for
	 * those that run already. */
	void (*vm_appeared)(void *ctx, const struct ka_vm_info *info);
	void (*vm_gone)(void *ctx, uint64_t key);
	/* A VM that has appeared is another than was told, as its manager said only later: the name,
	 * the UUID and where they come from. At most three times, in its first minute or so. */
	void (*vm_identified)(void *ctx, const struct ka_vm_info *info);
	/* Pushed: a watched register of a vCPU of an opened VM changed (KA_CHANGED_*), but for CR0.TS
	 * and CR4.PGE. All changes in their order, also those that were undone before anyone could
	 * poll. */
	void (*registers_changed)(void *ctx, uint64_t key, const struct ka_registers *registers,
				  uint32_t changed);
	/* Pushed changes were lost; `count` since the last call. With the key of a VM: it makes more
	 * of them than a VM may push in a second. With key 0: the ring buffer was full, and they
	 * may be of any VM. */
	void (*changes_lost)(void *ctx, uint64_t key, uint64_t count);
	/* A guest wrote to tracked bytes; all of them in their order, after the write and, where it
	 * was undone, after that. */
	void (*guest_wrote)(void *ctx, uint64_t key, const struct ka_write *write);
	/* A frame is tracked no more; UINT64_MAX: nothing of this VM is. KA_STOP_MEMSLOT of what
	 * ka_track_frames() tracks: all in the memslot that begins there. */
	void (*tracking_stopped)(void *ctx, uint64_t key, uint64_t gpa,
				 enum ka_stop_reason reason);
	/* Writes, or stops of tracking, that were not told (ring buffer full); `count` since the
	 * last call. Ask ka_tracked(). */
	void (*writes_lost)(void *ctx, uint64_t key, uint64_t count);
};

/*
 * A descriptor that becomes readable when there is something to dispatch (VM created or gone,
 * registers pushed). Owned by the host. Call ka_host_dispatch() then, and at least once a second:
 * a VM that was just created is looked for again until its vCPUs and memory are there.
 */
int ka_host_fd(const struct ka_host *host);
int ka_host_dispatch(struct ka_host *host, const struct ka_host_events *events, void *ctx);
/* Of that only what was pushed and written until now, without a system call where there is nothing:
 * for one who is about to read registers, and has seen that the descriptor is not readable. */
int ka_host_dispatch_pushed(struct ka_host *host, const struct ka_host_events *events, void *ctx);

/* ---- registers ----------------------------------------------------------------------------- */

struct ka_table_register { uint64_t base; uint32_t limit; };

enum ka_registers_flags {
	KA_REGISTERS_NESTED = 1u << 0,      /* a nested guest's: not this guest's kernel */
	KA_REGISTERS_SMM = 1u << 1,
	KA_REGISTERS_ENCRYPTED = 1u << 2,   /* confidential guest: values are not known */
	KA_REGISTERS_NO_MSRS = 1u << 3,     /* lstar … sysenter_eip are not known on this host */
	KA_REGISTERS_WP_SAMPLED = 1u << 4,  /* not every change of CR0.WP is pushed */
	/* VMX without the kernel module: gdtr, rip, rsp, rflags, cpl, sysenter_*, bases and selectors
	 * are not known (0). idtr is where 64-bit Linux has it, cr3 the kernel's own page tables (0:
	 * not found yet), which ka_idt_read() and ka_kernel_find() look for, for up to a second: the
	 * guest's word for both. */
	KA_REGISTERS_NO_VMCS = 1u << 5,
	KA_REGISTERS_NO_WP = 1u << 6,       /* nor is CR0.WP */
	/* AMD: the upper halves of sysenter_esp and sysenter_eip mean nothing (APM vol. 2, 6.1.1). */
	KA_REGISTERS_SYSENTER_LOW = 1u << 7,
};

enum ka_changed {
	KA_CHANGED_FIRST = 1u << 0,
	KA_CHANGED_CR0 = 1u << 1,
	KA_CHANGED_CR4 = 1u << 2,
	KA_CHANGED_EFER = 1u << 3,
	KA_CHANGED_LSTAR = 1u << 4,
	KA_CHANGED_GDTR = 1u << 5,
	KA_CHANGED_IDTR = 1u << 6,
	KA_CHANGED_MSRS = 1u << 7, /* star, cstar, sfmask, sysenter_* */
};

enum ka_gpr {
	KA_RAX, KA_RCX, KA_RDX, KA_RBX, KA_RSP, KA_RBP, KA_RSI, KA_RDI,
	KA_R8, KA_R9, KA_R10, KA_R11, KA_R12, KA_R13, KA_R14, KA_R15,
};
enum ka_selector { KA_ES, KA_CS, KA_SS, KA_DS, KA_FS, KA_GS, KA_LDTR, KA_TR };

struct ka_registers {
	unsigned int vcpu;        /* KVM's vcpu_id */
	uint32_t flags;           /* enum ka_registers_flags */
	uint64_t time_ns;         /* CLOCK_MONOTONIC, when they were read */
	uint64_t gpr[16], rip, rflags;
	uint64_t cr0, cr2, cr3, cr4, efer;
	uint64_t dr[4], dr7;      /* breakpoints, and which are on (Intel SDM vol. 3B, 18.2) */
	struct ka_table_register gdtr, idtr;
	uint64_t lstar, cstar, star, sfmask, sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t fs_base, gs_base, kernel_gs_base;
	uint16_t selector[8];
	uint8_t cpl;
};

/*
 * Reads the registers of all vCPUs of many VMs in one pass, for the next ka_registers_read_all() of
 * each, which then takes no system call: to be called soon, as it gives what was read here. On
 * failure those read afresh as ever. VMs of one host; those that are gone are passed over.
 */
int ka_registers_pull(struct ka_host *host, struct ka_vm *const *vms, size_t count);

/*
 * Has the CPU fetch what the next calls for this VM go by, while it does something else: for whoever
 * looks at many VMs in turn, of which none is in a cache any more. To be called when there are `ahead`
 * VMs to come before it, 1 and then 0: what is pointed at comes second. Does not block.
 */
void ka_vm_prefetch(const struct ka_vm *vm, unsigned int ahead);
/*
 * Reads the registers of all vCPUs afresh, in one system call, in the order of their ids.
 * Fills at most `max`, and sets *ret_count to what was filled. A vCPU that runs in the guest
 * right now shows its state of its last exit; on VMX its time_ns is that exit's, and it is left out
 * where that is over 100 ms ago. Errors: -EOWNERDEAD, -EOPNOTSUPP.
 */
int ka_registers_read_all(struct ka_vm *vm, struct ka_registers *registers, size_t max,
			  size_t *ret_count);
/* One vCPU, by its id (paper: ka_register_read). -ESRCH: no such vCPU. */
int ka_register_read(struct ka_vm *vm, unsigned int vcpu, struct ka_registers *ret_registers);
/* 0 if these registers are the guest kernel's own in paging mode; -EAGAIN (nested, SMM, no paging
 * yet) or -EOPNOTSUPP (encrypted) otherwise. */
int ka_registers_usable(const struct ka_registers *registers);

/* ---- memory -------------------------------------------------------------------------------- */

enum ka_paging_mode { KA_PAGING_OFF, KA_PAGING_32BIT, KA_PAGING_PAE, KA_PAGING_4LEVEL,
		      KA_PAGING_5LEVEL };

/* An address space of the guest: where its page tables begin and how they are read. */
struct ka_paging {
	uint64_t root;  /* as in CR3 */
	uint8_t mode;   /* enum ka_paging_mode */
	uint8_t pse, nx, pad[5];
};
/* From a vCPU's registers. */
struct ka_paging ka_paging(const struct ka_registers *registers);

enum ka_rights { KA_RIGHT_WRITE = 1, KA_RIGHT_USER = 2, KA_RIGHT_EXEC = 4 };

struct ka_walk_step { uint64_t gpa, entry; };

struct ka_translation {
	uint64_t gpa;
	uint64_t page_size;   /* bytes; 0 with paging off */
	uint8_t rights;       /* enum ka_rights, all levels combined */
	uint8_t depth;        /* steps used */
	struct ka_walk_step step[5];
};

/* Walks the guest's page tables now; nothing is cached. */
int ka_translate(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva,
		 struct ka_translation *ret_translation);

/* Any length, across pages and memslots. All or -errno; `buf` is undefined after a failure. */
int ka_gpa_read(struct ka_vm *vm, uint64_t gpa, void *buf, size_t len);
int ka_gva_read(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva, void *buf,
		size_t len);
/* Need KA_OPEN_WRITE. -EBUSY under dirty logging: a write from here would be lost by a live
 * migration. -EPERM on a read-only memslot. Not atomic towards the guest. */
int ka_gpa_write(struct ka_vm *vm, uint64_t gpa, const void *data, size_t len);
int ka_gva_write(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva, const void *data,
		 size_t len);

/* One piece of ka_readv(). */
struct ka_piece {
	const struct ka_paging *paging;  /* NULL: `address` is a GPA */
	uint64_t address;
	void *buf;                       /* NULL: translate only */
	uint32_t len;                    /* bytes; may cross pages */
	/* results */
	int error;                       /* 0 or -errno as above */
	/* Of the first byte, also where it is mapped but no RAM is there; `address` if it is not
	 * translated. */
	uint64_t gpa;
};

/*
 * Reads many pieces, in the steady state with one system call: translations are cached, and each
 * is proven by reading its page-table entries in that same call, before what they lead to. Entries
 * that pages share are read once for up to 128 of them. Contents are never cached.
 * Goes by the memslots that the last other call on this handle saw: ka_registers_read_all() first,
 * as in a cycle, reads them again if they changed.
 * Returns 0 when every piece was tried (look at their `error`), or -EOWNERDEAD.
 */
int ka_readv(struct ka_vm *vm, struct ka_piece *pieces, size_t count);

/* ---- seals --------------------------------------------------------------------------------- */

/* A vCPU as a look saw it. */
struct ka_seal_vcpu {
	const struct ka_registers *registers; /* as ka_registers_read_all() gave them */
	/* Of these. Pieces that were read by this very object are those of the vCPU: they stay
	 * what they are for as long as page tables under its CR3, whichever that is, lead there. */
	const struct ka_paging *paging;
};

/*
 * Seals a VM: takes down what a look at it saw, for ka_seals_check() to say of it later that nothing of it
 * has changed. That is of all its vCPUs, in the order of their ids, control and debug registers, GDTR, IDTR,
 * and MSRs of system calls; and of pieces that ka_readv() read without an error, each within a page of 4 KiB
 * and by page tables, the entries that lead there, and where they have a `buf` its contents. Of CR3
 * it is what lies under it; bits A and D of entries do not count.
 *
 * Contents are kept as a hash with a secret key of this host's, so that a change is missed with a
 * probability of 2^-32: whoever relies on seals reads all now and then.
 *
 * Costs about a microsecond for each entry and piece; takes the place of the VM's last seal, also on failure.
 * What is given is not kept. Errors: -EOPNOTSUPP, this host has none (feature "seals"); -EAGAIN, it is not
 * so any more; -EINVAL, pieces that cannot be sealed; -ENOSPC, too many on this host; -ENOMEM; -EOWNERDEAD.
 */
int ka_seal(struct ka_vm *vm, const struct ka_seal_vcpu *vcpus, size_t vcpu_count,
	    const struct ka_piece *pieces, size_t piece_count);
/* Takes it away again; without one nothing happens. */
void ka_unseal(struct ka_vm *vm);

/*
 * Of VMs whose registers ka_registers_pull() has just read: is each as it was when it was sealed? In one
 * system call for up to 1024 of them, none of which is copied. False also for those that have no seal, and where it
 * cannot be told now, as their memory is being moved or is in no memory: look again, which costs as
 * much as ever. A pull is used up by the answer "true". Does not block. -errno of the call: all are false.
 */
int ka_seals_check(struct ka_host *host, struct ka_vm *const *vms, size_t count, bool *ret_intact);

/* ---- sentries ------------------------------------------------------------------------------- */

/*
 * Looks at seals, in the kernel, at regular times: nobody wakes up as long as all are intact. Belongs to the
 * host, which has 16; on one thread with its other calls.
 */
struct ka_sentry;

/*
 * Errors: -EOPNOTSUPP, this host has none (feature "sentries"); -ENOSPC, all are in use. Freed by
 * ka_sentry_free(), which relieves it, or along with the host.
 */
int ka_sentry_new(struct ka_host *host, struct ka_sentry **ret_sentry);
/* NULL is fine. */
void ka_sentry_free(struct ka_sentry *sentry);

/*
 * From @first_ns (CLOCK_MONOTONIC, nanoseconds) on, and each @period_ns after that, the kernel finds out
 * whether the seals of these VMs are intact, as ka_seals_check() does; CR3 must be what it was at the last
 * "intact". The first time that one is not, or that this cannot be told, and a moment later neither, the
 * sentry stops and ka_host_fd() becomes readable; ka_sentry_read() says so. After @rounds of them it stops,
 * too, and wakes nobody up; 0: it does not. Each round is made by a timer's interrupt on one of the host's
 * CPUs, that of the caller as a rule; it takes a microsecond or two for each VM, and after some 512 parts of
 * seals a pause is made.
 *
 * It is relieved by ka_sentry_relieve(); and by whatever changes one of these seals, before it does:
 * ka_seal(), ka_unseal(), ka_seals_check(), ka_close(). Takes the place of what it was to do before, also on
 * failure. Does not sleep, but waits for what is under way on another CPU. Errors: -EAGAIN, a VM without a
 * seal, or that another sentry looks at; -E2BIG, more than 256 VMs, or a seal of more than 1024 parts, of
 * which a vCPU counts as four; -EINVAL, none, or no period; -EOWNERDEAD.
 */
int ka_sentry_stand(struct ka_sentry *sentry, struct ka_vm *const *vms, size_t count,
		    uint64_t first_ns, uint64_t period_ns, uint64_t rounds);
/* Ends its rounds; none is under way when this returns. What ka_sentry_read() says stays. */
void ka_sentry_relieve(struct ka_sentry *sentry);

/* Since ka_sentry_stand(). Times are CLOCK_MONOTONIC, in nanoseconds. */
struct ka_sentry_state {
	bool stands;       /* it goes on; else it was relieved, is done, or has found a seal broken */
	bool broken;
	uint64_t rounds;   /* that found all seals intact */
	uint64_t round_ns; /* when the last of them began; 0: there was none */
	uint64_t late;     /* rounds that began later than a tenth of the period */
	uint64_t missed;   /* rounds that were left out, as the one before was so late */
};
/* Reads what the kernel counts, without a system call. */
void ka_sentry_read(const struct ka_sentry *sentry, struct ka_sentry_state *ret_state);

/* ---- writes -------------------------------------------------------------------------------- */

/*
 * With the module kvmbpf_helper, writes of a guest's CPUs to chosen memory are told as they happen
 * (struct ka_host_events), and can be undone before the CPU that wrote runs on. Writes by devices
 * and by the VMM are not seen. Needs a host opened without no_push; else -EOPNOTSUPP.
 *
 * KVM emulates each write to a frame that is tracked, and stops a VM that writes there with an
 * instruction which it cannot emulate (AVX stores, cmpxchg16b): track only what a running kernel
 * does not write.
 */

enum { KA_WRITE_BYTES = 32, KA_TRACKED_MAX = 1024 };

enum ka_track_flags { KA_TRACK_PROTECT = 1u << 0 /* undo what the guest writes here */ };

/*
 * Takes the right to track a VM's writes, which one process at a time has, with nothing tracked
 * yet; with the right, begins anew after KA_STOP_KERNEL. It ends with ka_track_end(), ka_close() or
 * this process, however that ends.
 * Errors: -EBUSY, somebody has it (ka_tracker_pid()); -EOPNOTSUPP, no module, or a kernel without
 * write tracking; -EPERM; -EOWNERDEAD.
 */
int ka_track_begin(struct ka_vm *vm);
void ka_track_end(struct ka_vm *vm);
/* Process that has the right; 0: none. */
int ka_tracker_pid(struct ka_vm *vm, pid_t *ret_pid);

/*
 * Tracks writes to @len bytes at @gpa, all in one 4096-byte frame. What they hold now is what
 * KA_TRACK_PROTECT keeps. @cookie comes back with each write.
 * Errors: -EINVAL; -EEXIST, overlaps what is tracked; -ENOSPC, 64 frames of a VM and 16 ranges of a
 * frame are the most; -ENXIO; -EBUSY, KA_TRACK_PROTECT under dirty logging (live migration);
 * -ESHUTDOWN, stopped: ka_track_begin() again.
 */
int ka_track(struct ka_vm *vm, uint64_t gpa, size_t len, unsigned int flags, uint64_t cookie);
/*
 * Tracks writes to @frames whole frames of 4096 bytes from @gpa on, of which nothing is kept: a write is
 * told without what was there before (KA_WRITE_NO_OLD). For much memory that is seldom written, such as a
 * kernel's text. Frames that are tracked so already stay as they are.
 * Returns how many from @gpa on are tracked now, 512 in a call at most; where it is fewer than were asked
 * for, a call for the next one says why. Errors: as ka_track(); -ENOSPC, 16384 such frames of a VM are the
 * most; -EOPNOTSUPP, a module that has not got this; -EAGAIN, the frame is just being given up as too hot.
 */
int ka_track_frames(struct ka_vm *vm, uint64_t gpa, size_t frames, uint64_t cookie);
/* Ends the tracking of all ranges and whole frames within @len bytes at @gpa. -ENOENT: there is none. */
int ka_untrack(struct ka_vm *vm, uint64_t gpa, uint64_t len);

struct ka_tracked {
	uint64_t gpa;
	uint64_t cookie;
	uint64_t writes;  /* to its frame */
	uint32_t len;
	uint32_t flags;   /* enum ka_track_flags */
};
/* What is tracked now, in no order; at most `max`, of KA_TRACKED_MAX that can be. */
int ka_tracked(struct ka_vm *vm, struct ka_tracked *tracked, size_t max, size_t *ret_count);

enum ka_write_flags {
	KA_WRITE_UNDONE = 1u << 0,      /* the old bytes were put back before the vCPU ran on */
	KA_WRITE_STOOD_ASIDE = 1u << 1, /* protected, but dirty-logged: not undone */
	KA_WRITE_FAILED = 1u << 2,      /* protected, but the old bytes could not be put back */
	KA_WRITE_NO_VCPU = 1u << 3,     /* not by a vCPU of this VM: `vcpu` and `rip` are 0 */
	KA_WRITE_NO_OLD = 1u << 4,      /* of ka_track_frames(): `old_bytes` are 0 */
};

/* A guest's write that touched tracked bytes. Long ones come in parts. */
struct ka_write {
	uint64_t gpa;      /* of the first byte written */
	uint64_t rip;      /* of the instruction that wrote */
	uint64_t cookie;   /* of the first range that it touched */
	uint64_t time_ns;  /* CLOCK_MONOTONIC */
	unsigned int vcpu; /* KVM's vcpu_id */
	uint32_t len;      /* bytes written, 1 to KA_WRITE_BYTES */
	uint32_t flags;    /* enum ka_write_flags */
	uint8_t old_bytes[KA_WRITE_BYTES];
	uint8_t new_bytes[KA_WRITE_BYTES]; /* what the guest wrote, also if it was undone */
};

/* ---- descriptor tables --------------------------------------------------------------------- */

/*
 * A segment descriptor, decoded (Intel SDM vol. 3A, 3.4.5 and 7.2; AMD APM vol. 2, 4.7, 4.8).
 * Encoding starts from `raw` and lays the other fields over it, so reserved bits survive; zero it
 * to make a descriptor from nothing.
 */
struct ka_descriptor {
	uint64_t base;
	uint32_t limit;   /* last valid offset in bytes: granularity is applied */
	uint8_t type;     /* the four type bits */
	uint8_t dpl;
	uint8_t size;     /* bytes in the table: 8, or 16 for a system descriptor in long mode */
	bool system;      /* a TSS, an LDT or a gate: neither code nor data */
	bool present;
	bool avl;
	bool long_mode;   /* L: 64-bit code */
	bool db;          /* D/B: 32-bit operands and stack */
	bool granularity; /* G: the limit counts 4096 bytes */
	uint64_t raw[2];  /* as it stands in memory; raw[1] is 0 where size is 8 */
};

/*
 * A gate of an IDT, GDT or LDT, decoded (Intel SDM vol. 3A, 5.8, 6.11 and 6.14.1). Encoding treats
 * `raw` as for struct ka_descriptor.
 */
struct ka_gate {
	uint64_t offset;   /* of the handler; 0 in a task gate */
	uint16_t selector;
	uint8_t type;      /* the four type bits */
	uint8_t dpl;
	uint8_t ist;       /* interrupt stack table slot, 64-bit form only */
	uint8_t params;    /* parameters that a 16- or 32-bit call gate copies */
	uint8_t size;      /* bytes in the table: 8 or 16 */
	bool present;
	uint64_t raw[2];
};

enum { KA_GDT_MAX = 8192, KA_IDT_MAX = 256 };

/* The form that the vCPU uses: 16-byte gates and system descriptors. */
bool ka_long_mode(const struct ka_registers *registers);

/* Pure. `long_mode`: the table belongs to a CPU in long mode. -EMSGSIZE if `len` is too short. */
int ka_descriptor_decode(const void *bytes, size_t len, bool long_mode,
			 struct ka_descriptor *ret_descriptor);
int ka_gate_decode(const void *bytes, size_t len, bool long_mode, struct ka_gate *ret_gate);
/* Pure. Writes `size` bytes. -EINVAL if a field does not fit its bits or the limit cannot be
 * expressed with this granularity, -EMSGSIZE if `len` is too short. */
int ka_descriptor_encode(const struct ka_descriptor *descriptor, void *bytes, size_t len);
int ka_gate_encode(const struct ka_gate *gate, void *bytes, size_t len);
/* Short constant names: "code64", "data", "tss64 busy", "interrupt gate", "null", "reserved". */
const char *ka_descriptor_type_name(const struct ka_descriptor *descriptor);
const char *ka_gate_type_name(const struct ka_gate *gate);

/*
 * The GDT of a vCPU: descriptor[i] is the one of selector i << 3; the slot after a 16-byte one has
 * size 0. At most `max`; *ret_count is what GDTR's limit gives, cut to `max`.
 */
int ka_gdt_read(struct ka_vm *vm, unsigned int vcpu, struct ka_descriptor *descriptors, size_t max,
		size_t *ret_count);
int ka_gdt_write(struct ka_vm *vm, unsigned int vcpu, unsigned int index,
		 const struct ka_descriptor *descriptor);
int ka_idt_read(struct ka_vm *vm, unsigned int vcpu, struct ka_gate *gates, size_t max,
		size_t *ret_count);
int ka_idt_write(struct ka_vm *vm, unsigned int vcpu, unsigned int vector,
		 const struct ka_gate *gate);

/* ---- requests ------------------------------------------------------------------------------ */

/*
 * The paper's request and finish queues: a request is filed, a vCPU of the VM serves it in passing,
 * on its own thread where KVM has just left the guest (vmexit) or is about to enter it (vcpu_load),
 * and its result is taken by id. Memory and registers are then those of one moment, at which that
 * vCPU does not run. It needs the module kvmbpf_helper. What no vCPU serves until its deadline
 * (idle or paused guest), or cannot serve (a page that the host has swapped out), and everything
 * where that module is not, the library serves from process context when the result is asked for:
 * the paper waits for the guest to be scheduled, this does not.
 */

enum {
	KA_REQUESTS_MAX = 8192,          /* in flight on a host */
	KA_REQUEST_LEN_MAX = 256 << 10,  /* bytes of a read */
	KA_REQUEST_TABLE_MAX = 64 << 10, /* bytes of a GDT or IDT */
	KA_DEADLINE_MS = 100,
	KA_ANY_VCPU = -1,
};

enum ka_request_kind {
	/* Memory at a GVA: in the address space `paging`, or for `paging` NULL in the one of the
	 * vCPU that serves it (the paper's), and then at most 4096 bytes. */
	KA_REQUEST_GVA,
	KA_REQUEST_GPA,
	KA_REQUEST_REGISTERS,
	/* The table's bytes, as far as its limit and `len` go, with the registers of the vCPU. */
	KA_REQUEST_GDT,
	KA_REQUEST_IDT,
};

struct ka_request {
	enum ka_request_kind kind;
	int vcpu;                       /* which is to serve it, by KVM's vcpu_id; or KA_ANY_VCPU */
	const struct ka_paging *paging; /* copied */
	uint64_t address;
	/* The caller's, until the result was taken or the VM is closed; written to by any
	 * ka_submit() and ka_finish_get() on this host. */
	void *buf;
	size_t len;
	unsigned int deadline_ms;       /* from now on; 0: KA_DEADLINE_MS */
};

enum ka_served { KA_SERVED_VMEXIT, KA_SERVED_VCPU_LOAD, KA_SERVED_PROCESS };

struct ka_result {
	uint64_t id;
	size_t len;                    /* bytes in `buf` */
	uint64_t time_ns;              /* CLOCK_MONOTONIC, when it was served (its last part) */
	enum ka_served served;
	int vcpu;                      /* that served it, or whose registers these are; KA_ANY_VCPU
					* for memory read from process context */
	struct ka_registers registers; /* KA_REQUEST_REGISTERS, _GDT and _IDT */
};

/*
 * Files a request and does not wait. Reads of more than 4096 bytes are served in parts, each at a
 * moment of its own. Ids rise and are never used again within a ka_host; results come in any order.
 * The first request on a host loads programs that hang on KVM's exits, if the module is there. From
 * a VM's first request until ka_close() its struct kvm is kept, but neither its memory nor the VMM.
 * Errors: -EINVAL; -ESRCH, no such vCPU; -ENOBUFS, KA_REQUESTS_MAX are in flight: take results;
 * -ENOMEM; -EOWNERDEAD.
 */
int ka_submit(struct ka_vm *vm, const struct ka_request *request, uint64_t *ret_id);
/*
 * Takes the result of a request; waits for it for `timeout_ms`, but not longer than its deadline
 * (and -1: just as long). Errors: -ENOENT, none of this VM with that id is in flight, or it was
 * taken; -ETIMEDOUT, not served yet: ask again. All others are the request's own end, as of
 * ka_gva_read() and ka_register_read(); -EOWNERDEAD where the VM has ended.
 */
int ka_finish_get(struct ka_vm *vm, uint64_t id, int timeout_ms, struct ka_result *ret_result);
/* "vmexit", "vcpu_load", "process". */
const char *ka_served_name(enum ka_served served);

/* ---- symbols ------------------------------------------------------------------------------- */

enum { KA_BUILD_ID_MAX = 41 }; /* lower-case hex, and NUL */

/*
 * Loads the symbols of a kernel: a vendor's vmlinuz as packaged, a vmlinux with a symbol table or
 * kallsyms inside, System.map, or the text of /proc/kallsyms; told apart by content. Blocks on the
 * file; a packaged kernel takes most of a second to unpack. Besides the errors of open(2):
 * -ENOEXEC, none of these formats; -EBADMSG, damaged; -ENODATA, the stub that Debian packages as
 * System.map; -EPERM, /proc/kallsyms with its addresses hidden; -ENOMSG, an ELF file without
 * symbols; -EPROTONOSUPPORT, compressed or laid out in a way that is not known; -EFBIG.
 */
int ka_symbols_load(const char *path, struct ka_symbols **ret_symbols);
/*
 * The symbols of the kernel that runs in the guest, from its own memory: no file is needed. Where
 * LSTAR and the exception gates lead tells the physical place of the kernel's text; the page that
 * begins with `OSRELEASE=` (vmcoreinfo) must agree with it, and names the KASLR slide, the kernel's
 * page tables, and since 6.0 its kallsyms tables; in older kernels those are found by their
 * structure. Taken only if ka_kernel_find() finds this guest with them. Addresses are link-time
 * ones, as from a file. All of it is the guest's word: an attacker in the guest's kernel can make
 * it lie about names, so a file outranks it.
 *
 * Blocks: looks at the first bytes of each resident page of the guest (about 0.3 µs each), nearest
 * to the kernel first, for at most a second; then parses (about 0.2 s). Not for each cycle.
 * Errors: -EAGAIN, not up yet, or the second is over and the next call goes on from there (two
 * searches in vain are waited out so, before one by structure, of some 64 MiB and a second);
 * -ENODATA, no Linux kernel found, or a 32-bit one.
 */
int ka_symbols_from_guest(struct ka_vm *vm, struct ka_symbols **ret_symbols);
/*
 * Which build the guest's kernel says that it is, by the same page and nothing else: for whoever has
 * the symbols of that build already. The guest's word until ka_kernel_find() agrees with them.
 * Blocks as long for the page, and parses nothing. Errors as above; -ENODATA also of a kernel whose
 * page names no build (before 5.10).
 */
int ka_build_id_from_guest(struct ka_vm *vm, char ret_build_id[static KA_BUILD_ID_MAX]);
void ka_symbols_free(struct ka_symbols *symbols);
/* One sentence for what ka_symbols_load() returned. */
const char *ka_symbols_error(int err);

/* Link-time address. -ENOENT; -ENOTUNIQ if the name stands at several addresses. */
int ka_symbols_find(const struct ka_symbols *symbols, const char *name, uint64_t *ret_address);
/* Nearest symbol at or below a link-time address within the image; NULL outside of it. Lives as
 * long as `symbols`. */
const char *ka_symbols_name(const struct ka_symbols *symbols, uint64_t address,
			    uint64_t *ret_offset);
/* GNU build-id as lower-case hex, or "" where the file has none. Lives as long as `symbols`. */
const char *ka_symbols_build_id(const struct ka_symbols *symbols);
/* "6.1.0-56-amd64", or "" where the file does not say. */
const char *ka_symbols_release(const struct ka_symbols *symbols);
/* "vmlinuz", "vmlinux", "System.map", "kallsyms", "guest", "reference". */
const char *ka_symbols_source(const struct ka_symbols *symbols);
/* The guest's page that ka_symbols_from_guest() went by; -ENODATA: none, found by structure. */
int ka_symbols_vmcoreinfo(const struct ka_symbols *symbols, uint64_t *ret_gpa);
/* How many symbols, those of the same address counted each. */
size_t ka_symbols_count(const struct ka_symbols *symbols);
bool ka_symbols_64bit(const struct ka_symbols *symbols);

struct ka_symbol_difference {
	char name[64];             /* cut to fit */
	uint64_t address, other;   /* link-time: of `symbols`, of `others` */
};

/*
 * Symbols of the kernel image that stand elsewhere in `others` than in `symbols`, where both have
 * them: a guest that lies about its own. Returns how many, and fills at most `max`.
 */
size_t ka_symbols_compare(const struct ka_symbols *symbols, const struct ka_symbols *others,
			  struct ka_symbol_difference *differences, size_t max);

/*
 * Where the guest's kernel lies, and under what name. Plain data: copy it freely. `symbols` is
 * borrowed.
 */
struct ka_kernel {
	const struct ka_symbols *symbols;
	/* Lower-case hex, read from guest memory; "" if not known. */
	char build_id[KA_BUILD_ID_MAX];
	char release[65];
	uint64_t slide;          /* add to a link-time address (KASLR) */
	uint64_t base;           /* GVA of _text */
	uint64_t text_start, text_end;  /* GVA of _stext, _etext */
	uint64_t image_end;      /* GVA of _end */
	/* Physical place of the image: GPA = GVA - 0xffffffff80000000 + phys_base, in 32-bit
	 * kernels GVA - 0xc0000000 + phys_base. */
	int64_t phys_base;
	struct ka_paging paging; /* a kernel's own address space: init_top_pgt */
	uint8_t votes;           /* entry points (LSTAR, exception gates) that agree on `slide` */
	bool build_id_read;      /* from the guest's ELF notes; else it is the symbol file's */
};

/*
 * Finds the kernel of a running guest among `symbols` (count may be 0): KASLR from LSTAR and the
 * exception gates of the IDT, of which most must agree, so that one hooked entry does not mislead;
 * then the build-id from the guest's memory, which must be the file's. A file without a build-id
 * (System.map) is taken where the addresses fit.
 * Errors: -EAGAIN (not up yet), -ENODATA (no file fits this guest), -EOPNOTSUPP.
 */
int ka_kernel_find(struct ka_vm *vm, const struct ka_symbols *const *symbols, size_t count,
		   struct ka_kernel *ret_kernel);
/* GVA of a symbol in that guest. */
int ka_kernel_symbol(const struct ka_kernel *kernel, const char *name, uint64_t *ret_gva);
/* Symbol of a GVA in that guest: NULL outside the kernel image. */
const char *ka_kernel_name(const struct ka_kernel *kernel, uint64_t gva, uint64_t *ret_offset);
/* Reads a kernel object by its symbol (XenAccess: xa_access_kernel_symbol). */
int ka_symbol_read(struct ka_vm *vm, const struct ka_kernel *kernel, const char *name, void *buf,
		   size_t len);

/* ---- code ----------------------------------------------------------------------------------- */

enum ka_insn_kind {
	KA_INSN_OTHER,
	KA_INSN_NOP,  /* NOP and NOPL, as the kernel fills with */
	KA_INSN_CALL, /* this one and the next two: to an address that is relative to them */
	KA_INSN_JMP,
	KA_INSN_JCC,
	KA_INSN_INT3,
};

struct ka_insn {
	uint64_t target; /* GVA that a branch leads to; 0: none */
	uint8_t length;  /* bytes */
	uint8_t kind;    /* enum ka_insn_kind */
};

/*
 * Pure. The instruction of 64-bit code that begins at `address` with these bytes (Intel SDM vol. 2,
 * chapter 2 and appendix A). Not every one that has an end is valid. -EBADMSG: none that ends in
 * `len`.
 */
int ka_insn_decode(const void *bytes, size_t len, uint64_t address, struct ka_insn *ret_insn);
/* GVA of the first symbol behind `gva`, where what begins there ends. -ENOENT. */
int ka_kernel_symbol_end(const struct ka_kernel *kernel, uint64_t gva, uint64_t *ret_end);

/* ---- types ---------------------------------------------------------------------------------- */

/*
 * Layouts of the structs of a kernel, from its BTF. Immutable, may be shared between threads.
 */
struct ka_types;

/*
 * From the BTF that the guest's kernel keeps in its memory: the guest's word, checked for bounds
 * only. Blocks for some 10 ms (copies 4 to 8 MiB): once a boot, not for each cycle.
 * Errors: -ENODATA, this kernel has none, or the symbols do not name it; -EBADMSG, damaged.
 */
int ka_types_from_guest(struct ka_vm *vm, const struct ka_kernel *kernel,
			struct ka_types **ret_types);
void ka_types_free(struct ka_types *types);
size_t ka_types_count(const struct ka_types *types);

struct ka_member {
	uint32_t offset; /* bytes, from the start of the struct */
	uint32_t size;   /* bytes; of an array, of all its elements; 0: not known */
};

/*
 * Where a member lies: "list.next", "mem[0].base"; unnamed structs and unions on the way are left
 * out of the path. Takes some microseconds.
 * Errors: -ENOENT, no such struct or member, or a bit field; -EINVAL, no path; -EBADMSG, the BTF
 * contradicts itself.
 */
int ka_types_member(const struct ka_types *types, const char *name, const char *path,
		    struct ka_member *ret_member);
/* Bytes of a struct or union. -ENOENT. */
int ka_types_size(const struct ka_types *types, const char *name, uint32_t *ret_size);

/* ---- modules -------------------------------------------------------------------------------- */

enum { KA_MODULE_NAME_MAX = 64, KA_MODULES_MAX = 4096 };

enum ka_module_state { KA_MODULE_LIVE, KA_MODULE_COMING, KA_MODULE_GOING, KA_MODULE_UNFORMED };

struct ka_module {
	uint64_t gva;                  /* of its struct module */
	char name[KA_MODULE_NAME_MAX]; /* the guest's bytes: escape them */
	uint32_t state;                /* enum ka_module_state, where the guest does not lie */
	uint64_t taints;               /* bits of TAINT_*, include/linux/panic.h */
	uint64_t text_start;           /* GVA */
	uint64_t init_start;           /* of what runs once, at load; 0 once that is gone */
	uint32_t text_size, init_size; /* bytes */
	uint32_t views;                /* enum ka_module_view: which of them have it */
};

/* The kernel's own records of its modules. A live module is in all of them, unless it hides. */
enum ka_module_view {
	KA_MODULE_LISTED = 1u << 0,   /* the list that lsmod(8) shows */
	KA_MODULE_IN_TREE = 1u << 1,  /* the tree in which the kernel looks up addresses */
	KA_MODULE_IN_SYSFS = 1u << 2, /* /sys/module */
};

/* Where in the kernel's structs all that lies: small, for as long as that kernel runs. */
struct ka_module_layout;
/* -ENODATA: these types do not tell. The types may go afterwards. */
int ka_module_layout_new(const struct ka_kernel *kernel, const struct ka_types *types,
			 struct ka_module_layout **ret_layout);
void ka_module_layout_free(struct ka_module_layout *layout);

/*
 * The modules of the guest's kernel: first those of its list, newest first, then those that only
 * another view has. *ret_views: the views that this kernel has; one that it lacks says nothing.
 * Modules come and go while they are read: believe what two calls say of a live one.
 * Errors: -EAGAIN, the records changed while they were read, three times, or are bent; -ENOBUFS,
 * more than `max`; -ENODATA, no such list.
 */
int ka_modules_read(struct ka_vm *vm, const struct ka_kernel *kernel,
		    const struct ka_module_layout *layout, struct ka_module *modules, size_t max,
		    size_t *ret_count, uint32_t *ret_views);
/* The module whose text, or initial text, has this address, or NULL. */
const struct ka_module *ka_module_at(const struct ka_module *modules, size_t count, uint64_t gva);

/* ---- what modules should look like ----------------------------------------------------------- */

/* A module's file as its vendor built it. */
struct ka_module_image;

/*
 * From a .ko as packaged, also compressed (.xz, .zst, .gz). Errors: -errno of the file; -ENOEXEC, no
 * module; -EOPNOTSUPP, not of x86-64; -ENODATA, without a build-id; -EBADMSG, damaged.
 */
int ka_module_image_load(const char *path, struct ka_module_image **ret_image);
/* From the bytes of an unpacked one, which are copied. */
int ka_module_image_create(const void *bytes, size_t len, struct ka_module_image **ret_image);
void ka_module_image_free(struct ka_module_image *image);
/* All of these live as long as the image. */
const char *ka_module_image_name(const struct ka_module_image *image);
const char *ka_module_image_release(const struct ka_module_image *image); /* of its kernel */
const char *ka_module_image_build_id(const struct ka_module_image *image); /* lower-case hex */
const void *ka_module_image_bytes(const struct ka_module_image *image, size_t *ret_len);

/* Parts of a module's memory, in the order in which the kernel lays them out. */
enum ka_module_region {
	KA_MODULE_TEXT,
	KA_MODULE_RODATA,
	KA_MODULE_RO_AFTER_INIT,
	KA_MODULE_DATA,
	KA_MODULE_REGIONS,
};

/* Where a module lies in a guest. */
struct ka_module_place {
	uint64_t base[KA_MODULE_REGIONS]; /* GVA; before Linux 6.4 all follow the first */
	uint64_t percpu;                  /* of its per-CPU data, as an offset; 0: it has none */
	uint32_t text_size;               /* bytes */
	bool single;                      /* before Linux 6.4 */
};

/* As struct ka_module_layout. */
struct ka_place_layout;
int ka_place_layout_new(const struct ka_kernel *kernel, const struct ka_types *types,
			struct ka_place_layout **ret_layout);
void ka_place_layout_free(struct ka_place_layout *layout);
/* Where the module is whose struct lies at `gva`, by its image. The guest's word. */
int ka_module_place_read(struct ka_vm *vm, const struct ka_kernel *kernel,
			 const struct ka_place_layout *layout, const struct ka_module_image *image,
			 uint64_t gva, struct ka_module_place *ret_place);
/*
 * GVA of the build-id's note, of 16 bytes before the 20 of the build-id itself, and of a symbol that
 * other modules may use. -ENOENT.
 */
int ka_module_note(const struct ka_module_image *image, const struct ka_module_place *place,
		   uint64_t *ret_gva);
int ka_module_symbol(const struct ka_module_image *image, const struct ka_module_place *place,
		     const char *name, uint64_t *ret_gva);

/* ---- tasks ---------------------------------------------------------------------------------- */

enum { KA_TASK_COMM_MAX = 16, KA_TASKS_MAX = 1 << 16 };

/*
 * The kernel's own records of its tasks. A task is in the first two, unless it hides; the others
 * show who runs, so that one that is in neither is seen.
 */
enum ka_task_view {
	KA_TASK_LISTED = 1u << 0,   /* the lists of processes and of their threads */
	KA_TASK_NUMBERED = 1u << 1, /* the process identifiers of the first namespace */
	KA_TASK_GROUPED = 1u << 2,  /* control groups, where all tasks are that have not ended */
	KA_TASK_QUEUED = 1u << 3,   /* on a CPU, or waiting for one: not real-time tasks that wait */
};

struct ka_task {
	uint64_t gva;                /* of its struct task_struct */
	uint32_t pid, tgid, ppid;    /* a thread's, its process's, that one's parent's */
	uint32_t uid;
	uint32_t flags;              /* PF_*, include/linux/sched.h */
	uint32_t exit_state;         /* EXIT_*, there; 0: it has not ended */
	uint32_t views;              /* enum ka_task_view: which of them have it */
	char comm[KA_TASK_COMM_MAX]; /* the guest's bytes: escape them */
};

/* As struct ka_module_layout. */
struct ka_task_layout;
int ka_task_layout_new(const struct ka_kernel *kernel, const struct ka_types *types,
		       struct ka_task_layout **ret_layout);
void ka_task_layout_free(struct ka_task_layout *layout);

/*
 * The tasks of the guest, threads included, by pid; then those that have no identifier. One that is
 * about to end is left out where the first two views differ on it. Tasks come and go while they are
 * read: believe what two calls say of one. *ret_views: the views that this kernel has.
 * Errors: -EAGAIN, the records changed while they were read, three times, or are bent; -ENOBUFS,
 * more than `max`; -ENODATA, no such records.
 */
int ka_tasks_read(struct ka_vm *vm, const struct ka_kernel *kernel,
		  const struct ka_task_layout *layout, struct ka_task *tasks, size_t max,
		  size_t *ret_count, uint32_t *ret_views);

/* ---- eBPF ----------------------------------------------------------------------------------- */

enum {
	KA_BPF_NAME_MAX = 16,
	KA_BPF_TAG_BYTES = 8,
	KA_BPF_TARGET_MAX = 64,
	KA_BPF_PROGRAMS_MAX = 8192,
};

enum ka_bpf_view {
	KA_BPF_NUMBERED = 1u << 0, /* has an identifier, by which bpftool(8) finds it */
	KA_BPF_LINKED = 1u << 1,   /* a link runs it */
	KA_BPF_NAMED = 1u << 2,    /* its code has a name, as /proc/kallsyms shows it */
};

/* Helpers that a program calls, and with which it changes what others see. */
enum ka_bpf_use {
	KA_BPF_WRITES_USER = 1u << 0, /* bpf_probe_write_user: memory of processes */
	KA_BPF_OVERRIDES = 1u << 1,   /* bpf_override_return: results of kernel functions */
};

struct ka_bpf_program {
	uint64_t gva;                   /* of its struct bpf_prog */
	uint32_t id, type, attach_type; /* enum bpf_prog_type, bpf_attach_type */
	uint32_t uid;                   /* of who loaded it */
	uint32_t insns;
	uint64_t loaded_ns;             /* of the guest's time since it booted */
	uint64_t references;            /* 0: it is being unloaded */
	uint8_t tag[KA_BPF_TAG_BYTES];
	char name[KA_BPF_NAME_MAX];     /* the guest's bytes: escape them */
	uint32_t views;                 /* enum ka_bpf_view: which of them have it */
	uint32_t link;                  /* enum bpf_link_type, of one that runs it; with KA_BPF_LINKED */
	/*
	 * The function, tracepoint or network device that it is attached to; "": none, or not known.
	 * The guest's bytes.
	 */
	char target[KA_BPF_TARGET_MAX];
};

/* As struct ka_module_layout. */
struct ka_bpf_layout;
int ka_bpf_layout_new(const struct ka_kernel *kernel, const struct ka_types *types,
		      struct ka_bpf_layout **ret_layout);
void ka_bpf_layout_free(struct ka_bpf_layout *layout);
/* The guest's programs, by id. Errors as ka_modules_read(). */
int ka_bpf_read(struct ka_vm *vm, const struct ka_kernel *kernel, const struct ka_bpf_layout *layout,
		struct ka_bpf_program *programs, size_t max, size_t *ret_count);
/*
 * What a program does, of enum ka_bpf_use: reads all of its instructions. -EAGAIN: it is longer than
 * any.
 */
int ka_bpf_uses(struct ka_vm *vm, const struct ka_kernel *kernel, const struct ka_bpf_layout *layout,
		const struct ka_bpf_program *program, uint32_t *ret_uses);
/* "kprobe", "tracing", …; "unknown". */
const char *ka_bpf_type_name(uint32_t type);
/* "tracing", "xdp", …; "unknown". */
const char *ka_bpf_link_name(uint32_t link);

/* ---- code of the kernel ---------------------------------------------------------------------- */

struct ka_code_range {
	uint64_t start, end; /* GVA, whole pages */
	bool writable;       /* of what is mapped: at the same time */
};

/* A walk through the kernel's half of the page tables, kept between calls. */
struct ka_kernel_map;
/* -ENODATA: 32-bit, or without NX, where all can be executed. */
int ka_kernel_map_new(const struct ka_kernel *kernel, struct ka_kernel_map **ret_map);
void ka_kernel_map_free(struct ka_kernel_map *map);
/*
 * Goes on, for at most as many tables; each takes about as long as ka_gpa_read(). *ret_done: it came
 * to the end, and the next call begins anew. Errors also begin anew: as ka_gpa_read(); -ENOBUFS, more
 * ranges or tables than a kernel has.
 */
int ka_kernel_map_walk(struct ka_vm *vm, struct ka_kernel_map *map, size_t tables, bool *ret_done);
/* What can be executed, in order, as far as the walk has come: until the next call. */
const struct ka_code_range *ka_kernel_map_ranges(const struct ka_kernel_map *map, size_t *ret_count);

/* As struct ka_module_layout. */
struct ka_code_layout;
int ka_code_layout_new(const struct ka_kernel *kernel, const struct ka_types *types,
		       struct ka_code_layout **ret_layout);
void ka_code_layout_free(struct ka_code_layout *layout);
/*
 * Where the kernel has recorded that code is: its image, modules, BPF, ftrace's trampolines, kprobes'
 * slots, what brings up CPUs; in order, and they may overlap. The layout is for one thread at a time.
 * Errors as ka_modules_read().
 */
int ka_code_read(struct ka_vm *vm, const struct ka_kernel *kernel, const struct ka_code_layout *layout,
		 struct ka_code_range *ranges, size_t max, size_t *ret_count);
/*
 * Pure. What of `mapped` no range of `owned` (in order) has. Returns how many, and fills at most `max`.
 * Kernels since 6.14 keep free memory for code executable, filled with INT3: it belongs to nobody, too.
 */
size_t ka_code_unowned(const struct ka_code_range *mapped, size_t mapped_count,
		       const struct ka_code_range *owned, size_t owned_count,
		       struct ka_code_range *unowned, size_t max);

/* ---- system call table --------------------------------------------------------------------- */

enum ka_syscall_table_kind { KA_SYSCALL_NATIVE, KA_SYSCALL_IA32 };
enum { KA_SYSCALLS_MAX = 1024 };

struct ka_syscall_table {
	uint64_t gva;          /* of entry 0 */
	uint32_t count;        /* entries */
	uint32_t entry_size;   /* bytes: 8, or 4 in a 32-bit kernel */
};

/*
 * Where the table is: by its symbol; in 32-bit kernels, which export none, by the run of handler
 * addresses in read-only data. -ENODATA: this kernel has none (ia32 on current kernels).
 */
int ka_syscall_table_find(struct ka_vm *vm, const struct ka_kernel *kernel,
			  enum ka_syscall_table_kind kind, struct ka_syscall_table *ret_table);
int ka_syscall_table_read(struct ka_vm *vm, const struct ka_kernel *kernel,
			  const struct ka_syscall_table *table, uint64_t *handlers, size_t max,
			  size_t *ret_count);
int ka_syscall_table_write(struct ka_vm *vm, const struct ka_kernel *kernel,
			   const struct ka_syscall_table *table, unsigned int number,
			   uint64_t handler);

/* ---- what a kernel build should look like -------------------------------------------------- */

struct ka_reference;

enum { KA_SECTIONS_MAX = 64 };

/* Part of a kernel's image, as its vendor built it. */
struct ka_section {
	char name[40];
	uint64_t address;      /* at link time; 0 for what is not loaded */
	const uint8_t *bytes;
	size_t len;
};

/*
 * From the vendor's kernel image alone (a vmlinuz as packaged, or a vmlinux): its text, the lists
 * of places that the kernel patches, its tables and symbols. Blocks for a second. Errors as
 * ka_symbols_load(), and -ENODATA where the image has no build-id.
 */
int ka_reference_derive(const char *path, struct ka_reference **ret_reference);
/* Again from the parts that were kept of one, which are copied. -EBADMSG: they are not sound. */
int ka_reference_create(const char *build_id, const char *release,
			const struct ka_section *sections, size_t count,
			struct ka_reference **ret_reference);
/*
 * The name of the part that holds the symbols. With it alone a reference can be made that finds its
 * kernel, at a fraction of the cost; ka_reference_add() copies to it what was left out. -EBADMSG:
 * too many parts, or one that it has.
 */
#define KA_SECTION_SYMBOLS "symbols"
int ka_reference_add(struct ka_reference *reference, const struct ka_section *sections,
		     size_t count);
void ka_reference_free(struct ka_reference *reference);
/* All of it lives as long as the reference. */
const char *ka_reference_build_id(const struct ka_reference *reference);
const char *ka_reference_release(const struct ka_reference *reference);
const struct ka_symbols *ka_reference_symbols(const struct ka_reference *reference);
const struct ka_section *ka_reference_sections(const struct ka_reference *reference,
					       size_t *ret_count);

/* Handlers at their link-time addresses. -ENODATA: this kernel has no such table. */
int ka_reference_syscalls(const struct ka_reference *reference, enum ka_syscall_table_kind kind,
			  uint64_t *handlers, size_t max, size_t *ret_count);
/*
 * The gate that the kernel's boot leaves at a vector, its handler at the link-time address. A
 * hypervisor may have others above 31, for which the kernel sets what this tells otherwise.
 * -ENODATA: the image does not tell.
 */
int ka_reference_gate(const struct ka_reference *reference, unsigned int vector,
		      struct ka_gate *ret_gate);
/* The GDT that each CPU begins with. -ENODATA. */
int ka_reference_gdt(const struct ka_reference *reference, const uint8_t **ret_bytes,
		     size_t *ret_len);

/* ---- kernel text --------------------------------------------------------------------------- */

/* Why the kernel itself changes its text. */
enum ka_patch_kind {
	KA_PATCH_NONE,
	KA_PATCH_ALTERNATIVE,
	KA_PATCH_PARAVIRT,
	KA_PATCH_RETPOLINE,
	KA_PATCH_RETURN,
	KA_PATCH_CALL,            /* through the thunk that counts calls */
	KA_PATCH_CALL_THUNK,
	KA_PATCH_STATIC_CALL,
	KA_PATCH_STATIC_CALL_TRAMPOLINE,
	KA_PATCH_JUMP_LABEL,
	KA_PATCH_FTRACE,
	KA_PATCH_FTRACE_CALL,     /* in ftrace's own trampolines */
	KA_PATCH_SMP_LOCK,
	KA_PATCH_ENDBR,
	KA_PATCH_RUNTIME_SHIFT,
	KA_PATCH_RUNTIME_MASK,
	KA_PATCH_RUNTIME_POINTER,
	KA_PATCH_RUNTIME_LIMIT,
	KA_PATCH_KINDS,
};

/* "alternative", "ftrace", …; "text" for KA_PATCH_NONE. */
const char *ka_patch_kind_name(enum ka_patch_kind kind);

struct ka_text;

enum { KA_TEXT_DIFFERENCE_BYTES = 16, KA_TEXT_MARGIN = 256, KA_RUNTIME_CONSTANTS_MAX = 32 };

/* What the kernel never puts there. */
struct ka_text_difference {
	uint64_t address;         /* link-time, of the first byte that differs */
	enum ka_patch_kind kind;  /* of the place that it lies in */
	uint32_t len;             /* bytes, of which the first are in these: */
	uint8_t expected[KA_TEXT_DIFFERENCE_BYTES], observed[KA_TEXT_DIFFERENCE_BYTES];
	/* A CALL or JMP that stands there leads to; 0: none does. Link-time, also outside the image. */
	uint64_t target;
};

/*
 * What the guest's kernel has recorded of code that it put into its text by itself: kprobes, with
 * the code that optimized ones jump to, direct calls of ftrace, images of BPF, its modules.
 */
struct ka_tracing;
struct ka_tracing_layout; /* as struct ka_module_layout */
int ka_tracing_layout_new(const struct ka_kernel *kernel, const struct ka_types *types,
			  struct ka_tracing_layout **ret_layout);
void ka_tracing_layout_free(struct ka_tracing_layout *layout);
/*
 * The records at this moment: the guest's word, of which a record that cannot be read explains
 * nothing. Errors: -EOWNERDEAD; -ENOMEM; -ENODATA, a 32-bit kernel.
 */
int ka_tracing_read(struct ka_vm *vm, const struct ka_kernel *kernel,
		    const struct ka_tracing_layout *layout, struct ka_tracing **ret_tracing);
void ka_tracing_free(struct ka_tracing *tracing);

/* A boot of the kernel. Begins zeroed but for `slide`, and `read` where there is one. */
struct ka_text_boot {
	uint64_t slide;
	/* Of KA_PATCH_RUNTIME_*, by their lists in the image: each one for all its places; 0: not seen. */
	uint64_t constant[KA_RUNTIME_CONSTANTS_MAX];
	/*
	 * Reads the guest's memory at a link-time address, also outside of the image: the thunks that
	 * indirect branches are sent through against ITS, ftrace's trampolines, and those that the
	 * calls of a static call agree with. NULL: the former two are differences, the latter are
	 * not looked at.
	 */
	int (*read)(void *ctx, uint64_t address, void *buf, size_t len);
	void *ctx;
	/* What the guest's kernel has recorded of its own doing, read after the bytes that are
	 * compared; NULL: breakpoints of kprobes and calls into images of BPF are differences. */
	const struct ka_tracing *tracing;
};

/*
 * The text of a kernel build with all places that the kernel patches; borrows the reference. Takes
 * a quarter of a second. -ENODATA: no text, no relocations (a vmlinux), or no
 * names of the lists of places (Debian's 32-bit kernels); -EBADMSG: those lists do not fit the text.
 */
int ka_text_create(const struct ka_reference *reference, struct ka_text **ret_text);
/*
 * The text of a guest's kernel as it was just now, where there is no reference: to be held against itself
 * later on, with the places that a kernel can still patch once it runs. `bytes`, from kernel->text_start
 * to kernel->text_end, were read from the guest at a time when the kernel could no longer write to its
 * text, and are the library's from here on, also on failure; `tracing` was read after them, NULL: there
 * is none. Borrows kernel->symbols. Reads the lists of places, a megabyte, in one call each.
 * Errors: -EAGAIN, the kernel is patching just now, or traced by more code than is looked into (65536
 * calls); -ENODATA, a 32-bit kernel, or it does not name its lists; -EBADMSG, they do not fit its text;
 * as ka_gva_read().
 */
int ka_text_from_guest(struct ka_vm *vm, const struct ka_kernel *kernel, uint8_t *bytes,
		       const struct ka_tracing *tracing, struct ka_text **ret_text);
/*
 * Its read-only data, up to what the kernel writes while it starts (ro_after_init): with no place that
 * the kernel patches, so that each byte is as in the image. Borrows the reference. -ENODATA: it has
 * none (an older baseline), or no relocations (a vmlinux).
 */
int ka_rodata_create(const struct ka_reference *reference, struct ka_text **ret_text);
void ka_text_free(struct ka_text *text);
/* Link-time addresses of its first byte and of the one behind it. */
void ka_text_range(const struct ka_text *text, uint64_t *ret_start, uint64_t *ret_end);
/* How many places of a kind it has. */
size_t ka_text_sites(const struct ka_text *text, enum ka_patch_kind kind);

/*
 * Pure. Holds bytes of a guest's text, which begin at a link-time address, against the build: each
 * place that the kernel patches against all that it may put there, all else against the image. Looks
 * for differences in [from, to); KA_TEXT_MARGIN bytes more on both sides, where there is text, let
 * places be judged that reach beyond. Returns how many differ, and fills at most `max`.
 */
size_t ka_text_compare(const struct ka_text *text, struct ka_text_boot *boot, uint64_t address,
		       const uint8_t *bytes, size_t len, uint64_t from, uint64_t to,
		       struct ka_text_difference *differences, size_t max);

/* Finds a symbol that a module takes from another one: its GVA. Nonzero: there is none. */
typedef int (*ka_module_resolve)(void *ctx, const char *name, uint64_t *ret_gva);

/*
 * The text of a module as it should be where it lies, with all places that the kernel patches;
 * borrows `kernel`, which is the text of the kernel that runs there, moved by `slide`. Takes a
 * millisecond for 100 KiB. Its addresses are those of the guest less the slide.
 * Errors: -ENODATA, it needs a symbol that neither the kernel has nor `resolve` knows; -EBADMSG.
 */
int ka_module_text_create(const struct ka_text *kernel, const struct ka_module_image *image,
			  const struct ka_module_place *place, uint64_t slide,
			  ka_module_resolve resolve, void *ctx, struct ka_text **ret_text);

/*
 * The text of a module as it is now, where no image of it is had: as ka_text_from_guest(), from its
 * text_start on, text_size bytes; `kernel_text`, of either kind, is borrowed. Its static calls may lead to
 * any code of modules, as only their names would tell more. Errors as there, with fewer calls.
 */
int ka_module_text_from_guest(struct ka_vm *vm, const struct ka_kernel *kernel,
			      const struct ka_text *kernel_text,
			      const struct ka_place_layout *layout, const struct ka_module *module,
			      uint8_t *bytes, const struct ka_tracing *tracing,
			      struct ka_text **ret_text);

/*
 * Its read-only data likewise, from the first section of them to the last; what is to be compared are the
 * parts below. Errors as above; -ENODATA also if it has none.
 */
int ka_module_rodata_create(const struct ka_text *kernel, const struct ka_module_image *image,
			    const struct ka_module_place *place, uint64_t slide,
			    ka_module_resolve resolve, void *ctx, struct ka_text **ret_text);
/* Of them those which nobody has a reason to write to, by `index` from 0: GVAs. Left out are words that
 * lead to what is gone once the module runs. -ENOENT: no more. */
int ka_module_rodata_part(const struct ka_module_image *image, const struct ka_module_place *place,
			  size_t index, uint64_t *ret_start, uint64_t *ret_end);

/* Library version, "MAJOR.MINOR.PATCH". */
const char *ka_version(void);

#ifdef __cplusplus
}
#endif

#endif
