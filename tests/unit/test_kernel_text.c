// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Kernel text, on Debian's images: what the kernel may put in a place that it patches is no
 * difference, and one wrong byte is, in each kind of place and elsewhere.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "access/insn.h"
#include "access/patch_probe.h"
#include "access/tracing.h"
#include "patch_sample.h"

enum { TRIES = 60, SLIDE = 0x12600000, MAX = 8 };

static struct ka_reference *reference;
static struct ka_text *text;
static struct patch_judge judge; /* the same again, for its list of places */
static struct ka_text_boot boot;
static uint8_t *guest;
static uint64_t start, end;

static void load(const char *version)
{
	char path[64];

	snprintf(path, sizeof(path), "build/lab/pkgs/vmlinuz-%s", version);
	if (access(path, R_OK))
		cr_skip_test("%s is not there: make lab brings it", path);
	cr_assert_eq(ka_reference_derive(path, &reference), 0);
	cr_assert_eq(ka_text_create(reference, &text), 0);
	cr_assert_eq(patch_judge_create(reference, NULL, &judge), 0);
	ka_text_range(text, &start, &end);
	guest = malloc(end - start);
	boot = (struct ka_text_boot){ .slide = SLIDE };
	cr_assert(patch_source(&judge, SLIDE, start, guest, end - start));
}

static void unload(void)
{
	patch_judge_destroy(&judge);
	ka_text_free(text);
	ka_reference_free(reference);
	free(guest);
}

static size_t compare(uint64_t from, uint64_t to, struct ka_text_difference *differences)
{
	return ka_text_compare(text, &boot, start, guest, end - start, from, to, differences, MAX);
}

static uint8_t *at(uint64_t address)
{
	return guest + (address - start);
}

static size_t compare_site(const struct patch_site *site)
{
	struct ka_text_difference differences[MAX];
	size_t count = compare(site->address, site->address + site->length, differences);

	if (count)
		cr_expect_leq(differences[0].address, site->address);
	return count;
}

static const struct patch_site *sample(enum ka_patch_kind kind, size_t n)
{
	return patch_sample(&judge, end, TRIES, kind, n);
}

/* ---- wrong bytes --------------------------------------------------------------------------- */

static void plant(const struct patch_site *site, size_t offset)
{
	uint8_t *byte = at(site->address + offset), old = *byte;

	*byte ^= 0x55;
	cr_expect_geq(compare_site(site), 1, "%s at %lx+%zu", ka_patch_kind_name(site->kind),
		      (unsigned long)site->address, offset);
	*byte = old;
}

/* The first byte is an opcode or prefix, the last the high end of a distance, or filling. */
static void wrong_bytes_are_found(const char *version)
{
	load(version);
	cr_expect_eq(compare(start, end, NULL), 0);
	for (int kind = KA_PATCH_NONE + 1; kind < KA_PATCH_KINDS; kind++) {
		const struct patch_site *site;

		for (size_t n = 0; (site = sample(kind, n)); n++) {
			plant(site, 0);
			plant(site, site->length - 1u);
		}
	}
	unload();
}

Test(kernel_text, wrong_bytes_are_found_in_every_kind_of_place_of_5_10)
{
	wrong_bytes_are_found("5.10");
}

Test(kernel_text, wrong_bytes_are_found_in_every_kind_of_place_of_6_1)
{
	wrong_bytes_are_found("6.1");
}

Test(kernel_text, wrong_bytes_are_found_in_every_kind_of_place_of_6_12)
{
	wrong_bytes_are_found("6.12");
}

static void every_kind_is_there(const char *version, const enum ka_patch_kind *kinds, size_t count)
{
	load(version);
	for (size_t i = 0; i < count; i++)
		cr_expect(ka_text_sites(text, kinds[i]), "%s", ka_patch_kind_name(kinds[i]));
	unload();
}

Test(kernel_text, no_kind_of_place_is_overlooked)
{
	static const enum ka_patch_kind oldest[] = {
		KA_PATCH_ALTERNATIVE, KA_PATCH_PARAVIRT,   KA_PATCH_RETPOLINE,
		KA_PATCH_RETURN,      KA_PATCH_JUMP_LABEL, KA_PATCH_STATIC_CALL_TRAMPOLINE,
		KA_PATCH_FTRACE,      KA_PATCH_SMP_LOCK,   KA_PATCH_STATIC_CALL,
	};
	static const enum ka_patch_kind old[] = {
		KA_PATCH_ALTERNATIVE, KA_PATCH_PARAVIRT,    KA_PATCH_RETPOLINE,
		KA_PATCH_RETURN,      KA_PATCH_STATIC_CALL, KA_PATCH_STATIC_CALL_TRAMPOLINE,
		KA_PATCH_JUMP_LABEL,  KA_PATCH_FTRACE,	    KA_PATCH_FTRACE_CALL,
		KA_PATCH_SMP_LOCK,
	};
	static const enum ka_patch_kind new[] = {
		KA_PATCH_ALTERNATIVE,	KA_PATCH_RETPOLINE,
		KA_PATCH_RETURN,	KA_PATCH_CALL,
		KA_PATCH_CALL_THUNK,	KA_PATCH_STATIC_CALL,
		KA_PATCH_JUMP_LABEL,	KA_PATCH_FTRACE,
		KA_PATCH_SMP_LOCK,	KA_PATCH_ENDBR,
		KA_PATCH_RUNTIME_SHIFT, KA_PATCH_RUNTIME_POINTER,
		KA_PATCH_RUNTIME_LIMIT, KA_PATCH_STATIC_CALL_TRAMPOLINE,
	};

	every_kind_is_there("5.10", oldest, sizeof(oldest) / sizeof(oldest[0]));
	every_kind_is_there("6.1", old, sizeof(old) / sizeof(old[0]));
	every_kind_is_there("6.12", new, sizeof(new) / sizeof(new[0]));
}

Test(kernel_text, a_hook_between_the_places_is_found_and_its_target_told)
{
	struct ka_text_difference differences[MAX];
	uint64_t function;
	uint8_t hook[5] = { 0xe9 };
	int32_t distance;

	load("6.12");
	cr_assert_eq(ka_symbols_find(ka_reference_symbols(reference), "x64_sys_call", &function),
		     0);
	function += 4; /* behind ENDBR */
	distance = (int32_t)(0xffffffffc0001000 - (function + 32 + 5));
	memcpy(hook + 1, &distance, 4);
	memcpy(at(function + 32), hook, sizeof(hook));
	cr_assert_geq(compare(start, end, differences), 1);
	cr_expect_geq(differences[0].address, function);
	cr_expect_leq(differences[0].address, function + 32 + 5);
	unload();
}

/* ---- what the kernel may put there --------------------------------------------------------- */

static void put(const struct patch_site *site, const void *bytes, size_t len)
{
	memcpy(at(site->address), bytes, len);
}

static void put_branch(const struct patch_site *site, uint8_t opcode, uint64_t target)
{
	int32_t distance = (int32_t)(target - (site->address + 5));

	*at(site->address) = opcode;
	memcpy(at(site->address + 1), &distance, 4);
}

static void clean(const struct patch_site *site, const char *what)
{
	cr_expect_eq(compare_site(site), 0, "%s at %lx: %s", ka_patch_kind_name(site->kind),
		     (unsigned long)site->address, what);
}

static void returns_are_accepted(void)
{
	static const uint8_t ret[] = { 0xc3, 0xcc, 0xcc, 0xcc, 0xcc };
	const struct patch_site *site;

	for (size_t n = 0; (site = sample(KA_PATCH_RETURN, n)); n++) {
		if (site->length != 5)
			continue;
		put(site, ret, sizeof(ret));
		clean(site, "ret");
		put_branch(site, 0xe9, judge.return_thunk[n % judge.return_thunks]);
		clean(site, "return thunk");
		put_branch(site, 0xe9, 0xffffffffc0001000);
		cr_expect_eq(compare_site(site), 1);
	}
}

static void ftrace_is_accepted(void)
{
	static const uint8_t nop[] = { 0x0f, 0x1f, 0x44, 0, 0 };
	const struct patch_site *site;

	for (size_t n = 0; (site = sample(KA_PATCH_FTRACE, n)); n++) {
		put(site, nop, sizeof(nop));
		clean(site, "nop");
		put_branch(site, 0xe8, judge.ftrace[1].start);
		clean(site, "ftrace_regs_caller");
		if (judge.graph_caller) {
			put_branch(site, 0xe8, judge.graph_caller);
			clean(site, "ftrace_graph_caller");
		}
		put_branch(site, 0xe8, 0xffffffffc0001000);
		cr_expect_eq(compare_site(site), 1);
	}
}

static void jump_labels_are_accepted(void)
{
	static const uint8_t nops[2][5] = { { 0x66, 0x90 }, { 0x0f, 0x1f, 0x44, 0, 0 } };
	const struct patch_site *site;

	for (size_t n = 0; (site = sample(KA_PATCH_JUMP_LABEL, n)); n++) {
		uint64_t target = judge.sites.target[site->index];

		put(site, nops[site->length == 5], site->length);
		clean(site, "nop");
		if (site->length == 5)
			put_branch(site, 0xe9, target);
		else
			put(site, (uint8_t[]){ 0xeb, (uint8_t)(target - site->address - 2) }, 2);
		clean(site, "jmp");
		*at(site->address + site->length - 1) ^= 1;
		cr_expect_eq(compare_site(site), 1);
	}
}

static void locks_are_accepted(void)
{
	const struct patch_site *site;

	for (size_t n = 0; (site = sample(KA_PATCH_SMP_LOCK, n)); n++) {
		put(site, "\x3e", 1);
		clean(site, "one CPU");
	}
}

static void retpolines_are_accepted(void)
{
	const struct patch_site *site;

	for (size_t n = 0; (site = sample(KA_PATCH_RETPOLINE, n)); n++) {
		uint8_t *bytes = at(site->address);
		int32_t distance;
		unsigned int reg;

		if (site->length != 5 || bytes[0] != 0xe8)
			continue;
		memcpy(&distance, bytes + 1, 4);
		reg = (unsigned int)(site->address + 5 + (uint64_t)(int64_t)distance -
				     judge.thunk) /
		      32;
		if (reg >= 8)
			continue;
		put(site, (uint8_t[]){ 0xff, (uint8_t)(0xd0 + reg), 0x0f, 0x1f, 0 }, 5);
		clean(site, "call *reg");
		put(site, (uint8_t[]){ 0x0f, 0xae, 0xe8, 0xff, (uint8_t)(0xd0 + reg) }, 5);
		clean(site, "lfence; call *reg");
		put(site, (uint8_t[]){ 0xff, (uint8_t)(0xd0 + (reg ^ 1)), 0x0f, 0x1f, 0 }, 5);
		cr_expect_eq(compare_site(site), 1, "another register");
	}
}

static void variants_are_accepted(const char *version)
{
	load(version);
	returns_are_accepted();
	ftrace_is_accepted();
	jump_labels_are_accepted();
	locks_are_accepted();
	retpolines_are_accepted();
	unload();
}

Test(kernel_text, what_5_10_may_put_there_is_no_difference)
{
	variants_are_accepted("5.10");
}

Test(kernel_text, what_6_1_may_put_there_is_no_difference)
{
	variants_are_accepted("6.1");
}

Test(kernel_text, what_6_12_may_put_there_is_no_difference)
{
	variants_are_accepted("6.12");
}

/* In each place the replacement that needs no moving, then NOPs; a wrong one of those is found. */
Test(kernel_text, alternatives_are_accepted_whole_or_not_at_all)
{
	unsigned int tried = 0;

	load("6.12");
	for (size_t i = 0; i < judge.sites.count; i++) {
		const struct patch_site *site = &judge.sites.site[i];
		const struct patch_alternative *alternative = &judge.sites.alternative[site->index];

		if (site->kind != KA_PATCH_ALTERNATIVE || site->address >= end ||
		    alternative->length != 3 || site->length != 3)
			continue;
		cr_assert(patch_source(&judge, SLIDE, alternative->replacement, at(site->address),
				       3));
		clean(site, "replacement");
		*at(site->address + 2) ^= 0x55;
		cr_expect_geq(compare_site(site), 1);
		*at(site->address + 2) ^= 0x55;
		tried++;
	}
	cr_expect_geq(tried, 10);
	unload();
}

/* ---- what the guest's kernel has recorded of its own doing ---------------------------------- */

static const uint64_t slot_at = 0xffffffffc0200000, image_at = 0xffffffffc0210000;
static uint8_t slot[512], key[8];
static uint64_t key_at;

/* The guest's memory outside of its text: a probe's code, and the key of a static call. */
static int read_outside(void *ctx, uint64_t address, void *buf, size_t len)
{
	(void)ctx;
	if (address >= start && address + len <= end)
		memcpy(buf, at(address), len);
	else if (address >= slot_at && address + len <= slot_at + sizeof(slot))
		memcpy(buf, slot + (address - slot_at), len);
	else if (key_at && address == key_at && len == sizeof(key))
		memcpy(buf, key, len);
	else
		return -1;
	return 0;
}

/* Whole instructions of at least five bytes, none of which branches or is patched by the kernel. */
static uint64_t plain_code(size_t *ret_len)
{
	uint64_t function;

	cr_assert_eq(ka_symbols_find(ka_reference_symbols(reference), "vfs_read", &function), 0);
	for (uint64_t address = function; address < function + 512; address++) {
		struct insn insn;
		size_t len = 0, site;

		while (len < 5 && insn_decode(at(address + len), 16, true, &insn) &&
		       !insn_is_relative_branch(&insn) && !insn.rip_relative &&
		       insn.opcode[0] != 0xc3 && insn.opcode[0] != 0xcc)
			len += insn.length;
		site = patch_sites_from(&judge.sites, address - 16);
		if (len < 5 || judge.sites.site[site].address < address + len)
			continue;
		*ret_len = len;
		return address;
	}
	cr_assert_fail("no such code");
	*ret_len = 0;
	return 0;
}

static void distance_put(uint8_t *bytes, uint8_t opcode, uint64_t place, uint64_t target)
{
	int32_t distance = (int32_t)(target - (place + 5));

	bytes[0] = opcode;
	memcpy(bytes + 1, &distance, 4);
}

static struct tracing_probe probe_make(uint64_t address, size_t len)
{
	struct tracing_probe probe = { .address = address,
				       .gva = 0xffff888001234500,
				       .slot = slot_at,
				       .size = len,
				       .opcode = *at(address) };
	const struct patch_slot *template = &judge.slot;

	cr_assert(template->bytes);
	memcpy(probe.copied, at(address + 1), sizeof(probe.copied));
	memcpy(slot, template->bytes, template->len);
	memcpy(slot + template->clac, "\x0f\x01\xca", 3);
	memcpy(slot + template->probe, "\x48\xbf", 2);
	memcpy(slot + template->probe + 2, &probe.gva, 8);
	distance_put(slot + template->call, 0xe8, slot_at + template->call, template->callback);
	memcpy(slot + template->len, at(address), len);
	distance_put(slot + template->len + len, 0xe9, slot_at + template->len + len,
		     address + len);
	return probe;
}

static size_t compare_code(uint64_t address, size_t len)
{
	struct ka_text_difference differences[MAX];

	return compare(address, address + len, differences);
}

static void probes_are_explained(const char *version)
{
	struct tracing_probe probe;
	struct ka_tracing tracing = { .probes = &probe, .probe_count = 1 };
	uint64_t address;
	size_t len;

	load(version);
	address = plain_code(&len);
	probe = probe_make(address, len);
	boot.read = read_outside;
	*at(address) = 0xcc;
	cr_expect_geq(compare_code(address, len), 1, "a breakpoint that nobody recorded");
	boot.tracing = &tracing;
	cr_expect_eq(compare_code(address, len), 0);
	probe.opcode ^= 1;
	cr_expect_geq(compare_code(address, len), 1, "the record of another instruction");
	probe.opcode ^= 1;

	put_branch(&(struct patch_site){ .address = address }, 0xe9, slot_at);
	cr_expect_eq(compare_code(address, len), 0, "a jump to a probe's code");
	*at(address) = 0xcc;
	cr_expect_eq(compare_code(address, len), 0, "one that comes or goes");
	*at(address) = 0xe9;
	for (size_t i = 0; i < judge.slot.len + len + 5; i++) {
		slot[i] ^= 0x55;
		cr_expect_geq(compare_code(address, len), 1, "byte %zu of it is another", i);
		slot[i] ^= 0x55;
	}
	put_branch(&(struct patch_site){ .address = address }, 0xe9, slot_at + 16);
	cr_expect_geq(compare_code(address, len), 1, "a jump elsewhere");
	unload();
}

Test(kernel_text, probes_of_5_10_are_explained_by_their_record_alone)
{
	probes_are_explained("5.10");
}

Test(kernel_text, probes_of_6_1_are_explained_by_their_record_alone)
{
	probes_are_explained("6.1");
}

Test(kernel_text, probes_of_6_12_are_explained_by_their_record_alone)
{
	probes_are_explained("6.12");
}

Test(kernel_text, direct_calls_lead_to_recorded_trampolines)
{
	struct tracing_direct direct = { .target = image_at };
	struct tracing_range range = { image_at, image_at + 4096, TRACING_TRAMPOLINE };
	struct ka_tracing tracing = {
		.directs = &direct, .direct_count = 1, .ranges = &range, .range_count = 1
	};
	const struct patch_site *site;

	load("6.12");
	boot.tracing = &tracing;
	for (size_t n = 0; (site = sample(KA_PATCH_FTRACE, n)); n++) {
		direct.place = site->address;
		put_branch(site, 0xe8, image_at);
		clean(site, "a trampoline");
		put_branch(site, 0xe8, image_at + 8);
		cr_expect_eq(compare_site(site), 1, "elsewhere in it");
		direct.place++;
		put_branch(site, 0xe8, image_at);
		cr_expect_eq(compare_site(site), 1, "the record of another place");
	}
	direct.place = sample(KA_PATCH_FTRACE, 0)->address;
	range.kind = TRACING_MODULE;
	put_branch(sample(KA_PATCH_FTRACE, 0), 0xe8, image_at);
	cr_expect_eq(compare_site(sample(KA_PATCH_FTRACE, 0)), 1, "a module is no trampoline");
	unload();
}

static const struct patch_site *trampoline_of(const char *name)
{
	uint64_t address;

	cr_assert_eq(ka_symbols_find(ka_reference_symbols(reference), name, &address), 0);
	for (size_t i = 0; i < judge.sites.count; i++)
		if (judge.sites.site[i].address == address &&
		    judge.sites.site[i].kind == KA_PATCH_STATIC_CALL_TRAMPOLINE)
			return &judge.sites.site[i];
	cr_assert_fail("%s is no place", name);
	return NULL;
}

/* Does a jump at the beginning of a function differ, with this memory recorded there? */
static size_t head_jumps_to(const char *name, enum tracing_range_kind kind)
{
	struct tracing_range range = { image_at, image_at + 4096, kind };
	struct ka_tracing tracing = { .ranges = &range, .range_count = 1 };
	struct patch_site site = { .length = 5 };
	uint8_t before[5];
	size_t count;

	cr_assert_eq(ka_symbols_find(ka_reference_symbols(reference), name, &site.address), 0);
	boot.tracing = &tracing;
	memcpy(before, at(site.address), sizeof(before));
	put_branch(&site, 0xe9, image_at + 64);
	count = compare_site(&site);
	memcpy(at(site.address), before, sizeof(before));
	return count;
}

Test(kernel_text, older_dispatchers_of_bpf_jump_to_what_was_made_for_them)
{
	load("5.10");
	cr_expect_eq(head_jumps_to("bpf_dispatcher_xdp_func", TRACING_DISPATCHER), 0);
	cr_expect_eq(head_jumps_to("bpf_dispatcher_xdp_func", TRACING_TRAMPOLINE), 1);
	cr_expect_eq(head_jumps_to("vfs_read", TRACING_DISPATCHER), 1);
	unload();
}

/* A static call that leads out of the text: which, to what, and does its key say so? */
static size_t static_call_to(const char *name, enum tracing_range_kind kind, bool recorded)
{
	struct tracing_range range = { image_at, image_at + 4096, kind };
	struct ka_tracing tracing = { .ranges = &range, .range_count = 1 };
	uint64_t target = image_at + 64, told = target + SLIDE + !recorded;
	const struct patch_site *site;
	char other[64];

	snprintf(other, sizeof(other), "__SCK__%s", name);
	cr_assert_eq(ka_symbols_find(ka_reference_symbols(reference), other, &key_at), 0);
	snprintf(other, sizeof(other), "__SCT__%s", name);
	site = trampoline_of(other);
	memcpy(key, &told, sizeof(key));
	boot.read = read_outside;
	boot.tracing = &tracing;
	put_branch(site, 0xe9, target);
	return compare_site(site);
}

Test(kernel_text, static_calls_lead_outside_where_that_is_their_custom)
{
	load("6.12");
	cr_expect_eq(static_call_to("bpf_dispatcher_xdp_call", TRACING_DISPATCHER, true), 0);
	cr_expect_eq(static_call_to("bpf_dispatcher_xdp_call", TRACING_DISPATCHER, false), 1);
	cr_expect_eq(static_call_to("bpf_dispatcher_xdp_call", TRACING_MODULE, true), 1);
	cr_expect_eq(static_call_to("tp_func_sched_switch", TRACING_MODULE, true), 0);
	cr_expect_eq(static_call_to("tp_func_sched_switch", TRACING_DISPATCHER, true), 1);
	cr_expect_eq(static_call_to("x86_pmu_enable", TRACING_MODULE, true), 1);
	unload();
}
