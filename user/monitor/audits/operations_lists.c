// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Lists of callbacks that the kernel keeps: netfilter hooks, notifiers, protocols, packet handlers,
 * program formats, security hooks, and what the roots of mounted file systems do.
 */
#include "operations.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HOOKS_MAX = 1024, PROTOCOLS = 256, NETFILTER_FAMILIES = 4, SECURITY_HEADS_MAX = 1024 };

/* What is told of keys, terminals, modules, reboots, oopses, and network devices and addresses. */
static const struct {
	const char *symbol, *type;
} chains[] = {
	{ "keyboard_notifier_list", "atomic_notifier_head" },
	{ "vt_notifier_list", "atomic_notifier_head" },
	{ "die_chain", "atomic_notifier_head" },
	{ "panic_notifier_list", "atomic_notifier_head" },
	{ "module_notify_list", "blocking_notifier_head" },
	{ "reboot_notifier_list", "blocking_notifier_head" },
	{ "inetaddr_chain", "blocking_notifier_head" },
	{ "netdev_chain", "raw_notifier_head" },
};

enum { CHAINS = sizeof(chains) / sizeof(chains[0]) };

static const struct {
	const char *name, *path;
} families[NETFILTER_FAMILIES] = {
	{ "netfilter ipv4", "nf.hooks_ipv4" },
	{ "netfilter ipv6", "nf.hooks_ipv6" },
	{ "netfilter arp", "nf.hooks_arp" },
	{ "netfilter bridge", "nf.hooks_bridge" },
};

struct operations_lists {
	uint64_t chains[CHAINS]; /* of their first link; 0: this kernel has it not */
	struct ka_member call, next;
	uint64_t init_net;
	struct ka_member netfilter[NETFILTER_FAMILIES]; /* size 0: not there */
	struct ka_member hook_count, hooks;
	uint32_t hook_size;
	uint64_t protocols[2]; /* inet_protos, inet6_protos */
	uint32_t protocol_sizes[2];
	uint64_t formats, packets;
	struct ka_member format, load_binary, packet, packet_func;
	uint64_t super_blocks, security;
	uint32_t security_size;
	struct ka_member security_link, security_hook;
	struct ka_member super_block, super_type, type_name, super_ops, super_root, inode;
	struct ka_member inode_ops, file_ops;
	uint32_t super_ops_size, inode_ops_size, file_ops_size;
};

static void find_chains(const struct audit_view *view, struct operations_lists *lists)
{
	unsigned int word = records_word(view);
	struct ka_member head;

	if (!RECORDS_FIND(view->types, { "notifier_block", "notifier_call", &lists->call, word },
			  { "notifier_block", "next", &lists->next, word }))
		return;
	for (int i = 0; i < CHAINS; i++)
		if (RECORDS_FIND(view->types, { chains[i].type, "head", &head, word }) &&
		    !ka_kernel_symbol(view->kernel, chains[i].symbol, &lists->chains[i]))
			lists->chains[i] += head.offset;
}

static void find_net(const struct audit_view *view, struct operations_lists *lists)
{
	unsigned int word = records_word(view);
	struct ka_member packets;
	uint64_t hot;

	if (!ka_kernel_symbol(view->kernel, "init_net", &lists->init_net) &&
	    RECORDS_FIND(view->types,
			 { "nf_hook_entries", "num_hook_entries", &lists->hook_count, 2 },
			 { "nf_hook_entries", "hooks", &lists->hooks, 0 }) &&
	    !ka_types_size(view->types, "nf_hook_entry", &lists->hook_size))
		for (int i = 0; i < NETFILTER_FAMILIES; i++)
			if (ka_types_member(view->types, "net", families[i].path,
					    &lists->netfilter[i]))
				lists->netfilter[i].size = 0;
	if (!ka_types_size(view->types, "net_protocol", &lists->protocol_sizes[0]))
		ka_kernel_symbol(view->kernel, "inet_protos", &lists->protocols[0]);
	if (!ka_types_size(view->types, "inet6_protocol", &lists->protocol_sizes[1]))
		ka_kernel_symbol(view->kernel, "inet6_protos", &lists->protocols[1]);
	if (!RECORDS_FIND(view->types, { "packet_type", "list", &lists->packet, 2 * word },
			  { "packet_type", "func", &lists->packet_func, word }))
		return;
	/* 6.9 (0b91fa4bfb1c, "net: move ptype_all into net_hotdata"). */
	if (ka_kernel_symbol(view->kernel, "ptype_all", &lists->packets) &&
	    !ka_kernel_symbol(view->kernel, "net_hotdata", &hot) &&
	    RECORDS_FIND(view->types, { "net_hotdata", "ptype_all", &packets, 2 * word }))
		lists->packets = hot + packets.offset;
}

static void find_files(const struct audit_view *view, struct operations_lists *lists)
{
	unsigned int word = records_word(view);

	if (RECORDS_FIND(view->types, { "linux_binfmt", "lh", &lists->format, 2 * word },
			 { "linux_binfmt", "load_binary", &lists->load_binary, word }))
		ka_kernel_symbol(view->kernel, "formats", &lists->formats);
	/* Up to 6.11: since 417c5643cd67 ("lsm: replace indirect LSM hook calls with static calls")
	 * they are calls in the text. */
	if (RECORDS_FIND(view->types,
			 { "security_hook_list", "list", &lists->security_link, 2 * word },
			 { "security_hook_list", "hook", &lists->security_hook, word }) &&
	    !ka_types_size(view->types, "security_hook_heads", &lists->security_size) &&
	    lists->security_size <= SECURITY_HEADS_MAX * word)
		ka_kernel_symbol(view->kernel, "security_hook_heads", &lists->security);
	if (RECORDS_FIND(view->types, { "super_block", "s_list", &lists->super_block, 2 * word },
			 { "super_block", "s_type", &lists->super_type, word },
			 { "file_system_type", "name", &lists->type_name, word },
			 { "super_block", "s_op", &lists->super_ops, word },
			 { "super_block", "s_root", &lists->super_root, word },
			 { "dentry", "d_inode", &lists->inode, word },
			 { "inode", "i_op", &lists->inode_ops, word },
			 { "inode", "i_fop", &lists->file_ops, word }) &&
	    !ka_types_size(view->types, "super_operations", &lists->super_ops_size) &&
	    !ka_types_size(view->types, "inode_operations", &lists->inode_ops_size) &&
	    !ka_types_size(view->types, "file_operations", &lists->file_ops_size))
		ka_kernel_symbol(view->kernel, "super_blocks", &lists->super_blocks);
}

int operations_lists_prepare(const struct audit_view *view, struct operations_lists **ret_lists)
{
	struct operations_lists *lists = calloc(1, sizeof(*lists));

	if (!lists)
		return -ENOMEM;
	find_chains(view, lists);
	find_net(view, lists);
	find_files(view, lists);
	*ret_lists = lists;
	return 0;
}

/* ---- walks ---------------------------------------------------------------------------------- */

/* Where structs of a list have what. */
struct linked {
	uint64_t target; /* what links lead to */
	uint64_t next;	 /* the link */
	uint64_t call;	 /* a pointer to a function */
};

static int walk_linked(struct operations_look *look, const struct linked *linked, uint64_t at,
		       uint64_t end)
{
	unsigned int word = records_word(look->view);
	int err = 0;

	while (!err && at != end) {
		uint64_t base = at - linked->target, next = 0, call = 0;
		struct ka_piece pieces[] = {
			{ .address = base + linked->next, .buf = &next, .len = word },
			{ .address = base + linked->call, .buf = &call, .len = word },
		};

		err = operations_step(look) ? records_read(look->view, pieces, 2) : -EAGAIN;
		if (!err)
			operations_pointer(look, base + linked->call, call);
		at = next;
	}
	return err;
}

static int look_at_chains(struct operations_look *look, const struct operations_lists *lists)
{
	const struct linked block = { .next = lists->next.offset, .call = lists->call.offset };
	int err = 0;

	look->rule = OPERATIONS_VENDOR;
	for (int i = 0; !err && i < CHAINS; i++) {
		uint64_t at;

		if (!lists->chains[i])
			continue;
		look->name = chains[i].symbol;
		err = records_read_word(look->view, lists->chains[i], &at);
		if (!err)
			err = walk_linked(look, &block, at, 0);
	}
	return err;
}

static int walk_heads(struct operations_look *look, uint64_t head, const struct ka_member *link,
		      const struct ka_member *call)
{
	const struct linked linked = { link->offset, link->offset, call->offset };
	uint64_t at;
	int err = records_read_word(look->view, head, &at);

	return err ? err : walk_linked(look, &linked, at, head);
}

/* `table`: a struct nf_hook_entries. */
static int look_at_hooks(struct operations_look *look, const struct operations_lists *lists,
			 uint64_t table)
{
	unsigned int word = records_word(look->view);
	uint16_t count = 0;
	struct ka_piece piece = { .address = table + lists->hook_count.offset,
				  .buf = &count,
				  .len = 2 };
	uint64_t target;
	int err = records_read(look->view, &piece, 1);

	if (count > HOOKS_MAX || lists->hook_size < word)
		return -EAGAIN;
	for (unsigned int i = 0; !err && i < count; i++) {
		uint64_t place = table + lists->hooks.offset + i * lists->hook_size;

		err = operations_step(look) ? records_read_word(look->view, place, &target)
					    : -EAGAIN;
		if (!err)
			operations_pointer(look, place, target);
	}
	return err;
}

static int look_at_netfilter(struct operations_look *look, const struct operations_lists *lists)
{
	unsigned int word = records_word(look->view);
	char name[32];
	int err = 0;

	look->rule = OPERATIONS_VENDOR;
	for (int i = 0; i < NETFILTER_FAMILIES; i++)
		for (uint32_t at = 0; !err && at + word <= lists->netfilter[i].size; at += word) {
			uint64_t table;

			snprintf(name, sizeof(name), "%s %u", families[i].name, at / word);
			look->name = name;
			err = records_read_word(look->view,
						lists->init_net + lists->netfilter[i].offset + at,
						&table);
			if (!err && table)
				err = look_at_hooks(look, lists, table);
		}
	return err;
}

static int look_at_protocols(struct operations_look *look, uint64_t array, uint32_t size)
{
	unsigned int word = records_word(look->view);
	uint8_t bytes[PROTOCOLS * 8];
	struct ka_piece piece = { .address = array, .buf = bytes, .len = PROTOCOLS * word };
	char name[32];
	int err = array ? records_read(look->view, &piece, 1) : 0;

	look->rule = OPERATIONS_VENDOR;
	for (unsigned int i = 0; array && !err && i < PROTOCOLS; i++) {
		uint64_t table = records_word_at(look->view, bytes + i * word);

		snprintf(name, sizeof(name), "protocol %u", i);
		look->name = name;
		if (table)
			err = operations_table(look, table, size);
	}
	return err;
}

/* The security hooks that are called in turn; heads without an end. */
static int look_at_security(struct operations_look *look, const struct operations_lists *lists)
{
	const struct linked linked = { lists->security_link.offset, lists->security_link.offset,
				       lists->security_hook.offset };
	unsigned int word = records_word(look->view);
	int err = 0;

	look->rule = OPERATIONS_KERNEL;
	look->name = "security hook";
	for (uint32_t at = 0; lists->security && !err && at + word <= lists->security_size;
	     at += word) {
		uint64_t first;

		err = records_read_word(look->view, lists->security + at, &first);
		if (!err)
			err = walk_linked(look, &linked, first, 0);
	}
	return err;
}

/* ---- file systems --------------------------------------------------------------------------- */

static int look_at_table(struct operations_look *look, uint64_t place, uint32_t size)
{
	uint64_t table;
	int err = records_read_word(look->view, place, &table);

	return err || !table ? err : operations_table(look, table, size);
}

static int look_at_root(struct operations_look *look, const struct operations_lists *lists,
			uint64_t dentry)
{
	uint64_t inode;
	int err = records_read_word(look->view, dentry + lists->inode.offset, &inode);

	if (err || !inode)
		return err;
	err = look_at_table(look, inode + lists->inode_ops.offset, lists->inode_ops_size);
	return err ? err
		   : look_at_table(look, inode + lists->file_ops.offset, lists->file_ops_size);
}

static int look_at_super_block(struct operations_look *look, const struct operations_lists *lists,
			       uint64_t super)
{
	unsigned int word = records_word(look->view);
	uint64_t type = 0, root = 0, name = 0;
	char buf[32], text[48];
	struct ka_piece pieces[] = {
		{ .address = super + lists->super_type.offset, .buf = &type, .len = word },
		{ .address = super + lists->super_root.offset, .buf = &root, .len = word },
	};
	int err = records_read(look->view, pieces, 2);

	if (!err)
		err = records_read_word(look->view, type + lists->type_name.offset, &name);
	if (err || !root)
		return err;
	records_read_string(look->view, name, buf, sizeof(buf));
	snprintf(text, sizeof(text), "file system %s", buf);
	look->name = text;
	err = look_at_table(look, super + lists->super_ops.offset, lists->super_ops_size);
	return err ? err : look_at_root(look, lists, root);
}

static int look_at_super_blocks(struct operations_look *look, const struct operations_lists *lists)
{
	uint64_t at = 0;
	int err = lists->super_blocks ? records_read_word(look->view, lists->super_blocks, &at) : 0;

	look->rule = OPERATIONS_VENDOR;
	while (!err && lists->super_blocks && at != lists->super_blocks) {
		if (!operations_step(look))
			return -EAGAIN;
		err = look_at_super_block(look, lists, at - lists->super_block.offset);
		if (!err)
			err = records_read_word(look->view, at, &at);
	}
	return err;
}

int operations_lists_look(struct operations_look *look, const struct operations_lists *lists)
{
	int err = look_at_chains(look, lists);

	if (!err)
		err = look_at_netfilter(look, lists);
	for (int i = 0; !err && i < 2; i++)
		err = look_at_protocols(look, lists->protocols[i], lists->protocol_sizes[i]);
	if (!err)
		err = look_at_security(look, lists);
	look->rule = OPERATIONS_VENDOR;
	look->name = "program format";
	if (!err && lists->formats)
		err = walk_heads(look, lists->formats, &lists->format, &lists->load_binary);
	look->name = "packet handler";
	if (!err && lists->packets)
		err = walk_heads(look, lists->packets, &lists->packet, &lists->packet_func);
	return err ? err : look_at_super_blocks(look, lists);
}
