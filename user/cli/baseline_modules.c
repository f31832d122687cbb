// SPDX-License-Identifier: LGPL-2.1-or-later
/* Takes the modules of a kernel, as its vendor packages them, into a baseline. */
#define _GNU_SOURCE
#include "baseline.h"

#include <errno.h>
#include <fts.h>
#include <string.h>

static bool is_module(const char *name)
{
	static const char *const ends[] = {".ko", ".ko.xz", ".ko.zst", ".ko.gz"};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		size_t len = strlen(name), end = strlen(ends[i]);

		if (len > end && !strcmp(name + len - end, ends[i]))
			return true;
	}
	return false;
}

/* One that is no module of this kernel is counted, and left out. */
static int module_take(struct store *store, const struct ka_reference *reference, const char *path,
		       struct baseline_modules *modules)
{
	struct ka_module_image *image;
	int r = ka_module_image_load(path, &image);

	if (r == -ENODATA || r == -ENOEXEC || r == -EBADMSG || r == -EOPNOTSUPP) {
		modules->others++;
		return 0;
	}
	if (r)
		return r;
	if (strcmp(ka_module_image_release(image), ka_reference_release(reference))) {
		modules->others++;
	} else {
		r = store_module_save(store, ka_reference_build_id(reference), image);
		modules->taken++;
	}
	ka_module_image_free(image);
	return r;
}

int baseline_modules_take(struct store *store, const struct ka_reference *reference,
			  const char *directory, struct baseline_modules *ret_modules)
{
	char *const paths[] = {(char *)directory, NULL};
	FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	FTSENT *entry;
	int r = tree ? 0 : -errno;

	errno = 0;
	while (!r && (entry = fts_read(tree))) {
		if (entry->fts_info == FTS_ERR || entry->fts_info == FTS_DNR ||
		    entry->fts_info == FTS_NS)
			r = -entry->fts_errno;
		else if (entry->fts_info == FTS_F && is_module(entry->fts_name))
			r = module_take(store, reference, entry->fts_accpath, ret_modules);
	}
	if (tree)
		fts_close(tree);
	return r;
}
