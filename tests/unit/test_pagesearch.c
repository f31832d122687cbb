// SPDX-License-Identifier: LGPL-2.1-or-later
/* The search through a guest's pages, with this process in the VMM's place. */
#include "access/pagesearch.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAGIC "OSRELEASE="

enum { PAGE = 4096, PAGES = 5000, FOUND_MAX = 16 };

static uint8_t *memory;
static struct ka_memslot slots[2];
static struct host_vm host_vm;
static struct batch batch;
static struct ka_host host;
static struct ka_vm vm;

static uint64_t found[FOUND_MAX];
static size_t found_count;
static int answer;

static int take(void *ctx, uint64_t gpa)
{
	(void)ctx;
	found[found_count++ % FOUND_MAX] = gpa / PAGE;
	return answer;
}

/* A shared memory, of which a page that is only read would be allocated. */
static void setup(void)
{
	memory =
		mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert(memory != MAP_FAILED);
	slots[0] = (struct ka_memslot){ .gpa = 0, .size = PAGES * PAGE, .hva = (uint64_t)memory };
	host_vm = (struct host_vm){ .memslots = slots, .memslot_count = 1 };
	host = (struct ka_host){ .batch = &batch };
	vm = (struct ka_vm){ .host = &host, .vm = &host_vm };
	host_vm.info.pid = vm.info.pid = getpid();
	answer = -ENODATA;
	found_count = 0;
}

static void cleanup(void)
{
	munmap(memory, PAGES * PAGE);
}

static void plant(size_t page)
{
	strcpy((char *)memory + page * PAGE, MAGIC "6.1\n");
}

static int search(uint64_t near_page)
{
	return pagesearch(&vm, near_page * PAGE, MAGIC, take, NULL);
}

static size_t resident(void)
{
	static unsigned char there[PAGES];
	size_t count = 0;

	cr_assert(eq(int, mincore(memory, PAGES * PAGE, there), 0));
	for (size_t i = 0; i < PAGES; i++)
		count += there[i] & 1;
	return count;
}

TestSuite(pagesearch, .init = setup, .fini = cleanup);

Test(pagesearch, the_nearest_come_first)
{
	plant(0);
	plant(2100);
	plant(3500);
	plant(PAGES - 1);
	cr_assert(eq(int, search(3300), -ENODATA));
	cr_assert(eq(sz, found_count, 4));
	cr_assert(eq(u64, found[0], 3500));
	cr_assert(eq(u64, found[1], 2100));
	cr_assert(eq(u64, found[2], PAGES - 1));
	cr_assert(eq(u64, found[3], 0));
}

Test(pagesearch, only_the_begin_of_a_page_counts)
{
	memcpy(memory + 7 * PAGE + 1, MAGIC, strlen(MAGIC));
	memcpy(memory + 8 * PAGE, MAGIC, strlen(MAGIC) - 1);
	cr_assert(eq(int, search(0), -ENODATA));
	cr_assert(eq(sz, found_count, 0));
}

Test(pagesearch, pages_that_are_not_there_stay_so)
{
	plant(10);
	plant(4000);
	cr_assert(eq(int, search(0), -ENODATA));
	cr_assert(eq(sz, found_count, 2));
	cr_assert(eq(sz, resident(), 2));
}

Test(pagesearch, ends_with_what_the_caller_answers)
{
	plant(10);
	plant(20);
	answer = 0;
	cr_assert(eq(int, search(0), 0));
	cr_assert(eq(sz, found_count, 1));
	answer = -EBADMSG;
	cr_assert(eq(int, search(0), -EBADMSG));
	cr_assert(eq(u64, found[1], 10));
}

Test(pagesearch, goes_on_where_its_time_was_over)
{
	plant(10);
	plant(2500);
	answer = -EAGAIN;
	cr_assert(eq(int, search(0), -EAGAIN));
	answer = -ENODATA;
	cr_assert(eq(int, search(0), -ENODATA));
	cr_assert(eq(sz, found_count, 2));
	cr_assert(eq(u64, found[1], 2500));
}

Test(pagesearch, memory_that_the_guest_cannot_write_is_left_out)
{
	slots[1] = slots[0];
	slots[0].size = slots[1].gpa = 1000 * PAGE;
	slots[1].hva += 1000 * PAGE;
	slots[1].size -= 1000 * PAGE;
	slots[1].flags = KVM_MEM_READONLY;
	host_vm.memslot_count = 2;
	plant(999);
	plant(1000);
	cr_assert(eq(int, search(5000), -ENODATA));
	cr_assert(eq(sz, found_count, 1));
	cr_assert(eq(u64, found[0], 999));
}

Test(pagesearch, without_memory_there_is_nothing)
{
	host_vm.memslot_count = 0;
	cr_assert(eq(int, search(0), -ENODATA));
	vm.vm = NULL;
	cr_assert(eq(int, search(0), -EOWNERDEAD));
}
