// SPDX-License-Identifier: LGPL-2.1-or-later
/* The vendors' kernels that the store knows, each loaded once for all guests that run it. */
#include "reference.h"

#include "cleanup.h"
#include "file.h"
#include "log.h"
#include "signature.h"
#include "store.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MODULES_CACHED = 8192 };

struct loaded {
	struct ka_reference *reference;
	bool complete;		       /* it has more than its symbols */
	struct ka_text *text, *rodata; /* once they are asked for, as the rest is */
	bool no_text;		       /* it has none that can be compared: told once */
	unsigned int users;
	struct loaded_module {
		char name[KA_MODULE_NAME_MAX];
		struct ka_module_image *image; /* NULL: there is none */
	} *modules;
	size_t module_count;
	int64_t modules_known; /* in the store */
};

struct references {
	struct store *store;
	struct loaded *loaded;
	size_t count;
};

static void loaded_free(struct loaded *loaded)
{
	for (size_t i = 0; i < loaded->module_count; i++)
		ka_module_image_free(loaded->modules[i].image);
	free(loaded->modules);
	ka_text_free(loaded->text);
	ka_text_free(loaded->rodata);
	ka_reference_free(loaded->reference);
}

int references_new(struct store *store, struct references **ret_references)
{
	struct references *references = calloc(1, sizeof(*references));

	if (!references)
		return -ENOMEM;
	references->store = store;
	*ret_references = references;
	return 0;
}

void references_free(struct references *references)
{
	if (!references)
		return;
	for (size_t i = 0; i < references->count; i++)
		loaded_free(&references->loaded[i]);
	free(references->loaded);
	free(references);
}

static const struct ka_reference *load(struct references *references, const char *build_id)
{
	struct ka_reference *reference = NULL;
	struct loaded *loaded;
	int r = store_reference_load(references->store, build_id, &reference);

	if (r < 0) {
		if (r != -ENOENT)
			log_warning("the reference of kernel %s cannot be used: %s", build_id,
				    strerror(-r));
		return NULL;
	}
	loaded = reallocarray(references->loaded, references->count + 1, sizeof(*loaded));
	if (!loaded) {
		ka_reference_free(reference);
		return NULL;
	}
	references->loaded = loaded;
	loaded += references->count++;
	*loaded = (struct loaded){ .reference = reference, .users = 1 };
	if (store_modules_count(references->store, build_id, &loaded->modules_known) < 0)
		loaded->modules_known = 0;
	return reference;
}

bool references_any(const struct references *references)
{
	bool any = false, release;

	return references && !store_references_known(references->store, "", &any, &release) && any;
}

const struct ka_reference *references_get(struct references *references, const char *build_id)
{
	if (!references || !build_id[0])
		return NULL;
	for (size_t i = 0; i < references->count; i++) {
		struct loaded *loaded = &references->loaded[i];

		if (strcmp(ka_reference_build_id(loaded->reference), build_id))
			continue;
		loaded->users++;
		return loaded->reference;
	}
	return load(references, build_id);
}

static struct loaded *loaded_find(struct references *references,
				  const struct ka_reference *reference)
{
	for (size_t i = 0; reference && references && i < references->count; i++)
		if (references->loaded[i].reference == reference)
			return &references->loaded[i];
	return NULL;
}

/* All of it from the store: more is asked for than its symbols. */
static int complete(struct references *references, struct loaded *loaded)
{
	int r = loaded->complete ? 0
				 : store_reference_complete(references->store, loaded->reference);

	loaded->complete |= !r;
	return r;
}

const struct ka_text *references_text(struct references *references,
				      const struct ka_reference *reference)
{
	struct loaded *loaded = loaded_find(references, reference);
	int r;

	if (!loaded || loaded->text || loaded->no_text)
		return loaded ? loaded->text : NULL;
	r = complete(references, loaded);
	if (!r)
		r = ka_text_create(reference, &loaded->text);
	loaded->no_text = r == -ENODATA;
	if (r < 0)
		log_warning("kernel %s: its text cannot be compared: %s",
			    ka_reference_build_id(reference),
			    r == -ENODATA ? "the image has no relocations (is it not the vmlinuz?) "
					    "or does not name what is patched"
					  : strerror(-r));
	return loaded->text;
}

const struct ka_text *references_rodata(struct references *references,
					const struct ka_reference *reference)
{
	struct loaded *loaded = loaded_find(references, reference);

	if (loaded && !loaded->rodata && !complete(references, loaded) &&
	    ka_rodata_create(reference, &loaded->rodata))
		loaded->rodata = NULL;
	return loaded ? loaded->rodata : NULL;
}

bool references_have_modules(struct references *references, const struct ka_reference *reference)
{
	const struct loaded *loaded = loaded_find(references, reference);

	return loaded && loaded->modules_known;
}

const struct ka_module_image *references_module(struct references *references,
						const struct ka_reference *reference,
						const char *name)
{
	struct loaded *loaded = loaded_find(references, reference);
	struct loaded_module *module;
	int r;

	if (!loaded || !loaded->modules_known || strlen(name) >= sizeof(module->name))
		return NULL;
	for (size_t i = 0; i < loaded->module_count; i++)
		if (!strcmp(loaded->modules[i].name, name))
			return loaded->modules[i].image;
	/* A guest can name as many as it likes; those that there are are few. */
	if (loaded->module_count >= MODULES_CACHED)
		return NULL;
	module = reallocarray(loaded->modules, loaded->module_count + 1, sizeof(*module));
	if (!module)
		return NULL;
	loaded->modules = module;
	module += loaded->module_count++;
	*module = (struct loaded_module){ 0 };
	strcpy(module->name, name);
	r = store_module_load(references->store, ka_reference_build_id(reference), name,
			      &module->image);
	if (r < 0 && r != -ENOENT)
		log_warning("the reference of module %s of kernel %s cannot be used: %s", name,
			    ka_reference_build_id(reference), strerror(-r));
	return module->image;
}

void references_put(struct references *references, const struct ka_reference *reference)
{
	for (size_t i = 0; i < references->count; i++) {
		struct loaded *loaded = &references->loaded[i];

		if (loaded->reference != reference)
			continue;
		if (!--loaded->users) {
			loaded_free(loaded);
			*loaded = references->loaded[--references->count];
		}
		return;
	}
}

/* ---- from elsewhere ------------------------------------------------------------------------ */

static int copy_all(struct store *store, struct store *from)
{
	char key[STORE_KEY_MAX];
	int count = 0, r;

	while (!(r = store_kernel_nth(from, (unsigned int)count, key))) {
		r = store_kernel_copy(store, from, key);
		if (r < 0)
			return r;
		count++;
	}
	return r == -ENOENT ? count : r;
}

static int import_file(struct store *store, const char *path, const char *public_key,
		       char ret_error[static REFERENCE_ERROR_MAX])
{
	_cleanup_free_ char *bytes = NULL;
	struct store *from;
	size_t len;
	int r = file_load(path, &bytes, &len);

	if (r < 0) {
		snprintf(ret_error, REFERENCE_ERROR_MAX, "%s: %s", path, strerror(-r));
		return r;
	}
	/* What is verified is what is used: the file is not opened again. */
	r = public_key ? signature_verify(path, bytes, len, public_key, ret_error) : 0;
	if (!r)
		r = store_open_bytes(path, bytes, len, &from, ret_error);
	if (r < 0)
		return r;
	r = store_begin(store);
	if (!r)
		r = copy_all(store, from);
	store_close(from);
	if (r >= 0) {
		int committed = store_commit(store);

		r = committed < 0 ? committed : r;
	}
	if (r < 0) {
		snprintf(ret_error, REFERENCE_ERROR_MAX, "%s: %s", path,
			 r == -EBADMSG ? "damaged" : store_error(store));
		store_rollback(store);
	}
	return r;
}

int references_import(struct store *store, const char *path, const char *public_key,
		      char ret_error[static REFERENCE_ERROR_MAX])
{
	struct stat info;
	char pattern[4096];
	glob_t files;
	int count = 0, r = 0;

	if (stat(path, &info) < 0 || !S_ISDIR(info.st_mode))
		return import_file(store, path, public_key, ret_error);
	snprintf(pattern, sizeof(pattern), "%s/*.db", path);
	if (glob(pattern, 0, NULL, &files)) {
		snprintf(ret_error, REFERENCE_ERROR_MAX, "%s: no file *.db in it", path);
		return -ENOENT;
	}
	for (size_t i = 0; i < files.gl_pathc && r >= 0; i++) {
		r = import_file(store, files.gl_pathv[i], public_key, ret_error);
		count += r > 0 ? r : 0;
	}
	globfree(&files);
	return r < 0 ? r : count;
}
