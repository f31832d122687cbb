// SPDX-License-Identifier: LGPL-2.1-or-later
/* Guest memory: reads and writes by GPA and GVA, memslots that change, and every way to fail. */
#define _GNU_SOURCE
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support.h"

TestSuite(memory, .fini = support_close, .timeout = TEST_TIMEOUT_S);

enum { PAGE = 4096, PRESENT = 1, WRITE = 2, LARGE = 0x80, MMIO = 0xfee00000 };

#define HOLE GUEST_MEMORY_MIN  /* GPA after slot 0, with the default layout */
#define ENTRY(gpa) ((gpa) | PRESENT | WRITE)

static uint8_t copy[4 * PAGE], buf[4 * PAGE];

static int read_gva(uint64_t address, void *data, size_t len)
{
	return ka_gva_read(t.ka, &t.paging, address, data, len);
}

static int read_gpa(uint64_t gpa, void *data, size_t len)
{
	return ka_gpa_read(t.ka, gpa, data, len);
}

/* ---- reads ---- */

MODE_TEST(memory, reads_across_pages)
{
	support_open(&(struct tinyvm_options){ .mode = mode }, 0);
	pattern_poke(GUEST_SCRATCH, copy, sizeof(copy), 1);
	assert_ok(read_gpa(GUEST_SCRATCH + 100, buf, sizeof(buf) - 100));
	cr_assert_arr_eq(buf, copy + 100, sizeof(buf) - 100);
	memset(buf, 0, sizeof(buf));
	assert_ok(read_gva(gva(GUEST_SCRATCH) + 100, buf, sizeof(buf) - 100));
	cr_assert_arr_eq(buf, copy + 100, sizeof(buf) - 100);
	/* Pages next to each other for the guest, and in the other order in memory. */
	for (unsigned int i = 0; i < 4; i++)
		window_set(i, ENTRY(GUEST_SCRATCH + (3 - i) * PAGE));
	assert_ok(read_gva(window_gva(0), buf, sizeof(buf)));
	for (unsigned int i = 0; i < 4; i++)
		cr_assert_arr_eq(buf + i * PAGE, copy + (3 - i) * PAGE, PAGE);
	assert_ok(read_gva(window_gva(1) - 3, buf, 6));
	cr_assert_arr_eq(buf, copy + 4 * PAGE - 3, 3);
	cr_assert_arr_eq(buf + 3, copy + 2 * PAGE, 3);
}

MODE_TEST(memory, translation_says_page_and_rights)
{
	uint64_t large = mode == TINYVM_32BIT ? 4 << 20 : 2 << 20;
	uint8_t depth[] = { [TINYVM_4LEVEL] = 4, [TINYVM_5LEVEL] = 5, [TINYVM_PAE] = 3,
			    [TINYVM_32BIT] = 2 };
	struct ka_translation translation;

	support_open(&(struct tinyvm_options){ .mode = mode }, 0);
	assert_ok(ka_translate(t.ka, &t.paging, gva(GUEST_TEXT) + 5, &translation));
	assert_hex(translation.gpa, GUEST_TEXT + 5);
	assert_hex(translation.page_size, PAGE);
	cr_assert_eq(translation.rights, KA_RIGHT_EXEC);
	cr_assert_eq(translation.depth, depth[mode]);
	assert_hex(translation.step[0].gpa & ~0xfffull, GUEST_ROOT);
	assert_ok(ka_translate(t.ka, &t.paging, gva(GUEST_LARGE) + GUEST_TEXT + 5, &translation));
	assert_hex(translation.gpa, GUEST_TEXT + 5);
	assert_hex(translation.page_size, large);
	cr_assert(translation.rights & KA_RIGHT_WRITE);
	cr_assert(!(translation.rights & KA_RIGHT_USER));
	cr_assert_eq(translation.depth, depth[mode] - 1);
}

MODE_TEST(memory, unmapped_is_efault)
{
	support_open(&(struct tinyvm_options){ .mode = mode }, 0);
	assert_rc(read_gva(window_gva(0), buf, 8), -EFAULT);
	window_set(0, ENTRY(GUEST_SCRATCH));
	assert_ok(read_gva(window_gva(0), buf, PAGE));
	assert_rc(read_gva(window_gva(1) - 4, buf, 8), -EFAULT);
	assert_rc(read_gva(gva(GUEST_LARGE * 2), buf, 8), -EFAULT);
	assert_rc(read_gva(0x1000, buf, 8), -EFAULT);
	assert_ok(read_gva(window_gva(1) - 4, buf, 4));
}

MODE_TEST(memory, mmio_is_enxio)
{
	support_open(&(struct tinyvm_options){ .mode = mode }, 0);
	window_set(0, ENTRY(MMIO));
	assert_rc(read_gva(window_gva(0), buf, 4), -ENXIO);
	assert_rc(read_gpa(MMIO, buf, 4), -ENXIO);
	/* A page table there: mapped, but no RAM to walk through. */
	if (tinyvm_mode_64bit(mode)) {
		tinyvm_poke64(&t.vm, GUEST_PD + 8 * 6, ENTRY(MMIO));
		assert_rc(read_gva(gva(0xc00000), buf, 4), -ENXIO);
	}
}

MODE_TEST(memory, reserved_bits_are_ebadmsg)
{
	support_open(&(struct tinyvm_options){ .mode = mode }, 0);
	if (mode == TINYVM_32BIT) {
		uint32_t entry = ENTRY(0) | LARGE | 1 << 21;

		assert_ok(tinyvm_poke(&t.vm, GUEST_ROOT + 4 * ((GUEST_BASE_32 + 0xc00000) >> 22),
				      &entry, sizeof(entry)));
	} else {
		tinyvm_poke64(&t.vm, GUEST_PD + 8 * 6, ENTRY(GUEST_SCRATCH) | LARGE | 1 << 13);
	}
	assert_rc(read_gva(gva(0xc00000), buf, 4), -EBADMSG);
	if (tinyvm_mode_64bit(mode)) {
		/* The uppermost level has no large pages. */
		tinyvm_poke64(&t.vm, GUEST_ROOT + 8 * 300, ENTRY(GUEST_PDPT) | LARGE);
		assert_rc(read_gva(mode == TINYVM_5LEVEL ? 0xfeull << 56 | 300ull << 48
							 : 0xffffull << 48 | 300ull << 39,
				   buf, 4), -EBADMSG);
	}
}

Test(memory, non_canonical_is_einval)
{
	support_open(&(struct tinyvm_options){ 0 }, 0);
	assert_rc(read_gva(0x0000800000000000, buf, 8), -EINVAL);
	assert_rc(read_gva(0xffff7fffffffffff, buf, 1), -EINVAL);
}

Test(memory, paging_off_reads_by_gpa)
{
	struct ka_paging off = { .mode = KA_PAGING_OFF };

	support_start(&(struct tinyvm_options){ .mode = TINYVM_RESET });
	support_host(false);
	t.ka = support_open_pid(t.vm.pid, 0);
	pattern_poke(GUEST_SCRATCH, copy, 2 * PAGE, 2);
	assert_ok(ka_gva_read(t.ka, &off, GUEST_SCRATCH, buf, 2 * PAGE));
	cr_assert_arr_eq(buf, copy, 2 * PAGE);
}

Test(memory, page_tables_that_point_at_themselves_end)
{
	struct ka_translation translation;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	/* Linux of old and Windows map their tables so; the walk is four steps all the same. */
	tinyvm_poke64(&t.vm, GUEST_ROOT + 8 * 400, ENTRY(GUEST_ROOT));
	assert_ok(ka_translate(t.ka, &t.paging,
			       0xffffull << 48 | 400ull << 39 | 400ull << 30 | 400ull << 21 |
				       400ull << 12, &translation));
	assert_hex(translation.gpa, GUEST_ROOT);
	cr_assert_eq(translation.depth, 4);
}

/* ---- memslots ---- */

Test(memory, holes_are_enxio)
{
	uint64_t end = 3 * GUEST_MEMORY_MIN + 2 * (1 << 20);

	support_open(&(struct tinyvm_options){ .slots = 3 }, 0);
	pattern_poke(HOLE + (1 << 20), copy, PAGE, 3);
	assert_ok(read_gpa(HOLE + (1 << 20), buf, PAGE));
	cr_assert_arr_eq(buf, copy, PAGE);
	assert_rc(read_gpa(HOLE, buf, 1), -ENXIO);
	assert_rc(read_gpa(HOLE + (1 << 20) - 1, buf, 1), -ENXIO);
	assert_rc(read_gpa(HOLE - 4, buf, 8), -ENXIO);
	assert_ok(read_gpa(HOLE - 4, buf, 4));
	assert_rc(read_gpa(HOLE + (1 << 20) - 4, buf, 8), -ENXIO);
	assert_ok(read_gpa(end - 8, buf, 8));
	assert_rc(read_gpa(end - 4, buf, 8), -ENXIO);
	assert_rc(read_gpa(~0ull - 3, buf, 4), -ENXIO);
	assert_rc(read_gpa(1ull << 51, buf, 4), -ENXIO);
}

Test(memory, memslots_are_listed_by_gpa)
{
	const struct ka_memslot *slots;
	size_t count;

	support_open(&(struct tinyvm_options){ .slots = 3 }, 0);
	assert_ok(tinyvm_set_slot(&t.vm, &(struct tinyvm_slot){
		.id = 9, .flags = KVM_MEM_READONLY, .gpa = HOLE, .size = PAGE,
		.ram_offset = GUEST_SCRATCH }));
	assert_ok(ka_vm_memslots(t.ka, &slots, &count));
	cr_assert_eq(count, 4);
	for (size_t i = 1; i < count; i++)
		cr_assert_gt(slots[i].gpa, slots[i - 1].gpa);
	assert_hex(slots[1].gpa, HOLE);
	assert_hex(slots[1].size, PAGE);
	assert_hex(slots[1].hva, t.vm.ram + GUEST_SCRATCH);
	cr_assert_eq(slots[1].id, 9);
	cr_assert_eq(slots[1].flags, KVM_MEM_READONLY);
}

Test(memory, reads_and_writes_across_memslots)
{
	support_open(&(struct tinyvm_options){ .slots = 2 }, KA_OPEN_WRITE);
	/* Next to slot 0 for the guest, elsewhere in the VMM. */
	assert_ok(tinyvm_set_slot(&t.vm, &(struct tinyvm_slot){
		.id = 9, .gpa = HOLE, .size = 16 * PAGE, .ram_offset = HOLE + 32 * PAGE }));
	pattern_poke(HOLE - PAGE, copy, PAGE, 4);
	pattern_poke(HOLE, copy + PAGE, PAGE, 5);
	assert_ok(read_gpa(HOLE - PAGE, buf, 2 * PAGE));
	cr_assert_arr_eq(buf, copy, 2 * PAGE);
	memset(copy, 0x5a, 100);
	assert_ok(ka_gpa_write(t.ka, HOLE - 50, copy, 100));
	assert_ok(tinyvm_peek(&t.vm, HOLE - 50, buf, 50));
	assert_ok(tinyvm_peek(&t.vm, HOLE, buf + 50, 50));
	cr_assert_arr_eq(buf, copy, 100);
}

Test(memory, added_and_removed_memslots_are_noticed)
{
	struct tinyvm_slot slot = { .id = 9, .gpa = HOLE, .size = 16 * PAGE, .ram_offset = HOLE };

	support_open(&(struct tinyvm_options){ .slots = 2 }, 0);
	for (unsigned int round = 0; round < 20; round++) {
		assert_rc(read_gpa(HOLE, buf, 8), -ENXIO);
		slot.size = 16 * PAGE;
		assert_ok(tinyvm_set_slot(&t.vm, &slot));
		pattern_poke(HOLE, copy, PAGE, round);
		assert_ok(read_gpa(HOLE, buf, PAGE));
		cr_assert_arr_eq(buf, copy, PAGE);
		slot.size = 0;
		assert_ok(tinyvm_set_slot(&t.vm, &slot));
	}
	assert_rc(read_gpa(HOLE, buf, 8), -ENXIO);
}

/* Same GPA, other memory behind it: what stood there before must not be returned. */
Test(memory, exchanged_memslot_gives_the_new_memory)
{
	struct tinyvm_slot slot = { .id = 9, .gpa = HOLE, .size = PAGE };
	uint64_t value;

	support_open(&(struct tinyvm_options){ .slots = 2 }, 0);
	for (unsigned int round = 0; round < 20; round++) {
		slot.size = PAGE;
		slot.ram_offset = HOLE + round * PAGE;
		assert_ok(tinyvm_set_slot(&t.vm, &slot));
		tinyvm_poke64(&t.vm, HOLE, 1000 + round);
		assert_ok(read_gpa(HOLE, &value, sizeof(value)));
		assert_hex(value, 1000 + round);
		slot.size = 0;
		assert_ok(tinyvm_set_slot(&t.vm, &slot));
	}
}

Test(memory, moved_memslot_is_followed)
{
	struct tinyvm_slot slot = { .id = 9, .gpa = HOLE, .size = PAGE, .ram_offset = HOLE };
	uint64_t value;

	support_open(&(struct tinyvm_options){ .slots = 2 }, 0);
	assert_ok(tinyvm_set_slot(&t.vm, &slot));
	tinyvm_poke64(&t.vm, HOLE, 0x1234);
	assert_ok(read_gpa(HOLE, &value, sizeof(value)));
	slot.gpa = HOLE + 4 * PAGE;
	assert_ok(tinyvm_set_slot(&t.vm, &slot));
	assert_rc(read_gpa(HOLE, &value, sizeof(value)), -ENXIO);
	assert_ok(read_gpa(HOLE + 4 * PAGE, &value, sizeof(value)));
	assert_hex(value, 0x1234);
}

Test(memory, shared_backing_reads_and_writes)
{
	support_open(&(struct tinyvm_options){ .backing = TINYVM_MEMFD, .slots = 2 }, KA_OPEN_WRITE);
	for (unsigned int round = 0; round < 50; round++) {
		pattern_poke(GUEST_SCRATCH, copy, sizeof(copy), round);
		assert_ok(read_gva(gva(GUEST_SCRATCH), buf, sizeof(buf)));
		cr_assert_arr_eq(buf, copy, sizeof(buf));
	}
	memset(copy, 0x77, PAGE);
	assert_ok(ka_gva_write(t.ka, &t.paging, gva(GUEST_SCRATCH) + 9, copy, PAGE));
	assert_ok(tinyvm_peek(&t.vm, GUEST_SCRATCH + 9, buf, PAGE));
	cr_assert_arr_eq(buf, copy, PAGE);
	pattern_poke(HOLE + (1 << 20), copy, PAGE, 60);
	assert_ok(read_gpa(HOLE + (1 << 20), buf, PAGE));
	cr_assert_arr_eq(buf, copy, PAGE);
}

/* ---- memory that the VMM has not got ---- */

static void memory_after_madvise(enum tinyvm_backing backing, uint64_t advice, bool zeroed)
{
	uint64_t args[] = { GUEST_SCRATCH, 2 * PAGE, advice };

	support_open(&(struct tinyvm_options){ .backing = backing }, 0);
	pattern_poke(GUEST_SCRATCH, copy, 3 * PAGE, 6);
	assert_ok(read_gpa(GUEST_SCRATCH, buf, 3 * PAGE));
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_MADVISE, args, 3, NULL));
	if (zeroed)
		memset(copy, 0, 2 * PAGE);
	assert_ok(read_gpa(GUEST_SCRATCH, buf, 3 * PAGE));
	cr_assert_arr_eq(buf, copy, 3 * PAGE);
}

Test(memory, ballooned_private_memory_reads_as_zeros)
{
	memory_after_madvise(TINYVM_ANONYMOUS, MADV_DONTNEED, true);
}

Test(memory, ballooned_shared_memory_reads_as_zeros)
{
	memory_after_madvise(TINYVM_MEMFD, MADV_REMOVE, true);
}

Test(memory, paged_out_memory_is_read)
{
	memory_after_madvise(TINYVM_ANONYMOUS, MADV_PAGEOUT, false);
}

Test(memory, untouched_memory_reads_as_zeros)
{
	support_open(&(struct tinyvm_options){ .memory = 64 << 20 }, 0);
	memset(buf, 0xff, sizeof(buf));
	assert_ok(read_gpa(32 << 20, buf, sizeof(buf)));
	for (size_t i = 0; i < sizeof(buf); i++)
		cr_assert_eq(buf[i], 0);
}

/* ---- memory that the VMM brings itself ---- */

/* Two pages are missing, as on the target of a postcopy migration; a descriptor to bring them. */
static int have_provided(void)
{
	uint64_t missing[] = { GUEST_SCRATCH, 2 * PAGE, MADV_DONTNEED };
	uint64_t remote;
	int pidfd = syscall(SYS_pidfd_open, t.vm.pid, 0), fd;

	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_MADVISE, missing, 3, NULL));
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_PROVIDE, missing, 2, &remote));
	fd = syscall(SYS_pidfd_getfd, pidfd, (int)remote, 0);
	cr_assert_geq(fd, 0);
	close(pidfd);
	return fd;
}

static void bring(int fd, unsigned int page)
{
	struct uffdio_zeropage zero = {
		.range = { t.vm.ram + GUEST_SCRATCH + page * PAGE, PAGE },
	};

	cr_assert_eq(ioctl(fd, UFFDIO_ZEROPAGE, &zero), 0);
}

/* Reads until the VMM's memory is read again at all. */
static int read_again(uint64_t gpa)
{
	uint64_t deadline = support_now_ms() + 10000;
	int err;

	do
		err = read_gpa(gpa, buf, 8);
	while (err == -ETIMEDOUT && support_now_ms() < deadline);
	return err;
}

static void start_provided(int *ret_fd)
{
	t.no_direct = true;
	support_start(&(struct tinyvm_options){ 0 });
	pattern_poke(GUEST_SCRATCH, copy, 3 * PAGE, 70);
	*ret_fd = have_provided();
	support_host(false);
	t.ka = support_open_pid(t.vm.pid, KA_OPEN_WRITE);
	assert_ok(ka_register_read(t.ka, 0, &t.registers));
	t.paging = ka_paging(&t.registers);
}

Test(memory, that_the_vmm_has_yet_to_bring_is_etimedout)
{
	struct ka_piece piece = { .paging = &t.paging, .buf = buf, .len = 8 };
	int fd;

	start_provided(&fd);
	assert_ok(read_gpa(GUEST_SCRATCH + 2 * PAGE, buf, PAGE));
	cr_assert_arr_eq(buf, copy + 2 * PAGE, PAGE);
	assert_rc(read_gpa(GUEST_SCRATCH, buf, 8), -ETIMEDOUT);
	/* All of it, as long as that one waits; registers are not memory. */
	assert_rc(read_gpa(GUEST_SCRATCH + 2 * PAGE, buf, PAGE), -ETIMEDOUT);
	assert_rc(read_gva(gva(GUEST_TEXT), buf, 8), -ETIMEDOUT);
	piece.address = gva(GUEST_TEXT);
	assert_ok(ka_readv(t.ka, &piece, 1));
	assert_rc(piece.error, -ETIMEDOUT);
	assert_ok(ka_register_read(t.ka, 0, &t.registers));
	bring(fd, 0);
	assert_ok(read_again(GUEST_SCRATCH + 2 * PAGE));
	assert_ok(read_gpa(GUEST_SCRATCH, buf, PAGE));
	for (size_t i = 0; i < PAGE; i++)
		cr_assert_eq(buf[i], 0);
	assert_rc(ka_gpa_write(t.ka, GUEST_SCRATCH + PAGE, copy, 8), -ETIMEDOUT);
	bring(fd, 1);
	assert_ok(read_again(GUEST_SCRATCH + PAGE));
	cr_assert_arr_eq(buf, copy, 8);
	close(fd);
}

Test(memory, that_was_never_brought_ends_with_the_vm)
{
	int fd;

	start_provided(&fd);
	assert_rc(read_gpa(GUEST_SCRATCH, buf, 8), -ETIMEDOUT);
	tinyvm_kill(&t.vm);
	/* In a host of its own it would be held by this test's descriptor, too. */
	close(fd);
	assert_rc(read_again(GUEST_SCRATCH), -EOWNERDEAD);
}

Test(memory, provided_later_is_noticed_with_the_memslots)
{
	uint64_t more = (uint64_t)HOLE;
	int fd;

	t.no_direct = true;
	support_open(&(struct tinyvm_options){ .memory = 8 << 20 }, 0);
	fd = have_provided();
	assert_ok(tinyvm_set_slot(&t.vm, &(struct tinyvm_slot){
		.id = 7, .gpa = more + (64 << 20), .size = PAGE, .ram_offset = GUEST_SCRATCH + 2 * PAGE }));
	assert_rc(read_gpa(GUEST_SCRATCH, buf, 8), -ETIMEDOUT);
	bring(fd, 0);
	assert_ok(read_again(GUEST_SCRATCH));
	close(fd);
}

Test(memory, unmapped_by_the_vmm_is_enxio)
{
	uint64_t args[] = { GUEST_SCRATCH + PAGE, PAGE };

	support_open(&(struct tinyvm_options){ 0 }, 0);
	pattern_poke(GUEST_SCRATCH, copy, 3 * PAGE, 7);
	assert_ok(read_gpa(GUEST_SCRATCH, buf, 3 * PAGE));
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_UNMAP, args, 2, NULL));
	assert_rc(read_gpa(GUEST_SCRATCH + PAGE, buf, 8), -ENXIO);
	assert_rc(read_gpa(GUEST_SCRATCH, buf, 3 * PAGE), -ENXIO);
	assert_ok(read_gpa(GUEST_SCRATCH, buf, PAGE));
	assert_ok(read_gpa(GUEST_SCRATCH + 2 * PAGE, buf, PAGE));
	cr_assert_arr_eq(buf, copy + 2 * PAGE, PAGE);
}

/* ---- writes ---- */

MODE_TEST(memory, writes_across_pages)
{
	support_open(&(struct tinyvm_options){ .mode = mode }, KA_OPEN_WRITE);
	for (unsigned int i = 0; i < 3; i++)
		window_set(i, ENTRY(GUEST_SCRATCH + (2 - i) * PAGE));
	pattern_poke(GUEST_SCRATCH + 8 * PAGE, copy, 2 * PAGE, 8);
	assert_ok(ka_gva_write(t.ka, &t.paging, window_gva(0) + 10, copy, 2 * PAGE));
	assert_ok(tinyvm_peek(&t.vm, GUEST_SCRATCH + 2 * PAGE + 10, buf, PAGE - 10));
	assert_ok(tinyvm_peek(&t.vm, GUEST_SCRATCH + PAGE, buf + PAGE - 10, PAGE));
	assert_ok(tinyvm_peek(&t.vm, GUEST_SCRATCH, buf + 2 * PAGE - 10, 10));
	cr_assert_arr_eq(buf, copy, 2 * PAGE);
	/* The guest sees it, too. */
	assert_ok(tinyvm_do(&t.vm, 0, GUEST_CMD_LOAD, window_gva(1) + 6, 0));
	cr_assert_eq((uint8_t)tinyvm_mailbox(&t.vm, 0, MAILBOX_RESULT), copy[PAGE - 4]);
}

Test(memory, write_without_the_flag_is_eperm)
{
	uint64_t before;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	before = tinyvm_peek64(&t.vm, GUEST_SCRATCH);
	assert_rc(ka_gpa_write(t.ka, GUEST_SCRATCH, "12345678", 8), -EPERM);
	assert_rc(ka_gva_write(t.ka, &t.paging, gva(GUEST_SCRATCH), "12345678", 8), -EPERM);
	assert_hex(tinyvm_peek64(&t.vm, GUEST_SCRATCH), before);
}

Test(memory, failed_write_changes_nothing)
{
	support_open(&(struct tinyvm_options){ 0 }, KA_OPEN_WRITE);
	pattern_poke(HOLE - 8, copy, 8, 9);
	assert_rc(ka_gpa_write(t.ka, HOLE - 8, "1234567812345678", 16), -ENXIO);
	assert_ok(tinyvm_peek(&t.vm, HOLE - 8, buf, 8));
	cr_assert_arr_eq(buf, copy, 8);
	window_set(0, ENTRY(GUEST_SCRATCH));
	pattern_poke(GUEST_SCRATCH + PAGE - 8, copy, 8, 10);
	assert_rc(ka_gva_write(t.ka, &t.paging, window_gva(1) - 8, "1234567812345678", 16), -EFAULT);
	assert_ok(tinyvm_peek(&t.vm, GUEST_SCRATCH + PAGE - 8, buf, 8));
	cr_assert_arr_eq(buf, copy, 8);
}

Test(memory, dirty_logged_memslot_is_ebusy)
{
	struct tinyvm_slot slot = { .id = 1, .gpa = HOLE + (1 << 20), .size = GUEST_MEMORY_MIN,
				    .ram_offset = GUEST_MEMORY_MIN };

	support_open(&(struct tinyvm_options){ .slots = 2 }, KA_OPEN_WRITE);
	assert_ok(ka_gpa_write(t.ka, slot.gpa, "abcdefgh", 8));
	slot.flags = KVM_MEM_LOG_DIRTY_PAGES;
	assert_ok(tinyvm_set_slot(&t.vm, &slot));
	assert_rc(ka_gpa_write(t.ka, slot.gpa, "12345678", 8), -EBUSY);
	assert_ok(ka_gpa_read(t.ka, slot.gpa, buf, 8));
	cr_assert_arr_eq(buf, "abcdefgh", 8);
	assert_ok(ka_gpa_write(t.ka, GUEST_SCRATCH, "12345678", 8));
	slot.flags = 0;
	assert_ok(tinyvm_set_slot(&t.vm, &slot));
	assert_ok(ka_gpa_write(t.ka, slot.gpa, "12345678", 8));
}

Test(memory, read_only_memslot_is_eperm)
{
	struct tinyvm_slot slot = { .id = 9, .flags = KVM_MEM_READONLY, .gpa = HOLE, .size = PAGE,
				    .ram_offset = GUEST_SCRATCH };

	support_open(&(struct tinyvm_options){ 0 }, KA_OPEN_WRITE);
	assert_ok(tinyvm_set_slot(&t.vm, &slot));
	pattern_poke(HOLE, copy, 8, 11);
	assert_rc(ka_gpa_write(t.ka, HOLE, "12345678", 8), -EPERM);
	assert_ok(read_gpa(HOLE, buf, 8));
	cr_assert_arr_eq(buf, copy, 8);
}

/* ---- many pieces ---- */

enum { PIECES = 400 };

MODE_TEST(memory, readv_fails_only_where_it_must)
{
	static uint64_t words[PIECES];
	struct ka_piece pieces[PIECES];
	int expected[PIECES];

	support_open(&(struct tinyvm_options){ .mode = mode }, 0);
	window_set(1, ENTRY(MMIO));
	for (unsigned int i = 0; i < PIECES; i++) {
		uint64_t gpa = GUEST_SCRATCH + i * 40ull;

		tinyvm_poke64(&t.vm, gpa, 0xabc000 + i);
		pieces[i] = (struct ka_piece){ .paging = &t.paging, .address = gva(gpa),
					       .buf = &words[i], .len = 8, .error = 1 };
		expected[i] = 0;
		if (i % 7 == 3) {
			pieces[i].address = window_gva(0);
			expected[i] = -EFAULT;
		} else if (i % 7 == 4) {
			pieces[i].address = window_gva(1);
			expected[i] = -ENXIO;
		} else if (i % 7 == 5) {
			pieces[i] = (struct ka_piece){ .address = HOLE, .buf = &words[i], .len = 8 };
			expected[i] = -ENXIO;
		} else if (i % 7 == 6) {
			pieces[i].paging = NULL;
			pieces[i].address = gpa;
		} else if (i % 7 == 1) {
			pieces[i].buf = NULL;
		}
	}
	for (unsigned int round = 0; round < 3; round++) {
		memset(words, 0, sizeof(words));
		assert_ok(ka_readv(t.ka, pieces, PIECES));
		for (unsigned int i = 0; i < PIECES; i++) {
			cr_assert_eq(pieces[i].error, expected[i], "piece %u: %d, not %d", i,
				     pieces[i].error, expected[i]);
			if (expected[i]) {
				assert_hex(pieces[i].gpa, i % 7 == 4 ? MMIO : pieces[i].address);
				continue;
			}
			assert_hex(pieces[i].gpa, GUEST_SCRATCH + i * 40ull);
			assert_hex(words[i], pieces[i].buf ? 0xabc000 + i : 0);
		}
	}
}

Test(memory, readv_of_memory_the_vmm_has_not_got)
{
	uint64_t args[] = { GUEST_SCRATCH + PAGE, PAGE }, words[3] = { 0 };
	struct ka_piece pieces[3];

	support_open(&(struct tinyvm_options){ 0 }, 0);
	for (unsigned int i = 0; i < 3; i++) {
		tinyvm_poke64(&t.vm, GUEST_SCRATCH + i * PAGE, 70 + i);
		pieces[i] = (struct ka_piece){ .paging = &t.paging, .buf = &words[i], .len = 8,
					       .address = gva(GUEST_SCRATCH + i * PAGE) };
	}
	assert_ok(ka_readv(t.ka, pieces, 3));
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_UNMAP, args, 2, NULL));
	assert_ok(ka_readv(t.ka, pieces, 3));
	cr_assert_eq(pieces[0].error, 0);
	cr_assert_eq(pieces[1].error, -ENXIO);
	cr_assert_eq(pieces[2].error, 0);
	cr_assert_eq(words[2], 72);
}

Test(memory, readv_of_nothing_and_of_long_pieces)
{
	struct ka_piece pieces[2] = {
		{ .address = GUEST_SCRATCH, .buf = buf, .len = 0 },
		{ .paging = &t.paging, .address = 0, .buf = buf, .len = sizeof(buf) },
	};

	support_open(&(struct tinyvm_options){ 0 }, 0);
	assert_ok(ka_readv(t.ka, NULL, 0));
	pieces[1].address = gva(GUEST_SCRATCH) + 11;
	pattern_poke(GUEST_SCRATCH + 11, copy, sizeof(copy), 12);
	assert_ok(ka_readv(t.ka, pieces, 2));
	cr_assert_eq(pieces[0].error, 0);
	cr_assert_eq(pieces[1].error, 0);
	cr_assert_arr_eq(buf, copy, sizeof(copy));
}

/* ---- a cached translation is proven each time ---- */

static uint64_t readv_word(uint64_t address, int expected)
{
	uint64_t word = 0;
	struct ka_piece piece = { .paging = &t.paging, .address = address, .buf = &word, .len = 4 };

	assert_ok(ka_readv(t.ka, &piece, 1));
	cr_assert_eq(piece.error, expected, "%#lx: %d, not %d", (unsigned long)address, piece.error,
		     expected);
	return word;
}

MODE_TEST(memory, remapped_page_gives_its_new_contents)
{
	support_open(&(struct tinyvm_options){ .mode = mode }, 0);
	tinyvm_poke64(&t.vm, GUEST_SCRATCH, 'A');
	tinyvm_poke64(&t.vm, GUEST_SCRATCH + PAGE, 'B');
	for (unsigned int round = 0; round < 50; round++) {
		window_set(0, ENTRY(GUEST_SCRATCH));
		cr_assert_eq(readv_word(window_gva(0), 0), 'A');
		cr_assert_eq(readv_word(window_gva(0), 0), 'A');
		window_set(0, ENTRY(GUEST_SCRATCH + PAGE));
		cr_assert_eq(readv_word(window_gva(0), 0), 'B');
		window_set(0, 0);
		readv_word(window_gva(0), -EFAULT);
		window_set(0, ENTRY(MMIO));
		readv_word(window_gva(0), -ENXIO);
	}
}

/* Two pieces share a cached walk that has become wrong: mending it for one proves nothing of the
 * other, which was read from the old place. */
MODE_TEST(memory, remapped_page_gives_its_new_contents_to_each_piece)
{
	uint64_t words[2];
	struct ka_piece pieces[2];

	support_open(&(struct tinyvm_options){ .mode = mode }, 0);
	tinyvm_poke64(&t.vm, GUEST_SCRATCH, 'A');
	tinyvm_poke64(&t.vm, GUEST_SCRATCH + PAGE, 'B');
	window_set(0, ENTRY(GUEST_SCRATCH));
	cr_assert_eq(readv_word(window_gva(0), 0), 'A');
	window_set(0, ENTRY(GUEST_SCRATCH + PAGE));
	for (unsigned int i = 0; i < 2; i++)
		pieces[i] = (struct ka_piece){ .paging = &t.paging, .address = window_gva(0),
					       .buf = &words[i], .len = 8 };
	assert_ok(ka_readv(t.ka, pieces, 2));
	for (unsigned int i = 0; i < 2; i++) {
		assert_hex(pieces[i].gpa, GUEST_SCRATCH + PAGE);
		cr_assert_eq(words[i], 'B', "piece %u", i);
	}
}

/* The attack of ATRA: the table's page is left as it is, an upper level leads elsewhere. */
Test(memory, remapped_page_table_gives_its_new_contents)
{
	uint64_t other_pt = GUEST_SCRATCH + 2 * PAGE;

	support_open(&(struct tinyvm_options){ 0 }, 0);
	tinyvm_poke64(&t.vm, GUEST_SCRATCH, 'A');
	tinyvm_poke64(&t.vm, GUEST_SCRATCH + PAGE, 'B');
	window_set(0, ENTRY(GUEST_SCRATCH));
	tinyvm_poke64(&t.vm, other_pt, ENTRY(GUEST_SCRATCH + PAGE));
	for (unsigned int round = 0; round < 20; round++) {
		tinyvm_poke64(&t.vm, GUEST_PD + 8 * (GUEST_WINDOW >> 21), ENTRY(GUEST_WINDOW_PT));
		cr_assert_eq(readv_word(window_gva(0), 0), 'A');
		tinyvm_poke64(&t.vm, GUEST_PD + 8 * (GUEST_WINDOW >> 21), ENTRY(other_pt));
		cr_assert_eq(readv_word(window_gva(0), 0), 'B');
	}
}

/* Pages that follow each other in memory are read as one, whatever the order of their addresses. */
static void read_in_order(const unsigned int *order, unsigned int count)
{
	struct ka_piece pieces[2] = {
		{ .paging = &t.paging, .address = window_gva(0) + 7, .buf = buf, .len = count * PAGE - 7 },
		{ .paging = &t.paging, .address = window_gva(count - 1), .buf = buf + count * PAGE, .len = 8 },
	};

	for (unsigned int i = 0; i < count; i++)
		window_set(i, ENTRY(GUEST_SCRATCH + order[i] * PAGE));
	/* Known to no cache, and known. */
	for (unsigned int round = 0; round < 3; round++) {
		memset(buf, 0, sizeof(buf));
		assert_ok(ka_readv(t.ka, pieces, 2));
		assert_ok(pieces[0].error);
		assert_ok(pieces[1].error);
		assert_hex(pieces[0].gpa, GUEST_SCRATCH + order[0] * PAGE + 7);
		cr_assert_arr_eq(buf, copy + order[0] * PAGE + 7, PAGE - 7);
		for (unsigned int i = 1; i < count; i++)
			cr_assert_arr_eq(buf + i * PAGE - 7, copy + order[i] * PAGE, PAGE);
		cr_assert_arr_eq(buf + count * PAGE, copy + order[count - 1] * PAGE, 8);
	}
}

static void read_in_orders(enum tinyvm_mode mode, enum tinyvm_backing backing)
{
	static const unsigned int orders[][3] = { { 0, 1, 2 }, { 3, 2, 1 }, { 1, 1, 2 }, { 2, 3, 0 } };

	support_open(&(struct tinyvm_options){ .mode = mode, .backing = backing }, 0);
	pattern_poke(GUEST_SCRATCH, copy, sizeof(copy), 5);
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
		read_in_order(orders[i], 3);
}

MODE_TEST(memory, readv_of_pages_in_any_order)
{
	read_in_orders(mode, TINYVM_ANONYMOUS);
}

MODE_TEST(memory, readv_of_shared_pages_in_any_order)
{
	read_in_orders(mode, TINYVM_MEMFD);
}

static void large_page_and_small_ones(enum tinyvm_backing backing)
{
	uint64_t pde = GUEST_PD + 8 * (GUEST_LARGE >> 21), address = gva(GUEST_LARGE) + 2 * PAGE;

	support_open(&(struct tinyvm_options){ .backing = backing }, 0);
	tinyvm_poke64(&t.vm, GUEST_SCRATCH + 2 * PAGE, 'A');
	tinyvm_poke64(&t.vm, GUEST_SCRATCH + 3 * PAGE, 'B');
	window_set(2, ENTRY(GUEST_SCRATCH + 3 * PAGE));
	for (unsigned int round = 0; round < 20; round++) {
		tinyvm_poke64(&t.vm, pde, ENTRY(GUEST_SCRATCH) | LARGE);
		cr_assert_eq(readv_word(address, 0), 'A');
		cr_assert_eq(readv_word(address, 0), 'A');
		tinyvm_poke64(&t.vm, pde, ENTRY(GUEST_WINDOW_PT));
		cr_assert_eq(readv_word(address, 0), 'B');
		cr_assert_eq(readv_word(address, 0), 'B');
		readv_word(address + PAGE, -EFAULT);
	}
}

Test(memory, large_page_that_is_split_gives_its_new_contents)
{
	large_page_and_small_ones(TINYVM_ANONYMOUS);
}

Test(memory, large_shared_page_that_is_split_gives_its_new_contents)
{
	large_page_and_small_ones(TINYVM_MEMFD);
}

/*
 * A cached translation may lead through a memslot that has gone or moved since. ka_readv() goes by
 * the memslots as of the last read of registers, with which each cycle begins.
 */
static uint64_t next_cycle_word(uint64_t address, int expected)
{
	assert_ok(ka_register_read(t.ka, 0, &t.registers));
	return readv_word(address, expected);
}

Test(memory, cached_translation_follows_memslots)
{
	struct tinyvm_slot slot = { .id = 9, .gpa = HOLE, .size = PAGE };

	support_open(&(struct tinyvm_options){ .slots = 2 }, 0);
	window_set(0, ENTRY(HOLE));
	for (unsigned int round = 0; round < 20; round++) {
		next_cycle_word(window_gva(0), -ENXIO);
		slot.size = PAGE;
		slot.ram_offset = HOLE + 2 * round * PAGE;
		assert_ok(tinyvm_set_slot(&t.vm, &slot));
		tinyvm_poke64(&t.vm, HOLE, 500 + round);
		cr_assert_eq(next_cycle_word(window_gva(0), 0), 500 + round);
		slot.size = 0;
		assert_ok(tinyvm_set_slot(&t.vm, &slot));
		/* Exchanged between two cycles: no failure in between to notice. */
		slot.size = PAGE;
		slot.ram_offset += PAGE;
		assert_ok(tinyvm_set_slot(&t.vm, &slot));
		tinyvm_poke64(&t.vm, HOLE, 600 + round);
		cr_assert_eq(next_cycle_word(window_gva(0), 0), 600 + round);
		slot.size = 0;
		assert_ok(tinyvm_set_slot(&t.vm, &slot));
	}
}
