// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One call at a time, as in table 7 of the paper, on tiny guests whose RAM is mapped and on ones
 * where it is not: each call translates and reads afresh.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <kvmaccess.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "native/tinyvm.h"

/* The clock takes as long as a short call, so that each sample is of several. */
enum { SAMPLES = 10000, LAB_SAMPLES = 1000, WARM_UP = 1000, ROUND = 8, TABLE = 4096, VCPUS = 2, MANY = 1000 };

static struct tinyvm vm;
static struct ka_host *host;
static struct ka_vm *ka;
static struct ka_registers registers[VCPUS];
static struct ka_paging paging;
static uint8_t buffer[4][TABLE];
static struct tinyvm many[MANY];
static struct ka_vm *many_ka[MANY];

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

	return ka_registers_read_all(ka, registers, VCPUS, &count);
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

/* What a cycle reads: the registers, each vCPU's GDT and where the tables are for it, the tables. */
static int call_check(void)
{
	uint32_t gdt = registers[0].gdtr.limit + 1;
	struct ka_piece all[] = {
		piece(0, GUEST_GDT, gdt),	piece(1, GUEST_GDT + GUEST_STRIDE, gdt),
		piece(2, GUEST_IDT, TABLE),	piece(2, GUEST_IDT, TABLE),
		piece(3, GUEST_SCRATCH, TABLE), piece(3, GUEST_SCRATCH, TABLE),
	};
	int err = call_registers();

	all[3].buf = all[5].buf = NULL;
	return err ? err : read_pieces(all, 6);
}

static int call_memcpy(void)
{
	memcpy(buffer[0], buffer[1], TABLE);
	__asm__ volatile("" : : "r"(buffer[0]) : "memory");
	return 0;
}

static int call_remote(void)
{
	struct iovec local = { buffer[0], 4 }, remote = { (void *)(vm.ram + GUEST_SCRATCH), 4 };

	return process_vm_readv(vm.pid, &local, 1, &remote, 1, 0) == 4 ? 0 : -errno;
}

struct call {
	const char *name, *backend;
	int (*call)(void);
	double goal, paper, peer;
};

static const struct call mapped[] = {
	{ "memory read, 4 bytes", "mapped RAM", call_memory, 0.1, 6.4, 0.438 },
	{ "GDT", "mapped RAM", call_gdt, 0.5, 7.8, 0 },
	{ "IDT", "mapped RAM", call_table, 0.5, 7.4, 0 },
	{ "system call table", "mapped RAM", call_table, 0.5, 10.1, 4.0 },
	{ "GDT, IDT and system call table in one call", "mapped RAM", call_all, 0, 25.3, 0 },
	{ "complete check of a VM, 2 vCPUs", "mapped RAM", call_check, 5, 0, 0 },
	{ "copy of 4096 bytes, to compare with", "memcpy", call_memcpy, 0, 0, 0 },
};

static const struct call direct[] = {
	{ "memory read, 4 bytes", "direct map", call_memory, 1.5, 6.4, 0.438 },
	{ "registers of one VM, 2 vCPUs", "pull", call_registers, 3.5, 7.0, 0 },
	{ "GDT", "direct map", call_gdt, 0, 7.8, 0 },
	{ "IDT", "direct map", call_table, 0, 7.4, 0 },
	{ "system call table", "direct map", call_table, 0, 10.1, 4.0 },
	{ "GDT, IDT and system call table in one call", "direct map", call_all, 2, 25.3, 0 },
	{ "complete check of a VM, 2 vCPUs", "direct map", call_check, 10, 0, 0 },
};

/* What the direct map cannot read. */
static const struct call remote[] = {
	{ "memory read, 4 bytes", "process_vm_readv", call_memory, 1.5, 6.4, 0.438 },
	{ "the system call of that alone", "process_vm_readv", call_remote, 0, 0, 0 },
	{ "GDT, IDT and system call table in one call", "process_vm_readv", call_all, 0, 25.3, 0 },
	{ "complete check of a VM, 2 vCPUs", "process_vm_readv", call_check, 0, 0, 0 },
};

static int measure(const struct call *call)
{
	static uint64_t samples[SAMPLES];
	const int count = bench_is_lab() ? LAB_SAMPLES : SAMPLES;
	struct row row = { .name = call->name,
			   .backend = call->backend,
			   .unit = "µs",
			   .goal = call->goal,
			   .reference = call->paper,
			   .reference_of = "the paper",
			   .peer = call->peer };
	int err = 0;

	for (int i = -WARM_UP; i < count && !err; i++) {
		uint64_t begin = now_ns();

		for (int j = 0; j < ROUND && !err; j++)
			err = call->call();
		if (i >= 0)
			samples[i] = now_ns() - begin;
	}
	if (err)
		return err;
	samples_summary(samples, count, &row.value, &row.p99);
	row.value /= ROUND;
	row.p99 /= ROUND;
	rows_add(&row);
	return 0;
}

static int open_vm(const struct tinyvm *of, struct ka_vm **ret_ka)
{
	char selector[24];

	snprintf(selector, sizeof(selector), "%d", of->pid);
	return ka_open(host, selector, 0, ret_ka);
}

static int measure_guest(enum tinyvm_backing backing, bool no_direct, const struct call *calls,
			 size_t count)
{
	const struct ka_host_options ways = {
		.no_push = true, .map_ram = true, .no_direct = no_direct
	};
	const struct tinyvm_options options = { .vcpus = VCPUS, .backing = backing };
	int err = ka_host_open(&ways, &host);

	if (!err)
		err = tinyvm_start(&options, &vm);
	if (!err)
		err = open_vm(&vm, &ka);
	if (!err)
		err = call_registers();
	paging = ka_paging(&registers[0]);
	for (size_t i = 0; !err && i < count; i++)
		err = measure(&calls[i]);
	ka_close(ka);
	ka = NULL;
	tinyvm_kill(&vm);
	ka_host_close(host);
	host = NULL;
	return err;
}

/* ---- many VMs at once ----------------------------------------------------------------------- */

static int many_start(void)
{
	const struct tinyvm_options options = { .irqchip = true };
	struct ka_vm_info *infos = NULL;
	size_t count = 0;
	int err = 0;

	for (size_t i = 0; i < MANY && !err; i++)
		err = tinyvm_start(&options, &many[i]);
	if (!err)
		err = ka_list(host, &infos, &count);
	for (size_t i = 0; i < MANY && !err; i++)
		for (size_t j = 0; j < count && !many_ka[i]; j++)
			if (infos[j].pid == many[i].pid)
				err = ka_open_key(host, infos[j].key, 0, &many_ka[i]);
	free(infos);
	return err;
}

static void many_end(void)
{
	for (size_t i = 0; i < MANY; i++) {
		ka_close(many_ka[i]);
		tinyvm_kill(&many[i]);
	}
}

static int many_read(uint64_t *ret_pull_ns, uint64_t *ret_read_ns)
{
	struct ka_registers one;
	uint64_t begin = now_ns(), pulled;
	int err = ka_registers_pull(host, many_ka, MANY);
	size_t count;

	pulled = now_ns();
	for (size_t i = 0; i < MANY && !err; i++)
		err = ka_registers_read_all(many_ka[i], &one, 1, &count);
	*ret_pull_ns = pulled - begin;
	*ret_read_ns = (now_ns() - pulled) / MANY;
	return err;
}

/* As a look at it saw it: its registers, GDT, IDT and a table. */
static int many_seal(struct ka_vm *one)
{
	struct ka_seal_vcpu vcpu = { &registers[0], &paging };
	struct ka_piece all[3];
	size_t count;
	int err;

	ka = one;
	err = ka_registers_read_all(one, registers, 1, &count);
	paging = ka_paging(&registers[0]);
	all[0] = piece(0, GUEST_GDT, registers[0].gdtr.limit + 1);
	all[1] = piece(1, GUEST_IDT, TABLE);
	all[2] = piece(2, GUEST_SCRATCH, TABLE);
	if (!err)
		err = read_pieces(all, 3);
	return err ? err : ka_seal(one, &vcpu, 1, all, 3);
}

/* After a pull, of which the registers are. */
static int many_check(uint64_t *ret_ns)
{
	static bool intact[MANY];
	int err = ka_registers_pull(host, many_ka, MANY);
	uint64_t begin = now_ns();

	if (!err)
		err = ka_seals_check(host, many_ka, MANY, intact);
	*ret_ns = now_ns() - begin;
	for (size_t i = 0; i < MANY && !err; i++)
		err = intact[i] ? 0 : -EAGAIN;
	return err;
}

static int measure_seals(void)
{
	enum { PASSES = 300 };
	static uint64_t samples[PASSES];
	struct row row = { .name = "seals of 1000 VMs, registers, GDT, IDT and a table each, in one pass",
			   .backend = "direct map",
			   .unit = "µs" };
	int err = 0;

	for (size_t i = 0; i < MANY && !err; i++)
		err = many_seal(many_ka[i]);
	if (err == -EOPNOTSUPP)
		return 0;
	for (int i = 0; i < PASSES && !err; i++)
		err = many_check(&samples[i]);
	if (err)
		return err;
	samples_summary(samples, PASSES, &row.value, &row.p99);
	rows_add(&row);
	return 0;
}

static int measure_many(void)
{
	enum { PASSES = 300 };
	static uint64_t pull[PASSES], read[PASSES];
	struct row row = { .name = "registers of 1000 VMs in one pass",
			   .backend = "pull",
			   .unit = "µs",
			   .goal = 300 };
	int err = many_start();

	for (int i = 0; i < PASSES && !err; i++)
		err = many_read(&pull[i], &read[i]);
	if (!err) {
		samples_summary(pull, PASSES, &row.value, &row.p99);
		rows_add(&row);
		row = (struct row){ .name = "registers of one of these, that were pulled or pushed",
				    .backend = "shared map",
				    .unit = "µs",
				    .goal = 0.2,
				    .reference = 7.0,
				    .reference_of = "the paper" };
		samples_summary(read, PASSES, &row.value, &row.p99);
		rows_add(&row);
		err = measure_seals();
	}
	many_end();
	return err;
}

int bench_calls(void)
{
	const struct ka_host_options options = { .no_push = true };
	int err = measure_guest(TINYVM_MEMFD, false, mapped, sizeof(mapped) / sizeof(mapped[0]));

	if (!err && bench_has_direct())
		err = measure_guest(TINYVM_ANONYMOUS, false, direct,
				    sizeof(direct) / sizeof(direct[0]));
	if (!err)
		err = measure_guest(TINYVM_ANONYMOUS, true, remote,
				    sizeof(remote) / sizeof(remote[0]));
	if (err || bench_is_lab())
		return err;
	err = ka_host_open(&options, &host);
	if (!err)
		err = measure_many();
	ka_host_close(host);
	return err;
}
