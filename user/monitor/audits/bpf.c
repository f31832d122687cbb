// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * eBPF programs that run but have no identifier any more, and those that change what others see:
 * the memory of processes, or the results of kernel functions. Also tells which came and went.
 */
#include "../audit.h"
#include "../text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROGRAMS_MAX = 2048 };

/* One that was there in the last look; its instructions were read, and do not change once it runs.
 */
struct known {
	struct ka_bpf_program program;
	uint32_t uses;
};

struct bpf {
	struct ka_bpf_layout *layout;
	struct ka_bpf_program programs[PROGRAMS_MAX];
	struct known known[PROGRAMS_MAX], now[PROGRAMS_MAX];
	size_t known_count, now_count;
	bool counted; /* those of the first look are known */
};

static void bpf_release(void *state)
{
	struct bpf *bpf = state;

	if (bpf)
		ka_bpf_layout_free(bpf->layout);
	free(bpf);
}

static int bpf_prepare(const struct audit_view *view, void **ret_state)
{
	struct bpf *bpf = calloc(1, sizeof(*bpf));
	int err = bpf ? ka_bpf_layout_new(view->kernel, view->types, &bpf->layout) : -ENOMEM;

	if (err) {
		bpf_release(bpf);
		return err;
	}
	*ret_state = bpf;
	return 0;
}

static struct difference *add(struct audit_result *result, const struct ka_bpf_program *program,
			      const char *problem)
{
	struct difference *difference =
		audit_add(result, CHECK_BPF, OBJECT_BPF_PROGRAM, program->gva);
	char name[40];

	if (!difference)
		return NULL;
	text_clean(name, sizeof(name), program->name);
	snprintf(difference->name, sizeof(difference->name), "%u (%s)", program->id,
		 *name ? name : "no name");
	difference->gva = program->gva;
	difference->problem = problem;
	return difference;
}

static void add_hidden(struct audit_result *result, const struct ka_bpf_program *program)
{
	struct difference *difference = add(result, program, "hidden");

	if (!difference)
		return;
	snprintf(difference->what, sizeof(difference->what), "(%s) runs, but has no identifier",
		 ka_bpf_type_name(program->type));
	strcpy(difference->expected_text, "ids");
	snprintf(difference->observed_text, sizeof(difference->observed_text), "%s",
		 program->views & KA_BPF_LINKED ? "links" : "kallsyms");
}

static void add_dangerous(struct audit_result *result, const struct ka_bpf_program *program,
			  uint32_t uses)
{
	struct difference *difference = add(result, program, "dangerous");

	if (!difference)
		return;
	snprintf(difference->what, sizeof(difference->what), "(%s, uid %u) %s",
		 ka_bpf_type_name(program->type), program->uid,
		 uses & KA_BPF_WRITES_USER ? "writes to the memory of processes"
					   : "overrides results of kernel functions");
	strcpy(difference->expected_text, "no such helper");
	snprintf(difference->observed_text, sizeof(difference->observed_text), "%s%s",
		 uses & KA_BPF_WRITES_USER ? "bpf_probe_write_user " : "",
		 uses & KA_BPF_OVERRIDES ? "bpf_override_return" : "");
}

/* Whatever its identifier is now. */
static bool is_same(const struct ka_bpf_program *a, const struct ka_bpf_program *b)
{
	return a->gva == b->gva && a->loaded_ns == b->loaded_ns;
}

static const struct known *find(const struct known *known, size_t count,
				const struct ka_bpf_program *program)
{
	for (size_t i = 0; i < count; i++)
		if (is_same(&known[i].program, program))
			return &known[i];
	return NULL;
}

/* False: there is no more room to tell it in this look. */
static bool add_change(struct audit_result *result, const struct ka_bpf_program *program,
		       bool loaded)
{
	struct audit_change *change = audit_change_add(result, CHANGE_PROGRAM, loaded);

	if (!change)
		return false;
	text_clean(change->name, sizeof(change->name), program->name);
	change->type = ka_bpf_type_name(program->type);
	change->id = program->id;
	change->uid = program->uid;
	change->link = program->views & KA_BPF_LINKED ? ka_bpf_link_name(program->link) : NULL;
	text_clean(change->target, sizeof(change->target), program->target);
	text_bytes(change->tag, program->tag, sizeof(program->tag));
	return true;
}

/* Its link ends before a program does, and is told with its end. */
static void keep_link(struct ka_bpf_program *program, const struct ka_bpf_program *before)
{
	if (program->views & KA_BPF_LINKED || !(before->views & KA_BPF_LINKED))
		return;
	program->views |= KA_BPF_LINKED;
	program->link = before->link;
	memcpy(program->target, before->target, sizeof(program->target));
}

/* What cannot be read is being unloaded, and what cannot be told now is as if not seen: the next
 * look. */
static const struct known *learn(struct bpf *bpf, const struct audit_view *view,
				 const struct ka_bpf_program *program, struct audit_result *result)
{
	const struct known *known = find(bpf->known, bpf->known_count, program);
	struct known *now = &bpf->now[bpf->now_count];

	*now = (struct known){ .program = *program, .uses = known ? known->uses : 0 };
	if (known)
		keep_link(&now->program, &known->program);
	if (!known && ka_bpf_uses(view->vm, view->kernel, bpf->layout, program, &now->uses))
		return NULL;
	if (!known && bpf->counted && !add_change(result, program, true))
		return NULL;
	bpf->now_count++;
	return now;
}

/* One that was there before has not gone because it hides. */
static void keep_hidden(struct bpf *bpf, const struct ka_bpf_program *program)
{
	const struct known *known = find(bpf->known, bpf->known_count, program);

	if (known)
		bpf->now[bpf->now_count++] = *known;
}

static void forget_gone(struct bpf *bpf, struct audit_result *result)
{
	for (size_t i = 0; i < bpf->known_count && bpf->now_count < PROGRAMS_MAX; i++)
		if (!find(bpf->now, bpf->now_count, &bpf->known[i].program) &&
		    !add_change(result, &bpf->known[i].program, false))
			bpf->now[bpf->now_count++] = bpf->known[i];
	memcpy(bpf->known, bpf->now, bpf->now_count * sizeof(bpf->now[0]));
	bpf->known_count = bpf->now_count;
	bpf->counted = true;
}

static int bpf_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	struct bpf *bpf = state;
	size_t count = 0;
	int err = ka_bpf_read(view->vm, view->kernel, bpf->layout, bpf->programs, PROGRAMS_MAX,
			      &count);

	if (err)
		return err;
	bpf->now_count = 0;
	for (size_t i = 0; i < count; i++) {
		const struct ka_bpf_program *program = &bpf->programs[i];
		const struct known *known = NULL;

		if (!program->references) /* it is being unloaded */
			continue;
		if (program->views & KA_BPF_NUMBERED) {
			known = learn(bpf, view, program, result);
		} else {
			add_hidden(result, program);
			keep_hidden(bpf, program);
		}
		if (known && known->uses)
			add_dangerous(result, program, known->uses);
	}
	forget_gone(bpf, result);
	return 0;
}

const struct audit audit_bpf = {
	.prepare = bpf_prepare,
	.look = bpf_look,
	.release = bpf_release,
};
