// SPDX-License-Identifier: LGPL-2.1-or-later
/* VM handles: who gets one, and that nothing of a VM or of the module outlives its users. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

TestSuite(helper_handles, .fini = harness_close, .timeout = TEST_TIMEOUT_S);

enum { CYCLES = 1000, DEADLINE_MS = 20000 };

static int find(uint64_t kvm)
{
	bss->call.kvm = kvm;
	return harness_call("vm_find");
}

static void release(unsigned int slot)
{
	bss->call.slot = slot;
	harness_call("vm_release");
}

static int acquire_fd(int fd)
{
	bss->call.slot = 0;
	bss->call.fd = fd;
	return harness_call("vm_acquire");
}

/* VMs of a process that KVM has not destroyed, as it says in debugfs. */
static size_t vms_of(pid_t pid)
{
	DIR *dir = opendir("/sys/kernel/debug/kvm");
	struct dirent *entry;
	char prefix[16];
	size_t count = 0;

	cr_assert_not_null(dir);
	snprintf(prefix, sizeof(prefix), "%d-", pid);
	while ((entry = readdir(dir)))
		count += !strncmp(entry->d_name, prefix, strlen(prefix));
	closedir(dir);
	return count;
}

static void vms_wait(pid_t pid, size_t count)
{
	uint64_t deadline = support_now_ms() + DEADLINE_MS;

	while (vms_of(pid) != count && support_now_ms() < deadline)
		usleep(10000);
	cr_assert_eq(vms_of(pid), count);
}

/* Waits until the kernel has freed what earlier tests left, so that references can be counted. */
static long open_alone(const struct tinyvm_options *options)
{
	if (!access("/sys/module/kvmbpf_helper", F_OK))
		references_wait(0);
	harness_open(options);
	return references();
}

/* ---- who gets one ---- */

Test(helper_handles, a_vm_has_one_handle)
{
	long before;

	before = open_alone(&(struct tinyvm_options){ .vms = 2 });
	assert_ok(acquire(0, t.vm.pid, 0));
	assert_ok(acquire(1, t.vm.pid, 0));
	cr_assert_eq(references(), before + 1);
	assert_ok(acquire(2, t.vm.pid, 1));
	cr_assert_eq(references(), before + 2);
	release(0);
	release(2);
	references_wait(before + 1);
	release(1);
	references_wait(before);
}

Test(helper_handles, other_files_are_no_vms)
{
	char path[] = "/tmp/kmod-test.XXXXXX", file[64];
	int fd;

	harness_open(&(struct tinyvm_options){ 0 });
	assert_rc(acquire_fd(-1), -ENOENT);
	assert_rc(acquire_fd(1 << 20), -ENOENT);
	assert_rc(acquire_fd(STDIN_FILENO), -ENOENT);
	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	assert_rc(acquire_fd(fd), -ENOENT);
	close(fd);
	/* By name alone they would be taken for one. */
	fd = memfd_create("kvm-vm", MFD_CLOEXEC);
	assert_rc(acquire_fd(fd), -ENOENT);
	close(fd);
	cr_assert_not_null(mkdtemp(path));
	snprintf(file, sizeof(file), "%s/kvm-vm", path);
	fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	assert_rc(acquire_fd(fd), -ENOENT);
	close(fd);
	unlink(file);
	rmdir(path);
}

Test(helper_handles, are_found_by_address_while_someone_holds_one)
{
	uint64_t kvm;

	harness_open(&(struct tinyvm_options){ 0 });
	assert_ok(acquire(0, t.vm.pid, 0));
	kvm = bss->call.kvm;
	assert_ok(find(kvm));
	assert_rc(find(0), -ENOENT);
	assert_rc(find(kvm + 8), -ENOENT);
	assert_rc(find(~0ull), -ENOENT);
	release(0);
	assert_rc(find(kvm), -ENOENT);
}

/* ---- ends ---- */

Test(helper_handles, a_vmm_that_is_killed_takes_its_vm_along)
{
	pid_t pid;

	harness_open(&(struct tinyvm_options){ 0 });
	pid = t.vm.pid;
	assert_ok(acquire(0, pid, 0));
	bss->call.paging = harness_paging(0);
	bss->call.address = gva(GUEST_SCRATCH);
	bss->call.len = 8;
	assert_ok(harness_call("gva_read"));
	tinyvm_kill(&t.vm);
	vms_wait(pid, 0); /* though the handle is kept */
	assert_rc(harness_call("gva_read"), -EOWNERDEAD);
	assert_rc(harness_call("gva_write"), -EOWNERDEAD);
	assert_rc(harness_call("vcpu_wake"), -EOWNERDEAD);
	assert_rc(harness_call("tracker_acquire"), -EBUSY);
	assert_rc(find(bss->call.kvm), -ENOENT);
}

Test(helper_handles, a_vm_that_is_closed_ends_when_told)
{
	long before;

	before = open_alone(&(struct tinyvm_options){ .vms = 2 });
	assert_ok(acquire(0, t.vm.pid, 0));
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_DESTROY, NULL, 0, NULL));
	cr_assert_eq(vms_of(t.vm.pid), 2);
	bss->call.reason = KVMBPF_STOP_VM;
	assert_rc(harness_call("tracking_stop"), -ENOENT); /* no tracker */
	vms_wait(t.vm.pid, 1);
	cr_assert_eq(references(), before + 1);
	release(0);
	references_wait(before);
}

Test(helper_handles, a_thousand_cycles_leave_nothing)
{
	long before;

	before = open_alone(&(struct tinyvm_options){ 0 });
	for (unsigned int i = 0; i < CYCLES; i++) {
		assert_ok(acquire(0, t.vm.pid, 0));
		release(0);
	}
	references_wait(before);
}

Test(helper_handles, programs_that_end_give_theirs_up)
{
	open_alone(&(struct tinyvm_options){ 0 });
	assert_ok(acquire(0, t.vm.pid, 0));
	assert_ok(harness_call("tracker_acquire"));
	assert_ok(track(GUEST_SCRATCH, 8, KVMBPF_TRACK_PROTECT, 1));
	harness_unload();
	references_wait(0);
}

/* ---- the rest of what any program may call ---- */

Test(helper_handles, a_sleeping_vcpu_is_loaded_once_more)
{
	uint64_t deadline = support_now_ms() + DEADLINE_MS, before;

	harness_load(true);
	support_start(&(struct tinyvm_options){ .vcpus = 2, .irqchip = true });
	assert_ok(acquire(0, t.vm.pid, 0));
	bss->on_exit_kvm = bss->call.kvm;
	before = bss->on_exit.loads;
	for (bss->call.vcpu = 0; bss->call.vcpu < 2; bss->call.vcpu++)
		assert_ok(harness_call("vcpu_wake"));
	while (bss->on_exit.loads < before + 2 && support_now_ms() < deadline)
		usleep(10000);
	cr_assert_geq(bss->on_exit.loads, before + 2);
	assert_rc(harness_call("vcpu_wake"), -ESRCH);
	bss->call.vcpu = ~0u;
	assert_rc(harness_call("vcpu_wake"), -ESRCH);
}

Test(helper_handles, vmread_in_the_wrong_place_is_an_error)
{
	int result;

	harness_open(&(struct tinyvm_options){ 0 });
	assert_ok(acquire(0, t.vm.pid, 0));
	bss->call.address = bss->call.kvm;
	result = harness_call("vmcs_read");
	/* Without VMX; with it this thread can be moved to another CPU. */
	cr_assert(result == -EOPNOTSUPP || result == -EAGAIN, "%d", result);
}

/* ---- the module's end ---- */

static int unload(void)
{
	return syscall(SYS_delete_module, "kvmbpf_helper", O_NONBLOCK) ? -errno : 0;
}

static void load(void)
{
	char path[256], self[128] = "";
	unsigned int major, minor;
	struct utsname kernel;
	int fd;

	assert_ok(uname(&kernel));
	cr_assert_eq(sscanf(kernel.release, "%u.%u", &major, &minor), 2);
	cr_assert_gt(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
	*strrchr(self, '/') = '\0';
	snprintf(path, sizeof(path), "%s/../../kmod/%u.%u/kvmbpf_helper.ko", self, major, minor);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_geq(fd, 0, "%s: %m", path);
	assert_ok(syscall(SYS_finit_module, fd, "", 0) ? -errno : 0);
	close(fd);
}

/* Comes and goes, with everything that the module can keep, until it is killed. */
static void use_and_end(void)
{
	for (;;) {
		if (!harness_try_load(false) && !acquire(0, t.vm.pid, 0) &&
		    !harness_call("tracker_acquire"))
			track(GUEST_SCRATCH, 8, KVMBPF_TRACK_PROTECT, 1);
		harness_unload();
	}
}

Test(helper_handles, the_module_goes_only_when_nobody_uses_it)
{
	uint64_t words[] = { 0, 1, 2, 3, 4 };
	unsigned int refused = 0;
	pid_t child;

	open_alone(&(struct tinyvm_options){ 0 });
	assert_rc(unload(), -EWOULDBLOCK);
	harness_unload();
	/* The guest writes to the frame all the time. */
	words[0] = gva(GUEST_SCRATCH);
	assert_ok(tinyvm_command(&t.vm, 0, GUEST_CMD_REWRITE, words, 5));
	for (unsigned int i = 0; i < 5; i++) {
		child = fork();
		if (child == 0)
			use_and_end();
		for (uint64_t end = support_now_ms() + 2000; support_now_ms() < end;) {
			int err = unload();

			cr_assert(!err || err == -EWOULDBLOCK, "%d", err);
			refused += !!err;
			if (!err)
				load();
		}
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	references_wait(0);
	cr_assert_gt(refused, 0);
	assert_ok(unload());
	load();
	assert_ok(tinyvm_stop(&t.vm, 0));
}
