// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a sentry takes from a CPU: its rounds, as it counts them itself, and the timer interrupts,
 * as a process that does nothing but count feels them.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <kvmaccess.h>
#include <kvmbpf/records.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "native/tinyvm.h"

enum { PERIOD_NS = 100000, SPIN_MS = 50, PASSES = 100, MAPS_MAX = 4096 };

static struct tinyvm vm;
static struct ka_host *host;
static struct ka_vm *ka;
static struct ka_sentry *sentry;

int bench_sentries_ran(uint64_t *ret_runs, uint64_t *ret_ns)
{
	__u32 id = 0;

	*ret_runs = *ret_ns = 0;
	for (int i = 0; i < MAPS_MAX && !bpf_map_get_next_id(id, &id); i++) {
		struct bpf_map_info info = { 0 };
		struct kvmbpf_sentry of;
		__u32 size = sizeof(info);
		int fd = bpf_map_get_fd_by_id(id);

		if (fd < 0)
			continue;
		if (!bpf_obj_get_info_by_fd(fd, &info, &size) && !strcmp(info.name, "sentries") &&
		    info.value_size == sizeof(of))
			for (__u32 j = 0; j < info.max_entries; j++)
				if (!bpf_map_lookup_elem(fd, &j, &of)) {
					*ret_runs += of.runs;
					*ret_ns += of.run_ns;
				}
		close(fd);
	}
	return errno == ENOENT ? 0 : -errno;
}

static int seal(void)
{
	struct ka_registers registers;
	struct ka_paging paging;
	struct ka_seal_vcpu vcpu = { &registers, &paging };
	static uint8_t gdt[4096];
	struct ka_piece piece;
	size_t count;
	int err = ka_registers_read_all(ka, &registers, 1, &count);

	if (err)
		return err;
	paging = ka_paging(&registers);
	piece = (struct ka_piece){ .paging = &paging,
				   .address = registers.gdtr.base,
				   .buf = gdt,
				   .len = registers.gdtr.limit + 1 };
	err = ka_readv(ka, &piece, 1);
	return err ? err : piece.error ? piece.error : ka_seal(ka, &vcpu, 1, &piece, 1);
}

/* How far a process counts meanwhile. */
static uint64_t spin(void)
{
	const uint64_t end = now_ns() + SPIN_MS * 1000000ull;
	uint64_t count = 0;

	while (now_ns() < end)
		count++;
	return count;
}

/* One with it and one without, in turn, so that what else happens is in both. */
static int pass(uint64_t *ret_lost_ps)
{
	uint64_t with, without = spin(), runs;
	struct ka_counters before, after;
	int err;

	ka_host_counters(host, &before);
	err = ka_sentry_stand(sentry, &ka, 1, now_ns(), PERIOD_NS, 0);
	if (err)
		return err;
	with = spin();
	ka_sentry_relieve(sentry);
	ka_host_counters(host, &after);
	runs = after.sentry_runs - before.sentry_runs;
	if (!runs)
		return -EIO;
	*ret_lost_ps =
		without > with ? SPIN_MS * 1000000000ull / without * (without - with) / runs : 0;
	return 0;
}

/* Of one VM with its GDT alone, so that the interrupt is most of it. */
static int measure(double *ret_interrupt_ns)
{
	static uint64_t samples[PASSES];
	struct row row = { .name = "a timer's interrupt and a sentry's round, of one VM",
			   .backend = "sentry",
			   .unit = "µs" };
	struct ka_counters counters;
	double round_us;
	int err = 0;

	for (int i = 0; i < PASSES && !err; i++)
		err = pass(&samples[i]);
	if (err)
		return err;
	ka_host_counters(host, &counters);
	samples_summary(samples, PASSES, &row.value, &row.p99);
	row.value /= 1000;
	row.p99 /= 1000;
	round_us = counters.sentry_ns / 1000.0 / counters.sentry_runs;
	rows_add(&row);
	rows_add(&(struct row){ .name = "of that the round, as it counts itself",
				.backend = "sentry",
				.unit = "µs",
				.value = round_us });
	*ret_interrupt_ns = row.value > round_us ? (row.value - round_us) * 1000 : 0;
	return 0;
}

int bench_interrupt(double *ret_ns)
{
	const struct ka_host_options options = { .no_push = true };
	static double known_ns;
	cpu_set_t before, one;
	char selector[24];
	int err;

	*ret_ns = known_ns;
	if (known_ns)
		return 0;
	sched_getaffinity(0, sizeof(before), &before);
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	err = tinyvm_start(&(struct tinyvm_options){ .irqchip = true }, &vm);
	snprintf(selector, sizeof(selector), "%d", vm.pid);
	if (!err)
		err = ka_host_open(&options, &host);
	if (!err)
		err = ka_open(host, selector, 0, &ka);
	if (!err)
		err = seal();
	if (!err)
		err = ka_sentry_new(host, &sentry);
	if (!err) {
		/* The timer goes off on the CPU where it is started. */
		sched_setaffinity(0, sizeof(one), &one);
		err = measure(&known_ns);
		sched_setaffinity(0, sizeof(before), &before);
	}
	ka_close(ka);
	ka_host_close(host);
	tinyvm_kill(&vm);
	*ret_ns = known_ns;
	return err == -EOPNOTSUPP ? 0 : err;
}

int bench_sentry(void)
{
	double ns;

	return bench_interrupt(&ns);
}
