// SPDX-License-Identifier: GPL-2.0-only
/* Guest state of the VMCS that is current on this CPU. */
#include <linux/io.h>
#include <asm/asm.h>
#include <asm/cpufeature.h>
#include <asm/vmx.h>

#include "kvmbpf.h"

/* Outside VMX operation both instructions fault (SDM vol. 3C, 30.3), and anyone may call us there. */
static bool vmptrst(u64 *ret_address)
{
	asm goto("1: vmptrst %0\n"
		 _ASM_EXTABLE(1b, %l[fault])
		 : : "m"(*ret_address) : "memory", "cc" : fault);
	return true;
fault:
	return false;
}

static bool vmread(unsigned long field, unsigned long *ret_value)
{
	asm goto("1: vmread %1, %0\n"
		 "jna %l[failed]\n"
		 _ASM_EXTABLE(1b, %l[failed])
		 : : "m"(*ret_value), "r"(field) : "memory", "cc" : failed);
	return true;
failed:
	return false;
}

#define FIELD(field, member) { field, offsetof(struct kvmbpf_vmcs, member), \
			       sizeof_field(struct kvmbpf_vmcs, member) }

static const struct {
	u32 field;
	u16 offset, size;
} fields[] = {
	FIELD(GUEST_CR0, cr0),
	FIELD(CR0_GUEST_HOST_MASK, cr0_mask),
	FIELD(CR0_READ_SHADOW, cr0_shadow),
	FIELD(GUEST_CR4, cr4),
	FIELD(CR4_GUEST_HOST_MASK, cr4_mask),
	FIELD(CR4_READ_SHADOW, cr4_shadow),
	FIELD(GUEST_CR3, cr3),
	FIELD(GUEST_RIP, rip),
	FIELD(GUEST_RSP, rsp),
	FIELD(GUEST_RFLAGS, rflags),
	FIELD(GUEST_GDTR_BASE, gdt_base),
	FIELD(GUEST_IDTR_BASE, idt_base),
	FIELD(GUEST_GDTR_LIMIT, gdt_limit),
	FIELD(GUEST_IDTR_LIMIT, idt_limit),
	FIELD(GUEST_FS_BASE, fs_base),
	FIELD(GUEST_GS_BASE, gs_base),
	FIELD(GUEST_SYSENTER_ESP, sysenter_esp),
	FIELD(GUEST_SYSENTER_EIP, sysenter_eip),
	FIELD(GUEST_SYSENTER_CS, sysenter_cs),
	FIELD(GUEST_SS_AR_BYTES, ss_access),
};

static int read_fields(struct kvmbpf_vmcs *vmcs)
{
	unsigned long value;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!vmread(fields[i].field, &value))
			return -EIO;
		/* x86 is little endian: the low bytes are the value. */
		memcpy((void *)vmcs + fields[i].offset, &value, fields[i].size);
	}
	for (i = 0; i < ARRAY_SIZE(vmcs->selector); i++) {
		if (!vmread(GUEST_ES_SELECTOR + 2 * i, &value))
			return -EIO;
		vmcs->selector[i] = value;
	}
	return 0;
}

__bpf_kfunc int kvmbpf_vmcs_read(u64 vmcs, struct kvmbpf_vmcs *ret_vmcs)
{
	struct kvmbpf_vmcs read = {};
	u64 current_vmcs;
	int err;

	if (!boot_cpu_has(X86_FEATURE_VMX))
		return -EOPNOTSUPP;
	if (preemptible()) /* the VMCS belongs to the CPU */
		return -EAGAIN;
	if (!vmptrst(&current_vmcs))
		return -EOPNOTSUPP;
	/* ~0: none is current. */
	if (current_vmcs == ~0ULL || (u64)phys_to_virt(current_vmcs) != vmcs)
		return -EXDEV;
	err = read_fields(&read);
	if (!err)
		*ret_vmcs = read;
	return err;
}
