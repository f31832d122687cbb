// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The paper's way, with the kernel module: what is asked for is read on the vCPU's own thread at its next
 * exit. From the request to the result in the caller's hands, of a guest that exits all the time.
 */
#include "bench.h"

#include <errno.h>
#include <kvmaccess.h>
#include <stdio.h>
#include <unistd.h>

#include "native/tinyvm.h"

enum { SAMPLES = 2000, TABLE = 4096, CODE = GUEST_TEXT + 0x3f00 };

static struct tinyvm vm;
static struct ka_host *host;
static struct ka_vm *ka;
static uint8_t buffer[TABLE];

/* Until the guest is killed. */
static const uint8_t cpuid_for_ever[] = {
	0x31, 0xc0, /* 1: xor %eax, %eax */
	0x0f, 0xa2, /* cpuid */
	0xeb, 0xfa, /* jmp 1b */
};

static int ask(struct ka_request *request, enum ka_served *ret_served)
{
	struct ka_result result;
	uint64_t id;
	int err = ka_submit(ka, request, &id);

	if (!err)
		err = ka_finish_get(ka, id, -1, &result);
	if (!err)
		*ret_served = result.served;
	return err;
}

static int measure(const char *name, struct ka_request request, double paper)
{
	static uint64_t samples[SAMPLES];
	struct row row = { .name = name,
			   .backend = "module, at an exit",
			   .unit = "µs",
			   .reference = paper,
			   .reference_of = "the paper" };
	enum ka_served served;
	size_t count = 0;
	int err = 0;

	for (int i = 0; i < SAMPLES && !err; i++) {
		uint64_t begin = now_ns();

		err = ask(&request, &served);
		if (!err && served == KA_SERVED_VMEXIT)
			samples[count++] = now_ns() - begin;
	}
	/* What the library had to read itself is none of these. */
	if (err || count < SAMPLES / 2)
		return err ? err : -EAGAIN;
	samples_summary(samples, count, &row.value, &row.p99);
	rows_add(&row);
	return 0;
}

static int measure_all(void)
{
	const struct ka_request gva = {
		.kind = KA_REQUEST_GVA,
		.vcpu = 0,
		.address = tinyvm_gva(vm.options.mode, GUEST_SCRATCH),
		.buf = buffer,
		.len = 4,
	};
	struct ka_request other = gva;
	int err = measure("memory read, 4 bytes", gva, 6.4);

	other.kind = KA_REQUEST_REGISTERS;
	if (!err)
		err = measure("registers of one vCPU", other, 7.0);
	other.kind = KA_REQUEST_GDT;
	other.len = TABLE;
	if (!err)
		err = measure("GDT", other, 7.8);
	other.kind = KA_REQUEST_IDT;
	if (!err)
		err = measure("IDT", other, 7.4);
	other = gva;
	other.len = TABLE;
	return err ? err : measure("system call table", other, 10.1);
}

int bench_requests(void)
{
	const struct tinyvm_options options = { .irqchip = true };
	const uint64_t args[] = { tinyvm_gva(TINYVM_4LEVEL, CODE) };
	char selector[24];
	int err = access("/sys/kernel/btf/kvmbpf_helper", F_OK) ? -EOPNOTSUPP : 0;

	if (!err)
		err = tinyvm_start(&options, &vm);
	if (!err)
		err = tinyvm_poke(&vm, CODE, cpuid_for_ever, sizeof(cpuid_for_ever));
	if (!err)
		err = ka_host_open(NULL, &host);
	snprintf(selector, sizeof(selector), "%d", vm.pid);
	if (!err)
		err = ka_open(host, selector, 0, &ka);
	if (!err)
		err = tinyvm_command(&vm, 0, GUEST_CMD_CALL, args, 1);
	if (!err)
		err = measure_all();
	ka_close(ka);
	ka_host_close(host);
	tinyvm_kill(&vm);
	return err;
}
