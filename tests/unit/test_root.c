// SPDX-License-Identifier: LGPL-2.1-or-later
/* Page tables of a kernel whose CR3 is not known, with this process in the VMM's place. */
#include "access/root.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define STEXT 0xffffffff81000000ULL
#define PHYS_BASE (-0xc00000)

enum {
	PAGE = 4096,
	BYTES = 16 << 20,
	TEXT = 0x400000,
	ROOT = 0x600000, /* init_top_pgt, 2 MiB above the text */
	UPPER = 0x601000,
	LOWER = 0x602000,
	INFO = 0x700000,
	PRESENT = 3,
	LARGE = 0x83,
};

static uint8_t *memory;
static struct ka_memslot slot;
static struct host_vm host_vm;
static struct batch batch;
static struct ka_host host;
static struct ka_vm vm;
static struct ka_registers registers;

static void entry_put(unsigned int table, unsigned int index, uint64_t entry)
{
	memcpy(memory + table + index * 8, &entry, sizeof(entry));
}

static void info_put(unsigned int gpa, uint64_t root)
{
	sprintf((char *)memory + gpa,
		"OSRELEASE=6.1.0\nSYMBOL(_stext)=%llx\nNUMBER(phys_base)=%d\n"
		"SYMBOL(init_top_pgt)=%llx\nKERNELOFFSET=0\n",
		STEXT, PHYS_BASE, (unsigned long long)root);
}

static void setup(void)
{
	memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert(memory != MAP_FAILED);
	slot = (struct ka_memslot){ .gpa = 0, .size = BYTES, .hva = (uint64_t)memory };
	host_vm = (struct host_vm){ .memslots = &slot, .memslot_count = 1 };
	host = (struct ka_host){ .batch = &batch };
	vm = (struct ka_vm){ .host = &host, .vm = &host_vm };
	host_vm.info.pid = vm.info.pid = getpid();
	registers = (struct ka_registers){ .flags = KA_REGISTERS_NO_VMCS,
					   .cr0 = 0x80010033,
					   .cr4 = 0x20,
					   .efer = 0xd01,
					   .lstar = STEXT + 0x80 };
	entry_put(ROOT, 511, UPPER | PRESENT);
	entry_put(UPPER, 510, LOWER | PRESENT);
	entry_put(LOWER, 8, TEXT | LARGE);
	entry_put(LOWER, 9, ROOT | LARGE);
	info_put(INFO, STEXT + (ROOT - TEXT));
}

static void cleanup(void)
{
	free(vm.translations);
	munmap(memory, BYTES);
}

TestSuite(root, .init = setup, .fini = cleanup);

Test(root, lies_where_vmcoreinfo_names_it)
{
	cr_assert(eq(int, root_find(&vm, &registers), 0));
	cr_assert(eq(u64, vm.root, ROOT));
}

Test(root, named_by_a_text_that_lies_is_passed_over)
{
	info_put(PAGE, STEXT + 0x300000);
	cr_assert(eq(int, root_find(&vm, &registers), 0));
	cr_assert(eq(u64, vm.root, ROOT));
}

Test(root, must_map_the_entry_to_the_image)
{
	entry_put(LOWER, 8, 0x800000 | LARGE);
	cr_assert(eq(int, root_find(&vm, &registers), -ENODATA));
	cr_assert(eq(u64, vm.root, 0));
}

Test(root, of_a_kernel_that_ended_is_forgotten)
{
	cr_assert(eq(int, root_find(&vm, &registers), 0));
	registers.lstar += 16 << 20;
	cr_assert(eq(int, root_find(&vm, &registers), -ENODATA));
	cr_assert(eq(u64, vm.root, 0));
}

Test(root, needs_an_entry_of_64_bit_linux)
{
	registers.lstar = 0;
	cr_assert(eq(int, root_find(&vm, &registers), -ENODATA));
	registers.lstar = STEXT + 0x80;
	registers.efer = 0;
	cr_assert(eq(int, root_find(&vm, &registers), -ENODATA));
}
