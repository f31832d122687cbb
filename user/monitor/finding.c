// SPDX-License-Identifier: LGPL-2.1-or-later
/* Keeps the table of open findings of one VM. */
#include "finding.h"

#include "clock.h"
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t reminder_default = 600 * NS_PER_S;

const char *object_kind_name(enum object_kind kind)
{
	static const char *const names[] = {
		[OBJECT_GDT_DESCRIPTOR] = "gdt_descriptor",
		[OBJECT_IDT_GATE] = "idt_gate",
		[OBJECT_SYSCALL_ENTRY] = "syscall_entry",
		[OBJECT_CR0_WP] = "cr0_wp",
		[OBJECT_GDTR] = "gdtr",
		[OBJECT_IDTR] = "idtr",
		[OBJECT_SYSCALL_TABLE] = "syscall_table",
		[OBJECT_TEXT] = "text",
		[OBJECT_SYMBOL] = "symbol",
		[OBJECT_MSR] = "msr",
		[OBJECT_CONTROL_REGISTER] = "control_register",
		[OBJECT_DEBUG_REGISTER] = "debug_register",
		[OBJECT_MODULE] = "module",
		[OBJECT_TAINT] = "taint",
		[OBJECT_PROCESS] = "process",
		[OBJECT_CODE] = "code",
		[OBJECT_EXECUTABLE] = "executable",
		[OBJECT_BPF_PROGRAM] = "bpf_program",
		[OBJECT_MODULE_TEXT] = "module_text",
		[OBJECT_MODULE_RODATA] = "module_rodata",
		[OBJECT_FTRACE_CALLBACK] = "ftrace_callback",
		[OBJECT_KPROBE_HANDLER] = "kprobe_handler",
		[OBJECT_TRACEPOINT_PROBE] = "tracepoint_probe",
		[OBJECT_OPERATION] = "operation",
		[OBJECT_PAGE] = "page",
		[OBJECT_RODATA] = "rodata",
		[OBJECT_SOCKET] = "socket",
	};

	return names[kind];
}

bool object_equal(const struct object_key *a, const struct object_key *b)
{
	return a->check == b->check && a->kind == b->kind && a->table == b->table &&
	       a->vcpu == b->vcpu && a->index == b->index;
}

void finding_table_deinit(struct finding_table *table)
{
	free(table->findings);
	memset(table, 0, sizeof(*table));
}

void finding_round(struct finding_table *table)
{
	table->round++;
}

static void id_make(char *id, const struct finding_owner *owner, const struct object_key *object)
{
	unsigned char hash[16];
	char text[512];
	int len;

	/* A separator that is in no part, so that no two sets of parts give the same text. */
	len = snprintf(text, sizeof(text), "%s\n%s\n%u\n%s\n%s/%d/%d/%" PRIu64, owner->host_id,
		       owner->vm_id, owner->generation, checks[object->check].id,
		       object_kind_name(object->kind), object->table, object->vcpu, object->index);
	if (len < 0 || (size_t)len >= sizeof(text))
		len = (int)sizeof(text) - 1;
	crypto_generichash(hash, sizeof(hash), (const unsigned char *)text, (size_t)len, NULL, 0);
	text_bytes(id, hash, sizeof(hash));
}

struct finding *finding_find(struct finding_table *table, const struct object_key *object)
{
	for (size_t i = 0; i < table->count; i++)
		if (object_equal(&table->findings[i].difference.object, object))
			return &table->findings[i];
	return NULL;
}

static int finding_add(struct finding_table *table, struct finding **ret_finding)
{
	struct finding *findings;
	size_t max;

	if (table->count == FINDINGS_MAX) {
		table->suppressed++;
		return -ENOSPC;
	}
	if (table->count == table->max) {
		max = table->max ? table->max * 2 : 16;
		findings = reallocarray(table->findings, max, sizeof(*findings));
		if (!findings)
			return -ENOMEM;
		table->findings = findings;
		table->max = max;
	}
	*ret_finding = &table->findings[table->count++];
	return 0;
}

static bool same_values(const struct difference *a, const struct difference *b)
{
	/* CR0 has other bits than WP, and those come and go. */
	if (a->object.kind == OBJECT_CR0_WP)
		return true;
	if (a->object.kind == OBJECT_CONTROL_REGISTER)
		return a->observed[1] == b->observed[1];
	return a->observed[0] == b->observed[0] && a->problem == b->problem &&
	       a->target == b->target &&
	       !strcmp(a->observed_text, b->observed_text) && a->observed[1] == b->observed[1] &&
	       a->observed_place.gva == b->observed_place.gva &&
	       a->observed_place.gpa == b->observed_place.gpa &&
	       a->observed_place.limit == b->observed_place.limit;
}

int finding_report(struct finding_table *table, const struct finding_owner *owner,
		   const struct difference *difference, uint64_t real_ns, uint64_t mono_ns,
		   struct finding **ret_finding, enum finding_news *ret_news)
{
	struct finding *finding = finding_find(table, &difference->object);
	uint64_t reminder = table->reminder_ns ? table->reminder_ns : reminder_default;
	enum finding_news news;
	int r;

	if (!finding) {
		r = finding_add(table, &finding);
		if (r < 0)
			return r;
		*finding = (struct finding){ .first_seen_ns = real_ns, .opened_mono_ns = mono_ns };
		id_make(finding->id, owner, &difference->object);
		news = FINDING_OPENED;
	} else if (!same_values(&finding->difference, difference)) {
		news = FINDING_CHANGED;
	} else {
		news = mono_ns > finding->reported_mono_ns &&
				       mono_ns - finding->reported_mono_ns >= reminder
			       ? FINDING_REMINDER
			       : FINDING_FOLDED;
	}
	finding->news = news == FINDING_OPENED || news == FINDING_CHANGED;
	table->changes += finding->news;
	finding->difference = *difference;
	finding->last_seen_ns = real_ns;
	finding->round = table->round;
	finding->count++;
	if (news != FINDING_FOLDED)
		finding->reported_mono_ns = mono_ns;
	*ret_finding = finding;
	*ret_news = news;
	return 0;
}

void finding_remove(struct finding_table *table, struct finding *finding)
{
	size_t index = (size_t)(finding - table->findings);

	memmove(finding, finding + 1, (table->count - index - 1) * sizeof(*finding));
	table->count--;
	table->changes++;
}

bool finding_in_scope(const struct finding_scope *scope, const struct object_key *object)
{
	return object->check == scope->check && object->vcpu == scope->vcpu &&
	       (scope->table < 0 || object->table == scope->table) &&
	       (!scope->to || (object->index >= scope->from && object->index < scope->to)) &&
	       object_is_place(object->kind) == scope->registers;
}

bool finding_sweep(struct finding_table *table, const struct finding_scope *scope,
		   struct finding *ret_finding)
{
	for (size_t i = 0; i < table->count; i++) {
		struct finding *finding = &table->findings[i];

		if (finding->round == table->round ||
		    !finding_in_scope(scope, &finding->difference.object))
			continue;
		*ret_finding = *finding;
		finding_remove(table, finding);
		return true;
	}
	return false;
}

bool finding_pop(struct finding_table *table, struct finding *ret_finding)
{
	if (!table->count)
		return false;
	*ret_finding = table->findings[0];
	finding_remove(table, table->findings);
	return true;
}
