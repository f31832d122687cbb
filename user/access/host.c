// SPDX-License-Identifier: LGPL-2.1-or-later
/* Loads the BPF programs that fit this host, and says what it gives. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bpf/discover.skel.h"
#include "bpf/snapshot.skel.h"
#include "direct.h"
#include "dispatch.h"
#include "helper.h"
#include "host.h"
#include "pins.h"
#include "requests.h"
#include "seal.h"
#include "vm.h"
#include "vmx.h"
#include "writes.h"

enum {
	DEFAULT_VCPUS = 8192,
	VCPUS_MAX = 1 << 20,
	PULLS_SIZE = KVMBPF_PULLS_MAX * sizeof(struct kvmbpf_pull),
};

static __thread const struct ka_host_options *log_options;

static int log_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	char line[1024];

	if (level == LIBBPF_DEBUG || !log_options || !log_options->log)
		return 0;
	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = '\0';
	log_options->log(log_options->log_ctx, line);
	return 0;
}

void host_feature(struct ka_host *host, const char *name, enum ka_feature_state state,
		  const char *format, ...)
{
	struct ka_feature *feature;
	va_list args;

	if (host->probe.count == KA_FEATURES_MAX)
		return;
	feature = &host->probe.feature[host->probe.count++];
	feature->name = name;
	feature->state = state;
	va_start(args, format);
	vsnprintf(feature->detail, sizeof(feature->detail), format, args);
	va_end(args);
}

/* ---- what the host is ---------------------------------------------------------------------- */

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

bool host_kernel_has(const char *module, const char *name, unsigned int kind)
{
	struct btf *vmlinux = btf__load_vmlinux_btf();
	struct btf *split = NULL;
	bool found = false;

	if (!vmlinux)
		return false;
	found = btf__find_by_name_kind(vmlinux, name, kind) > 0;
	if (!found && module) {
		split = btf__load_module_btf(module, vmlinux);
		found = split && btf__find_by_name_kind(split, name, kind) > 0;
	}
	btf__free(split);
	btf__free(vmlinux);
	return found;
}

/* Which of KVM's vendor modules is at work; they may also be built in. */
enum ka_vendor host_vendor(void)
{
	if (exists("/sys/module/kvm_amd/parameters"))
		return KA_VENDOR_SVM;
	if (exists("/sys/module/kvm_intel/parameters"))
		return KA_VENDOR_VMX;
	if (exists("/sys/module/kvm_pvm"))
		return KA_VENDOR_PVM;
	return KA_VENDOR_NONE;
}

static void read_lockdown(char *ret, size_t size)
{
	FILE *file = fopen("/sys/kernel/security/lockdown", "re");
	char line[128], *begin, *end;

	snprintf(ret, size, "unknown");
	if (!file)
		return;
	if (fgets(line, sizeof(line), file)) {
		begin = strchr(line, '[');
		end = begin ? strchr(begin, ']') : NULL;
		if (end)
			snprintf(ret, size, "%.*s", (int)(end - begin - 1), begin + 1);
	}
	fclose(file);
}

/* What must be there before anything is loaded. */
static int probe_basics(struct ka_host *host)
{
	struct ka_probe *probe = &host->probe;
	struct utsname name;

	if (!uname(&name))
		snprintf(probe->kernel, sizeof(probe->kernel), "%s", name.release);
	read_lockdown(probe->lockdown, sizeof(probe->lockdown));
	host_feature(host, "libbpf", KA_FEATURE_ON, "%s", libbpf_version_string());
	probe->vendor = host_vendor();
	if (probe->vendor == KA_VENDOR_NONE) {
		host_feature(host, "kvm", KA_FEATURE_OFF,
			     "KVM is not loaded: modprobe kvm_amd or kvm_intel; no checks");
		return -EOPNOTSUPP;
	}
	host_feature(host, "kvm", KA_FEATURE_ON, "%s",
		     probe->vendor == KA_VENDOR_SVM ? "AMD SVM (kvm_amd)" :
		     probe->vendor == KA_VENDOR_VMX ? "Intel VMX (kvm_intel)" : "PVM (kvm_pvm)");
	if (!exists("/sys/kernel/btf/vmlinux")) {
		host_feature(host, "btf", KA_FEATURE_OFF,
			     "no /sys/kernel/btf/vmlinux: kernel without CONFIG_DEBUG_INFO_BTF; no checks");
		return -EOPNOTSUPP;
	}
	if (!host_kernel_has("kvm", "kvm_vcpu", BTF_KIND_STRUCT)) {
		host_feature(host, "btf", KA_FEATURE_OFF,
			     "no BTF of KVM (needs CAP_SYS_ADMIN where it is a module); no checks");
		return geteuid() ? -EPERM : -EOPNOTSUPP;
	}
	host_feature(host, "btf", KA_FEATURE_ON, "vmlinux and KVM");
	return 0;
}

/* ---- loading ------------------------------------------------------------------------------- */

static int load_discover(struct ka_host *host)
{
	int err;

	host->discover = discover_bpf__open_and_load();
	if (!host->discover) {
		err = -errno;
		host_feature(host, "discover", KA_FEATURE_OFF, "cannot load: %s; no checks",
			     strerror(-err));
		return err;
	}
	host->discover_link = bpf_program__attach_iter(host->discover->progs.discover, NULL);
	if (!host->discover_link) {
		err = -errno;
		host_feature(host, "discover", KA_FEATURE_OFF, "cannot attach: %s; no checks",
			     strerror(-err));
		return err;
	}
	host_feature(host, "discover", KA_FEATURE_ON, "iterator over the files of processes");
	return 0;
}

/*
 * Opens the snapshot object with the wanted programs. A program that the kernel refuses fails the
 * whole object, so each way of pushing is tried with an object of its own.
 */
static int load_snapshot(struct ka_host *host, uint32_t vcpus, bool exits, enum load_way way)
{
	struct bpf_program *pull;
	int err;

	host->snapshot = snapshot_bpf__open();
	if (!host->snapshot)
		return -errno;
	bpf_map__set_max_entries(host->snapshot->maps.vcpus, vcpus);
	bpf_map__set_max_entries(host->snapshot->maps.vcpu_slots, vcpus);
	host->snapshot->rodata->has_helper = host->helper;
	memcpy(host->snapshot->rodata->uret_slots, host->uret_slots, sizeof(host->uret_slots));
	bpf_program__set_autoload(host->snapshot->progs.wake, host_reads_vmcs(host));
	pull = push_program(host->snapshot->obj, host->probe.vendor, "pull");
	if (pull)
		bpf_program__set_autoload(pull, true);
	if (exits)
		push_choose(host->snapshot->obj, host->probe.vendor, way);
	err = snapshot_bpf__load(host->snapshot);
	if (err) {
		snapshot_bpf__destroy(host->snapshot);
		host->snapshot = NULL;
	}
	return err;
}

static void detach_all(struct ka_host *host)
{
	push_detach(&host->push);
	snapshot_bpf__destroy(host->snapshot);
	host->snapshot = NULL;
}

static int try_push(struct ka_host *host, uint32_t vcpus, enum load_way way)
{
	int err;

	err = load_snapshot(host, vcpus, true, way);
	if (err)
		return err;
	err = push_attach(host->snapshot->obj, host->probe.vendor, way, &host->push);
	if (err)
		detach_all(host);
	return err;
}

static int load_push(struct ka_host *host, uint32_t vcpus)
{
	int err = -EOPNOTSUPP;

	for (enum load_way way = LOAD_FENTRY; way <= LOAD_NONE; way++) {
		err = try_push(host, vcpus, way);
		if (err)
			continue;
		host_feature(host, "push_exit", KA_FEATURE_ON, "tracepoint kvm_exit");
		host_feature(host, "push_load", push_load_ways[way].state, "%s",
			     push_load_ways[way].detail);
		return 0;
	}
	return err;
}

/* Where the module has other functions than we call, the programs must do without. */
static int load_push_best(struct ka_host *host, uint32_t vcpus)
{
	int err = -EOPNOTSUPP;

	if (host->helper)
		err = load_push(host, vcpus);
	if (err) {
		host->helper = false;
		err = load_push(host, vcpus);
	}
	return err;
}

static int load_programs(struct ka_host *host, const struct ka_host_options *options)
{
	uint32_t vcpus = options->max_vcpus ? options->max_vcpus : DEFAULT_VCPUS;
	const struct bpf_program *pull;
	int err = -EOPNOTSUPP;
	bool push;

	if (vcpus > VCPUS_MAX)
		return -EINVAL;
	host->slot_count = vcpus;
	host->map_ram = options->map_ram;
	host->helper = helper_loaded();
	if (host->probe.vendor == KA_VENDOR_VMX)
		vmx_slots_find(host->uret_slots);
	push = !options->no_push || host_reads_vmcs(host);
	if (push)
		err = load_push_best(host, vcpus);
	if (err) {
		host_feature(host, "push_exit", KA_FEATURE_OFF,
			     push ? "no kvm_exit: %s; CR0.WP is only sampled" :
				    "switched off%s; CR0.WP is only sampled",
			     push ? strerror(-err) : "");
		host->helper = false;
		err = load_snapshot(host, vcpus, false, LOAD_NONE);
	}
	if (err) {
		host_feature(host, "pull", KA_FEATURE_OFF, "cannot load: %s; no checks",
			     strerror(-err));
		return err;
	}
	pull = push_program(host->snapshot->obj, host->probe.vendor, "pull");
	host->pull_fd = bpf_program__fd(pull);
	host_feature(host, "pull", KA_FEATURE_ON, "registers of all vCPUs in one call");
	return 0;
}

static int map_array(const struct bpf_map *map, size_t size, void **ret_array)
{
	void *array = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	if (array == MAP_FAILED)
		return -errno;
	*ret_array = array;
	return 0;
}

static int map_states(struct ka_host *host)
{
	int err;

	host->states_size = (size_t)host->slot_count * sizeof(struct kvmbpf_vcpu);
	err = map_array(host->snapshot->maps.vcpus, host->states_size, (void **)&host->states);
	if (!err)
		err = map_array(host->snapshot->maps.pulls, PULLS_SIZE, (void **)&host->pulls);
	if (err)
		return err;
	host->slot_used = calloc(host->slot_count, 1);
	host->batch = calloc(1, sizeof(*host->batch));
	return host->slot_used && host->batch ? 0 : -ENOMEM;
}

static int host_init(struct ka_host *host, const struct ka_host_options *options)
{
	int err;

	err = probe_basics(host);
	if (err)
		return err;
	err = load_discover(host);
	if (err)
		return err;
	err = load_programs(host, options);
	if (err)
		return err;
	helper_feature(host);
	if (!options->no_direct)
		direct_init(host);
	seals_init(host);
	err = map_states(host);
	if (err)
		return err;
	err = dispatch_init(host);
	if (err)
		return err;
	if (!options->no_push)
		writes_init(host);
	requests_probe(host);
	if (options->pin_path)
		pins_add(host, options->pin_path);
	return 0;
}

static void host_free(struct ka_host *host)
{
	if (!host)
		return;
	pins_remove(host);
	requests_free(host);
	writes_deinit(host);
	dispatch_deinit(host);
	if (host->states)
		munmap(host->states, host->states_size);
	if (host->pulls)
		munmap(host->pulls, PULLS_SIZE);
	free(host->slot_used);
	free(host->batch);
	seals_free(host->seals);
	direct_free(host->direct);
	detach_all(host);
	bpf_link__destroy(host->discover_link);
	discover_bpf__destroy(host->discover);
	host_vms_free(host);
	free(host);
}

static struct ka_host *host_new(void)
{
	struct ka_host *host = calloc(1, sizeof(*host));

	if (host)
		host->epoll_fd = host->uevent_fd = host->timer_fd = host->pin_fd = -1;
	return host;
}

static int host_open(struct ka_host *host, const struct ka_host_options *options)
{
	static const struct ka_host_options defaults;
	libbpf_print_fn_t before;
	int err;

	log_options = options ? options : &defaults;
	before = libbpf_set_print(log_libbpf);
	err = host_init(host, log_options);
	libbpf_set_print(before);
	log_options = NULL;
	if (err == -EACCES)
		err = -EPERM;
	return err;
}

int ka_host_open(const struct ka_host_options *options, struct ka_host **ret_host)
{
	struct ka_host *host = host_new();
	int err;

	if (!host)
		return -ENOMEM;
	err = host_open(host, options);
	if (err)
		host_free(host);
	else
		*ret_host = host;
	return err;
}

void ka_host_close(struct ka_host *host)
{
	host_free(host);
}

int ka_probe(struct ka_probe *ret_probe)
{
	struct ka_host *host = host_new();

	if (!host)
		return -ENOMEM;
	host_open(host, NULL);
	*ret_probe = host->probe;
	host_free(host);
	return 0;
}

const struct ka_probe *ka_host_features(const struct ka_host *host)
{
	return &host->probe;
}

int ka_host_counters(struct ka_host *host, struct ka_counters *ret_counters)
{
	int cpus = libbpf_num_possible_cpus();
	struct ka_counters sum = {};
	struct kvmbpf_counters *each;
	uint32_t zero = 0;
	int err;

	if (cpus < 0)
		return cpus;
	each = calloc(cpus, sizeof(*each));
	if (!each)
		return -ENOMEM;
	err = bpf_map_lookup_elem(bpf_map__fd(host->snapshot->maps.counters), &zero, each);
	for (int i = 0; !err && i < cpus; i++) {
		sum.exits += each[i].exits;
		sum.loads += each[i].loads;
		sum.pulls += each[i].pulls;
		sum.changes += each[i].changes;
		sum.ringbuf_lost += each[i].ringbuf_lost;
		sum.dropped += each[i].dropped;
		sum.state_busy += each[i].state_busy;
		sum.read_errors += each[i].read_errors;
	}
	free(each);
	sum.results_lost = requests_results_lost(host);
	sentries_count(host, &sum);
	if (!err)
		*ret_counters = sum;
	return err;
}

int host_pull(struct ka_host *host, unsigned int count)
{
	struct kvmbpf_pull_call call = { .count = count };
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &call, .ctx_size_in = sizeof(call));

	return bpf_prog_test_run_opts(host->pull_fd, &options);
}
