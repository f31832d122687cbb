/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a tiny guest's memory and registers hold when it starts. */
#ifndef TESTS_NATIVE_GUEST_IMAGE_H
#define TESTS_NATIVE_GUEST_IMAGE_H

#include <linux/kvm.h>

#include "tinyvm.h"

/* Page tables, descriptor tables and code, into the first GUEST_MEMORY_MIN of zeroed memory. */
void guest_image_write(uint8_t *ram, enum tinyvm_mode mode, unsigned int vcpus);
/* Changes what KVM_GET_SREGS gave of a fresh vCPU to what its loop runs with. */
void guest_image_sregs(enum tinyvm_mode mode, unsigned int vcpu, struct kvm_sregs *sregs);
void guest_image_regs(enum tinyvm_mode mode, unsigned int vcpu, struct kvm_regs *regs);
/* Where LSTAR or SYSENTER_EIP points. */
uint64_t guest_image_syscall(enum tinyvm_mode mode);
/* Where a vector's handler lies. */
uint64_t guest_image_handler(enum tinyvm_mode mode, unsigned int vector);

#endif
