/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sentries: timers that look at seals by themselves, so that nobody must wake up to ask. One goes round
 * each period until it finds a seal that is not intact, says so once, and stops.
 *
 * Included by bpf/seal.bpf.c. User space changes neither a seal nor what a sentry has while its timer is on.
 */
#ifndef KVMBPF_SENTRY_BPF_H
#define KVMBPF_SENTRY_BPF_H

#include "kvmbpf/seal.h"
#include "state.bpf.h"

/* Timers run with nothing else of their CPU: a long round is made in parts, with pauses. */
enum { PARTS_AT_ONCE = 512, PAUSE_NS = 100 * 1000, LATE_SHARE = 10 };

/* Both are mapped by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, KVMBPF_SENTRIES);
	__type(key, __u32);
	__type(value, struct kvmbpf_sentry);
} sentries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, KVMBPF_SENTRIES * KVMBPF_SENTRY_SEALS);
	__type(key, __u32);
	__type(value, __u64); /* index in map seals; a value takes 8 bytes anyhow */
} posts SEC(".maps");

/* Of the kernel's interface: what is in it is the kernel's. */
struct bpf_timer {
	__u64 opaque[2];
};

struct clock {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KVMBPF_SENTRIES);
	__type(key, __u32);
	__type(value, struct clock);
} clocks SEC(".maps");

/* Wakes user space up. What it says stands in map `sentries`, too. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} reports SEC(".maps");

/* What a vCPU's registers are read into: too much for the stack. */
struct desk {
	struct watched now;
	struct kvmbpf_vcpu state;
	struct kvmbpf_seal_registers registers;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct desk);
} desks SEC(".maps");

/* vCPUs of a seal on their way through a check. */
struct mustered {
	struct kvm *kvm;
	__u32 first;
	bool same;
};

static __always_inline long check_vcpu(__u32 index, struct mustered *mustered,
				       enum kvmbpf_vendor vendor)
{
	__u32 at = mustered->first + index, zero = 0;
	const struct kvmbpf_seal_part *part = bpf_map_lookup_elem(&parts, &at);
	struct desk *desk = bpf_map_lookup_elem(&desks, &zero);
	struct kvm_vcpu *vcpu;

	mustered->same = false;
	if (!part || !desk || part->kind != KVMBPF_SEAL_VCPU)
		return 1;
	vcpu = (struct kvm_vcpu *)part->hva;
	if (KERNEL_READ(vcpu, kvm) != mustered->kvm)
		return 1;
	__builtin_memset(&desk->now, 0, sizeof(desk->now));
	if (vendor_watch(vendor, vcpu, false, &desk->now))
		return 1;
	state_fill_sealed(&desk->state, vcpu, vendor, &desk->now);
	kvmbpf_seal_registers(&desk->state, &desk->registers);
	mustered->same = hash((const __u64 *)&desk->registers,
			      sizeof(desk->registers) / sizeof(__u64)) == part->expected;
	return !mustered->same;
}

/* The vCPUs come last: that it is this VM still says that they were its own. */
static __always_inline bool all_as_sealed(__u32 which, const struct kvmbpf_seal *seal,
					  long (*check)(__u32, struct mustered *))
{
	struct mustered mustered = { .kvm = (struct kvm *)seal->kvm,
				     .first = seal->first + seal->count };

	if (!is_intact(which, LOOKER_TIMER))
		return false;
	if ((__u32)KERNEL_READ(mustered.kvm, online_vcpus.counter) != seal->vcpus)
		return false;
	bpf_loop(seal->vcpus, check, &mustered, 0);
	return mustered.same && is_vm(mustered.kvm, seal->clock_offset);
}

struct round {
	__u32 sentry;
	__u32 parts;
	bool broken;
};

static __always_inline long look_at_next(struct round *round,
					 long (*check)(__u32, struct mustered *))
{
	struct kvmbpf_sentry *sentry = bpf_map_lookup_elem(&sentries, &round->sentry);
	__u64 *post;
	__u32 at;
	const struct kvmbpf_seal *seal;

	if (!sentry || sentry->at >= sentry->count || sentry->at >= KVMBPF_SENTRY_SEALS)
		return 1;
	at = round->sentry * KVMBPF_SENTRY_SEALS + sentry->at;
	post = bpf_map_lookup_elem(&posts, &at);
	if (!post)
		return 1;
	at = (__u32)*post;
	seal = bpf_map_lookup_elem(&seals, &at);
	round->broken = !seal || !all_as_sealed(at, seal, check);
	if (round->broken)
		return 1;
	sentry->at++;
	round->parts += seal->count + seal->vcpus * KVMBPF_SENTRY_VCPU;
	return round->parts >= PARTS_AT_ONCE;
}

static __always_inline void report(__u32 index, __u64 now)
{
	struct kvmbpf_sentry_record record = {
		.header = { .type = KVMBPF_RECORD_SENTRY, .size = sizeof(record), .time_ns = now },
		.sentry = index,
	};

	/* Where there is no room, those before it wake user space up. */
	bpf_ringbuf_output(&reports, &record, sizeof(record), BPF_RB_FORCE_WAKEUP);
}

static __always_inline void round_begin(struct kvmbpf_sentry *sentry, __u64 now)
{
	__u64 behind = now > sentry->due_ns ? now - sentry->due_ns : 0;

	/* A period of 0 is divided by as well: by BPF's rules that gives 0. */
	sentry->missed += behind / sentry->period_ns;
	sentry->late += behind > sentry->period_ns / LATE_SHARE;
	sentry->due_ns += behind / sentry->period_ns * sentry->period_ns;
	sentry->began_ns = now;
}

static __always_inline void round_end(struct kvmbpf_sentry *sentry)
{
	sentry->at = 0;
	sentry->rounds++;
	sentry->round_ns = sentry->began_ns;
	sentry->due_ns += sentry->period_ns;
}

static __always_inline int go_round(__u32 index, struct clock *clock,
				    long (*look)(__u32, struct round *))
{
	struct kvmbpf_sentry *sentry = bpf_map_lookup_elem(&sentries, &index);
	struct round round = { .sentry = index };
	__u64 begin = bpf_ktime_get_ns(), now;
	bool over;

	if (!sentry)
		return 0;
	if (!sentry->at && !sentry->again)
		round_begin(sentry, begin);
	bpf_loop(KVMBPF_SENTRY_SEALS, look, &round, 0);
	now = bpf_ktime_get_ns();
	sentry->runs++;
	sentry->run_ns += now - begin;
	if (round.broken && sentry->again) {
		sentry->ended = 1;
		report(index, now);
		return 0;
	}
	/* Memory that was on the move is at rest a moment later. */
	sentry->again = round.broken;
	over = sentry->at >= sentry->count;
	if (over)
		round_end(sentry);
	if (over && sentry->most && sentry->rounds + sentry->missed >= sentry->most)
		return 0;
	bpf_timer_start(&clock->timer,
			!over ? PAUSE_NS : sentry->due_ns > now ? sentry->due_ns - now : 0, 0);
	return 0;
}

#define CLOCK_MONOTONIC 1

/* One set a vendor; user space loads the one that fits the host. */
#define SENTRY_PROGRAMS(name, vendor)                                                              \
	static long check_vcpu_##name(__u32 index, struct mustered *mustered)                      \
	{                                                                                          \
		return check_vcpu(index, mustered, vendor);                                        \
	}                                                                                          \
	static long look_at_next_##name(__u32 index, struct round *round)                          \
	{                                                                                          \
		return look_at_next(round, check_vcpu_##name);                                     \
	}                                                                                          \
	static int go_round_##name(void *map, __u32 *index, struct clock *clock)                   \
	{                                                                                          \
		return go_round(*index, clock, look_at_next_##name);                               \
	}                                                                                          \
	SEC("?syscall")                                                                            \
	int stand_##name(struct kvmbpf_sentry_call *call)                                          \
	{                                                                                          \
		__u32 index = call->sentry;                                                        \
		struct clock *clock = bpf_map_lookup_elem(&clocks, &index);                        \
		struct kvmbpf_sentry *sentry = bpf_map_lookup_elem(&sentries, &index);             \
		__u64 now = bpf_ktime_get_ns();                                                    \
                                                                                                   \
		if (!clock || !sentry)                                                             \
			return -EINVAL;                                                            \
		/* -EBUSY: it was made before, and stays. */                                       \
		bpf_timer_init(&clock->timer, &clocks, CLOCK_MONOTONIC);                           \
		bpf_timer_set_callback(&clock->timer, go_round_##name);                            \
		return bpf_timer_start(&clock->timer,                                              \
				       sentry->due_ns > now ? sentry->due_ns - now : 0, 0);        \
	}

SENTRY_PROGRAMS(svm, KVMBPF_VENDOR_SVM)
SENTRY_PROGRAMS(vmx, KVMBPF_VENDOR_VMX)
SENTRY_PROGRAMS(pvm, KVMBPF_VENDOR_PVM)

/* Returns once no round is under way. */
SEC("?syscall")
int relieve(struct kvmbpf_sentry_call *call)
{
	__u32 index = call->sentry;
	struct clock *clock = bpf_map_lookup_elem(&clocks, &index);

	return clock ? bpf_timer_cancel(&clock->timer) : -EINVAL;
}

#endif
