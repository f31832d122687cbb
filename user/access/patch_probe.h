/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Breakpoints and jumps of kprobes, held against the guest's record of them. Pure code. */
#ifndef KVMACCESS_PATCH_PROBE_H
#define KVMACCESS_PATCH_PROBE_H

#include "patch_judge.h"

/* Does the guest's kernel say that it has probes there? */
bool patch_has_probes(const struct ka_text_boot *boot, uint64_t address, size_t len);
/*
 * Puts back into these bytes of the text what recorded probes replaced there, by their record; what
 * that is, is compared as all else. A jump is put back only where it leads to code that is a probe's.
 */
void patch_undo_probes(const struct patch_judge *judge, struct ka_text_boot *boot,
		       uint64_t address, uint8_t *bytes, size_t len);

/* The code that a slot begins with; without it no jump is a probe's. */
void patch_slot_find(const struct ka_reference *reference, struct patch_slot *ret_slot);

#endif
