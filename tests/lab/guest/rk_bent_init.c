// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bends a pointer among what the kernel wrote while it started and made read-only then: the
 * machine's clock is read by another function of the kernel itself.
 */
#include <linux/mm.h>

#include <asm/x86_init.h>

#include "rk.h"
#include "rk_text.h"

static struct x86_platform_ops *table;
static void (*original)(struct timespec64 *now);

static int on(void)
{
	void (*other)(struct timespec64 * now) = (void *)rk_lookup("mach_get_cmos_time");

	table = (void *)rk_lookup("x86_platform");
	if (!table || !other)
		return -ENOENT;
	original = table->get_wallclock;
	if (original == other)
		return -EOPNOTSUPP;
	return rk_write_text(&table->get_wallclock, &other, sizeof(original));
}

static void off(void)
{
	rk_write_text(&table->get_wallclock, &original, sizeof(original));
}

RK_MODULE(bent_init, on, off);
