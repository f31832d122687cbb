// SPDX-License-Identifier: LGPL-2.1-or-later
/* The audit of eBPF programs: what it tells of those that come, go, hide, and are attached. */
#include "monitor/audit.h"

#include <criterion/criterion.h>
#include <string.h>

static struct ka_bpf_program there[4];
static size_t there_count;

static int fake_read(struct ka_bpf_program *programs, size_t *ret_count)
{
	memcpy(programs, there, there_count * sizeof(there[0]));
	*ret_count = there_count;
	return 0;
}

#define ka_bpf_layout_new(kernel, types, layout) ((void)(types), *(layout) = NULL, 0)
#define ka_bpf_layout_free(layout) ((void)(layout))
#define ka_bpf_read(vm, kernel, layout, programs, max, count) fake_read(programs, count)
#define ka_bpf_uses(vm, kernel, layout, program, uses) ((void)(vm), (void)(program), *(uses) = 0, 0)

#include "monitor/audits/bpf.c"

static const struct audit_view view;
static struct audit_result result;
static void *state;

static void look(void)
{
	result.count = result.change_count = 0;
	cr_assert_eq(audit_bpf.look(state, &view, &result), 0);
}

static void begin(void)
{
	there_count = 0;
	cr_assert_eq(audit_bpf.prepare(&view, &state), 0);
	look();
	there_count = 1;
	there[0] = (struct ka_bpf_program){ .gva = 0x1000,
					    .id = 7,
					    .type = 6,
					    .references = 1,
					    .views = KA_BPF_NUMBERED,
					    .name = "pass" };
}

static void end(void)
{
	audit_bpf.release(state);
}

static void link_it(void)
{
	there[0].views |= KA_BPF_LINKED;
	there[0].link = 6;
	strcpy(there[0].target, "eth0\xff");
}

static void expect_end(const char *link, const char *target)
{
	const struct audit_change *change = &result.changes[0];

	there_count = 0;
	look();
	cr_assert_eq(result.change_count, 1);
	cr_assert(!change->loaded);
	cr_expect_eq(change->id, 7);
	cr_assert_eq(!change->link, !link);
	if (link)
		cr_expect_str_eq(change->link, link);
	cr_expect_eq(strncmp(change->target, target, strlen(target)), 0);
	cr_expect_eq(!change->target[0], !target[0]);
	cr_expect_null(strchr(change->target, (char)0xff));
}

TestSuite(audit_bpf, .init = begin, .fini = end);

Test(audit_bpf, program_that_comes_is_told_with_what_it_is_attached_to)
{
	link_it();
	look();
	cr_assert_eq(result.change_count, 1);
	cr_assert(result.changes[0].loaded);
	cr_expect_str_eq(result.changes[0].type, "xdp");
	cr_expect_str_eq(result.changes[0].link, "xdp");
	cr_expect_eq(strncmp(result.changes[0].target, "eth0", 4), 0);
	look();
	cr_expect_eq(result.change_count, 0);
}

Test(audit_bpf, link_that_came_later_is_told_in_the_end)
{
	look();
	cr_expect_null(result.changes[0].link);
	cr_expect_str_eq(result.changes[0].target, "");
	link_it();
	look();
	cr_expect_eq(result.change_count, 0);
	expect_end("xdp", "eth0");
}

Test(audit_bpf, link_that_went_before_is_told_in_the_end)
{
	link_it();
	look();
	there[0].views = KA_BPF_NUMBERED;
	there[0].link = 0;
	there[0].target[0] = '\0';
	look();
	look();
	expect_end("xdp", "eth0");
}

Test(audit_bpf, program_that_no_link_runs_has_none_in_the_end)
{
	look();
	expect_end(NULL, "");
}

Test(audit_bpf, program_that_runs_without_an_identifier_is_told)
{
	link_it();
	look();
	there[0].views = KA_BPF_LINKED;
	look();
	cr_assert_eq(result.count, 1);
	cr_expect_str_eq(result.differences[0].problem, "hidden");
	cr_expect_eq(result.change_count, 0);
}
