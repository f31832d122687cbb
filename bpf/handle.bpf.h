/* SPDX-License-Identifier: GPL-2.0-only */
/* How programs come to a VM's handle of the module kvmbpf_helper, and keep references in maps. */
#ifndef KVMBPF_HANDLE_H
#define KVMBPF_HANDLE_H

#include "kvmbpf/helper.h"

/*
 * Marks a member that holds a reference. libbpf's __kptr was another tag before 1.2; clang 14 drops
 * a tag that stands before a struct, so the type goes by a typedef.
 */
#define KPTR __attribute__((btf_type_tag("kptr")))

/* By descriptor, held against the address that it should have. */
static __always_inline struct kvmbpf_vm_handle *handle_acquire(__s32 fd, __u64 kvm)
{
	struct kvmbpf_vm_handle *by_fd = kvmbpf_vm_acquire(fd), *vm;

	if (!by_fd)
		return NULL;
	vm = kvmbpf_vm_find(kvm);
	kvmbpf_vm_release(by_fd);
	return vm;
}

#endif
