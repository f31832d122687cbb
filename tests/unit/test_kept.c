// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which findings of a monitor that ended the next one tells as restored, and when. */
#include "monitor/clock.h"
#include "monitor/guest.h"
#include "monitor/kept.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MINUTE (61 * NS_PER_S)

static char store[] = "/tmp/kvmbpf-kept-XXXXXX";
static char path[sizeof(store) + 8];
static struct kept kept;
static struct guest *guest;

/* The file, with one finding of the generation 3. */
static void write_open(enum check_id check, enum object_kind kind)
{
	FILE *file = fopen(path, "w");

	cr_assert_not_null(file);
	fprintf(file,
		"{\"schema\": \"kvmbpf.open/1\", \"findings\": [{\"generation\": 3, \"object\": "
		"{\"check\": \"%s\", \"kind\": \"%s\", \"table\": 0, \"vcpu\": %d, \"index\": \"0x1000\"}, "
		"\"event\": {\"vm\": {\"id\": \"one\", \"pid\": 7, \"start_ticks\": \"9\"}}}]}\n",
		checks[check].id, object_kind_name(kind), OBJECT_SHARED);
	fclose(file);
	kept_deinit(&kept);
	cr_assert_eq(kept_init(&kept, store), 0);
}

static void begin(void)
{
	int fd = mkstemp(store);

	cr_assert_geq(fd, 0);
	close(fd);
	snprintf(path, sizeof(path), "%s.open", store);
	guest = calloc(1, sizeof(*guest));
	cr_assert_not_null(guest);
	strcpy(guest->id, "one");
	guest->info.pid = 7;
	guest->info.start_ticks = 9;
	guest->generation = 3;
}

static void finish(void)
{
	kept_deinit(&kept);
	finding_table_deinit(&guest->findings);
	free(guest);
	unlink(path);
	unlink(store);
}

TestSuite(kept, .init = begin, .fini = finish);

/* Does a look at all of this check, which found nothing, take it? */
static bool taken(enum check_id check)
{
	const struct finding_scope scope = { .check = check, .vcpu = OBJECT_SHARED, .table = -1 };
	struct kept_finding finding;

	if (!kept_take(&kept, guest, &scope, &finding))
		return false;
	json_decref(finding.event);
	return true;
}

static void find_again(enum check_id check, enum object_kind kind)
{
	const struct finding_owner owner = { .host_id = "host", .vm_id = "one", .generation = 3 };
	const struct difference difference = {
		.object = { .check = check, .kind = kind, .vcpu = OBJECT_SHARED, .index = 0x1000 },
	};
	enum finding_news news;
	struct finding *finding;

	cr_assert_eq(finding_report(&guest->findings, &owner, &difference, 1, 1, &finding, &news), 0);
}

Test(kept, gate_that_is_in_order_is_restored_at_once)
{
	write_open(CHECK_IDT, OBJECT_IDT_GATE);
	cr_assert_not(taken(CHECK_GDT));
	cr_assert(taken(CHECK_IDT));
	cr_assert_not(taken(CHECK_IDT), "once");
}

Test(kept, callback_that_is_gone_is_restored_after_a_minute_of_looks)
{
	struct guest_audit *audit = &guest->audits.audit[CHECK_FTRACE - VCPU_CHECKS];

	write_open(CHECK_FTRACE, OBJECT_FTRACE_CALLBACK);
	cr_assert_not(taken(CHECK_FTRACE), "it never looked");
	audit->first_ns = clock_mono();
	cr_assert_not(taken(CHECK_FTRACE), "it only just looked");
	audit->first_ns = clock_mono() - MINUTE;
	cr_assert(taken(CHECK_FTRACE));
}

static char text_room; /* its address stands for a text */

Test(kept, text_is_restored_after_a_minute_of_its_first_look)
{
	write_open(CHECK_TEXT, OBJECT_TEXT);
	guest->recorded_mono_ns = clock_mono() - MINUTE;
	cr_assert_not(taken(CHECK_TEXT), "it is not looked at");
	guest->text.text = (const struct ka_text *)(void *)&text_room;
	guest->text.end = 0x2000;
	cr_assert_not(taken(CHECK_TEXT), "not all of it was looked at");
	guest->text.first = guest->text.end;
	guest->recorded_mono_ns = clock_mono();
	cr_assert_not(taken(CHECK_TEXT), "what is being patched is put off");
	guest->recorded_mono_ns = clock_mono() - MINUTE;
	guest->text.taking.text = (struct ka_text *)(void *)&text_room;
	cr_assert_not(taken(CHECK_TEXT), "what was there at first sight is no reference");
	guest->text.taking.text = NULL;
	cr_assert(taken(CHECK_TEXT));
}

Test(kept, of_another_boot_it_is_gone)
{
	write_open(CHECK_FTRACE, OBJECT_FTRACE_CALLBACK);
	guest->generation = 4;
	cr_assert(taken(CHECK_FTRACE));
}

Test(kept, what_is_found_again_is_not_restored)
{
	write_open(CHECK_FTRACE, OBJECT_FTRACE_CALLBACK);
	guest->audits.audit[CHECK_FTRACE - VCPU_CHECKS].first_ns = clock_mono() - MINUTE;
	find_again(CHECK_FTRACE, OBJECT_FTRACE_CALLBACK);
	cr_assert_not(taken(CHECK_FTRACE));
	cr_assert_eq(kept.count, 0);
}

Test(kept, what_goes_by_first_sight_is_not_kept)
{
	write_open(CHECK_TAINT, OBJECT_TAINT);
	cr_assert_eq(kept.count, 0);
	write_open(CHECK_CODE, OBJECT_EXECUTABLE);
	cr_assert_eq(kept.count, 0);
}

Test(kept, other_vm_of_the_same_identity_is_not_it)
{
	write_open(CHECK_IDT, OBJECT_IDT_GATE);
	guest->info.start_ticks = 10;
	cr_assert_not(taken(CHECK_IDT));
}

Test(kept, store_in_memory_has_no_file)
{
	struct kept none;
	struct guest *guests[] = { guest };

	cr_assert_eq(kept_init(&none, ":memory:"), 0);
	find_again(CHECK_IDT, OBJECT_IDT_GATE);
	kept_save(&none, guests, 1);
	cr_assert_neq(access(":memory:.open", F_OK), 0);
	kept_deinit(&none);
}
