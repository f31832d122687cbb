// SPDX-License-Identifier: LGPL-2.1-or-later
/* Findings open, repeat and close. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "monitor/clock.h"
#include "monitor/finding.h"

static struct finding_table table;
static const struct finding_owner owner = { .host_id = "host", .vm_id = "vm", .generation = 1 };

static void teardown(void)
{
	finding_table_deinit(&table);
}

TestSuite(finding, .fini = teardown);

static struct difference gate(unsigned int vector, uint64_t value)
{
	return (struct difference){ .object = { .check = CHECK_IDT,
						.kind = OBJECT_IDT_GATE,
						.vcpu = OBJECT_SHARED,
						.index = vector },
				    .size = 16,
				    .observed = { value } };
}

static enum finding_news report(struct difference difference, uint64_t mono_ns)
{
	struct finding *finding;
	enum finding_news news;

	cr_assert_eq(finding_report(&table, &owner, &difference, 1, mono_ns, &finding, &news), 0);
	return news;
}

static const struct finding_scope gates = { .check = CHECK_IDT,
					    .vcpu = OBJECT_SHARED,
					    .table = -1 };

Test(finding, opens_once_and_folds)
{
	struct difference other = gate(14, 1);

	finding_round(&table);
	cr_assert_eq(report(gate(14, 1), 0), FINDING_OPENED);
	cr_assert_eq(report(gate(14, 1), 1), FINDING_FOLDED);
	cr_assert_eq(report(gate(15, 1), 2), FINDING_OPENED);
	cr_assert_eq(finding_find(&table, &other.object)->count, 2);
	cr_assert_eq(table.count, 2);
}

Test(finding, another_value_is_told)
{
	finding_round(&table);
	report(gate(14, 1), 0);
	cr_assert_eq(report(gate(14, 2), 1), FINDING_CHANGED);
	cr_assert_eq(report(gate(14, 2), 2), FINDING_FOLDED);
}

Test(finding, reminds_every_ten_minutes)
{
	finding_round(&table);
	report(gate(14, 1), 0);
	cr_assert_eq(report(gate(14, 1), 599 * NS_PER_S), FINDING_FOLDED);
	cr_assert_eq(report(gate(14, 1), 600 * NS_PER_S), FINDING_REMINDER);
	cr_assert_eq(report(gate(14, 1), 601 * NS_PER_S), FINDING_FOLDED);
}

Test(finding, sweep_takes_what_the_round_did_not_see_in_its_scope)
{
	struct finding_scope registers = gates;
	struct finding closed;

	registers.registers = true;
	finding_round(&table);
	report(gate(14, 1), 0);
	report(gate(15, 1), 0);
	cr_assert_not(finding_sweep(&table, &gates, &closed));
	finding_round(&table);
	report(gate(15, 1), 0);
	cr_assert_not(finding_sweep(&table, &registers, &closed));
	cr_assert(finding_sweep(&table, &gates, &closed));
	cr_assert_eq(closed.difference.object.index, 14);
	cr_assert_not(finding_sweep(&table, &gates, &closed));
	cr_assert_eq(table.count, 1);
}

Test(finding, id_depends_on_every_part)
{
	struct finding_owner other = owner;
	struct difference difference = gate(14, 1);
	struct finding *finding;
	enum finding_news news;
	char first[FINDING_ID_MAX];

	finding_report(&table, &owner, &difference, 1, 1, &finding, &news);
	strcpy(first, finding->id);
	cr_assert_eq(strlen(first), 32);
	finding_remove(&table, finding);
	finding_report(&table, &owner, &difference, 2, 2, &finding, &news);
	cr_assert_str_eq(finding->id, first);
	finding_remove(&table, finding);
	other.generation = 2;
	finding_report(&table, &other, &difference, 2, 2, &finding, &news);
	cr_assert_str_neq(finding->id, first);
}

Test(finding, a_flood_ends)
{
	struct difference difference = gate(0, 1);
	struct finding *finding;
	enum finding_news news;

	for (unsigned int i = 0; i < FINDINGS_MAX; i++) {
		difference.object.index = i;
		cr_assert_eq(finding_report(&table, &owner, &difference, 1, 1, &finding, &news), 0);
	}
	difference.object.index = FINDINGS_MAX;
	cr_assert_eq(finding_report(&table, &owner, &difference, 1, 1, &finding, &news), -ENOSPC);
	cr_assert_eq(table.suppressed, 1);
}
