/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The text that a Linux kernel leaves in its memory for crash dumps: where it lies, which build it
 * is, and since 6.0 where its kallsyms tables are (Documentation/admin-guide/kdump/vmcoreinfo.rst).
 *
 * It fills at most one page of its own, from the page's first byte on. It is the guest's word.
 */
#ifndef KVMACCESS_VMCOREINFO_H
#define KVMACCESS_VMCOREINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kallsyms.h"

#define VMCOREINFO_MAGIC "OSRELEASE="

enum { VMCOREINFO_MAX = 4096, VMCOREINFO_BUILD_ID = 20 };

/* All addresses are those of the running kernel. */
struct vmcoreinfo {
	char release[65];
	uint8_t build_id[VMCOREINFO_BUILD_ID];
	bool has_build_id; /* since 5.10 */
	bool has_kallsyms; /* since 6.0 */
	int64_t phys_base;
	uint64_t slide; /* KERNELOFFSET: 0 without KASLR */
	uint64_t stext;
	uint64_t root; /* init_top_pgt, in older and 32-bit kernels swapper_pg_dir */
	struct kallsyms_tables kallsyms;
};

/*
 * Reads the text up to a NUL byte or @len. Lines that it does not know are passed over. -EBADMSG:
 * not such a text, a value that is none, or one that stands there twice; -ENODATA: it does not say
 * where the kernel lies.
 */
int vmcoreinfo_parse(const char *text, size_t len, struct vmcoreinfo *ret_info);

#endif
