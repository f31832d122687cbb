// SPDX-License-Identifier: LGPL-2.1-or-later
/* Who is called at the kernel's probed instructions: handlers of kprobes and of kretprobes. */
#include "code.h"
#include "records.h"
#include "../text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	KPROBE_TABLE_SIZE = 64, /* KPROBE_TABLE_SIZE, kernel/kprobes.c */
	KPROBES_MAX = 1 << 14,
};

/* Bits of kprobe.flags (include/linux/kprobes.h). */
enum { KPROBE_DISABLED = 2, KPROBE_OPTIMIZED = 4, KPROBE_FTRACE = 8 };

struct kprobes {
	struct ka_member hash, list, address, pre, post, flags; /* kprobe */
	struct ka_member inner, handler, entry_handler;		/* kretprobe */
	uint64_t table;
	uint64_t aggregate, kretprobe; /* handlers of the kernel that call others; 0: none such */
	size_t steps;		       /* of this look */
};

static int kprobes_prepare(const struct audit_view *view, void **ret_state)
{
	struct kprobes *kprobes = calloc(1, sizeof(*kprobes));
	unsigned int word = records_word(view);

	if (!kprobes)
		return -ENOMEM;
	if (ka_kernel_symbol(view->kernel, "kprobe_table", &kprobes->table) ||
	    !RECORDS_FIND(view->types, { "kprobe", "hlist", &kprobes->hash, 2 * word },
			  { "kprobe", "list", &kprobes->list, 2 * word },
			  { "kprobe", "addr", &kprobes->address, word },
			  { "kprobe", "pre_handler", &kprobes->pre, word },
			  { "kprobe", "post_handler", &kprobes->post, word },
			  { "kprobe", "flags", &kprobes->flags, 4 },
			  { "kretprobe", "kp", &kprobes->inner, 0 },
			  { "kretprobe", "handler", &kprobes->handler, word },
			  { "kretprobe", "entry_handler", &kprobes->entry_handler, word })) {
		free(kprobes);
		return -ENODATA;
	}
	ka_kernel_symbol(view->kernel, "aggr_pre_handler", &kprobes->aggregate);
	ka_kernel_symbol(view->kernel, "pre_handler_kretprobe", &kprobes->kretprobe);
	*ret_state = kprobes;
	return 0;
}

struct kprobe_look {
	const struct audit_view *view;
	struct kprobes *kprobes;
	struct audit_result *result;
};

struct probe {
	uint64_t gva, next_hashed, next_listed, address, pre, post;
	uint32_t flags;
};

static int probe_read(struct kprobe_look *look, uint64_t gva, struct probe *ret_probe)
{
	const struct kprobes *kprobes = look->kprobes;
	unsigned int word = records_word(look->view);
	struct probe probe = { .gva = gva };
	struct ka_piece pieces[] = {
		{ .address = gva + kprobes->hash.offset, .buf = &probe.next_hashed, .len = word },
		{ .address = gva + kprobes->list.offset, .buf = &probe.next_listed, .len = word },
		{ .address = gva + kprobes->address.offset, .buf = &probe.address, .len = word },
		{ .address = gva + kprobes->pre.offset, .buf = &probe.pre, .len = word },
		{ .address = gva + kprobes->post.offset, .buf = &probe.post, .len = word },
		{ .address = gva + kprobes->flags.offset, .buf = &probe.flags, .len = 4 },
	};
	int err;

	if (look->kprobes->steps++ >= KPROBES_MAX)
		return -EAGAIN;
	err = records_read(look->view, pieces, sizeof(pieces) / sizeof(pieces[0]));
	if (!err)
		*ret_probe = probe;
	return err;
}

static void judge_handler(struct kprobe_look *look, const struct probe *probe, const char *what,
			  uint64_t place, uint64_t target)
{
	struct difference *difference;
	char symbol[KA_MODULE_NAME_MAX], observed[64];
	uint64_t offset = 0;
	const char *name;

	if (!code_is_foreign(look->view, target))
		return;
	difference = audit_add(look->result, CHECK_KPROBES, OBJECT_KPROBE_HANDLER, place);
	if (!difference)
		return;
	difference->gva = place;
	name = ka_kernel_name(look->view->kernel, probe->address, &offset);
	text_clean(symbol, sizeof(symbol) - sizeof("+0x00000000"),
		   name ? name : "unknown function");
	snprintf(difference->name, sizeof(difference->name), offset ? "%s+0x%" PRIx64 : "%s",
		 symbol, offset & UINT32_MAX);
	snprintf(observed, sizeof(observed), "%s%s%s%s", what,
		 probe->flags & KPROBE_OPTIMIZED ? ", optimized" : "",
		 probe->flags & KPROBE_FTRACE ? ", by ftrace" : "",
		 probe->flags & KPROBE_DISABLED ? ", disabled" : "");
	code_tell(look->view, difference, target, observed);
}

static int judge_kretprobe(struct kprobe_look *look, const struct probe *probe)
{
	const struct kprobes *kprobes = look->kprobes;
	uint64_t gva = probe->gva - kprobes->inner.offset, target;
	const struct {
		const char *what;
		uint64_t place;
	} handlers[] = {
		{ "handler of a kretprobe", gva + kprobes->handler.offset },
		{ "entry handler of a kretprobe", gva + kprobes->entry_handler.offset },
	};
	int err = 0;

	for (int i = 0; !err && i < 2; i++) {
		err = records_read_word(look->view, handlers[i].place, &target);
		if (!err)
			judge_handler(look, probe, handlers[i].what, handlers[i].place, target);
	}
	return err;
}

static int judge_probe(struct kprobe_look *look, const struct probe *probe)
{
	const struct kprobes *kprobes = look->kprobes;

	judge_handler(look, probe, "pre_handler", probe->gva + kprobes->pre.offset, probe->pre);
	judge_handler(look, probe, "post_handler", probe->gva + kprobes->post.offset, probe->post);
	return probe->pre && probe->pre == kprobes->kretprobe ? judge_kretprobe(look, probe) : 0;
}

/* Several probes of one instruction: the table has one that calls those of its list. */
static int judge_aggregate(struct kprobe_look *look, const struct probe *aggregate)
{
	uint64_t offset = look->kprobes->list.offset, head = aggregate->gva + offset;
	uint64_t at = aggregate->next_listed;
	struct probe probe;
	int err = 0;

	while (!err && at != head) {
		err = probe_read(look, at - offset, &probe);
		if (!err)
			err = judge_probe(look, &probe);
		if (!err)
			at = probe.next_listed;
	}
	return err;
}

static int kprobes_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	struct kprobes *kprobes = state;
	struct kprobe_look look = { .view = view, .kprobes = kprobes, .result = result };
	unsigned int word = records_word(view);
	uint8_t heads[KPROBE_TABLE_SIZE * 8];
	struct ka_piece table = { .address = kprobes->table,
				  .buf = heads,
				  .len = KPROBE_TABLE_SIZE * word };
	struct probe probe;
	int err = records_read(view, &table, 1);

	kprobes->steps = 0;
	for (size_t i = 0; !err && i < KPROBE_TABLE_SIZE; i++) {
		uint64_t at = records_word_at(view, heads + i * word);

		while (!err && at) {
			err = probe_read(&look, at - kprobes->hash.offset, &probe);
			if (!err)
				err = judge_probe(&look, &probe);
			if (!err && probe.pre && probe.pre == kprobes->aggregate)
				err = judge_aggregate(&look, &probe);
			if (!err)
				at = probe.next_hashed;
		}
	}
	return err;
}

const struct audit audit_kprobes = {
	.needs_modules = true,
	.prepare = kprobes_prepare,
	.look = kprobes_look,
	.release = free,
};
