// SPDX-License-Identifier: LGPL-2.1-or-later
/* ka_list() finds every VM once, whatever its vCPUs do, and ka_open() the one that is meant. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

enum { MANY = 200, MANY_IN_ONE = 50 };

#define UUID_A "6a1f0f10-3a5c-4a6e-9d51-0c2f4a3b5e01"

static struct tinyvm others[MANY];
static char unique_name[40];

static void close_all(void)
{
	for (size_t i = 0; i < MANY; i++)
		tinyvm_kill(&others[i]);
	support_close();
}

/* Tests run side by side, and ka_list() sees the guests of all of them. */
static const char *name_of(unsigned int i)
{
	snprintf(unique_name, sizeof(unique_name), "tiny-%d-%u", getpid(), i);
	return unique_name;
}

TestSuite(list, .fini = close_all, .timeout = TEST_TIMEOUT_S);

struct list { struct ka_vm_info *vms; size_t count; };

static struct list list_all(void)
{
	struct list list = { 0 };

	assert_ok(ka_list(t.host, &list.vms, &list.count));
	cr_assert((list.vms == NULL) == (list.count == 0));
	return list;
}

/* How often a process is in the list; *ret_info is its last entry. */
static size_t times_listed(pid_t pid, struct ka_vm_info *ret_info)
{
	struct list list = list_all();
	size_t times = 0;

	for (size_t i = 0; i < list.count; i++) {
		if (list.vms[i].pid != pid)
			continue;
		times++;
		if (ret_info)
			*ret_info = list.vms[i];
	}
	free(list.vms);
	return times;
}

static uint64_t start_ticks_of(pid_t pid)
{
	char path[40], line[1024] = "";
	unsigned long long ticks = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	cr_assert_not_null(file);
	cr_assert_not_null(fgets(line, sizeof(line), file));
	fclose(file);
	cr_assert_eq(sscanf(strrchr(line, ')') + 2,
			    "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
			    "%*d %*d %llu", &ticks), 1);
	return ticks;
}

Test(list, one_vm_with_what_it_has)
{
	struct tinyvm_options options = { .vcpus = 3, .slots = 2, .name = name_of(0),
					  .uuid = UUID_A };
	char path[64], target[64] = "";
	struct ka_vm_info info;

	support_start(&options);
	support_host(false);
	cr_assert_eq(times_listed(t.vm.pid, &info), 1);
	cr_assert_eq(info.start_ticks, start_ticks_of(t.vm.pid));
	cr_assert_eq(info.vcpus, 3);
	assert_hex(info.memory_bytes, 2 * GUEST_MEMORY_MIN);
	cr_assert_str_eq(info.name, options.name);
	cr_assert_str_eq(info.uuid, UUID_A);
	cr_assert_str_eq(info.id_source, "cmdline");
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", info.pid, info.fd);
	cr_assert_gt(readlink(path, target, sizeof(target) - 1), 0);
	cr_assert_str_eq(target, "anon_inode:kvm-vm");
}

Test(list, vm_without_identity_is_named_by_its_pid)
{
	struct ka_vm_info info;
	char name[32];

	support_start(&(struct tinyvm_options){ 0 });
	support_host(false);
	cr_assert_eq(times_listed(t.vm.pid, &info), 1);
	snprintf(name, sizeof(name), "pid-%d", t.vm.pid);
	cr_assert_str_eq(info.name, name);
	cr_assert_str_eq(info.uuid, "");
	cr_assert_str_eq(info.id_source, "pid");
}

Test(list, two_hundred_processes)
{
	struct list list;
	size_t found = 0;

	for (unsigned int i = 0; i < MANY; i++)
		assert_ok(tinyvm_start(&(struct tinyvm_options){ .name = name_of(i) }, &others[i]));
	support_host(false);
	list = list_all();
	for (unsigned int i = 0; i < MANY; i++) {
		size_t times = 0;

		for (size_t j = 0; j < list.count; j++) {
			if (list.vms[j].pid != others[i].pid)
				continue;
			times++;
			cr_assert_str_eq(list.vms[j].name, name_of(i));
		}
		cr_assert_eq(times, 1, "process %u is listed %zu times", i, times);
		found += times;
	}
	free(list.vms);
	cr_assert_eq(found, MANY);
}

Test(list, each_vm_of_one_process)
{
	struct list list;
	size_t found = 0;

	support_start(&(struct tinyvm_options){ .vms = MANY_IN_ONE });
	support_host(false);
	list = list_all();
	for (size_t i = 0; i < list.count; i++) {
		if (list.vms[i].pid != t.vm.pid)
			continue;
		found++;
		for (size_t j = 0; j < i; j++) {
			cr_assert_neq(list.vms[i].key, list.vms[j].key);
			cr_assert(list.vms[j].pid != t.vm.pid || list.vms[j].fd != list.vms[i].fd);
		}
	}
	free(list.vms);
	cr_assert_eq(found, MANY_IN_ONE);
}

/* The same VM through dup(), in a forked child, and in the process that lists. */
Test(list, duplicated_descriptors_count_once)
{
	struct ka_vm_info info;
	uint64_t copy, holder;
	int pidfd, ours;

	support_start(&(struct tinyvm_options){ .vcpus = 2 });
	support_host(false);
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_DUPLICATE, NULL, 0, &copy));
	assert_ok(tinyvm_ask(&t.vm, TINYVM_OP_FORK, NULL, 0, &holder));
	pidfd = pidfd_open(t.vm.pid, 0);
	ours = pidfd_getfd(pidfd, copy, 0);
	cr_assert_geq(ours, 0);
	cr_assert_eq(times_listed(t.vm.pid, &info), 1);
	cr_assert_eq(info.vcpus, 2);
	cr_assert_eq(times_listed(holder, NULL), 0);
	cr_assert_eq(times_listed(getpid(), NULL), 0);
	close(ours);
	close(pidfd);
}

Test(list, key_stays_the_same)
{
	struct ka_vm_info first, second;

	support_start(&(struct tinyvm_options){ 0 });
	support_host(false);
	cr_assert_eq(times_listed(t.vm.pid, &first), 1);
	cr_assert_eq(times_listed(t.vm.pid, &second), 1);
	assert_hex(second.key, first.key);
	assert_ok(ka_open_key(t.host, first.key, 0, &t.ka));
	assert_hex(ka_vm_info(t.ka)->key, first.key);
}

static bool slots_done;
static unsigned int slots_exchanged;

static void *exchange_slots(void *unused)
{
	struct tinyvm_slot slot = { .id = 9, .gpa = 64ull << 20 };

	(void)unused;
	while (!__atomic_load_n(&slots_done, __ATOMIC_RELAXED)) {
		slot.size = slot.size ? 0 : 4096;
		if (tinyvm_set_slot(&t.vm, &slot))
			break;
		slots_exchanged++;
	}
	return NULL;
}

/* While KVM exchanges memslots, the top bit of their generation is set. */
Test(list, key_stays_the_same_while_memslots_change)
{
	struct ka_vm_info first, now;
	pthread_t thread;

	support_start(&(struct tinyvm_options){ 0 });
	support_host(false);
	cr_assert_eq(times_listed(t.vm.pid, &first), 1);
	cr_assert_eq(pthread_create(&thread, NULL, exchange_slots, NULL), 0);
	now = first;
	for (unsigned int i = 0; i < 4000 && now.key == first.key; i++)
		if (times_listed(t.vm.pid, &now) != 1)
			break;
	__atomic_store_n(&slots_done, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_hex(now.key, first.key);
	cr_assert_gt(slots_exchanged, 100);
}

/* Anyone may give a file KVM's name. */
Test(list, file_of_that_name_is_no_vm)
{
	char folder[] = "/tmp/kvmbpf-list-XXXXXX";
	int dir, file;

	cr_assert_not_null(mkdtemp(folder));
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	file = openat(dir, "kvm-vm", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(file, 0);
	support_host(false);
	cr_expect_eq(times_listed(getpid(), NULL), 0);
	unlinkat(dir, "kvm-vm", 0);
	rmdir(folder);
	close(file);
	close(dir);
}

Test(list, vm_that_never_ran)
{
	support_start(&(struct tinyvm_options){ .mode = TINYVM_RESET });
	support_host(false);
	cr_assert_eq(times_listed(t.vm.pid, NULL), 1);
}

Test(list, vm_halted_in_the_kernel)
{
	support_start(&(struct tinyvm_options){ .irqchip = true });
	support_host(false);
	cr_assert_eq(times_listed(t.vm.pid, NULL), 1);
}

Test(list, vm_that_spins)
{
	support_start(&(struct tinyvm_options){ 0 });
	support_host(false);
	assert_ok(tinyvm_command(&t.vm, 0, GUEST_CMD_SPIN, NULL, 0));
	assert_ok(tinyvm_wait_count(&t.vm, 0, 1));
	cr_assert_eq(times_listed(t.vm.pid, NULL), 1);
	assert_ok(tinyvm_stop(&t.vm, 0));
}

Test(list, vm_stopped_by_a_signal)
{
	int status;

	support_start(&(struct tinyvm_options){ 0 });
	support_host(false);
	kill(t.vm.pid, SIGSTOP);
	cr_assert_eq(waitpid(t.vm.pid, &status, WUNTRACED), t.vm.pid);
	cr_assert(WIFSTOPPED(status));
	cr_assert_eq(times_listed(t.vm.pid, NULL), 1);
	t.ka = support_open_pid(t.vm.pid, 0);
	assert_ok(ka_register_read(t.ka, 0, &t.registers));
	assert_hex(t.registers.idtr.base, gva(GUEST_IDT));
}

Test(list, killed_vm_is_listed_no_more)
{
	pid_t pid;

	support_start(&(struct tinyvm_options){ 0 });
	support_host(false);
	pid = t.vm.pid;
	cr_assert_eq(times_listed(pid, NULL), 1);
	tinyvm_kill(&t.vm);
	cr_assert_eq(times_listed(pid, NULL), 0);
}

/* ---- ka_open ---- */

static void expect_open(const char *selector, pid_t pid)
{
	struct ka_vm *ka = NULL;

	assert_ok(ka_open(t.host, selector, 0, &ka));
	cr_assert_eq(ka_vm_info(ka)->pid, pid, "%s opens pid %d", selector, ka_vm_info(ka)->pid);
	ka_close(ka);
}

Test(open, by_pid_and_name, .fini = close_all, .timeout = TEST_TIMEOUT_S)
{
	char pid[24];

	assert_ok(tinyvm_start(&(struct tinyvm_options){ .name = name_of(1) }, &others[0]));
	support_start(&(struct tinyvm_options){ .name = name_of(0) });
	support_host(false);
	snprintf(pid, sizeof(pid), "%d", t.vm.pid);
	expect_open(pid, t.vm.pid);
	expect_open(name_of(0), t.vm.pid);
	expect_open(name_of(1), others[0].pid);
}

Test(open, by_uuid, .fini = close_all, .timeout = TEST_TIMEOUT_S)
{
	char uuid[40];

	/* Its own, since the tests beside this one have the fixed ones. */
	snprintf(uuid, sizeof(uuid), "%08x-0000-4000-8000-00000000000a", (unsigned int)getpid());
	support_start(&(struct tinyvm_options){ .uuid = uuid });
	support_host(false);
	expect_open(uuid, t.vm.pid);
}

Test(open, ambiguous_name_is_refused, .fini = close_all, .timeout = TEST_TIMEOUT_S)
{
	struct tinyvm_options options = { .name = name_of(0) };
	struct ka_vm *ka = NULL;

	support_start(&options);
	assert_ok(tinyvm_start(&options, &others[0]));
	support_host(false);
	assert_rc(ka_open(t.host, options.name, 0, &ka), -ENOTUNIQ);
	cr_assert_null(ka);
}

Test(open, pid_of_several_vms_is_refused, .fini = close_all, .timeout = TEST_TIMEOUT_S)
{
	struct ka_vm *ka = NULL;
	char pid[24];

	support_start(&(struct tinyvm_options){ .vms = 2 });
	support_host(false);
	snprintf(pid, sizeof(pid), "%d", t.vm.pid);
	assert_rc(ka_open(t.host, pid, 0, &ka), -ENOTUNIQ);
}

Test(open, what_is_not_there, .fini = close_all, .timeout = TEST_TIMEOUT_S)
{
	struct ka_vm *ka = NULL;
	char pid[24];

	support_start(&(struct tinyvm_options){ .name = name_of(0) });
	support_host(false);
	assert_rc(ka_open(t.host, "no-such-vm", 0, &ka), -ESRCH);
	assert_rc(ka_open(t.host, "", 0, &ka), -ESRCH);
	assert_rc(ka_open(t.host, "1", 0, &ka), -ESRCH);
	/* Selectors are compared whole. */
	snprintf(pid, sizeof(pid), "tiny-%d", getpid());
	assert_rc(ka_open(t.host, pid, 0, &ka), -ESRCH);
	assert_rc(ka_open_key(t.host, ~0ull, 0, &ka), -ESRCH);
	snprintf(pid, sizeof(pid), "%d", t.vm.pid);
	tinyvm_kill(&t.vm);
	assert_rc(ka_open(t.host, pid, 0, &ka), -ESRCH);
	cr_assert_null(ka);
}
