// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One call at a time, as in table 7 of the paper, on a tiny guest: each translates and reads afresh.
 */
#include "bench.h"

#include <kvmaccess.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "native/tinyvm.h"

enum { CALLS = 10000, WARM_UP = 1000, TABLE = 4096 };

static struct tinyvm vm;
static struct ka_host *host;
static struct ka_vm *ka;
static struct ka_registers registers[2];
static struct ka_paging paging;
static uint8_t buffer[3][TABLE];

static int read_pieces(struct ka_piece *pieces, size_t count)
{
	int err = ka_readv(ka, pieces, count);

	for (size_t i = 0; !err && i < count; i++)
		err = pieces[i].error;
	return err;
}

static struct ka_piece piece(int index, uint64_t gpa, uint32_t len)
{
	return (struct ka_piece){ .paging = &paging,
				  .address = tinyvm_gva(vm.options.mode, gpa),
				  .buf = buffer[index],
				  .len = len };
}

static int call_memory(void)
{
	struct ka_piece four = piece(0, GUEST_SCRATCH, 4);

	return read_pieces(&four, 1);
}

static int call_registers(void)
{
	size_t count;

	return ka_registers_read_all(ka, registers, 2, &count);
}

static int call_gdt(void)
{
	struct ka_piece gdt = piece(0, GUEST_GDT, registers[0].gdtr.limit + 1);

	return read_pieces(&gdt, 1);
}

static int call_table(void)
{
	struct ka_piece table = piece(0, GUEST_IDT, TABLE);

	return read_pieces(&table, 1);
}

static int call_all(void)
{
	struct ka_piece all[] = { piece(0, GUEST_GDT, registers[0].gdtr.limit + 1),
				  piece(1, GUEST_IDT, TABLE), piece(2, GUEST_SCRATCH, TABLE) };

	return read_pieces(all, 3);
}

static int call_memcpy(void)
{
	memcpy(buffer[0], buffer[1], TABLE);
	__asm__ volatile("" : : "r"(buffer[0]) : "memory");
	return 0;
}

static const struct {
	const char *name, *backend;
	int (*call)(void);
	double goal, paper;
} calls[] = {
	{ "memory read, 4 bytes", "process_vm_readv", call_memory, 1.5, 6.4 },
	{ "registers of one VM", "pull", call_registers, 3.5, 7.0 },
	{ "GDT", "process_vm_readv", call_gdt, 0, 7.8 },
	{ "IDT", "process_vm_readv", call_table, 0, 7.4 },
	{ "system call table", "process_vm_readv", call_table, 0, 10.1 },
	{ "GDT, IDT and system call table in one call", "process_vm_readv", call_all, 2, 25.3 },
	{ "copy of 4096 bytes, to compare with", "memcpy", call_memcpy, 0, 0 },
};

static int measure(size_t index)
{
	static uint64_t samples[CALLS];
	struct row row = { .name = calls[index].name,
			   .backend = calls[index].backend,
			   .unit = "µs",
			   .goal = calls[index].goal,
			   .reference = calls[index].paper,
			   .reference_of = "the paper" };

	for (int i = -WARM_UP; i < CALLS; i++) {
		uint64_t begin = now_ns();
		int err = calls[index].call();

		if (err)
			return err;
		if (i >= 0)
			samples[i] = now_ns() - begin;
	}
	samples_summary(samples, CALLS, &row.value, &row.p99);
	rows_add(&row);
	return 0;
}

static int open_guest(void)
{
	const struct tinyvm_options options = { .vcpus = 2 };
	const struct ka_host_options pull = { .no_push = true };
	char selector[24];
	int err;

	err = tinyvm_start(&options, &vm);
	if (!err)
		err = ka_host_open(&pull, &host);
	if (err)
		return err;
	snprintf(selector, sizeof(selector), "%d", vm.pid);
	err = ka_open(host, selector, 0, &ka);
	if (!err)
		err = call_registers();
	paging = ka_paging(&registers[0]);
	return err;
}

int bench_calls(void)
{
	int err = open_guest();

	for (size_t i = 0; !err && i < sizeof(calls) / sizeof(calls[0]); i++)
		err = measure(i);
	ka_close(ka);
	ka_host_close(host);
	tinyvm_kill(&vm);
	return err;
}
