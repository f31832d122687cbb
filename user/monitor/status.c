// SPDX-License-Identifier: LGPL-2.1-or-later
/* Builds the monitor's state as JSON. */
#include "status.h"

#include "clock.h"
#include "log.h"
#include "report.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { FINDINGS_SHOWN = 256 };

static void set(json_t *object, const char *key, json_t *value)
{
	json_object_set_new(object, key, value);
}

static json_t *time_or_null(uint64_t real_ns)
{
	return real_ns ? event_time(real_ns) : json_null();
}

/* `vcpu` NULL: a check of the guest as a whole. */
static json_t *check_json(const struct guest *guest, const struct guest_vcpu *vcpu,
			  enum check_id check)
{
	const struct coverage *coverage = guest_coverage(guest, vcpu, check);
	json_t *json = json_pack("{s:s, s:s}", "check", checks[check].name, "state",
				 coverage_name(coverage->state));

	/* The last look, or since when there is none. */
	set(json, coverage_seen(coverage->state) ? "seen" : "since",
	    time_or_null(coverage_seen(coverage->state) ? guest->looked_ns : coverage->since_ns));
	set(json, "clean", time_or_null(coverage->last_ok_ns));
	if (coverage->reason)
		set(json, "reason", json_string(coverage->reason));
	if (check_is_tracked(check))
		set(json, "writes", json_string(tracking_name(guest->tracking[check].state)));
	return json;
}

static json_t *vcpus_json(const struct guest *guest)
{
	json_t *vcpus = json_array();

	for (size_t i = 0; i < guest->vcpu_count; i++) {
		json_t *list = json_array();

		for (int check = 0; check < VCPU_CHECKS; check++)
			if (guest_has_check(guest, check))
				json_array_append_new(
					list, check_json(guest, &guest->vcpus[i], check));
		json_array_append_new(vcpus, json_pack("{s:i, s:o}", "id", (int)guest->vcpus[i].id,
						       "checks", list));
	}
	return vcpus;
}

static json_t *audits_json(const struct guest *guest)
{
	json_t *audits = json_array();

	for (int check = VCPU_CHECKS; check < CHECKS; check++)
		if (guest_has_check(guest, check))
			json_array_append_new(audits, check_json(guest, NULL, check));
	return audits;
}

static json_t *findings_json(const struct guest *guest)
{
	json_t *findings = json_array();

	for (size_t i = 0; i < guest->findings.count && i < FINDINGS_SHOWN; i++) {
		const struct finding *finding = &guest->findings.findings[i];
		const enum check_id check = finding->difference.object.check;
		char text[320];

		report_object_text(guest, &finding->difference, text, sizeof(text));
		json_array_append_new(
			findings,
			json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:I}", "id", finding->id, "check",
				  checks[check].name, "severity",
				  severity_name(guest->policy.severity[check]), "object",
				  event_string(text), "first_seen",
				  event_time(finding->first_seen_ns), "last_seen",
				  event_time(finding->last_seen_ns), "count",
				  (json_int_t)finding->count));
	}
	return findings;
}

static const char *seen_text(const struct guest *guest)
{
	return guest_blind(guest) ? "none" : guest_complete(guest) ? "all" : "some";
}

static json_t *guest_json(const struct guest *guest)
{
	json_t *json = report_vm(guest);

	set(json, "seen", json_string(seen_text(guest)));
	set(json, "baseline", json_string(guest->phase == GUEST_WATCHED ? guest->baseline_trust
									: "none"));
	set(json, "last_look", time_or_null(guest->looked_ns));
	set(json, "last_complete", time_or_null(guest->complete_ns));
	set(json, "look_us", json_integer((json_int_t)guest->cycle_us));
	set(json, "vcpus", vcpus_json(guest));
	set(json, "checks", audits_json(guest));
	set(json, "open_findings", json_integer((json_int_t)guest->findings.count));
	set(json, "findings", findings_json(guest));
	return json;
}

static json_t *process_json(void)
{
	unsigned long pages = 0, resident = 0;
	FILE *statm = fopen("/proc/self/statm", "re");
	json_t *json = json_pack("{s:i, s:I}", "pid", (int)getpid(), "cpu_us",
				 (json_int_t)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) / NS_PER_US));

	if (statm && fscanf(statm, "%lu %lu", &pages, &resident) == 2)
		set(json, "resident_bytes",
		    json_integer((json_int_t)resident * sysconf(_SC_PAGESIZE)));
	if (statm)
		fclose(statm);
	return json;
}

json_t *status_json(const struct watch *watch, const struct health *health,
		    const struct health_view *view)
{
	const struct event_stream *stream = view->stream;
	json_t *vms = json_array(), *status;
	char mono[24];

	for (size_t i = 0; i < view->count; i++)
		json_array_append_new(vms, guest_json(view->guests[i]));
	snprintf(mono, sizeof(mono), "%" PRIu64, clock_mono());
	status = json_pack("{s:s, s:o, s:s, s:s, s:s, s:s, s:I, s:o, s:{s:I, s:I, s:I, s:I}, s:o}",
			   "schema", "kvmbpf.status/1", "time", event_time(clock_real()),
			   "mono_ns", mono, "run_id", stream->run_id, "version", stream->version,
			   "host", stream->host.name, "interval_ms",
			   (json_int_t)(watch->interval_ns / NS_PER_MS), "process", process_json(),
			   "cycles", "done", (json_int_t)health->cycles_done, "late",
			   (json_int_t)health->cycles_late, "missed",
			   (json_int_t)health->cycles_missed, "pushed",
			   (json_int_t)health->cycles_pushed, "vms", vms);
	set(status, "sinks", outputs_sinks_json(view->outputs));
	set(status, "spool", outputs_spool_json(view->outputs));
	return status;
}

static int write_part(const char *part, size_t len, void *ctx)
{
	return fwrite(part, 1, len, ctx) == len ? 0 : -1;
}

void status_write(const struct watch *watch, const struct health *health,
		  const struct health_view *view, FILE *out)
{
	json_t *status = status_json(watch, health, view);

	json_dump_callback(status, write_part, out, JSON_COMPACT);
	fputc('\n', out);
	json_decref(status);
}

void status_log(const struct health *health, const struct health_view *view)
{
	struct outputs_sink sink;

	log_info("state: %zu VMs; looks: %" PRIu64 " made, %" PRIu64 " late, %" PRIu64 " missed",
		 view->count, health->cycles_done, health->cycles_late, health->cycles_missed);
	for (size_t i = 0; i < view->count; i++) {
		const struct guest *guest = view->guests[i];

		log_info("state: VM %s (%s), pid %d: checks seen: %s, %zu findings open, last look "
			 "%" PRIu64 " us",
			 guest->info.name, guest->id, (int)guest->info.pid, seen_text(guest),
			 guest->findings.count, guest->cycle_us);
	}
	for (size_t i = 0; outputs_sink_get(view->outputs, i, &sink); i++)
		log_info("state: sink %s: %" PRIu64 " events delivered, %" PRIu64 " wait%s", sink.name,
			 sink.delivered, sink.queued, sink.failing ? ", failing" : "");
}
