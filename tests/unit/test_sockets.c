// SPDX-License-Identifier: LGPL-2.1-or-later
/* The audit of sockets, of a made-up guest with two network namespaces and a device. */
#include "audit_guest.h"

#include "monitor/clock.h"

static uint64_t fake_now;
#define clock_mono() (fake_now)

#include "monitor/audits/records.c"
#include "monitor/audits/sockets.c"
#include "monitor/audits/sockets_inet.c"
#include "monitor/audits/sockets_packet.c"

#include <criterion/criterion.h>

#define PTYPE_ALL (MEMORY + 0xd00)
#define NET (MEMORY + 0xc40)
#define OTHER_NET (MEMORY + 0x1800)
#define DEVICE (MEMORY + 0x2000)
#define HANDLER(n) (MEMORY + 0x3000 + (n)*0x100)
#define SOCKET(n) (MEMORY + 0x5000 + (n)*0x100)
#define TICKS (MEMORY + 0xd80)
#define PACKET_RCV (IMAGE + 0x700)

enum { LIST = 0x30, SKLIST = 0x80, DEVICES = 0x90 };

static struct audit_result result;
static void *state;

static void empty(uint64_t head)
{
	audit_word(head, head);
}

static void begin(void)
{
	audit_guest_make();
	audit_guest_sockets();
	audit_guest_inet();
	audit_word(NET + DEVICES, DEVICE + 0x10);
	audit_word(DEVICE + 0x10, NET + DEVICES);
	empty(DEVICE + 0x20);
	empty(DEVICE + 0x30);
	fake_now = NS_PER_S;
	cr_assert_eq(audit_sockets.prepare(&audit_guest_view, &state), 0);
}

static void finish(void)
{
	audit_sockets.release(state);
}

/* The only handler of a list: a packet socket's, in a namespace. */
static void handler_put(uint64_t list, unsigned int n, uint64_t net)
{
	audit_word(list, HANDLER(n) + LIST);
	audit_word(HANDLER(n) + LIST, list);
	audit_word(HANDLER(n), 0x0300);
	audit_word(HANDLER(n) + 0x10, PACKET_RCV);
	audit_word(HANDLER(n) + 0x20, SOCKET(n));
	audit_word(SOCKET(n) + 0x20, net);
	audit_word(SOCKET(n) + 0x28, 1000);
}

static size_t looked(uint64_t later_ms, uint64_t ticks)
{
	static uint64_t all_ticks;

	fake_now += later_ms * NS_PER_MS;
	audit_word(TICKS, all_ticks += ticks);
	result.count = 0;
	cr_assert_eq(audit_sockets.look(state, &audit_guest_view, &result), 0);
	return result.count;
}

TestSuite(sockets, .init = begin, .fini = finish);

Test(sockets, listed_ones_are_silent)
{
	handler_put(PTYPE_ALL, 0, NET);
	handler_put(DEVICE + 0x20, 1, OTHER_NET);
	audit_word(NET + SKLIST, SOCKET(7) + 0x10);
	audit_word(SOCKET(7) + 0x10, SOCKET(0) + 0x10);
	audit_word(OTHER_NET + SKLIST, SOCKET(1) + 0x10);
	cr_assert_eq(looked(0, 0), 0);
	cr_assert_eq(looked(5000, 1000), 0);
}

Test(sockets, hidden_one_is_told_once_it_has_lasted)
{
	handler_put(DEVICE + 0x30, 2, NET);
	audit_word(NET + SKLIST, SOCKET(0) + 0x10);
	cr_assert_eq(looked(0, 0), 0);
	cr_assert_eq(looked(1000, 1000), 0);
	cr_assert_eq(looked(1500, 0), 1);
	cr_expect_str_eq(result.differences[0].name, "packet 0x0003");
	cr_expect_str_eq(result.differences[0].problem, "hidden");
	cr_expect_not_null(strstr(result.differences[0].what, "uid 1000"));
	cr_assert_eq(result.differences[0].gva, SOCKET(2));
	audit_word(SOCKET(0) + 0x10, SOCKET(2) + 0x10);
	cr_assert_eq(looked(0, 0), 0);
}

Test(sockets, guest_that_stands_still_is_no_proof)
{
	handler_put(PTYPE_ALL, 2, NET);
	cr_assert_eq(looked(0, 0), 0);
	cr_assert_eq(looked(60000, 3), 0);
	cr_assert_eq(looked(0, 200), 1);
}

Test(sockets, other_handlers_are_none)
{
	handler_put(PTYPE_ALL, 3, NET);
	audit_word(HANDLER(3) + 0x10, IMAGE + 0x900);
	cr_assert_eq(looked(0, 0), 0);
	cr_assert_eq(looked(5000, 1000), 0);
}

Test(sockets, lists_in_circles_end)
{
	handler_put(PTYPE_ALL, 4, NET);
	audit_word(HANDLER(4) + LIST, HANDLER(4) + LIST);
	cr_assert_eq(audit_sockets.look(state, &audit_guest_view, &result), -EAGAIN);
	handler_put(PTYPE_ALL, 4, NET);
	audit_word(NET + SKLIST, SOCKET(5) + 0x10);
	audit_word(SOCKET(5) + 0x10, SOCKET(5) + 0x10);
	cr_assert_eq(audit_sockets.look(state, &audit_guest_view, &result), -EAGAIN);
}

/* ---- TCP and UDP --------------------------------------------------------------------------- */

#define PORT(n) (MEMORY + 0x7000 + (n)*0x80)

enum { BIND = 0x40, NODE = 0x10, NET_AT = 0x20, BUCKET = 24, OTHER_MIX = 8 };

/* A socket of a namespace, with a port of its own, to which it is the only owner. */
static void socket_put(unsigned int n, uint64_t net, uint8_t state, uint16_t port, uint32_t hash)
{
	uint64_t tb = PORT(n), tb2 = PORT(n) + 0x40,
		 chain = MEMORY + INET_PORTS + n % 2 * BUCKET + 8;

	audit_word(SOCKET(n) + NET_AT, net);
	audit_word(SOCKET(n) + 0x28, (uint64_t)state << 32 | 1000);
	audit_word(SOCKET(n) + 0x30, (uint64_t)port << 32 | hash);
	/* In front of those that are there. */
	memcpy(audit_guest.memory + (tb - MEMORY) + 0x10, audit_guest.memory + (chain - MEMORY), 8);
	audit_word(chain, tb + 0x10);
	audit_word(tb + 0x20, tb2 + 0x10);
	audit_word(tb2 + 0x10, 0);
	audit_word(tb2 + 0x20, SOCKET(n) + BIND);
	audit_word(SOCKET(n) + BIND, 0);
}

/* In front of those that are in this chain of listeners, connections or slots. */
static void chain_put(uint64_t head, unsigned int n, uint64_t offset)
{
	memcpy(audit_guest.memory + (SOCKET(n) + offset - MEMORY),
	       audit_guest.memory + (head - MEMORY), 8);
	audit_word(head, SOCKET(n) + offset);
}

static void settled(size_t found)
{
	cr_assert_eq(looked(0, 0), 0);
	cr_assert_eq(looked(5000, 1000), found);
}

Test(sockets, tcp_ones_that_lookups_find_are_silent)
{
	audit_word(MEMORY + INET_LISTENERS + BUCKET + 8, 0x80000003);
	audit_word(MEMORY + INET_CONNECTIONS + BUCKET, 3);
	socket_put(0, NET, LISTEN, 22, 0);
	chain_put(MEMORY + INET_LISTENERS + BUCKET + 8, 0, NODE);
	socket_put(1, NET, ESTABLISHED, 22, 0x77);
	chain_put(MEMORY + INET_CONNECTIONS + BUCKET, 1, NODE);
	settled(0);
}

Test(sockets, tcp_ones_of_other_states_are_in_no_other_table)
{
	socket_put(0, NET, 7, 4000, 0x11); /* TCP_CLOSE: bound */
	socket_put(1, NET, 6, 4001, 0x22); /* TCP_TIME_WAIT */
	socket_put(2, NET, 4, 4002, 0x33); /* TCP_FIN_WAIT1 */
	settled(0);
}

Test(sockets, listener_that_no_table_shows_is_told)
{
	socket_put(0, NET, LISTEN, 22, 0);
	chain_put(MEMORY + INET_LISTENERS + 8, 0, NODE);
	socket_put(2, NET, LISTEN, 4444, 0);
	settled(1);
	cr_expect_str_eq(result.differences[0].name, "tcp 4444");
	cr_expect_str_eq(result.differences[0].problem, "hidden");
	cr_expect_str_eq(result.differences[0].what,
			 "(uid 1000) listens, but is hidden from: listeners");
	cr_expect_str_eq(result.differences[0].observed_text, "ports");
	cr_assert_eq(result.differences[0].object.index, SOCKET(2));
	chain_put(MEMORY + INET_LISTENERS + 8, 2, NODE);
	cr_assert_eq(looked(0, 0), 0);
}

Test(sockets, connection_that_is_in_another_chain_is_told)
{
	socket_put(1, NET, ESTABLISHED, 4444, 0x77);
	chain_put(MEMORY + INET_CONNECTIONS, 1, NODE);
	settled(1);
	cr_expect_str_eq(result.differences[0].what,
			 "(uid 1000) is connected, but is hidden from: connections");
}

Test(sockets, connection_of_a_namespace_with_a_table_of_its_own_is_silent)
{
	audit_word(OTHER_NET + 0xa8, MEMORY + 0x1900);
	audit_word(MEMORY + 0x1900, MEMORY + 0x1940);
	audit_word(MEMORY + 0x1908, 0);
	socket_put(1, OTHER_NET, ESTABLISHED, 4444, 0x77);
	chain_put(MEMORY + 0x1940, 1, NODE);
	settled(0);
}

Test(sockets, connections_of_two_namespaces_are_each_looked_for_in_its_own)
{
	audit_word(OTHER_NET + 0xa8, MEMORY + 0x1900);
	audit_word(MEMORY + 0x1900, MEMORY + 0x1940);
	audit_word(MEMORY + 0x1908, 0);
	socket_put(1, OTHER_NET, ESTABLISHED, 4444, 0x77);
	chain_put(MEMORY + 0x1940, 1, NODE);
	socket_put(3, NET, ESTABLISHED, 4445, 0x77);
	chain_put(MEMORY + INET_CONNECTIONS + BUCKET, 3, NODE);
	/* In the chain of the other namespace. */
	socket_put(5, NET, ESTABLISHED, 4446, 0x77);
	chain_put(MEMORY + 0x1940, 5, NODE);
	settled(1);
	cr_expect_str_eq(result.differences[0].name, "tcp 4446");
}

Test(sockets, one_that_is_another_meanwhile_is_no_suspect)
{
	socket_put(1, NET, ESTABLISHED, 4444, 0x77);
	cr_assert_eq(looked(0, 0), 0);
	audit_word(SOCKET(1) + 0x30, (uint64_t)4444 << 32 | 0x78);
	cr_assert_eq(looked(5000, 1000), 0);
	cr_assert_eq(looked(5000, 1000), 1);
}

Test(sockets, udp_ones_that_are_in_the_slot_of_their_port_are_silent)
{
	/* (53 + 5) & 1 is slot 0, (54 + 5) & 1 slot 1. */
	socket_put(0, NET, 7, 53, 53 | 0x30000);
	socket_put(1, NET, 7, 54, 54 | 0x40000);
	audit_word(MEMORY + INET_PORTS + 8, 0);
	audit_word(MEMORY + INET_PORTS + BUCKET + 8, 0);
	chain_put(MEMORY + INET_SLOTS2, 0, BIND);
	chain_put(MEMORY + INET_SLOTS2, 1, BIND);
	chain_put(MEMORY + INET_SLOTS, 0, NODE);
	chain_put(MEMORY + INET_SLOTS + BUCKET, 1, NODE);
	settled(0);
}

Test(sockets, udp_one_that_only_lookups_find_is_told)
{
	socket_put(0, NET, 7, 53, 53 | 0x30000);
	audit_word(MEMORY + INET_PORTS + 8, 0);
	chain_put(MEMORY + INET_SLOTS2 + BUCKET, 0, BIND);
	settled(1);
	cr_expect_str_eq(result.differences[0].name, "udp 53");
	cr_expect_str_eq(result.differences[0].what,
			 "(uid 1000) receives, but is hidden from: ports");
	/* What changes with its address makes it no other one. */
	audit_word(SOCKET(0) + 0x30, (uint64_t)53 << 32 | 53 | 0x50000);
	cr_assert_eq(looked(0, 0), 1);
}

Test(sockets, udp_one_of_a_namespace_with_a_table_of_its_own_is_told)
{
	const uint64_t table = MEMORY + 0x1a00;

	audit_word(NET + 0xb0, OTHER_NET + 0xb0);
	audit_word(OTHER_NET + 0xb0, MEMORY + INET_SPACES);
	audit_word(OTHER_NET + 0x88, table);
	audit_word(table, MEMORY + 0x1a40);
	audit_word(table + 8, MEMORY + 0x1a80);
	audit_word(OTHER_NET + 0xa0, OTHER_MIX);
	socket_put(0, OTHER_NET, 7, 53, 53);
	audit_word(MEMORY + INET_PORTS + 8, 0);
	chain_put(MEMORY + 0x1a80, 0, BIND);
	settled(1);
	chain_put(MEMORY + 0x1a40, 0, NODE);
	settled(0);
}

Test(sockets, chains_in_circles_end)
{
	socket_put(1, NET, ESTABLISHED, 4444, 0x77);
	chain_put(MEMORY + INET_CONNECTIONS + BUCKET, 2, NODE);
	audit_word(SOCKET(2) + NODE, SOCKET(2) + NODE);
	cr_assert_eq(audit_sockets.look(state, &audit_guest_view, &result), -EAGAIN);
	audit_word(MEMORY + INET_CONNECTIONS + BUCKET, 0);
	/* Owners may be many: what is beyond the last step is a gap. */
	audit_word(SOCKET(1) + BIND, SOCKET(1) + BIND);
	cr_assert_eq(audit_sockets.look(state, &audit_guest_view, &result), 0);
	cr_assert_not_null(result.gap);
}

Test(sockets, tables_larger_than_a_kernel_has_are_not_read)
{
	audit_word(MEMORY + INET_UDP + 0x10, UINT32_MAX);
	cr_assert_eq(audit_sockets.look(state, &audit_guest_view, &result), -EAGAIN);
	audit_word(MEMORY + INET_UDP + 0x10, BUCKETS_MAX);
	cr_assert_eq(audit_sockets.look(state, &audit_guest_view, &result), -EAGAIN);
}

Test(sockets, kernel_that_tells_of_packet_sockets_only_is_looked_at_with_a_gap)
{
	finish();
	audit_guest.symbols_count -= 3;
	cr_assert_eq(audit_sockets.prepare(&audit_guest_view, &state), 0);
	cr_assert_eq(looked(0, 0), 0);
	cr_assert_not_null(result.gap);
}
