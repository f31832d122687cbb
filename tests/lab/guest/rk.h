/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the rootkits of the lab share: one technique a module, harmless, on while it is loaded. What
 * cannot be unloaded ends by itself after its parameter for_ms. The kernel's log says when, as
 * `rk NAME on` and `rk NAME off`; ../techniques says what is to be found.
 */
#ifndef LAB_GUEST_RK_H
#define LAB_GUEST_RK_H

#include <linux/kprobes.h>
#include <linux/module.h>

/* kallsyms_lookup_name() is not exported; a kprobe finds it. */
static inline unsigned long rk_lookup(const char *name)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	unsigned long (*lookup)(const char *name);

	if (register_kprobe(&probe))
		return 0;
	lookup = (void *)probe.addr;
	unregister_kprobe(&probe);
	return lookup(name);
}

/* The instant from which ../judge counts. */
#define rk_say(word) pr_alert("rk %s %s\n", KBUILD_MODNAME + sizeof("rk_") - 1, word)

/* `on` returns 0 or -errno; -EOPNOTSUPP: this kernel cannot be attacked so. */
#define RK_MODULE(name, on, off)                                                                   \
	static int __init rk_init(void)                                                            \
	{                                                                                          \
		int err = on();                                                                    \
                                                                                                   \
		if (!err)                                                                          \
			pr_alert("rk " #name " on\n");                                             \
		else if (err == -EOPNOTSUPP)                                                       \
			pr_alert("rk " #name " unsupported\n");                                    \
		return err;                                                                        \
	}                                                                                          \
	static void __exit rk_exit(void)                                                           \
	{                                                                                          \
		off();                                                                             \
		pr_alert("rk " #name " off\n");                                                    \
	}                                                                                          \
	module_init(rk_init);                                                                      \
	module_exit(rk_exit);                                                                      \
	MODULE_DESCRIPTION("The technique " #name " of rootkits, for tests");                      \
	MODULE_LICENSE("GPL")

#endif
