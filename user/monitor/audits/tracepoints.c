// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who is called at tracepoints. Of those of the kernel, only the kernel's own code; of a module's,
 * the module's own, too.
 */
#include "code.h"
#include "records.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	TRACEPOINTS_MAX = 1 << 14,	/* a kernel has 2000, a module up to 700 */
	SPAN_MAX = 4 << 20,		/* bytes that those of the kernel lie in */
	TRACEPOINT_PROBES_MAX = 64,	/* of one tracepoint */
	TRACEPOINT_STEPS_MAX = 1 << 12, /* probes in a look */
	POINTER_BYTES = 4, /* of the list of tracepoints: relative, or of a 32-bit kernel */
};

struct tracepoints {
	struct ka_member name, funcs; /* tracepoint */
	struct ka_member func;	      /* tracepoint_func */
	struct ka_member list, count; /* of a module */
	uint32_t func_size;
	uint64_t start, end; /* of the kernel's own, all of them */
	uint8_t *bytes;	     /* of that place */
	uint64_t *places;    /* of each in it */
	size_t place_count;
	uint8_t *pointers; /* of a list */
	size_t steps;	   /* of this look */
};

static void tracepoints_release(void *state)
{
	struct tracepoints *tracepoints = state;

	if (!tracepoints)
		return;
	free(tracepoints->pointers);
	free(tracepoints->places);
	free(tracepoints->bytes);
	free(tracepoints);
}

static bool find_types(const struct audit_view *view, struct tracepoints *tracepoints)
{
	unsigned int word = records_word(view);

	return RECORDS_FIND(view->types, { "tracepoint", "name", &tracepoints->name, word },
			    { "tracepoint", "funcs", &tracepoints->funcs, word },
			    { "tracepoint_func", "func", &tracepoints->func, word },
			    { "module", "tracepoints_ptrs", &tracepoints->list, word },
			    { "module", "num_tracepoints", &tracepoints->count, 4 }) &&
	       !ka_types_size(view->types, "tracepoint_func", &tracepoints->func_size) &&
	       tracepoints->func_size >= tracepoints->func.offset + word &&
	       tracepoints->func_size <= 64;
}

/* Where the tracepoints of a list of `count` are. */
static int list_read(const struct audit_view *view, struct tracepoints *tracepoints, uint64_t list,
		     size_t count, uint64_t *places)
{
	struct ka_piece piece = { .address = list,
				  .buf = tracepoints->pointers,
				  .len = (uint32_t)count * POINTER_BYTES };
	int err = records_read(view, &piece, 1);

	for (size_t i = 0; !err && i < count; i++) {
		int32_t pointer;

		memcpy(&pointer, tracepoints->pointers + i * POINTER_BYTES, sizeof(pointer));
		/* CONFIG_HAVE_ARCH_PREL32_RELOCATIONS: x86-64 has it since 4.19. */
		places[i] = records_word(view) == 8
				    ? list + i * POINTER_BYTES + (uint64_t)(int64_t)pointer
				    : (uint32_t)pointer;
	}
	return err;
}

/* They lie together, and are read together. */
static int find_kernels_own(const struct audit_view *view, struct tracepoints *tracepoints)
{
	uint64_t start, stop;
	int err;

	if (ka_kernel_symbol(view->kernel, "__start___tracepoints_ptrs", &start) ||
	    ka_kernel_symbol(view->kernel, "__stop___tracepoints_ptrs", &stop) || stop <= start ||
	    (stop - start) / POINTER_BYTES > TRACEPOINTS_MAX)
		return -ENODATA;
	tracepoints->place_count = (stop - start) / POINTER_BYTES;
	tracepoints->places = calloc(tracepoints->place_count, sizeof(*tracepoints->places));
	if (!tracepoints->places)
		return -ENOMEM;
	err = list_read(view, tracepoints, start, tracepoints->place_count, tracepoints->places);
	if (err)
		return err;
	tracepoints->start = UINT64_MAX;
	for (size_t i = 0; i < tracepoints->place_count; i++) {
		uint64_t place = tracepoints->places[i];
		uint64_t end = place + tracepoints->funcs.offset + records_word(view);

		if (place < view->kernel->base || end > view->kernel->image_end)
			return -ENODATA;
		if (place < tracepoints->start)
			tracepoints->start = place;
		if (end > tracepoints->end)
			tracepoints->end = end;
	}
	if (!tracepoints->place_count || tracepoints->end - tracepoints->start > SPAN_MAX)
		return -ENODATA;
	tracepoints->bytes = malloc(tracepoints->end - tracepoints->start);
	return tracepoints->bytes ? 0 : -ENOMEM;
}

static int tracepoints_prepare(const struct audit_view *view, void **ret_state)
{
	struct tracepoints *tracepoints = calloc(1, sizeof(*tracepoints));
	int err = -ENOMEM;

	if (tracepoints)
		tracepoints->pointers = calloc(TRACEPOINTS_MAX, POINTER_BYTES);
	if (tracepoints && tracepoints->pointers)
		err = find_types(view, tracepoints) ? find_kernels_own(view, tracepoints)
						    : -ENODATA;
	if (err) {
		tracepoints_release(tracepoints);
		return err;
	}
	*ret_state = tracepoints;
	return 0;
}

struct tracepoint_look {
	const struct audit_view *view;
	struct tracepoints *tracepoints;
	struct audit_result *result;
	const struct ka_module *owner; /* of the tracepoint; NULL: the kernel */
};

static void tell_probe(struct tracepoint_look *look, uint64_t tracepoint, uint64_t place,
		       uint64_t target)
{
	struct difference *difference =
		audit_add(look->result, CHECK_TRACEPOINTS, OBJECT_TRACEPOINT_PROBE, place);
	uint64_t name = 0;

	if (!difference)
		return;
	difference->gva = place;
	if (!records_read_word(look->view, tracepoint + look->tracepoints->name.offset, &name))
		records_read_string(look->view, name, difference->name, sizeof(difference->name));
	code_tell(look->view, difference, target, "a probe");
}

/* `funcs`: of the tracepoint's probes, which end with a NULL. */
static int judge_probes(struct tracepoint_look *look, uint64_t tracepoint, uint64_t funcs)
{
	struct tracepoints *tracepoints = look->tracepoints;
	const struct ka_module *module;
	uint64_t target;
	int err = 0;

	for (size_t i = 0; !err && i < TRACEPOINT_PROBES_MAX; i++) {
		uint64_t place = funcs + i * tracepoints->func_size + tracepoints->func.offset;

		if (tracepoints->steps++ >= TRACEPOINT_STEPS_MAX)
			return -EAGAIN;
		err = records_read_word(look->view, place, &target);
		if (err || !target)
			break;
		module = guest_modules_at(look->view->modules, target);
		if (code_is_foreign(look->view, target) && !(look->owner && module == look->owner))
			tell_probe(look, tracepoint, place, target);
	}
	return err;
}

static int judge_kernels_own(struct tracepoint_look *look)
{
	struct tracepoints *tracepoints = look->tracepoints;
	struct ka_piece piece = { .address = tracepoints->start,
				  .buf = tracepoints->bytes,
				  .len = (uint32_t)(tracepoints->end - tracepoints->start) };
	int err = records_read(look->view, &piece, 1);

	for (size_t i = 0; !err && i < tracepoints->place_count; i++) {
		uint64_t place = tracepoints->places[i], funcs;

		funcs = records_word_at(look->view, tracepoints->bytes +
							    (place - tracepoints->start) +
							    tracepoints->funcs.offset);
		if (funcs)
			err = judge_probes(look, place, funcs);
	}
	return err;
}

static int judge_list(struct tracepoint_look *look, uint64_t list, size_t count)
{
	struct tracepoints *tracepoints = look->tracepoints;
	uint64_t *places = calloc(count, sizeof(*places)), funcs;
	int err = places ? list_read(look->view, tracepoints, list, count, places) : -ENOMEM;

	for (size_t i = 0; !err && i < count; i++) {
		err = records_read_word(look->view, places[i] + tracepoints->funcs.offset, &funcs);
		if (!err && funcs)
			err = judge_probes(look, places[i], funcs);
	}
	free(places);
	return err;
}

/* Of all modules TRACEPOINTS_MAX are looked at: more than that is no Linux guest's. */
static int judge_modules(struct tracepoint_look *look)
{
	const struct guest_modules *modules = look->view->modules;
	struct tracepoints *tracepoints = look->tracepoints;
	size_t left = TRACEPOINTS_MAX;
	int err = 0;

	for (size_t i = 0; !err && i < modules->count; i++) {
		const struct ka_module *module = &modules->modules[i];
		uint64_t list = 0;
		uint32_t count = 0;
		struct ka_piece pieces[] = {
			{ .address = module->gva + tracepoints->list.offset,
			  .buf = &list,
			  .len = records_word(look->view) },
			{ .address = module->gva + tracepoints->count.offset,
			  .buf = &count,
			  .len = sizeof(count) },
		};

		/* One that comes is not whole, and one that goes may be gone. */
		if (module->state != KA_MODULE_LIVE || records_read(look->view, pieces, 2) ||
		    !count)
			continue;
		if (count > left)
			return -EAGAIN;
		left -= count;
		look->owner = module;
		err = judge_list(look, list, count);
	}
	return err;
}

static int tracepoints_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	struct tracepoint_look look = { .view = view, .tracepoints = state, .result = result };
	int err;

	look.tracepoints->steps = 0;
	err = judge_kernels_own(&look);
	return err ? err : judge_modules(&look);
}

const struct audit audit_tracepoints = {
	.needs_modules = true,
	.prepare = tracepoints_prepare,
	.look = tracepoints_look,
	.release = tracepoints_release,
};
