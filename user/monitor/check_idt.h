/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compares IDTs, and knows which gates differ between boots of one kernel. */
#ifndef MONITOR_CHECK_IDT_H
#define MONITOR_CHECK_IDT_H

#include <kvmaccess.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a gate. */
unsigned int idt_gate_size(bool long_mode);

/* Vectors whose gates differ. Returns how many, and fills at most `max`. */
size_t idt_differences(bool long_mode, const uint8_t *expected, const uint8_t *observed, size_t len,
		       uint16_t *ret_index, size_t max);

/* Handler and the rest of a gate of either form, without its decoding. */
uint64_t idt_gate_handler(bool long_mode, const uint64_t raw[2]);
void idt_gate_set_handler(bool long_mode, uint64_t raw[2], uint64_t handler);
bool idt_gate_present(const uint64_t raw[2]);

/* Is there a handler, and does it lie outside of the kernel's text? */
bool idt_gate_outside_text(const struct ka_kernel *kernel, bool long_mode, const uint64_t raw[2]);

/* A gate of an exception that no CPU raises, which still leads to its stub of early boot. */
bool idt_gate_is_early(const struct ka_kernel *kernel, bool long_mode, unsigned int vector,
		       const uint64_t raw[2]);

/*
 * At the baseline of a boot: may this gate differ from what the same kernel build had elsewhere?
 * System vectors depend on the CPU, the hypervisor and the command line; what they lead to is
 * then another entry point of the kernel, or the stub of an unused vector.
 */
bool idt_gate_may_differ(const struct ka_kernel *kernel, bool long_mode, unsigned int vector,
			 const uint64_t stored[2], const uint64_t observed[2]);

#endif
