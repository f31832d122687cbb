// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Packet sockets that hide: the kernel hands them packets, as backdoors have them to wait for a
 * magic one, and they are missing from the list that ss(8) and /proc/net/packet show.
 */
#include "records.h"

#include "../clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	STEPS_MAX = 8192,
	HASHED_TYPES = 16,
	RECEIVERS = 3,
	SUSPECTS_MAX = 16,
	TICKS_MIN = 100, /* of the guest's, so that it ran meanwhile */
};

/* One that is being opened or closed is on one of the two lists, for a moment. */
#define SETTLE_NS (2 * NS_PER_S)

/* What a packet socket has the kernel call, not counting those that share their packets (fanout).
 */
static const char *const receivers[RECEIVERS] = { "packet_rcv", "packet_rcv_spkt", "tpacket_rcv" };

struct suspect {
	uint64_t socket, handler, since_ns, since_ticks;
};

struct sockets {
	uint64_t jiffies;
	uint64_t receiver[RECEIVERS]; /* 0: this kernel has it not */
	uint64_t everything, by_type; /* lists of handlers, for all packets and for a type each */
	uint64_t devices;	      /* list of the first network namespace's */
	struct ka_member device, device_everything, device_type;
	struct ka_member handler, type, call, socket; /* of packet_type */
	struct ka_member node, net, uid;	      /* of sock */
	struct ka_member listed;		      /* of net */
	struct suspect suspects[SUSPECTS_MAX];	      /* of the last look */
	size_t count;
};

/* One look. */
struct look {
	const struct sockets *sockets;
	const struct audit_view *view;
	uint64_t ticks;
	unsigned int steps;
	struct suspect suspects[SUSPECTS_MAX];
	size_t count;
};

/* ---- what is known -------------------------------------------------------------------------- */

static void find_lists(const struct audit_view *view, struct sockets *sockets)
{
	struct ka_member member;
	uint64_t at;

	ka_kernel_symbol(view->kernel, "ptype_base", &sockets->by_type);
	ka_kernel_symbol(view->kernel, "ptype_all", &sockets->everything);
	/* 6.9 (0b91fa4bfb1c, "net: move ptype_all into net_hotdata"). */
	if (!ka_kernel_symbol(view->kernel, "net_hotdata", &at) &&
	    RECORDS_FIND(view->types, { "net_hotdata", "ptype_all", &member, 0 }))
		sockets->everything = at + member.offset;
	if (ka_kernel_symbol(view->kernel, "init_net", &at))
		return;
	/* Each namespace has its own, as seen in 7.3. */
	if (RECORDS_FIND(view->types, { "net", "ptype_all", &member, 0 }))
		sockets->everything = at + member.offset;
	if (RECORDS_FIND(view->types, { "net", "dev_base_head", &member, 0 },
			 { "net_device", "dev_list", &sockets->device, 0 },
			 { "net_device", "ptype_all", &sockets->device_everything, 0 },
			 { "net_device", "ptype_specific", &sockets->device_type, 0 }))
		sockets->devices = at + member.offset;
}

static int sockets_prepare(const struct audit_view *view, void **ret_state)
{
	struct sockets *sockets = calloc(1, sizeof(*sockets));
	unsigned int word = records_word(view), found = 0;

	if (!sockets)
		return -ENOMEM;
	for (int i = 0; i < RECEIVERS; i++)
		found += !ka_kernel_symbol(view->kernel, receivers[i], &sockets->receiver[i]);
	find_lists(view, sockets);
	if (!found || !sockets->everything ||
	    (ka_kernel_symbol(view->kernel, "jiffies_64", &sockets->jiffies) &&
	     ka_kernel_symbol(view->kernel, "jiffies", &sockets->jiffies)) ||
	    !RECORDS_FIND(view->types, { "packet_type", "list", &sockets->handler, 2 * word },
			  { "packet_type", "type", &sockets->type, 2 },
			  { "packet_type", "func", &sockets->call, word },
			  { "packet_type", "af_packet_priv", &sockets->socket, word },
			  { "sock", "__sk_common.skc_node", &sockets->node, 2 * word },
			  { "sock", "__sk_common.skc_net.net", &sockets->net, word },
			  { "sock", "sk_uid", &sockets->uid, 4 },
			  { "net", "packet.sklist", &sockets->listed, word })) {
		free(sockets);
		return -ENODATA;
	}
	*ret_state = sockets;
	return 0;
}

/* ---- a look --------------------------------------------------------------------------------- */

static bool look_step(struct look *look)
{
	return ++look->steps <= STEPS_MAX;
}

/* 1: the socket's own network namespace lists it; 0: it does not. */
static int is_listed(struct look *look, uint64_t socket)
{
	const struct sockets *sockets = look->sockets;
	uint64_t node = socket + sockets->node.offset, net, at;
	int err = records_read_word(look->view, socket + sockets->net.offset, &net);

	if (!err)
		err = records_read_word(look->view, net + sockets->listed.offset, &at);
	while (!err && at && at != node)
		err = look_step(look) ? records_read_word(look->view, at, &at) : -EAGAIN;
	return err ? err : at == node;
}

/* One that was suspect before keeps its age. */
static void suspect_add(struct look *look, uint64_t handler, uint64_t socket)
{
	const struct sockets *sockets = look->sockets;
	struct suspect suspect = { socket, handler, clock_mono(), look->ticks };

	if (look->count == SUSPECTS_MAX)
		return;
	for (size_t i = 0; i < sockets->count; i++)
		if (sockets->suspects[i].socket == socket)
			suspect = sockets->suspects[i];
	look->suspects[look->count++] = suspect;
}

static int tell_socket(const struct look *look, const struct suspect *suspect,
		       struct audit_result *result)
{
	struct difference *difference =
		audit_add(result, CHECK_SOCKETS, OBJECT_SOCKET, suspect->socket);
	uint32_t uid = 0;
	uint16_t type = 0;
	struct ka_piece pieces[] = {
		{ .address = suspect->handler + look->sockets->type.offset,
		  .buf = &type,
		  .len = 2 },
		{ .address = suspect->socket + look->sockets->uid.offset, .buf = &uid, .len = 4 },
	};
	int err = records_read(look->view, pieces, 2);

	if (err || !difference)
		return err;
	snprintf(difference->name, sizeof(difference->name), "packet 0x%04x", ntohs(type));
	difference->gva = suspect->socket;
	difference->problem = "hidden";
	snprintf(difference->what, sizeof(difference->what),
		 "(uid %u) is handed packets, but is hidden from: list", uid);
	snprintf(difference->expected_text, sizeof(difference->expected_text), "list handler");
	snprintf(difference->observed_text, sizeof(difference->observed_text), "handler");
	return 0;
}

static bool is_receiver(const struct sockets *sockets, uint64_t call)
{
	for (int i = 0; i < RECEIVERS; i++)
		if (call && sockets->receiver[i] == call)
			return true;
	return false;
}

static int look_at_handler(struct look *look, uint64_t handler)
{
	const struct sockets *sockets = look->sockets;
	uint64_t call = 0, socket = 0;
	struct ka_piece pieces[] = {
		{ .address = handler + sockets->call.offset,
		  .buf = &call,
		  .len = records_word(look->view) },
		{ .address = handler + sockets->socket.offset,
		  .buf = &socket,
		  .len = records_word(look->view) },
	};
	int r = records_read(look->view, pieces, 2);

	if (r || !is_receiver(sockets, call))
		return r;
	r = is_listed(look, socket);
	if (!r)
		suspect_add(look, handler, socket);
	return r < 0 ? r : 0;
}

static int look_at_list(struct look *look, uint64_t head)
{
	uint64_t at = head;
	int err = records_read_word(look->view, head, &at);

	while (!err && at != head) {
		if (!look_step(look))
			return -EAGAIN;
		err = look_at_handler(look, at - look->sockets->handler.offset);
		if (!err)
			err = records_read_word(look->view, at, &at);
	}
	return err;
}

static int look_at_devices(struct look *look)
{
	const struct sockets *sockets = look->sockets;
	uint64_t at = sockets->devices;
	int err = at ? records_read_word(look->view, at, &at) : 0;

	while (!err && at != sockets->devices) {
		uint64_t device = at - sockets->device.offset;

		if (!look_step(look))
			return -EAGAIN;
		err = look_at_list(look, device + sockets->device_everything.offset);
		if (!err)
			err = look_at_list(look, device + sockets->device_type.offset);
		if (!err)
			err = records_read_word(look->view, at, &at);
	}
	return err;
}

static int look_at_all(struct look *look)
{
	const struct sockets *sockets = look->sockets;
	unsigned int word = records_word(look->view);
	int err = records_read_word(look->view, sockets->jiffies, &look->ticks);

	if (!err)
		err = look_at_list(look, sockets->everything);
	for (unsigned int i = 0; sockets->by_type && !err && i < HASHED_TYPES; i++)
		err = look_at_list(look, sockets->by_type + i * 2 * word);
	return err ? err : look_at_devices(look);
}

static int sockets_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	struct sockets *sockets = state;
	struct look look = { .sockets = sockets, .view = view };
	uint64_t now = clock_mono();
	int err = look_at_all(&look);

	if (err)
		return err;
	memcpy(sockets->suspects, look.suspects, look.count * sizeof(look.suspects[0]));
	sockets->count = look.count;
	for (size_t i = 0; !err && i < look.count; i++)
		if (now - look.suspects[i].since_ns >= SETTLE_NS &&
		    look.ticks - look.suspects[i].since_ticks >= TICKS_MIN)
			err = tell_socket(&look, &look.suspects[i], result);
	return err;
}

const struct audit audit_sockets = {
	.period_ms = 1000,
	.prepare = sockets_prepare,
	.look = sockets_look,
	.release = free,
};
