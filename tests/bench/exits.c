// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the program on kvm_exit costs. Tiny guests on software KVM bring no such exits, so the
 * program's body is run on a vCPU by a test-run, many times in one call.
 */
#include "bench.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <kvmaccess.h>
#include <stdio.h>
#include <string.h>

#include "access/vm.h"
#include "bpf/exit_cost.skel.h"
#include "native/tinyvm.h"

enum { RUNS = 200, EXITS = 1000 };

struct call {
	uint64_t vcpu, count, change;
};

static int run(struct exit_cost_bpf *programs, struct call call, uint64_t *ret_ns)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &call, .ctx_size_in = sizeof(call));
	uint64_t begin = now_ns();
	int err = bpf_prog_test_run_opts(bpf_program__fd(programs->progs.exit_cost_pvm), &options);

	*ret_ns = (now_ns() - begin) * 1000 / EXITS; /* so that µs of them are ns */
	return err ? err : options.retval == EXITS ? 0 : -EIO;
}

static int measure(struct exit_cost_bpf *programs, uint64_t vcpu, const char *name, bool change,
		   double goal)
{
	static uint64_t samples[RUNS];
	struct row row = { .name = name, .backend = "test-run", .unit = "ns", .goal = goal };
	int err = 0;

	for (int i = 0; i < RUNS && !err; i++)
		err = run(programs, (struct call){ vcpu, EXITS, change }, &samples[i]);
	if (err)
		return err;
	samples_summary(samples, RUNS, &row.value, &row.p99);
	rows_add(&row);
	return 0;
}

static int measure_all(struct exit_cost_bpf *programs, uint64_t vcpu)
{
	uint32_t slot = 0;
	int err = exit_cost_bpf__load(programs);

	if (!err && bpf_map_update_elem(bpf_map__fd(programs->maps.vcpu_slots), &vcpu, &slot,
					BPF_ANY))
		err = -errno;
	if (!err)
		err = measure(programs, vcpu, "an exit with nothing changed", false, 60);
	if (!err)
		err = measure(programs, vcpu, "an exit with a change, over the budget of pushes",
			      true, 0);
	if (!err)
		err = measure(programs, vcpu + 1, "an exit of a VM that is not watched", false, 0);
	return err;
}

int bench_exits(void)
{
	const struct tinyvm_options options = { 0 };
	const struct ka_host_options pull = { .no_push = true };
	struct exit_cost_bpf *programs = exit_cost_bpf__open();
	struct ka_host *host = NULL;
	struct tinyvm vm = { 0 };
	struct ka_vm *ka = NULL;
	char selector[24];
	int err = programs ? 0 : -errno;

	if (!err)
		err = tinyvm_start(&options, &vm);
	if (!err)
		err = ka_host_open(&pull, &host);
	snprintf(selector, sizeof(selector), "%d", vm.pid);
	if (!err)
		err = ka_open(host, selector, 0, &ka);
	if (!err && ka_host_features(host)->vendor != KA_VENDOR_PVM)
		err = -EOPNOTSUPP;
	if (!err) {
		bpf_program__set_autoload(programs->progs.exit_cost_pvm, true);
		err = measure_all(programs, ka->vm->vcpus[0].vcpu);
	}
	ka_close(ka);
	ka_host_close(host);
	tinyvm_kill(&vm);
	exit_cost_bpf__destroy(programs);
	return err;
}
