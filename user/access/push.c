// SPDX-License-Identifier: LGPL-2.1-or-later
/* Chooses and attaches the programs on KVM's exits and on vcpu_load. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>

#include "push.h"

const struct push_load_way push_load_ways[] = {
	[LOAD_FENTRY] = { KA_FEATURE_ON, "fentry on kvm_arch_vcpu_load" },
	[LOAD_KPROBE] = { KA_FEATURE_FALLBACK, "kprobe on kvm_arch_vcpu_load (no fentry here)" },
	[LOAD_ENTRY] = { KA_FEATURE_FALLBACK,
			 "tracepoint kvm_entry (no fentry and no kprobe here)" },
	[LOAD_NONE] = { KA_FEATURE_OFF,
			"no fentry, kprobe or kvm_entry: changes are seen at exits and by polling" },
};

/* Kinds of programs, by what they hang on. */
static const char *const load_kinds[] = {
	[LOAD_FENTRY] = "load",
	[LOAD_KPROBE] = "probe",
	[LOAD_ENTRY] = "entry",
};

struct bpf_program *push_program(const struct bpf_object *object, enum ka_vendor vendor,
				 const char *kind)
{
	static const char *const vendors[] = {
		[KA_VENDOR_NONE] = "none",
		[KA_VENDOR_SVM] = "svm",
		[KA_VENDOR_VMX] = "vmx",
		[KA_VENDOR_PVM] = "pvm",
	};
	char name[32];

	snprintf(name, sizeof(name), "%s_%s", kind, vendors[vendor]);
	return bpf_object__find_program_by_name(object, name);
}

void push_choose(const struct bpf_object *object, enum ka_vendor vendor, enum load_way way)
{
	struct bpf_program *program = push_program(object, vendor, "exit");

	if (program)
		bpf_program__set_autoload(program, true);
	program = way == LOAD_NONE ? NULL : push_program(object, vendor, load_kinds[way]);
	if (program)
		bpf_program__set_autoload(program, true);
}

static int attach(const struct bpf_object *object, enum ka_vendor vendor, const char *kind,
		  struct bpf_link **ret_link)
{
	struct bpf_program *program = push_program(object, vendor, kind);
	struct bpf_link *link;

	if (!program)
		return -EOPNOTSUPP;
	link = bpf_program__attach(program);
	if (!link)
		return -errno;
	*ret_link = link;
	return 0;
}

int push_attach(const struct bpf_object *object, enum ka_vendor vendor, enum load_way way,
		struct push *ret_push)
{
	struct push push = {0};
	int err;

	err = attach(object, vendor, "exit", &push.exit);
	if (!err && way != LOAD_NONE)
		err = attach(object, vendor, load_kinds[way], &push.load);
	if (err)
		push_detach(&push);
	else
		*ret_push = push;
	return err;
}

void push_detach(struct push *push)
{
	bpf_link__destroy(push->exit);
	bpf_link__destroy(push->load);
	*push = (struct push){0};
}
