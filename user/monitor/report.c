// SPDX-License-Identifier: LGPL-2.1-or-later
/* Turns findings, baselines and coverage of a guest into events. */
#include "report.h"

#include "action.h"
#include "check_cr0wp.h"
#include "clock.h"
#include "kept.h"
#include "text.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* MODULES_END of arch/x86/include/asm/pgtable_64_types.h. */
static const uint64_t linux_modules_end = 0xffffffffff000000;

/* A failed allocation leaves a member out; event_emit() fails only where nothing is left. */
static void set(json_t *object, const char *key, json_t *value)
{
	json_object_set_new(object, key, value);
}

json_t *report_vm(const struct guest *guest)
{
	const struct ka_vm_info *info = &guest->info;
	char start[24];
	json_t *vm;

	snprintf(start, sizeof(start), "%" PRIu64, info->start_ticks);
	vm = json_pack("{s:s, s:o, s:i, s:s, s:i, s:o, s:o, s:o, s:o}", "id", guest->id, "name",
		       event_string(info->name), "pid", (int)info->pid, "start_ticks", start,
		       "generation", (int)guest->generation, "hypervisor",
		       event_string(info->hypervisor), "manager", event_string(info->manager),
		       "id_source", event_string(info->id_source), "id_confidence",
		       event_string(info->id_confidence));
	if (guest->kernel.release[0])
		set(vm, "kernel", event_string(guest->kernel.release));
	if (guest->kernel.build_id[0])
		set(vm, "build_id", event_string(guest->kernel.build_id));
	set(vm, "labels", event_labels(info->labels));
	return vm;
}

static void emit(const struct guest *guest, json_t *event)
{
	/* The sink counts what it loses, and monitor.health tells. */
	event_emit(guest->watch->stream, event);
}

static json_t *event_about(const struct guest *guest, const char *type, enum severity severity,
			   uint64_t real_ns, uint64_t mono_ns, const char *message)
{
	json_t *event = event_new(guest->watch->stream, type, severity, real_ns, mono_ns, message);

	set(event, "vm", report_vm(guest));
	return event;
}

void report_discovered(const struct guest *guest)
{
	bool encrypted =
		guest->vcpu_count && (guest->vcpus[0].registers.flags & KA_REGISTERS_ENCRYPTED);
	char message[256];
	json_t *event;

	snprintf(message, sizeof(message), "%s: VM found, %u vCPUs", guest->info.name,
		 guest->info.vcpus);
	event = event_about(guest, "vm.discovered", SEVERITY_INFO, clock_real(), clock_mono(),
			    message);
	set(event, "vcpus", json_integer(guest->info.vcpus));
	set(event, "memory_bytes", event_hex(guest->info.memory_bytes));
	set(event, "confidential", json_string(encrypted ? "sev" : "none"));
	set(event, "supported", json_boolean(!encrypted));
	if (encrypted)
		set(event, "reason", json_string("the guest's registers are encrypted"));
	emit(guest, event);
}

void report_gone(const struct guest *guest, const char *reason)
{
	uint64_t mono_ns = clock_mono();
	json_t *event, *open = json_array();
	char message[256];

	snprintf(message, sizeof(message), "%s: VM gone (%s), %zu findings open", guest->info.name,
		 reason, guest->findings.count);
	event = event_about(guest, "vm.gone", SEVERITY_INFO, clock_real(), mono_ns, message);
	set(event, "reason", json_string(reason));
	set(event, "lifetime_ms",
	    json_integer((json_int_t)((mono_ns - guest->appeared_mono_ns) / NS_PER_MS)));
	for (size_t i = 0; i < guest->findings.count; i++)
		json_array_append_new(open, json_string(guest->findings.findings[i].id));
	set(event, "open_findings", open);
	emit(guest, event);
}

/* ---- baselines ----------------------------------------------------------------------------- */

static json_t *baseline_json(const struct guest *guest)
{
	return json_pack("{s:s, s:s, s:s}", "id", guest->baseline_id, "recorded_at",
			 guest->baseline_recorded_at, "trust", guest->baseline_trust);
}

static bool check_covered(const struct guest *guest, enum check_id check)
{
	bool any = false;

	for (size_t i = 0; i < guest->vcpu_count; i++) {
		const struct guest_vcpu *vcpu = &guest->vcpus[i];

		if (vcpu->usable)
			continue;
		if (vcpu->phase != VCPU_JUDGED || vcpu_hides(vcpu, check))
			return false;
		any = true;
	}
	return any && (check != CHECK_SYSCALL_TABLE || guest->table[KA_SYSCALL_NATIVE].known);
}

void report_baseline(const struct guest *guest, uint64_t real_ns, uint64_t mono_ns)
{
	json_t *event, *baseline = baseline_json(guest), *coverage = json_object();
	enum severity severity = SEVERITY_INFO;
	char message[256];

	snprintf(message, sizeof(message), "%s: baseline of boot %u (%s)", guest->info.name,
		 guest->generation, guest->baseline_trigger);
	/* A kexec empties the IDT first: a kernel that is just there may be an attacker's decoy. */
	if (!strcmp(guest->baseline_trigger, "replaced"))
		severity = SEVERITY_HIGH;
	else if (guest->no_reference)
		severity = guest->no_reference_severity;
	event = event_about(guest, "baseline.recorded", severity, real_ns, mono_ns, message);
	for (int check = 0; check < VCPU_CHECKS; check++)
		if (guest_has_check(guest, check))
			set(coverage, checks[check].name,
			    json_boolean(check_covered(guest, check)));
	set(baseline, "trigger", json_string(guest->baseline_trigger));
	set(baseline, "digest", json_string(guest->baseline_digest));
	set(baseline, "objects", json_integer(guest->baseline_objects));
	if (guest->kernel.symbols)
		set(baseline, "symbols", json_string(ka_symbols_source(guest->kernel.symbols)));
	if (guest->no_reference)
		set(baseline, "reason", json_string(guest->no_reference));
	set(baseline, "coverage", coverage);
	set(event, "baseline", baseline);
	emit(guest, event);
}

/* ---- modules and programs ------------------------------------------------------------------ */

/* One that is not the vendor's deserves a look, more so if it bears the name of one. */
static enum severity module_severity(const struct audit_change *change)
{
	if (!change->loaded || change->reference || !change->reason)
		return SEVERITY_INFO;
	return change->taints ? SEVERITY_LOW : SEVERITY_MEDIUM;
}

static void report_module(const struct guest *guest, const struct audit_change *change)
{
	json_t *event, *module;
	char message[256];

	snprintf(message, sizeof(message), "%s: module %s %s", guest->info.name, change->name,
		 !change->loaded	  ? "unloaded"
		 : change->at_first_sight ? "is there at first sight"
					  : "loaded");
	event = event_about(guest, change->loaded ? "module.loaded" : "module.unloaded",
			    module_severity(change), clock_real(), clock_mono(), message);
	module = json_pack("{s:o, s:o, s:I, s:o}", "name", event_string(change->name), "text",
			   event_hex(change->text_start), "text_size",
			   (json_int_t)change->text_size, "taints", event_hex(change->taints));
	if (change->build_id[0])
		set(module, "build_id", json_string(change->build_id));
	set(event, "module", module);
	if (change->loaded) {
		set(event, "trust", json_string(change->reference ? "reference" : "tofu"));
		set(event, "at_first_sight", json_boolean(change->at_first_sight));
		if (change->reason)
			set(event, "reason", json_string(change->reason));
	}
	emit(guest, event);
}

static void report_program(const struct guest *guest, const struct audit_change *change)
{
	json_t *event, *program;
	char message[256];

	snprintf(message, sizeof(message), "%s: eBPF program %u (%s) %s", guest->info.name,
		 change->id, change->name[0] ? change->name : "no name",
		 change->loaded ? "loaded" : "unloaded");
	event = event_about(guest, change->loaded ? "bpf.loaded" : "bpf.unloaded", SEVERITY_INFO,
			    clock_real(), clock_mono(), message);
	program = json_pack("{s:I, s:o, s:s, s:s, s:I}", "id", (json_int_t)change->id, "name",
			    event_string(change->name), "type", change->type, "tag", change->tag,
			    "uid", (json_int_t)change->uid);
	if (change->link)
		set(program, "link", json_string(change->link));
	if (change->target[0])
		set(program, "target", event_string(change->target));
	set(event, "program", program);
	emit(guest, event);
}

void report_change(const struct guest *guest, const struct audit_change *change)
{
	if (change->kind == CHANGE_MODULE)
		report_module(guest, change);
	else
		report_program(guest, change);
}

/* ---- violations ---------------------------------------------------------------------------- */

/* "name", "name+0x10", "unknown" outside of the kernel image; NULL where no symbols are known. */
static const char *symbol_text(const struct guest *guest, uint64_t address, char *buf, size_t size)
{
	uint64_t offset = 0;
	const char *name;

	if (!guest->kernel.symbols)
		return NULL;
	name = ka_kernel_name(&guest->kernel, address, &offset);
	if (!name)
		return "unknown";
	if (offset)
		snprintf(buf, size, "%.200s+0x%" PRIx64, name, offset);
	else
		snprintf(buf, size, "%.200s", name);
	return buf;
}

static void set_symbol(const struct guest *guest, json_t *object, uint64_t address)
{
	char buf[256];
	const char *symbol = symbol_text(guest, address, buf, sizeof(buf));

	if (symbol)
		set(object, "symbol", event_string(symbol));
}

/* What code at this address belongs to. Linux puts modules behind the kernel's image. */
static void set_owner(const struct guest *guest, json_t *json, uint64_t address)
{
	const char *module = guest_modules_name(&guest->modules, address);
	const struct ka_kernel *kernel = &guest->kernel;
	const char *owner = "unknown";

	if (kernel->symbols && address >= kernel->base && address < kernel->image_end)
		owner = "kernel";
	else if (module ||
		 (kernel->symbols && address >= kernel->image_end && address < linux_modules_end))
		owner = "module";
	set(json, "owner", json_string(owner));
	if (module)
		set(json, "module", event_string(module));
}

/* Where a pointer that an audit found leads to. */
static json_t *audited_json(const struct guest *guest, const struct difference *difference,
			    bool observed)
{
	json_t *json = json_object();

	set(json, "value",
	    event_string(observed ? difference->observed_text : difference->expected_text));
	if (!observed || !difference->target)
		return json;
	set(json, "target", event_hex(difference->target));
	set_symbol(guest, json, difference->target);
	set_owner(guest, json, difference->target);
	return json;
}

static void set_descriptor(json_t *json, const struct difference *difference, const uint64_t raw[2])
{
	struct ka_descriptor descriptor;

	if (ka_descriptor_decode(raw, 16, difference->long_mode, &descriptor) < 0)
		return;
	set(json, "base", event_hex(descriptor.base));
	set(json, "limit", json_integer(descriptor.limit));
	set(json, "type", json_integer(descriptor.type));
	set(json, "type_name", json_string(ka_descriptor_type_name(&descriptor)));
	set(json, "dpl", json_integer(descriptor.dpl));
	set(json, "present", json_boolean(descriptor.present));
	set(json, "system", json_boolean(descriptor.system));
}

static void set_gate(const struct guest *guest, json_t *json, const struct difference *difference,
		     const uint64_t raw[2])
{
	struct ka_gate gate;

	if (ka_gate_decode(raw, 16, difference->long_mode, &gate) < 0)
		return;
	set(json, "offset", event_hex(gate.offset));
	set(json, "selector", json_integer(gate.selector));
	set(json, "type", json_integer(gate.type));
	set(json, "type_name", json_string(ka_gate_type_name(&gate)));
	set(json, "dpl", json_integer(gate.dpl));
	set(json, "ist", json_integer(gate.ist));
	set(json, "present", json_boolean(gate.present));
	set_symbol(guest, json, gate.offset);
}

/* In the order of memory, unlike the value. */
static void set_text(const struct guest *guest, json_t *json, const struct difference *difference,
		     bool observed)
{
	const uint64_t *raw = observed ? difference->observed : difference->expected;
	char bytes[2 * KA_TEXT_DIFFERENCE_BYTES + 1];

	text_bytes(bytes, (const uint8_t *)raw, KA_TEXT_DIFFERENCE_BYTES);
	set(json, "bytes", json_string(bytes));
	if (!observed || !difference->target)
		return;
	set(json, "target", event_hex(difference->target));
	set_symbol(guest, json, difference->target);
}

static enum register_id register_id(const struct object_key *key)
{
	return register_of(key->kind == OBJECT_MSR, (unsigned int)key->index);
}

static const char *register_text(const struct object_key *key)
{
	static const char *const debug[DEBUG_REGISTERS] = { "dr0", "dr1", "dr2", "dr3" };

	return key->kind == OBJECT_DEBUG_REGISTER ? debug[key->index]
						  : register_name(register_id(key));
}

/* Which bits a control register lost, by name. */
static json_t *lost_json(const struct difference *difference)
{
	json_t *lost = json_array();

	for (unsigned int bit = 0; bit < 64; bit++)
		if (difference->observed[1] >> bit & 1)
			json_array_append_new(lost,
					      json_string(register_bit_name(
						      register_id(&difference->object), bit)));
	return lost;
}

static void set_breakpoint(const struct guest *guest, json_t *json,
			   const struct difference *difference)
{
	unsigned int control = (unsigned int)difference->observed[1];

	set(json, "access", json_string(breakpoint_access_name(breakpoint_access(control))));
	set(json, "length", json_integer(breakpoint_length(control)));
	set_symbol(guest, json, difference->observed[0]);
}

static void set_register(const struct guest *guest, json_t *json,
			 const struct difference *difference, bool observed)
{
	const uint64_t *raw = observed ? difference->observed : difference->expected;

	if (difference->object.kind == OBJECT_MSR && raw[0] >> 63)
		set_symbol(guest, json, raw[0]);
	if (difference->object.kind == OBJECT_CONTROL_REGISTER && observed)
		set(json, "lost", lost_json(difference));
	if (difference->object.kind == OBJECT_DEBUG_REGISTER && observed)
		set_breakpoint(guest, json, difference);
}

static json_t *value_json(const struct guest *guest, const struct difference *difference,
			  bool observed)
{
	const uint64_t *raw = observed ? difference->observed : difference->expected;
	const struct place *place =
		observed ? &difference->observed_place : &difference->expected_place;
	char buf[TEXT_HEX_MAX];
	json_t *json;

	if (object_is_audited(difference->object.kind))
		return audited_json(guest, difference, observed);
	json = json_object();
	set(json, "value", json_string(text_hex(buf, raw, difference->size)));
	switch (difference->object.kind) {
	case OBJECT_GDT_DESCRIPTOR:
		set_descriptor(json, difference, raw);
		break;
	case OBJECT_IDT_GATE:
		set_gate(guest, json, difference, raw);
		break;
	case OBJECT_SYSCALL_ENTRY:
		set_symbol(guest, json, raw[0]);
		break;
	case OBJECT_CR0_WP:
		set(json, "wp", json_boolean(raw[0] & CR0_WP));
		break;
	case OBJECT_GDTR:
	case OBJECT_IDTR:
		set(json, "limit", json_integer(place->limit));
		/* fall through */
	case OBJECT_SYSCALL_TABLE:
		set(json, "gva", event_hex(place->gva));
		set(json, "gpa", event_hex(place->gpa));
		break;
	case OBJECT_TEXT:
		set_text(guest, json, difference, observed);
		break;
	case OBJECT_MSR:
	case OBJECT_CONTROL_REGISTER:
	case OBJECT_DEBUG_REGISTER:
		set_register(guest, json, difference, observed);
		break;
	default: /* OBJECT_SYMBOL */
		set_symbol(guest, json, raw[0]);
		break;
	}
	return json;
}

static json_t *object_json(const struct guest *guest, const struct difference *difference)
{
	const struct object_key *key = &difference->object;
	json_t *object = json_pack("{s:s, s:i}", "kind", object_kind_name(key->kind), "vcpu",
				   (int)difference->vcpu);

	if (object_is_audited(key->kind))
		set(object, "name", event_string(difference->name));
	else if (object_is_register(key->kind))
		set(object, "register", json_string(register_text(key)));
	else if (!object_is_place(key->kind) && key->kind != OBJECT_CR0_WP)
		set(object, "index", json_integer((json_int_t)key->index));
	if (key->check == CHECK_SYSCALL_TABLE)
		set(object, "table",
		    json_string(key->table == KA_SYSCALL_IA32 ? "ia32" : "native"));
	set(object, "shared", json_boolean(key->vcpu == OBJECT_SHARED));
	if (key->kind == OBJECT_SYSCALL_ENTRY)
		set_symbol(guest, object, difference->expected[0]);
	if (key->kind == OBJECT_SYMBOL)
		set(object, "symbol", event_string(difference->name));
	if (key->kind == OBJECT_TEXT) {
		set_symbol(guest, object, difference->gva);
		set(object, "patch", json_string(difference->patch));
		set(object, "length", json_integer(difference->len));
	}
	if (key->kind == OBJECT_IDT_GATE)
		set_symbol(guest, object,
			   idt_gate_handler(difference->long_mode, difference->expected));
	if (difference->gva) {
		set(object, "gva", event_hex(difference->gva));
		/* Audits follow the kernel's own pointers: where they lie says nothing. */
		if (!object_is_audited(key->kind))
			set(object, "gpa", event_hex(difference->gpa));
	}
	return object;
}

static const struct guest_vcpu *vcpu_of(const struct guest *guest, unsigned int id)
{
	for (size_t i = 0; i < guest->vcpu_count; i++)
		if (guest->vcpus[i].id == id)
			return &guest->vcpus[i];
	return &guest->vcpus[0];
}

static json_t *check_json(const struct guest *guest, const struct difference *difference)
{
	const struct check *check = &checks[difference->object.check];
	const struct coverage *coverage =
		guest_coverage(guest, vcpu_of(guest, difference->vcpu), difference->object.check);

	return json_pack("{s:s, s:s, s:i, s:I, s:I, s:s}", "id", check->id, "name", check->name,
			 "version", CHECK_VERSION, "interval_ms",
			 (json_int_t)(guest_interval_ns(guest) / NS_PER_MS), "duration_us",
			 (json_int_t)guest->cycle_us, "state", coverage_name(coverage->state));
}

static json_t *finding_json(const struct finding *finding, const char *state)
{
	return json_pack("{s:s, s:s, s:o, s:o, s:I}", "id", finding->id, "state", state,
			 "first_seen", event_time(finding->first_seen_ns), "last_seen",
			 event_time(finding->last_seen_ns), "count", (json_int_t)finding->count);
}

/* "LSTAR of vCPU 0" */
static void register_object_text(const struct difference *difference, char *buf, size_t size)
{
	const char *name = register_text(&difference->object);
	char upper[16];
	size_t i;

	for (i = 0; name[i] && i < sizeof(upper) - 1; i++)
		upper[i] = (char)toupper((unsigned char)name[i]);
	upper[i] = '\0';
	snprintf(buf, size, "%s of vCPU %u", upper, difference->vcpu);
}

void report_object_text(const struct guest *guest, const struct difference *difference, char *buf,
			size_t size)
{
	const struct object_key *key = &difference->object;
	char symbol[256] = "", name[256];
	const char *found = NULL;

	if (key->kind == OBJECT_SYSCALL_ENTRY)
		found = symbol_text(guest, difference->expected[0], name, sizeof(name));
	if (key->kind == OBJECT_IDT_GATE)
		found = symbol_text(guest,
				    idt_gate_handler(difference->long_mode, difference->expected),
				    name, sizeof(name));
	if (key->kind == OBJECT_TEXT)
		found = symbol_text(guest, difference->gva, name, sizeof(name));
	if (found)
		snprintf(symbol, sizeof(symbol), " (%.200s)", found);
	switch (key->kind) {
	case OBJECT_GDT_DESCRIPTOR:
		snprintf(buf, size, "GDT descriptor %" PRIu64 " of vCPU %u", key->index,
			 difference->vcpu);
		break;
	case OBJECT_IDT_GATE:
		snprintf(buf, size, "IDT gate %" PRIu64 "%s", key->index, symbol);
		break;
	case OBJECT_SYSCALL_ENTRY:
		snprintf(buf, size, "system call table entry %" PRIu64 "%s", key->index, symbol);
		break;
	case OBJECT_CR0_WP:
		snprintf(buf, size, "CR0.WP of vCPU %u", difference->vcpu);
		break;
	case OBJECT_GDTR:
	case OBJECT_IDTR:
		snprintf(buf, size, "%s of vCPU %u", key->kind == OBJECT_GDTR ? "GDTR" : "IDTR",
			 difference->vcpu);
		break;
	case OBJECT_TEXT:
		snprintf(buf, size, "kernel text%s", symbol);
		break;
	case OBJECT_SYMBOL:
		snprintf(buf, size, "the guest's symbol %s", difference->name);
		break;
	case OBJECT_SYSCALL_TABLE:
		snprintf(buf, size, "place of the system call table, vCPU %u", difference->vcpu);
		break;
	case OBJECT_MSR:
	case OBJECT_CONTROL_REGISTER:
	case OBJECT_DEBUG_REGISTER:
		register_object_text(difference, buf, size);
		break;
	case OBJECT_FTRACE_CALLBACK:
		snprintf(buf, size, "ftrace callback on %s", difference->name);
		break;
	case OBJECT_KPROBE_HANDLER:
		snprintf(buf, size, "kprobe handler on %s", difference->name);
		break;
	case OBJECT_TRACEPOINT_PROBE:
		snprintf(buf, size, "probe of tracepoint %s", difference->name);
		break;
	case OBJECT_RODATA:
		snprintf(buf, size, "read-only data %s", difference->name);
		break;
	default:
		snprintf(buf, size, "%s %s", object_kind_name(key->kind), difference->name);
		break;
	}
}

/* Debuggers and perf(1) watch the kernel's data with breakpoints; hooks stop at its code. */
static enum severity severity_of(const struct guest *guest, const struct difference *difference)
{
	enum severity severity = guest->policy.severity[difference->object.check];

	if (difference->object.kind == OBJECT_DEBUG_REGISTER && severity > SEVERITY_LOW &&
	    breakpoint_access((unsigned int)difference->observed[1]) != BREAKPOINT_EXECUTE)
		severity--;
	return severity;
}

static json_t *finding_event(const struct guest *guest, const struct finding *finding,
			     const char *type, const char *what, const char *state,
			     uint64_t real_ns, uint64_t mono_ns)
{
	const struct difference *difference = &finding->difference;
	bool violation = state[0] != 'r';
	enum severity severity = violation ? severity_of(guest, difference) : SEVERITY_INFO;
	const struct check *check = &checks[difference->object.check];
	char text[320], message[640];
	json_t *event;

	report_object_text(guest, difference, text, sizeof(text));
	snprintf(message, sizeof(message), "%s: %s %s", guest->info.name, text, what);
	event = event_about(guest, type, severity, real_ns, mono_ns, message);
	set(event, "check", check_json(guest, difference));
	set(event, "object", object_json(guest, difference));
	set(event, "expected", value_json(guest, difference, false));
	set(event, "observed", value_json(guest, difference, true));
	set(event, "detected_by", json_string(difference->detected_by));
	set(event, "baseline", baseline_json(guest));
	set(event, "finding", finding_json(finding, state));
	set(event, "attack",
	    json_pack("{s:s, s:[{s:s, s:s}]}", "version", "19", "techniques", "id",
		      check->technique, "tactic", check->tactic));
	return event;
}

static const char *violation_text(const struct difference *difference)
{
	if (object_is_audited(difference->object.kind))
		return difference->what;
	if (difference->outside_text)
		return "leads outside of the kernel's text";
	if (difference->object.kind == OBJECT_CR0_WP)
		return "cleared";
	if (difference->object.kind == OBJECT_CONTROL_REGISTER)
		return "lost a bit that guards the kernel";
	if (difference->object.kind == OBJECT_DEBUG_REGISTER)
		return "is a breakpoint in the kernel";
	return object_is_place(difference->object.kind) ? "moved" : "changed";
}

static json_t *violation_event(const struct guest *guest, const struct finding *finding, bool again,
			       const char *what, uint64_t real_ns, uint64_t mono_ns)
{
	const struct difference *difference = &finding->difference;
	json_t *event = finding_event(guest, finding, "integrity.violation", what,
				      again ? "ongoing" : "open", real_ns, mono_ns);

	set(event, "reason",
	    json_string(difference->problem			   ? difference->problem
			: difference->outside_text		   ? "outside_text"
			: object_is_place(difference->object.kind) ? "moved"
								   : "changed"));
	if (finding->last_ok_ns)
		set(event, "last_ok", event_time(finding->last_ok_ns));
	if (difference->first_sight)
		set(event, "first_sight", json_true());
	return event;
}

/* As it opens or changes: a reminder is told only. */
static void emit_and_act(struct guest *guest, const struct finding *finding, json_t *event)
{
	struct actions *actions = finding->news ? guest->watch->actions : NULL;

	json_incref(event);
	emit(guest, event);
	if (actions && event)
		actions_run(actions, guest, finding, event);
	json_decref(event);
}

void report_violation(struct guest *guest, const struct finding *finding)
{
	emit_and_act(guest, finding,
		     violation_event(guest, finding, finding->count > 1,
				     violation_text(&finding->difference), finding->last_seen_ns,
				     finding->reported_mono_ns));
}

static json_t *write_json(const struct guest *guest, const struct fold *fold)
{
	char old_bytes[2 * KA_WRITE_BYTES + 1], new_bytes[2 * KA_WRITE_BYTES + 1];
	const struct ka_write *write = &fold->write;
	uint64_t first_ns = clock_real_of(fold->first_ns);
	json_t *json;

	text_bytes(old_bytes, write->old_bytes, write->len);
	text_bytes(new_bytes, write->new_bytes, write->len);
	json = json_pack("{s:I, s:o, s:o, s:o, s:i, s:s, s:s}", "count", (json_int_t)fold->count,
			 "first", event_time(first_ns), "last",
			 event_time(first_ns + (fold->last_ns - fold->first_ns)), "gpa",
			 event_hex(write->gpa), "length", (int)write->len, "old", old_bytes, "new",
			 new_bytes);
	if (write->flags & KA_WRITE_NO_VCPU)
		return json;
	set(json, "vcpu", json_integer(write->vcpu));
	set(json, "rip", event_hex(write->rip));
	set_owner(guest, json, write->rip);
	set_symbol(guest, json, write->rip);
	return json;
}

/* NULL: nothing was to be done. */
static const char *action_text(const struct ka_write *write)
{
	return write->flags & KA_WRITE_UNDONE	     ? "undone"
	       : write->flags & KA_WRITE_STOOD_ASIDE ? "stood_aside"
	       : write->flags & KA_WRITE_FAILED	     ? "failed"
						     : NULL;
}

void report_written(struct guest *guest, const struct finding *finding, const struct fold *fold)
{
	const char *action = action_text(&fold->write);
	json_t *event = violation_event(guest, finding, finding->count > fold->count,
					fold->write.flags & KA_WRITE_UNDONE
						? "written to, and put back at once"
						: "changed",
					clock_real_of(fold->first_ns), fold->first_ns);

	set(event, "write", write_json(guest, fold));
	if (action)
		set(event, "action", json_string(action));
	if (fold->write.flags & KA_WRITE_UNDONE)
		emit(guest, event);
	else
		emit_and_act(guest, finding, event);
}

static json_t *restored_event(const struct guest *guest, const struct finding *finding,
			      const char *restored_to, uint64_t real_ns, uint64_t mono_ns)
{
	bool baseline = !strcmp(restored_to, "baseline");
	uint64_t open_ns =
		mono_ns > finding->opened_mono_ns ? mono_ns - finding->opened_mono_ns : 0;
	json_t *event = finding_event(guest, finding, "integrity.restored",
				      baseline ? "restored" : "belongs to an earlier boot",
				      "restored", real_ns, mono_ns);

	set(event, "restored_to", json_string(restored_to));
	set(event, "open_for_ms", json_integer((json_int_t)(open_ns / NS_PER_MS)));
	set(event, "open_for_us", json_integer((json_int_t)(open_ns / NS_PER_US)));
	return event;
}

json_t *report_end(const struct guest *guest, const struct finding *finding)
{
	return restored_event(guest, finding, "baseline", finding->last_seen_ns,
			      finding->reported_mono_ns);
}

void report_kept(const struct guest *guest, const struct kept_finding *kept, uint64_t real_ns,
		 uint64_t mono_ns)
{
	const char *message = json_string_value(json_object_get(kept->event, "message"));
	bool same_boot = kept->generation == guest->generation;
	json_t *event = event_about(guest, "integrity.restored", SEVERITY_INFO, real_ns, mono_ns,
				    message ? message : "");
	const char *first_seen = json_string_value(
		json_object_get(json_object_get(kept->event, "finding"), "first_seen"));
	uint64_t first_ns, open_us = 0;

	/* What tells this event from others is of now, what it is about of then. */
	json_object_update_missing(event, kept->event);
	if (first_seen && !text_time_parse(first_seen, &first_ns) && first_ns < real_ns)
		open_us = (real_ns - first_ns) / NS_PER_US;
	set(event, "restored_to", json_string(same_boot ? "baseline" : "new_baseline"));
	set(event, "open_for_ms", json_integer((json_int_t)(open_us / 1000)));
	set(event, "open_for_us", json_integer((json_int_t)open_us));
	set(event, "while_away", json_true());
	emit(guest, event);
	json_decref(kept->event);
}

void report_restored(const struct guest *guest, const struct finding *finding,
		     const char *restored_to, uint64_t real_ns, uint64_t mono_ns)
{
	emit(guest, restored_event(guest, finding, restored_to, real_ns, mono_ns));
}

void report_rewritten(const struct guest *guest, const struct finding *finding,
		      const struct fold *fold)
{
	json_t *event = restored_event(guest, finding, "baseline", clock_real_of(fold->last_ns),
				       fold->last_ns);

	/* Else these writes are in the violation's event already. */
	if (!fold->differed)
		set(event, "write", write_json(guest, fold));
	emit(guest, event);
}

/* ---- coverage ------------------------------------------------------------------------------ */

static json_t *writes_json(const struct tracking *tracking)
{
	json_t *json = json_pack("{s:s}", "state", tracking_name(tracking->state));

	if (tracking->reason[0])
		set(json, "reason", event_string(tracking->reason));
	return json;
}

json_t *report_check_state(const struct guest *guest, const struct guest_vcpu *vcpu,
			   enum check_id check)
{
	const struct coverage *coverage = guest_coverage(guest, vcpu, check);
	uint64_t age_ns;
	json_t *json;

	json = json_pack("{s:s, s:o, s:s, s:s, s:o, s:{s:I, s:I, s:I, s:I}}", "vm", guest->id,
			 "name", event_string(guest->info.name), "check", checks[check].name,
			 "state", coverage_name(coverage->state), "since",
			 event_time(coverage->since_ns), "cycles", "observed",
			 (json_int_t)coverage->cycles[COVERAGE_OBSERVED], "sampled",
			 (json_int_t)coverage->cycles[COVERAGE_SAMPLED], "stale",
			 (json_int_t)coverage->cycles[COVERAGE_STALE], "unobservable",
			 (json_int_t)coverage->cycles[COVERAGE_UNOBSERVABLE]);
	if (vcpu)
		set(json, "vcpu", json_integer(vcpu->id));
	if (coverage->reason)
		set(json, "reason", json_string(coverage->reason));
	if (check_is_tracked(check))
		set(json, "writes", writes_json(&guest->tracking[check]));
	if (check == CHECK_TEXT && text_pass_oldest(&guest->text.pass, clock_mono(), &age_ns))
		set(json, "oldest_ms", json_integer((json_int_t)(age_ns / NS_PER_MS)));
	return json;
}

static json_t *coverage_change(const struct coverage *coverage, const struct guest_vcpu *vcpu,
			       enum check_id check)
{
	json_t *json =
		json_pack("{s:s, s:s, s:s}", "check", checks[check].name, "from",
			  coverage_name(coverage->reported), "to", coverage_name(coverage->state));

	if (vcpu)
		set(json, "vcpu", json_integer(vcpu->id));

	if (coverage->reason)
		set(json, "reason", json_string(coverage->reason));
	return json;
}

static json_t *tracking_change(const struct tracking *tracking, enum check_id check)
{
	json_t *json = writes_json(tracking);

	set(json, "check", json_string(checks[check].name));
	set(json, "from", json_string(tracking_name(tracking->reported)));
	return json;
}

/* Returns the changes, or NULL; *ret_lost: writes to some are told no more. */
static json_t *tracking_changes(struct guest *guest, bool *ret_lost)
{
	json_t *changes = NULL;

	*ret_lost = false;
	if (!guest->watch->realtime)
		return NULL; /* nothing ever is */
	for (int check = 0; check < CHECKS; check++) {
		struct tracking *tracking = &guest->tracking[check];

		if (tracking->state == tracking->reported)
			continue;
		if (!changes)
			changes = json_array();
		json_array_append_new(changes, tracking_change(tracking, check));
		*ret_lost |= tracking->state < tracking->reported;
		tracking->reported = tracking->state;
	}
	return changes;
}

struct coverage_changes {
	json_t *list; /* NULL: none */
	unsigned int lost, gained;
};

static void note_coverage(struct guest *guest, struct guest_vcpu *vcpu, enum check_id check,
			  struct coverage_changes *changes)
{
	struct coverage *coverage = guest_coverage_mutable(guest, vcpu, check);

	/* A VM begins unseen: vm.discovered has told as much. */
	if (coverage->reported == COVERAGE_NONE && coverage->state == COVERAGE_STALE)
		coverage->reported = COVERAGE_STALE;
	if (coverage->state == coverage->reported || coverage->state == COVERAGE_NONE ||
	    !guest_has_check(guest, check))
		return;
	if (!changes->list)
		changes->list = json_array();
	json_array_append_new(changes->list, coverage_change(coverage, vcpu, check));
	changes->lost += !coverage_seen(coverage->state);
	changes->gained += coverage_seen(coverage->state);
	coverage->reported = coverage->state;
}

void report_coverage(struct guest *guest)
{
	struct coverage_changes changes = { 0 };
	json_t *event, *writes;
	bool writes_lost;
	char message[256];

	writes = tracking_changes(guest, &writes_lost);
	for (size_t i = 0; i < guest->vcpu_count; i++)
		for (int check = 0; check < VCPU_CHECKS; check++)
			note_coverage(guest, &guest->vcpus[i], check, &changes);
	/* Audits are of a kernel whose symbols are known. */
	for (int check = VCPU_CHECKS; guest->kernel.symbols && check < CHECKS; check++)
		note_coverage(guest, NULL, check, &changes);
	if (!changes.list && !writes)
		return;
	if (changes.list)
		snprintf(message, sizeof(message), "%s: %u checks are seen now, %u are not",
			 guest->info.name, changes.gained, changes.lost);
	else
		snprintf(message, sizeof(message), "%s: writes are %s", guest->info.name,
			 writes_lost ? "told only in part" : "told as they happen");
	/* Before there is a baseline nothing is lost yet. */
	event = event_about(guest, "coverage.changed",
			    (changes.lost || writes_lost) && guest->boots_before ? SEVERITY_MEDIUM
										 : SEVERITY_INFO,
			    clock_real(), clock_mono(), message);
	set(event, "changes", changes.list ? changes.list : json_array());
	if (writes)
		set(event, "writes", writes);
	emit(guest, event);
}
