/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tells what becomes of a guest as events. */
#ifndef MONITOR_REPORT_H
#define MONITOR_REPORT_H

#include "guest.h"

struct kept_finding;

void report_discovered(const struct guest *guest);
void report_gone(const struct guest *guest, const char *reason);
void report_baseline(const struct guest *guest, uint64_t real_ns, uint64_t mono_ns);
/* With what the guest's policy does about it. */
void report_violation(struct guest *guest, const struct finding *finding);
/* The same, by writes that were told. */
void report_written(struct guest *guest, const struct finding *finding,
		    const struct fold *fold);
/* What would be told if it ended now; the caller has the reference. */
json_t *report_end(const struct guest *guest, const struct finding *finding);
/* One of the monitor before that is no more; takes the reference on its event. */
void report_kept(const struct guest *guest, const struct kept_finding *kept, uint64_t real_ns,
		 uint64_t mono_ns);
void report_restored(const struct guest *guest, const struct finding *finding,
		     const char *restored_to, uint64_t real_ns, uint64_t mono_ns);
/* The same, by a write. */
void report_rewritten(const struct guest *guest, const struct finding *finding,
		      const struct fold *fold);
/* What changed in how well the checks are seen since the last call; nothing if nothing did. */
void report_coverage(struct guest *guest);

/* "IDT gate 4 (asm_exc_overflow)": what differs, for people. */
void report_object_text(const struct guest *guest, const struct difference *difference, char *buf,
			size_t size);
/* The VM as in each event about it. */
json_t *report_vm(const struct guest *guest);
/* One entry of monitor.health: a check of a vCPU (NULL: of the guest as a whole), with the cycles since the last one. */
json_t *report_check_state(const struct guest *guest, const struct guest_vcpu *vcpu,
			   enum check_id check);

/* A module or an eBPF program of the guest's kernel came or went. */
void report_change(const struct guest *guest, const struct audit_change *change);

#endif
