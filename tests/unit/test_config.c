// SPDX-License-Identifier: LGPL-2.1-or-later
/* Configuration files: which one wins, and in which line one is wrong. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/policy.h"

static char root[] = "/tmp/kvmbpf-config-XXXXXX", error[CONFIG_ERROR_MAX];
static struct config_set *set;
static const struct config *config;

static void setup(void)
{
	static const char *const folders[] = {
		"usr", "usr/lib",    "usr/lib/kvmbpf",	 "usr/lib/kvmbpf/conf.d",
		"etc", "etc/kvmbpf", "etc/kvmbpf/conf.d"
	};
	char path[128];

	cr_assert_not_null(mkdtemp(root));
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", root, folders[i]);
		cr_assert_eq(mkdir(path, 0700), 0);
	}
}

static void take_down(void)
{
	char command[64];

	config_free(set);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	cr_assert_eq(system(command), 0);
}

TestSuite(config, .init = setup, .fini = take_down);

static void write_file(const char *name, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	file = fopen(path, "w");
	cr_assert_not_null(file);
	fputs(text, file);
	fclose(file);
}

static void load(void)
{
	cr_assert_eq(config_load(root, NULL, &set, error), 0, "%s", error);
	config = config_merged(set);
}

/* The one file says `text`; loading it fails in `line`, with `what` in the message. */
static void expect_error(const char *text, unsigned int line, const char *what)
{
	char place[64];
	int r;

	write_file("etc/kvmbpf/kvmbpf.yaml", text);
	r = config_load(root, NULL, &set, error);
	if (!r)
		config_free(set);
	set = NULL;
	cr_assert_eq(r, -EINVAL, "taken: %s", text);
	snprintf(place, sizeof(place), "/kvmbpf.yaml:%u: ", line);
	cr_expect_not_null(strstr(error, place), "not in line %u: %s", line, error);
	cr_expect_not_null(strstr(error, what), "no '%s': %s", what, error);
}

Test(config, no_files_are_no_error)
{
	load();
	cr_assert_null(config->interval);
	cr_assert_eq(config->sink_count, 0);
}

Test(config, later_files_win)
{
	size_t count;

	write_file("usr/lib/kvmbpf/conf.d/10-vendor.yaml",
		   "interval: 5s\nstore: /vendor\nspool: {path: /spool, max_size: 1MiB}\n");
	write_file("etc/kvmbpf/kvmbpf.yaml", "interval: 2s\nvms: [a, b]\n");
	write_file("etc/kvmbpf/conf.d/20-b.yaml", "interval: 300ms\nspool: {max_size: 2MiB}\n");
	write_file("etc/kvmbpf/conf.d/10-a.yaml", "interval: 400ms\nvms: [c]\n");
	write_file("etc/kvmbpf/conf.d/30-b.yaml.bak", "interval: 1h\n");
	load();
	config_files(set, &count);
	cr_assert_eq(count, 4);
	cr_assert_str_eq(config->interval, "300ms");
	cr_assert_str_eq(config->store, "/vendor");
	cr_assert_str_eq(config->spool->path, "/spool");
	cr_assert_str_eq(config->spool->max_size, "2MiB");
	cr_assert_eq(config->vms.count, 1);
	cr_assert_str_eq(config->vms.items[0], "c");
}

Test(config, the_last_file_says_what_is_protected)
{
	write_file("etc/kvmbpf/kvmbpf.yaml", "realtime: no\nprotect: [syscall, idt]\n");
	write_file("etc/kvmbpf/conf.d/10-a.yaml", "realtime: yes\nprotect: [idt]\n");
	load();
	cr_assert_eq(*config->realtime, CONFIG_YES);
	cr_assert_eq(config->protect.count, 1);
	cr_assert_str_eq(config->protect.items[0], "idt");
}

Test(config, other_tables_cannot_be_protected)
{
	expect_error("interval: 1s\nprotect: [syscall, gdt]\n", 2, "not syscall or idt");
}

Test(config, a_sink_replaces_the_one_of_its_name)
{
	write_file("etc/kvmbpf/kvmbpf.yaml", "sinks:\n- name: a\n  file: {path: /a}\n"
					     "- name: b\n  stdout: {}\n");
	write_file("etc/kvmbpf/conf.d/a.yaml",
		   "sinks:\n- name: a\n  format: ecs\n  file: {path: /other, keep: 3}\n");
	load();
	cr_assert_eq(config->sink_count, 2);
	cr_assert_str_eq(config->sinks[0].file->path, "/other");
	cr_assert_eq(*config->sinks[0].file->keep, 3);
	cr_assert_eq(config->sinks[0].format, FORMAT_ECS);
	cr_assert_not_null(config->sinks[1].stdout_);
}

Test(config, first_policy_that_fits_says_what_is_checked)
{
	struct ka_vm_info web = { .name = "web01" }, other = { .name = "db", .uuid = "1234-5" };
	struct policy policy;

	write_file("etc/kvmbpf/kvmbpf.yaml", "policies:\n- vms: ['web*', '1234-*']\n"
					     "  checks: {gdt: off, cr0_wp: low}\n"
					     "- checks: {idt: off}\n");
	load();
	policy_find(config, &web, &policy);
	cr_assert(policy.off[CHECK_GDT] && !policy.off[CHECK_IDT] && !policy.off[CHECK_CR0_WP]);
	cr_assert_eq(policy.severity[CHECK_CR0_WP], SEVERITY_LOW);
	cr_assert_eq(policy.severity[CHECK_IDT], checks[CHECK_IDT].severity);
	policy_find(config, &other, &policy);
	cr_assert(policy.off[CHECK_GDT]);
	other.uuid[0] = '2';
	policy_find(config, &other, &policy);
	cr_assert(!policy.off[CHECK_GDT] && policy.off[CHECK_IDT]);
	policy_find(NULL, &web, &policy);
	cr_assert(!policy.off[CHECK_GDT] && !policy.off[CHECK_IDT]);
}

Test(config, policies_go_by_labels)
{
	struct ka_vm_info vm = { .name = "web01",
				 .labels = "instance/owner/project=demo-1\ntags=;web;prod;\n" };
	struct policy policy;

	write_file("etc/kvmbpf/kvmbpf.yaml",
		   "policies:\n- labels: ['tags=*;prod;*', 'x=y']\n  vms: [db*]\n  interval: 1s\n"
		   "- labels: ['x=*', 'instance/owner/project=demo-*']\n  interval: 2s\n"
		   "- interval: 3s\n");
	load();
	policy_find(config, &vm, &policy);
	cr_assert_eq(policy.interval_ns, 2000000000);
	strcpy(vm.name, "db1");
	policy_find(config, &vm, &policy);
	cr_assert_eq(policy.interval_ns, 1000000000);
	/* A whole label is meant, not lines of several. */
	strcpy(vm.labels, "a=b\ntags=;product;\n");
	policy_find(config, &vm, &policy);
	cr_assert_eq(policy.interval_ns, 3000000000);
	vm.labels[0] = '\0';
	policy_find(config, &vm, &policy);
	cr_assert_eq(policy.interval_ns, 3000000000);
}

Test(config, policy_names_modules_that_may_have_hooks)
{
	struct ka_vm_info web = { .name = "web01" };
	struct policy policy;

	policy_find(NULL, &web, &policy);
	cr_assert_not(policy_allows_module(&policy, "falcon"));
	write_file("etc/kvmbpf/kvmbpf.yaml", "policies:\n- allow_modules: [lttng_*, falcon]\n");
	load();
	policy_find(config, &web, &policy);
	cr_assert(policy_allows_module(&policy, "lttng_tracer"));
	cr_assert(policy_allows_module(&policy, "falcon"));
	cr_assert_not(policy_allows_module(&policy, "falcon2"));
}

Test(config, what_it_prints_is_read_the_same)
{
	char *text, *again;

	write_file(
		"etc/kvmbpf/kvmbpf.yaml",
		"interval: 1s\nsinks:\n- name: a\n  filter: {min_severity: high, checks: [idt]}\n"
		"  syslog: {address: 'tls://h:6514', facility: local0}\n");
	load();
	cr_assert_eq(config_text(set, &text), 0);
	config_free(set);
	write_file("etc/kvmbpf/kvmbpf.yaml", text);
	load();
	cr_assert_eq(config_text(set, &again), 0);
	cr_assert_str_eq(text, again);
	free(text);
	free(again);
}

Test(config, unknown_keys_are_errors_with_their_line)
{
	expect_error("policies:\n- labels: [prod]\n", 2, "KEY=PATTERN");
	expect_error("# a comment\n\nintervall: 1s\n", 3, "intervall");
	expect_error("policies:\n- checks:\n    idt: high\n    ldt: off\n", 4, "ldt");
	expect_error("sinks:\n- name: a\n\n  # why\n  colour: red\n  stdout: {}\n", 5, "colour");
	expect_error("sinks:\n- name: a\n  http:\n    kind: otlp\n    token: secret\n", 5, "token");
}

Test(config, wrong_types_are_errors_with_their_line)
{
	expect_error("interval: 1s\nsinks: 5\n", 2, "SEQUENCE");
	expect_error("interval: [1s]\n", 1, "STRING");
	expect_error("sinks:\n- name: a\n  file:\n    path: /a\n    keep: many\n", 5, "many");
	expect_error("- a\n- b\n", 1, "");
}

Test(config, bad_values_are_errors_with_their_line)
{
	expect_error("store: 1\ninterval: 1\n", 2, "not a duration");
	expect_error("interval: 1ms\n", 1, "100ms");
	expect_error("spool:\n  max_size: 1GB\n", 2, "not a size");
	expect_error("spool:\n  max_size: 1KiB\n", 2, "64KiB");
	expect_error("sinks:\n- name: a\n  stdout:\n    pretty: maybe\n", 4, "maybe");
	expect_error("sinks:\n- name: a\n  format: cef\n  stdout: {}\n", 3, "cef");
	expect_error("sinks:\n- name: a\n  syslog:\n    address: udp://host\n", 4, "must begin");
	expect_error("sinks:\n- name: a\n  http:\n    kind: otlp\n    url: ftp://host\n", 5,
		     "must begin");
	expect_error("sinks:\n- name: a\n  filter: {checks: [gdt, idtt]}\n  stdout: {}\n", 3,
		     "no such check");
	expect_error("policies:\n- checks:\n    idt: high\n    gdt: severe\n", 4, "severe");
	expect_error("sinks:\n- name: a\n  file:\n    path: /a\n    keep: 0\n", 5, "at least 1");
	expect_error("sinks:\n- name: a\n  kafka:\n    brokers: a\n    topic: b\n    properties:\n"
		     "    - a=b\n    - nothing\n",
		     8, "NAME=VALUE");
}

Test(config, a_sink_is_of_one_kind_and_its_name_its_own)
{
	expect_error("sinks:\n- name: a\n", 2, "exactly one");
	expect_error("sinks:\n- name: a\n  stdout: {}\n  journald: {}\n", 2, "exactly one");
	expect_error("sinks:\n- stdout: {}\n", 2, "name");
	expect_error("sinks:\n- name: a\n  stdout: {}\n- name: a\n  stdout: {}\n", 2, "two sinks");
}

Test(config, syntax_errors_are_errors)
{
	cr_assert_eq(config_load("", "/nonexistent.yaml", &set, error), -ENOENT);
	set = NULL;
	expect_error("sinks: [\n", 1, "");
	expect_error("a: b: c\n", 1, "");
}

Test(config, sizes_have_units)
{
	uint64_t bytes = 0;

	cr_assert_eq(size_parse("64KiB", &bytes), 0);
	cr_assert_eq(bytes, 65536);
	cr_assert_eq(size_parse("1024GiB", &bytes), 0);
	cr_assert_eq(bytes, 1ull << 40);
	cr_assert_eq(size_parse("1025GiB", &bytes), -ERANGE);
	cr_assert_eq(size_parse("99999999999999999999GiB", &bytes), -ERANGE);
	cr_assert_eq(size_parse("63KiB", &bytes), -ERANGE);
	cr_assert_eq(size_parse("65536", &bytes), -EINVAL);
	cr_assert_eq(size_parse("-1MiB", &bytes), -EINVAL);
	cr_assert_eq(size_parse("", &bytes), -EINVAL);
}

Test(config, metrics_are_for_this_host_only)
{
	expect_error("metrics:\n  address: tcp://192.0.2.1:9755\n", 2, "loopback");
	expect_error("metrics:\n  address: tcp://0.0.0.0:9755\n", 2, "loopback");
	expect_error("metrics:\n  address: tcp://[::]:9755\n", 2, "loopback");
	expect_error("metrics:\n  address: tcp://localhost:9755\n", 2, "tcp://ADDRESS:PORT");
	expect_error("metrics:\n  address: tcp://127.0.0.1:0\n", 2, "tcp://ADDRESS:PORT");
	expect_error("metrics:\n  address: tcp://127.0.0.1:65536\n", 2, "tcp://ADDRESS:PORT");
	expect_error("metrics:\n  address: tcp://127.0.0.1\n", 2, "tcp://ADDRESS:PORT");
	expect_error("metrics:\n  address: unix://relative\n", 2, "unix:///PATH");
	expect_error("metrics:\n  textfile: relative\n", 2, "begin with /");
	expect_error("interval: 1s\nsocket: relative\n", 2, "socket");
}

Test(config, metrics_of_several_files_add_up)
{
	write_file("usr/lib/kvmbpf/conf.d/10.yaml",
		   "metrics: {address: \"tcp://[::1]:9755\", vm_names: yes}\n");
	write_file("etc/kvmbpf/kvmbpf.yaml", "socket: off\nmetrics: {textfile: /t.prom}\n");
	load();
	cr_assert_str_eq(config->socket, "off");
	cr_assert_str_eq(config->metrics->address, "tcp://[::1]:9755");
	cr_assert_str_eq(config->metrics->textfile, "/t.prom");
	cr_assert_eq(*config->metrics->vm_names, CONFIG_YES);
}

Test(config, actions_need_what_they_need)
{
	static const struct {
		const char *action, *what;
	} wrong[] = {
		{ "action: exec", "whole path" },
		{ "action: exec\n    command: [relative]", "whole path" },
		{ "action: restore\n    command: [/bin/true]", "for exec only" },
		{ "action: restore\n    timeout: 1s", "for exec and pause only" },
		{ "action: pause", "exactly one of qmp, libvirt" },
		{ "action: pause\n    qmp: /a\n    libvirt: b", "exactly one of qmp, libvirt" },
		{ "action: report\n    qmp: /a", "for pause only" },
		{ "action: reboot", "" },
	};
	char text[200];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(text, sizeof(text), "policies:\n- actions:\n  - %s\n", wrong[i].action);
		expect_error(text, 3, wrong[i].what);
	}
	expect_error("policies:\n- actions:\n  - action: pause\n    qmp: /a{b}\n", 4, "{name}");
	expect_error("policies:\n- actions:\n  - action: pause\n    qmp: /{name}{pid}\n", 4, "{name}");
	expect_error("policies:\n- interval: 1ms\n", 2, "100ms");
	expect_error("policies:\n- actions:\n  - action: restore\n    checks: [gtd]\n", 4,
		     "no such check");
}

Test(config, the_first_policy_that_fits_has_the_say)
{
	struct ka_vm_info info = { .name = "web01" };
	struct policy policy;

	write_file("etc/kvmbpf/kvmbpf.yaml", "policies:\n"
					     "- {vms: [\"db*\"], interval: 5s}\n"
					     "- vms: [\"web*\"]\n"
					     "  interval: 2s\n"
					     "  actions: [{action: restore, checks: [idt]}]\n"
					     "- interval: 9s\n");
	load();
	policy_find(config, &info, &policy);
	cr_assert_eq(policy.interval_ns, 2000000000);
	cr_assert_eq(policy.action_count, 1);
	cr_assert_eq(policy.actions[0].kind, ACTION_RESTORE);
	snprintf(info.name, sizeof(info.name), "other");
	policy_find(config, &info, &policy);
	cr_assert_eq(policy.interval_ns, 9000000000);
	cr_assert_eq(policy.action_count, 0);
}
