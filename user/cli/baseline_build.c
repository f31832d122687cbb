// SPDX-License-Identifier: LGPL-2.1-or-later
/* Baselines of kernel builds: made from the vendor's image, signed, and carried between hosts. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "baseline.h"

#include "../monitor/cleanup.h"
#include "../monitor/clock.h"
#include "../monitor/reference.h"
#include "../monitor/signature.h"
#include "../monitor/store.h"
#include "../monitor/text.h"

static const struct layout build_layout[] = {
	{.kind = LAYOUT_FIELDS, .columns = (const struct column[]){
		{"file", "file", 0}, {"kernels", "kernels", 0}, {"build_id", "build-id", 0},
		{"release", "kernel", 0}, {"trust", "trust", 0}, {"digest", "digest", 0},
		{"syscalls", "system calls", 0}, {"syscalls_ia32", "system calls, ia32", 0},
		{"modules", "modules", 0}, {"modules_of_others", "modules left out", 0},
		{"gates", "IDT gates", 0}, {"descriptors", "GDT descriptors", 0},
		{"public_key", "public key", 0}, {"secret_key", "secret key", 0},
		{"signature", "signature", 0}, {0}}},
	{.kind = LAYOUT_TABLE, .key = "parts", .columns = (const struct column[]){
		{"name", "PART", 0}, {"address", "ADDRESS", 0}, {"size", "SIZE", 0}, {0}}},
	{.kind = LAYOUT_TABLE, .key = "missing", .columns = (const struct column[]){
		{"object", "NOT TOLD BY THE IMAGE", 0}, {"reason", "REASON", 0}, {0}}},
	{0},
};

/* A store of its own, in a file that must be new. */
static int new_file(struct cli *cli, const struct baseline_options *options,
		    struct store **ret_store)
{
	char error[STORE_ERROR_MAX];
	int r;

	if (!options->out)
		return cli_fail(cli, CLI_USAGE, "baseline %s: give --out FILE", cli->arg[0]);
	if (!access(options->out, F_OK))
		return cli_fail(cli, CLI_USAGE, "%s: is there already", options->out);
	r = store_open(options->out, ret_store, error);
	return r ? cli_fail(cli, cli_error_exit(r), "%s", error) : CLI_OK;
}

static int open_store(struct cli *cli, const char *path, struct store **ret_store)
{
	char error[STORE_ERROR_MAX];
	int r = store_open(path, ret_store, error);

	return r ? cli_fail(cli, cli_error_exit(r), "%s", error) : CLI_OK;
}

/* ---- derive -------------------------------------------------------------------------------- */

static unsigned int kept(const struct content *content, enum content_object object)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < content->count[object]; i++)
		count += content->entry[object][i].kept;
	return count;
}

static void add_missing(json_t *missing, const char *object, const char *reason)
{
	json_array_append_new(missing, json_pack("{s:s, s:s}", "object", object, "reason", reason));
}

/* What cannot be derived is said, never guessed. */
static json_t *missing_json(const struct ka_reference *reference, const struct content *content)
{
	const struct ka_section *parts;
	bool relocs = false;
	json_t *missing = json_array();
	size_t count;

	if (!kept(content, CONTENT_SYSCALL))
		add_missing(missing, "system call table", "the image does not name it");
	if (kept(content, CONTENT_IDT) < KA_IDT_MAX)
		add_missing(missing, "IDT gates",
			    "the image does not name the tables that the IDT is built from");
	if (!kept(content, CONTENT_GDT))
		add_missing(missing, "GDT", "the image does not name it");
	parts = ka_reference_sections(reference, &count);
	for (size_t i = 0; i < count; i++)
		relocs |= !strncmp(parts[i].name, "relocs_", 7) && parts[i].len;
	if (!relocs)
		add_missing(missing, "relocations", "only a vmlinuz has them");
	return missing;
}

static void derive_result(struct cli *cli, const struct baseline_options *options,
			  const struct ka_reference *reference, const struct content *content)
{
	json_t *result = cli_result(cli, build_layout), *parts = json_array(), *missing;
	const struct ka_section *sections;
	char digest[CONTENT_DIGEST_MAX];
	size_t count;

	content_digest(content, digest);
	json_object_set_new(result, "file", output_guest_text(options->out));
	json_object_set_new(result, "build_id", json_string(ka_reference_build_id(reference)));
	json_object_set_new(result, "release", output_guest_text(ka_reference_release(reference)));
	json_object_set_new(result, "trust", json_string(content->trust));
	json_object_set_new(result, "digest", json_string(digest));
	json_object_set_new(result, "syscalls", json_integer(kept(content, CONTENT_SYSCALL)));
	json_object_set_new(result, "syscalls_ia32",
			    json_integer(kept(content, CONTENT_SYSCALL_IA32)));
	json_object_set_new(result, "gates", json_integer(kept(content, CONTENT_IDT)));
	json_object_set_new(result, "descriptors", json_integer(kept(content, CONTENT_GDT)));
	sections = ka_reference_sections(reference, &count);
	for (size_t i = 0; i < count; i++)
		json_array_append_new(parts,
				      json_pack("{s:s, s:o, s:I}", "name", sections[i].name,
						"address", output_hex(sections[i].address), "size",
						(json_int_t)sections[i].len));
	json_object_set_new(result, "parts", parts);
	missing = missing_json(reference, content);
	if (json_array_size(missing))
		json_object_set(result, "missing", missing);
	json_decref(missing);
}

static int derive_save(struct store *store, const struct ka_reference *reference,
		       const struct content *content, const char *directory,
		       struct baseline_modules *modules)
{
	const char *key = ka_reference_build_id(reference);
	struct ka_kernel kernel = {.symbols = ka_reference_symbols(reference)};
	int r = store_begin(store);

	if (!r)
		r = store_content_save(store, key, content, &kernel);
	if (!r)
		r = store_reference_save(store, key, reference);
	if (!r && directory)
		r = baseline_modules_take(store, reference, directory, modules);
	return r ? r : store_commit(store);
}

static int derive(struct cli *cli, const struct baseline_options *options,
		  const struct ka_reference *reference)
{
	_cleanup_free_ struct content *content = calloc(1, sizeof(*content));
	struct baseline_modules modules = {0};
	struct store *store;
	int code, r;

	if (!content)
		return cli_fail_errno(cli, -ENOMEM, "%s", options->image);
	content_take_reference(content, reference);
	text_time(content->recorded_at, clock_real());
	code = new_file(cli, options, &store);
	if (code)
		return code;
	r = derive_save(store, reference, content, options->modules, &modules);
	if (r)
		code = cli_fail(cli, cli_error_exit(r), "%s: %s", options->out,
				options->modules ? strerror(-r) : store_error(store));
	else
		derive_result(cli, options, reference, content);
	if (!r && options->modules) {
		json_object_set_new(cli->result, "modules", json_integer(modules.taken));
		json_object_set_new(cli->result, "modules_of_others",
				    json_integer(modules.others));
	}
	store_close(store);
	if (code)
		unlink(options->out);
	return code;
}

int baseline_derive(struct cli *cli, const struct baseline_options *options, const char *unused)
{
	struct ka_reference *reference;
	int r, code;

	(void)unused;
	if (!options->image)
		return cli_fail(cli, CLI_USAGE, "baseline derive: give --image FILE");
	r = ka_reference_derive(options->image, &reference);
	if (r)
		return cli_fail(cli, cli_error_exit(r), "%s: %s", options->image,
				r == -ENODATA ? "has no build-id" : ka_symbols_error(r));
	code = derive(cli, options, reference);
	ka_reference_free(reference);
	return code;
}

/* ---- from file to file --------------------------------------------------------------------- */

int baseline_import(struct cli *cli, const struct baseline_options *options, const char *path)
{
	char error[REFERENCE_ERROR_MAX];
	struct store *store;
	json_t *result;
	int code = open_store(cli, options->store, &store), count;

	if (code)
		return code;
	count = references_import(store, path, options->key, error);
	store_close(store);
	if (count < 0)
		return cli_fail(cli, cli_error_exit(count), "%s", error);
	result = cli_result(cli, build_layout);
	json_object_set_new(result, "file", output_guest_text(path));
	json_object_set_new(result, "kernels", json_integer(count));
	return CLI_OK;
}

static int export(struct cli *cli, const struct baseline_options *options, struct store *from,
		  const char *build_id)
{
	struct store *to;
	int code = new_file(cli, options, &to), r;

	if (code)
		return code;
	r = store_begin(to);
	if (!r)
		r = store_kernel_copy(to, from, build_id);
	if (!r)
		r = store_commit(to);
	store_close(to);
	if (!r)
		return CLI_OK;
	unlink(options->out);
	return r == -ENOENT ? cli_fail(cli, CLI_NOT_FOUND, "%s: the store knows no such kernel build",
				       build_id)
			    : cli_fail_errno(cli, r, "%s", options->out);
}

int baseline_export(struct cli *cli, const struct baseline_options *options, const char *build_id)
{
	struct store *store;
	json_t *result;
	int code = open_store(cli, options->store, &store);

	if (code)
		return code;
	code = export(cli, options, store, build_id);
	store_close(store);
	if (code)
		return code;
	result = cli_result(cli, build_layout);
	json_object_set_new(result, "file", output_guest_text(options->out));
	json_object_set_new(result, "build_id", output_guest_text(build_id));
	return CLI_OK;
}

/* ---- signatures ---------------------------------------------------------------------------- */

int baseline_keygen(struct cli *cli, const struct baseline_options *options, const char *unused)
{
	char error[SIGNATURE_ERROR_MAX];
	json_t *result;
	int r;

	(void)unused;
	if (!options->out)
		return cli_fail(cli, CLI_USAGE, "baseline keygen: give --out NAME");
	r = signature_keygen(options->out, error);
	if (r)
		return cli_fail(cli, cli_error_exit(r), "%s", error);
	result = cli_result(cli, build_layout);
	json_object_set_new(result, "public_key", json_sprintf("%s.pub", options->out));
	json_object_set_new(result, "secret_key", json_sprintf("%s.key", options->out));
	return CLI_OK;
}

int baseline_sign(struct cli *cli, const struct baseline_options *options, const char *path)
{
	char error[SIGNATURE_ERROR_MAX];
	json_t *result;
	int r;

	if (!options->key)
		return cli_fail(cli, CLI_USAGE, "baseline sign: give --key FILE");
	r = signature_sign(path, options->key, error);
	if (r)
		return cli_fail(cli, cli_error_exit(r), "%s", error);
	result = cli_result(cli, build_layout);
	json_object_set_new(result, "file", output_guest_text(path));
	json_object_set_new(result, "signature", json_sprintf("%s.minisig", path));
	return CLI_OK;
}
