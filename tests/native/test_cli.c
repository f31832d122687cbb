// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf as its users run it: exit statuses, one JSON document, and the guest's real bytes. */
#define _GNU_SOURCE
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

TestSuite(cli, .fini = support_close, .timeout = TEST_TIMEOUT_S);

/* Beside the test's build, or that of the build without sanitizers above it. */
static const char *program(void)
{
	static const char *const places[] = {"../../kvmbpf", "../../../kvmbpf"};
	static char path[PATH_MAX + 32];
	char self[PATH_MAX] = "";

	cr_assert_gt(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
	dirname(self);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", self, places[i]);
		if (!access(path, X_OK))
			return path;
	}
	cr_assert_fail("kvmbpf is not built");
	return NULL;
}

static char output[65536];

/* Runs kvmbpf; `output` is what it wrote to standard output. Returns the exit status. */
__attribute__((format(printf, 1, 2)))
static int run(const char *format, ...)
{
	char arguments[512], command[PATH_MAX + 640];
	va_list args;
	FILE *pipe;
	int status;

	va_start(args, format);
	vsnprintf(arguments, sizeof(arguments), format, args);
	va_end(args);
	snprintf(command, sizeof(command), "%s %s 2>/dev/null", program(), arguments);
	pipe = popen(command, "r");
	cr_assert_not_null(pipe);
	output[fread(output, 1, sizeof(output) - 1, pipe)] = '\0';
	status = pclose(pipe);
	cr_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define expect_output(text) cr_expect(strstr(output, text), "no '%s' in: %s", text, output)

static const char *start(void)
{
	static char name[40];

	snprintf(name, sizeof(name), "cli-%d", getpid());
	support_start(&(struct tinyvm_options){.name = name});
	return name;
}

Test(cli, list_shows_what_can_be_observed)
{
	const char *name = start();

	cr_expect_eq(run("list"), 0);
	expect_output(name);
	expect_output("observed");
	cr_expect_eq(run("-j list"), 0);
	expect_output("\"state\":\"observed\"");
}

Test(cli, list_says_why_a_guest_without_paging_is_stale)
{
	support_start(&(struct tinyvm_options){.mode = TINYVM_RESET});
	cr_expect_eq(run("list | grep '^ *%d '", t.vm.pid), 0);
	expect_output("stale");
	expect_output("not up yet");
}

Test(cli, read_and_dump_show_the_guests_bytes)
{
	static const uint8_t bytes[] = {0xde, 0xad, 0xbe, 0xef};
	const uint64_t gpa = GUEST_MEMORY_MIN - 0x1000;

	start();
	cr_assert_eq(tinyvm_poke(&t.vm, gpa, bytes, sizeof(bytes)), 0);
	cr_expect_eq(run("-j read %d 0x%lx 4 --gpa", t.vm.pid, gpa), 0);
	expect_output("\"data\":\"deadbeef\"");
	cr_expect_eq(run("read %d %lu 4 --gpa --raw", t.vm.pid, gpa), 0);
	cr_expect(!memcmp(output, bytes, sizeof(bytes)));
	cr_expect_eq(run("-j dump %d 0x%lx..0x%lx --gpa", t.vm.pid, gpa, gpa + 4), 0);
	expect_output("\"data\":\"deadbeef\"");
}

Test(cli, dump_goes_on_behind_a_hole_and_says_so)
{
	const uint64_t end = GUEST_MEMORY_MIN;

	start();
	cr_expect_eq(run("-j dump %d 0x%lx..0x%lx --gpa", t.vm.pid, end - 16, end + 16), 6);
	expect_output("\"holes\":[{");
	expect_output("\"exit\":6");
}

Test(cli, dump_through_the_queue_shows_the_same_and_who_served)
{
	static char direct[sizeof(output)];
	char *served;

	start();
	pattern_poke(GUEST_SCRATCH, (uint8_t[64]){ 0 }, 64, 5);
	cr_expect_eq(run("-j dump %d 0x%x..0x%x --gpa", t.vm.pid, GUEST_SCRATCH,
			 GUEST_SCRATCH + 64), 0);
	strcpy(direct, output);
	cr_expect_eq(run("-j dump %d 0x%x..0x%x --gpa --queue", t.vm.pid, GUEST_SCRATCH,
			 GUEST_SCRATCH + 64), 0);
	served = strstr(output, ",\"served\":{");
	cr_assert_not_null(served, "%s", output);
	/* The guest waits for a command: nobody but this process. */
	cr_expect_not_null(strstr(served, "\"process\":1}}"), "%s", served);
	cr_expect_eq(memcmp(output, direct, served - output), 0);
	cr_expect_eq(run("-j dump %d 0x%x..0x%x --gpa --queue", t.vm.pid, GUEST_MEMORY_MIN - 16,
			 GUEST_MEMORY_MIN + 16), 6);
}

Test(cli, write_needs_to_be_told_twice)
{
	const uint64_t gpa = GUEST_MEMORY_MIN - 0x1000;

	start();
	tinyvm_poke64(&t.vm, gpa, 0);
	cr_expect_eq(run("write %d 0x%lx 0102030405060708 --gpa", t.vm.pid, gpa), 2);
	assert_hex(tinyvm_peek64(&t.vm, gpa), 0);
	cr_expect_eq(run("write %d 0x%lx 0102030405060708 --gpa --yes", t.vm.pid, gpa), 0);
	assert_hex(tinyvm_peek64(&t.vm, gpa), 0x0807060504030201);
}

Test(cli, tables_and_walks_of_a_guest_can_be_read)
{
	start();
	cr_expect_eq(run("regs %d", t.vm.pid), 0);
	expect_output("CR3");
	cr_expect_eq(run("-j gdt %d", t.vm.pid), 0);
	expect_output("\"type_name\"");
	cr_expect_eq(run("idt %d --all", t.vm.pid), 0);
	expect_output("HANDLER");
	cr_expect_eq(run("-j walk %d 0x%lx", t.vm.pid, tinyvm_gva(TINYVM_4LEVEL, 0x1000)), 0);
	expect_output("\"gpa\":\"0x0000000000001000\"");
}

Test(cli, exit_status_names_the_class_of_failure)
{
	start();
	cr_expect_eq(run("nonsense"), 2);
	cr_expect_eq(run("read %d 12345678g 4", t.vm.pid), 2);
	cr_expect_eq(run("regs no-such-vm"), 5);
	cr_expect_eq(run("regs %d --vcpu 77", t.vm.pid), 5);
	cr_expect_eq(run("read %d 0x7ffffffff000 4 --gpa", t.vm.pid), 1);
	/* The tiny guest is no Linux: nothing in its memory tells of symbols. */
	cr_expect_eq(run("syscalls %d", t.vm.pid), 1);
	cr_expect_eq(run("info %d", t.vm.pid), 1);
	tinyvm_kill(&t.vm);
	cr_expect_eq(run("regs %d", t.vm.pid), 5);
}

Test(cli, errors_are_json_too)
{
	cr_expect_eq(run("--no-such-option -j"), 2);
	cr_expect_eq(strncmp(output, "{\"error\":", 9), 0);
	cr_expect_eq(run("-j regs no-such-vm"), 5);
	expect_output("\"exit\":5");
}

Test(cli, ambiguous_name_lists_the_candidates)
{
	const char *name = start();
	struct tinyvm other;
	int status;

	cr_assert_eq(tinyvm_start(&(struct tinyvm_options){.name = name}, &other), 0);
	status = run("-j regs %s", name);
	tinyvm_kill(&other);
	cr_expect_eq(status, 2);
	expect_output("\"candidates\":[{");
}
