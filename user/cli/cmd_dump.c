// SPDX-License-Identifier: LGPL-2.1-or-later
/* kvmbpf dump: a range of guest memory, around its holes. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"

enum { PAGE = 4096, BATCH = 256, HOLES_MAX = 4096 };

static const struct argp_option dump_options[] = {
	GPA_OPTION,
	RAW_OPTION("Write the bytes themselves; holes become zeros, so that offsets hold"),
	MEMORY_VCPU_OPTION,
	{"out", OPTION_OUT, "FILE", 0, "Write the bytes to FILE, which must not exist (as --raw; "
	 "holes stay sparse)", 0},
	{"queue", OPTION_QUEUE, NULL, 0, "Read through the request queue, and say who served "
	 "the requests", 0},
	{0},
};

static const struct argp dump_argp = {
	.options = dump_options, .parser = memory_parser, .args_doc = "VM START..END",
	.doc = "Dumps the range up to, not including, END. Pages that cannot be read are skipped "
	       "in the hex dump and in JSON and are zeros with --raw and --out; each hole is "
	       "reported (on standard error, or under \"holes\" with --json), and the exit "
	       "status is then 6.",
};

static const struct layout dump_layout[] = {
	{.kind = LAYOUT_HEXDUMP, .key = "data"},
	{.kind = LAYOUT_FIELDS, .columns = (const struct column[]){
		{"out", "file", 0}, {"bytes_read", "bytes read", 0},
		{"bytes_missing", "bytes missing", 0}, {0}}},
	{.kind = LAYOUT_FIELDS, .key = "served", .columns = (const struct column[]){
		{"vmexit", "served at vmexit", 0}, {"vcpu_load", "at vcpu_load", 0},
		{"process", "from process context", 0}, {0}}, .per_line = 3},
	{0},
};

/* A dump under way. */
struct dump {
	struct cli *cli;
	struct memory_space space;
	uint64_t start, end;
	FILE *raw;                  /* NULL: `runs` collects what is shown */
	bool sparse, queue;
	unsigned int served[KA_SERVED_PROCESS + 1];
	json_t *runs, *holes;
	uint64_t bytes_read, bytes_missing;
	uint64_t hole_start, hole_end;
	int hole_error;
	uint8_t *buf;               /* BATCH pages */
};

static void end_hole(struct dump *dump)
{
	if (dump->hole_end == dump->hole_start)
		return;
	dump->bytes_missing += dump->hole_end - dump->hole_start;
	if (json_array_size(dump->holes) < HOLES_MAX)
		json_array_append_new(dump->holes, json_pack("{s:o, s:o, s:s}",
			"start", output_hex(dump->hole_start), "end", output_hex(dump->hole_end),
			"reason", cli_error_text(dump->hole_error)));
	dump->hole_start = dump->hole_end = 0;
}

static int add_hole(struct dump *dump, const struct ka_piece *piece)
{
	static const uint8_t zeros[PAGE];

	if (dump->hole_end != piece->address || dump->hole_error != piece->error) {
		end_hole(dump);
		dump->hole_start = piece->address;
		dump->hole_error = piece->error;
	}
	dump->hole_end = piece->address + piece->len;
	if (!dump->raw)
		return 0;
	if (dump->sparse)
		return fseeko(dump->raw, piece->len, SEEK_CUR) ? -errno : 0;
	return fwrite(zeros, 1, piece->len, dump->raw) == piece->len ? 0 : -EIO;
}

static int add_page(struct dump *dump, const struct ka_piece *piece)
{
	if (piece->error)
		return add_hole(dump, piece);
	end_hole(dump);
	dump->bytes_read += piece->len;
	if (dump->raw)
		return fwrite(piece->buf, 1, piece->len, dump->raw) == piece->len ? 0 : -EIO;
	json_array_append_new(dump->runs, json_pack("{s:o, s:o}",
			      "address", output_hex(piece->address),
			      "data", output_bytes(piece->buf, piece->len)));
	return 0;
}

/* What ka_readv() does, with all of the pieces in flight at once. */
static int read_queued(struct dump *dump, struct ka_piece *pieces, size_t count)
{
	struct ka_vm *vm = dump->cli->vm;
	struct ka_result result;
	uint64_t id[BATCH];
	int err = 0;

	for (size_t i = 0; i < count && !err; i++) {
		const struct ka_request request = {
			.kind = pieces[i].paging ? KA_REQUEST_GVA : KA_REQUEST_GPA,
			.vcpu = KA_ANY_VCPU, .paging = pieces[i].paging,
			.address = pieces[i].address, .buf = pieces[i].buf, .len = pieces[i].len,
		};

		err = ka_submit(vm, &request, &id[i]);
	}
	for (size_t i = 0; i < count && !err; i++) {
		pieces[i].error = ka_finish_get(vm, id[i], -1, &result);
		if (!pieces[i].error)
			dump->served[result.served]++;
		else if (pieces[i].error == -EOWNERDEAD)
			err = -EOWNERDEAD;
	}
	return err;
}

/* Pieces end at page boundaries: a page is there or not. */
static int dump_batch(struct dump *dump, uint64_t *address)
{
	struct ka_piece pieces[BATCH];
	size_t count = 0;
	int err;

	for (; count < BATCH && *address < dump->end; count++) {
		uint64_t len = PAGE - *address % PAGE;

		if (len > dump->end - *address)
			len = dump->end - *address;
		pieces[count] = (struct ka_piece){
			.paging = dump->space.gpa ? NULL : &dump->space.paging,
			.address = *address, .buf = dump->buf + count * PAGE, .len = len,
		};
		*address += len;
	}
	err = dump->queue ? read_queued(dump, pieces, count) :
			    ka_readv(dump->cli->vm, pieces, count);
	for (size_t i = 0; !err && i < count; i++)
		err = add_page(dump, &pieces[i]);
	return err;
}

/* A hole at the end of a sparse file gives it no length by itself. */
static int finish_file(struct dump *dump)
{
	if (!dump->raw)
		return 0;
	if (fflush(dump->raw))
		return -errno;
	if (dump->sparse && ftruncate(fileno(dump->raw), dump->end - dump->start))
		return -errno;
	return 0;
}

static int open_out(struct cli *cli, const struct memory_options *options, struct dump *dump)
{
	int fd;

	if (!options->out) {
		dump->raw = options->raw ? stdout : NULL;
		cli->raw = options->raw;
		return CLI_OK;
	}
	/* Guest memory holds secrets: for the caller only, and over nothing that is there. */
	fd = open(options->out, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	dump->raw = fd < 0 ? NULL : fdopen(fd, "w");
	if (!dump->raw) {
		int err = errno;

		if (fd >= 0)
			close(fd);
		return cli_fail(cli, CLI_RUNTIME, "%s: %s", options->out, strerror(err));
	}
	dump->sparse = true;
	return CLI_OK;
}

static int dump_run(struct dump *dump)
{
	uint64_t address = dump->start;
	int err = 0;

	dump->buf = malloc(BATCH * PAGE);
	if (!dump->buf)
		return -ENOMEM;
	while (!err && address < dump->end)
		err = dump_batch(dump, &address);
	end_hole(dump);
	if (!err)
		err = finish_file(dump);
	free(dump->buf);
	return err;
}

static json_t *served_json(const struct dump *dump)
{
	json_t *served = json_object();

	for (enum ka_served by = 0; by <= KA_SERVED_PROCESS; by++)
		json_object_set_new(served, ka_served_name(by), json_integer(dump->served[by]));
	return served;
}

static int report(struct dump *dump, const struct memory_options *options)
{
	json_t *result = cli_result(dump->cli, dump_layout), *hole;
	size_t i;

	json_object_set_new(result, "address_space", json_string(dump->space.name));
	json_object_set_new(result, "start", output_hex(dump->start));
	json_object_set_new(result, "end", output_hex(dump->end));
	if (dump->raw) {
		json_object_set_new(result, "bytes_read", json_integer(dump->bytes_read));
		json_object_set_new(result, "bytes_missing", json_integer(dump->bytes_missing));
	}
	if (options->out)
		json_object_set_new(result, "out", json_string(options->out));
	if (!dump->raw)
		json_object_set(result, "data", dump->runs);
	json_object_set(result, "holes", dump->holes);
	if (dump->queue)
		json_object_set_new(result, "served", served_json(dump));
	if (!dump->bytes_missing)
		return CLI_OK;
	if (!dump->cli->json)
		json_array_foreach(dump->holes, i, hole)
			cli_warn(dump->cli, "hole %s..%s: %s",
				 json_string_value(json_object_get(hole, "start")),
				 json_string_value(json_object_get(hole, "end")),
				 json_string_value(json_object_get(hole, "reason")));
	return cli_fail(dump->cli, CLI_INCOMPLETE, "%" PRIu64 " of %" PRIu64 " bytes are missing",
			dump->bytes_missing, dump->end - dump->start);
}

static int parse_range(struct cli *cli, const struct memory_options *options, struct dump *dump)
{
	const char *text = cli->arg[1], *dots = strstr(text, "..");
	char start[32];

	if (!dots || dots - text >= (int)sizeof(start))
		return cli_fail(cli, CLI_USAGE, "'%s' is no range START..END", text);
	snprintf(start, sizeof(start), "%.*s", (int)(dots - text), text);
	if (!cli_number(start, &dump->start) || !cli_number(dots + 2, &dump->end) ||
	    dump->start >= dump->end)
		return cli_fail(cli, CLI_USAGE, "'%s' is no range START..END: hexadecimal needs 0x",
				text);
	if (options->raw && cli->json && !options->out)
		return cli_fail(cli, CLI_USAGE, "--raw and --json need --out");
	if (!options->raw && !options->out && dump->end - dump->start > MEMORY_SHOW_MAX)
		return cli_fail(cli, CLI_USAGE, "more than %d bytes: use --raw or --out FILE",
				MEMORY_SHOW_MAX);
	return CLI_OK;
}

int cmd_dump(struct cli *cli, int argc, char **argv)
{
	struct dump dump = {.cli = cli, .runs = json_array(), .holes = json_array()};
	struct memory_options options = {0};
	struct ka_kernel kernel = {0};
	int code, err;

	cli->options = &options;
	code = cli_parse(cli, &dump_argp, argc, argv, 2, 2);
	if (!code)
		code = parse_range(cli, &options, &dump);
	if (!code)
		code = cli_open_vm(cli, cli->arg[0], 0);
	if (!code && !options.gpa)
		code = cli_find_kernel(cli, false, &kernel);
	if (!code)
		code = memory_space_find(cli, options.gpa, &kernel, &dump.space);
	if (!code)
		code = open_out(cli, &options, &dump);
	dump.queue = options.queue;
	if (!code) {
		err = dump_run(&dump);
		code = err ? cli_fail_errno(cli, err, "dump") : report(&dump, &options);
	}
	if (dump.raw && dump.raw != stdout && fclose(dump.raw) && !code)
		code = cli_fail(cli, CLI_RUNTIME, "%s: cannot write", options.out);
	json_decref(dump.runs);
	json_decref(dump.holes);
	return code;
}
