// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sockets that hide: the kernel hands them what comes in, and they are missing from what it lists.
 */
#include "sockets.h"

#include "../clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TICKS_MIN = 100 }; /* of the guest's, so that it ran meanwhile */

/* One that is being opened or closed is in one of the tables only, for a moment. */
#define SETTLE_NS (2 * NS_PER_S)

struct sockets {
	uint64_t jiffies;
	struct ka_member uid;	       /* of sock */
	struct sockets_packet *packet; /* NULL: this kernel does not tell of them */
	struct sockets_inet *inet;
	struct socket_suspect suspects[SOCKETS_SUSPECTS_MAX]; /* of the last look */
	size_t count;
};

/* What each is called, what it does, and the tables that should have it and that do. */
static const struct {
	const char *name, *does, *missing, *expected, *observed;
} sights[] = {
	[SOCKET_PACKET] = { "packet 0x%04x", "is handed packets", "list", "list handler",
			    "handler" },
	[SOCKET_LISTENS] = { "tcp %u", "listens", "listeners", "ports listeners", "ports" },
	[SOCKET_CONNECTED] = { "tcp %u", "is connected", "connections", "ports connections",
			       "ports" },
	[SOCKET_UDP] = { "udp %u", "receives", "ports", "addresses ports", "addresses" },
};

static void sockets_release(void *state)
{
	struct sockets *sockets = state;

	if (!sockets)
		return;
	free(sockets->packet);
	free(sockets->inet);
	free(sockets);
}

static int sockets_prepare(const struct audit_view *view, void **ret_state)
{
	struct sockets *sockets = calloc(1, sizeof(*sockets));
	int err = sockets ? sockets_packet_prepare(view, &sockets->packet) : -ENOMEM;

	if (!err || err == -ENODATA)
		err = sockets_inet_prepare(view, &sockets->inet);
	if (err == -ENODATA && sockets->packet)
		err = 0;
	if (!err && ((ka_kernel_symbol(view->kernel, "jiffies_64", &sockets->jiffies) &&
		      ka_kernel_symbol(view->kernel, "jiffies", &sockets->jiffies)) ||
		     !RECORDS_FIND(view->types, { "sock", "sk_uid", &sockets->uid, 4 })))
		err = -ENODATA;
	if (err) {
		sockets_release(sockets);
		return err;
	}
	*ret_state = sockets;
	return 0;
}

void sockets_suspect(struct sockets_look *look, const struct socket_suspect *suspect)
{
	if (look->count < SOCKETS_SUSPECTS_MAX)
		look->suspects[look->count++] = *suspect;
}

static bool is_same(const struct socket_suspect *a, const struct socket_suspect *b)
{
	return a->socket == b->socket && a->kind == b->kind && a->number == b->number &&
	       a->hash == b->hash;
}

/* One that was suspect before keeps its age. */
static void remember(struct sockets *sockets, struct sockets_look *look)
{
	uint64_t now = clock_mono();

	for (size_t i = 0; i < look->count; i++) {
		struct socket_suspect *suspect = &look->suspects[i];

		suspect->since_ns = now;
		suspect->since_ticks = look->ticks;
		for (size_t j = 0; j < sockets->count; j++)
			if (is_same(&sockets->suspects[j], suspect))
				*suspect = sockets->suspects[j];
	}
	memcpy(sockets->suspects, look->suspects, look->count * sizeof(look->suspects[0]));
	sockets->count = look->count;
}

static int tell_socket(const struct sockets *sockets, const struct audit_view *view,
		       const struct socket_suspect *suspect, struct audit_result *result)
{
	struct difference *difference =
		audit_add(result, CHECK_SOCKETS, OBJECT_SOCKET, suspect->socket);
	uint32_t uid = 0;
	struct ka_piece piece = { .address = suspect->socket + sockets->uid.offset,
				  .buf = &uid,
				  .len = sizeof(uid) };
	int err = records_read(view, &piece, 1);

	if (err || !difference)
		return err;
	snprintf(difference->name, sizeof(difference->name), sights[suspect->kind].name,
		 suspect->number);
	difference->gva = suspect->socket;
	difference->problem = "hidden";
	snprintf(difference->what, sizeof(difference->what), "(uid %u) %s, but is hidden from: %s",
		 uid, sights[suspect->kind].does, sights[suspect->kind].missing);
	snprintf(difference->expected_text, sizeof(difference->expected_text), "%s",
		 sights[suspect->kind].expected);
	snprintf(difference->observed_text, sizeof(difference->observed_text), "%s",
		 sights[suspect->kind].observed);
	return 0;
}

/* Sockets come and go by the thousand. Where one was freed as it was read, its links lead nowhere. */
static int unless_freed(int err)
{
	return err == -EINVAL || err == -EFAULT || err == -ENXIO ? -EAGAIN : err;
}

static int sockets_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	struct sockets *sockets = state;
	struct sockets_look look = { .view = view };
	uint64_t now = clock_mono();
	int err = records_read_word(view, sockets->jiffies, &look.ticks);

	if (!err && sockets->packet)
		err = sockets_packet_look(&look, sockets->packet);
	else if (!err)
		look.gap = "the guest's kernel does not tell where its packet sockets are";
	if (!err && sockets->inet)
		err = sockets_inet_look(&look, sockets->inet);
	else if (!err)
		look.gap = "the guest's kernel does not tell where its TCP and UDP sockets are";
	if (err)
		return unless_freed(err);
	result->gap = look.gap;
	remember(sockets, &look);
	for (size_t i = 0; !err && i < look.count; i++)
		if (now - look.suspects[i].since_ns >= SETTLE_NS &&
		    look.ticks - look.suspects[i].since_ticks >= TICKS_MIN)
			err = tell_socket(sockets, view, &look.suspects[i], result);
	return err;
}

const struct audit audit_sockets = {
	.period_ms = 1000,
	.prepare = sockets_prepare,
	.look = sockets_look,
	.release = sockets_release,
};
