// SPDX-License-Identifier: LGPL-2.1-or-later
/* How fast a guest's memory is read by GVA, page by page, beside what the memory itself gives. */
#include "bench.h"

#include <errno.h>
#include <kvmaccess.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "native/tinyvm.h"

/* As kvmbpf(1) dumps: pieces of a page, so many in a call. */
enum { PAGE = 4096, BATCH = 128, BYTES = GUEST_MEMORY_MIN, ROUNDS = 101 };

static struct ka_host *host;
static uint8_t into[BATCH * PAGE];

static int dump_once(struct ka_vm *ka, const struct ka_paging *paging, uint64_t base)
{
	struct ka_piece pieces[BATCH];
	int err = 0;

	for (uint64_t at = 0; at < BYTES && !err; at += sizeof(into)) {
		for (size_t i = 0; i < BATCH; i++)
			pieces[i] = (struct ka_piece){ .paging = paging,
						       .address = base + at + i * PAGE,
						       .buf = into + i * PAGE,
						       .len = PAGE };
		err = ka_readv(ka, pieces, BATCH);
		for (size_t i = 0; i < BATCH && !err; i++)
			err = pieces[i].error;
	}
	return err;
}

static void copy_once(const uint8_t *from)
{
	for (size_t at = 0; at < BYTES; at += sizeof(into)) {
		memcpy(into, from + at, sizeof(into));
		__asm__ volatile("" : : "r"(into) : "memory");
	}
}

static double gigabytes_per_s(uint64_t *samples)
{
	double median, p99;

	samples_summary(samples, ROUNDS, &median, &p99);
	return BYTES / median / 1000;
}

/* The two by turns, so that the machine is alike for both. */
static int measure(const char *backend, enum tinyvm_backing backing, double goal_share)
{
	const struct tinyvm_options options = { .backing = backing };
	struct row row = { .name = "dump by GVA",
			   .backend = backend,
			   .unit = "GB/s",
			   .better = BETTER_MORE,
			   .reference_of = "memcpy",
			   .peer = 12.6 };
	uint64_t dumps[ROUNDS], copies[ROUNDS];
	uint8_t *from = malloc(BYTES);
	struct ka_registers registers;
	struct ka_vm *ka = NULL;
	struct ka_paging paging;
	struct tinyvm vm = { 0 };
	char selector[24];
	int err = from ? tinyvm_start(&options, &vm) : -ENOMEM;

	snprintf(selector, sizeof(selector), "%d", vm.pid);
	if (!err)
		err = ka_open(host, selector, 0, &ka);
	if (!err)
		err = ka_register_read(ka, 0, &registers);
	if (!err) {
		memset(from, 1, BYTES);
		paging = ka_paging(&registers);
		err = dump_once(ka, &paging, tinyvm_gva(options.mode, 0));
	}
	for (int i = 0; i < ROUNDS && !err; i++) {
		uint64_t begin = now_ns(), between;

		err = dump_once(ka, &paging, tinyvm_gva(options.mode, 0));
		between = now_ns();
		copy_once(from);
		dumps[i] = between - begin;
		copies[i] = now_ns() - between;
	}
	if (!err) {
		row.value = gigabytes_per_s(dumps);
		row.reference = gigabytes_per_s(copies);
		row.goal = goal_share * row.reference;
		rows_add(&row);
	}
	ka_close(ka);
	tinyvm_kill(&vm);
	free(from);
	return err;
}

int bench_dump(void)
{
	const struct ka_host_options options = { .no_push = true, .map_ram = true };
	int err = ka_host_open(&options, &host);

	if (err)
		return err;
	err = measure("mapped RAM", TINYVM_MEMFD, 0.7);
	if (!err)
		err = measure("process_vm_readv", TINYVM_ANONYMOUS, 0);
	ka_host_close(host);
	return err;
}
