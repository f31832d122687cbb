// SPDX-License-Identifier: LGPL-2.1-or-later
/* main() of the native tests, and what they share. */
#define _GNU_SOURCE
#include "support.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct support t;

static const char *reason_to_skip(void)
{
	int kvm;

	if (geteuid() != 0)
		return "not root";
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		return errno == ENOENT ? "no /dev/kvm" : "cannot open /dev/kvm";
	close(kvm);
	return NULL;
}

int main(int argc, char **argv)
{
	struct criterion_test_set *tests;
	const char *reason = reason_to_skip();
	int status = 0;

	if (reason) {
		printf("SKIP %s: %s\n", program_invocation_short_name, reason);
		return SKIP_STATUS;
	}
	tests = criterion_initialize();
	if (criterion_handle_args(argc, argv, true))
		status = !criterion_run_all_tests(tests);
	criterion_finalize(tests);
	return status;
}

/* ---- a VM and its handle ---- */

void support_start(const struct tinyvm_options *options)
{
	int rc = tinyvm_start(options, &t.vm);

	if (rc == -EOPNOTSUPP)
		cr_skip_test("this host's KVM has no %s paging", tinyvm_mode_name(options->mode));
	assert_ok(rc);
}

void support_host(bool push)
{
	struct ka_host_options options = {
		.no_push = !push, .map_ram = true, .no_direct = t.no_direct
	};

	assert_ok(ka_host_open(&options, &t.host));
}

struct ka_vm *support_open_pid(pid_t pid, unsigned int flags)
{
	struct ka_vm *ka = NULL;
	char selector[24];

	snprintf(selector, sizeof(selector), "%d", pid);
	assert_ok(ka_open(t.host, selector, flags, &ka));
	return ka;
}

void support_open(const struct tinyvm_options *options, unsigned int flags)
{
	support_start(options);
	support_host(false);
	t.ka = support_open_pid(t.vm.pid, flags);
	assert_ok(ka_register_read(t.ka, 0, &t.registers));
	t.paging = ka_paging(&t.registers);
}

void support_close(void)
{
	if (t.ka)
		ka_close(t.ka);
	if (t.host)
		ka_host_close(t.host);
	tinyvm_kill(&t.vm);
	t = (struct support){ 0 };
}

uint64_t support_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

/* ---- its memory ---- */

uint64_t gva(uint64_t gpa)
{
	return tinyvm_gva(t.vm.options.mode, gpa);
}

void window_set(unsigned int index, uint64_t entry)
{
	size_t size = t.vm.options.mode == TINYVM_32BIT ? 4 : 8;

	assert_ok(tinyvm_poke(&t.vm, GUEST_WINDOW_PT + index * size, &entry, size));
}

uint64_t window_gva(unsigned int index)
{
	return gva(GUEST_WINDOW + index * 4096ull);
}

void pattern_poke(uint64_t gpa, uint8_t *ret_copy, size_t len, unsigned int seed)
{
	uint32_t state = seed * 2654435761u + 1;

	for (size_t i = 0; i < len; i++) {
		state = state * 1664525 + 1013904223;
		ret_copy[i] = state >> 24;
	}
	assert_ok(tinyvm_poke(&t.vm, gpa, ret_copy, len));
}

/* ---- this process ---- */

/*
 * The library holds a pidfd of each VMM on the host, and other tests start VMs meanwhile: only one
 * whose process has ended is a leak.
 */
static bool pidfd_in_use(const char *fd, const char *target)
{
	char path[64], line[128];
	bool alive = false;
	FILE *file;

	if (strcmp(target, "anon_inode:[pidfd]"))
		return false;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%.16s", fd);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		alive |= !strncmp(line, "Pid:", 4) && atoi(line + 4) > 0;
	if (file)
		fclose(file);
	return alive;
}

static size_t count_descriptors(const char *prefix)
{
	char target[256];
	struct dirent *entry;
	size_t count = 0;
	DIR *dir = opendir("/proc/self/fd");

	cr_assert_not_null(dir);
	while ((entry = readdir(dir))) {
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);

		if (len < 0)
			continue;
		target[len] = '\0';
		count += !strncmp(target, prefix, strlen(prefix)) &&
			 !pidfd_in_use(entry->d_name, target);
	}
	closedir(dir);
	return count;
}

size_t descriptors_open(void)
{
	return count_descriptors("");
}

bool descriptors_end_at(size_t most)
{
	for (unsigned int i = 0; i < 100; i++) {
		if (descriptors_open() <= most)
			return true;
		usleep(20 * 1000);
	}
	return false;
}

size_t descriptors_of_kvm(void)
{
	return count_descriptors("anon_inode:kvm");
}
