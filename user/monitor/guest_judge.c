// SPDX-License-Identifier: LGPL-2.1-or-later
/* Holds what was read against what is expected, and opens and closes findings. */
#include "guest.h"

#include "check_cr0wp.h"
#include "check_syscall.h"
#include "cleanup.h"
#include "clock.h"
#include "log.h"
#include "look.h"
#include "kept.h"
#include "report.h"

#include <errno.h>
#include <string.h>

/* Of symbols that a guest lies about, so many are told. */
enum { SYMBOL_DIFFERENCES_MAX = 8 };

void look_report(struct look *look, const struct guest_vcpu *vcpu, struct difference *difference)
{
	struct guest *guest = look->guest;
	const struct finding_owner owner = { .host_id = guest->watch->stream->host.id,
					     .vm_id = guest->id,
					     .generation = guest->generation };
	struct finding *finding;
	enum finding_news news;

	if (guest->policy.off[difference->object.check])
		return;
	guest_unseal(guest);
	look->reported++;
	if (fold_lives(&guest->folds, &difference->object, look->mono_ns))
		return;
	difference->vcpu = vcpu->id;
	difference->long_mode = vcpu->long_mode;
	difference->detected_by = look->detected_by;
	if (finding_report(&guest->findings, &owner, difference, look->real_ns, look->mono_ns,
			   &finding, &news) < 0) {
		if (guest->findings.suppressed == 1)
			log_warning("%s: %d findings are open; more are not told", guest->info.name,
				    FINDINGS_MAX);
		return;
	}
	if (news == FINDING_OPENED)
		finding->last_ok_ns =
			guest_coverage(guest, vcpu, difference->object.check)->last_ok_ns;
	if (news != FINDING_FOLDED)
		report_violation(guest, finding);
}

/* What is being written is told by the writes: it is neither opened nor closed here. */
static void look_spare_written(struct look *look)
{
	struct finding_table *findings = &look->guest->findings;

	for (size_t i = 0; i < findings->count; i++)
		if (fold_lives(&look->guest->folds, &findings->findings[i].difference.object,
			       look->mono_ns))
			findings->findings[i].round = findings->round;
}

/* What this look has seen to be in order again. */
void look_sweep_scope(struct look *look, const struct finding_scope *scope)
{
	struct kept_finding kept;
	struct finding finding;

	/* Switched off meanwhile: nobody has looked, so that it is open still. */
	if (look->guest->policy.off[scope->check])
		return;
	while (finding_sweep(&look->guest->findings, scope, &finding))
		report_restored(look->guest, &finding, "baseline", look->real_ns, look->mono_ns);
	while (look->guest->watch->kept &&
	       kept_take(look->guest->watch->kept, look->guest, scope, &kept))
		report_kept(look->guest, &kept, look->real_ns, look->mono_ns);
}

void look_sweep(struct look *look, enum check_id check, int vcpu, int table, bool registers)
{
	const struct finding_scope scope = {
		.check = check, .vcpu = vcpu, .table = table, .registers = registers
	};

	look_sweep_scope(look, &scope);
}

void look_done(struct look *look, struct guest_vcpu *vcpu, enum check_id check,
	       enum coverage_state state, const char *reason)
{
	coverage_set(&vcpu->coverage[check], state, reason, look->real_ns);
	if (!look->reported)
		vcpu->coverage[check].last_ok_ns = look->real_ns;
}

void look_failed(struct look *look, struct guest_vcpu *vcpu, enum check_id check, int error)
{
	coverage_set(&vcpu->coverage[check],
		     error == -EOPNOTSUPP || error == -EPERM ? COVERAGE_UNOBSERVABLE
							     : COVERAGE_STALE,
		     error == -EOPNOTSUPP && !vcpu_tables_known(vcpu) ? scan_no_vmcs
								      : scan_reason(error),
		     look->real_ns);
}

/* ---- tables -------------------------------------------------------------------------------- */

static void judge_place(struct look *look, const struct guest_vcpu *vcpu,
			const struct object_key *object, const struct view *expected,
			const struct view *observed)
{
	struct difference difference = {
		.object = *object,
		.size = 8,
		.expected = { expected->gva },
		.observed = { observed->gva },
		.expected_place = view_place(expected),
		.observed_place = view_place(observed),
	};

	if (view_same_place(expected, observed))
		return;
	/* Where it is the second page that moved, say that page. */
	for (unsigned int i = 0; i < expected->pages && i < observed->pages; i++)
		if (expected->gpa[i] != observed->gpa[i]) {
			difference.expected_place.gpa = expected->gpa[i];
			difference.observed_place.gpa = observed->gpa[i];
			break;
		}
	look_report(look, vcpu, &difference);
}

static void judge_entry(struct look *look, const struct guest_vcpu *vcpu,
			const struct object_key *object, unsigned int entry_size,
			unsigned int value_size, const struct view *expected,
			const struct view *observed, bool outside_text)
{
	uint32_t offset = (uint32_t)object->index * entry_size;
	struct difference difference = {
		.object = *object,
		.size = value_size,
		.gva = observed->gva + offset,
		.gpa = view_gpa(observed, offset),
		.outside_text = outside_text,
	};

	view_value(expected, offset, value_size, difference.expected);
	view_value(observed, offset, value_size, difference.observed);
	look_report(look, vcpu, &difference);
}

static uint32_t common_length(const struct view *a, const struct view *b)
{
	return a->len < b->len ? a->len : b->len;
}

/* Clean by the bytes alone, which is so in nearly every cycle. */
static bool gdt_as_accepted(const struct guest_vcpu *vcpu)
{
	return vcpu->gdt_accepted.len && view_same_bytes(&vcpu->gdt_accepted, &vcpu->gdt);
}

static size_t gdt_found(const struct guest_vcpu *vcpu, uint16_t *index, size_t max)
{
	return gdt_differences(gdt_layout(vcpu->long_mode, vcpu->gdt_expected.limit),
			       vcpu->gdt_expected.bytes, vcpu->gdt.bytes,
			       common_length(&vcpu->gdt_expected, &vcpu->gdt), index, max);
}

static void judge_gdt(struct look *look, struct guest_vcpu *vcpu)
{
	struct object_key object = { .check = CHECK_GDT,
				     .kind = OBJECT_GDTR,
				     .vcpu = (int)vcpu->id };
	const struct gdt_layout *layout = gdt_layout(vcpu->long_mode, vcpu->gdt_expected.limit);
	/* What is expected has no accessed bit; a reader wants the value that stood there last. */
	const struct view *expected =
		vcpu->gdt_accepted.len ? &vcpu->gdt_accepted : &vcpu->gdt_expected;
	uint16_t index[VIEW_GDT_BYTES / 8];
	size_t count = 0;

	look->reported = 0;
	if (vcpu->gdt.error) {
		look_failed(look, vcpu, CHECK_GDT, vcpu->gdt.error);
		return;
	}
	judge_place(look, vcpu, &object, &vcpu->gdt_expected, &vcpu->gdt);
	object.kind = OBJECT_GDT_DESCRIPTOR;
	if (!gdt_as_accepted(vcpu)) {
		count = gdt_found(vcpu, index, array_size(index));
		if (!count)
			view_copy(&vcpu->gdt_accepted, &vcpu->gdt);
	}
	for (size_t i = 0; i < count; i++) {
		bool wide = layout->long_mode && gdt_rule(layout, index[i] + 1u) == GDT_UPPER;

		object.index = index[i];
		judge_entry(look, vcpu, &object, 8, wide ? 16 : 8, expected, &vcpu->gdt, false);
	}
	look_sweep(look, CHECK_GDT, (int)vcpu->id, -1, true);
	look_sweep(look, CHECK_GDT, (int)vcpu->id, -1, false);
	look_done(look, vcpu, CHECK_GDT, COVERAGE_OBSERVED, NULL);
}

/* The vCPU that read the contents for those that share its frames. */
static const struct guest_vcpu *idt_reader(const struct guest *guest, const struct guest_vcpu *vcpu)
{
	if (vcpu->idt.contents)
		return vcpu;
	for (size_t i = 0; i < guest->vcpu_count; i++)
		if (!guest->vcpus[i].usable && guest->vcpus[i].idt_shared)
			return &guest->vcpus[i];
	return vcpu;
}

static bool gate_outside_text(const struct guest *guest, unsigned int vector)
{
	return guest->outside_text[vector / 8] >> vector % 8 & 1;
}

static bool any_outside_text(const struct guest *guest)
{
	static const uint8_t none[sizeof(guest->outside_text)];

	return memcmp(guest->outside_text, none, sizeof(none));
}

static void judge_gates(struct look *look, const struct guest_vcpu *vcpu, int key_vcpu)
{
	struct object_key object = { .check = CHECK_IDT,
				     .kind = OBJECT_IDT_GATE,
				     .vcpu = key_vcpu };
	unsigned int size = idt_gate_size(vcpu->long_mode), next = 0;
	struct view observed = vcpu->idt;
	uint32_t len = common_length(&vcpu->idt_expected, &vcpu->idt);
	uint16_t index[KA_IDT_MAX * 2];
	size_t count = 0;

	observed.bytes = idt_reader(look->guest, vcpu)->idt.bytes;
	if (memcmp(vcpu->idt_expected.bytes, observed.bytes, len))
		count = idt_differences(vcpu->long_mode, vcpu->idt_expected.bytes, observed.bytes,
					len, index, array_size(index));
	for (size_t i = 0; i < count; i++) {
		object.index = index[i];
		judge_entry(look, vcpu, &object, size, size, &vcpu->idt_expected, &observed, false);
	}
	/* Those that were wrong from the start, where they are as they were. A copy of them that
	 * one vCPU was led to is not told again: that it was led there is. */
	if ((key_vcpu != OBJECT_SHARED && vcpu->idt_shared) || !any_outside_text(look->guest))
		return;
	for (unsigned int vector = 0; vector < len / size && vector < KA_IDT_MAX; vector++) {
		if (next < count && index[next] == vector) {
			next++;
			continue;
		}
		object.index = vector;
		if (gate_outside_text(look->guest, vector))
			judge_entry(look, vcpu, &object, size, size, &vcpu->idt_expected, &observed,
				    true);
	}
}

static void judge_idt(struct look *look, struct guest_vcpu *vcpu, bool *shared_done)
{
	struct object_key object = { .check = CHECK_IDT,
				     .kind = OBJECT_IDTR,
				     .vcpu = (int)vcpu->id };
	bool shared;

	look->reported = 0;
	if (vcpu->idt.error) {
		look_failed(look, vcpu, CHECK_IDT, vcpu->idt.error);
		return;
	}
	judge_place(look, vcpu, &object, &vcpu->idt_expected, &vcpu->idt);
	/* One table for all vCPUs is one object; a vCPU that was given another has its own. */
	shared = vcpu->idt_shared && view_same_place(&vcpu->idt_expected, &vcpu->idt);
	if (!shared || !*shared_done)
		judge_gates(look, vcpu, shared ? OBJECT_SHARED : (int)vcpu->id);
	if (shared && !*shared_done)
		look_sweep(look, CHECK_IDT, OBJECT_SHARED, -1, false);
	*shared_done |= shared;
	look_sweep(look, CHECK_IDT, (int)vcpu->id, -1, true);
	look_sweep(look, CHECK_IDT, (int)vcpu->id, -1, false);
	look_done(look, vcpu, CHECK_IDT, COVERAGE_OBSERVED,
		  vcpu_tables_known(vcpu) ? NULL : "only its contents: IDTR is in the VMCS");
}

static void judge_table(struct look *look, const struct guest_vcpu *vcpu, int t)
{
	struct guest_table *table = &look->guest->table[t];
	struct object_key object = { .check = CHECK_SYSCALL_TABLE,
				     .kind = OBJECT_SYSCALL_TABLE,
				     .table = t,
				     .vcpu = OBJECT_SHARED };
	unsigned int size = table->where.entry_size;
	uint16_t index[KA_SYSCALLS_MAX];
	size_t count = 0;

	judge_place(look, vcpu, &object, &table->expected, &table->observed);
	object.kind = OBJECT_SYSCALL_ENTRY;
	if (!view_same_bytes(&table->expected, &table->observed))
		count = syscall_differences(size, table->expected.bytes, table->observed.bytes,
					    common_length(&table->expected, &table->observed),
					    index, array_size(index));
	for (size_t i = 0; i < count; i++) {
		object.index = index[i];
		judge_entry(look, vcpu, &object, size, size, &table->expected, &table->observed,
			    false);
	}
	look_sweep(look, CHECK_SYSCALL_TABLE, OBJECT_SHARED, t, true);
	look_sweep(look, CHECK_SYSCALL_TABLE, OBJECT_SHARED, t, false);
}

/* Once for all vCPUs; first_error: of the native table. */
static int judge_tables(struct look *look, const struct guest_vcpu *vcpu)
{
	struct guest *guest = look->guest;

	look->reported = 0;
	for (int t = 0; t < SYSCALL_TABLES; t++) {
		if (!guest->table[t].known)
			continue;
		if (guest->table[t].observed.error)
			return guest->table[t].observed.error;
		judge_table(look, vcpu, t);
	}
	return 0;
}

static void judge_syscalls(struct look *look, struct guest_vcpu *vcpu, int error)
{
	struct guest *guest = look->guest;

	if (!guest->table[KA_SYSCALL_NATIVE].known) {
		coverage_set(&vcpu->coverage[CHECK_SYSCALL_TABLE], COVERAGE_UNOBSERVABLE,
			     guest->table_reason, look->real_ns);
		return;
	}
	if (error) {
		look_failed(look, vcpu, CHECK_SYSCALL_TABLE, error);
		return;
	}
	for (int t = 0; t < SYSCALL_TABLES; t++) {
		struct object_key object = { .check = CHECK_SYSCALL_TABLE,
					     .kind = OBJECT_SYSCALL_TABLE,
					     .table = t,
					     .vcpu = (int)vcpu->id };

		/* A user CR3 under KPTI does not map the table, and cannot lead a call to another.
		 */
		if (!guest->table[t].known || vcpu->table[t].error)
			continue;
		judge_place(look, vcpu, &object, &guest->table[t].expected, &vcpu->table[t]);
		look_sweep(look, CHECK_SYSCALL_TABLE, (int)vcpu->id, t, true);
	}
	look_done(look, vcpu, CHECK_SYSCALL_TABLE, COVERAGE_OBSERVED, NULL);
}

/* ---- kernel text --------------------------------------------------------------------------- */

static void judge_text_difference(struct look *look, const struct guest_vcpu *vcpu,
				  const struct ka_text_difference *found)
{
	struct guest *guest = look->guest;
	struct ka_translation translation = { 0 };
	struct difference difference = {
		.object = { .check = CHECK_TEXT,
			    .kind = OBJECT_TEXT,
			    .vcpu = OBJECT_SHARED,
			    .index = (unsigned int)(found->address - guest->text.start) },
		.size = KA_TEXT_DIFFERENCE_BYTES,
		.gva = found->address + guest->kernel.slide,
		.patch = ka_patch_kind_name(found->kind),
		.len = found->len,
		.target = found->target ? found->target + guest->kernel.slide : 0,
	};

	memcpy(difference.expected, found->expected, sizeof(difference.expected));
	memcpy(difference.observed, found->observed, sizeof(difference.observed));
	if (!ka_translate(guest->vm, &guest->kernel.paging, difference.gva, &translation))
		difference.gpa = translation.gpa;
	look_report(look, vcpu, &difference);
}

/* What was seen of the text, once for all vCPUs. */
static void judge_text(struct look *look, const struct guest_vcpu *vcpu)
{
	const struct guest_text *text = &look->guest->text;
	const char *polled = look->detected_by;
	const struct finding_scope scope = { .check = CHECK_TEXT,
					     .vcpu = OBJECT_SHARED,
					     .table = -1,
					     .from = (unsigned int)(text->from - text->start),
					     .to = (unsigned int)(text->to - text->start) };

	look->reported = 0;
	if (!text->text || text->piece == SIZE_MAX || text->error)
		return;
	if (text->by_write)
		look->detected_by = "write";
	for (size_t i = 0; i < text->count; i++)
		judge_text_difference(look, vcpu, &text->differences[i]);
	look->detected_by = polled;
	look_sweep_scope(look, &scope);
}

static const struct guest_vcpu *any_judged(const struct guest *guest)
{
	for (size_t i = 0; i < guest->vcpu_count; i++)
		if (!guest->vcpus[i].usable && guest->vcpus[i].phase == VCPU_JUDGED)
			return &guest->vcpus[i];
	return NULL;
}

void guest_judge_text(struct guest *guest)
{
	const struct guest_vcpu *vcpu = any_judged(guest);
	struct look look = { .guest = guest,
			     .real_ns = clock_real(),
			     .mono_ns = clock_mono(),
			     .detected_by = "poll" };

	finding_round(&guest->findings);
	if (vcpu)
		judge_text(&look, vcpu);
}

void guest_judge_audit(struct guest *guest, enum check_id check,
		       const struct difference *differences, size_t count, const char *detected_by)
{
	const struct finding_scope scope = { .check = check, .vcpu = OBJECT_SHARED, .table = -1 };
	const struct guest_vcpu *vcpu = any_judged(guest);
	struct look look = { .guest = guest,
			     .real_ns = clock_real(),
			     .mono_ns = clock_mono(),
			     .detected_by = detected_by };

	if (!vcpu)
		return;
	finding_round(&guest->findings);
	for (size_t i = 0; i < count; i++) {
		struct difference difference = differences[i];

		look_report(&look, vcpu, &difference);
	}
	look_sweep_scope(&look, &scope);
}

void guest_judge_symbols(struct guest *guest)
{
	struct ka_symbol_difference differences[SYMBOL_DIFFERENCES_MAX];
	const struct guest_vcpu *vcpu = any_judged(guest);
	struct look look = { .guest = guest,
			     .real_ns = clock_real(),
			     .mono_ns = clock_mono(),
			     .detected_by = "poll" };
	size_t count;

	guest->symbols_compared = false;
	if (!vcpu || !guest->own_symbols || guest->kernel.symbols == guest->own_symbols ||
	    !guest->kernel.symbols)
		return;
	guest->symbols_compared = true;
	count = ka_symbols_compare(guest->kernel.symbols, guest->own_symbols, differences,
				   SYMBOL_DIFFERENCES_MAX);
	for (size_t i = 0; i < count && i < SYMBOL_DIFFERENCES_MAX; i++) {
		struct difference difference = {
			.object = { .check = CHECK_SYMBOLS,
				    .kind = OBJECT_SYMBOL,
				    .vcpu = OBJECT_SHARED,
				    .index = (unsigned int)i },
			.size = 8,
			.expected = { differences[i].address + guest->kernel.slide },
			.observed = { differences[i].other + guest->kernel.slide },
		};

		text_clean(difference.name, sizeof(difference.name), differences[i].name);
		look_report(&look, vcpu, &difference);
	}
}

static void cover_symbols(struct look *look, struct guest_vcpu *vcpu)
{
	if (look->guest->symbols_compared)
		coverage_set(&vcpu->coverage[CHECK_SYMBOLS], COVERAGE_SAMPLED, "once a boot",
			     look->real_ns);
}

static void cover_text(struct look *look, struct guest_vcpu *vcpu)
{
	const struct guest_text *text = &look->guest->text;

	if (!text->text || guest_text_unsettled(look->guest))
		coverage_set(&vcpu->coverage[CHECK_TEXT], COVERAGE_UNOBSERVABLE,
			     text->taking.reason ? text->taking.reason
						 : "no reference of this kernel build, and its text is "
						   "being taken at first sight",
			     look->real_ns);
	else if (text->error)
		look_failed(look, vcpu, CHECK_TEXT, text->error);
	else
		look_done(look, vcpu, CHECK_TEXT, COVERAGE_SAMPLED,
			  text->first < text->end
				  ? "the first look at the kernel's text is under way"
			  : text->taking.text ? "a part of the kernel's text in each cycle, held against "
						"what it was at first sight: no reference has it"
					      : "a part of the kernel's text in each cycle");
}

/* ---- registers ----------------------------------------------------------------------------- */

/* Also where it is seen by chance: clear it was, whatever is not seen. */
static void judge_wp(struct look *look, struct guest_vcpu *vcpu)
{
	struct difference difference = {
		.object = { .check = CHECK_CR0_WP, .kind = OBJECT_CR0_WP, .vcpu = (int)vcpu->id },
		.size = 8,
		.expected = { vcpu->registers.cr0 | CR0_WP },
		.observed = { vcpu->registers.cr0 },
	};

	look->reported = 0;
	if (vcpu->registers.flags & KA_REGISTERS_NO_WP)
		return;
	if (cr0_wp_clear(vcpu->registers.cr0))
		look_report(look, vcpu, &difference);
	look_sweep(look, CHECK_CR0_WP, (int)vcpu->id, -1, false);
}

static void cover_wp(struct look *look, struct guest_vcpu *vcpu)
{
	const struct watch *watch = look->guest->watch;
	enum coverage_state state = COVERAGE_SAMPLED;
	const char *reason;

	if (vcpu_hides_wp(vcpu)) {
		look_failed(look, vcpu, CHECK_CR0_WP, -EOPNOTSUPP);
		return;
	}
	if (!watch->push_exact) {
		reason = watch->push_reason;
	} else if (vcpu->registers.flags & KA_REGISTERS_WP_SAMPLED) {
		reason = "CR0.WP changes do not exit on this host";
	} else if (look->guest->changes_lost) {
		reason = "pushed changes were lost in this cycle";
	} else if (vcpu->push_missed) {
		reason = "not every pushed change of this cycle could be judged";
	} else {
		state = COVERAGE_OBSERVED;
		reason = NULL;
	}
	look->guest->changes_missed |= look->guest->changes_lost || vcpu->push_missed;
	vcpu->push_missed = false;
	look_done(look, vcpu, CHECK_CR0_WP, state, reason);
}

/* ---- a whole guest ------------------------------------------------------------------------- */

static bool table_differs(const struct guest_table *table)
{
	return table->observed.error || !view_same_place(&table->expected, &table->observed) ||
	       !view_same_bytes(&table->expected, &table->observed);
}

static bool vcpu_differs(const struct guest *guest, const struct guest_vcpu *vcpu)
{
	if (vcpu_error(vcpu) || !view_same_place(&vcpu->idt_expected, &vcpu->idt) ||
	    guest_registers_differ(guest, vcpu) ||
	    (!(vcpu->registers.flags & KA_REGISTERS_NO_WP) && cr0_wp_clear(vcpu->registers.cr0)))
		return true;
	if (vcpu_tables_known(vcpu) && (!view_same_place(&vcpu->gdt_expected, &vcpu->gdt) ||
					(!gdt_as_accepted(vcpu) && gdt_found(vcpu, NULL, 0))))
		return true;
	for (int t = 0; t < SYSCALL_TABLES; t++)
		if (guest->table[t].known && !vcpu->table[t].error &&
		    !view_same_place(&guest->table[t].expected, &vcpu->table[t]))
			return true;
	return memcmp(vcpu->idt_expected.bytes, idt_reader(guest, vcpu)->idt.bytes,
		      vcpu->idt_expected.len);
}

bool guest_differs(const struct guest *guest)
{
	for (int t = 0; t < SYSCALL_TABLES; t++)
		if (guest->table[t].known && table_differs(&guest->table[t]))
			return true;
	for (size_t i = 0; i < guest->vcpu_count; i++)
		if (!guest->vcpus[i].usable && guest->vcpus[i].phase == VCPU_JUDGED &&
		    vcpu_differs(guest, &guest->vcpus[i]))
			return true;
	return guest->text.count;
}

/* All checks of a vCPU that none of them looks at now. */
static void vcpu_cover(struct guest_vcpu *vcpu, enum coverage_state state, const char *reason,
		       uint64_t real_ns)
{
	if (vcpu->usable == -EOPNOTSUPP)
		state = COVERAGE_UNOBSERVABLE;
	for (int check = 0; check < VCPU_CHECKS; check++) {
		struct coverage *coverage = &vcpu->coverage[check];

		/* Why it never sees it outlasts why it does not now. */
		if (vcpu_hides(vcpu, check) && coverage->state == COVERAGE_UNOBSERVABLE)
			coverage_set(coverage, COVERAGE_UNOBSERVABLE, coverage->reason, real_ns);
		else
			coverage_set(coverage, state, reason, real_ns);
	}
}

static void vcpu_unjudged(struct look *look, struct guest_vcpu *vcpu)
{
	const char *reason = !vcpu->present ? "gone, or its registers could not be read lately"
			     : vcpu->usable ? scan_reason(vcpu->usable)
					    : "the vCPU comes up: no baseline of it yet";

	vcpu_cover(vcpu, COVERAGE_STALE, reason, look->real_ns);
}

void guest_cover_vcpus(struct guest *guest, enum coverage_state state, const char *reason,
		       uint64_t real_ns)
{
	for (size_t i = 0; i < guest->vcpu_count; i++)
		vcpu_cover(&guest->vcpus[i], state, reason, real_ns);
}

void guest_judge(struct guest *guest)
{
	struct look look = { .guest = guest,
			     .real_ns = clock_real(),
			     .mono_ns = clock_mono(),
			     .detected_by = "poll" };
	bool shared_done = false, tables_done = false;
	unsigned int table_differences = 0, text_differences = 0;
	int table_error = 0;

	guest->changes_missed = false;
	finding_round(&guest->findings);
	look_spare_written(&look);
	for (size_t i = 0; i < guest->vcpu_count; i++) {
		struct guest_vcpu *vcpu = &guest->vcpus[i];

		if (vcpu->usable || vcpu->phase != VCPU_JUDGED) {
			vcpu_unjudged(&look, vcpu);
			continue;
		}
		judge_gdt(&look, vcpu);
		judge_idt(&look, vcpu, &shared_done);
		if (!tables_done) {
			table_error = judge_tables(&look, vcpu);
			table_differences = look.reported;
			judge_text(&look, vcpu);
			text_differences = look.reported;
			tables_done = true;
		}
		look.reported = text_differences;
		cover_text(&look, vcpu);
		cover_symbols(&look, vcpu);
		look.reported = table_differences;
		judge_syscalls(&look, vcpu, table_error);
		judge_wp(&look, vcpu);
		cover_wp(&look, vcpu);
		judge_registers(&look, vcpu);
	}
	guest->changes_lost = 0;
	guest->judged++;
}

void guest_cover_first(struct guest *guest)
{
	struct look look = { .guest = guest,
			     .real_ns = clock_real(),
			     .mono_ns = clock_mono(),
			     .reported = (unsigned int)guest->findings.count };

	for (size_t i = 0; i < guest->vcpu_count; i++) {
		struct guest_vcpu *vcpu = &guest->vcpus[i];

		if (vcpu->usable || vcpu->phase != VCPU_JUDGED)
			continue;
		cover_text(&look, vcpu);
		cover_symbols(&look, vcpu);
	}
}

void guest_cover_text(struct guest *guest)
{
	for (size_t i = 0; i < guest->vcpu_count; i++)
		memset(guest->vcpus[i].coverage[CHECK_TEXT].cycles, 0,
		       sizeof(guest->vcpus[i].coverage[CHECK_TEXT].cycles));
	guest_cover_first(guest);
}

/* A page of a pushed table, by the page tables that were in force then. */
static int translate_pushed(const struct guest *guest, const struct guest_vcpu *vcpu, uint64_t gva,
			    struct ka_translation *ret_translation)
{
	int r = ka_translate(guest->vm, &vcpu->paging, gva, ret_translation);

	if (r < 0 && guest->kernel_found)
		r = ka_translate(guest->vm, &guest->kernel.paging, gva, ret_translation);
	return r;
}

/*
 * Page tables may have changed since. Where those of the kernel do not map the table now, it is
 * none of the kernel's own, which are always mapped; without them the cycle has to look.
 */
static void judge_pushed_place(struct look *look, struct guest_vcpu *vcpu, enum check_id check,
			       const struct ka_table_register *reg, const struct view *expected)
{
	const struct object_key object = {
		.check = check,
		.kind = check == CHECK_GDT ? OBJECT_GDTR : OBJECT_IDTR,
		.vcpu = (int)vcpu->id,
	};
	struct view observed = { .gva = reg->base,
				 .limit = reg->limit,
				 .len = expected->len,
				 .pages = expected->pages };

	for (unsigned int i = 0; i < expected->pages; i++) {
		uint64_t gva = i ? (reg->base & ~4095ull) + 4096ull * i : reg->base;
		struct ka_translation translation = { 0 };
		int r = translate_pushed(look->guest, vcpu, gva, &translation);

		if (r < 0 && (!look->guest->kernel_found ||
			      (r != -EFAULT && r != -ENXIO && r != -EBADMSG && r != -EINVAL))) {
			look->guest->check_now = true;
			return;
		}
		observed.gpa[i] = translation.gpa;
	}
	look->reported = 0;
	judge_place(look, vcpu, &object, expected, &observed);
	/* Here, or open still: see what else there is. */
	look->guest->check_now |= look->guest->findings.count > 0;
	look_sweep(look, check, (int)vcpu->id, -1, true);
}

void guest_judge_pushed(struct guest *guest, struct guest_vcpu *vcpu, uint32_t changed)
{
	uint64_t real_ns = clock_real(), mono_ns = clock_mono(), at = vcpu->registers.time_ns;
	struct look look = {
		.guest = guest,
		.real_ns = at && at < mono_ns ? real_ns - (mono_ns - at) : real_ns,
		.mono_ns = at && at < mono_ns ? at : mono_ns,
		.detected_by = "push",
	};

	finding_round(&guest->findings);
	judge_wp(&look, vcpu);
	judge_pushed_registers(&look, vcpu, changed);
	if (changed & KA_CHANGED_GDTR)
		judge_pushed_place(&look, vcpu, CHECK_GDT, &vcpu->registers.gdtr,
				   &vcpu->gdt_expected);
	if (changed & KA_CHANGED_IDTR)
		judge_pushed_place(&look, vcpu, CHECK_IDT, &vcpu->registers.idtr,
				   &vcpu->idt_expected);
}

void guest_close_findings(struct guest *guest, const char *restored_to)
{
	struct finding finding;

	while (finding_pop(&guest->findings, &finding))
		report_restored(guest, &finding, restored_to, clock_real(), clock_mono());
}
