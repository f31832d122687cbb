// SPDX-License-Identifier: LGPL-2.1-or-later
/* Writes the monitor's numbers in Prometheus' text format. */
#include "metrics.h"

#include "cleanup.h"
#include "clock.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* Microseconds. */
static const unsigned int bucket_us[METRICS_BUCKETS] = { 25,   50,   100,   250,   500,	   1000,
							 2500, 5000, 10000, 25000, 100000, 1000000 };

void metrics_look(struct metrics *metrics, struct guest *guest)
{
	size_t i = 0;

	metrics->looks++;
	metrics->looks_us += guest->cycle_us;
	metrics->sealed += guest->seal.rested;
	while (i < METRICS_BUCKETS && guest->cycle_us > bucket_us[i])
		i++;
	if (i < METRICS_BUCKETS)
		metrics->bucket[i]++;
	guest->looked_ns = clock_real();
	if (guest->complete)
		guest->complete_ns = guest->looked_ns;
}

void metrics_rest(struct metrics *metrics, struct guest *guest, unsigned int looks,
		  uint64_t looked_ns)
{
	metrics->looks += looks;
	metrics->sealed += looks;
	metrics->bucket[0] += looks;
	guest->looked_ns = looked_ns;
	if (guest->complete)
		guest->complete_ns = looked_ns;
}

void metrics_label(FILE *out, const char *text)
{
	char clean[257];

	text_clean(clean, sizeof(clean), text);
	for (const char *at = clean; *at; at++)
		if (*at == '\n')
			fputs("\\n", out);
		else if (*at == '"' || *at == '\\')
			fprintf(out, "\\%c", *at);
		else
			fputc(*at, out);
}

static void head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void single(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
	head(out, name, type, help);
	fprintf(out, "%s %" PRIu64 "\n", name, value);
}

/* All digits: a float would lose them. */
static void print_seconds(FILE *out, uint64_t ns)
{
	fprintf(out, "%" PRIu64 ".%09" PRIu64 "\n", (uint64_t)(ns / NS_PER_S),
		(uint64_t)(ns % NS_PER_S));
}

/* ---- the monitor --------------------------------------------------------------------------- */

static void render_build(const struct health_view *view, FILE *out)
{
	const struct ka_probe *probe = view->host ? ka_host_features(view->host) : NULL;

	head(out, "kvmbpf_build_info", "gauge", "Version of the monitor, and the host's kernel.");
	fputs("kvmbpf_build_info{version=\"", out);
	metrics_label(out, ka_version());
	fputs("\",kernel=\"", out);
	metrics_label(out, probe ? probe->kernel : "");
	fputs("\"} 1\n", out);
}

static void render_cycles(const struct metrics *metrics, const struct health *health, FILE *out)
{
	static const char duration[] = "kvmbpf_check_duration_seconds";
	uint64_t below = 0;

	single(out, "kvmbpf_cycles_total", "counter", "Looks at a VM that were due, and made.",
	       health->cycles_done);
	single(out, "kvmbpf_cycle_late_total", "counter",
	       "Of those, later than a tenth of the interval.", health->cycles_late);
	single(out, "kvmbpf_cycle_missed_total", "counter",
	       "Looks that were due and not made: the one before took too long.",
	       health->cycles_missed);
	single(out, "kvmbpf_cycle_pushed_total", "counter",
	       "Looks besides, because of what KVM's exits or writes told.", health->cycles_pushed);
	single(out, "kvmbpf_cycle_sealed_total", "counter",
	       "Looks that found tables and registers as the last whole look saw them.",
	       metrics->sealed);
	head(out, duration, "histogram", "One look at one VM: all of its checks are read together.");
	for (size_t i = 0; i < METRICS_BUCKETS; i++) {
		below += metrics->bucket[i];
		fprintf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", duration, bucket_us[i] / 1e6,
			below);
	}
	fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum ", duration, metrics->looks,
		duration);
	print_seconds(out, metrics->looks_us * NS_PER_US);
	fprintf(out, "%s_count %" PRIu64 "\n", duration, metrics->looks);
}

static void render_losses(const struct health *health, const struct health_view *view, FILE *out)
{
	struct ka_counters counters = { 0 };

	if (view->host)
		ka_host_counters(view->host, &counters);
	head(out, "kvmbpf_sentry_seconds_total", "counter",
	     "Processor time that the kernel took to look at seals by itself.");
	fputs("kvmbpf_sentry_seconds_total ", out);
	print_seconds(out, counters.sentry_ns);
	single(out, "kvmbpf_ringbuf_lost_total", "counter",
	       "Pushed changes that the ring buffer had no room for.", counters.ringbuf_lost);
	single(out, "kvmbpf_writes_lost_total", "counter", "Tracked writes that were not judged.",
	       health_writes_lost(health, view));
	single(out, "kvmbpf_read_errors_total", "counter",
	       "Reads of kernel memory that failed in a BPF program.", counters.read_errors);
}

/* As Prometheus' own clients name it. */
static void render_process(FILE *out)
{
	unsigned long pages = 0, resident = 0;
	FILE *statm = fopen("/proc/self/statm", "re");

	head(out, "process_cpu_seconds_total", "counter", "Processor time of the monitor.");
	fputs("process_cpu_seconds_total ", out);
	print_seconds(out, clock_ns(CLOCK_PROCESS_CPUTIME_ID));
	if (statm && fscanf(statm, "%lu %lu", &pages, &resident) == 2)
		single(out, "process_resident_memory_bytes", "gauge", "Memory of the monitor.",
		       (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE));
	if (statm)
		fclose(statm);
}

/* ---- what is watched ----------------------------------------------------------------------- */

static void render_vms(const struct health_view *view, FILE *out)
{
	uint64_t complete = 0, blind = 0;

	for (size_t i = 0; i < view->count; i++) {
		/* With every check switched off it would be both. */
		complete += guest_complete(view->guests[i]) && !guest_blind(view->guests[i]);
		blind += guest_blind(view->guests[i]);
	}
	head(out, "kvmbpf_vms", "gauge",
	     "VMs by what is seen of them: every check, some checks, none.");
	fprintf(out, "kvmbpf_vms{state=\"complete\"} %" PRIu64 "\n", complete);
	fprintf(out, "kvmbpf_vms{state=\"partial\"} %" PRIu64 "\n",
		(uint64_t)view->count - complete - blind);
	fprintf(out, "kvmbpf_vms{state=\"blind\"} %" PRIu64 "\n", blind);
}

/* COVERAGE_NONE goes by the name of COVERAGE_STALE. */
static enum coverage_state told_state(enum coverage_state state)
{
	return state == COVERAGE_NONE ? COVERAGE_STALE : state;
}

static void render_checks(const struct health *health, const struct health_view *view, FILE *out)
{
	uint64_t now[CHECKS][COVERAGE_STATES] = { 0 }, total[CHECKS][COVERAGE_STATES] = { 0 };
	const struct coverage *coverage;
	enum check_id check;

	for (check = 0; check < CHECKS; check++)
		for (int state = 0; state < COVERAGE_STATES; state++)
			total[check][told_state(state)] += health->checks_before[check][state];
	for (size_t i = 0; i < view->count; i++)
		for (size_t j = 0;
		     guest_coverage_next(view->guests[i], &j, &coverage, &check);) {
			for (int state = 0; state < COVERAGE_STATES; state++)
				total[check][told_state(state)] += coverage->cycles[state];
			now[check][told_state(coverage->state)]++;
		}
	head(out, "kvmbpf_checks", "gauge", "Checks of vCPUs, by how well they are seen now.");
	for (check = 0; check < CHECKS; check++)
		for (int state = COVERAGE_OBSERVED; state < COVERAGE_STATES; state++)
			fprintf(out, "kvmbpf_checks{check=\"%s\",state=\"%s\"} %" PRIu64 "\n",
				checks[check].name, coverage_name(state), now[check][state]);
	head(out, "kvmbpf_checks_total", "counter", "Checks of vCPUs that were made, by result.");
	for (check = 0; check < CHECKS; check++)
		for (int state = COVERAGE_OBSERVED; state < COVERAGE_STATES; state++)
			fprintf(out, "kvmbpf_checks_total{check=\"%s\",result=\"%s\"} %" PRIu64 "\n",
				checks[check].name, coverage_name(state), total[check][state]);
}

static void render_findings(const struct health_view *view, FILE *out)
{
	uint64_t open[SEVERITY_CRITICAL + 1] = { 0 };

	for (size_t i = 0; i < view->count; i++) {
		const struct guest *guest = view->guests[i];

		for (size_t j = 0; j < guest->findings.count; j++)
			open[guest->policy.severity[guest->findings.findings[j]
							    .difference.object.check]]++;
	}
	head(out, "kvmbpf_open_findings", "gauge", "Objects that are not as expected now.");
	for (int severity = SEVERITY_INFO; severity <= SEVERITY_CRITICAL; severity++)
		fprintf(out, "kvmbpf_open_findings{severity=\"%s\"} %" PRIu64 "\n",
			severity_name(severity), open[severity]);
}

static void print_vm(FILE *out, const char *name, const struct guest *guest)
{
	fprintf(out, "%s{vm=\"", name);
	metrics_label(out, guest->info.name);
	fputs("\",vm_id=\"", out);
	metrics_label(out, guest->id);
	fputs("\"} ", out);
}

static void render_success(const struct health_view *view, bool vm_names, FILE *out)
{
	static const char name[] = "kvmbpf_last_success_timestamp_seconds";
	uint64_t oldest = UINT64_MAX;

	head(out, name, "gauge",
	     "When every check of a VM was last seen; without names, of the VM where that is "
	     "longest ago. 0: never.");
	for (size_t i = 0; i < view->count; i++) {
		const struct guest *guest = view->guests[i];

		oldest = guest->complete_ns < oldest ? guest->complete_ns : oldest;
		if (!vm_names)
			continue;
		print_vm(out, name, guest);
		print_seconds(out, guest->complete_ns);
	}
	if (vm_names || !view->count)
		return;
	fprintf(out, "%s ", name);
	print_seconds(out, oldest);
}

static void render_vm_findings(const struct health_view *view, FILE *out)
{
	static const char name[] = "kvmbpf_vm_open_findings";

	head(out, name, "gauge", "Objects of this VM that are not as expected now.");
	for (size_t i = 0; i < view->count; i++) {
		print_vm(out, name, view->guests[i]);
		fprintf(out, "%zu\n", view->guests[i]->findings.count);
	}
}

/* ---- events -------------------------------------------------------------------------------- */

static void print_sink(FILE *out, const char *name, const struct outputs_sink *sink)
{
	fprintf(out, "%s{sink=\"", name);
	metrics_label(out, sink->name);
	fputs("\"", out);
}

static void render_sink_numbers(const struct health_view *view, FILE *out)
{
	static const struct {
		const char *name, *type, *help;
		size_t offset;
	} numbers[] = {
		{ "kvmbpf_events_delivered_total", "counter", "Events that a sink has got.",
		  offsetof(struct outputs_sink, delivered) },
		{ "kvmbpf_sink_queue_events", "gauge", "Events that wait for a sink.",
		  offsetof(struct outputs_sink, queued) },
		{ "kvmbpf_sink_queue_bytes", "gauge", "Their size.",
		  offsetof(struct outputs_sink, queued_bytes) },
		{ "kvmbpf_sink_failing", "gauge", "1: the last try to deliver has failed.",
		  offsetof(struct outputs_sink, failing) },
	};
	struct outputs_sink sink;

	for (size_t n = 0; n < array_size(numbers); n++) {
		head(out, numbers[n].name, numbers[n].type, numbers[n].help);
		for (size_t i = 0; outputs_sink_get(view->outputs, i, &sink); i++) {
			print_sink(out, numbers[n].name, &sink);
			fprintf(out, "} %" PRIu64 "\n",
				*(const uint64_t *)((const char *)&sink + numbers[n].offset));
		}
	}
}

static void render_dropped(const struct health_view *view, FILE *out)
{
	static const char name[] = "kvmbpf_events_dropped_total";
	struct outputs_sink sink;

	head(out, name, "counter",
	     "Events that a sink never gets: the spool was full, or it refuses them.");
	for (size_t i = 0; outputs_sink_get(view->outputs, i, &sink); i++) {
		print_sink(out, name, &sink);
		fprintf(out, ",reason=\"overflow\"} %" PRIu64 "\n", sink.dropped);
		print_sink(out, name, &sink);
		fprintf(out, ",reason=\"rejected\"} %" PRIu64 "\n", sink.rejected);
	}
}

static void render_events(const struct metrics *metrics, const struct health_view *view, FILE *out)
{
	struct spool_counters spool;
	uint64_t max = outputs_spool(view->outputs, &spool);

	head(out, "kvmbpf_events_total", "counter", "Events of this run, by severity.");
	for (int severity = SEVERITY_INFO; severity <= SEVERITY_CRITICAL; severity++)
		fprintf(out, "kvmbpf_events_total{severity=\"%s\"} %" PRIu64 "\n",
			severity_name(severity), metrics->events[severity]);
	render_sink_numbers(view, out);
	render_dropped(view, out);
	single(out, "kvmbpf_spool_bytes", "gauge", "Events that wait on disk.", spool.bytes);
	single(out, "kvmbpf_spool_max_bytes", "gauge", "Over that the least severe are dropped.",
	       max);
	single(out, "kvmbpf_spool_failing", "gauge", "1: the spool's disk takes nothing now.",
	       spool.error != 0);
}

void metrics_render(const struct metrics *metrics, const struct health *health,
		    const struct health_view *view, bool vm_names, FILE *out)
{
	render_build(view, out);
	render_vms(view, out);
	render_checks(health, view, out);
	render_findings(view, out);
	render_success(view, vm_names, out);
	if (vm_names)
		render_vm_findings(view, out);
	render_cycles(metrics, health, out);
	render_events(metrics, view, out);
	render_losses(health, view, out);
	render_process(out);
}
