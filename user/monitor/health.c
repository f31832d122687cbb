// SPDX-License-Identifier: LGPL-2.1-or-later
/* Counts VMs, cycles and losses, and tells how well each check of each vCPU is seen. */
#include "health.h"

#include "clock.h"
#include "report.h"

#include <stdio.h>
#include <string.h>

/* About 300 bytes each, under the limit of a line with the rest of the event. */
enum { CHECKS_PER_EVENT = 32 };

static void count_guests(const struct health_view *view, size_t *ret_ok, size_t *ret_blind)
{
	*ret_ok = *ret_blind = 0;
	for (size_t i = 0; i < view->count; i++) {
		*ret_ok += view->guests[i]->complete;
		*ret_blind += view->guests[i]->blind;
	}
}

static struct ka_counters host_counters(const struct health_view *view)
{
	struct ka_counters counters = { 0 };

	if (view->host)
		ka_host_counters(view->host, &counters);
	return counters;
}

static void keep_cycles(struct health *health, const struct coverage *coverage, enum check_id check)
{
	for (int state = 0; state < COVERAGE_STATES; state++)
		health->checks_before[check][state] += coverage->cycles[state];
}

void health_forget(struct health *health, const struct guest *guest)
{
	const struct coverage *coverage;
	enum check_id check;

	health->writes_lost_before += guest->writes_lost;
	for (size_t i = 0; guest_coverage_next(guest, &i, &coverage, &check);)
		keep_cycles(health, coverage, check);
}

uint64_t health_writes_lost(const struct health *health, const struct health_view *view)
{
	uint64_t lost = health->writes_lost_before;

	for (size_t i = 0; i < view->count; i++)
		lost += view->guests[i]->writes_lost;
	return lost;
}

static const char *judge(const struct health *health, const struct health_view *view, size_t ok)
{
	struct outputs_health outputs;

	outputs_health(view->outputs, &outputs);
	return ok < view->count || health->changes_lost > health->changes_lost_told ||
			       health_writes_lost(health, view) > health->writes_lost ||
			       outputs.dropped > health->dropped || outputs.failing ||
			       health->cycles_missed > health->missed
		       ? "degraded"
		       : "ok";
}

bool health_changed(const struct health *health, const struct health_view *view)
{
	struct outputs_health outputs;
	size_t ok, blind;

	count_guests(view, &ok, &blind);
	outputs_health(view->outputs, &outputs);
	return outputs.failing != health->failing || view->count != health->total ||
	       ok != health->ok || blind != health->blind || !health->state ||
	       strcmp(judge(health, view, ok), health->state);
}

struct part {
	struct health *health;
	const struct health_view *view;
	size_t ok, blind;
	unsigned int index, count;
};

static void emit_part(const struct part *part, json_t *check_states)
{
	const struct health_view *view = part->view;
	const struct health *health = part->health;
	struct ka_counters counters = host_counters(view);
	bool degraded = !strcmp(health->state, "degraded");
	char message[160];
	json_t *event;

	snprintf(message, sizeof(message), "%s: %zu VMs, %zu with every check seen, %zu with none",
		 health->state, view->count, part->ok, part->blind);
	event = event_new(view->stream, "monitor.health",
			  degraded ? SEVERITY_MEDIUM : SEVERITY_INFO, clock_real(), clock_mono(),
			  message);
	json_object_set_new(event, "state", json_string(health->state));
	json_object_set_new(event, "vms",
			    json_pack("{s:I, s:I, s:I}", "total", (json_int_t)view->count, "ok",
				      (json_int_t)part->ok, "blind", (json_int_t)part->blind));
	json_object_set_new(event, "cycles",
			    json_pack("{s:I, s:I, s:I, s:I}", "done",
				      (json_int_t)health->cycles_done, "late",
				      (json_int_t)health->cycles_late, "missed",
				      (json_int_t)health->cycles_missed, "pushed",
				      (json_int_t)health->cycles_pushed));
	json_object_set_new(event, "bpf",
			    json_pack("{s:I, s:I, s:I, s:I}", "ringbuf_lost",
				      (json_int_t)counters.ringbuf_lost, "state_busy",
				      (json_int_t)counters.state_busy, "read_errors",
				      (json_int_t)counters.read_errors, "writes_lost",
				      (json_int_t)health_writes_lost(health, view)));
	json_object_set_new(event, "sinks", outputs_sinks_json(view->outputs));
	/* Left out where there is none. */
	json_object_set_new(event, "spool", outputs_spool_json(view->outputs));
	json_object_set_new(
		event, "part",
		json_pack("{s:i, s:i}", "index", (int)part->index, "count", (int)part->count));
	json_object_set_new(event, "checks", check_states);
	event_emit(view->stream, event);
}

static size_t guest_check_states(const struct guest *guest)
{
	size_t checks_made = 0;

	for (int check = 0; check < VCPU_CHECKS; check++)
		checks_made += guest_has_check(guest, check);
	checks_made *= guest->vcpu_count;
	for (int check = VCPU_CHECKS; check < CHECKS; check++)
		checks_made += guest_has_check(guest, check);
	return checks_made;
}

static void add_state(struct part *part, json_t **states, struct guest *guest,
		      struct guest_vcpu *vcpu, enum check_id check)
{
	struct coverage *coverage = guest_coverage_mutable(guest, vcpu, check);

	if (!guest_has_check(guest, check))
		return;
	if (json_array_size(*states) == CHECKS_PER_EVENT) {
		emit_part(part, *states);
		part->index++;
		*states = json_array();
	}
	json_array_append_new(*states, report_check_state(guest, vcpu, check));
	keep_cycles(part->health, coverage, check);
	memset(coverage->cycles, 0, sizeof(coverage->cycles));
}

static void emit_parts(struct part *part)
{
	json_t *states = json_array();
	size_t total = 0;

	for (size_t i = 0; i < part->view->count; i++)
		total += guest_check_states(part->view->guests[i]);
	part->count = (unsigned int)((total + CHECKS_PER_EVENT - 1) / CHECKS_PER_EVENT);
	part->count = part->count ? part->count : 1;
	for (size_t i = 0; i < part->view->count; i++) {
		struct guest *guest = part->view->guests[i];

		for (size_t j = 0; j < guest->vcpu_count * VCPU_CHECKS; j++)
			add_state(part, &states, guest, &guest->vcpus[j / VCPU_CHECKS],
				  j % VCPU_CHECKS);
		for (int check = VCPU_CHECKS; check < CHECKS; check++)
			add_state(part, &states, guest, NULL, check);
	}
	emit_part(part, states);
}

void health_tell(struct health *health, const struct health_view *view, const char *state)
{
	struct part part = { .health = health, .view = view };
	struct outputs_health outputs;

	count_guests(view, &part.ok, &part.blind);
	health->state = state ? state : judge(health, view, part.ok);
	emit_parts(&part);
	outputs_health(view->outputs, &outputs);
	health->total = view->count;
	health->ok = part.ok;
	health->blind = part.blind;
	health->changes_lost_told = health->changes_lost;
	health->writes_lost = health_writes_lost(health, view);
	health->dropped = outputs.dropped;
	health->failing = outputs.failing;
	health->missed = health->cycles_missed;
	health->told_mono_ns = clock_mono();
}
