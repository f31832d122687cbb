// SPDX-License-Identifier: GPL-2.0-only
/* Finds, once, where KVM for Intel keeps the guest's MSRs: the order is its own, by CPU and version. */
#include "vmlinux/kvm.h"
#include <bpf/bpf_helpers.h>
#include "kvmbpf/records.h"

char LICENSE[] SEC("license") = "GPL";

enum { URET_MSRS_MAX = 16 }; /* KVM_MAX_NR_USER_RETURN_MSRS */

__u8 slots[KVMBPF_URET_MSRS];

/* Intel SDM vol. 4, table 2-2. */
static __always_inline int which(__u32 msr)
{
	switch (msr) {
	case 0xc0000081:
		return KVMBPF_STAR;
	case 0xc0000082:
		return KVMBPF_LSTAR;
	case 0xc0000083:
		return KVMBPF_CSTAR;
	case 0xc0000084:
		return KVMBPF_SFMASK;
	default:
		return KVMBPF_URET_MSRS;
	}
}

SEC("syscall")
int find_slots(void *ctx)
{
	static const char name[] = "kvm_uret_msrs_list";
	__u32 msrs[URET_MSRS_MAX];
	__u64 list;
	long err;

	err = bpf_kallsyms_lookup_name(name, sizeof(name), 0, &list);
	if (!err)
		err = bpf_probe_read_kernel(msrs, sizeof(msrs), (void *)list);
	if (err)
		return err;
	for (int i = 0; i < URET_MSRS_MAX; i++) {
		int msr = which(msrs[i]);

		if (msr < KVMBPF_URET_MSRS)
			slots[msr] = 1 + i;
	}
	return 0;
}
