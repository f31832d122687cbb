// SPDX-License-Identifier: LGPL-2.1-or-later
/* Runs the checks of all VMs on one thread, driven by sd-event. */
#include "monitor.h"

#include "action.h"
#include "cleanup.h"
#include "clock.h"
#include "event.h"
#include "guest.h"
#include "health.h"
#include "kept.h"
#include "log.h"
#include "outputs.h"
#include "privileges.h"
#include "publish.h"
#include "report.h"
#include "schedule.h"
#include "sentries.h"
#include "sinks/sinks.h"
#include "store.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <unistd.h>

enum {
	TIMER_ACCURACY_US = 1000,
	PENDING_MAX = 16384,
	DRAIN_MS = 5000,
	ONCE_CYCLES = 20,
};

static const uint64_t health_ns = 60 * NS_PER_S;
/* Between two looks for a kernel module that comes late. */
static const uint64_t module_ns = 10 * NS_PER_S;
/* What is done once a second waits this long for guests to be due, and is done along with them. */
static const uint64_t tick_ns = NS_PER_S - NS_PER_S / 10, tick_late_ns = NS_PER_S / 5;
/* What was pushed over a VM's budget is told of a moment later only. */
static const uint64_t still_ns = 4 * NS_PER_S;
/* What was pushed waits no longer than this for guests that take their time. */
static const uint64_t dispatch_ns = 5 * NS_PER_MS;
static const char pin_path[] = "/sys/fs/bpf/kvmbpf";
static const char *const pin_paths[] = { pin_path, "/sys/fs/bpf/kvmbpf/maps",
					 "/sys/fs/bpf/kvmbpf/progs", NULL };

/* What ka_host_dispatch() tells is worked on after it returned: it is not to be called back into.
 */
struct pending {
	enum {
		PENDING_APPEARED,
		PENDING_GONE,
		PENDING_IDENTIFIED,
		PENDING_PUSHED,
		PENDING_WRITTEN,
		PENDING_STOPPED,
		PENDING_WRITES_LOST,
	} kind;
	uint64_t key;
	union {
		struct {
			uint32_t changed;
			struct ka_registers registers;
		} pushed;
		struct ka_write write;
		struct {
			uint64_t gpa;
			enum ka_stop_reason reason;
		} stopped;
		uint64_t lost;
	};
};

struct monitor {
	const struct options *options;
	struct options *reloaded; /* the same, if they are not those of the start */
	struct first_looks first_looks;
	struct watch watch;
	struct event_stream stream;
	struct health health;
	struct metrics metrics;
	struct publish *publish;
	struct actions *actions;
	struct kept kept;
	bool may_write; /* to guests, to restore what policies say */
	struct ka_host *host;
	struct store *store;
	struct outputs *outputs;
	sd_event *event;
	sd_event_source *host_source, *writes_timer, *soon_timer;
	const struct ka_symbols **symbols;
	struct schedule schedule;
	struct sentries sentries;
	struct guest **guests;
	struct ka_vm **vms; /* of a turn, and whether their seals are intact */
	bool *intact;
	size_t count;
	struct pending *pending;
	size_t pending_count, pending_max;
	uint64_t pushes_lost;
	uint64_t soon_ns; /* when soon_timer goes off; 0: it does not */
	uint64_t ticked_ns, dispatched_ns, module_looked_ns;
	uint64_t stirred_ns; /* when the host last told something */
	uint64_t watchdog_us, watchdog_fed_us, once_end_ns;
	bool told;     /* an event, since the last tick */
	bool wrote;    /* writes may wait to be told */
	bool lost;     /* pushes were, since share_lost() */
	bool look_now; /* some guest has check_now */
	bool stopping, told_first;
	bool module_known; /* kvmbpf_helper was there at the start, or was told of since */
	char push_reason[200], realtime_reason[200];
	enum monitor_exit status;
};

/* ---- where events go ----------------------------------------------------------------------- */

static void reader_gone(void *ctx, struct sink *sink)
{
	struct monitor *monitor = ctx;

	if (!monitor->stopping)
		log_error("the reader of %s is gone", sink->name);
	monitor->stopping = true;
	monitor->status = MONITOR_FAILURE;
}

static int stream_write(void *ctx, const json_t *event, const char *line, size_t len,
			enum severity severity)
{
	struct monitor *monitor = ctx;

	monitor->metrics.events[severity]++;
	monitor->told = true;
	return outputs_offer(monitor->outputs, event, line, len, severity);
}

/* ---- guests -------------------------------------------------------------------------------- */

static struct health_view health_view(struct monitor *monitor)
{
	return (struct health_view){ .stream = &monitor->stream,
				     .guests = monitor->guests,
				     .count = monitor->count,
				     .host = monitor->host,
				     .outputs = monitor->outputs };
}

/* With what each check has seen until now. */
static struct health_view settled_view(struct monitor *monitor)
{
	sentries_fold(&monitor->sentries);
	for (size_t i = 0; i < monitor->count; i++)
		guest_settle(monitor->guests[i]);
	return health_view(monitor);
}

static void tell_health(struct monitor *monitor, const char *state)
{
	struct health_view view = settled_view(monitor);

	health_tell(&monitor->health, &view, state);
}

static struct guest *guest_find(struct monitor *monitor, uint64_t key)
{
	for (size_t i = 0; i < monitor->count; i++)
		if (monitor->guests[i]->info.key == key)
			return monitor->guests[i];
	return NULL;
}

/* All VMs have an equal part of it; a single look is not to be late. */
static void share_budget(struct monitor *monitor)
{
	const struct options *options = monitor->options;

	monitor->watch.audit_ppm = options->once ? 1000000
						 : options->budget_ppm /
							   (monitor->count ? monitor->count : 1);
}

static void guest_remove(struct monitor *monitor, struct guest *guest, const char *reason)
{
	sentries_fold(&monitor->sentries);
	guest_settle(guest);
	report_gone(guest, reason);
	health_forget(&monitor->health, guest);
	schedule_remove(&monitor->schedule, guest);
	for (size_t i = 0; i < monitor->count; i++)
		if (monitor->guests[i] == guest)
			monitor->guests[i] = monitor->guests[--monitor->count];
	guest_free(guest);
	share_budget(monitor);
}

static void watchdog_feed(struct monitor *monitor, uint64_t now_ns)
{
	uint64_t now_us = now_ns / NS_PER_US;

	if (!monitor->watchdog_us || now_us - monitor->watchdog_fed_us < monitor->watchdog_us / 4)
		return;
	sd_notify(0, "WATCHDOG=1");
	monitor->watchdog_fed_us = now_us;
}

static void once_judge(struct monitor *monitor, bool late)
{
	bool violations = false, complete = true;

	for (size_t i = 0; i < monitor->count; i++) {
		const struct guest *guest = monitor->guests[i];

		if (!guest_settled(guest) && !late)
			return;
		violations |= guest->findings.count;
		complete &= guest_complete(guest);
	}
	monitor->status = violations ? MONITOR_VIOLATIONS
			  : complete ? MONITOR_OK
				     : MONITOR_INCOMPLETE;
	monitor->stopping = true;
}

/* The timer goes off at the earliest of what it is set to. */
static void soon_set(struct monitor *monitor, uint64_t ns)
{
	if (!ns || (monitor->soon_ns && monitor->soon_ns <= ns))
		return;
	monitor->soon_ns = ns;
	sd_event_source_set_time(monitor->soon_timer, ns / NS_PER_US + 1);
	sd_event_source_set_enabled(monitor->soon_timer, SD_EVENT_ONESHOT);
}

/* One look; the guest may be gone afterwards. False: it is. */
static bool look(struct monitor *monitor, struct guest *guest, enum seal_state seal)
{
	if (guest_cycle(guest, seal) == -EOWNERDEAD) {
		guest_remove(monitor, guest, "exited");
		return false;
	}
	metrics_look(&monitor->metrics, guest);
	monitor->look_now |= guest->check_now;
	soon_set(monitor, guest->soon_ns);
	return true;
}

static void dispatch(struct monitor *monitor);
static void dispatch_pushed(struct monitor *monitor);

static bool all_seen_once(const struct monitor *monitor)
{
	for (size_t i = 0; i < monitor->count; i++)
		if (!guest_settled(monitor->guests[i]))
			return false;
	return monitor->count;
}

/* Guests whose whole looks come together can be left to a sentry between them. */
static bool turn_is_whole(const struct turn *turn)
{
	for (size_t i = 0; i < turn->left; i++)
		if (turn->guests[i]->next_ns <= turn->due_ns && guest_whole_is_due(turn->guests[i]))
			return true;
	return false;
}

/* The registers of all guests that are still to be looked at, and which of them are as they were. */
static void turn_pull(struct monitor *monitor, const struct turn *turn, bool whole)
{
	int r;

	for (size_t i = 0; i < turn->left; i++)
		monitor->vms[i] = turn->guests[i]->vm;
	r = ka_registers_pull(monitor->host, monitor->vms, turn->left);
	if (r < 0)
		log_debug("registers of %zu VMs: %s", turn->left, strerror(-r));
	if (whole)
		memset(monitor->intact, false, turn->left * sizeof(*monitor->intact));
	else
		ka_seals_check(monitor->host, monitor->vms, turn->left, monitor->intact);
}

static void turn_prefetch(const struct monitor *monitor, const struct turn *turn)
{
	for (unsigned int ahead = AHEAD_BYTES; ahead <= AHEAD_GUEST && ahead <= turn->left; ahead++)
		guest_prefetch(turn->guests[turn->left - ahead], ahead,
			       monitor->intact[turn->left - ahead]);
}

/* A guest that takes long makes neither the pushes wait nor the registers of the others old. */
static void turn_run(struct monitor *monitor, struct turn *turn)
{
	uint64_t interval = monitor->watch.interval_ns, now = clock_mono(), behind;
	enum seal_state seal;
	struct guest *guest;
	bool whole;

	sentries_return(&monitor->sentries, turn);
	whole = turn_is_whole(turn);
	turn_pull(monitor, turn, whole);
	while ((guest = schedule_guest(turn))) {
		seal = whole			     ? SEAL_UNKNOWN
		       : monitor->intact[turn->left] ? SEAL_INTACT
						     : SEAL_BROKEN;
		turn_prefetch(monitor, turn);
		if (guest->next_ns > turn->due_ns)
			continue;
		guest->next_ns = turn->due_ns + guest_interval_ns(guest) - interval / 2;
		behind = now > turn->due_ns ? now - turn->due_ns : 0;
		monitor->health.cycles_late += behind > interval / 10;
		monitor->health.cycles_missed += behind / interval;
		monitor->health.cycles_done += look(monitor, guest, seal);
		now = clock_mono();
		watchdog_feed(monitor, now);
		if (now - monitor->dispatched_ns < dispatch_ns)
			continue;
		dispatch(monitor);
		turn_pull(monitor, turn, whole);
	}
	schedule_end(&monitor->schedule, turn, now);
	if (monitor->look_now)
		dispatch(monitor);
	if (monitor->told_first)
		sentries_leave(&monitor->sentries, turn);
	if (!monitor->told_first && all_seen_once(monitor)) {
		monitor->told_first = true;
		tell_health(monitor, NULL);
	}
	if (monitor->options->once && !monitor->stopping)
		once_judge(monitor, now > monitor->once_end_ns);
}

static void tick(struct monitor *monitor, uint64_t now);

/* One turn at a time: what else waits has its turn in between. */
static void take_turn(struct monitor *monitor)
{
	struct turn *turn;
	uint64_t now;

	dispatch_pushed(monitor);
	now = monitor->dispatched_ns;
	turn = schedule_begin(&monitor->schedule, now);
	if (turn)
		turn_run(monitor, turn);
	if (now - monitor->ticked_ns >= tick_ns)
		tick(monitor, now);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* All that is left to do is what is done once a minute, and what others ask for. */
static bool rests(const struct monitor *monitor)
{
	return sentries_have_all(&monitor->sentries) && !monitor->told && !monitor->wrote &&
	       !monitor->options->once && clock_mono() - monitor->stirred_ns > still_ns &&
	       outputs_empty(monitor->outputs);
}

/* Of what is done once a second. */
static uint64_t tick_due(const struct monitor *monitor)
{
	uint64_t due = monitor->health.told_mono_ns + health_ns;

	if (!rests(monitor))
		return monitor->ticked_ns + tick_ns + tick_late_ns;
	if (monitor->watchdog_us)
		due = sooner(due, (monitor->watchdog_fed_us + monitor->watchdog_us / 2) * NS_PER_US);
	if (monitor->publish)
		due = sooner(due, publish_due(monitor->publish));
	/* It is not made sooner. */
	return due > monitor->ticked_ns + tick_ns ? due : monitor->ticked_ns + tick_ns;
}

/* When it is to be taken. */
static uint64_t turn_ns(const struct monitor *monitor)
{
	return sooner(schedule_next(&monitor->schedule), tick_due(monitor));
}

static int guests_reserve(struct monitor *monitor)
{
	struct guest **guests;
	struct ka_vm **vms;
	bool *intact;

	guests = reallocarray(monitor->guests, monitor->count + 1, sizeof(*guests));
	monitor->guests = guests ? guests : monitor->guests;
	vms = reallocarray(monitor->vms, monitor->count + 1, sizeof(*vms));
	monitor->vms = vms ? vms : monitor->vms;
	intact = reallocarray(monitor->intact, monitor->count + 1, sizeof(*intact));
	monitor->intact = intact ? intact : monitor->intact;
	return guests && vms && intact ? 0 : -ENOMEM;
}

static int guest_add(struct monitor *monitor, struct guest *guest)
{
	int r = guests_reserve(monitor);

	sentries_return_all(&monitor->sentries);
	if (!r)
		r = schedule_add(&monitor->schedule, guest, clock_mono());
	if (r < 0) {
		guest_free(guest);
		return r;
	}
	monitor->guests[monitor->count++] = guest;
	share_budget(monitor);
	/* Its first cycle waits for nothing. */
	monitor->health.cycles_done += look(monitor, guest, SEAL_UNKNOWN);
	return 0;
}

static void guest_appeared(struct monitor *monitor, uint64_t key)
{
	struct guest *guest;
	struct ka_vm *vm;
	int r;

	if (guest_find(monitor, key))
		return;
	r = ka_open_key(monitor->host, key, monitor->may_write ? KA_OPEN_WRITE : 0, &vm);
	if (r < 0) {
		if (r != -ESRCH && r != -EOWNERDEAD)
			log_warning("a VM cannot be opened: %s", strerror(-r));
		return;
	}
	if (!options_select(monitor->options, ka_vm_info(vm))) {
		ka_close(vm);
		return;
	}
	r = guest_new(&monitor->watch, vm, &guest);
	if (!r)
		r = guest_add(monitor, guest);
	if (r < 0 && r != -EOWNERDEAD)
		log_warning("a VM cannot be watched: %s", strerror(-r));
}

/* ---- what the host tells ------------------------------------------------------------------- */

static struct pending *pending_add(struct monitor *monitor, int kind, uint64_t key)
{
	struct pending *pending;
	size_t max;

	if (monitor->pending_count == monitor->pending_max) {
		max = monitor->pending_max ? monitor->pending_max * 2 : 64;
		/* Only pushes can be that many; what is lost is told. */
		if (kind == PENDING_PUSHED && max > PENDING_MAX)
			return NULL;
		pending = reallocarray(monitor->pending, max, sizeof(*pending));
		if (!pending)
			return NULL;
		monitor->pending = pending;
		monitor->pending_max = max;
	}
	pending = &monitor->pending[monitor->pending_count++];
	pending->kind = kind;
	pending->key = key;
	return pending;
}

static void on_appeared(void *ctx, const struct ka_vm_info *info)
{
	pending_add(ctx, PENDING_APPEARED, info->key);
}

static void on_gone(void *ctx, uint64_t key)
{
	pending_add(ctx, PENDING_GONE, key);
}

static void on_identified(void *ctx, const struct ka_vm_info *info)
{
	pending_add(ctx, PENDING_IDENTIFIED, info->key);
}

static void on_pushed(void *ctx, uint64_t key, const struct ka_registers *registers,
		      uint32_t changed)
{
	struct monitor *monitor = ctx;
	struct pending *pending = pending_add(monitor, PENDING_PUSHED, key);

	if (!pending) {
		monitor->pushes_lost++;
		return;
	}
	pending->pushed.registers = *registers;
	pending->pushed.changed = changed;
}

static void on_lost_writes(void *ctx, uint64_t key, uint64_t count)
{
	struct pending *pending = pending_add(ctx, PENDING_WRITES_LOST, key);

	if (pending)
		pending->lost = count;
}

static void on_written(void *ctx, uint64_t key, const struct ka_write *write)
{
	struct pending *pending = pending_add(ctx, PENDING_WRITTEN, key);

	if (pending)
		pending->write = *write;
	else
		on_lost_writes(ctx, key, 1);
}

static void on_stopped(void *ctx, uint64_t key, uint64_t gpa, enum ka_stop_reason reason)
{
	struct pending *pending = pending_add(ctx, PENDING_STOPPED, key);

	if (!pending)
		return;
	pending->stopped.gpa = gpa;
	pending->stopped.reason = reason;
}

static void on_lost(void *ctx, uint64_t key, uint64_t count)
{
	struct monitor *monitor = ctx;
	struct guest *guest = key ? guest_find(monitor, key) : NULL;

	monitor->lost = true;
	if (guest)
		guest->changes_lost += count;
	if (key)
		return;
	monitor->pushes_lost += count;
	monitor->health.changes_lost += count;
}

/* Findings, baselines and policies go by who it is: all begins anew. */
static void guest_identified(struct monitor *monitor, uint64_t key)
{
	struct guest *guest = guest_find(monitor, key);

	if (guest)
		guest_remove(monitor, guest, "identified");
	guest_appeared(monitor, key);
}

static void pending_run(struct monitor *monitor, const struct pending *pending)
{
	struct guest *guest = guest_find(monitor, pending->key);

	if (pending->kind == PENDING_IDENTIFIED) {
		guest_identified(monitor, pending->key);
		return;
	}
	if (pending->kind == PENDING_APPEARED)
		guest_appeared(monitor, pending->key);
	if (!guest)
		return;
	switch (pending->kind) {
	case PENDING_APPEARED:
	case PENDING_IDENTIFIED:
		return;
	case PENDING_GONE:
		guest_remove(monitor, guest, "exited");
		return;
	case PENDING_PUSHED:
		guest_push(guest, &pending->pushed.registers, pending->pushed.changed);
		return;
	case PENDING_WRITTEN:
		guest_write(guest, &pending->write);
		soon_set(monitor, guest->soon_ns);
		monitor->wrote = true;
		return;
	case PENDING_STOPPED:
		guest_tracking_stopped(guest, pending->stopped.gpa, pending->stopped.reason);
		return;
	case PENDING_WRITES_LOST:
		guest_writes_lost(guest, pending->lost);
		return;
	}
}

/* What is due now, and when to look again. */
static void tell_writes(struct monitor *monitor)
{
	uint64_t next_ns = UINT64_MAX, now_ns = clock_mono();

	for (size_t i = 0; i < monitor->count; i++) {
		struct guest *guest = monitor->guests[i];
		uint64_t guest_ns;

		guest_tell_writes(guest, now_ns);
		guest_ns = fold_next_ns(&guest->folds);
		next_ns = guest_ns < next_ns ? guest_ns : next_ns;
	}
	monitor->wrote = next_ns != UINT64_MAX;
	if (!monitor->wrote)
		return;
	sd_event_source_set_time(monitor->writes_timer, next_ns / NS_PER_US + 1);
	sd_event_source_set_enabled(monitor->writes_timer, SD_EVENT_ONESHOT);
}

static int on_writes_timer(sd_event_source *source, uint64_t usec, void *ctx)
{
	(void)source, (void)usec;
	tell_writes(ctx);
	return 0;
}

/* The next look at those that lost some is a whole one, and does not wait for a sentry's rounds. */
static void share_lost(struct monitor *monitor)
{
	if (monitor->lost || monitor->pushes_lost)
		sentries_return_all(&monitor->sentries);
	monitor->lost = false;
	if (!monitor->pushes_lost)
		return;
	for (size_t i = 0; i < monitor->count; i++)
		monitor->guests[i]->changes_lost += monitor->pushes_lost;
	monitor->pushes_lost = 0;
}

/* Guests that something pushed or read asks for another look at. */
static void look_again(struct monitor *monitor)
{
	monitor->look_now = false;
	/* From the end: a guest that is gone is replaced by the last one. */
	for (size_t i = monitor->count; i-- > 0;) {
		if (!monitor->guests[i]->check_now)
			continue;
		monitor->health.cycles_pushed += look(monitor, monitor->guests[i], SEAL_UNKNOWN);
		watchdog_feed(monitor, clock_mono());
	}
}

static void dispatch_once(struct monitor *monitor,
			  int (*take)(struct ka_host *, const struct ka_host_events *, void *))
{
	static const struct ka_host_events events = {
		.vm_appeared = on_appeared,
		.vm_gone = on_gone,
		.vm_identified = on_identified,
		.registers_changed = on_pushed,
		.changes_lost = on_lost,
		.guest_wrote = on_written,
		.tracking_stopped = on_stopped,
		.writes_lost = on_lost_writes,
	};
	int r = take(monitor->host, &events, monitor);

	if (r < 0)
		log_debug("dispatch: %s", strerror(-r));
	share_lost(monitor);
	if (monitor->pending_count)
		monitor->stirred_ns = clock_mono();
	for (size_t i = 0; i < monitor->pending_count; i++) {
		pending_run(monitor, &monitor->pending[i]);
		monitor->look_now = true;
	}
	monitor->pending_count = 0;
	if (monitor->wrote)
		tell_writes(monitor);
	if (monitor->look_now)
		look_again(monitor);
	monitor->dispatched_ns = clock_mono();
}

static void dispatch(struct monitor *monitor)
{
	dispatch_once(monitor, ka_host_dispatch);
	/* A guest wants another look, once more was read. */
	if (monitor->look_now)
		dispatch_once(monitor, ka_host_dispatch);
}

/* What was pushed until now comes before what is read now. */
static void dispatch_pushed(struct monitor *monitor)
{
	const bool more = sd_event_source_get_pending(monitor->host_source) > 0;

	if (!more)
		dispatch_once(monitor, ka_host_dispatch_pushed);
	if (more || monitor->look_now)
		dispatch(monitor);
}

/* Guests whose baseline does not wait for their turns. */
static int on_soon_timer(sd_event_source *source, uint64_t usec, void *ctx)
{
	struct monitor *monitor = ctx;
	uint64_t now = clock_mono();

	(void)source, (void)usec;
	monitor->soon_ns = 0;
	/* From the end: a guest that is gone is replaced by the last one. */
	for (size_t i = monitor->count; i-- > 0;) {
		struct guest *guest = monitor->guests[i];

		if (!guest->soon_ns || guest->soon_ns > now) {
			soon_set(monitor, guest->soon_ns);
			continue;
		}
		monitor->health.cycles_done += look(monitor, guest, SEAL_UNKNOWN);
		watchdog_feed(monitor, clock_mono());
	}
	dispatch(monitor);
	return 0;
}

static int on_host(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
	(void)source, (void)fd, (void)revents;
	dispatch(ctx);
	return 0;
}

static bool module_loaded(void)
{
	return !access("/sys/module/kvmbpf_helper", F_OK);
}

/* Its programs cannot be loaded any more: that takes what was given up. */
static void module_notice(struct monitor *monitor)
{
	static const char late[] =
		"kvmbpf_helper was loaded after the start: start the monitor anew";

	if (monitor->module_known || monitor->options->realtime == REALTIME_OFF ||
	    monitor->options->once || !module_loaded())
		return;
	monitor->module_known = true;
	monitor->watch.realtime_reason = late;
	log_warning("%s", late);
}

/* Once a second. */
static void tick(struct monitor *monitor, uint64_t now)
{
	struct health_view view = health_view(monitor);

	monitor->ticked_ns = now;
	monitor->told = false;
	if (now - monitor->module_looked_ns >= module_ns) {
		monitor->module_looked_ns = now;
		module_notice(monitor);
	}
	outputs_tick(monitor->outputs);
	kept_save(&monitor->kept, monitor->guests, monitor->count);
	if (monitor->publish)
		publish_tick(monitor->publish);
	if (now - monitor->health.told_mono_ns >= health_ns ||
	    health_changed(&monitor->health, &view))
		tell_health(monitor, NULL);
	/* While a turn is due the watchdog is fed as it goes on, not from here. */
	if (schedule_next(&monitor->schedule) > now)
		watchdog_feed(monitor, now);
	if (monitor->options->once && !monitor->stopping &&
	    (!monitor->count || now > monitor->once_end_ns))
		once_judge(monitor, true);
}

/* ---- signals ------------------------------------------------------------------------------- */

static int on_terminate(sd_event_source *source, const struct signalfd_siginfo *info, void *ctx)
{
	struct monitor *monitor = ctx;

	(void)source, (void)info;
	monitor->stopping = true;
	return 0;
}

/* Those that are wanted now and were not before, and the other way round. */
static void guests_select(struct monitor *monitor)
{
	_cleanup_free_ struct ka_vm_info *vms = NULL;
	size_t count = 0;

	for (size_t i = monitor->count; i-- > 0;) {
		struct guest *guest = monitor->guests[i];

		guest_relabel(guest);
		if (options_select(monitor->options, &guest->info))
			guest_configure(guest);
		else
			guest_remove(monitor, guest, "deselected");
	}
	if (ka_list(monitor->host, &vms, &count) < 0)
		log_warning("VMs that are to be watched now are not looked for: start the monitor anew");
	for (size_t i = 0; i < count; i++)
		guest_appeared(monitor, vms[i].key);
}

static enum monitor_exit publish_start(struct monitor *monitor);

/* Nothing of it fails any more. */
static void options_apply(struct monitor *monitor, struct options *fresh)
{
	const struct config *before = monitor->options->config;

	sentries_return_all(&monitor->sentries);
	options_tell_late(monitor->options, fresh);
	if (actions_missing(monitor->actions, fresh->config))
		log_warning("configuration: new actions of policies are taken up at the next start "
			    "only");
	monitor->options = fresh;
	monitor->watch.config = fresh->config;
	if (monitor->watch.interval_ns != fresh->interval_ns)
		schedule_change(&monitor->schedule, fresh->interval_ns, clock_mono());
	monitor->watch.interval_ns = fresh->interval_ns;
	guests_select(monitor);
	share_budget(monitor);
	if (!publish_same(before, fresh->config)) {
		publish_free(monitor->publish);
		monitor->publish = NULL;
		publish_start(monitor);
	}
	if (monitor->reloaded)
		options_deinit(monitor->reloaded);
	free(monitor->reloaded);
	monitor->reloaded = fresh;
}

static int reload(struct monitor *monitor)
{
	struct options *fresh = calloc(1, sizeof(*fresh));
	int r = fresh ? options_reload(monitor->options, fresh) : -ENOMEM;

	if (!r) {
		r = sinks_reload(monitor->outputs, fresh->configs, fresh->output, fresh->pretty);
		if (r < 0)
			options_deinit(fresh);
	}
	if (r < 0) {
		log_error("the configuration is not taken up: the one before stays in force");
		free(fresh);
		return r;
	}
	options_apply(monitor, fresh);
	log_info("the configuration is taken up");
	return 0;
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *ctx)
{
	struct monitor *monitor = ctx;
	char text[64];

	(void)source, (void)info;
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu",
		 (unsigned long long)(clock_mono() / NS_PER_US));
	sd_notify(0, text);
	outputs_reopen(monitor->outputs);
	sd_notify(0, reload(monitor) < 0 ? "READY=1\nSTATUS=The new configuration is wrong: the one "
					   "before is in force"
					 : "READY=1\nSTATUS=Watching");
	return 0;
}

static int on_reopen(sd_event_source *source, const struct signalfd_siginfo *info, void *ctx)
{
	struct monitor *monitor = ctx;

	(void)source, (void)info;
	outputs_reopen(monitor->outputs);
	return 0;
}

static int on_dump(sd_event_source *source, const struct signalfd_siginfo *info, void *ctx)
{
	struct monitor *monitor = ctx;
	struct health_view view = settled_view(monitor);

	(void)source, (void)info;
	status_log(&monitor->health, &view);
	tell_health(monitor, NULL);
	return 0;
}

static int signals_watch(struct monitor *monitor)
{
	static const struct {
		int number;
		sd_event_signal_handler_t handler;
	} signals[] = {
		{ SIGTERM, on_terminate }, { SIGINT, on_terminate }, { SIGHUP, on_hangup },
		{ SIGUSR1, on_reopen },	   { SIGUSR2, on_dump },
	};
	sigset_t set;
	int r = 0;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (size_t i = 0; i < array_size(signals); i++)
		sigaddset(&set, signals[i].number);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (size_t i = 0; r >= 0 && i < array_size(signals); i++)
		r = sd_event_add_signal(monitor->event, NULL, signals[i].number,
					signals[i].handler, monitor);
	return r < 0 ? r : 0;
}

/* From here on a second signal ends the process at once. */
static void signals_default(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* ---- start and end ------------------------------------------------------------------------- */

static void host_log(void *ctx, const char *line)
{
	(void)ctx;
	log_debug("%s", line);
}

static enum monitor_exit symbols_open(struct monitor *monitor)
{
	const struct string_list *files = &monitor->options->symbol_files;

	monitor->symbols = calloc(files->count + 1, sizeof(*monitor->symbols));
	if (!monitor->symbols)
		return MONITOR_FAILURE;
	for (size_t i = 0; i < files->count; i++) {
		struct ka_symbols *symbols = NULL;
		int r = ka_symbols_load(files->items[i], &symbols);

		if (r < 0) {
			log_error(
				"%s: %s", files->items[i],
				r == -ENODATA
					? "no symbols in it (a stub?): give the vmlinuz or vmlinux"
					: strerror(-r));
			return MONITOR_USAGE;
		}
		monitor->symbols[monitor->watch.symbols_count++] = symbols;
		log_debug("%s: %s, %s, build-id %s", files->items[i], ka_symbols_source(symbols),
			  ka_symbols_release(symbols), ka_symbols_build_id(symbols));
	}
	monitor->watch.symbols = monitor->symbols;
	return MONITOR_OK;
}

static const struct ka_feature *feature_find(const struct ka_probe *probe, const char *name)
{
	for (size_t i = 0; i < probe->count; i++)
		if (!strcmp(probe->feature[i].name, name))
			return &probe->feature[i];
	return NULL;
}

static enum monitor_exit realtime_settle(struct monitor *monitor)
{
	const struct options *options = monitor->options;
	const struct ka_feature *writes = feature_find(ka_host_features(monitor->host), "writes");
	bool there = writes && writes->state == KA_FEATURE_ON;

	memcpy(monitor->watch.protect, options->protect, sizeof(options->protect));
	monitor->watch.realtime = there && options->realtime != REALTIME_OFF && !options->once;
	snprintf(monitor->realtime_reason, sizeof(monitor->realtime_reason), "%s",
		 options->once			     ? "--once"
		 : options->realtime == REALTIME_OFF ? "--no-realtime"
		 : writes			     ? writes->detail
						     : "no write tracking");
	monitor->watch.realtime_reason = monitor->realtime_reason;
	monitor->watch.realtime_text = monitor->watch.realtime && options->realtime_text;
	if (there || options->realtime != REALTIME_ON)
		return MONITOR_OK;
	log_error("writes cannot be told as they happen: %s", monitor->realtime_reason);
	return MONITOR_UNSUPPORTED;
}

static enum monitor_exit host_open(struct monitor *monitor)
{
	const struct ka_host_options options = {
		.map_ram = true, .pin_path = pin_path, .log = host_log
	};
	const struct ka_feature *push;
	int r = ka_host_open(&options, &monitor->host);

	if (r < 0) {
		log_error("this host cannot be watched: %s",
			  r == -EPERM	     ? "missing privileges: run as root"
			  : r == -EOPNOTSUPP ? "no KVM, no BTF, or no support for its vendor; see "
					       "`kvmbpf probe`"
					     : strerror(-r));
		return MONITOR_UNSUPPORTED;
	}
	push = feature_find(ka_host_features(monitor->host), "push_exit");
	monitor->watch.push_exact = push && push->state == KA_FEATURE_ON;
	snprintf(monitor->push_reason, sizeof(monitor->push_reason), "changes are not pushed: %s",
		 push ? push->detail : "no push_exit");
	monitor->watch.push_reason = monitor->push_reason;
	return realtime_settle(monitor);
}

/* What comes after this, files, sinks and guests, needs less than loading did. */
static enum monitor_exit privileges_settle(const struct monitor *monitor)
{
	const struct ka_feature *pins = feature_find(ka_host_features(monitor->host), "pins");
	/* It removes them at the end; those of another monitor are not its own. */
	const bool pinned = pins && pins->state == KA_FEATURE_ON;
	char error[PRIVILEGES_ERROR_MAX];

	if (!privileges_drop(monitor->options->user, pinned ? pin_paths : NULL,
			     monitor->may_write, error))
		return MONITOR_OK;
	log_error("privileges cannot be given up: %s", error);
	return MONITOR_FAILURE;
}

/* Each --vm must mean one VM. One that is not there yet is waited for, but not with --once. */
static enum monitor_exit selectors_validate(const struct monitor *monitor)
{
	const struct options *options = monitor->options;
	_cleanup_free_ struct ka_vm_info *vms = NULL;
	enum monitor_exit status = MONITOR_OK;
	size_t count = 0;

	if (!options->vms.count || ka_list(monitor->host, &vms, &count) < 0)
		return MONITOR_OK;
	for (size_t i = 0; i < options->vms.count; i++) {
		const char *selector = options->vms.items[i];
		size_t found = 0;

		for (size_t j = 0; j < count; j++)
			found += ka_vm_matches(&vms[j], selector);
		if (found > 1) {
			log_error("--vm %s means %zu VMs; give a pid or UUID:", selector, found);
			for (size_t j = 0; j < count; j++)
				if (ka_vm_matches(&vms[j], selector))
					log_error("  pid %d  uuid %s  name %s", (int)vms[j].pid,
						  vms[j].uuid[0] ? vms[j].uuid : "-", vms[j].name);
			return MONITOR_USAGE;
		}
		if (!found && options->once) {
			log_error("--vm %s: no such VM", selector);
			status = MONITOR_NOT_FOUND;
		} else if (!found) {
			log_warning("--vm %s: no such VM yet; waiting for it", selector);
		}
	}
	return status;
}

static enum monitor_exit store_start(struct monitor *monitor)
{
	const struct options *options = monitor->options;
	char error[REFERENCE_ERROR_MAX];
	int r = store_open(options->store, &monitor->store, error);

	if (r < 0) {
		log_error("store: %s", error);
		return MONITOR_FAILURE;
	}
	monitor->watch.store = monitor->store;
	if (!options->once) {
		if (kept_init(&monitor->kept, options->store) < 0)
			return MONITOR_FAILURE;
		monitor->watch.kept = &monitor->kept;
	}
	for (size_t i = 0; i < options->references.count; i++) {
		r = references_import(monitor->store, options->references.items[i],
				      options->reference_key, error);
		if (r < 0) {
			log_error("reference: %s", error);
			return MONITOR_USAGE;
		}
	}
	return references_new(monitor->store, &monitor->watch.references) < 0 ? MONITOR_FAILURE
									      : MONITOR_OK;
}

static enum monitor_exit events_start(struct monitor *monitor)
{
	const struct options *options = monitor->options;
	int r = event_stream_init(&monitor->stream);

	if (r < 0) {
		log_error("cannot tell this host's identity: %s", strerror(-r));
		return MONITOR_FAILURE;
	}
	if (outputs_new(monitor->event, reader_gone, monitor, &monitor->outputs) < 0 ||
	    sinks_start(monitor->outputs, options->configs, options->output, options->pretty) < 0)
		return MONITOR_FAILURE;
	monitor->stream.write = stream_write;
	if (monitor->actions && actions_start(monitor->actions, monitor->event, &monitor->stream) < 0)
		return MONITOR_FAILURE;
	monitor->watch.actions = monitor->actions;
	monitor->stream.ctx = monitor;
	monitor->watch.stream = &monitor->stream;
	return MONITOR_OK;
}

static struct health_view published_view(void *ctx)
{
	return settled_view(ctx);
}

static enum monitor_exit publish_start(struct monitor *monitor)
{
	const struct publish_source source = { .metrics = &monitor->metrics,
					       .health = &monitor->health,
					       .watch = &monitor->watch,
					       .view = published_view,
					       .ctx = monitor };

	if (monitor->options->once)
		return MONITOR_OK;
	return publish_new(monitor->event, monitor->options->config, &source, &monitor->publish) < 0
		       ? MONITOR_FAILURE
		       : MONITOR_OK;
}

static int loop_open(struct monitor *monitor)
{
	int r = signals_watch(monitor);

	if (r >= 0)
		r = sd_event_add_io(monitor->event, &monitor->host_source,
				    ka_host_fd(monitor->host), EPOLLIN, on_host, monitor);
	if (r >= 0)
		r = sd_event_add_time(monitor->event, &monitor->writes_timer, CLOCK_MONOTONIC, 0,
				      TIMER_ACCURACY_US, on_writes_timer, monitor);
	if (r >= 0)
		r = sd_event_source_set_enabled(monitor->writes_timer, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time(monitor->event, &monitor->soon_timer, CLOCK_MONOTONIC, 0,
				      TIMER_ACCURACY_US, on_soon_timer, monitor);
	if (r >= 0)
		r = sd_event_source_set_enabled(monitor->soon_timer, SD_EVENT_OFF);
	if (sd_watchdog_enabled(0, &monitor->watchdog_us) <= 0)
		monitor->watchdog_us = 0;
	return r < 0 ? r : 0;
}

/* The last events go out; nothing is looked at any more. */
static void loop_end(struct monitor *monitor)
{
	sd_notify(0, "STOPPING=1");
	signals_default();
	tell_health(monitor, "stopping");
	kept_save(&monitor->kept, monitor->guests, monitor->count);
	monitor->host_source = sd_event_source_disable_unref(monitor->host_source);
	monitor->soon_timer = sd_event_source_disable_unref(monitor->soon_timer);
	if (!outputs_drain(monitor->outputs, DRAIN_MS) && monitor->status != MONITOR_FAILURE) {
		log_error("the last events are lost: nobody takes them");
		monitor->status = monitor->status ? monitor->status : MONITOR_FAILURE;
	}
}

/*
 * Something that happened, or a turn. A guest that never stops pushing must not starve turns, so
 * that one is looked for after each event. The wait itself is the timer, which saves two system
 * calls a turn.
 */
static int loop_step(struct monitor *monitor)
{
	uint64_t now = clock_mono(), due = turn_ns(monitor);
	int r = sd_event_run(monitor->event, due > now ? (due - now) / NS_PER_US + 1 : 0);

	sentries_wake(&monitor->sentries);
	if (r >= 0 && !monitor->stopping && turn_ns(monitor) <= clock_mono())
		take_turn(monitor);
	return r;
}

static void loop_run(struct monitor *monitor)
{
	int r = 0;

	monitor->once_end_ns =
		clock_mono() + ONCE_CYCLES * monitor->watch.interval_ns + 5 * NS_PER_S;
	monitor->ticked_ns = clock_mono();
	schedule_init(&monitor->schedule, monitor->watch.interval_ns, monitor->ticked_ns);
	monitor->sentries = (struct sentries){ .host = monitor->options->once ? NULL : monitor->host,
					       .schedule = &monitor->schedule,
					       .metrics = &monitor->metrics,
					       .health = &monitor->health };
	tell_health(monitor, "starting");
	sd_notify(0, "READY=1\nSTATUS=Watching");
	dispatch(monitor);
	while (!monitor->stopping && r >= 0)
		r = loop_step(monitor);
	if (r < 0) {
		log_error("event loop: %s", strerror(-r));
		monitor->status = MONITOR_FAILURE;
	}
	loop_end(monitor);
}

static void monitor_deinit(struct monitor *monitor)
{
	publish_free(monitor->publish);
	sentries_deinit(&monitor->sentries);
	for (size_t i = 0; i < monitor->count; i++)
		guest_free(monitor->guests[i]);
	free(monitor->guests);
	free(monitor->vms);
	free(monitor->intact);
	actions_free(monitor->actions);
	schedule_deinit(&monitor->schedule);
	free(monitor->pending);
	sd_event_source_disable_unref(monitor->host_source);
	sd_event_source_disable_unref(monitor->writes_timer);
	sd_event_source_disable_unref(monitor->soon_timer);
	ka_host_close(monitor->host);
	for (size_t i = 0; i < monitor->watch.symbols_count; i++)
		ka_symbols_free((struct ka_symbols *)monitor->symbols[i]);
	free(monitor->symbols);
	outputs_close(monitor->outputs);
	kept_deinit(&monitor->kept);
	references_free(monitor->watch.references);
	store_close(monitor->store);
	sd_event_unref(monitor->event);
	if (monitor->reloaded)
		options_deinit(monitor->reloaded);
	free(monitor->reloaded);
}

/* Before anything is opened that the helper is not to have. */
static enum monitor_exit actions_prepare(struct monitor *monitor)
{
	const struct options *options = monitor->options;
	int r = options->once ? 0
			      : actions_new(options->configs, options->user, &monitor->actions);

	if (r < 0)
		log_error("the process for actions cannot be made: %s", strerror(-r));
	monitor->may_write = !options->once && actions_write(options->config);
	return r < 0 ? MONITOR_FAILURE : MONITOR_OK;
}

enum monitor_exit monitor_run(const struct options *options)
{
	struct monitor monitor = { .options = options,
				   .watch = { .interval_ns = options->interval_ns,
					      .config = options->config } };
	enum monitor_exit status;
	int r;

	monitor.module_known = module_loaded();
	monitor.watch.first_looks = &monitor.first_looks;
	status = actions_prepare(&monitor);
	if (!status)
		status = host_open(&monitor);
	if (!status)
		status = privileges_settle(&monitor);
	if (!status)
		status = symbols_open(&monitor);
	if (!status)
		status = store_start(&monitor);
	if (!status)
		status = sd_event_new(&monitor.event) < 0 ? MONITOR_FAILURE
							  : events_start(&monitor);
	if (!status)
		status = selectors_validate(&monitor);
	if (!status)
		status = publish_start(&monitor);
	if (!status) {
		r = loop_open(&monitor);
		if (r < 0) {
			log_error("event loop: %s", strerror(-r));
			status = MONITOR_FAILURE;
		}
	}
	if (!status) {
		loop_run(&monitor);
		status = monitor.status;
	}
	monitor_deinit(&monitor);
	return status;
}

enum monitor_exit monitor_version(void)
{
	static const char *const states[] = {
		[KA_FEATURE_ON] = "on", [KA_FEATURE_FALLBACK] = "fallback", [KA_FEATURE_OFF] = "off"
	};
	struct ka_probe probe;
	int r;

	printf("kvmbpf-monitor %s\n", ka_version());
	r = ka_probe(&probe);
	if (r < 0) {
		printf("features: not known: %s\n", strerror(-r));
		return MONITOR_OK;
	}
	printf("kernel %s, lockdown %s\n", probe.kernel, probe.lockdown);
	for (size_t i = 0; i < probe.count; i++)
		printf("%s: %s%s%s\n", probe.feature[i].name, states[probe.feature[i].state],
		       probe.feature[i].detail[0] ? ", " : "", probe.feature[i].detail);
	return MONITOR_OK;
}
