// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a guest that exits all the time is slowed down by being watched: a tiny guest runs CPUID, which
 * each hypervisor must intercept. Software KVM brings no exits that programs hang on.
 */
#include "bench.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <kvmaccess.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "native/tinyvm.h"

enum { ROUNDS = 11, ROUND_MS = 500, PROGRAMS_MAX = 1 << 16, CODE = GUEST_TEXT + 0x3f00 };

static struct tinyvm vm;

static const uint8_t cpuid_loop[] = {
	0x31, 0xc0,			 /* 1: xor %eax, %eax */
	0x0f, 0xa2,			 /* cpuid */
	0x48, 0xff, 0x47, MAILBOX_COUNT, /* incq MAILBOX_COUNT(%rdi) */
	0x83, 0x7f, MAILBOX_STOP, 0x00,	 /* cmpl $0, MAILBOX_STOP(%rdi) */
	0x74, 0xf2,			 /* je 1b */
	0xc3,
};

static int start_guest(void)
{
	const struct tinyvm_options options = { .irqchip = true };
	const uint64_t code = tinyvm_gva(TINYVM_4LEVEL, CODE);
	int err = tinyvm_start(&options, &vm);

	if (!err)
		err = tinyvm_poke(&vm, CODE, cpuid_loop, sizeof(cpuid_loop));
	return err ? err : tinyvm_command(&vm, 0, GUEST_CMD_CALL, &code, 1);
}

/* µs from one exit to the next, in the median of some rounds; how many there were in all of them. */
static int time_exits(double *ret_us, uint64_t *ret_exits)
{
	const struct timespec pause = { .tv_nsec = ROUND_MS * 1000000L };
	static uint64_t samples[ROUNDS];
	double p99;

	*ret_exits = 0;
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t begin = now_ns(), before = tinyvm_mailbox(&vm, 0, MAILBOX_COUNT), exits;

		nanosleep(&pause, NULL);
		exits = tinyvm_mailbox(&vm, 0, MAILBOX_COUNT) - before;
		if (!exits)
			return -EIO;
		samples[i] = (now_ns() - begin) * 1000 / exits; /* so that µs of them are ns */
		*ret_exits += exits;
	}
	samples_summary(samples, ROUNDS, ret_us, &p99);
	*ret_us /= 1000;
	return 0;
}

/* Of our programs on exits and vcpu_load, all together. */
static void programs_ran(uint64_t *ret_ns, uint64_t *ret_runs)
{
	__u32 id = 0;

	*ret_ns = *ret_runs = 0;
	for (int i = 0; i < PROGRAMS_MAX && !bpf_prog_get_next_id(id, &id); i++) {
		struct bpf_prog_info info = { 0 };
		__u32 size = sizeof(info);
		int fd = bpf_prog_get_fd_by_id(id);

		if (fd < 0)
			continue;
		if (!bpf_obj_get_info_by_fd(fd, &info, &size) &&
		    (!strncmp(info.name, "exit_", 5) || !strncmp(info.name, "load_", 5))) {
			*ret_ns += info.run_time_ns;
			*ret_runs += info.run_cnt;
		}
		close(fd);
	}
}

static int measure_watched(double unwatched)
{
	struct row row = { .name = "an exit of a guest (CPUID), watched",
			   .backend = "kvm_exit",
			   .unit = "µs",
			   .reference = unwatched,
			   .reference_of = "not watched" };
	struct row share = { .name = "of that our programs, as the kernel counts them",
			     .backend = "BPF statistics",
			     .unit = "µs" };
	uint64_t ns, runs, ns_before, runs_before, exits;
	int stats, err = time_exits(&row.value, &exits);

	if (err)
		return err;
	rows_add(&row);
	/* Counting takes time, too: not in the row above. */
	stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
	if (stats < 0)
		return -errno;
	programs_ran(&ns_before, &runs_before);
	err = time_exits(&share.value, &exits);
	programs_ran(&ns, &runs);
	close(stats);
	if (err || runs == runs_before)
		return err ? err : -ENODATA;
	share.value = (double)(ns - ns_before) / (double)exits / 1000;
	rows_add(&share);
	return 0;
}

int bench_guest(void)
{
	struct row row = { .name = "an exit of a guest (CPUID), not watched",
			   .backend = "kvm_exit",
			   .unit = "µs" };
	struct ka_host *host = NULL;
	struct ka_vm *ka = NULL;
	char selector[24];
	uint64_t exits;
	int err = start_guest();

	if (!err)
		err = time_exits(&row.value, &exits);
	if (!err)
		err = ka_host_open(NULL, &host);
	if (!err && ka_host_features(host)->vendor == KA_VENDOR_PVM)
		err = -EOPNOTSUPP;
	if (!err) {
		rows_add(&row);
		snprintf(selector, sizeof(selector), "%d", vm.pid);
		err = ka_open(host, selector, 0, &ka);
	}
	if (!err)
		err = measure_watched(row.value);
	ka_close(ka);
	ka_host_close(host);
	tinyvm_kill(&vm);
	return err;
}
