// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Packet sockets that hide: the kernel hands them packets, as backdoors have them to wait for a
 * magic one, and they are missing from the list that ss(8) and /proc/net/packet show.
 */
#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	PACKET_STEPS_MAX = 8192,
	HASHED_TYPES = 16,
	RECEIVERS = 3,
};

/* What a packet socket has the kernel call, not counting those that share their packets (fanout).
 */
static const char *const receivers[RECEIVERS] = { "packet_rcv", "packet_rcv_spkt", "tpacket_rcv" };

struct sockets_packet {
	uint64_t receiver[RECEIVERS]; /* 0: this kernel has it not */
	uint64_t everything, by_type; /* lists of handlers, for all packets and for a type each */
	uint64_t devices;	      /* list of the first network namespace's */
	struct ka_member device, device_everything, device_type;
	struct ka_member handler, type, call, socket; /* of packet_type */
	struct ka_member node, net;		      /* of sock */
	struct ka_member listed;		      /* of net */
};

/* ---- what is known -------------------------------------------------------------------------- */

static void find_lists(const struct audit_view *view, struct sockets_packet *packet)
{
	struct ka_member member;
	uint64_t at;

	ka_kernel_symbol(view->kernel, "ptype_base", &packet->by_type);
	ka_kernel_symbol(view->kernel, "ptype_all", &packet->everything);
	/* 6.9 (0b91fa4bfb1c, "net: move ptype_all into net_hotdata"). */
	if (!ka_kernel_symbol(view->kernel, "net_hotdata", &at) &&
	    RECORDS_FIND(view->types, { "net_hotdata", "ptype_all", &member, 0 }))
		packet->everything = at + member.offset;
	if (ka_kernel_symbol(view->kernel, "init_net", &at))
		return;
	/* Each namespace has its own, as seen in 7.3. */
	if (RECORDS_FIND(view->types, { "net", "ptype_all", &member, 0 }))
		packet->everything = at + member.offset;
	if (RECORDS_FIND(view->types, { "net", "dev_base_head", &member, 0 },
			 { "net_device", "dev_list", &packet->device, 0 },
			 { "net_device", "ptype_all", &packet->device_everything, 0 },
			 { "net_device", "ptype_specific", &packet->device_type, 0 }))
		packet->devices = at + member.offset;
}

int sockets_packet_prepare(const struct audit_view *view, struct sockets_packet **ret_packet)
{
	struct sockets_packet *packet = calloc(1, sizeof(*packet));
	unsigned int word = records_word(view), found = 0;

	if (!packet)
		return -ENOMEM;
	for (int i = 0; i < RECEIVERS; i++)
		found += !ka_kernel_symbol(view->kernel, receivers[i], &packet->receiver[i]);
	find_lists(view, packet);
	if (!found || !packet->everything ||
	    !RECORDS_FIND(view->types, { "packet_type", "list", &packet->handler, 2 * word },
			  { "packet_type", "type", &packet->type, 2 },
			  { "packet_type", "func", &packet->call, word },
			  { "packet_type", "af_packet_priv", &packet->socket, word },
			  { "sock", "__sk_common.skc_node", &packet->node, 2 * word },
			  { "sock", "__sk_common.skc_net.net", &packet->net, word },
			  { "net", "packet.sklist", &packet->listed, word })) {
		free(packet);
		return -ENODATA;
	}
	*ret_packet = packet;
	return 0;
}

/* ---- a look --------------------------------------------------------------------------------- */

/* A look, and where it looks. */
struct packet_look {
	struct sockets_look *all;
	const struct sockets_packet *packet;
};

static bool packet_step(const struct packet_look *look)
{
	return ++look->all->steps <= PACKET_STEPS_MAX;
}

/* 1: the socket's own network namespace lists it; 0: it does not. */
static int is_listed(const struct packet_look *look, uint64_t socket)
{
	const struct sockets_packet *packet = look->packet;
	uint64_t node = socket + packet->node.offset, net, at;
	int err = records_read_word(look->all->view, socket + packet->net.offset, &net);

	if (!err)
		err = records_read_word(look->all->view, net + packet->listed.offset, &at);
	while (!err && at && at != node)
		err = packet_step(look) ? records_read_word(look->all->view, at, &at) : -EAGAIN;
	return err ? err : at == node;
}

static bool is_receiver(const struct sockets_packet *packet, uint64_t call)
{
	for (int i = 0; i < RECEIVERS; i++)
		if (call && packet->receiver[i] == call)
			return true;
	return false;
}

static int look_at_handler(const struct packet_look *look, uint64_t handler)
{
	const struct sockets_packet *packet = look->packet;
	uint64_t call = 0, socket = 0;
	uint16_t type = 0;
	struct ka_piece pieces[] = {
		{ .address = handler + packet->call.offset,
		  .buf = &call,
		  .len = records_word(look->all->view) },
		{ .address = handler + packet->socket.offset,
		  .buf = &socket,
		  .len = records_word(look->all->view) },
		{ .address = handler + packet->type.offset, .buf = &type, .len = sizeof(type) },
	};
	int r = records_read(look->all->view, pieces, 3);

	if (r || !is_receiver(packet, call))
		return r;
	r = is_listed(look, socket);
	if (!r)
		sockets_suspect(look->all, &(struct socket_suspect){ .socket = socket,
								     .kind = SOCKET_PACKET,
								     .number = ntohs(type) });
	return r < 0 ? r : 0;
}

static int look_at_list(const struct packet_look *look, uint64_t head)
{
	uint64_t at = head;
	int err = records_read_word(look->all->view, head, &at);

	while (!err && at != head) {
		if (!packet_step(look))
			return -EAGAIN;
		err = look_at_handler(look, at - look->packet->handler.offset);
		if (!err)
			err = records_read_word(look->all->view, at, &at);
	}
	return err;
}

static int look_at_devices(const struct packet_look *look)
{
	const struct sockets_packet *packet = look->packet;
	uint64_t at = packet->devices;
	int err = at ? records_read_word(look->all->view, at, &at) : 0;

	while (!err && at != packet->devices) {
		uint64_t device = at - packet->device.offset;

		if (!packet_step(look))
			return -EAGAIN;
		err = look_at_list(look, device + packet->device_everything.offset);
		if (!err)
			err = look_at_list(look, device + packet->device_type.offset);
		if (!err)
			err = records_read_word(look->all->view, at, &at);
	}
	return err;
}

int sockets_packet_look(struct sockets_look *look, const struct sockets_packet *packet)
{
	const struct packet_look at = { look, packet };
	unsigned int word = records_word(look->view);
	int err;

	look->steps = 0;
	err = look_at_list(&at, packet->everything);
	for (unsigned int i = 0; packet->by_type && !err && i < HASHED_TYPES; i++)
		err = look_at_list(&at, packet->by_type + i * 2 * word);
	return err ? err : look_at_devices(&at);
}
