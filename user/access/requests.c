// SPDX-License-Identifier: LGPL-2.1-or-later
/* Files requests with the kernel's programs, takes their results, and serves what they cannot. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpf/requests.skel.h"
#include "clock.h"
#include "helper.h"
#include "inflight.h"
#include "requests.h"
#include "vm.h"

struct requests {
	struct inflight inflight;
	struct requests_bpf *skel;    /* NULL where all is served from process context */
	bool refused;                 /* the kernel does not take our programs: not tried again */
	struct push push;
	struct ring_buffer *results;
};

#define NS_PER_MS 1000000ULL
#define WAIT_NS (1000 * NS_PER_MS) /* at once; then on */

/* ---- the kernel's programs ------------------------------------------------------------------ */

static int on_result(void *ctx, void *data, size_t size)
{
	struct requests *requests = ctx;

	inflight_take(&requests->inflight, data, size);
	return 0;
}

static void unload(struct requests *requests)
{
	ring_buffer__free(requests->results);
	requests->results = NULL;
	push_detach(&requests->push);
	requests_bpf__destroy(requests->skel);
	requests->skel = NULL;
}

static int try_load(struct ka_host *host, struct requests *requests, enum load_way way)
{
	enum ka_vendor vendor = host->probe.vendor;
	int err;

	requests->skel = requests_bpf__open();
	if (!requests->skel)
		return -errno;
	requests->skel->rodata->has_helper = true;
	memcpy(requests->skel->rodata->uret_slots, host->uret_slots, sizeof(host->uret_slots));
	push_choose(requests->skel->obj, vendor, way);
	err = requests_bpf__load(requests->skel);
	if (!err)
		err = push_attach(requests->skel->obj, vendor, way, &requests->push);
	if (err)
		return err;
	requests->results = ring_buffer__new(bpf_map__fd(requests->skel->maps.results), on_result,
					     requests, NULL);
	return requests->results ? 0 : -errno;
}

void requests_probe(struct ka_host *host)
{
	if (helper_loaded())
		host_feature(host, "requests", KA_FEATURE_ON,
			     "vCPUs serve them in passing, through kvmbpf_helper");
	else
		host_feature(host, "requests", KA_FEATURE_FALLBACK,
			     "no module kvmbpf_helper: served from process context");
}

/* Once the module is there, also if it comes after ka_host_open(). */
static void load(struct ka_host *host, struct requests *requests)
{
	libbpf_print_fn_t before;
	int err = -EOPNOTSUPP;

	if (requests->skel || requests->refused || !helper_loaded())
		return;
	before = libbpf_set_print(NULL);
	for (enum load_way way = LOAD_FENTRY; err && way <= LOAD_NONE; way++) {
		err = try_load(host, requests, way);
		if (err)
			unload(requests);
	}
	libbpf_set_print(before);
	requests->refused = err;
}

static struct requests *requests_of(struct ka_host *host)
{
	if (!host->requests)
		host->requests = calloc(1, sizeof(*host->requests));
	return host->requests;
}

uint64_t requests_results_lost(const struct ka_host *host)
{
	const struct requests *requests = host->requests;

	return requests && requests->skel ? requests->skel->bss->results_lost : 0;
}

void requests_free(struct ka_host *host)
{
	if (!host->requests)
		return;
	unload(host->requests);
	inflight_deinit(&host->requests->inflight);
	free(host->requests);
	host->requests = NULL;
}

/* ---- a VM's queues -------------------------------------------------------------------------- */

/* Makes kvmbpf_vm_find() find the VM, as long as the entry is there. */
static int hold(struct requests_bpf *skel, const struct host_vm *vm)
{
	struct kvmbpf_hold_call call = { .kvm = vm->kvm, .fd = helper_vm_fd(vm) };
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &call, .ctx_size_in = sizeof(call));
	int held_vms = bpf_map__fd(skel->maps.held_vms), err;
	uint64_t empty = 0;

	if (call.fd < 0)
		return call.fd;
	err = bpf_map_update_elem(held_vms, &vm->kvm, &empty, BPF_ANY);
	if (!err)
		err = bpf_prog_test_run_opts(bpf_program__fd(skel->progs.hold), &options);
	close(call.fd);
	if (!err)
		err = call.result;
	if (err)
		bpf_map_delete_elem(held_vms, &vm->kvm);
	return err;
}

static int queue_create(struct requests_bpf *skel, uint64_t key, struct request_queue *ret_queue)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_QUEUE, "requests", 0, sizeof(struct kvmbpf_request),
				KVMBPF_QUEUE_LENGTH, NULL);
	int err;

	if (fd < 0)
		return fd;
	err = bpf_map_update_elem(bpf_map__fd(skel->maps.queues), &key, &fd, BPF_NOEXIST);
	if (err) {
		close(fd);
		return err;
	}
	*ret_queue = (struct request_queue){ key, fd };
	return 0;
}

/* The queue of this key; the VM's first one makes the kernel hold the VM. */
static int queue_of(struct requests *requests, struct host_vm *vm, uint64_t key, int *ret_fd)
{
	struct request_queue *queues;
	int err;

	for (size_t i = 0; i < vm->queue_count; i++)
		if (vm->queues[i].key == key) {
			*ret_fd = vm->queues[i].fd;
			return 0;
		}
	queues = reallocarray(vm->queues, vm->queue_count + 1, sizeof(*queues));
	if (!queues)
		return -ENOMEM;
	vm->queues = queues;
	err = vm->queue_count ? 0 : hold(requests->skel, vm);
	if (!err)
		err = queue_create(requests->skel, key, &queues[vm->queue_count]);
	if (!err)
		*ret_fd = queues[vm->queue_count++].fd;
	return err;
}

static uint32_t *waiting(struct requests *requests)
{
	return &requests->skel->bss->waiting;
}

/* What was still in it fails with the VM. */
static void queue_close(struct requests *requests, const struct request_queue *queue)
{
	struct kvmbpf_request request;

	bpf_map_delete_elem(bpf_map__fd(requests->skel->maps.queues), &queue->key);
	while (!bpf_map_lookup_and_delete_elem(queue->fd, NULL, &request))
		__atomic_fetch_sub(waiting(requests), 1, __ATOMIC_RELAXED);
	close(queue->fd);
}

void requests_release(struct ka_host *host, struct host_vm *vm)
{
	for (size_t i = 0; i < vm->queue_count; i++)
		queue_close(host->requests, &vm->queues[i]);
	if (host->requests && host->requests->skel)
		bpf_map_delete_elem(bpf_map__fd(host->requests->skel->maps.held_vms), &vm->kvm);
	free(vm->queues);
	vm->queues = NULL;
	vm->queue_count = 0;
}

void requests_forget(struct ka_vm *vm)
{
	if (vm->host->requests)
		inflight_remove_vm(&vm->host->requests->inflight, vm);
}

static void collect(struct requests *requests)
{
	if (requests->results)
		ring_buffer__consume(requests->results);
}

/* ---- filing --------------------------------------------------------------------------------- */

/* Whose queue: the VM's, or one vCPU's. */
static int find_key(const struct host_vm *vm, int vcpu, uint64_t *ret_key)
{
	if (vcpu == KA_ANY_VCPU) {
		*ret_key = vm->kvm;
		return 0;
	}
	for (size_t i = 0; i < vm->vcpu_count; i++)
		if (vm->vcpus[i].id == (unsigned int)vcpu) {
			*ret_key = vm->vcpus[i].vcpu;
			return 0;
		}
	return -ESRCH;
}

static int key_of(struct ka_vm *vm, int vcpu, uint64_t *ret_key)
{
	int err = find_key(vm->vm, vcpu, ret_key);

	if (!err)
		return 0;
	/* It may have been plugged in just now. */
	err = registers_refresh(vm);
	return err ? err : find_key(vm->vm, vcpu, ret_key);
}

/* A program must not take one off the count that was not added yet. */
static int push(struct requests *requests, int queue_fd, const struct kvmbpf_request *request)
{
	int err;

	__atomic_fetch_add(waiting(requests), 1, __ATOMIC_RELAXED);
	err = bpf_map_update_elem(queue_fd, NULL, request, BPF_ANY);
	if (err)
		__atomic_fetch_sub(waiting(requests), 1, __ATOMIC_RELAXED);
	return err;
}

/* Anything but 0 leaves it to process context. A full queue is one that no vCPU empties. */
static int file(struct requests *requests, struct host_vm *vm, uint64_t key,
		const struct inflight_request *filed)
{
	int err, fd;

	if (!requests->skel)
		return -EOPNOTSUPP;
	err = queue_of(requests, vm, key, &fd);
	for (unsigned int i = 0; i < inflight_parts(filed) && !err; i++) {
		struct kvmbpf_request part = inflight_part(filed, i);

		err = push(requests, fd, &part);
	}
	return err;
}

int ka_submit(struct ka_vm *vm, const struct ka_request *request, uint64_t *ret_id)
{
	struct requests *requests = requests_of(vm->host);
	struct inflight_request *filed;
	uint64_t key;
	int err;

	if (!requests)
		return -ENOMEM;
	if (!vm->vm)
		return -EOWNERDEAD;
	/* The first request's deadline begins when it can be served. */
	load(vm->host, requests);
	err = inflight_add(&requests->inflight, vm, request, now_ns(), &filed);
	if (err)
		return err;
	err = key_of(vm, request->vcpu, &key);
	if (err) {
		inflight_remove(&requests->inflight, filed);
		return err;
	}
	collect(requests);
	if (file(requests, vm->vm, key, filed))
		filed->state = INFLIGHT_UNSERVED;
	*ret_id = filed->id;
	return 0;
}

/* ---- from process context ------------------------------------------------------------------- */

static int read_memory(struct ka_vm *vm, const struct ka_paging *paging, uint64_t address,
		       struct inflight_request *filed, size_t len)
{
	struct ka_piece piece = {
		.paging = paging, .address = address, .buf = filed->request.buf, .len = len,
	};
	/* Else by the memslots that were there once. */
	int err = registers_refresh(vm);

	if (!err)
		err = ka_readv(vm, &piece, 1);
	if (!err)
		err = piece.error;
	if (!err)
		filed->result.len = len;
	return err;
}

/* Of any vCPU: of one that can be used, if there is one. */
static int read_registers(struct ka_vm *vm, int vcpu, struct ka_registers *ret_registers)
{
	struct ka_registers *registers, *chosen;
	size_t count = 0, max = vm->vm ? vm->vm->vcpu_count : 0;
	int err;

	if (vcpu != KA_ANY_VCPU)
		return ka_register_read(vm, vcpu, ret_registers);
	registers = calloc(max + 1, sizeof(*registers));
	if (!registers)
		return -ENOMEM;
	err = ka_registers_read_all(vm, registers, max, &count);
	if (!err && !count)
		err = -EAGAIN;
	chosen = registers;
	for (size_t i = 1; i < count && ka_registers_usable(chosen); i++)
		if (!ka_registers_usable(&registers[i]))
			chosen = &registers[i];
	if (!err)
		*ret_registers = *chosen;
	free(registers);
	return err;
}

static int read_table(struct ka_vm *vm, struct inflight_request *filed)
{
	const struct ka_registers *registers = &filed->result.registers;
	const struct ka_table_register *table =
		filed->request.kind == KA_REQUEST_GDT ? &registers->gdtr : &registers->idtr;
	struct ka_paging paging = ka_paging(registers);
	size_t len = (size_t)table->limit + 1;

	if (len > filed->request.len)
		len = filed->request.len;
	return read_memory(vm, &paging, table->base, filed, len);
}

static int read_by_registers(struct ka_vm *vm, struct inflight_request *filed)
{
	struct ka_registers *registers = &filed->result.registers;
	struct ka_paging paging;
	int err;

	err = read_registers(vm, filed->request.vcpu, registers);
	if (err)
		return err;
	filed->result.vcpu = registers->vcpu;
	if (filed->request.kind == KA_REQUEST_REGISTERS)
		return 0;
	err = ka_registers_usable(registers);
	if (err)
		return err;
	if (filed->request.kind != KA_REQUEST_GVA)
		return read_table(vm, filed);
	paging = ka_paging(registers);
	return read_memory(vm, &paging, filed->request.address, filed, filed->request.len);
}

static void serve(struct ka_vm *vm, struct inflight_request *filed)
{
	const struct ka_request *request = &filed->request;

	filed->result = (struct ka_result){
		.id = filed->id,
		.time_ns = now_ns(),
		.served = KA_SERVED_PROCESS,
		.vcpu = KA_ANY_VCPU,
	};
	if (request->kind == KA_REQUEST_GPA || (request->kind == KA_REQUEST_GVA && request->paging))
		filed->error = read_memory(vm, request->paging, request->address, filed,
					   request->len);
	else
		filed->error = read_by_registers(vm, filed);
	/* Its RAM is gone a moment before it is known to have ended. */
	if (filed->error == -ENXIO && !discover_scan(vm->host, vm->info.pid) && !vm->vm)
		filed->error = -EOWNERDEAD;
	filed->state = INFLIGHT_FINISHED;
}

/* ---- results -------------------------------------------------------------------------------- */

/* Until the programs have published something, the VMM has ended, or `until` has come. */
static int wait_until(struct ka_vm *vm, struct requests *requests, uint64_t until)
{
	struct pollfd fds[2] = {
		{ .fd = ring_buffer__epoll_fd(requests->results), .events = POLLIN },
		{ .fd = vm->vm->pidfd, .events = POLLIN },
	};
	uint64_t now = now_ns(), left = until > now ? until - now : 0;

	if (left > WAIT_NS)
		left = WAIT_NS;
	/* Rounded up: a short sleep would only be repeated. */
	if (poll(fds, 2, (left + NS_PER_MS - 1) / NS_PER_MS) < 0)
		return errno == EINTR ? 0 : -errno;
	return fds[1].revents ? discover_scan(vm->host, vm->info.pid) : 0;
}

/* 0 when it is finished. */
static int await(struct ka_vm *vm, struct requests *requests, struct inflight_request *filed,
		 uint64_t timeout_ns)
{
	for (;;) {
		int err;

		collect(requests);
		if (filed->state == INFLIGHT_FINISHED)
			return 0;
		if (!vm->vm)
			return -EOWNERDEAD;
		if (filed->state == INFLIGHT_UNSERVED || now_ns() >= filed->deadline_ns) {
			serve(vm, filed);
			return 0;
		}
		if (now_ns() >= timeout_ns)
			return -ETIMEDOUT;
		err = wait_until(vm, requests, timeout_ns < filed->deadline_ns ?
				 timeout_ns : filed->deadline_ns);
		if (err)
			return err;
	}
}

int ka_finish_get(struct ka_vm *vm, uint64_t id, int timeout_ms, struct ka_result *ret_result)
{
	struct requests *requests = vm->host->requests;
	struct inflight_request *filed = requests ? inflight_find(&requests->inflight, id) : NULL;
	uint64_t timeout_ns = timeout_ms < 0 ? UINT64_MAX : now_ns() + timeout_ms * NS_PER_MS;
	int err;

	if (!filed || filed->vm != vm)
		return -ENOENT;
	err = await(vm, requests, filed, timeout_ns);
	if (err == -ETIMEDOUT)
		return err;
	if (!err)
		err = filed->error;
	if (!err)
		*ret_result = filed->result;
	inflight_remove(&requests->inflight, filed);
	return err;
}

const char *ka_served_name(enum ka_served served)
{
	static const char *const names[] = {
		[KA_SERVED_VMEXIT] = "vmexit",
		[KA_SERVED_VCPU_LOAD] = "vcpu_load",
		[KA_SERVED_PROCESS] = "process",
	};

	return names[served];
}
