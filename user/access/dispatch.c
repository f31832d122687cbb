// SPDX-License-Identifier: LGPL-2.1-or-later
/* Turns uevents, timers and the ring buffer into the callbacks of struct ka_host_events. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "bpf/seal.skel.h"
#include "bpf/snapshot.skel.h"
#include "clock.h"
#include "dispatch.h"
#include "registers.h"
#include "seal.h"
#include "writes.h"

/*
 * KVM's create message comes before the VM's file, vCPUs and memslots exist, so the process that it
 * names is scanned again after RETRY, and after twice that and so on up to FULL_SCAN. Then all are,
 * which also finds a VM whose message was lost (the socket's buffer was full).
 */
#define RETRY_NS (50ULL * 1000 * 1000)
#define NS_PER_S (1000ULL * 1000 * 1000)
#define FULL_SCAN_NS (120 * NS_PER_S)
/* Where nobody tells of new ones. */
#define BLIND_SCAN_NS (30 * NS_PER_S)

/* More than the ring buffer holds. Guests can push as fast as it is emptied, so it is left then. */
enum { RECORDS_PER_DISPATCH = 4096, READY_MAX = 16 };

/* What is over a VM's budget comes within a second of what it pushed, and brings no record. */
#define LOST_NS 3000000000ULL

static void record_take(struct ka_host *host, const struct kvmbpf_snapshot_record *record)
{
	struct host_vm *vm = host_vm_by_slot(host, record->slot);
	struct ka_registers registers;

	/* A slot may have changed hands since. */
	if (!vm || vm->kvm != record->state.kvm || vm->inode != record->inode || !vm->handle)
		return;
	if (!host->events->registers_changed)
		return;
	registers_from_state(&record->state, &registers);
	registers_complete(vm->handle, &registers);
	host->events->registers_changed(host->events_ctx, vm->info.key, &registers,
					record->changed);
}

/* libbpf takes the record off the buffer and stops where this fails. */
static int on_change(void *ctx, void *data, size_t size)
{
	struct ka_host *host = ctx;
	const struct kvmbpf_snapshot_record *record = data;

	if (size >= sizeof(*record) && record->header.type == KVMBPF_RECORD_SNAPSHOT)
		record_take(host, record);
	return ++host->records < RECORDS_PER_DISPATCH ? 0 : -E2BIG;
}

/* It was for waking up: ka_sentry_read() says what there is to say. */
static int on_report(void *ctx, void *data, size_t size)
{
	(void)ctx, (void)data, (void)size;
	return 0;
}

static int watch(struct ka_host *host, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(host->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

int dispatch_watch_process(struct ka_host *host, pid_t pid)
{
	int fd = syscall(SYS_pidfd_open, pid, 0), err;

	if (fd < 0)
		return -errno;
	err = watch(host, fd);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

static void arm(struct ka_host *host)
{
	struct itimerspec when = {
		.it_value.tv_sec = host->rescan_ns / NS_PER_S,
		.it_value.tv_nsec = host->rescan_ns % NS_PER_S,
	};

	timerfd_settime(host->timer_fd, 0, &when, NULL);
}

int dispatch_init(struct ka_host *host)
{
	int err;

	host->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	host->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (host->epoll_fd < 0 || host->timer_fd < 0)
		return -errno;
	host->changes = ring_buffer__new(bpf_map__fd(host->snapshot->maps.changes), on_change, host,
					 NULL);
	if (!host->changes)
		return -errno;
	if (host->seals) {
		err = ring_buffer__add(host->changes,
				       bpf_map__fd(host->seals->programs->maps.reports), on_report,
				       host);
		if (err)
			return err;
	}
	err = watch(host, ring_buffer__epoll_fd(host->changes));
	if (!err)
		err = watch(host, host->timer_fd);
	if (err)
		return err;
	host->uevent_fd = uevent_open();
	if (host->uevent_fd < 0) {
		host_feature(host, "uevents", KA_FEATURE_FALLBACK,
			     "no uevents (%s): new VMs are found within %llu s",
			     strerror(-host->uevent_fd), BLIND_SCAN_NS / NS_PER_S);
		host->uevent_fd = -1;
	} else {
		host_feature(host, "uevents", KA_FEATURE_ON,
			     "VMs are seen as they come and go");
		err = watch(host, host->uevent_fd);
	}
	/* Makes the descriptor readable at once: the first dispatch scans. What is young then has not
	 * told us. */
	host->young_all = true;
	host->rescan_ns = 1;
	arm(host);
	return err;
}

void dispatch_deinit(struct ka_host *host)
{
	ring_buffer__free(host->changes);
	if (host->uevent_fd >= 0)
		close(host->uevent_fd);
	if (host->timer_fd >= 0)
		close(host->timer_fd);
	if (host->epoll_fd >= 0)
		close(host->epoll_fd);
}

int ka_host_fd(const struct ka_host *host)
{
	return host->epoll_fd;
}

static void young_add(struct ka_host *host, pid_t pid)
{
	for (size_t i = 0; i < host->young_count; i++)
		if (host->young[i] == pid)
			return;
	if (host->young_count == YOUNG_MAX)
		host->young_all = true;
	else
		host->young[host->young_count++] = pid;
}

/* Those that may have VMs which are not complete yet. */
static int scan_young(struct ka_host *host)
{
	int err = 0;

	if (host->young_all)
		return discover_scan(host, 0);
	for (size_t i = 0; i < host->young_count && !err; i++)
		err = discover_scan(host, host->young[i]);
	return err;
}

/* Processes in which VMs came or went are scanned now, those in which they came later again. */
static int dispatch_uevents(struct ka_host *host)
{
	bool created, any_created = false;
	pid_t gone[YOUNG_MAX], pid;
	size_t gone_count = 0;
	int more, err = 0;

	while ((more = uevent_read(host->uevent_fd, &pid, &created))) {
		/* -ENOBUFS: messages were lost. */
		if (more < 0 || (!created && gone_count == YOUNG_MAX))
			host->young_all = any_created = true;
		if (more < 0)
			break;
		any_created |= created;
		if (created)
			young_add(host, pid);
		else if (gone_count < YOUNG_MAX)
			gone[gone_count++] = pid;
	}
	if (any_created) {
		err = scan_young(host);
		host->rescan_ns = RETRY_NS;
		arm(host);
	}
	for (size_t i = 0; i < gone_count && !err; i++)
		err = discover_scan(host, gone[i]);
	return err;
}

static pid_t process_of(const struct ka_host *host, int pidfd)
{
	for (size_t i = 0; i < host->vm_count; i++)
		if (host->vms[i]->pidfd == pidfd)
			return host->vms[i]->info.pid;
	return 0;
}

static int dispatch_timer(struct ka_host *host)
{
	const uint64_t most_ns = host->uevent_fd < 0 ? BLIND_SCAN_NS : FULL_SCAN_NS;
	bool full = host->rescan_ns >= most_ns;
	uint64_t expirations;
	int err;

	if (read(host->timer_fd, &expirations, sizeof(expirations)) != sizeof(expirations))
		return 0;
	host->young_all |= full;
	host->rescan_ns = host->rescan_ns < RETRY_NS ? RETRY_NS : host->rescan_ns * 2;
	if (host->rescan_ns > most_ns)
		host->rescan_ns = most_ns;
	arm(host);
	err = scan_young(host);
	if (full) {
		host->young_count = 0;
		host->young_all = false;
	}
	return err;
}

/* A process that ended: a scan misses its VMs, and closes what is readable here. */
static int dispatch_end(struct ka_host *host, int pidfd)
{
	pid_t pid = process_of(host, pidfd);

	return pid ? discover_scan(host, pid) : 0;
}

/* One system call while nothing has happened. */
static int dispatch_ready(struct ka_host *host)
{
	struct epoll_event ready[READY_MAX];
	int count = epoll_wait(host->epoll_fd, ready, READY_MAX, 0), err = 0;

	for (int i = 0; i < count && !err; i++) {
		int fd = ready[i].data.fd;

		if (fd == host->uevent_fd)
			err = dispatch_uevents(host);
		else if (fd == host->timer_fd)
			err = dispatch_timer(host);
		else
			err = dispatch_end(host, fd);
	}
	return err;
}

/* The next that is not announced, or not as it is known now. */
static struct host_vm *unannounced(struct ka_host *host)
{
	for (size_t i = 0; i < host->vm_count; i++)
		if (host->vms[i]->ready &&
		    (!host->vms[i]->announced || host->vms[i]->identified))
			return host->vms[i];
	return NULL;
}

static void announce_vm(struct ka_host *host, struct host_vm *vm)
{
	const struct ka_vm_info info = vm->info;
	bool known = vm->announced;

	vm->announced = true;
	vm->identified = false;
	if (!known && host->events->vm_appeared)
		host->events->vm_appeared(host->events_ctx, &info);
	if (known && host->events->vm_identified)
		host->events->vm_identified(host->events_ctx, &info);
}

/* A callback may scan, and so change the table: it is looked at afresh after each. */
static void announce(struct ka_host *host)
{
	struct host_vm *vm;

	while (host->news && (vm = unannounced(host)))
		announce_vm(host, vm);
	host->news = false;
	while (host->gone_count) {
		uint64_t key = host->gone[--host->gone_count];

		if (host->events->vm_gone)
			host->events->vm_gone(host->events_ctx, key);
	}
}

static void report_dropped(struct ka_host *host, struct host_vm *vm)
{
	struct kvmbpf_budget budget;
	uint64_t before = vm->dropped;

	if (bpf_map_lookup_elem(bpf_map__fd(host->snapshot->maps.budgets), &vm->kvm, &budget))
		return;
	vm->dropped = budget.dropped;
	if (vm->dropped != before)
		host->events->changes_lost(host->events_ctx, vm->info.key, vm->dropped - before);
}

static void report_lost(struct ka_host *host)
{
	struct ka_counters counters;

	if (!host->events->changes_lost || ka_host_counters(host, &counters))
		return;
	if (counters.ringbuf_lost != host->lost_reported)
		host->events->changes_lost(host->events_ctx, 0,
					   counters.ringbuf_lost - host->lost_reported);
	host->lost_reported = counters.ringbuf_lost;
	if (counters.dropped == host->dropped_reported)
		return;
	host->dropped_reported = counters.dropped;
	for (size_t i = 0; i < host->vm_count; i++)
		report_dropped(host, host->vms[i]);
}

static int dispatch(struct ka_host *host, const struct ka_host_events *events, void *ctx, bool all)
{
	int err, changes;

	host->events = events;
	host->events_ctx = ctx;
	host->records = 0;
	changes = ring_buffer__consume(host->changes);
	if (changes == -E2BIG)
		changes = RECORDS_PER_DISPATCH;
	err = writes_dispatch(host);
	if (!err && all)
		err = dispatch_ready(host);
	announce(host);
	if (changes > 0)
		host->changes_ns = now_ns();
	if (host->changes_ns && now_ns() - host->changes_ns < LOST_NS)
		report_lost(host);
	host->events = NULL;
	return err ? err : changes < 0 ? changes : 0;
}

int ka_host_dispatch(struct ka_host *host, const struct ka_host_events *events, void *ctx)
{
	return dispatch(host, events, ctx, true);
}

int ka_host_dispatch_pushed(struct ka_host *host, const struct ka_host_events *events, void *ctx)
{
	return dispatch(host, events, ctx, false);
}
