// SPDX-License-Identifier: LGPL-2.1-or-later
/* Tracks guest writes through the module kvmbpf_helper. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bpf/writes.skel.h"
#include "clock.h"
#include "helper.h"
#include "kvmbpf/writes.h"
#include "writes.h"

/* Guests can write as fast as the ring buffer is emptied, so it is left then. */
enum { RECORDS_PER_DISPATCH = 8192 };

static int call(struct bpf_program *program, struct kvmbpf_writes_call *call)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = call, .ctx_size_in = sizeof(*call));
	int err = bpf_prog_test_run_opts(bpf_program__fd(program), &options);

	return err ? err : call->result;
}

static int call_with_fd(struct ka_vm *vm, struct bpf_program *program)
{
	struct kvmbpf_writes_call args = { .kvm = vm->vm->kvm, .fd = helper_vm_fd(vm->vm) };
	int err;

	if (args.fd < 0)
		return args.fd;
	err = call(program, &args);
	close(args.fd);
	return err == -ESRCH ? -EOWNERDEAD : err;
}

/* ---- what is asked for ---------------------------------------------------------------------- */

static int check(const struct ka_vm *vm)
{
	if (!vm->host->writes)
		return -EOPNOTSUPP;
	return vm->vm ? 0 : -EOWNERDEAD;
}

static int check_tracking(const struct ka_vm *vm)
{
	int err = check(vm);

	return err ? err : vm->tracks ? 0 : -EINVAL;
}

int ka_track_begin(struct ka_vm *vm)
{
	uint64_t now = now_ns();
	int err = check(vm);

	if (err)
		return err;
	if (vm->tracks) {
		struct kvmbpf_writes_call args = { .kvm = vm->vm->kvm };

		return call(vm->host->writes->progs.writes_restart, &args);
	}
	err = call_with_fd(vm, vm->host->writes->progs.writes_begin);
	if (err)
		return err;
	vm->tracks = true;
	/* Records of an earlier VM at this address are older. */
	vm->tracks_since_ns = now;
	vm->writes_lost = 0;
	return 0;
}

void writes_end(struct ka_vm *vm, uint64_t kvm)
{
	if (!vm->tracks)
		return;
	bpf_map_delete_elem(bpf_map__fd(vm->host->writes->maps.tracked_vms), &kvm);
	vm->tracks = false;
}

void ka_track_end(struct ka_vm *vm)
{
	if (vm->vm)
		writes_end(vm, vm->vm->kvm);
}

int ka_tracker_pid(struct ka_vm *vm, pid_t *ret_pid)
{
	int result = check(vm);

	if (!result)
		result = call_with_fd(vm, vm->host->writes->progs.writes_holder);
	if (result < 0)
		return result;
	*ret_pid = result;
	return 0;
}

int ka_track(struct ka_vm *vm, uint64_t gpa, size_t len, unsigned int flags, uint64_t cookie)
{
	int err = check_tracking(vm);
	struct kvmbpf_writes_call args;

	if (err)
		return err;
	if (flags & ~(unsigned int)KA_TRACK_PROTECT || len > 4096)
		return -EINVAL;
	args = (struct kvmbpf_writes_call){
		.kvm = vm->vm->kvm,
		.gpa = gpa,
		.len = len,
		.cookie = cookie,
		.flags = flags & KA_TRACK_PROTECT ? KVMBPF_TRACK_PROTECT : 0,
	};
	return call(vm->host->writes->progs.writes_track, &args);
}

int ka_track_frames(struct ka_vm *vm, uint64_t gpa, size_t frames, uint64_t cookie)
{
	int err = check_tracking(vm);
	struct kvmbpf_writes_call args;

	if (err)
		return err;
	if (!bpf_program__autoload(vm->host->writes->progs.writes_tell))
		return -EOPNOTSUPP;
	if (frames > KVMBPF_TOLD_RUN_MAX)
		frames = KVMBPF_TOLD_RUN_MAX;
	args = (struct kvmbpf_writes_call){
		.kvm = vm->vm->kvm,
		.gpa = gpa,
		.len = frames * 4096,
		.cookie = cookie,
	};
	return call(vm->host->writes->progs.writes_tell, &args);
}

int ka_untrack(struct ka_vm *vm, uint64_t gpa, uint64_t len)
{
	int err = check_tracking(vm);
	struct kvmbpf_writes_call args;

	if (err)
		return err;
	args = (struct kvmbpf_writes_call){ .kvm = vm->vm->kvm, .gpa = gpa, .len = len };
	return call(vm->host->writes->progs.writes_untrack, &args);
}

int ka_tracked(struct ka_vm *vm, struct ka_tracked *tracked, size_t max, size_t *ret_count)
{
	int err = check_tracking(vm);
	struct kvmbpf_writes_call args;
	size_t count;

	if (err)
		return err;
	args = (struct kvmbpf_writes_call){ .kvm = vm->vm->kvm };
	for (count = 0; count < max; count++) {
		args.index = count;
		err = call(vm->host->writes->progs.writes_list, &args);
		if (err == -ENOENT)
			break;
		if (err)
			return err;
		tracked[count] = (struct ka_tracked){
			.gpa = args.tracked.gpa,
			.len = args.tracked.len,
			.flags = args.tracked.flags & KVMBPF_TRACK_PROTECT ? KA_TRACK_PROTECT : 0,
			.cookie = args.tracked.cookie,
			.writes = args.tracked.writes,
		};
	}
	*ret_count = count;
	return 0;
}

/* ---- what is told --------------------------------------------------------------------------- */

/* The handle whose tracker told it; a record may be older than that, and of another VM. */
static struct ka_vm *teller(const struct ka_host *host, uint64_t kvm, uint64_t time_ns)
{
	for (size_t i = 0; i < host->vm_count; i++)
		for (struct ka_vm *vm = host->vms[i]->handle; vm; vm = vm->next)
			if (host->vms[i]->kvm == kvm && vm->tracks &&
			    time_ns >= vm->tracks_since_ns)
				return vm;
	return NULL;
}

static void take_write(struct ka_host *host, const struct kvmbpf_write_record *record)
{
	const struct kvmbpf_write *from = &record->write;
	struct ka_vm *vm = teller(host, from->kvm, record->header.time_ns);
	struct ka_write write = {
		.gpa = from->gpa,
		.rip = from->rip,
		.cookie = from->cookie,
		.time_ns = record->header.time_ns,
		.vcpu = from->vcpu_id,
		.len = from->len <= KA_WRITE_BYTES ? from->len : KA_WRITE_BYTES,
	};

	if (!vm || !host->events->guest_wrote)
		return;
	if (from->flags & KVMBPF_WRITE_UNDONE)
		write.flags |= KA_WRITE_UNDONE;
	if (from->flags & KVMBPF_WRITE_STOOD_ASIDE)
		write.flags |= KA_WRITE_STOOD_ASIDE;
	if (from->flags & KVMBPF_WRITE_FAILED)
		write.flags |= KA_WRITE_FAILED;
	if (from->flags & KVMBPF_WRITE_NO_VCPU)
		write.flags |= KA_WRITE_NO_VCPU;
	if (from->flags & KVMBPF_WRITE_NO_OLD)
		write.flags |= KA_WRITE_NO_OLD;
	memcpy(write.old_bytes, from->old_bytes, write.len);
	memcpy(write.new_bytes, from->new_bytes, write.len);
	host->events->guest_wrote(host->events_ctx, vm->vm->info.key, &write);
}

static enum ka_stop_reason stop_reason(uint32_t reason)
{
	switch (reason) {
	case KVMBPF_STOP_KERNEL:
		return KA_STOP_KERNEL;
	case KVMBPF_STOP_MEMSLOT:
		return KA_STOP_MEMSLOT;
	case KVMBPF_STOP_HOT:
		return KA_STOP_HOT;
	case KVMBPF_STOP_VM:
		return KA_STOP_VM;
	default:
		return KA_STOP_RELEASED;
	}
}

static void take_stop(struct ka_host *host, const struct kvmbpf_stop_record *record)
{
	struct ka_vm *vm = teller(host, record->stop.kvm, record->header.time_ns);

	if (vm && host->events->tracking_stopped)
		host->events->tracking_stopped(host->events_ctx, vm->vm->info.key,
					       record->stop.gpa, stop_reason(record->stop.reason));
}

static int on_record(void *ctx, void *data, size_t size)
{
	const struct kvmbpf_record *header = data;
	struct ka_host *host = ctx;

	if (size >= sizeof(struct kvmbpf_write_record) && header->type == KVMBPF_RECORD_WRITE)
		take_write(host, data);
	else if (size >= sizeof(struct kvmbpf_stop_record) && header->type == KVMBPF_RECORD_STOP)
		take_stop(host, data);
	return ++host->write_records < RECORDS_PER_DISPATCH ? 0 : -E2BIG;
}

static uint64_t newly_lost(struct ka_vm *vm)
{
	struct kvmbpf_tracked_vm counts;
	uint64_t lost = 0;

	if (!bpf_map_lookup_elem(bpf_map__fd(vm->host->writes->maps.tracked_vms), &vm->vm->kvm,
				 &counts)) {
		lost = counts.lost - vm->writes_lost;
		vm->writes_lost = counts.lost;
	}
	return lost;
}

static void report_lost(struct ka_host *host)
{
	if (!host->events->writes_lost)
		return;
	for (size_t i = 0; i < host->vm_count; i++)
		for (struct ka_vm *vm = host->vms[i]->handle; vm; vm = vm->next) {
			uint64_t lost = vm->tracks ? newly_lost(vm) : 0;

			if (lost)
				host->events->writes_lost(host->events_ctx, vm->vm->info.key, lost);
		}
}

int writes_dispatch(struct ka_host *host)
{
	int count;

	if (!host->writes)
		return 0;
	host->write_records = 0;
	count = ring_buffer__consume(host->writes_ring);
	/* Records are lost only while the ring buffer is full. */
	if (host->write_records)
		report_lost(host);
	return count < 0 && count != -E2BIG ? count : 0;
}

/* ---- loading -------------------------------------------------------------------------------- */

/* Functions that a kernel's KVM, or our module, may lack: then what they write is seen by polling only. */
static void load_if_present(struct bpf_program *program, const char *module, const char *function)
{
	bpf_program__set_autoload(program, host_kernel_has(module, function, BTF_KIND_FUNC));
}

static int load(struct ka_host *host)
{
	struct epoll_event event = { .events = EPOLLIN };
	int err;

	host->writes = writes_bpf__open();
	if (!host->writes)
		return -errno;
	load_if_present(host->writes->progs.emulator_wrote, "kvm", "emulator_write_std");
	load_if_present(host->writes->progs.system_wrote, "kvm", "kvm_write_guest_virt_system");
	load_if_present(host->writes->progs.writes_tell, "kvmbpf_helper", "kvmbpf_tell_writes");
	err = writes_bpf__load(host->writes);
	if (!err)
		err = writes_bpf__attach(host->writes);
	if (err)
		return err;
	host->writes_ring = ring_buffer__new(bpf_map__fd(host->writes->maps.writes), on_record,
					     host, NULL);
	if (!host->writes_ring)
		return -errno;
	event.data.fd = ring_buffer__epoll_fd(host->writes_ring);
	return epoll_ctl(host->epoll_fd, EPOLL_CTL_ADD, event.data.fd, &event) ? -errno : 0;
}

void writes_init(struct ka_host *host)
{
	int err;

	if (!helper_loaded()) {
		host_feature(host, "writes", KA_FEATURE_OFF,
			     "the module kvmbpf_helper is not loaded: what is undone between two polls is not seen");
		return;
	}
	/* What is not stopped when the guest leaves its kernel must not be begun. */
	err = host->helper ? load(host) : -EPROTO;
	if (err) {
		writes_deinit(host);
		host_feature(host, "writes", KA_FEATURE_OFF,
			     "kvmbpf_helper does not take our programs: %s", strerror(-err));
		return;
	}
	host_feature(host, "writes", KA_FEATURE_ON, "KVM's write tracking through kvmbpf_helper");
}

void writes_deinit(struct ka_host *host)
{
	ring_buffer__free(host->writes_ring);
	host->writes_ring = NULL;
	writes_bpf__destroy(host->writes);
	host->writes = NULL;
}
