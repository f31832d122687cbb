// SPDX-License-Identifier: LGPL-2.1-or-later
/* Findings that were open when the monitor ended. */
#include "kept.h"

#include "cleanup.h"
#include "clock.h"
#include "guest.h"
#include "log.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 32 << 20 };

static const uint64_t gone_ns = 60 * NS_PER_S;
static const uint64_t settle_ns = 60 * NS_PER_S;
static const char schema[] = "kvmbpf.open/1";

/* How soon a new monitor can say of a check's objects that they are in order again. */
enum kept_kind {
	KEPT_NOT,	/* never: it goes by what it sees first, or settles for who knows how long */
	KEPT_AT_ONCE,	/* a look is a comparison with what the store has */
	KEPT_SETTLED,	/* of what is there now, once it looked for a while */
};

static enum kept_kind kind_of(enum check_id check)
{
	switch (check) {
	case CHECK_GDT:
	case CHECK_IDT:
	case CHECK_SYSCALL_TABLE:
	case CHECK_CR0_WP:
	case CHECK_MSR:
	case CHECK_CR:
	case CHECK_DR:
		return KEPT_AT_ONCE;
	case CHECK_TEXT:
	case CHECK_FTRACE:
	case CHECK_KPROBES:
	case CHECK_TRACEPOINTS:
	case CHECK_OPERATIONS:
	case CHECK_MODULES:
	case CHECK_PROCESSES:
		return KEPT_SETTLED;
	default:
		return KEPT_NOT;
	}
}

/* Does a look that does not find it say that it is gone? */
static bool is_sure(const struct guest *guest, enum check_id check)
{
	uint64_t since_ns;

	if (kind_of(check) == KEPT_AT_ONCE)
		return true;
	if (check == CHECK_TEXT)
		since_ns = guest->text.text && guest->text.first == guest->text.end &&
					   !guest->text.taking.text
				   ? guest->recorded_mono_ns
				   : 0;
	else
		since_ns = guest->audits.audit[check - VCPU_CHECKS].first_ns;
	return since_ns && clock_mono() - since_ns > settle_ns;
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "";
}

/* By their names, since a later version may number them otherwise. */
static bool object_parse(const json_t *json, struct object_key *ret_object)
{
	const char *check = text(json, "check"), *kind = text(json, "kind");
	struct object_key object = {
		.table = (int)json_integer_value(json_object_get(json, "table")),
		.vcpu = (int)json_integer_value(json_object_get(json, "vcpu")),
		.index = strtoull(text(json, "index"), NULL, 16),
	};
	int c = 0, k = 0;

	while (c < CHECKS && strcmp(checks[c].id, check))
		c++;
	while (k < OBJECT_KINDS && strcmp(object_kind_name(k), kind))
		k++;
	if (c == CHECKS || k == OBJECT_KINDS || kind_of((enum check_id)c) == KEPT_NOT)
		return false;
	object.check = c;
	object.kind = k;
	*ret_object = object;
	return true;
}

static json_t *object_json(const struct object_key *object)
{
	char index[20];

	snprintf(index, sizeof(index), "0x%llx", (unsigned long long)object->index);
	return json_pack("{s:s, s:s, s:i, s:i, s:s}", "check", checks[object->check].id, "kind",
			 object_kind_name(object->kind), "table", object->table, "vcpu",
			 object->vcpu, "index", index);
}

static void take_all(struct kept *kept, const json_t *json)
{
	json_t *each;
	size_t i;

	json_array_foreach(json, i, each)
	{
		struct kept_finding *finding = &kept->findings[kept->count];
		json_t *event = json_object_get(each, "event");

		if (!json_is_object(event) ||
		    !object_parse(json_object_get(each, "object"), &finding->object))
			continue;
		finding->generation =
			(unsigned int)json_integer_value(json_object_get(each, "generation"));
		finding->event = json_incref(event);
		kept->count++;
	}
}

static json_t *file_load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	json_error_t error;
	json_t *json = NULL;
	struct stat st;

	if (fd < 0)
		return NULL;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size <= FILE_BYTES_MAX)
		json = json_loadfd(fd, JSON_REJECT_DUPLICATES, &error);
	close(fd);
	if (json && strcmp(text(json, "schema"), schema)) {
		json_decref(json);
		json = NULL;
	}
	if (!json)
		log_warning("%s: not read: findings that were open before may not be closed", path);
	return json;
}

int kept_init(struct kept *kept, const char *store)
{
	json_t *json, *findings;
	int r = 0;

	*kept = (struct kept){ .since_ns = clock_mono() };
	/* SQLite's name for one that ends with the monitor: nothing lies beside it. */
	if (!strcmp(store, ":memory:"))
		return 0;
	if (asprintf(&kept->path, "%s.open", store) < 0) {
		kept->path = NULL;
		return -ENOMEM;
	}
	json = file_load(kept->path);
	findings = json_object_get(json, "findings");
	kept->findings = calloc(json_array_size(findings) + 1, sizeof(*kept->findings));
	if (kept->findings)
		take_all(kept, findings);
	else
		r = -ENOMEM;
	json_decref(json);
	return r;
}

void kept_deinit(struct kept *kept)
{
	for (size_t i = 0; i < kept->count; i++)
		json_decref(kept->findings[i].event);
	free(kept->findings);
	free(kept->path);
	*kept = (struct kept){ 0 };
}

static void add(json_t *array, unsigned int generation, const struct object_key *object,
		json_t *event)
{
	/* Of all guests together: beyond that something else is wrong. */
	if (json_array_size(array) < FINDINGS_MAX)
		json_array_append_new(array,
				      json_pack("{s:i, s:o, s:O}", "generation", (int)generation,
						"object", object_json(object), "event", event));
	json_decref(event);
}

/* Changes whenever a finding opens, changes or is closed. */
static uint64_t stamp(const struct kept *kept, struct guest *const *guests, size_t count)
{
	uint64_t sum = kept->taken + 1;

	for (size_t i = 0; i < count; i++)
		sum = (sum * 31 + guests[i]->info.key) * 31 + guests[i]->findings.changes;
	return sum;
}

static int replace(const struct kept *kept, const json_t *json)
{
	_cleanup_free_ char *beside = NULL;
	int fd, r = 0;

	if (asprintf(&beside, "%s.new", kept->path) < 0) {
		beside = NULL;
		return -ENOMEM;
	}
	fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (json_dumpfd(json, fd, JSON_COMPACT))
		r = -EIO;
	close(fd);
	if (!r && rename(beside, kept->path) < 0)
		r = -errno;
	return r;
}

/* The same process, too: a clone has the same identity as its original. */
static bool is_of(const struct kept_finding *finding, const struct guest *guest)
{
	const json_t *vm = json_object_get(finding->event, "vm");

	return !strcmp(text(vm, "id"), guest->id) &&
	       json_integer_value(json_object_get(vm, "pid")) == guest->info.pid &&
	       strtoull(text(vm, "start_ticks"), NULL, 10) == guest->info.start_ticks;
}

static bool is_there(const struct kept_finding *finding, struct guest *const *guests, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (is_of(finding, guests[i]))
			return true;
	return false;
}

/* Was it found again already? */
static bool is_open(const struct kept_finding *finding, struct guest *const *guests, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (is_of(finding, guests[i]) && finding->generation == guests[i]->generation &&
		    finding_find(&guests[i]->findings, &finding->object))
			return true;
	return false;
}

/* VMs that are not there by now have ended meanwhile. */
static void forget_gone(struct kept *kept, struct guest *const *guests, size_t count)
{
	for (size_t i = 0; i < kept->count; i++) {
		json_t *event = kept->findings[i].event;

		if (is_there(&kept->findings[i], guests, count))
			continue;
		log_info("finding %s was open, and its VM has ended since",
			 text(json_object_get(event, "finding"), "id"));
		json_decref(event);
		kept->findings[i--] = kept->findings[--kept->count];
		kept->taken++;
	}
}

void kept_save(struct kept *kept, struct guest *const *guests, size_t count)
{
	json_t *array, *json;
	uint64_t now;
	int r;

	if (kept->count && clock_mono() - kept->since_ns > gone_ns)
		forget_gone(kept, guests, count);
	now = stamp(kept, guests, count);
	if (!kept->path || now == kept->saved)
		return;
	array = json_array();
	for (size_t i = 0; i < kept->count; i++)
		if (!is_open(&kept->findings[i], guests, count))
			add(array, kept->findings[i].generation, &kept->findings[i].object,
			    json_incref(kept->findings[i].event));
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < guests[i]->findings.count; j++) {
			const struct finding *finding = &guests[i]->findings.findings[j];

			if (kind_of(finding->difference.object.check) != KEPT_NOT)
				add(array, guests[i]->generation, &finding->difference.object,
				    report_end(guests[i], finding));
		}
	json = json_pack("{s:s, s:o}", "schema", schema, "findings", array);
	r = json ? replace(kept, json) : -ENOMEM;
	json_decref(json);
	if (r < 0)
		log_debug("%s: %s", kept->path, strerror(-r));
	kept->saved = now;
}

bool kept_take(struct kept *kept, struct guest *guest, const struct finding_scope *scope,
	       struct kept_finding *ret_finding)
{
	for (size_t i = 0; i < kept->count; i++) {
		const struct kept_finding finding = kept->findings[i];
		bool other_boot = finding.generation != guest->generation, open;

		if (!is_of(&finding, guest) ||
		    (!other_boot && (!finding_in_scope(scope, &finding.object) ||
				     !is_sure(guest, finding.object.check))))
			continue;
		/* What is being written is told by the writes. */
		if (fold_lives(&guest->folds, &finding.object, clock_mono()))
			continue;
		open = !other_boot && finding_find(&guest->findings, &finding.object);
		kept->findings[i--] = kept->findings[--kept->count];
		kept->taken++;
		if (open) {
			json_decref(finding.event);
			continue;
		}
		*ret_finding = finding;
		return true;
	}
	return false;
}
