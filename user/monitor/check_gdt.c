// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Compares GDTs by the layouts of arch/x86/include/asm/segment.h. Descriptor bits as in Intel SDM
 * vol. 3A, 3.4.5 and 7.2.3.
 */
#include "check_gdt.h"

#include "cleanup.h"

#include <string.h>

static const struct gdt_range linux64[] = {
	{ 8, 8, GDT_TSS },     { 9, 9, GDT_UPPER }, { 10, 10, GDT_LDT },
	{ 11, 11, GDT_UPPER }, { 12, 14, GDT_TLS }, { 15, 15, GDT_PER_CPU },
};

static const struct gdt_range linux32[] = {
	{ 6, 8, GDT_TLS },	 { 16, 16, GDT_TSS },
	{ 17, 17, GDT_LDT },	 { 18, 22, GDT_MOVING }, /* PNP BIOS */
	{ 23, 25, GDT_MOVING },				 /* APM BIOS */
	{ 26, 26, GDT_MOVING },	 /* espfix: its base is patched on each use */
	{ 27, 28, GDT_PER_CPU }, /* per-CPU data; stack canary or CPU number */
	{ 31, 31, GDT_TSS },	 /* double fault */
};

/* Another system: nothing is known to be the same elsewhere, and task switches set busy bits. */
static const struct gdt_range other[] = { { 0, 255, GDT_TSS } };

static const struct gdt_layout layouts[] = {
	{ "linux64", true, 127, linux64, array_size(linux64) },
	{ "linux32", false, 255, linux32, array_size(linux32) },
	{ "other64", true, 0, other, array_size(other) },
	{ "other32", false, 0, other, array_size(other) },
};

const struct gdt_layout *gdt_layout(bool long_mode, uint32_t limit)
{
	for (size_t i = 0; i < array_size(layouts); i++)
		if (layouts[i].long_mode == long_mode &&
		    (!layouts[i].limit || layouts[i].limit == limit))
			return &layouts[i];
	return &layouts[array_size(layouts) - 1];
}

enum gdt_rule gdt_rule(const struct gdt_layout *layout, unsigned int index)
{
	for (size_t i = 0; i < layout->count; i++)
		if (index >= layout->ranges[i].first && index <= layout->ranges[i].last)
			return layout->ranges[i].rule;
	return GDT_FIXED;
}

#define BIT(n) (1ull << (n))
static const uint64_t bit_accessed = BIT(40), bit_busy = BIT(41), bit_code = BIT(43),
		      bit_user = BIT(44) /* S: neither system segment nor gate */,
		      bit_present = BIT(47), bit_long = BIT(53);

static unsigned int raw_type(uint64_t raw)
{
	return raw >> 40 & 15;
}

static unsigned int raw_dpl(uint64_t raw)
{
	return raw >> 45 & 3;
}

/* Without what the CPU sets by itself: accessed, and the busy bit of a TSS. */
static uint64_t raw_settled(uint64_t raw, bool tss)
{
	if (raw & bit_user)
		return raw & ~bit_accessed;
	if (tss && (raw_type(raw) == 0xb || raw_type(raw) == 0x3))
		return raw & ~bit_busy;
	return raw;
}

static bool ldt_allowed(const uint64_t raw[2], bool long_mode)
{
	if (!raw[0] && (!long_mode || !raw[1]))
		return true;
	if ((raw[0] & bit_user) || raw_type(raw[0]) != 2 || raw_dpl(raw[0]) ||
	    !(raw[0] & bit_present))
		return false;
	/* The upper half of the descriptor is base 63:32 and reserved zeros. */
	return !long_mode || (!(raw[1] >> 32) && (raw[1] & BIT(31)));
}

static bool tls_allowed(uint64_t raw)
{
	if (!raw)
		return true;
	return (raw & bit_user) && raw_dpl(raw) == 3 && !((raw & bit_code) && (raw & bit_long));
}

/* All but base and limit. */
static bool moving_allowed(uint64_t expected, uint64_t observed)
{
	const uint64_t fixed = 0x00f0ff0000000000ull & ~bit_accessed;

	return (expected & bit_user) && (expected & fixed) == (observed & fixed);
}

static bool entry_allowed(const struct gdt_layout *layout, unsigned int index,
			  const uint64_t expected[2], const uint64_t observed[2])
{
	bool wide = layout->long_mode && gdt_rule(layout, index + 1) == GDT_UPPER;

	switch (gdt_rule(layout, index)) {
	case GDT_LDT:
		return ldt_allowed(observed, layout->long_mode);
	case GDT_TLS:
		return tls_allowed(observed[0]);
	case GDT_MOVING:
		return expected[0] == observed[0] || moving_allowed(expected[0], observed[0]);
	case GDT_TSS:
		return raw_settled(expected[0], true) == raw_settled(observed[0], true) &&
		       (!wide || expected[1] == observed[1]);
	case GDT_UPPER: /* judged with the one before */
		return true;
	case GDT_FIXED:
	case GDT_PER_CPU:
		break;
	}
	return raw_settled(expected[0], false) == raw_settled(observed[0], false);
}

/* A descriptor and the one behind it, which may be its upper half. */
static void entry_get(const uint8_t *bytes, size_t len, size_t at, uint64_t ret_raw[2])
{
	ret_raw[0] = ret_raw[1] = 0;
	memcpy(ret_raw, bytes + at, at + 16 <= len ? 16 : 8);
}

size_t gdt_differences(const struct gdt_layout *layout, const uint8_t *expected,
		       const uint8_t *observed, size_t len, uint16_t *ret_index, size_t max)
{
	uint64_t want[2], is[2];
	size_t found = 0;

	for (size_t at = 0; at + 8 <= len; at += 8) {
		entry_get(expected, len, at, want);
		entry_get(observed, len, at, is);
		if (entry_allowed(layout, (unsigned int)(at / 8), want, is))
			continue;
		if (found < max)
			ret_index[found] = (uint16_t)(at / 8);
		found++;
	}
	return found;
}

void gdt_settle(const struct gdt_layout *layout, uint8_t *bytes, size_t len)
{
	uint64_t raw[2];
	bool ldt = false;

	for (size_t at = 0; at + 8 <= len; at += 8) {
		enum gdt_rule rule = gdt_rule(layout, (unsigned int)(at / 8));

		entry_get(bytes, len, at, raw);
		/* An upper half is no descriptor, and belongs to what stands before it. */
		if (rule != GDT_UPPER) {
			ldt = rule == GDT_LDT;
			raw[0] = raw_settled(raw[0], rule == GDT_TSS);
		}
		if (rule == GDT_TLS || ldt)
			raw[0] = 0;
		memcpy(bytes + at, raw, 8);
	}
}
