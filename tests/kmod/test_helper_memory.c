// SPDX-License-Identifier: LGPL-2.1-or-later
/* Guest memory through the module, held against what the VMM has there. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

TestSuite(helper_memory, .fini = harness_close, .timeout = TEST_TIMEOUT_S);

enum { PAGE = 4096, PRESENT = 1, WRITE = 2, LARGE = 0x80, MMIO = 0xfee00000 };

#define HOLE GUEST_MEMORY_MIN /* GPA after slot 0, with the default layout */
#define ENTRY(gpa) ((gpa) | PRESENT | WRITE)

static uint8_t copy[4 * PAGE], buf[4 * PAGE];

static void open_paged(const struct tinyvm_options *options)
{
	harness_open(options);
	assert_ok(acquire(0, t.vm.pid, 0));
	bss->call.paging = harness_paging(0);
}

static int read_as(const char *program, uint64_t address, size_t len)
{
	memset(bss->data, 0, sizeof(bss->data));
	bss->call.address = address;
	bss->call.len = len;
	return harness_call(program);
}

static int read_gva(uint64_t address, size_t len)
{
	return read_as("gva_read", address, len);
}

static int write_gva(uint64_t address, const void *data, size_t len)
{
	memcpy(bss->data, data, len);
	bss->call.address = address;
	bss->call.len = len;
	return harness_call("gva_write");
}

/* ---- reads ---- */

MODE_TEST(helper_memory, reads_what_the_vmm_has)
{
	open_paged(&(struct tinyvm_options){ .mode = mode });
	pattern_poke(GUEST_SCRATCH, copy, sizeof(copy), 1);
	assert_ok(read_gva(gva(GUEST_SCRATCH), PAGE));
	cr_assert_arr_eq(bss->data, copy, PAGE);
	assert_ok(read_gva(gva(GUEST_SCRATCH) + 100, PAGE));
	cr_assert_arr_eq(bss->data, copy + 100, PAGE);
	/* Pages next to each other for the guest, and in the other order in memory. */
	for (unsigned int i = 0; i < 4; i++)
		window_set(i, ENTRY(GUEST_SCRATCH + (3 - i) * PAGE));
	assert_ok(read_gva(window_gva(1) - 3, 6));
	cr_assert_arr_eq(bss->data, copy + 4 * PAGE - 3, 3);
	cr_assert_arr_eq(bss->data + 3, copy + 2 * PAGE, 3);
	/* Through a large page. */
	assert_ok(tinyvm_peek(&t.vm, GUEST_TEXT, buf, PAGE));
	assert_ok(read_gva(gva(GUEST_LARGE) + GUEST_TEXT, PAGE));
	cr_assert_arr_eq(bss->data, buf, PAGE);
}

MODE_TEST(helper_memory, unmapped_mmio_and_reserved_have_their_errors)
{
	open_paged(&(struct tinyvm_options){ .mode = mode });
	assert_rc(read_gva(window_gva(0), 8), -EFAULT);
	window_set(0, ENTRY(GUEST_SCRATCH));
	assert_ok(read_gva(window_gva(0), PAGE));
	assert_rc(read_gva(window_gva(1) - 4, 8), -EFAULT);
	window_set(1, ENTRY(MMIO));
	assert_rc(read_gva(window_gva(1), 4), -ENXIO);
	window_set(1, ENTRY(HOLE));
	assert_rc(read_gva(window_gva(1) - 4, 8), -ENXIO);
	if (mode == TINYVM_32BIT) {
		uint32_t entry = ENTRY(0) | LARGE | 1 << 21;

		assert_ok(tinyvm_poke(&t.vm, GUEST_ROOT + 4 * ((GUEST_BASE_32 + 0xc00000) >> 22),
				      &entry, sizeof(entry)));
	} else {
		tinyvm_poke64(&t.vm, GUEST_PD + 8 * 6, ENTRY(GUEST_SCRATCH) | LARGE | 1 << 13);
	}
	assert_rc(read_gva(gva(0xc00000), 4), -EBADMSG);
}

Test(helper_memory, page_tables_that_point_at_themselves_end)
{
	open_paged(&(struct tinyvm_options){ 0 });
	tinyvm_poke64(&t.vm, GUEST_ROOT + 8 * 300, ENTRY(GUEST_ROOT));
	assert_ok(read_gva(0xffffull << 48 | 300ull << 39 | 300ull << 30 | 300 << 21 | 300 << 12, 8));
	cr_assert_eq(*(uint64_t *)bss->data, tinyvm_peek64(&t.vm, GUEST_ROOT));
}

Test(helper_memory, without_paging_an_address_is_a_gpa)
{
	open_paged(&(struct tinyvm_options){ .mode = TINYVM_RESET });
	cr_assert_eq(bss->call.paging.mode, KVMBPF_PAGING_OFF);
	pattern_poke(GUEST_SCRATCH, copy, 2 * PAGE, 2);
	assert_ok(read_gva(GUEST_SCRATCH + 8, PAGE));
	cr_assert_arr_eq(bss->data, copy + 8, PAGE);
	assert_rc(read_gva(1ull << 40, 8), -ENXIO);
	assert_rc(read_gva(~0ull - 7, 8), -ENXIO);
}

Test(helper_memory, bad_arguments_are_errors)
{
	open_paged(&(struct tinyvm_options){ 0 });
	assert_rc(read_gva(gva(GUEST_SCRATCH), 0), -EINVAL);
	assert_rc(read_gva(gva(GUEST_SCRATCH), PAGE + 1), -EINVAL);
	assert_rc(read_gva(0x0000800000000000, 8), -EINVAL);
	assert_rc(read_gva(~0ull - 3, 8), -EINVAL);
	bss->call.paging.mode = KVMBPF_PAGING_5LEVEL + 1;
	assert_rc(read_gva(gva(GUEST_SCRATCH), 8), -EINVAL);
	bss->call.paging = (struct kvmbpf_paging_state){ .mode = KVMBPF_PAGING_4LEVEL,
							 .root = ~0ull };
	assert_rc(read_gva(gva(GUEST_SCRATCH), 8), -ENXIO);
	bss->call.paging.maxphyaddr = 40;
	assert_rc(read_gva(gva(GUEST_SCRATCH), 8), -EBADMSG);
}

Test(helper_memory, pages_that_the_host_dropped_come_back)
{
	uint64_t drop[] = { GUEST_SCRATCH, PAGE, MADV_DONTNEED };

	open_paged(&(struct tinyvm_options){ 0 });
	pattern_poke(GUEST_SCRATCH, copy, PAGE, 3);
	/* Private memory comes back as zeros, for the guest as well. */
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_MADVISE, drop, 3, NULL));
	assert_ok(read_gva(gva(GUEST_SCRATCH), PAGE));
	for (unsigned int i = 0; i < PAGE; i++)
		cr_assert_eq(bss->data[i], 0);
}

Test(helper_memory, pages_that_the_vmm_has_not_mapped_now_are_read)
{
	uint64_t drop[] = { GUEST_SCRATCH, PAGE, MADV_DONTNEED };

	open_paged(&(struct tinyvm_options){ .backing = TINYVM_MEMFD });
	pattern_poke(GUEST_SCRATCH, copy, PAGE, 4);
	/* Shared memory keeps its contents. */
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_MADVISE, drop, 3, NULL));
	assert_ok(read_gva(gva(GUEST_SCRATCH), PAGE));
	cr_assert_arr_eq(bss->data, copy, PAGE);
}

static bool host_swaps(void)
{
	char line[128];
	unsigned int lines = 0;
	FILE *file = fopen("/proc/swaps", "re");

	while (file && fgets(line, sizeof(line), file))
		lines++;
	if (file)
		fclose(file);
	return lines > 1;
}

static bool swapped_out(uint64_t gpa)
{
	uint64_t entry = 0, address = t.vm.ram + gpa;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", t.vm.pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	cr_assert_eq(pread(fd, &entry, sizeof(entry), address / PAGE * sizeof(entry)),
		     sizeof(entry));
	close(fd);
	return entry >> 62 & 1; /* Documentation/admin-guide/mm/pagemap.rst */
}

Test(helper_memory, swapped_out_pages_are_brought_in)
{
	uint64_t out[] = { GUEST_SCRATCH, PAGE, MADV_PAGEOUT };

	open_paged(&(struct tinyvm_options){ 0 });
	if (!host_swaps())
		cr_skip_test("this host has no swap");
	pattern_poke(GUEST_SCRATCH, copy, PAGE, 7);
	for (unsigned int i = 0; i < 100 && !swapped_out(GUEST_SCRATCH); i++) {
		assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_MADVISE, out, 3, NULL));
		usleep(10000);
	}
	cr_assert(swapped_out(GUEST_SCRATCH));
	assert_ok(read_gva(gva(GUEST_SCRATCH), PAGE));
	cr_assert_arr_eq(bss->data, copy, PAGE);
	cr_assert(!swapped_out(GUEST_SCRATCH));
}

Test(helper_memory, unmapped_by_the_vmm_is_enxio)
{
	uint64_t unmap[] = { GUEST_SCRATCH, PAGE };

	open_paged(&(struct tinyvm_options){ 0 });
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_UNMAP, unmap, 2, NULL));
	assert_rc(read_gva(gva(GUEST_SCRATCH), 8), -ENXIO);
	assert_rc(write_gva(gva(GUEST_SCRATCH), copy, 8), -ENXIO);
	assert_ok(read_gva(gva(GUEST_SCRATCH) + PAGE, 8));
}

/* ---- writes ---- */

MODE_TEST(helper_memory, writes_across_pages)
{
	open_paged(&(struct tinyvm_options){ .mode = mode });
	pattern_poke(GUEST_SCRATCH, copy, sizeof(copy), 5);
	for (unsigned int i = 0; i < 4; i++)
		window_set(i, ENTRY(GUEST_SCRATCH + (3 - i) * PAGE));
	memset(buf, 0xa5, PAGE);
	assert_ok(write_gva(window_gva(1) - 100, buf, PAGE));
	memset(copy + 4 * PAGE - 100, 0xa5, 100);
	memset(copy + 2 * PAGE, 0xa5, PAGE - 100);
	assert_ok(tinyvm_peek(&t.vm, GUEST_SCRATCH, buf, sizeof(buf)));
	cr_assert_arr_eq(buf, copy, sizeof(buf));
}

Test(helper_memory, refused_writes_change_nothing)
{
	open_paged(&(struct tinyvm_options){ .slots = 2 });
	pattern_poke(GUEST_SCRATCH, copy, PAGE, 6);
	/* The second half of the write goes to a page of slot 1. */
	window_set(0, ENTRY(GUEST_SCRATCH));
	window_set(1, ENTRY(t.vm.slot[1].gpa));
	memset(buf, 0xa5, PAGE);
	t.vm.slot[1].flags = KVM_MEM_LOG_DIRTY_PAGES;
	assert_ok(tinyvm_set_slot(&t.vm, &t.vm.slot[1]));
	assert_rc(write_gva(window_gva(1) - 4, buf, 8), -EBUSY);
	assert_ok(write_gva(window_gva(0), copy, 8));
	assert_ok(tinyvm_peek(&t.vm, GUEST_SCRATCH, buf, PAGE));
	cr_assert_arr_eq(buf, copy, PAGE);
	t.vm.slot[1].flags = 0;
	assert_ok(tinyvm_set_slot(&t.vm, &t.vm.slot[1]));
	assert_ok(write_gva(window_gva(1) - 4, copy + PAGE - 4, 8));
	window_set(1, 0);
	assert_rc(write_gva(window_gva(1) - 4, buf, 8), -EFAULT);
}

Test(helper_memory, read_only_memslots_are_not_written)
{
	open_paged(&(struct tinyvm_options){ .slots = 2 });
	window_set(0, ENTRY(t.vm.slot[1].gpa));
	/* KVM lets no memslot become read-only: it is made anew. */
	t.vm.slot[1].flags = KVM_MEM_READONLY;
	assert_ok(tinyvm_set_slot(&t.vm, &(struct tinyvm_slot){ .id = t.vm.slot[1].id,
								.gpa = t.vm.slot[1].gpa }));
	assert_rc(write_gva(window_gva(0), copy, 8), -ENXIO);
	assert_ok(tinyvm_set_slot(&t.vm, &t.vm.slot[1]));
	assert_rc(write_gva(window_gva(0), copy, 8), -EPERM);
	assert_ok(read_gva(window_gva(0), 8));
}

/* ---- on a vCPU's thread ---- */

Test(helper_memory, elsewhere_than_in_the_vmm_is_exdev)
{
	open_paged(&(struct tinyvm_options){ 0 });
	assert_rc(read_as("gva_read_nofault", gva(GUEST_SCRATCH), 8), -EXDEV);
	assert_rc(read_as("gva_read_nofault", gva(GUEST_SCRATCH), 0), -EINVAL);
}

MODE_TEST(helper_memory, is_read_on_exits)
{
	harness_load(true);
	support_start(&(struct tinyvm_options){ .mode = mode });
	assert_ok(acquire(0, t.vm.pid, 0));
	tinyvm_poke64(&t.vm, GUEST_SCRATCH, 0x1122334455667788);
	bss->on_exit_paging = harness_paging(0);
	bss->on_exit_address = gva(GUEST_SCRATCH);
	bss->on_exit_expected = 0x1122334455667788;
	bss->on_exit_kvm = bss->call.kvm;
	/* What the host has taken out of the VMM's page tables is not read there. */
	for (unsigned int i = 0; i < 20 || (i < 2000 && !bss->on_exit.reads); i++)
		assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_LOAD, gva(GUEST_TEXT), 0));
	cr_assert_gt(bss->on_exit.exits, 0);
	cr_assert_gt(bss->on_exit.reads, 0, "%llu exits, error %d", bss->on_exit.exits,
		     bss->on_exit.read_error);
	cr_assert_eq(bss->on_exit.differences, 0, "%llu of %llu", bss->on_exit.differences,
		     bss->on_exit.reads);
	/* Called at any time, where there is no VMX or it is another's VMCS. */
	cr_assert(bss->on_exit.vmcs_error == -EOPNOTSUPP || bss->on_exit.vmcs_error == -EXDEV, "%d",
		  bss->on_exit.vmcs_error);
}
