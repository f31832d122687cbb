// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * text VM IMAGE [KO…]: holds the text of a lab's guest, and of its modules, against what its vendor
 * built, as commands on the standard input say, one TAP line each:
 *	clean LABEL		nothing differs
 *	explained LABEL		nothing differs, but something would without the guest's records
 *	only SYMBOL LABEL	something differs, and nothing outside of this function
 *	plant			one wrong byte in each kind of place, in turn, is told; the VM is stopped
 *				meanwhile, since it must not run it
 *	modules LABEL		the text of each module that has a file here is as it should be
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "access/kernel_text.h"

enum { PART = 64 << 10, MAX = 16, SAMPLES = 12, LOOKS = 6, MODULES = 256 };

struct guest {
	struct ka_host *host;
	struct ka_vm *vm;
	struct ka_kernel kernel;
	struct ka_reference *reference;
	struct ka_text *text;
	struct ka_text_boot boot;
	struct ka_tracing_layout *tracing;
	size_t explained; /* parts that differ without the guest's records, and not with them */
	struct ka_module_layout *modules;
	struct ka_place_layout *places;
	struct ka_module_image *images[MODULES];
	struct ka_module_place place[MODULES];
	bool placed[MODULES];
	size_t image_count;
};

static void fail(int err, const char *what)
{
	printf("not ok - %s: %s\n", what, strerror(-err));
	exit(1);
}

static int read_guest(void *ctx, uint64_t address, void *buf, size_t len)
{
	struct guest *guest = ctx;

	return ka_gva_read(guest->vm, &guest->kernel.paging, address + guest->kernel.slide, buf,
			   len);
}

static void open_guest(struct guest *guest, const char *selector, const char *image)
{
	const struct ka_symbols *symbols;
	struct ka_types *types;
	int err = ka_host_open(NULL, &guest->host);

	if (!err)
		err = ka_open(guest->host, selector, KA_OPEN_WRITE, &guest->vm);
	if (err)
		fail(err, "the VM");
	err = ka_reference_derive(image, &guest->reference);
	if (!err)
		err = ka_text_create(guest->reference, &guest->text);
	if (err)
		fail(err, image);
	symbols = ka_reference_symbols(guest->reference);
	err = ka_kernel_find(guest->vm, &symbols, 1, &guest->kernel);
	if (!err)
		err = ka_types_from_guest(guest->vm, &guest->kernel, &types);
	if (!err)
		err = ka_tracing_layout_new(&guest->kernel, types, &guest->tracing);
	if (!err)
		err = ka_module_layout_new(&guest->kernel, types, &guest->modules);
	if (!err)
		err = ka_place_layout_new(&guest->kernel, types, &guest->places);
	if (err)
		fail(err, "the guest's kernel");
	ka_types_free(types);
	guest->boot = (struct ka_text_boot){ .slide = guest->kernel.slide,
					     .read = read_guest,
					     .ctx = guest };
}

/* One part, with the guest's records, read after it. */
static size_t compare_part(struct guest *guest, const struct ka_text *text, uint64_t from,
			   uint64_t to, struct ka_text_difference *differences)
{
	static uint8_t bytes[PART + 2 * KA_TEXT_MARGIN];
	uint64_t start, end, address, last;
	struct ka_tracing *tracing = NULL;
	struct ka_registers registers[64];
	size_t count;

	ka_registers_read_all(guest->vm, registers, 64, &count);
	ka_text_range(text, &start, &end);
	address = from - start > KA_TEXT_MARGIN ? from - KA_TEXT_MARGIN : start;
	last = end - to > KA_TEXT_MARGIN ? to + KA_TEXT_MARGIN : end;
	if (read_guest(guest, address, bytes, last - address))
		return MAX;
	count = ka_text_compare(text, &guest->boot, address, bytes, last - address, from, to,
				differences, MAX);
	if (!count || ka_tracing_read(guest->vm, &guest->kernel, guest->tracing, &tracing))
		return count;
	guest->boot.tracing = tracing;
	count = ka_text_compare(text, &guest->boot, address, bytes, last - address, from, to,
				differences, MAX);
	guest->boot.tracing = NULL;
	ka_tracing_free(tracing);
	guest->explained += !count;
	return count;
}

/* What is there to stay: the kernel has breakpoints where it patches, for a moment. */
static size_t compare_all(struct guest *guest, const struct ka_text *text,
			  struct ka_text_difference *differences)
{
	size_t found = 0;
	uint64_t start, end;

	ka_text_range(text, &start, &end);
	for (uint64_t from = start; from < end && found < MAX; from += PART) {
		uint64_t to = end - from > PART ? from + PART : end;
		struct ka_text_difference here[MAX];
		size_t count = 1;

		for (int look = 0; count && look < LOOKS; look++) {
			if (look)
				usleep(300000);
			count = compare_part(guest, text, from, to, here);
		}
		for (size_t i = 0; i < count && i < MAX && found < MAX; i++)
			differences[found++] = here[i];
	}
	return found;
}

static void show(const struct guest *guest, const struct ka_text_difference *difference)
{
	uint64_t offset = 0;
	const char *name = ka_symbols_name(ka_reference_symbols(guest->reference),
					   difference->address, &offset);

	printf("# %s at %" PRIx64 " %s+%" PRIx64 ", target %" PRIx64 ":",
	       ka_patch_kind_name(difference->kind), difference->address, name ? name : "?", offset,
	       difference->target);
	for (int i = 0; i < KA_TEXT_DIFFERENCE_BYTES; i++)
		printf(" %02x", difference->expected[i]);
	printf(" ->");
	for (int i = 0; i < KA_TEXT_DIFFERENCE_BYTES; i++)
		printf(" %02x", difference->observed[i]);
	printf("\n");
}

static void clean(struct guest *guest, const char *label)
{
	struct ka_text_difference differences[MAX];
	size_t count = compare_all(guest, guest->text, differences);

	for (size_t i = 0; i < count; i++)
		show(guest, &differences[i]);
	printf("%s - %s: nothing differs\n", count ? "not ok" : "ok", label);
}

static void explained(struct guest *guest, const char *label)
{
	guest->explained = 0;
	clean(guest, label);
	printf("%s - %s: %zu parts differ but for what the guest's kernel has recorded\n",
	       guest->explained ? "ok" : "not ok", label, guest->explained);
}

static void only(struct guest *guest, const char *symbol, const char *label)
{
	struct ka_text_difference differences[MAX];
	size_t count = compare_all(guest, guest->text, differences), inside = 0;
	uint64_t offset = 0;

	for (size_t i = 0; i < count; i++) {
		const char *name = ka_symbols_name(ka_reference_symbols(guest->reference),
						   differences[i].address, &offset);

		inside += name && !strcmp(name, symbol);
		if (!name || strcmp(name, symbol))
			show(guest, &differences[i]);
	}
	printf("%s - %s: told in %s, and nowhere else\n",
	       count && inside == count ? "ok" : "not ok", label, symbol);
}

/* ---- wrong bytes ---------------------------------------------------------------------------- */

static bool told(struct guest *guest, uint64_t place, uint64_t from, uint64_t len)
{
	struct ka_text_difference differences[MAX];
	uint64_t start, end, to = from + len;
	uint64_t gva = place + guest->kernel.slide;
	uint8_t byte, wrong;
	size_t before, after;

	ka_text_range(guest->text, &start, &end);
	before = compare_part(guest, guest->text, from, to, differences);
	if (ka_gva_read(guest->vm, &guest->kernel.paging, gva, &byte, 1))
		return false;
	wrong = byte ^ 0x55;
	if (ka_gva_write(guest->vm, &guest->kernel.paging, gva, &wrong, 1))
		return false;
	after = compare_part(guest, guest->text, from, to, differences);
	ka_gva_write(guest->vm, &guest->kernel.paging, gva, &byte, 1);
	return !before && after && compare_part(guest, guest->text, from, to, differences) == 0;
}

/* First and last byte of some places of a kind, spread over all of them. */
static void plant_kind(struct guest *guest, enum ka_patch_kind kind)
{
	const struct patch_sites *sites = &guest->text->judge.sites;
	size_t total = 0, seen = 0, tried = 0, found = 0;
	uint64_t start, end;

	ka_text_range(guest->text, &start, &end);
	for (size_t i = 0; i < sites->count; i++)
		total += sites->site[i].kind == kind && sites->site[i].address < end;
	for (size_t i = 0; i < sites->count; i++) {
		const struct patch_site *site = &sites->site[i];

		if (site->kind != kind || site->address >= end ||
		    seen++ % (total / SAMPLES + 1))
			continue;
		for (int last = 0; last < 2; last++, tried++)
			found += told(guest, site->address + (last ? site->length - 1u : 0),
				      site->address, site->length);
	}
	if (tried)
		printf("%s - %zu of %zu wrong bytes told in places of kind %s\n",
		       found == tried ? "ok" : "not ok", found, tried, ka_patch_kind_name(kind));
}

/* Bytes that no kind of place covers. */
static void plant_text(struct guest *guest)
{
	const struct patch_sites *sites = &guest->text->judge.sites;
	size_t tried = 0, found = 0;
	uint64_t start, end;

	ka_text_range(guest->text, &start, &end);
	for (size_t n = 0; n < 2 * SAMPLES; n++) {
		uint64_t at = start + (end - start) / (2 * SAMPLES) * n + 4096;
		size_t i = patch_sites_from(sites, at);

		/* Between two places. */
		if (at >= end || i + 1 >= sites->count)
			continue;
		at = sites->site[i].address + sites->site[i].length;
		if (at >= end || at >= sites->site[i + 1].address ||
		    (i && sites->site[i - 1].address + sites->site[i - 1].length > at))
			continue;
		found += told(guest, at, at, 1);
		tried++;
	}
	printf("%s - %zu of %zu wrong bytes told between the places\n",
	       found == tried && tried ? "ok" : "not ok", found, tried);
}

static void plant(struct guest *guest)
{
	pid_t pid = ka_vm_info(guest->vm)->pid;

	kill(pid, SIGSTOP);
	usleep(200000);
	plant_text(guest);
	for (int kind = KA_PATCH_NONE + 1; kind < KA_PATCH_KINDS; kind++)
		plant_kind(guest, kind);
	kill(pid, SIGCONT);
	printf("# planted\n");
}

/* ---- modules -------------------------------------------------------------------------------- */

static int resolve(void *ctx, const char *name, uint64_t *ret_gva)
{
	struct guest *guest = ctx;

	for (size_t i = 0; i < guest->image_count; i++)
		if (guest->placed[i] &&
		    !ka_module_symbol(guest->images[i], &guest->place[i], name, ret_gva))
			return 0;
	return -ENOENT;
}

static size_t place_all(struct guest *guest)
{
	static struct ka_module modules[MODULES];
	size_t count = 0, placed = 0;
	uint32_t views;

	memset(guest->placed, 0, sizeof(guest->placed));
	if (ka_modules_read(guest->vm, &guest->kernel, guest->modules, modules, MODULES, &count,
			    &views))
		return 0;
	for (size_t m = 0; m < count; m++)
		for (size_t i = 0; i < guest->image_count; i++)
			if (!strcmp(ka_module_image_name(guest->images[i]), modules[m].name) &&
			    !ka_module_place_read(guest->vm, &guest->kernel, guest->places,
						  guest->images[i], modules[m].gva,
						  &guest->place[i]))
				placed += guest->placed[i] = true;
	return placed;
}

static void modules(struct guest *guest, const char *label)
{
	size_t placed = place_all(guest), good = 0;

	for (size_t i = 0; i < guest->image_count; i++) {
		struct ka_text_difference differences[MAX];
		struct ka_text *text;
		size_t count;
		int err;

		if (!guest->placed[i])
			continue;
		err = ka_module_text_create(guest->text, guest->images[i], &guest->place[i],
					    guest->kernel.slide, resolve, guest, &text);
		if (err) {
			printf("# %s: %s\n", ka_module_image_name(guest->images[i]), strerror(-err));
			continue;
		}
		count = compare_all(guest, text, differences);
		for (size_t d = 0; d < count; d++)
			show(guest, &differences[d]);
		good += !count;
		ka_text_free(text);
	}
	printf("%s - %s: %zu of %zu modules are as they should be\n",
	       good == placed && placed ? "ok" : "not ok", label, good, placed);
}

int main(int argc, char **argv)
{
	static struct guest guest;
	char line[256], symbol[64];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 3)
		return 2;
	open_guest(&guest, argv[1], argv[2]);
	for (int i = 3; i < argc && guest.image_count < MODULES; i++)
		if (!ka_module_image_load(argv[i], &guest.images[guest.image_count]))
			guest.image_count++;
		else
			printf("# %s: no module\n", argv[i]);
	printf("# ready\n");
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, "clean ", 6))
			clean(&guest, line + 6);
		else if (!strncmp(line, "explained ", 10))
			explained(&guest, line + 10);
		else if (sscanf(line, "only %63s", symbol) == 1)
			only(&guest, symbol, line + 6 + strlen(symbol));
		else if (!strcmp(line, "plant"))
			plant(&guest);
		else if (!strncmp(line, "modules ", 8))
			modules(&guest, line + 8);
	}
	return 0;
}
