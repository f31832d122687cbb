/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One look at a guest: turns the differences that its checks see into findings and events. */
#ifndef MONITOR_LOOK_H
#define MONITOR_LOOK_H

#include "guest.h"

struct look {
	struct guest *guest;
	uint64_t real_ns, mono_ns;
	const char *detected_by;
	unsigned int reported; /* differences of the check at hand */
};

/* Opens a finding, or finds it open. `vcpu` is one that sees it. */
void look_report(struct look *look, const struct guest_vcpu *vcpu, struct difference *difference);
/* Closes what this look has seen to be in order again. */
void look_sweep_scope(struct look *look, const struct finding_scope *scope);
void look_sweep(struct look *look, enum check_id check, int vcpu, int table, bool registers);
/* The check at hand was made; or could not be. */
void look_done(struct look *look, struct guest_vcpu *vcpu, enum check_id check,
	       enum coverage_state state, const char *reason);
void look_failed(struct look *look, struct guest_vcpu *vcpu, enum check_id check, int error);

/* guest_registers.c: MSRs, control and debug registers. */
void judge_registers(struct look *look, struct guest_vcpu *vcpu);
/* Of pushed registers: those that may have changed. */
void judge_pushed_registers(struct look *look, struct guest_vcpu *vcpu, uint32_t changed);

#endif
