/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a guest's kernel has recorded of code that it put into its text while it runs. */
#ifndef KVMACCESS_TRACING_H
#define KVMACCESS_TRACING_H

#include "kvmaccess.h"

enum { TRACING_COPIED_BYTES = 4 };

/* All addresses are link-time, also those outside of the image. */
struct tracing_probe {
	uint64_t address;
	uint64_t gva;  /* of its struct kprobe, not moved: stands in the code of its slot */
	uint64_t slot; /* where the probe's own code lies; 0: it has none */
	uint64_t size; /* bytes of the text that were copied there */
	uint8_t opcode;
	uint8_t copied[TRACING_COPIED_BYTES]; /* what stood behind the opcode, where there is a slot */
};

struct tracing_direct {
	uint64_t place, target;
};

enum tracing_range_kind { TRACING_TRAMPOLINE, TRACING_DISPATCHER, TRACING_MODULE };

struct tracing_range {
	uint64_t start, end;
	enum tracing_range_kind kind;
};

struct ka_tracing {
	struct tracing_probe *probes; /* by address */
	struct tracing_direct *directs;
	struct tracing_range *ranges;
	size_t probe_count, direct_count, range_count;
	size_t probe_room, direct_room, range_room;
};

/* `tracing` may be NULL: nothing is recorded. First probe at or above an address. */
size_t tracing_probe_from(const struct ka_tracing *tracing, uint64_t address);
/* Has ftrace a direct call there, and is the target a trampoline of BPF's? */
bool tracing_has_direct(const struct ka_tracing *tracing, uint64_t place, uint64_t target);
bool tracing_in_range(const struct ka_tracing *tracing, enum tracing_range_kind kind,
		      uint64_t address);

#endif
