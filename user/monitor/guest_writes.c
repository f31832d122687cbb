// SPDX-License-Identifier: LGPL-2.1-or-later
/* Judges writes to tracked tables, one by one, and tells them folded. */
#include "guest.h"

#include "clock.h"
#include "report.h"

#include <string.h>

enum { CODE_LOOKS_PER_SECOND = 50 };

/* An object of a table, and where it lies. */
struct target {
	struct object_key object;
	const struct guest_vcpu *vcpu; /* one that sees it */
	const struct view *view;       /* as expected */
	unsigned int size;	       /* bytes of an entry */
};

static uint32_t entry_offset(const struct target *target)
{
	return (uint32_t)target->object.index * target->size;
}

/* What the object held before a write that is judged now. */
static void value_before(struct guest *guest, const struct target *target, uint64_t ret_value[2])
{
	const struct fold *fold = fold_find(&guest->folds, &target->object);
	const struct finding *finding = finding_find(&guest->findings, &target->object);

	view_value(target->view, entry_offset(target), target->size, ret_value);
	if (fold)
		memcpy(ret_value, fold->now, sizeof(fold->now));
	else if (finding)
		memcpy(ret_value, finding->difference.observed, sizeof(fold->now));
}

/* `at`: the byte of the write that comes first in this object. */
static void object_written(struct guest *guest, const struct target *target,
			   const struct ka_write *write, uint32_t at, uint32_t offset)
{
	struct fold_write judged = { .write = write };
	uint64_t expected[2], before[2];
	uint32_t begin = offset - entry_offset(target), len = target->size - begin;

	view_value(target->view, entry_offset(target), target->size, expected);
	value_before(guest, target, before);
	if (len > write->len - at)
		len = write->len - at;
	memcpy(judged.tried, before, sizeof(before));
	memcpy((uint8_t *)judged.tried + begin, write->new_bytes + at, len);
	memcpy(judged.now, write->flags & KA_WRITE_UNDONE ? before : judged.tried, sizeof(before));
	judged.differs = memcmp(judged.tried, expected, sizeof(expected)) != 0;
	/* The same value over itself is no change, but counts where it joins others. */
	if (!memcmp(judged.tried, before, sizeof(before)) &&
	    !fold_find(&guest->folds, &target->object))
		return;
	if (fold_add(&guest->folds, &target->object, &judged, clock_mono()) < 0)
		guest->writes_lost++;
}

static void table_written(struct guest *guest, struct target *target, const struct ka_write *write)
{
	uint32_t offset;

	for (uint32_t at = 0; at < write->len;) {
		if (!view_offset(target->view, write->gpa + at, &offset)) {
			at++;
			continue;
		}
		target->object.index = offset / target->size;
		object_written(guest, target, write, at, offset);
		at += target->size - offset % target->size;
	}
}

static struct target idt_target(const struct guest_vcpu *vcpu)
{
	return (struct target){
		.object = { .check = CHECK_IDT,
			    .kind = OBJECT_IDT_GATE,
			    .vcpu = vcpu->idt_shared ? OBJECT_SHARED : (int)vcpu->id },
		.vcpu = vcpu,
		.view = &vcpu->idt_expected,
		.size = idt_gate_size(vcpu->long_mode),
	};
}

static struct target table_target(const struct guest *guest, int t)
{
	return (struct target){
		.object = { .check = CHECK_SYSCALL_TABLE,
			    .kind = OBJECT_SYSCALL_ENTRY,
			    .table = t,
			    .vcpu = OBJECT_SHARED },
		.vcpu = &guest->vcpus[0],
		.view = &guest->table[t].expected,
		.size = guest->table[t].where.entry_size,
	};
}

/*
 * The kernel patches its own code, in several steps: what it comes to is looked at, and at once. A
 * guest that writes there without end has its looks in the usual cycles.
 */
static bool code_written(struct guest *guest, const struct ka_write *write)
{
	const struct tracked_range *frames = guest->audits.code;
	uint64_t now = clock_mono();

	for (size_t i = 0; i < guest->audits.code_count; i++) {
		if (write->gpa / FRAME_BYTES != frames[i].gpa / FRAME_BYTES)
			continue;
		if (now - guest->code_writes_since_ns >= NS_PER_S) {
			guest->code_writes_since_ns = now;
			guest->code_looks = 0;
		}
		guest->audits.code_written = true;
		if (!guest->check_now && guest->code_looks < CODE_LOOKS_PER_SECOND) {
			guest->code_looks++;
			guest->check_now = true;
		}
		return true;
	}
	return false;
}

void guest_write(struct guest *guest, const struct ka_write *write)
{
	bool shared_done = false;
	struct target target;

	guest_unseal(guest);
	if (guest->phase != GUEST_WATCHED || guest->reset_seen)
		return;
	if (write->cookie == CHECK_TEXT)
		guest_text_written(guest, write);
	if (code_written(guest, write) || write->cookie == CHECK_TEXT)
		return;
	for (size_t i = 0; i < guest->vcpu_count; i++) {
		const struct guest_vcpu *vcpu = &guest->vcpus[i];

		if (vcpu->phase != VCPU_JUDGED || (vcpu->idt_shared && shared_done))
			continue;
		shared_done |= vcpu->idt_shared;
		target = idt_target(vcpu);
		table_written(guest, &target, write);
	}
	for (int t = 0; t < SYSCALL_TABLES; t++) {
		if (!guest->table[t].known)
			continue;
		target = table_target(guest, t);
		table_written(guest, &target, write);
	}
}

/* ---- telling -------------------------------------------------------------------------------- */

static bool target_find(const struct guest *guest, const struct object_key *object,
			struct target *ret_target)
{
	if (object->check == CHECK_SYSCALL_TABLE) {
		*ret_target = table_target(guest, object->table);
		ret_target->object = *object;
		return guest->table[object->table].known;
	}
	for (size_t i = 0; i < guest->vcpu_count; i++) {
		*ret_target = idt_target(&guest->vcpus[i]);
		ret_target->object.index = object->index;
		if (guest->vcpus[i].phase == VCPU_JUDGED &&
		    object_equal(&ret_target->object, object))
			return true;
	}
	return false;
}

static struct difference difference_of(const struct target *target, const struct fold *fold)
{
	struct difference difference = {
		.object = target->object,
		.vcpu = target->vcpu->id,
		.gva = target->view->gva + entry_offset(target),
		.gpa = view_gpa(target->view, entry_offset(target)),
		.size = target->size,
		.observed = { fold->tried[0], fold->tried[1] },
		.long_mode = target->vcpu->long_mode,
		.detected_by = "write",
	};

	view_value(target->view, entry_offset(target), target->size, difference.expected);
	return difference;
}

static void tell_difference(struct guest *guest, const struct target *target,
			    const struct fold *fold)
{
	const struct finding_owner owner = { .host_id = guest->watch->stream->host.id,
					     .vm_id = guest->id,
					     .generation = guest->generation };
	struct difference difference = difference_of(target, fold);
	uint64_t now = clock_mono();
	enum finding_news news;
	struct finding *finding;

	if (finding_report(&guest->findings, &owner, &difference, clock_real_of(fold->first_ns),
			   fold->first_ns, &finding, &news) < 0)
		return;
	finding->count += fold->count - 1;
	finding->last_seen_ns = clock_real_of(fold->last_ns);
	finding->reported_mono_ns = fold->first_ns;
	if (news == FINDING_OPENED)
		finding->last_ok_ns = target->vcpu->coverage[target->object.check].last_ok_ns;
	/* Another module may have lain where the one does that wrote. */
	guest_modules_read(&guest->modules, guest->vm, &guest->kernel, now, now - fold->first_ns);
	report_written(guest, finding, fold);
}

/* Each write that made a difference is told, also where it was undone: a finding that opens and is
 * restored at once. */
static void tell(struct guest *guest, const struct fold *fold)
{
	struct target target;
	struct finding *finding, restored;
	uint64_t expected[2];

	if (!target_find(guest, &fold->object, &target))
		return;
	if (fold->differed)
		tell_difference(guest, &target, fold);
	view_value(target.view, entry_offset(&target), target.size, expected);
	finding = finding_find(&guest->findings, &fold->object);
	if (!finding || memcmp(fold->now, expected, sizeof(expected)))
		return;
	restored = *finding;
	restored.difference.detected_by = "write";
	finding_remove(&guest->findings, finding);
	report_rewritten(guest, &restored, fold);
}

void guest_tell_writes(struct guest *guest, uint64_t now_ns)
{
	struct fold *fold;

	while ((fold = fold_due(&guest->folds, now_ns))) {
		tell(guest, fold);
		fold_told(fold, clock_mono());
	}
}
