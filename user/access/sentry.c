// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Sentries: timers in the kernel that look at seals, so that user space need not wake up to ask.
 * While one is on, neither the seals of its VMs nor what stands in its maps is changed here:
 * whoever wants to relieves it first.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "bpf/seal.skel.h"
#include "push.h"
#include "seal.h"
#include "vm.h"

enum { POSTS = KVMBPF_SENTRIES * KVMBPF_SENTRY_SEALS };

/* ---- begin and end -------------------------------------------------------------------------- */

void sentries_choose(struct ka_host *host, struct seal_bpf *programs)
{
	struct bpf_program *stand = push_program(programs->obj, host->probe.vendor, "stand");

	if (stand)
		bpf_program__set_autoload(stand, true);
	bpf_program__set_autoload(programs->progs.relieve, true);
}

int sentries_init(struct ka_host *host, struct seals *seals)
{
	const struct bpf_program *stand =
		push_program(seals->programs->obj, host->probe.vendor, "stand");
	const struct seal_bpf *programs = seals->programs;

	seals->stand_fd = stand ? bpf_program__fd(stand) : -1;
	seals->sentries =
		seals_map(programs->maps.sentries, KVMBPF_SENTRIES * sizeof(*seals->sentries));
	seals->posts = seals_map(programs->maps.posts, POSTS * sizeof(*seals->posts));
	for (uint32_t i = 0; i < KVMBPF_SENTRIES; i++) {
		seals->sentry[i].host = host;
		seals->sentry[i].index = i;
	}
	return seals->sentries && seals->posts ? 0 : -ENOMEM;
}

/* The kernel ends the timers along with their map. */
void sentries_free(struct seals *seals)
{
	if (seals->sentries)
		munmap(seals->sentries, KVMBPF_SENTRIES * sizeof(*seals->sentries));
	if (seals->posts)
		munmap(seals->posts, POSTS * sizeof(*seals->posts));
}

/* ---- calls ---------------------------------------------------------------------------------- */

int ka_sentry_new(struct ka_host *host, struct ka_sentry **ret_sentry)
{
	struct seals *seals = host->seals;

	if (!seals || seals->stand_fd < 0)
		return -EOPNOTSUPP;
	for (uint32_t i = 0; i < KVMBPF_SENTRIES; i++) {
		if (seals->sentry[i].used)
			continue;
		seals->sentry[i].used = true;
		*ret_sentry = &seals->sentry[i];
		return 0;
	}
	return -ENOSPC;
}

void ka_sentry_free(struct ka_sentry *sentry)
{
	if (!sentry)
		return;
	ka_sentry_relieve(sentry);
	sentry->used = false;
}

static int run(const struct ka_sentry *sentry, int program_fd)
{
	struct kvmbpf_sentry_call call = { .sentry = sentry->index };
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &call, .ctx_size_in = sizeof(call));
	int err = bpf_prog_test_run_opts(program_fd, &options);

	return err ? err : (int)options.retval;
}

void ka_sentry_relieve(struct ka_sentry *sentry)
{
	const struct seals *seals = sentry->host->seals;
	struct kvmbpf_sentry *in_kernel = &seals->sentries[sentry->index];

	if (!sentry->on)
		return;
	run(sentry, bpf_program__fd(seals->programs->progs.relieve));
	sentry->on = false;
	for (uint32_t i = 0; i < in_kernel->count; i++) {
		sentry->vms[i]->sentry = NULL;
		sentry->vms[i] = NULL;
	}
}

/* What the program compares a VM's registers with: the seal's, with CR3 as it was last. */
static int post(const struct seals *seals, struct ka_vm *vm)
{
	const struct seal *seal = vm->seal;

	if (!vm->vm)
		return -EOWNERDEAD;
	if (!seal || vm->sentry || vm->vm->vcpu_count != seal->vcpu_count)
		return -EAGAIN;
	if (seal->count + seal->vcpu_count * KVMBPF_SENTRY_VCPU > KVMBPF_SENTRY_PARTS)
		return -E2BIG;
	for (size_t i = 0; i < seal->vcpu_count; i++)
		seals->parts[seal->first + seal->count + i] = (struct kvmbpf_seal_part){
			.hva = vm->vm->vcpus[i].vcpu,
			.expected = seal_hash(seals, &seal->vcpus[i], sizeof(seal->vcpus[i])),
			.len = sizeof(seal->vcpus[i]),
			.kind = KVMBPF_SEAL_VCPU,
		};
	return 0;
}

int ka_sentry_stand(struct ka_sentry *sentry, struct ka_vm *const *vms, size_t count,
		    uint64_t first_ns, uint64_t period_ns, uint64_t rounds)
{
	const struct seals *seals = sentry->host->seals;
	struct kvmbpf_sentry *in_kernel;
	int err = 0;

	ka_sentry_relieve(sentry);
	if (!count || !period_ns)
		return -EINVAL;
	if (count > KVMBPF_SENTRY_SEALS)
		return -E2BIG;
	for (size_t i = 0; i < count && !err; i++) {
		err = post(seals, vms[i]);
		if (!err)
			seals->posts[sentry->index * KVMBPF_SENTRY_SEALS + i] = vms[i]->seal->index;
	}
	if (err)
		return err;
	in_kernel = &seals->sentries[sentry->index];
	*in_kernel = (struct kvmbpf_sentry){ .period_ns = period_ns,
					     .due_ns = first_ns,
					     .most = rounds,
					     .runs = in_kernel->runs,
					     .run_ns = in_kernel->run_ns,
					     .count = (uint32_t)count };
	err = run(sentry, seals->stand_fd);
	if (err)
		return err;
	sentry->on = true;
	for (size_t i = 0; i < count; i++) {
		sentry->vms[i] = vms[i];
		vms[i]->sentry = sentry;
	}
	return 0;
}

/* The program's words, which it may be writing. */
static uint64_t word(const __u64 *at)
{
	return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

void ka_sentry_read(const struct ka_sentry *sentry, struct ka_sentry_state *ret_state)
{
	const struct kvmbpf_sentry *in_kernel = &sentry->host->seals->sentries[sentry->index];
	const bool broken = __atomic_load_n(&in_kernel->ended, __ATOMIC_ACQUIRE);
	const uint64_t rounds = word(&in_kernel->rounds), missed = word(&in_kernel->missed);
	const bool done = in_kernel->most && rounds + missed >= in_kernel->most;

	*ret_state = (struct ka_sentry_state){
		.stands = sentry->on && !broken && !done,
		.broken = broken,
		.rounds = rounds,
		.round_ns = word(&in_kernel->round_ns),
		.late = word(&in_kernel->late),
		.missed = missed,
	};
}

void sentries_count(const struct ka_host *host, struct ka_counters *counters)
{
	for (uint32_t i = 0; host->seals && i < KVMBPF_SENTRIES; i++) {
		counters->sentry_runs += word(&host->seals->sentries[i].runs);
		counters->sentry_ns += word(&host->seals->sentries[i].run_ns);
	}
}
