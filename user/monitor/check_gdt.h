/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What may change by itself in a GDT, and what may not. */
#ifndef MONITOR_CHECK_GDT_H
#define MONITOR_CHECK_GDT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum gdt_rule {
	GDT_FIXED, /* of the kernel build: same on all vCPUs and boots, but for the accessed bit */
	GDT_PER_CPU, /* fixed for one vCPU of one boot */
	GDT_TSS,     /* as GDT_PER_CPU, and its busy bit flips with each task switch or LTR */
	GDT_LDT,     /* none, or an LDT anywhere in the kernel's half */
	GDT_TLS,     /* none, or user segments: what set_thread_area(2) can make */
	GDT_MOVING,  /* base and limit are set before each use: BIOS calls and espfix of 32-bit
			kernels */
	GDT_UPPER,   /* second half of the one before */
};

struct gdt_range {
	uint8_t first, last;
	enum gdt_rule rule;
};

struct gdt_layout {
	const char *name;
	bool long_mode;
	uint32_t limit;
	const struct gdt_range *ranges;
	size_t count;
};

/* The layout of a GDT with this limit: Linux's, or one where everything is per CPU. */
const struct gdt_layout *gdt_layout(bool long_mode, uint32_t limit);
enum gdt_rule gdt_rule(const struct gdt_layout *layout, unsigned int index);

/*
 * Indices of the descriptors of `observed` that are neither as `expected` nor differ in a way that
 * their rule allows. Returns how many, and fills at most `max`.
 */
size_t gdt_differences(const struct gdt_layout *layout, const uint8_t *expected,
		       const uint8_t *observed, size_t len, uint16_t *ret_index, size_t max);

/* Brings a GDT into the form that is expected of it: without what changes by itself. */
void gdt_settle(const struct gdt_layout *layout, uint8_t *bytes, size_t len);

#endif
