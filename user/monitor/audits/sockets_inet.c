// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * TCP and UDP sockets, as two tables have them. What has a TCP port is among that port's owners;
 * while it listens or is connected it is among the listeners or the connections, too, from which
 * ss(8) and /proc/net/tcp are made. A UDP socket that receives is found by its address, and is
 * listed by its port.
 *
 * Sockets come, go and change meanwhile, and their memory is another one's then: what was missing
 * is read again. All links are the guest's: chains and steps are bounded.
 */
#include "sockets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	INET_STEPS_MAX = 1 << 16,
	CHAIN_MAX = 4096,
	BUCKETS_MAX = 1 << 16, /* as the kernel has it for all but connections */
	BUCKET_BYTES_MAX = 256,
	LISTENERS_MAX = 4096,
	CONNECTIONS_MAX = 4096, /* that a look takes: each costs a walk */
	SPACES_MAX = 1024,	/* network namespaces */
	CHUNK_BYTES = 4096,
	CHUNK_STEPS = 16, /* that reading one takes from those of a look */
	ESTABLISHED = 1,  /* TCP_ESTABLISHED, TCP_LISTEN */
	LISTEN = 10,
};

/* A table of chains: where a bucket has its first link. */
struct chains {
	uint64_t gva;
	uint32_t count, stride, head;
};

struct sockets_inet {
	uint64_t tcp, udp; /* tcp_hashinfo, udp_table; 0: not known */
	uint64_t spaces;   /* net_namespace_list; 0: none has tables of its own */
	uint32_t port_bytes, listener_bytes, slot_bytes, slot2_bytes, connection_bytes;
	struct ka_member connections, connections_mask, ports, ports_count; /* of inet_hashinfo */
	struct ka_member listeners, listeners_mask;
	bool few; /* listeners: an array in inet_hashinfo */
	struct ka_member port_chain, listener_chain, connection_chain, slot_chain;
	struct ka_member port, port_addresses, address, owners;		   /* of inet_bind_bucket */
	struct ka_member state, hash, number, net, link, bind, by_address; /* of sock_common */
	struct ka_member hashinfo, space, space_udp,
		mix;			      /* of net; size 0: it has none of its own */
	struct ka_member slots, slots2, mask; /* of udp_table */
	uint64_t listening[LISTENERS_MAX];    /* of this look */
	size_t listening_count;
};

/* The connections of a network namespace. */
struct connections {
	uint64_t net, table;
	uint32_t mask;
	bool known;
};

struct inet_look {
	struct sockets_look *all;
	struct sockets_inet *inet;
	struct connections *last; /* most sockets are in the same namespace */
	unsigned int *connections;
};

/* What of a socket may change. */
struct inet_socket {
	uint64_t gva, net;
	uint32_t hash;
	uint16_t number;
	uint8_t state;
};

/* ---- what is known -------------------------------------------------------------------------- */

static bool find_listeners(const struct audit_view *view, struct sockets_inet *inet,
			   unsigned int word)
{
	/* Up to 5.18 (cae3873c5b3a, "net: inet: Retire port only listening_hash"). */
	inet->few = RECORDS_FIND(view->types,
				 { "inet_hashinfo", "listening_hash", &inet->listeners, 0 });
	return (inet->few ||
		RECORDS_FIND(view->types, { "inet_hashinfo", "lhash2", &inet->listeners, word },
			     { "inet_hashinfo", "lhash2_mask", &inet->listeners_mask, 4 })) &&
	       RECORDS_FIND(view->types, { "inet_listen_hashbucket", "nulls_head",
					   &inet->listener_chain, word });
}

static bool find_owners(const struct audit_view *view, struct sockets_inet *inet, unsigned int word)
{
	if (RECORDS_FIND(view->types, { "inet_bind_bucket", "owners", &inet->owners, word }))
		return true;
	/* 6.8 (8191792c18c5, "tcp: Link sk and twsk to tb2->owners using skc_bind_node"). */
	return RECORDS_FIND(view->types,
			    { "inet_bind_bucket", "bhash2", &inet->port_addresses, word },
			    { "inet_bind2_bucket", "bhash_node", &inet->address, 2 * word },
			    { "inet_bind2_bucket", "owners", &inet->owners, word });
}

static bool find_tcp(const struct audit_view *view, struct sockets_inet *inet, unsigned int word)
{
	return !ka_kernel_symbol(view->kernel, "tcp_hashinfo", &inet->tcp) &&
	       find_listeners(view, inet, word) && find_owners(view, inet, word) &&
	       !ka_types_size(view->types, "inet_bind_hashbucket", &inet->port_bytes) &&
	       !ka_types_size(view->types, "inet_listen_hashbucket", &inet->listener_bytes) &&
	       !ka_types_size(view->types, "inet_ehash_bucket", &inet->connection_bytes) &&
	       RECORDS_FIND(view->types, { "inet_hashinfo", "ehash", &inet->connections, word },
			    { "inet_hashinfo", "ehash_mask", &inet->connections_mask, 4 },
			    { "inet_hashinfo", "bhash", &inet->ports, word },
			    { "inet_hashinfo", "bhash_size", &inet->ports_count, 4 },
			    { "inet_bind_hashbucket", "chain", &inet->port_chain, word },
			    { "inet_bind_bucket", "node", &inet->port, 2 * word },
			    { "inet_ehash_bucket", "chain", &inet->connection_chain, word },
			    { "sock", "__sk_common.skc_bind_node", &inet->bind, 2 * word });
}

static bool find_udp(const struct audit_view *view, struct sockets_inet *inet, unsigned int word)
{
	if (ka_kernel_symbol(view->kernel, "udp_table", &inet->udp) ||
	    ka_types_size(view->types, "udp_hslot", &inet->slot_bytes) ||
	    !RECORDS_FIND(view->types, { "udp_table", "hash", &inet->slots, word },
			  { "udp_table", "hash2", &inet->slots2, word },
			  { "udp_table", "mask", &inet->mask, 4 },
			  { "udp_hslot", "head", &inet->slot_chain, word },
			  { "net", "hash_mix", &inet->mix, 4 },
			  { "sock", "__sk_common.skc_portaddr_node", &inet->by_address, 2 * word }))
		return false;
	/* Since 6.13 those by address are larger (78c91ae2c6de, "ipv4/udp: Add 4-tuple hash"). */
	if (ka_types_size(view->types, "udp_hslot_main", &inet->slot2_bytes))
		inet->slot2_bytes = inet->slot_bytes;
	/* 6.2 (9804985bf27f, "udp: Introduce optional per-netns hash table"). */
	if (!ka_kernel_symbol(view->kernel, "net_namespace_list", &inet->spaces) &&
	    !RECORDS_FIND(view->types, { "net", "list", &inet->space, 2 * word },
			  { "net", "ipv4.udp_table", &inet->space_udp, word }))
		inet->spaces = 0;
	return true;
}

int sockets_inet_prepare(const struct audit_view *view, struct sockets_inet **ret_inet)
{
	struct sockets_inet *inet = calloc(1, sizeof(*inet));
	unsigned int word = records_word(view);

	if (!inet)
		return -ENOMEM;
	if (!find_tcp(view, inet, word))
		inet->tcp = 0;
	if (!find_udp(view, inet, word))
		inet->udp = 0;
	/* 6.1 (d1e5e6408b30, "tcp: Introduce optional per-netns ehash"). */
	if (!RECORDS_FIND(view->types,
			  { "net", "ipv4.tcp_death_row.hashinfo", &inet->hashinfo, word }))
		inet->hashinfo.size = 0;
	if ((!inet->tcp && !inet->udp) ||
	    !RECORDS_FIND(view->types, { "sock", "__sk_common.skc_state", &inet->state, 1 },
			  { "sock", "__sk_common.skc_hash", &inet->hash, 4 },
			  { "sock", "__sk_common.skc_num", &inet->number, 2 },
			  { "sock", "__sk_common.skc_net.net", &inet->net, word },
			  { "sock", "__sk_common.skc_node", &inet->link, 2 * word })) {
		free(inet);
		return -ENODATA;
	}
	*ret_inet = inet;
	return 0;
}

/* ---- tables --------------------------------------------------------------------------------- */

static bool inet_step(const struct inet_look *look)
{
	return ++look->all->steps <= INET_STEPS_MAX;
}

/* Chains end with 0, or, where sockets move between them, with an odd word. */
static bool is_link(uint64_t word)
{
	return word && !(word & 1);
}

/* Calls `each` for each link of a chain. 0, or an error; -ENOSPC: it was one step too many. */
static int each_of_chain(const struct inet_look *look, uint64_t first, size_t max,
			 int (*each)(const struct inet_look *look, void *ctx, uint64_t link),
			 void *ctx)
{
	uint64_t at = first;
	int err = 0;

	for (size_t i = 0; !err && is_link(at); i++) {
		if (i == max)
			return -EAGAIN;
		if (!inet_step(look))
			return -ENOSPC;
		err = each(look, ctx, at);
		if (!err)
			err = records_read_word(look->all->view, at, &at);
	}
	return err;
}

static int each_of_chains(const struct inet_look *look, const struct chains *chains,
			  int (*each)(const struct inet_look *look, void *ctx, uint64_t link),
			  void *ctx)
{
	const struct audit_view *view = look->all->view;
	uint8_t chunk[CHUNK_BYTES];
	uint32_t per_chunk;

	if (chains->count > BUCKETS_MAX || !chains->stride || chains->stride > BUCKET_BYTES_MAX ||
	    chains->head + records_word(view) > chains->stride)
		return -EAGAIN;
	per_chunk = CHUNK_BYTES / chains->stride;
	for (uint32_t at = 0; at < chains->count; at += per_chunk) {
		uint32_t count = chains->count - at < per_chunk ? chains->count - at : per_chunk;
		struct ka_piece piece = { .address = chains->gva + (uint64_t)at * chains->stride,
					  .buf = chunk,
					  .len = count * chains->stride };
		int err;

		look->all->steps += CHUNK_STEPS;
		err = inet_step(look) ? records_read(view, &piece, 1) : -ENOSPC;
		for (uint32_t i = 0; !err && i < count; i++) {
			const uint8_t *head = chunk + i * chains->stride + chains->head;

			err = each_of_chain(look, records_word_at(view, head), CHAIN_MAX, each,
					    ctx);
		}
		if (err)
			return err;
	}
	return 0;
}

/* More than there can be stay so. */
static uint32_t count_of(uint32_t mask)
{
	return mask < BUCKETS_MAX ? mask + 1 : UINT32_MAX;
}

/* A pointer and a number of 32 bits, of buckets or a mask of such. */
static int read_table(const struct inet_look *look, uint64_t gva, const struct ka_member *pointer,
		      const struct ka_member *number, uint64_t *ret_pointer, uint32_t *ret_number)
{
	struct ka_piece pieces[] = {
		{ .address = gva + pointer->offset,
		  .buf = ret_pointer,
		  .len = records_word(look->all->view) },
		{ .address = gva + number->offset, .buf = ret_number, .len = sizeof(*ret_number) },
	};

	*ret_pointer = 0;
	return records_read(look->all->view, pieces, 2);
}

static int read_socket(const struct inet_look *look, uint64_t gva, struct inet_socket *ret_socket)
{
	const struct sockets_inet *inet = look->inet;
	struct inet_socket socket = { .gva = gva };
	struct ka_piece pieces[] = {
		{ .address = gva + inet->state.offset, .buf = &socket.state, .len = 1 },
		{ .address = gva + inet->hash.offset, .buf = &socket.hash, .len = 4 },
		{ .address = gva + inet->number.offset, .buf = &socket.number, .len = 2 },
		{ .address = gva + inet->net.offset,
		  .buf = &socket.net,
		  .len = records_word(look->all->view) },
	};
	int err = records_read(look->all->view, pieces, sizeof(pieces) / sizeof(pieces[0]));

	if (!err)
		*ret_socket = socket;
	return err;
}

struct search {
	uint64_t link;
	bool found;
};

static int compare_link(const struct inet_look *look, void *ctx, uint64_t link)
{
	struct search *search = ctx;

	(void)look;
	search->found |= link == search->link;
	return 0;
}

/* 1: the chain that begins at `head` has the socket. */
static int chain_has(const struct inet_look *look, uint64_t head, uint64_t socket)
{
	struct search search = { .link = socket + look->inet->link.offset };
	uint64_t first;
	int err = records_read_word(look->all->view, head, &first);

	if (!err)
		err = each_of_chain(look, first, CHAIN_MAX, compare_link, &search);
	return err ? err : search.found;
}

/* It was missing: if it still is what it was then, it is suspect. */
static int note_missing(const struct inet_look *look, const struct inet_socket *socket,
			enum socket_kind kind)
{
	struct inet_socket now;
	int err = read_socket(look, socket->gva, &now);

	if (err || now.state != socket->state || now.hash != socket->hash ||
	    now.number != socket->number || now.net != socket->net)
		return err;
	sockets_suspect(look->all, &(struct socket_suspect){
					   .socket = socket->gva,
					   .kind = kind,
					   .number = socket->number,
					   .hash = kind == SOCKET_CONNECTED ? socket->hash : 0 });
	return 0;
}

/* ---- TCP ------------------------------------------------------------------------------------ */

static int compare_words(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int note_listening(const struct inet_look *look, void *ctx, uint64_t link)
{
	struct sockets_inet *inet = look->inet;

	(void)ctx;
	if (inet->listening_count == LISTENERS_MAX)
		return -ENOSPC;
	inet->listening[inet->listening_count++] = link - inet->link.offset;
	return 0;
}

static int read_listening(const struct inet_look *look)
{
	struct sockets_inet *inet = look->inet;
	struct chains chains = { .stride = inet->listener_bytes,
				 .head = inet->listener_chain.offset };
	int err = 0;

	inet->listening_count = 0;
	if (inet->few) {
		chains.gva = inet->tcp + inet->listeners.offset;
		chains.count = inet->listeners.size / (chains.stride ? chains.stride : 1);
	} else {
		err = read_table(look, inet->tcp, &inet->listeners, &inet->listeners_mask,
				 &chains.gva, &chains.count);
		chains.count = count_of(chains.count);
	}
	if (!err)
		err = each_of_chains(look, &chains, note_listening, NULL);
	qsort(inet->listening, inet->listening_count, sizeof(inet->listening[0]), compare_words);
	return err;
}

static int read_connections(const struct inet_look *look, uint64_t net)
{
	const struct sockets_inet *inet = look->inet;
	struct connections *last = look->last;
	uint64_t hashinfo = inet->tcp;
	int err = 0;

	if (last->known && last->net == net)
		return 0;
	last->known = false;
	if (inet->hashinfo.size)
		err = records_read_word(look->all->view, net + inet->hashinfo.offset, &hashinfo);
	if (!err)
		err = read_table(look, hashinfo, &inet->connections, &inet->connections_mask,
				 &last->table, &last->mask);
	last->net = net;
	last->known = !err;
	return err;
}

/* 1: its network namespace has it among the connections. */
static int is_connection(const struct inet_look *look, const struct inet_socket *socket)
{
	const struct sockets_inet *inet = look->inet;
	uint64_t at;
	int err = read_connections(look, socket->net);

	if (err)
		return err;
	at = look->last->table +
	     (uint64_t)(socket->hash & look->last->mask) * inet->connection_bytes;
	return chain_has(look, at + inet->connection_chain.offset, socket->gva);
}

/* A socket that is about to be, or is no more, connected has another state. */
static int look_at_owner(const struct inet_look *look, void *ctx, uint64_t link)
{
	struct sockets_inet *inet = look->inet;
	struct inet_socket socket;
	int r = read_socket(look, link - inet->bind.offset, &socket);

	(void)ctx;
	if (r)
		return r;
	if (socket.state == LISTEN) {
		if (bsearch(&socket.gva, inet->listening, inet->listening_count, sizeof(socket.gva),
			    compare_words))
			return 0;
		return note_missing(look, &socket, SOCKET_LISTENS);
	}
	if (socket.state != ESTABLISHED || ++*look->connections > CONNECTIONS_MAX)
		return 0;
	r = is_connection(look, &socket);
	return r ? r < 0 ? r : 0 : note_missing(look, &socket, SOCKET_CONNECTED);
}

static int look_at_owners(const struct inet_look *look, uint64_t bucket)
{
	uint64_t first;
	int err = records_read_word(look->all->view, bucket + look->inet->owners.offset, &first);

	return err ? err : each_of_chain(look, first, INET_STEPS_MAX, look_at_owner, NULL);
}

static int look_at_address(const struct inet_look *look, void *ctx, uint64_t link)
{
	(void)ctx;
	return look_at_owners(look, link - look->inet->address.offset);
}

static int look_at_port(const struct inet_look *look, void *ctx, uint64_t link)
{
	const struct sockets_inet *inet = look->inet;
	uint64_t bucket = link - inet->port.offset, first;
	int err;

	(void)ctx;
	if (!inet->port_addresses.size)
		return look_at_owners(look, bucket);
	err = records_read_word(look->all->view, bucket + inet->port_addresses.offset, &first);
	return err ? err : each_of_chain(look, first, INET_STEPS_MAX, look_at_address, NULL);
}

/* The listeners first: who listens meanwhile is then suspect for one look, not the other way round.
 */
static int look_at_tcp(const struct inet_look *look)
{
	const struct sockets_inet *inet = look->inet;
	struct chains ports = { .stride = inet->port_bytes, .head = inet->port_chain.offset };
	int err = read_listening(look);

	if (!err)
		err = read_table(look, inet->tcp, &inet->ports, &inet->ports_count, &ports.gva,
				 &ports.count);
	return err ? err : each_of_chains(look, &ports, look_at_port, NULL);
}

/* ---- UDP ------------------------------------------------------------------------------------ */

struct udp_table {
	uint64_t slots, slots2;
	uint32_t mask;
};

static int look_at_receiver(const struct inet_look *look, void *ctx, uint64_t link)
{
	const struct sockets_inet *inet = look->inet;
	const struct udp_table *table = ctx;
	struct inet_socket socket;
	uint32_t mix, slot;
	int r = read_socket(look, link - inet->by_address.offset, &socket);
	struct ka_piece piece = { .buf = &mix, .len = sizeof(mix) };

	piece.address = socket.net + inet->mix.offset;
	if (!r)
		r = records_read(look->all->view, &piece, 1);
	if (r)
		return r;
	/* udp_hashfn(); of the two hashes that share the word, the first is by port. */
	slot = ((uint16_t)socket.hash + mix) & table->mask;
	r = chain_has(look,
		      table->slots + (uint64_t)slot * inet->slot_bytes + inet->slot_chain.offset,
		      socket.gva);
	return r ? r < 0 ? r : 0 : note_missing(look, &socket, SOCKET_UDP);
}

static int look_at_udp(const struct inet_look *look, uint64_t gva)
{
	const struct sockets_inet *inet = look->inet;
	struct udp_table table;
	struct chains chains = { .stride = inet->slot2_bytes, .head = inet->slot_chain.offset };
	int err = read_table(look, gva, &inet->slots, &inet->mask, &table.slots, &table.mask);

	if (!err)
		err = read_table(look, gva, &inet->slots2, &inet->mask, &table.slots2, &table.mask);
	chains.gva = table.slots2;
	chains.count = count_of(table.mask);
	return err ? err : each_of_chains(look, &chains, look_at_receiver, &table);
}

/* Those of namespaces that have a table of their own. */
static int look_at_spaces(const struct inet_look *look)
{
	const struct sockets_inet *inet = look->inet;
	uint64_t at, table;
	int err = records_read_word(look->all->view, inet->spaces, &at);

	for (unsigned int i = 0; !err && at != inet->spaces; i++) {
		if (i == SPACES_MAX)
			return -ENOSPC;
		err = records_read_word(look->all->view,
					at - inet->space.offset + inet->space_udp.offset, &table);
		if (!err && table && table != inet->udp)
			err = look_at_udp(look, table);
		if (!err)
			err = records_read_word(look->all->view, at, &at);
	}
	return err;
}

/* ---- a look --------------------------------------------------------------------------------- */

int sockets_inet_look(struct sockets_look *all, struct sockets_inet *inet)
{
	struct connections last = {};
	unsigned int connections = 0;
	const struct inet_look look = { all, inet, &last, &connections };
	int err = 0, udp_err = 0;

	all->steps = 0;
	if (inet->tcp)
		err = look_at_tcp(&look);
	all->steps = 0;
	if ((!err || err == -ENOSPC) && inet->udp)
		udp_err = look_at_udp(&look, inet->udp);
	if ((!err || err == -ENOSPC) && !udp_err && inet->spaces && inet->udp)
		udp_err = look_at_spaces(&look);
	if (err == -ENOSPC || udp_err == -ENOSPC || connections > CONNECTIONS_MAX)
		all->gap = "there are more TCP or UDP sockets than one look takes";
	else if (!inet->tcp)
		all->gap = "the guest's kernel does not tell where its TCP sockets are";
	else if (!inet->udp)
		all->gap = "the guest's kernel does not tell where its UDP sockets are";
	err = err == -ENOSPC ? 0 : err;
	return err || udp_err == -ENOSPC ? err : udp_err;
}
