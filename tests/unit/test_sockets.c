// SPDX-License-Identifier: LGPL-2.1-or-later
/* The audit of packet sockets, of a made-up guest with two network namespaces and a device. */
#include "audit_guest.h"

#include "monitor/clock.h"

static uint64_t fake_now;
#define clock_mono() (fake_now)

#include "monitor/audits/records.c"
#include "monitor/audits/sockets.c"

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
	empty(PTYPE_ALL);
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
