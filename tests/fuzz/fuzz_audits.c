// SPDX-License-Identifier: LGPL-2.1-or-later
/* Records of a guest's kernel that an attacker wrote: each look ends, soon, and says no more than
 * fits. */
#include "unit/audit_guest.h"

/* Some bytes that are nobody's follow each symbol. */
#define ka_kernel_symbol_end(kernel, gva, end) ((void)(kernel), *(end) = (gva) + 0x21f, 0)

#include "monitor/audits/code.c"
#include "monitor/audits/ftrace.c"
#include "monitor/audits/ftrace_fprobes.c"
#include "monitor/audits/kprobes.c"
#include "monitor/audits/operations.c"
#include "monitor/audits/operations_lists.c"
#include "monitor/audits/operations_proc.c"
#include "monitor/audits/records.c"
#include "monitor/audits/sockets.c"
#include "monitor/audits/sockets_inet.c"
#include "monitor/audits/sockets_packet.c"
#include "monitor/audits/tracepoints.c"

#include "fuzz.h"

enum { READS_MAX = 2 << 20 };

static const struct audit *const fuzzed[] = { &audit_ftrace, &audit_kprobes, &audit_tracepoints,
					      &audit_operations, &audit_sockets };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct audit_result result;

	for (size_t i = 0; i < sizeof(fuzzed) / sizeof(fuzzed[0]); i++) {
		void *state;
		int err;

		audit_guest_make();
		audit_guest_sockets();
		audit_guest_inet();
		if (len && data[0] & 1)
			audit_guest_fprobes();
		audit_guest.everywhere = true;
		audit_modules_there[0].taints = data && len ? data[0] << 8 : 0;
		/* Behind the lists' beginnings, so that prepare() finds what it needs. */
		if (len)
			memcpy(audit_guest.memory, data, len < 0x800 ? len : 0x800);
		if (len > 0x800)
			memcpy(audit_guest.memory + 0x900, data + 0x800,
			       len - 0x800 < 0x4000 ? len - 0x800 : 0x4000);
		if (fuzzed[i]->prepare(&audit_guest_view, &state))
			continue;
		result.count = 0;
		err = fuzzed[i]->look(state, &audit_guest_view, &result);
		CHECK(!err || err == -EAGAIN || err == -EFAULT || err == -ENOMEM);
		CHECK(audit_guest.reads < READS_MAX);
		for (size_t j = 0; j < result.count && j < AUDIT_DIFFERENCES_MAX; j++) {
			CHECK(strlen(result.differences[j].name) <
			      sizeof(result.differences[j].name));
			CHECK(result.differences[j].problem);
		}
		fuzzed[i]->release(state);
	}
	return 0;
}
