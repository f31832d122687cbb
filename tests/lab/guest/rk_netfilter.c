// SPDX-License-Identifier: GPL-2.0-only
/* Sees each packet that comes in, by a netfilter hook: how magic packets are found. */
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <net/net_namespace.h>

#include "rk.h"

static unsigned int hook(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	return NF_ACCEPT;
}

static const struct nf_hook_ops ops = {
	.hook = hook,
	.pf = NFPROTO_IPV4,
	.hooknum = NF_INET_PRE_ROUTING,
	.priority = NF_IP_PRI_FIRST,
};

static int on(void)
{
	return nf_register_net_hook(&init_net, &ops);
}

static void off(void)
{
	nf_unregister_net_hook(&init_net, &ops);
}

RK_MODULE(netfilter, on, off);
