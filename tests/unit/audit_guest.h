/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A made-up guest for audits: a piece of memory in its kernel's image, members of structs and
 * symbols at places of our choosing, one module. Include it before the audits' own sources.
 */
#ifndef TESTS_AUDIT_GUEST_H
#define TESTS_AUDIT_GUEST_H

#include "monitor/audit.h"

#include <errno.h>
#include <kvmaccess.h>
#include <string.h>

enum { MEMORY_BYTES = 1 << 16, MEMBERS_MAX = 160, SYMBOLS_MAX = 32 };

#define IMAGE 0xffffffff81000000ull
#define TEXT_END (IMAGE + 0x800000)
#define MEMORY (IMAGE + 0x1000000)
#define MODULE_TEXT 0xffffffffc0001000ull
#define NOWHERE 0xffffffffd0000000ull

static struct audit_guest {
	uint8_t memory[MEMORY_BYTES];
	bool everywhere; /* each address is somewhere in it: the memory of a fuzzer */
	unsigned long reads;
	struct {
		const char *type, *path;
		struct ka_member member;
	} members[MEMBERS_MAX];
	size_t members_count;
	struct {
		const char *name;
		uint64_t gva;
	} symbols[SYMBOLS_MAX];
	size_t symbols_count;
} audit_guest;

static struct ka_module audit_modules_there[] = {
	{ .name = "evil", .text_start = MODULE_TEXT, .text_size = 0x1000, .gva = MEMORY + 0xf000 },
};
static struct guest_modules audit_guest_modules = { .modules = audit_modules_there, .count = 1 };
static struct policy audit_guest_policy;
static const struct ka_kernel audit_kernel = {
	.base = IMAGE,
	.text_start = IMAGE,
	.text_end = TEXT_END,
	.image_end = IMAGE + 0x2000000,
};
static const struct audit_view audit_guest_view = {
	.kernel = &audit_kernel,
	.modules = &audit_guest_modules,
	.policy = &audit_guest_policy,
	.first = true,
};

static inline int audit_readv(struct ka_vm *vm, struct ka_piece *pieces, size_t count)
{
	(void)vm;
	for (size_t i = 0; i < count; i++) {
		uint64_t at = pieces[i].address - MEMORY;

		audit_guest.reads++;
		if (audit_guest.everywhere)
			at %= MEMORY_BYTES / 2;
		pieces[i].error =
			at < MEMORY_BYTES && pieces[i].len <= MEMORY_BYTES - at ? 0 : -EFAULT;
		if (!pieces[i].error)
			memcpy(pieces[i].buf, audit_guest.memory + at, pieces[i].len);
	}
	return 0;
}

static inline int audit_gva_read(struct ka_vm *vm, uint64_t gva, void *buf, size_t len)
{
	struct ka_piece piece = { .address = gva, .buf = buf, .len = (uint32_t)len };

	audit_readv(vm, &piece, 1);
	return piece.error;
}

static inline int audit_types_member(const struct ka_types *types, const char *type,
				     const char *path, struct ka_member *ret_member)
{
	(void)types;
	for (size_t i = 0; i < audit_guest.members_count; i++)
		if (!strcmp(audit_guest.members[i].type, type) &&
		    !strcmp(audit_guest.members[i].path, path)) {
			*ret_member = audit_guest.members[i].member;
			return 0;
		}
	return -ENOENT;
}

static inline int audit_kernel_symbol(const struct ka_kernel *kernel, const char *name,
				      uint64_t *ret_gva)
{
	(void)kernel;
	for (size_t i = 0; i < audit_guest.symbols_count; i++)
		if (!strcmp(audit_guest.symbols[i].name, name)) {
			*ret_gva = audit_guest.symbols[i].gva;
			return 0;
		}
	return -ENODATA;
}

static inline const char *audit_kernel_name(const struct ka_kernel *kernel, uint64_t gva,
					    uint64_t *ret_offset)
{
	if (gva < kernel->text_start || gva >= kernel->text_end)
		return NULL;
	*ret_offset = gva & 0xf;
	return "some_function";
}

/* The module's text, and what is behind it. */
static inline int audit_translate(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva,
				  struct ka_translation *ret_translation)
{
	(void)vm, (void)paging;
	if (gva < MODULE_TEXT)
		return -EFAULT;
	*ret_translation = (struct ka_translation){ .rights = KA_RIGHT_EXEC };
	return 0;
}

#define ka_translate(vm, paging, gva, translation) audit_translate(vm, paging, gva, translation)
#define ka_gva_read(vm, paging, gva, buf, len) ((void)(paging), audit_gva_read(vm, gva, buf, len))
#define ka_readv(vm, pieces, count) audit_readv(vm, pieces, count)
#define ka_types_member(types, type, path, member) audit_types_member(types, type, path, member)
#define ka_types_size(types, type, size) ((void)(types), *(size) = 24, 0)
#define ka_kernel_symbol(kernel, name, gva) audit_kernel_symbol(kernel, name, gva)
#define ka_kernel_name(kernel, gva, offset) audit_kernel_name(kernel, gva, offset)
#define ka_symbols_64bit(symbols) ((void)(symbols), true)

static inline void audit_word(uint64_t gva, uint64_t word)
{
	memcpy(audit_guest.memory + (gva - MEMORY), &word, sizeof(word));
}

static inline void audit_member(const char *type, const char *path, uint32_t offset, uint32_t size)
{
	audit_guest.members[audit_guest.members_count].type = type;
	audit_guest.members[audit_guest.members_count].path = path;
	audit_guest.members[audit_guest.members_count++].member =
		(struct ka_member){ .offset = offset, .size = size };
}

static inline void audit_symbol(const char *name, uint64_t gva)
{
	audit_guest.symbols[audit_guest.symbols_count].name = name;
	audit_guest.symbols[audit_guest.symbols_count++].gva = gva;
}

/* Of ftrace, kprobes and tracepoints. */
static inline void audit_guest_tracing(void)
{
	audit_member("ftrace_ops", "func", 0, 8);
	audit_member("ftrace_ops", "next", 8, 8);
	audit_member("ftrace_ops", "flags", 16, 8);
	audit_member("ftrace_ops", "saved_func", 24, 8);
	audit_member("ftrace_ops", "func_hash", 32, 8);
	audit_member("ftrace_ops_hash", "filter_hash", 8, 8);
	audit_member("ftrace_hash", "size_bits", 0, 8);
	audit_member("ftrace_hash", "buckets", 8, 8);
	audit_member("ftrace_hash", "count", 16, 8);
	audit_member("ftrace_func_entry", "hlist", 0, 16);
	audit_member("ftrace_func_entry", "ip", 16, 8);
	audit_member("ftrace_func_entry", "direct", 24, 8);
	audit_member("fprobe", "ops", 0, 40);
	audit_member("fprobe", "entry_handler", 40, 8);
	audit_member("fprobe", "exit_handler", 48, 8);
	audit_member("bpf_ksym", "lnode", 16, 16);
	audit_member("bpf_ksym", "start", 0, 8);
	audit_member("bpf_ksym", "end", 8, 8);
	audit_member("kprobe", "hlist", 0, 16);
	audit_member("kprobe", "list", 16, 16);
	audit_member("kprobe", "addr", 32, 8);
	audit_member("kprobe", "pre_handler", 40, 8);
	audit_member("kprobe", "post_handler", 48, 8);
	audit_member("kprobe", "flags", 56, 4);
	audit_member("kretprobe", "kp", 0, 64);
	audit_member("kretprobe", "handler", 64, 8);
	audit_member("kretprobe", "entry_handler", 72, 8);
	audit_member("tracepoint", "name", 0, 8);
	audit_member("tracepoint", "funcs", 8, 8);
	audit_member("tracepoint_func", "func", 0, 8);
	audit_member("module", "tracepoints_ptrs", 0, 8);
	audit_member("module", "num_tracepoints", 8, 4);
	audit_symbol("ftrace_ops_list", MEMORY);
	audit_symbol("ftrace_list_end", MEMORY + 0x100);
	audit_symbol("direct_functions", MEMORY + 8);
	audit_symbol("fprobe_handler", IMAGE + 0x100);
	audit_symbol("bpf_kallsyms", MEMORY + 0x200);
	audit_symbol("kprobe_table", MEMORY + 0x400);
	audit_symbol("aggr_pre_handler", IMAGE + 0x200);
	audit_symbol("pre_handler_kretprobe", IMAGE + 0x300);
	audit_symbol("__start___tracepoints_ptrs", MEMORY + 0x800);
	audit_symbol("__stop___tracepoints_ptrs", MEMORY + 0x808);
}

/* Where kernels since 6.14 have fprobes; the symbol is the last one. */
#define AUDIT_FPROBES (MEMORY + 0x3800)

static inline void audit_guest_fprobes(void)
{
	for (size_t i = 0; i < audit_guest.members_count; i++)
		if (!strcmp(audit_guest.members[i].type, "fprobe"))
			audit_guest.members[i].type = "before";
	audit_member("fprobe", "entry_handler", 24, 8);
	audit_member("fprobe", "exit_handler", 32, 8);
	audit_member("fprobe_hlist", "hlist", 0, 16);
	audit_member("fprobe_hlist", "fp", 32, 8);
	audit_member("fprobe_hlist", "size", 40, 4);
	audit_member("fprobe_hlist", "array", 48, 0);
	audit_member("fprobe_hlist_node", "addr", 8, 8);
	audit_symbol("fprobe_table", AUDIT_FPROBES);
}

/* Of /proc, notifiers, netfilter and file systems. */
static inline void audit_guest_operations(void)
{
	audit_member("proc_dir_entry", "proc_iops", 0, 8);
	audit_member("proc_dir_entry", "proc_ops", 8, 8);
	audit_member("proc_dir_entry", "seq_ops", 16, 8);
	audit_member("proc_dir_entry", "subdir.rb_node", 24, 8);
	audit_member("proc_dir_entry", "subdir_node", 32, 24);
	audit_member("proc_dir_entry", "name", 56, 8);
	audit_member("rb_node", "rb_left", 8, 8);
	audit_member("rb_node", "rb_right", 16, 8);
	audit_member("notifier_block", "notifier_call", 0, 8);
	audit_member("notifier_block", "next", 8, 8);
	audit_member("atomic_notifier_head", "head", 8, 8);
	audit_member("net", "nf.hooks_ipv4", 8, 16);
	audit_member("nf_hook_entries", "num_hook_entries", 0, 2);
	audit_member("nf_hook_entries", "hooks", 8, 0);
	audit_member("super_block", "s_list", 0, 16);
	audit_member("super_block", "s_type", 16, 8);
	audit_member("file_system_type", "name", 0, 8);
	audit_member("super_block", "s_op", 24, 8);
	audit_member("super_block", "s_root", 32, 8);
	audit_member("dentry", "d_inode", 0, 8);
	audit_member("inode", "i_op", 0, 8);
	audit_member("inode", "i_fop", 8, 8);
	audit_symbol("tcp4_seq_ops", MEMORY + 0xb00);
	audit_symbol("proc_root", MEMORY + 0xb80);
	audit_symbol("keyboard_notifier_list", MEMORY + 0xc00);
	audit_symbol("init_net", MEMORY + 0xc40);
	audit_symbol("super_blocks", MEMORY + 0xc80);
}

/* The structs that audits of hooks walk, much as Linux has them, and where their lists begin. */
static inline void audit_guest_make(void)
{
	memset(&audit_guest, 0, sizeof(audit_guest));
	audit_guest_tracing();
	audit_guest_operations();
	audit_word(MEMORY + 0xc80, MEMORY + 0xc80);
	audit_word(MEMORY, MEMORY + 0x100);
	audit_word(MEMORY + 0x200, MEMORY + 0x200);
	/* Two tracepoints, relative to the words that lead to them. */
	audit_word(MEMORY + 0x800, 0x100 | (uint64_t)(0x140 - 4) << 32);
}

/* What the audit of sockets goes by, besides: of packet sockets, with no handler and no device. */
static inline void audit_guest_sockets(void)
{
	audit_member("packet_type", "type", 0, 2);
	audit_member("packet_type", "func", 0x10, 8);
	audit_member("packet_type", "af_packet_priv", 0x20, 8);
	audit_member("packet_type", "list", 0x30, 16);
	audit_member("sock", "__sk_common.skc_node", 0x10, 16);
	audit_member("sock", "__sk_common.skc_net.net", 0x20, 8);
	audit_member("sock", "sk_uid", 0x28, 4);
	audit_member("net", "packet.sklist", 0x80, 8);
	audit_member("net", "dev_base_head", 0x90, 16);
	audit_member("net_device", "dev_list", 0x10, 16);
	audit_member("net_device", "ptype_all", 0x20, 16);
	audit_member("net_device", "ptype_specific", 0x30, 16);
	audit_symbol("ptype_all", MEMORY + 0xd00);
	audit_symbol("jiffies", MEMORY + 0xd80);
	audit_symbol("packet_rcv", IMAGE + 0x700);
	audit_word(MEMORY + 0xd00, MEMORY + 0xd00);
	audit_word(MEMORY + 0xc40 + 0x90, MEMORY + 0xc40 + 0x90);
}

/* Tables of TCP and UDP sockets, of two buckets each: where audit_guest_inet() has them. */
enum {
	INET_TCP = 0xe00,
	INET_UDP = 0xe60,
	INET_SPACES = 0xe80,
	INET_PORTS = 0x600,
	INET_LISTENERS = 0x640,
	INET_CONNECTIONS = 0x680,
	INET_SLOTS = 0x6c0,
	INET_SLOTS2 = 0x700,
};

/* Of a kernel whose ports have owners by address. */
static inline void audit_guest_inet_members(void)
{
	audit_member("inet_hashinfo", "ehash", 0, 8);
	audit_member("inet_hashinfo", "ehash_mask", 8, 4);
	audit_member("inet_hashinfo", "bhash", 0x10, 8);
	audit_member("inet_hashinfo", "bhash_size", 0x18, 4);
	audit_member("inet_hashinfo", "lhash2", 0x20, 8);
	audit_member("inet_hashinfo", "lhash2_mask", 0x28, 4);
	audit_member("inet_bind_hashbucket", "chain", 8, 8);
	audit_member("inet_listen_hashbucket", "nulls_head", 8, 8);
	audit_member("inet_ehash_bucket", "chain", 0, 8);
	audit_member("inet_bind_bucket", "node", 0x10, 16);
	audit_member("inet_bind_bucket", "bhash2", 0x20, 8);
	audit_member("inet_bind2_bucket", "bhash_node", 0x10, 16);
	audit_member("inet_bind2_bucket", "owners", 0x20, 8);
	audit_member("sock", "__sk_common.skc_state", 0x2c, 1);
	audit_member("sock", "__sk_common.skc_hash", 0x30, 4);
	audit_member("sock", "__sk_common.skc_num", 0x34, 2);
	audit_member("sock", "__sk_common.skc_bind_node", 0x40, 16);
	audit_member("sock", "__sk_common.skc_portaddr_node", 0x40, 16);
	audit_member("udp_table", "hash", 0, 8);
	audit_member("udp_table", "hash2", 8, 8);
	audit_member("udp_table", "mask", 0x10, 4);
	audit_member("udp_hslot", "head", 0, 8);
	audit_member("net", "hash_mix", 0xa0, 4);
	audit_member("net", "ipv4.tcp_death_row.hashinfo", 0xa8, 8);
	audit_member("net", "list", 0xb0, 16);
	audit_member("net", "ipv4.udp_table", 0x88, 8);
}

/* What the audit of sockets goes by of TCP and UDP, and one network namespace: init_net. */
static inline void audit_guest_inet(void)
{
	const uint64_t net = MEMORY + 0xc40;

	audit_guest_inet_members();
	audit_symbol("tcp_hashinfo", MEMORY + INET_TCP);
	audit_symbol("udp_table", MEMORY + INET_UDP);
	audit_symbol("net_namespace_list", MEMORY + INET_SPACES);
	audit_word(MEMORY + INET_TCP, MEMORY + INET_CONNECTIONS);
	audit_word(MEMORY + INET_TCP + 8, 1);
	audit_word(MEMORY + INET_TCP + 0x10, MEMORY + INET_PORTS);
	audit_word(MEMORY + INET_TCP + 0x18, 2);
	audit_word(MEMORY + INET_TCP + 0x20, MEMORY + INET_LISTENERS);
	audit_word(MEMORY + INET_TCP + 0x28, 1);
	audit_word(MEMORY + INET_UDP, MEMORY + INET_SLOTS);
	audit_word(MEMORY + INET_UDP + 8, MEMORY + INET_SLOTS2);
	audit_word(MEMORY + INET_UDP + 0x10, 1);
	audit_word(net + 0xa0, 5);
	audit_word(net + 0xa8, MEMORY + INET_TCP);
	audit_word(net + 0x88, MEMORY + INET_UDP);
	audit_word(MEMORY + INET_SPACES, net + 0xb0);
	audit_word(net + 0xb0, MEMORY + INET_SPACES);
}

#endif
