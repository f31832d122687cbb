// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reads through the kernel's direct map: what they give, what they leave to process_vm_readv(2). */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "access/direct.h"
#include "access/vm.h"
#include "bpf/held_memory.skel.h"
#include "bpf/memory.skel.h"
#include "native/held.h"
#include "support.h"

TestSuite(direct, .fini = support_close, .timeout = TEST_TIMEOUT_S);

enum { PAGE = 4096, LARGE = 2 << 20 };

static uint8_t copy[LARGE], buf[LARGE];

static void open_direct(const struct tinyvm_options *options)
{
	support_open(options, 0);
	if (!t.host->direct)
		cr_skip_test("this kernel's memory is not read directly");
}

/* By address in the VMM. */
static ssize_t read_hva(uint64_t hva, void *data, size_t len)
{
	struct iovec local = { data, len }, remote = { (void *)hva, len };

	return direct_readv(t.host->direct, t.ka->vm, &local, 1, &remote, 1);
}

static ssize_t read_direct(uint64_t gpa, void *data, size_t len)
{
	return read_hva(t.vm.ram + gpa, data, len);
}

static void madvise_vmm(uint64_t gpa, uint64_t len, uint64_t advice)
{
	uint64_t args[] = { gpa, len, advice };

	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_MADVISE, args, 3, NULL));
}

static bool has_feature(const char *name)
{
	const struct ka_probe *probe = ka_host_features(t.host);

	for (size_t i = 0; i < probe->count; i++)
		if (!strcmp(probe->feature[i].name, name))
			return true;
	return false;
}

/* Of the VMM's memory, in large pages. */
static unsigned long large_kib(void)
{
	char path[64], line[256];
	unsigned long kib, sum = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", t.vm.pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "AnonHugePages: %lu", &kib) == 1)
			sum += kib;
	if (file)
		fclose(file);
	return sum;
}

/* ---- what is there ---- */

Test(direct, pieces_of_many_pages_are_read)
{
	struct iovec local[2], remote[2];

	open_direct(&(struct tinyvm_options){ 0 });
	pattern_poke(GUEST_SCRATCH, copy, 4 * PAGE, 1);
	assert_rc(read_direct(GUEST_SCRATCH + 100, buf, 4 * PAGE - 100), 4 * PAGE - 100);
	cr_assert_arr_eq(buf, copy + 100, 4 * PAGE - 100);
	/* Cut in other places at either end. */
	local[0] = (struct iovec){ buf, 5000 };
	local[1] = (struct iovec){ buf + 5000, 1000 };
	remote[0] = (struct iovec){ (void *)(t.vm.ram + GUEST_SCRATCH + PAGE - 4), 8 };
	remote[1] = (struct iovec){ (void *)(t.vm.ram + GUEST_SCRATCH + 1), 5992 };
	assert_rc(direct_readv(t.host->direct, t.ka->vm, local, 2, remote, 2), 6000);
	cr_assert_arr_eq(buf, copy + PAGE - 4, 8);
	cr_assert_arr_eq(buf + 8, copy + 1, 5992);
}

Test(direct, words_of_zero_are_read)
{
	uint64_t word = 1;

	open_direct(&(struct tinyvm_options){ 0 });
	tinyvm_poke64(&t.vm, GUEST_SCRATCH, 0);
	assert_rc(read_direct(GUEST_SCRATCH, &word, sizeof(word)), sizeof(word));
	assert_hex(word, 0);
	tinyvm_poke64(&t.vm, GUEST_SCRATCH, 0x123456789);
	assert_rc(read_direct(GUEST_SCRATCH, &word, sizeof(word)), sizeof(word));
	assert_hex(word, 0x123456789);
}

Test(direct, shared_memory_is_read)
{
	open_direct(&(struct tinyvm_options){ .backing = TINYVM_MEMFD });
	pattern_poke(GUEST_SCRATCH, copy, 2 * PAGE, 2);
	/* Into the VMM's own tables, too. */
	madvise_vmm(GUEST_SCRATCH, 2 * PAGE, MADV_POPULATE_READ);
	assert_rc(read_direct(GUEST_SCRATCH, buf, 2 * PAGE), 2 * PAGE);
	cr_assert_arr_eq(buf, copy, 2 * PAGE);
}

Test(direct, large_pages_are_read)
{
	uint64_t gpa = 0;

	open_direct(&(struct tinyvm_options){ .memory = 64 << 20 });
	/* The first large page that lies whole in the memory behind the guest's own. */
	while ((t.vm.ram + GUEST_MEMORY_MIN + gpa) % LARGE)
		gpa += PAGE;
	gpa += GUEST_MEMORY_MIN;
	madvise_vmm(gpa, LARGE, MADV_DONTNEED);
	madvise_vmm(gpa, LARGE, MADV_HUGEPAGE);
	pattern_poke(gpa, copy, LARGE, 3);
	if (!large_kib())
		cr_skip_test("the kernel gave no large page");
	for (uint64_t at = 0; at < LARGE; at += 4 * PAGE) {
		assert_rc(read_direct(gpa + at + 7, buf, 3 * PAGE), 3 * PAGE);
		cr_assert_arr_eq(buf, copy + at + 7, 3 * PAGE);
	}
}

/* ---- what is not ---- */

Test(direct, what_is_not_in_memory_is_left)
{
	open_direct(&(struct tinyvm_options){ .memory = 64 << 20 });
	pattern_poke(GUEST_SCRATCH, copy, 3 * PAGE, 4);
	madvise_vmm(GUEST_SCRATCH + PAGE, PAGE, MADV_DONTNEED);
	assert_rc(read_direct(GUEST_SCRATCH + PAGE, buf, 8), 0);
	assert_rc(read_direct(GUEST_SCRATCH, buf, 3 * PAGE), 0);
	assert_rc(read_direct(GUEST_SCRATCH, buf, PAGE), PAGE);
	/* The library's call has it brought. */
	assert_ok(ka_gpa_read(t.ka, GUEST_SCRATCH, buf, 3 * PAGE));
	memset(copy + PAGE, 0, PAGE);
	cr_assert_arr_eq(buf, copy, 3 * PAGE);
	assert_rc(read_direct(GUEST_SCRATCH, buf, 3 * PAGE), 3 * PAGE);
	cr_assert_arr_eq(buf, copy, 3 * PAGE);
}

Test(direct, what_is_not_mapped_is_left)
{
	uint64_t args[] = { GUEST_SCRATCH, PAGE };

	open_direct(&(struct tinyvm_options){ 0 });
	pattern_poke(GUEST_SCRATCH, copy, PAGE, 5);
	assert_rc(read_direct(GUEST_SCRATCH, buf, PAGE), PAGE);
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_UNMAP, args, 2, NULL));
	assert_rc(read_direct(GUEST_SCRATCH, buf, PAGE), 0);
	assert_rc(ka_gpa_read(t.ka, GUEST_SCRATCH, buf, 8), -ENXIO);
}

/* Also where an address is in the kernel's tables, which are the same. */
Test(direct, only_a_process_is_read)
{
	static const uint64_t addresses[] = {
		0, PAGE, 0x7ffffffff000, 0x800000000000, 0x100000000000000, 0xffff7fffffffffff,
		0xffff888000000000, 0xffff888001000000, 0xffffffff81000000, ~0ull - PAGE, ~0ull,
	};

	open_direct(&(struct tinyvm_options){ 0 });
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
		assert_rc(read_hva(addresses[i], buf, 1), 0);
	/* The direct map itself, where it begins here. */
	for (uint64_t gib = 0; gib < 64; gib++)
		assert_rc(read_hva(0xffff888000000000 + (gib << 30) + (16 << 20), buf, 8), 0);
}

Test(direct, too_much_for_one_call_is_left)
{
	open_direct(&(struct tinyvm_options){ .memory = 64 << 20 });
	pattern_poke(GUEST_SCRATCH, copy, 32 * PAGE, 6);
	assert_rc(read_direct(GUEST_SCRATCH, buf, 15 * PAGE), 15 * PAGE);
	cr_assert_arr_eq(buf, copy, 15 * PAGE);
	assert_rc(read_direct(GUEST_SCRATCH, buf, 16 * PAGE), 0);
	assert_rc(read_direct(GUEST_SCRATCH, buf, SIZE_MAX), 0);
	assert_rc(read_direct(GUEST_SCRATCH, buf, 0), 0);
	assert_ok(ka_gpa_read(t.ka, GUEST_SCRATCH, buf, 32 * PAGE));
	cr_assert_arr_eq(buf, copy, 32 * PAGE);
}

Test(direct, another_vm_is_left)
{
	struct host_vm other;

	open_direct(&(struct tinyvm_options){ 0 });
	pattern_poke(GUEST_SCRATCH, copy, PAGE, 8);
	other = *t.ka->vm;
	other.clock_offset++;
	for (unsigned int i = 0; i < 4; i++) {
		struct iovec local = { buf, 8 }, remote = { (void *)(t.vm.ram + GUEST_SCRATCH), 8 };

		assert_rc(direct_readv(t.host->direct, &other, &local, 1, &remote, 1), 0);
		/* No VM at all. */
		other = *t.ka->vm;
		other.kvm = (uint64_t[]){ 0, PAGE, t.vm.ram, other.kvm + 64 }[i];
	}
	assert_rc(read_direct(GUEST_SCRATCH, buf, 8), 8);
}

Test(direct, a_vm_that_ended_is_left)
{
	struct host_vm gone;
	struct iovec local = { buf, 8 }, remote;

	open_direct(&(struct tinyvm_options){ 0 });
	pattern_poke(GUEST_SCRATCH, copy, PAGE, 9);
	remote = (struct iovec){ (void *)(t.vm.ram + GUEST_SCRATCH), 8 };
	gone = *t.ka->vm;
	assert_rc(direct_readv(t.host->direct, &gone, &local, 1, &remote, 1), 8);
	tinyvm_kill(&t.vm);
	assert_rc(direct_readv(t.host->direct, &gone, &local, 1, &remote, 1), 0);
	assert_rc(ka_gpa_read(t.ka, GUEST_SCRATCH, buf, 8), -EOWNERDEAD);
}

Test(direct, is_done_without)
{
	t.no_direct = true;
	support_open(&(struct tinyvm_options){ 0 }, 0);
	cr_assert_null(t.host->direct);
	cr_assert(!has_feature("direct_memory"));
	pattern_poke(GUEST_SCRATCH, copy, PAGE, 7);
	assert_ok(ka_gpa_read(t.ka, GUEST_SCRATCH, buf, PAGE));
	cr_assert_arr_eq(buf, copy, PAGE);
}

Test(direct, is_among_the_features)
{
	open_direct(&(struct tinyvm_options){ 0 });
	cr_assert(has_feature("direct_memory"));
}

/* ---- what changes meanwhile ---- */

static struct held_memory_bpf *held;

static void held_close(void)
{
	held_memory_bpf__destroy(held);
	held = NULL;
	support_close();
}

TestSuite(held, .fini = held_close, .timeout = TEST_TIMEOUT_S);

/* The library's program, which waits for its turn between the walk and the read. */
static void held_open(void)
{
	open_direct(&(struct tinyvm_options){ .memory = 64 << 20 });
	held = held_memory_bpf__open_and_load();
	cr_assert_not_null(held);
	held->bss->direct_map = t.host->direct->programs->bss->direct_map;
	held->bss->memory_end = t.host->direct->programs->bss->memory_end;
	held->bss->physical_mask = t.host->direct->programs->bss->physical_mask;
	held->bss->levels = t.host->direct->programs->bss->levels;
}

static void *held_run(void *ret_err)
{
	struct kvmbpf_copy_call call = {
		.kvm = t.ka->vm->kvm, .clock_offset = t.ka->vm->clock_offset, .count = 1
	};
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &call, .ctx_size_in = sizeof(call));

	*(int *)ret_err = bpf_prog_test_run_opts(bpf_program__fd(held->progs.copy_memory), &options);
	if (!*(int *)ret_err)
		*(int *)ret_err = (int)options.retval;
	return NULL;
}

/* The frame behind page 0 of the scratch memory: proc_pid_pagemap(5). */
static uint64_t scratch_frame(void)
{
	uint64_t entry = 0;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", t.vm.pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(pread(fd, &entry, sizeof(entry), (off_t)((t.vm.ram + GUEST_SCRATCH) / PAGE * 8)),
		     sizeof(entry));
	close(fd);
	return entry & ((1ull << 55) - 1);
}

/* Whether that page was read although `change` came between; the frame that it had before. */
static bool read_during(void (*change)(void), uint64_t *ret_frame)
{
	volatile __u32 *turn = &held->bss->turn;
	struct kvmbpf_copy piece = { .hva = t.vm.ram + GUEST_SCRATCH, .len = PAGE };
	__u32 zero = 0;
	pthread_t thread;
	int err;

	for (unsigned int try = 0; try < 20; try++) {
		*turn = HELD_RUNS;
		*ret_frame = scratch_frame();
		assert_ok(bpf_map__update_elem(held->maps.copies, &zero, sizeof(zero), &piece,
					       sizeof(piece), 0));
		cr_assert_eq(pthread_create(&thread, NULL, held_run, &err), 0);
		while (*turn == HELD_RUNS)
			;
		change();
		/* Unless the program waits no longer, on a machine that is very busy. */
		if (__sync_bool_compare_and_swap(&held->bss->turn, HELD_WAITS, HELD_GOES_ON))
			try = 100;
		pthread_join(thread, NULL);
		assert_ok(err);
	}
	cr_assert_eq(*turn, HELD_GOES_ON, "the program never waited for long enough");
	assert_ok(bpf_map__lookup_elem(held->maps.copies, &zero, sizeof(zero), &piece,
				       sizeof(piece), 0));
	return piece.done;
}

static void change_nothing(void)
{
}

/* The page is given back, and another one taken. */
static void change_page(void)
{
	madvise_vmm(GUEST_SCRATCH, PAGE, MADV_DONTNEED);
	pattern_poke(GUEST_SCRATCH, copy, PAGE, 11);
}

static void change_mapping(void)
{
	uint64_t args[] = { GUEST_SCRATCH, PAGE };

	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_UNMAP, args, 2, NULL));
}

Test(held, a_page_that_stays_is_read)
{
	uint64_t frame;

	held_open();
	pattern_poke(GUEST_SCRATCH, copy, PAGE, 10);
	cr_assert(read_during(change_nothing, &frame));
}

Test(held, a_page_that_was_exchanged_is_left)
{
	uint64_t before, tries = 0;
	bool done;

	held_open();
	pattern_poke(GUEST_SCRATCH, copy, PAGE, 10);
	/* The kernel may well give the same one again. */
	do {
		done = read_during(change_page, &before);
	} while (scratch_frame() == before && ++tries < 100);
	cr_assert_neq(scratch_frame(), before);
	cr_assert_not(done);
}

Test(held, a_page_that_went_is_left)
{
	uint64_t frame;

	held_open();
	pattern_poke(GUEST_SCRATCH, copy, PAGE, 10);
	cr_assert_not(read_during(change_mapping, &frame));
}
