// SPDX-License-Identifier: LGPL-2.1-or-later
/* What is expected of a vCPU's registers in this boot, and what differs. */
#include "look.h"

#include "cleanup.h"
#include "log.h"

#include <errno.h>
#include <string.h>

static const char no_msrs[] =
	"the KVM of this host keeps these MSRs where nobody can tell them apart";
static const char no_sysenter[] = "all but SYSENTER's MSRs, which are in the VMCS";
static const char lent_msrs[] =
	"the guest runs VMs of its own, and lends them these MSRs: judged in its user mode only";

/* ---- what is expected ---------------------------------------------------------------------- */

static void values_take(struct register_values *values, const struct ka_registers *registers,
			int from, int to)
{
	for (int id = from; id < to; id++)
		values->value[id] = register_value(registers, id);
}

/* In the store a value is a place. */
static void values_restore(struct guest *guest, struct guest_vcpu *vcpu, int from, int to)
{
	for (int id = from; id < to; id++) {
		struct view stored = { 0 };

		if (!store_place_find(guest->watch->store, guest->id, guest->generation,
				      register_name(id), (int)vcpu->id, &stored))
			vcpu->expected.value[id] = stored.gva;
	}
}

int guest_registers_save(struct guest *guest, const struct guest_vcpu *vcpu)
{
	int r = 0;

	for (int id = vcpu->msrs_known ? 0 : REGISTER_MSRS; !r && id < REGISTERS; id++) {
		const struct view value = { .gva = vcpu->expected.value[id], .pages = 1 };

		r = store_place_save(guest->watch->store, guest->id, guest->generation,
				     register_name(id), (int)vcpu->id, &value);
	}
	return r;
}

void guest_registers_restore(struct guest *guest, struct guest_vcpu *vcpu)
{
	values_restore(guest, vcpu, vcpu->msrs_known ? 0 : REGISTER_MSRS, REGISTERS);
}

static void expect_linux(struct guest *guest, struct guest_vcpu *vcpu)
{
	uint64_t pinned = 0;

	if (!guest->kernel.symbols)
		return;
	if (!vcpu->long_mode || ka_symbol_read(guest->vm, &guest->kernel, "cr4_pinned_bits",
					       &pinned, sizeof(pinned)) < 0)
		pinned = 0;
	registers_expect_linux(&vcpu->expected, &vcpu->registers, &guest->kernel, pinned);
}

/* What the first vCPU's kernel has on that one, it has on each. Other systems may differ by vCPU.
 */
static void expect_as_first(struct guest *guest, struct guest_vcpu *vcpu)
{
	const struct guest_vcpu *first = &guest->vcpus[0];
	uint64_t esp = vcpu->expected.value[REGISTER_SYSENTER_ESP];

	if (vcpu == first || !guest->kernel.symbols || first->phase != VCPU_JUDGED ||
	    first->long_mode != vcpu->long_mode || first->msrs_known != vcpu->msrs_known)
		return;
	registers_expect_as(&vcpu->expected, &first->expected);
	vcpu->expected.value[REGISTER_SYSENTER_ESP] = esp;
}

void guest_registers_expect(struct guest *guest, struct guest_vcpu *vcpu)
{
	vcpu->msrs_known = !(vcpu->registers.flags & KA_REGISTERS_NO_MSRS) &&
			   registers_own_msrs(&vcpu->registers);
	values_take(&vcpu->expected, &vcpu->registers, 0, REGISTERS);
	expect_linux(guest, vcpu);
	expect_as_first(guest, vcpu);
}

/* MSRs that were not its own when the baseline was made, once they are. */
static void learn_msrs(struct guest *guest, struct guest_vcpu *vcpu)
{
	values_take(&vcpu->expected, &vcpu->registers, 0, REGISTER_MSRS);
	expect_linux(guest, vcpu);
	vcpu->msrs_known = true;
	expect_as_first(guest, vcpu);
	if (guest_boot_is_certain(guest))
		values_restore(guest, vcpu, 0, REGISTER_MSRS);
	if (guest_registers_save(guest, vcpu) < 0)
		log_warning("%s: the MSRs of vCPU %u are not in the store: %s", guest->info.name,
			    vcpu->id, store_error(guest->watch->store));
}

/* ---- what differs -------------------------------------------------------------------------- */

static bool range_differs(const struct guest_vcpu *vcpu, int from, int to)
{
	for (int id = from; id < to; id++)
		if (register_difference(&vcpu->expected, &vcpu->registers, id))
			return true;
	return false;
}

static bool msrs_judged(const struct guest_vcpu *vcpu)
{
	return vcpu->msrs_known && registers_own_msrs(&vcpu->registers);
}

bool guest_registers_differ(const struct guest *guest, const struct guest_vcpu *vcpu)
{
	if ((msrs_judged(vcpu) && range_differs(vcpu, 0, REGISTER_MSRS)) ||
	    range_differs(vcpu, REGISTER_MSRS, REGISTERS))
		return true;
	for (unsigned int i = 0; i < DEBUG_REGISTERS; i++)
		if (breakpoint_in_kernel(&vcpu->registers, &guest->kernel, i))
			return true;
	return false;
}

static void judge_range(struct look *look, const struct guest_vcpu *vcpu, enum check_id check,
			int from, int to)
{
	look->reported = 0;
	for (int id = from; id < to; id++) {
		uint64_t bits = register_difference(&vcpu->expected, &vcpu->registers, id);
		uint64_t observed = register_value(&vcpu->registers, id);
		struct difference difference = {
			.object = { .check = check,
				    .kind = check == CHECK_MSR ? OBJECT_MSR
							       : OBJECT_CONTROL_REGISTER,
				    .vcpu = (int)vcpu->id,
				    .index = register_number(id) },
			.size = 8,
			.expected = { check == CHECK_MSR ? vcpu->expected.value[id]
							 : observed | bits },
			/* Of a control register the lost bits decide whether this is news. */
			.observed = { observed, check == CHECK_MSR ? 0 : bits },
		};

		if (bits)
			look_report(look, vcpu, &difference);
	}
	look_sweep(look, check, (int)vcpu->id, -1, false);
}

static void judge_breakpoints(struct look *look, const struct guest_vcpu *vcpu)
{
	look->reported = 0;
	for (unsigned int i = 0; i < DEBUG_REGISTERS; i++) {
		struct difference difference = {
			.object = { .check = CHECK_DR,
				    .kind = OBJECT_DEBUG_REGISTER,
				    .vcpu = (int)vcpu->id,
				    .index = i },
			.size = 8,
			.observed = { vcpu->registers.dr[i],
				      breakpoint_control(vcpu->registers.dr7, i) },
		};

		if (breakpoint_in_kernel(&vcpu->registers, &look->guest->kernel, i))
			look_report(look, vcpu, &difference);
	}
	look_sweep(look, CHECK_DR, (int)vcpu->id, -1, false);
}

static void judge_msrs(struct look *look, struct guest_vcpu *vcpu)
{
	const struct ka_registers *registers = &vcpu->registers;

	look->reported = 0;
	if (registers->flags & KA_REGISTERS_NO_MSRS) {
		coverage_set(&vcpu->coverage[CHECK_MSR], COVERAGE_UNOBSERVABLE, no_msrs,
			     look->real_ns);
		return;
	}
	if (registers_own_msrs(registers)) {
		if (!vcpu->msrs_known)
			learn_msrs(look->guest, vcpu);
		judge_range(look, vcpu, CHECK_MSR, 0, REGISTER_MSRS);
	}
	if (!registers_own_msrs(registers))
		look_done(look, vcpu, CHECK_MSR, COVERAGE_SAMPLED, lent_msrs);
	else
		look_done(look, vcpu, CHECK_MSR, COVERAGE_OBSERVED,
			  registers->flags & KA_REGISTERS_NO_VMCS ? no_sysenter : NULL);
}

void judge_registers(struct look *look, struct guest_vcpu *vcpu)
{
	judge_msrs(look, vcpu);
	judge_range(look, vcpu, CHECK_CR, REGISTER_MSRS, REGISTERS);
	look_done(look, vcpu, CHECK_CR,
		  look->guest->watch->push_exact ? COVERAGE_OBSERVED : COVERAGE_SAMPLED,
		  look->guest->watch->push_exact ? NULL : look->guest->watch->push_reason);
	judge_breakpoints(look, vcpu);
	look_done(look, vcpu, CHECK_DR, COVERAGE_OBSERVED, NULL);
}

void judge_pushed_registers(struct look *look, struct guest_vcpu *vcpu, uint32_t changed)
{
	if (changed & (KA_CHANGED_LSTAR | KA_CHANGED_MSRS) && msrs_judged(vcpu))
		judge_range(look, vcpu, CHECK_MSR, 0, REGISTER_MSRS);
	if (changed & (KA_CHANGED_CR0 | KA_CHANGED_CR4 | KA_CHANGED_EFER))
		judge_range(look, vcpu, CHECK_CR, REGISTER_MSRS, REGISTERS);
}

/* Is there something to judge in what was pushed? */
bool guest_registers_pushed(const struct guest_vcpu *vcpu, uint32_t changed)
{
	return (changed & (KA_CHANGED_LSTAR | KA_CHANGED_MSRS) && msrs_judged(vcpu)) ||
	       (changed & (KA_CHANGED_CR4 | KA_CHANGED_EFER) &&
		range_differs(vcpu, REGISTER_MSRS, REGISTERS));
}
