// SPDX-License-Identifier: GPL-2.0-only
/* Which functions BPF programs of which type may call. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bpf.h>
#include <linux/module.h>

#include "kvmbpf.h"

/* Any context. */
BTF_KFUNCS_START(tracing_kfuncs)
BTF_ID_FLAGS(func, kvmbpf_vm_find, KF_ACQUIRE | KF_RET_NULL)
BTF_ID_FLAGS(func, kvmbpf_vm_release, KF_RELEASE)
BTF_ID_FLAGS(func, kvmbpf_gva_read_nofault, KF_TRUSTED_ARGS)
BTF_ID_FLAGS(func, kvmbpf_vmcs_read, KF_TRUSTED_ARGS)
BTF_ID_FLAGS(func, kvmbpf_tracker_release, KF_RELEASE)
BTF_ID_FLAGS(func, kvmbpf_tracked_compare)
BTF_ID_FLAGS(func, kvmbpf_tracking_stop)
BTF_KFUNCS_END(tracing_kfuncs)

BTF_KFUNCS_START(syscall_kfuncs)
BTF_ID_FLAGS(func, kvmbpf_vm_acquire, KF_ACQUIRE | KF_RET_NULL | KF_SLEEPABLE)
BTF_ID_FLAGS(func, kvmbpf_vm_find, KF_ACQUIRE | KF_RET_NULL)
BTF_ID_FLAGS(func, kvmbpf_vm_release, KF_RELEASE)
BTF_ID_FLAGS(func, kvmbpf_gva_read, KF_TRUSTED_ARGS | KF_SLEEPABLE)
BTF_ID_FLAGS(func, kvmbpf_gva_read_nofault, KF_TRUSTED_ARGS)
BTF_ID_FLAGS(func, kvmbpf_gva_write, KF_TRUSTED_ARGS | KF_SLEEPABLE)
BTF_ID_FLAGS(func, kvmbpf_vmcs_read, KF_TRUSTED_ARGS)
BTF_ID_FLAGS(func, kvmbpf_vcpu_wake, KF_TRUSTED_ARGS | KF_SLEEPABLE)
BTF_ID_FLAGS(func, kvmbpf_tracker_acquire,
	     KF_ACQUIRE | KF_RET_NULL | KF_TRUSTED_ARGS | KF_SLEEPABLE)
BTF_ID_FLAGS(func, kvmbpf_tracker_release, KF_RELEASE)
BTF_ID_FLAGS(func, kvmbpf_tracker_pid, KF_TRUSTED_ARGS | KF_SLEEPABLE)
BTF_ID_FLAGS(func, kvmbpf_tracker_restart, KF_TRUSTED_ARGS | KF_SLEEPABLE)
BTF_ID_FLAGS(func, kvmbpf_track, KF_TRUSTED_ARGS | KF_SLEEPABLE)
BTF_ID_FLAGS(func, kvmbpf_tell_writes, KF_TRUSTED_ARGS | KF_SLEEPABLE)
BTF_ID_FLAGS(func, kvmbpf_told_next, KF_TRUSTED_ARGS | KF_SLEEPABLE)
BTF_ID_FLAGS(func, kvmbpf_untrack, KF_TRUSTED_ARGS | KF_SLEEPABLE)
BTF_ID_FLAGS(func, kvmbpf_tracked_at, KF_TRUSTED_ARGS | KF_SLEEPABLE)
BTF_ID_FLAGS(func, kvmbpf_tracked_compare)
BTF_ID_FLAGS(func, kvmbpf_tracking_stop)
BTF_KFUNCS_END(syscall_kfuncs)

static const struct btf_kfunc_id_set tracing_set = {
	.owner = THIS_MODULE,
	.set = &tracing_kfuncs,
};

static const struct btf_kfunc_id_set syscall_set = {
	.owner = THIS_MODULE,
	.set = &syscall_kfuncs,
};

/* What a map that is freed, in whatever context, calls for what programs left in it. */
__bpf_kfunc void kvmbpf_vm_dtor(void *vm);
__bpf_kfunc void kvmbpf_vm_dtor(void *vm)
{
	kvmbpf_vm_release(vm);
}
CFI_NOSEAL(kvmbpf_vm_dtor);

__bpf_kfunc void kvmbpf_tracker_dtor(void *tracker);
__bpf_kfunc void kvmbpf_tracker_dtor(void *tracker)
{
	kvmbpf_tracker_release(tracker);
}
CFI_NOSEAL(kvmbpf_tracker_dtor);

BTF_ID_LIST(dtor_ids)
BTF_ID(struct, kvmbpf_vm_handle)
BTF_ID(func, kvmbpf_vm_dtor)
BTF_ID(struct, kvmbpf_tracker)
BTF_ID(func, kvmbpf_tracker_dtor)

static int __init register_kfuncs(void)
{
	const struct btf_id_dtor_kfunc dtors[] = {
		{ .btf_id = dtor_ids[0], .kfunc_btf_id = dtor_ids[1] },
		{ .btf_id = dtor_ids[2], .kfunc_btf_id = dtor_ids[3] },
	};

	return register_btf_id_dtor_kfuncs(dtors, ARRAY_SIZE(dtors), THIS_MODULE) ?:
	       register_btf_kfunc_id_set(BPF_PROG_TYPE_TRACING, &tracing_set) ?:
	       register_btf_kfunc_id_set(BPF_PROG_TYPE_SYSCALL, &syscall_set);
}

/* Without its types, which a build needs the kernel's own for, no program could call the module. */
static bool __init has_btf(void)
{
#ifdef CONFIG_DEBUG_INFO_BTF_MODULES
	return THIS_MODULE->btf_data_size != 0;
#else
	return false;
#endif
}

static int __init helper_init(void)
{
	int err;

	if (!has_btf()) {
		pr_err("not loaded: built without BTF, so no BPF program could call it (the build needs pahole, resolve_btfids and the kernel's vmlinux)\n");
		return -EOPNOTSUPP;
	}
	err = vm_init();
	if (err)
		return err;
	err = register_kfuncs();
	if (err) {
		pr_err("not loaded: the kernel refused its functions for BPF: %d\n", err);
		vm_exit();
	}
	return err;
}

static void __exit helper_exit(void)
{
	vm_exit();
}

module_init(helper_init);
module_exit(helper_exit);
MODULE_DESCRIPTION("What kvmbpf-monitor's BPF programs cannot do themselves: VMREAD, guest page walks, write tracking");
MODULE_VERSION(KVMBPF_VERSION);
MODULE_LICENSE("GPL");
