// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * eBPF programs that run but have no identifier any more, and those that change what others see: the
 * memory of processes, or the results of kernel functions.
 */
#include "../audit.h"
#include "../text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROGRAMS_MAX = 2048 };

/* Of a program whose instructions were read: they do not change once it runs. */
struct known {
	uint64_t gva, loaded_ns;
	uint32_t id, uses;
};

struct bpf {
	struct ka_bpf_layout *layout;
	struct ka_bpf_program programs[PROGRAMS_MAX];
	struct known known[PROGRAMS_MAX];
	size_t known_count;
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
	struct difference *difference = audit_add(result, CHECK_BPF, OBJECT_BPF_PROGRAM, program->gva);
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

static const struct known *find(const struct bpf *bpf, const struct ka_bpf_program *program)
{
	for (size_t i = 0; i < bpf->known_count; i++)
		if (bpf->known[i].gva == program->gva && bpf->known[i].id == program->id &&
		    bpf->known[i].loaded_ns == program->loaded_ns)
			return &bpf->known[i];
	return NULL;
}

/* One that cannot be read is being unloaded; the next look tells. */
static bool learn(const struct bpf *bpf, const struct audit_view *view,
		  const struct ka_bpf_program *program, struct known *ret_known)
{
	const struct known *known = find(bpf, program);

	if (known) {
		*ret_known = *known;
		return true;
	}
	*ret_known = (struct known){ program->gva, program->loaded_ns, program->id, 0 };
	return !ka_bpf_uses(view->vm, view->kernel, bpf->layout, program, &ret_known->uses);
}

static int bpf_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	struct bpf *bpf = state;
	struct known *now = calloc(PROGRAMS_MAX, sizeof(*now));
	size_t count = 0, learned = 0;
	int err = now ? ka_bpf_read(view->vm, view->kernel, bpf->layout, bpf->programs, PROGRAMS_MAX,
				    &count)
		      : -ENOMEM;

	for (size_t i = 0; !err && i < count; i++) {
		const struct ka_bpf_program *program = &bpf->programs[i];

		if (!program->references) /* it is being unloaded */
			continue;
		if (!(program->views & KA_BPF_NUMBERED))
			add_hidden(result, program);
		else if (learn(bpf, view, program, &now[learned]) && now[learned++].uses)
			add_dangerous(result, program, now[learned - 1].uses);
	}
	if (!err) {
		memcpy(bpf->known, now, learned * sizeof(*now));
		bpf->known_count = learned;
	}
	free(now);
	return err;
}

const struct audit audit_bpf = {
	.prepare = bpf_prepare,
	.look = bpf_look,
	.release = bpf_release,
};
