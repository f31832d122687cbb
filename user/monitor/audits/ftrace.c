// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who is called with the kernel's functions by ftrace: callbacks, those that fprobes call on, and
 * the functions that are called in place of others (direct calls).
 */
#include "code.h"
#include "ftrace_fprobes.h"
#include "records.h"
#include "../text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	FTRACE_OPS_MAX = 1024,
	HASH_BITS_MAX = 12,	    /* FTRACE_HASH_MAX_BITS */
	FTRACE_STEPS_MAX = 1 << 17, /* functions in a look at all callbacks; a kernel has 60000 */
	FUNCTION_NAME_MAX = 40,
};

/* Bits of ftrace_ops.flags that tell of a hook (include/linux/ftrace.h). */
static const struct {
	unsigned int bit;
	const char *name;
} flag_names[] = {
	{ 2, "SAVE_REGS" },
	{ 12, "IPMODIFY" },
	{ 16, "PERMANENT" },
	{ 17, "DIRECT" },
};

struct ftrace {
	struct ka_member func, next, flags, saved, hash, filter; /* ftrace_ops */
	struct ka_member bits, buckets, count;			 /* ftrace_hash */
	struct ka_member link, ip, direct;			 /* ftrace_func_entry */
	struct ka_member fprobe_ops, fprobe_entry, fprobe_exit;
	uint64_t list, end;
	uint64_t direct_functions;  /* 0: this kernel has none */
	uint64_t fprobe_handler[2]; /* 0: nor such */
	struct fprobes fprobes;	    /* of a kernel that has them elsewhere */
	struct code_bpf bpf;
	bool has_bpf, bpf_read; /* the latter: in this look */
	size_t steps;		/* of this look */
	uint8_t heads[8 << HASH_BITS_MAX];
};

static void find_more(const struct audit_view *view, struct ftrace *ftrace)
{
	unsigned int word = records_word(view);

	if (RECORDS_FIND(view->types, { "ftrace_func_entry", "direct", &ftrace->direct, word }))
		ka_kernel_symbol(view->kernel, "direct_functions", &ftrace->direct_functions);
	ftrace->has_bpf = !code_bpf_prepare(view, &ftrace->bpf);
	fprobes_prepare(view, &ftrace->fprobes);
	if (!RECORDS_FIND(view->types, { "fprobe", "ops", &ftrace->fprobe_ops, 0 },
			  { "fprobe", "entry_handler", &ftrace->fprobe_entry, word },
			  { "fprobe", "exit_handler", &ftrace->fprobe_exit, word }))
		return;
	ka_kernel_symbol(view->kernel, "fprobe_handler", &ftrace->fprobe_handler[0]);
	ka_kernel_symbol(view->kernel, "fprobe_kprobe_handler", &ftrace->fprobe_handler[1]);
}

static int ftrace_prepare(const struct audit_view *view, void **ret_state)
{
	struct ftrace *ftrace = calloc(1, sizeof(*ftrace));
	unsigned int word = records_word(view);

	if (!ftrace)
		return -ENOMEM;
	if (ka_kernel_symbol(view->kernel, "ftrace_ops_list", &ftrace->list) ||
	    ka_kernel_symbol(view->kernel, "ftrace_list_end", &ftrace->end) ||
	    !RECORDS_FIND(view->types, { "ftrace_ops", "func", &ftrace->func, word },
			  { "ftrace_ops", "next", &ftrace->next, word },
			  { "ftrace_ops", "flags", &ftrace->flags, word },
			  { "ftrace_ops", "saved_func", &ftrace->saved, word },
			  { "ftrace_ops", "func_hash", &ftrace->hash, word },
			  { "ftrace_ops_hash", "filter_hash", &ftrace->filter, word },
			  { "ftrace_hash", "size_bits", &ftrace->bits, word },
			  { "ftrace_hash", "buckets", &ftrace->buckets, word },
			  { "ftrace_hash", "count", &ftrace->count, word },
			  { "ftrace_func_entry", "hlist", &ftrace->link, 2 * word },
			  { "ftrace_func_entry", "ip", &ftrace->ip, word })) {
		free(ftrace);
		return -ENODATA;
	}
	find_more(view, ftrace);
	*ret_state = ftrace;
	return 0;
}

/* ---- hashes of functions -------------------------------------------------------------------- */

/* What is called for each entry. */
struct hash_walk {
	int (*each)(struct hash_walk *walk, uint64_t entry, uint64_t ip, uint64_t direct);
	const struct audit_view *view;
	struct ftrace *ftrace;
	struct audit_result *result;
	uint64_t first; /* the lowest of the functions */
	size_t count;
};

static int walk_chain(struct hash_walk *walk, uint64_t entry)
{
	struct ftrace *ftrace = walk->ftrace;
	unsigned int word = records_word(walk->view);
	int err = 0;

	while (!err && entry) {
		uint64_t base = entry - ftrace->link.offset, next = 0, ip = 0, direct = 0;
		struct ka_piece pieces[] = {
			{ .address = entry, .buf = &next, .len = word },
			{ .address = base + ftrace->ip.offset, .buf = &ip, .len = word },
			{ .address = base + ftrace->direct.offset, .buf = &direct, .len = word },
		};

		if (ftrace->steps++ >= FTRACE_STEPS_MAX)
			return -EAGAIN;
		walk->count++;
		err = records_read(walk->view, pieces, ftrace->direct.size ? 3 : 2);
		if (!err)
			err = walk->each(walk, base, ip, direct);
		entry = next;
	}
	return err;
}

/* `hash`: a struct ftrace_hash. */
static int walk_hash(struct hash_walk *walk, uint64_t hash)
{
	struct ftrace *ftrace = walk->ftrace;
	unsigned int word = records_word(walk->view);
	uint64_t bits = 0, buckets = 0, count = 0;
	struct ka_piece pieces[] = {
		{ .address = hash + ftrace->bits.offset, .buf = &bits, .len = word },
		{ .address = hash + ftrace->buckets.offset, .buf = &buckets, .len = word },
		{ .address = hash + ftrace->count.offset, .buf = &count, .len = word },
	};
	struct ka_piece heads = { .address = 0, .buf = ftrace->heads };
	int err = records_read(walk->view, pieces, 3);

	if (err || !count)
		return err;
	if (bits > HASH_BITS_MAX)
		return -EAGAIN;
	heads.address = buckets;
	heads.len = word << bits;
	err = records_read(walk->view, &heads, 1);
	for (size_t i = 0; !err && i < (size_t)1 << bits; i++)
		err = walk_chain(walk, records_word_at(walk->view, ftrace->heads + i * word));
	return err;
}

static int note_function(struct hash_walk *walk, uint64_t entry, uint64_t ip, uint64_t direct)
{
	(void)entry, (void)direct;
	if (!walk->first || ip < walk->first)
		walk->first = ip;
	return 0;
}

/* Names what a callback is asked for: that says what it is after. */
static void name_functions(const struct audit_view *view, struct ftrace *ftrace, uint64_t hash,
			   char *buf, size_t size)
{
	struct hash_walk walk = { .each = note_function, .view = view, .ftrace = ftrace };
	char name[FUNCTION_NAME_MAX];
	const char *first;
	unsigned int more;

	if (records_read_word(view, hash + ftrace->filter.offset, &hash) ||
	    (hash && walk_hash(&walk, hash))) {
		snprintf(buf, size, "unknown functions");
		return;
	}
	if (!walk.count) {
		snprintf(buf, size, "every function");
		return;
	}
	first = code_function_name(view, walk.first);
	text_clean(name, sizeof(name), first ? first : "unknown function");
	more = (unsigned int)(walk.count - 1);
	snprintf(buf, size, more ? "%s and %u more" : "%s", name, more);
}

/* ---- callbacks ------------------------------------------------------------------------------ */

static void flags_text(uint64_t flags, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++)
		if (flags >> flag_names[i].bit & 1 && len < size)
			len += (size_t)snprintf(buf + len, size - len, "%s%s", len ? " " : "",
						flag_names[i].name);
}

struct ops {
	uint64_t gva, func, next, flags, saved, hash;
};

static int ops_read(const struct audit_view *view, const struct ftrace *ftrace, uint64_t gva,
		    struct ops *ret_ops)
{
	unsigned int word = records_word(view);
	struct ops ops = { .gva = gva };
	struct ka_piece pieces[] = {
		{ .address = gva + ftrace->func.offset, .buf = &ops.func, .len = word },
		{ .address = gva + ftrace->next.offset, .buf = &ops.next, .len = word },
		{ .address = gva + ftrace->flags.offset, .buf = &ops.flags, .len = word },
		{ .address = gva + ftrace->saved.offset, .buf = &ops.saved, .len = word },
		{ .address = gva + ftrace->hash.offset, .buf = &ops.hash, .len = word },
	};
	int err = records_read(view, pieces, sizeof(pieces) / sizeof(pieces[0]));

	if (!err)
		*ret_ops = ops;
	return err;
}

static void tell_callback(const struct audit_view *view, struct ftrace *ftrace,
			  const struct ops *ops, uint64_t place, uint64_t target,
			  struct audit_result *result)
{
	struct difference *difference;
	char flags[64];

	if (!code_is_foreign(view, target))
		return;
	difference = audit_add(result, CHECK_FTRACE, OBJECT_FTRACE_CALLBACK, place);
	if (!difference)
		return;
	difference->gva = place;
	name_functions(view, ftrace, ops->hash, difference->name, sizeof(difference->name));
	flags_text(ops->flags, flags, sizeof(flags));
	code_tell(view, difference, target, flags);
}

static int look_at_fprobe(const struct audit_view *view, struct ftrace *ftrace,
			  const struct ops *ops, struct audit_result *result)
{
	uint64_t fprobe = ops->gva - ftrace->fprobe_ops.offset;
	uint64_t places[] = { fprobe + ftrace->fprobe_entry.offset,
			      fprobe + ftrace->fprobe_exit.offset };
	uint64_t target;
	int err = 0;

	for (int i = 0; !err && i < 2; i++) {
		err = records_read_word(view, places[i], &target);
		if (!err)
			tell_callback(view, ftrace, ops, places[i], target, result);
	}
	return err;
}

static int look_at_ops(const struct audit_view *view, struct ftrace *ftrace, const struct ops *ops,
		       struct audit_result *result)
{
	/* One that is asked for some processes only has its own function in the other place. */
	if (code_is_foreign(view, ops->func))
		tell_callback(view, ftrace, ops, ops->gva + ftrace->func.offset, ops->func, result);
	else
		tell_callback(view, ftrace, ops, ops->gva + ftrace->saved.offset, ops->saved,
			      result);
	if (ops->func &&
	    (ops->func == ftrace->fprobe_handler[0] || ops->func == ftrace->fprobe_handler[1]))
		return look_at_fprobe(view, ftrace, ops, result);
	return 0;
}

static int look_at_callbacks(const struct audit_view *view, struct ftrace *ftrace,
			     struct audit_result *result)
{
	struct ops ops = { 0 };
	uint64_t at;
	int err = records_read_word(view, ftrace->list, &at);

	for (size_t i = 0; !err && at && at != ftrace->end; i++) {
		if (i == FTRACE_OPS_MAX)
			return -EAGAIN;
		err = ops_read(view, ftrace, at, &ops);
		if (!err)
			err = look_at_ops(view, ftrace, &ops, result);
		at = ops.next;
	}
	return err;
}

/* ---- direct calls --------------------------------------------------------------------------- */

/* A trampoline of BPF programs. */
static int is_bpf(const struct audit_view *view, struct ftrace *ftrace, uint64_t gva, bool *ret_is)
{
	int err = 0;

	if (ftrace->has_bpf && !ftrace->bpf_read)
		err = code_bpf_read(view, &ftrace->bpf);
	if (err)
		return err;
	ftrace->bpf_read = true;
	*ret_is = ftrace->has_bpf && code_bpf_has(&ftrace->bpf, gva);
	return 0;
}

static int look_at_direct(struct hash_walk *walk, uint64_t entry, uint64_t ip, uint64_t direct)
{
	const struct audit_view *view = walk->view;
	uint64_t place = entry + walk->ftrace->direct.offset;
	struct difference *difference;
	const char *name;
	bool explained;
	int err;

	if (!code_is_foreign(view, direct))
		return 0;
	err = is_bpf(view, walk->ftrace, direct, &explained);
	if (err || explained)
		return err;
	difference = audit_add(walk->result, CHECK_FTRACE, OBJECT_FTRACE_CALLBACK, place);
	if (!difference)
		return 0;
	difference->gva = place;
	name = code_function_name(view, ip);
	text_clean(difference->name, sizeof(difference->name), name ? name : "unknown function");
	code_tell(view, difference, direct, "DIRECT");
	return 0;
}

static int ftrace_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	struct ftrace *ftrace = state;
	struct hash_walk walk = {
		.each = look_at_direct, .view = view, .ftrace = ftrace, .result = result
	};
	uint64_t hash;
	int err;

	ftrace->steps = 0;
	ftrace->bpf_read = false;
	err = look_at_callbacks(view, ftrace, result);
	if (!err)
		err = fprobes_look(view, &ftrace->fprobes, result);
	if (err || !ftrace->direct_functions)
		return err;
	err = records_read_word(view, ftrace->direct_functions, &hash);
	return err || !hash ? err : walk_hash(&walk, hash);
}

static void ftrace_release(void *state)
{
	struct ftrace *ftrace = state;

	code_bpf_release(&ftrace->bpf);
	free(ftrace);
}

const struct audit audit_ftrace = {
	.needs_modules = true,
	.prepare = ftrace_prepare,
	.look = ftrace_look,
	.release = ftrace_release,
};
