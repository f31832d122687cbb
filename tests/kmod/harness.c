// SPDX-License-Identifier: LGPL-2.1-or-later
/* Loads the test programs and runs them. */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"


enum { TOLD_MAX = 1 << 17, DEADLINE_MS = 20000 };

struct calls_bpf__bss *bss;
struct told *told;

static struct calls_bpf *programs;
static struct ring_buffer *ring;
static size_t told_count;

static int take(void *ctx, void *record, size_t size)
{
	(void)ctx;
	cr_assert_eq(size, sizeof(*told));
	cr_assert_lt(told_count, TOLD_MAX);
	memcpy(&told[told_count++], record, size);
	return 0;
}

int harness_try_load(bool on_exit)
{
	int err;

	programs = calls_bpf__open();
	if (!programs)
		return -errno;
	bpf_program__set_autoload(programs->progs.exit_calls, on_exit);
	bpf_program__set_autoload(programs->progs.vcpu_loads, on_exit);
	err = calls_bpf__load(programs);
	if (!err)
		err = calls_bpf__attach(programs);
	bss = programs->bss;
	return err;
}

void harness_load(bool on_exit)
{
	if (access("/sys/module/kvmbpf_helper", F_OK))
		cr_skip_test("kvmbpf_helper is not loaded");
	assert_ok(harness_try_load(on_exit));
	told = calloc(TOLD_MAX, sizeof(*told));
	cr_assert_not_null(told);
	ring = ring_buffer__new(bpf_map__fd(programs->maps.told), take, NULL, NULL);
	cr_assert_not_null(ring);
}

void harness_open(const struct tinyvm_options *options)
{
	harness_load(false);
	support_start(options);
}

void harness_unload(void)
{
	ring_buffer__free(ring);
	calls_bpf__destroy(programs);
	free(told);
	ring = NULL;
	programs = NULL;
	bss = NULL;
	told = NULL;
	told_count = 0;
}

void harness_close(void)
{
	harness_unload();
	support_close();
}

int harness_vm_fd(pid_t pid, unsigned int index)
{
	char path[64], target[64];
	int fd = -ENOENT, pidfd = syscall(SYS_pidfd_open, pid, 0);

	for (int number = 0; number < 4096 && fd == -ENOENT; number++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, number);
		memset(target, 0, sizeof(target));
		if (readlink(path, target, sizeof(target) - 1) > 0 &&
		    !strcmp(target, "anon_inode:kvm-vm") && !index--)
			fd = syscall(SYS_pidfd_getfd, pidfd, number, 0);
	}
	close(pidfd);
	return fd;
}

struct kvmbpf_paging_state harness_paging(unsigned int vcpu)
{
	struct tinyvm_registers registers;

	assert_ok(tinyvm_registers(&t.vm, vcpu, &registers));
	return (struct kvmbpf_paging_state){
		.root = registers.sregs.cr3,
		.mode = kvmbpf_paging_mode(registers.sregs.cr0, registers.sregs.cr4,
					   registers.sregs.efer),
		.pse = !!(registers.sregs.cr4 & KVMBPF_CR4_PSE),
		.nx = !!(registers.sregs.efer & KVMBPF_EFER_NXE),
	};
}

int harness_call(const char *name)
{
	struct bpf_program *program = bpf_object__find_program_by_name(programs->obj, name);
	LIBBPF_OPTS(bpf_test_run_opts, options);

	cr_assert_not_null(program, "%s", name);
	bss->call.result = 0;
	assert_ok(bpf_prog_test_run_opts(bpf_program__fd(program), &options));
	return bss->call.result;
}

int acquire(unsigned int slot, pid_t pid, unsigned int index)
{
	int fd = harness_vm_fd(pid, index), result;

	if (fd < 0)
		return fd;
	bss->call.slot = slot;
	bss->call.fd = fd;
	result = harness_call("vm_acquire");
	close(fd);
	return result;
}

int track(uint64_t gpa, uint32_t len, uint32_t flags, uint64_t cookie)
{
	bss->call.address = gpa;
	bss->call.len = len;
	bss->call.flags = flags;
	bss->call.cookie = cookie;
	return harness_call("track");
}

int tell_writes(uint64_t gpa, uint32_t frames, uint64_t cookie)
{
	bss->call.address = gpa;
	bss->call.len = frames;
	bss->call.cookie = cookie;
	return harness_call("tell_writes");
}

int untrack(uint64_t gpa, uint64_t len)
{
	bss->call.address = gpa;
	bss->call.len = len;
	return harness_call("untrack");
}

size_t told_take(void)
{
	ring_buffer__consume(ring);
	cr_assert_eq(bss->told_lost, 0);
	return told_count;
}

void told_wait(size_t count)
{
	uint64_t deadline = support_now_ms() + DEADLINE_MS;

	while (told_take() < count && support_now_ms() < deadline)
		ring_buffer__poll(ring, 100);
	cr_assert_geq(told_count, count, "told %zu times, not %zu", told_count, count);
}

void told_clear(void)
{
	told_take();
	told_count = 0;
}

long references(void)
{
	FILE *file = fopen("/sys/module/kvmbpf_helper/refcnt", "re");
	long count = -1;

	if (file) {
		if (fscanf(file, "%ld", &count) != 1)
			count = -1;
		fclose(file);
	}
	return count;
}

void references_wait(long count)
{
	uint64_t deadline = support_now_ms() + DEADLINE_MS;

	while (references() != count && support_now_ms() < deadline)
		usleep(10000);
	cr_assert_eq(references(), count, "%ld references of the module, not %ld", references(),
		     count);
}
