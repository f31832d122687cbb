/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A host as this library holds it: loaded programs, and every VM that was found. */
#ifndef KVMACCESS_HOST_H
#define KVMACCESS_HOST_H

#include <linux/types.h>
#include "kvmaccess.h"
#include "kvmbpf/records.h"
#include "push.h"
#include "vmm.h"
#include "window.h"

struct discover_bpf;
struct snapshot_bpf;
struct writes_bpf;
struct requests;
struct seals;
struct batch;
struct request_queue;
struct ring_buffer;

enum { NO_SLOT = -1, YOUNG_MAX = 16 };

struct host_vcpu {
	uint64_t vcpu;        /* address of struct kvm_vcpu */
	unsigned int id;
	int slot;             /* in map vcpus; NO_SLOT while nobody watches it */
};

/* A VM that was found. Lives in the host's table until a scan misses it. What each look needs comes
 * first. */
struct host_vm {
	uint64_t kvm;          /* address of struct kvm */
	uint64_t generation;
	int64_t clock_offset;  /* its vCPUs' states have the same */
	size_t vcpu_count;
	struct host_vcpu *vcpus;        /* by id */
	size_t memslot_count;
	struct ka_memslot *memslots;    /* by GPA */
	struct windows windows;         /* its memory, as far as it is mapped here */
	struct vmm vmm;                 /* and how else it is read */
	struct ka_vm_info info;
	uint64_t start_boot_ns;
	int pidfd;             /* of its process, or -1; in the host's epoll */
	uint32_t inode;        /* of its folder in debugfs; 0: none */
	bool seen;             /* by the scan under way */
	bool ready;            /* has vCPUs and memory */
	bool announced;        /* vm_appeared() was called */
	bool identified;       /* more is known of it than was announced */
	uint64_t identify_until_ns; /* CLOCK_MONOTONIC: not asked again who it is after that */
	uint64_t dropped;      /* pushes over its budget that were told */
	struct ka_vm *handle;           /* the first that has it open, or NULL */
	size_t queue_count;
	struct request_queue *queues;   /* in the kernel; requests.c */
};

struct ka_host {
	struct ka_probe probe;
	struct discover_bpf *discover;
	struct snapshot_bpf *snapshot;
	bool helper;                    /* its programs call the module kvmbpf_helper */
	struct batch *batch;            /* of the reads of all VMs */
	struct direct *direct;          /* how they are read; NULL: by process_vm_readv(2) only */
	struct seals *seals;            /* NULL: this host has none */
	bool map_ram;                   /* maps the RAM that VMMs share */
	uint8_t uret_slots[KVMBPF_URET_MSRS]; /* VMX */
	struct writes_bpf *writes;      /* NULL without the module */
	struct ring_buffer *writes_ring;
	unsigned int write_records;     /* taken from it in this dispatch */
	struct requests *requests;      /* NULL until something was requested */
	struct bpf_link *discover_link;
	struct push push;               /* of the snapshot's programs */
	struct kvmbpf_vcpu *states;     /* map vcpus, memory-mapped */
	size_t states_size;
	struct kvmbpf_pull *pulls;      /* map pulls, memory-mapped */
	int pull_fd;                    /* the program that reads what stands there */
	int pin_fd;                     /* of the bpffs directory, which is locked while it is open */
	uint32_t slot_count;
	uint8_t *slot_used;             /* one byte a slot */
	struct ring_buffer *changes;
	unsigned int records;           /* taken from it in this dispatch */
	uint64_t changes_ns;            /* when the last pushes came, CLOCK_MONOTONIC */
	uint64_t lost_reported, dropped_reported;
	int epoll_fd;
	int uevent_fd;
	int timer_fd;                   /* retries and the rare full scan */
	uint64_t rescan_ns;             /* the timer's present period */
	pid_t young[YOUNG_MAX];         /* processes that created VMs, to be scanned again */
	size_t young_count;
	bool news;                      /* a VM may be ready, or better known, that was not announced */
	bool young_all;                 /* scan all: more of them, or they are not known */
	uint64_t *gone;                 /* keys of announced VMs that ended, not yet told */
	size_t gone_count;
	uint64_t next_key;
	size_t vm_count;
	struct host_vm **vms;
	const struct ka_host_events *events;  /* during a dispatch */
	void *events_ctx;
};

/* Many VMs that were started together are looked at one after the other: of a period a part of its last
 * quarter, by process. */
static inline uint64_t host_spread_ns(const struct host_vm *vm, uint64_t period_ns)
{
	return period_ns - period_ns / 4 * ((uint64_t)vm->info.pid % 64) / 64;
}

enum ka_vendor host_vendor(void);
/* Whether the kernel, or a module of it, has a type or function: BTF_KIND_*. */
bool host_kernel_has(const char *module, const char *name, unsigned int kind);

/* Registers come from the VMCS, at exits: with a vCPU's last one, a pull can only say that they
 * still stand. */
static inline bool host_reads_vmcs(const struct ka_host *host)
{
	return host->probe.vendor == KA_VENDOR_VMX && host->helper;
}

/* discover.c: scans one process (pid > 0) or all (0), and brings the table up to date. VMs that
 * ended are passed to host_vm_gone(). */
int discover_scan(struct ka_host *host, pid_t pid);
struct host_vm *host_vm_by_key(const struct ka_host *host, uint64_t key);
struct host_vm *host_vm_by_slot(const struct ka_host *host, uint32_t slot);
void host_vms_free(struct ka_host *host);
/* vm.c: tells the handles, frees the slots. */
void host_vm_gone(struct ka_host *host, struct host_vm *vm);
/* vm.c: gives new vCPUs of an opened VM their slots. */
int host_vm_watch(struct ka_host *host, struct host_vm *vm);

/* uevent.c: KVM's messages about VMs created and destroyed. */
int uevent_open(void);
/* Next message: 1 with the pid and what happened, 0 when none is left, or -errno. */
int uevent_read(int fd, pid_t *ret_pid, bool *ret_created);

/* host.c */
/* Has the programs read the vCPUs in the first entries of `pulls`. */
int host_pull(struct ka_host *host, unsigned int count);
void host_feature(struct ka_host *host, const char *name, enum ka_feature_state state,
		  const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
