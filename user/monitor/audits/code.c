// SPDX-License-Identifier: LGPL-2.1-or-later
/* Whose code a pointer of the guest's kernel leads to, and what is said of one that it should not.
 */
#include "code.h"
#include "records.h"
#include "../policy.h"
#include "../text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { BPF_IMAGES_MAX = 1 << 13 };

bool code_is_kernel(const struct audit_view *view, uint64_t gva)
{
	return gva >= view->kernel->text_start && gva < view->kernel->text_end;
}

bool code_is_foreign(const struct audit_view *view, uint64_t gva)
{
	const char *module;

	if (!gva || code_is_kernel(view, gva))
		return false;
	module = guest_modules_name(view->modules, gva);
	return !module || !policy_allows_module(view->policy, module);
}

const char *code_function_name(const struct audit_view *view, uint64_t ip)
{
	uint64_t offset;
	const char *name = ka_kernel_name(view->kernel, ip, &offset);

	return name ? name : guest_modules_name(view->modules, ip);
}

void code_tell(const struct audit_view *view, struct difference *difference, uint64_t target,
	       const char *observed)
{
	const char *module = guest_modules_name(view->modules, target);
	char name[KA_MODULE_NAME_MAX];

	difference->problem = "outside_text";
	difference->first_sight = view->first;
	difference->target = target;
	if (module) {
		text_clean(name, sizeof(name), module);
		snprintf(difference->what, sizeof(difference->what), "is code of the module %s",
			 name);
	} else {
		snprintf(difference->what, sizeof(difference->what),
			 "is neither the kernel's code nor a module's");
	}
	snprintf(difference->expected_text, sizeof(difference->expected_text),
		 "in the kernel's text");
	snprintf(difference->observed_text, sizeof(difference->observed_text), "%s", observed);
}

int code_bpf_prepare(const struct audit_view *view, struct code_bpf *ret_bpf)
{
	unsigned int word = records_word(view);
	struct code_bpf bpf = { 0 };

	if (ka_kernel_symbol(view->kernel, "bpf_kallsyms", &bpf.head) ||
	    !RECORDS_FIND(view->types, { "bpf_ksym", "lnode", &bpf.node, 2 * word },
			  { "bpf_ksym", "start", &bpf.start, word },
			  { "bpf_ksym", "end", &bpf.end, word }))
		return -ENODATA;
	bpf.ranges = calloc(BPF_IMAGES_MAX, sizeof(*bpf.ranges));
	if (!bpf.ranges)
		return -ENOMEM;
	*ret_bpf = bpf;
	return 0;
}

void code_bpf_release(struct code_bpf *bpf)
{
	free(bpf->ranges);
	bpf->ranges = NULL;
}

static int range_compare(const void *a, const void *b)
{
	const struct code_range *one = a, *other = b;

	return one->start < other->start ? -1 : one->start > other->start;
}

int code_bpf_read(const struct audit_view *view, struct code_bpf *bpf)
{
	unsigned int word = records_word(view);
	uint64_t at;
	int err = records_read_word(view, bpf->head, &at);

	for (bpf->count = 0; !err && at != bpf->head; bpf->count++) {
		struct code_range *range = &bpf->ranges[bpf->count];
		uint64_t image = at - bpf->node.offset;
		struct ka_piece pieces[] = {
			{ .address = at, .buf = &at, .len = word },
			{ .address = image + bpf->start.offset, .buf = &range->start, .len = word },
			{ .address = image + bpf->end.offset, .buf = &range->end, .len = word },
		};

		if (bpf->count == BPF_IMAGES_MAX)
			return -EAGAIN;
		at = range->start = range->end = 0;
		err = records_read(view, pieces, sizeof(pieces) / sizeof(pieces[0]));
	}
	qsort(bpf->ranges, bpf->count, sizeof(*bpf->ranges), range_compare);
	return err;
}

bool code_bpf_has(const struct code_bpf *bpf, uint64_t gva)
{
	size_t low = 0, high = bpf->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (gva < bpf->ranges[middle].start)
			high = middle;
		else if (gva >= bpf->ranges[middle].end)
			low = middle + 1;
		else
			return true;
	}
	return false;
}
