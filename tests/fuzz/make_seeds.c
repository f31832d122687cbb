// SPDX-License-Identifier: LGPL-2.1-or-later
/* Writes the seeds of the fuzz targets below the directory that is given. */
#include <bpf/btf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz_kallsyms.h"
#include "kernel_image.h"
#include "kvmbpf/pagewalk.h"
#include "unit/audit_guest.h"

static const char *root;

static void seed(const char *target, const char *name, const void *head, size_t head_len,
		 const void *body, size_t body_len)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", root, target);
	if (mkdir(path, 0755) && errno != EEXIST) {
		perror(path);
		exit(1);
	}
	snprintf(path, sizeof(path), "%s/%s/%s", root, target, name);
	file = fopen(path, "w");
	if (!file || fwrite(head, 1, head_len, file) != head_len ||
	    fwrite(body, 1, body_len, file) != body_len || fclose(file)) {
		perror(path);
		exit(1);
	}
}

/* Memory of eight words, in which each entry leads back to it: @entry at each level. */
static void seed_walk(const char *name, enum kvmbpf_paging mode, __u64 gva, __u64 entry)
{
	struct {
		struct kvmbpf_paging_state state;
		__u64 gva;
	} head = {
		.state = { .root = 0x1000, .mode = mode, .pse = 1, .nx = 1, .maxphyaddr = 46 },
		.gva = gva,
	};
	__u64 memory[8];
	size_t i;

	for (i = 0; i < 8; i++)
		memory[i] = mode == KVMBPF_PAGING_32BIT ? entry | entry << 32 : entry;
	seed("fuzz_pagewalk", name, &head, sizeof(head), memory, sizeof(memory));
}

static void seeds_pagewalk(void)
{
	seed_walk("off", KVMBPF_PAGING_OFF, 0x1234, 0);
	seed_walk("32bit", KVMBPF_PAGING_32BIT, 0xc0123456, 0x5067);
	seed_walk("32bit-4m", KVMBPF_PAGING_32BIT, 0xc0123456, 0x4000e7);
	seed_walk("pae", KVMBPF_PAGING_PAE, 0xc0123456, 0x5001);
	seed_walk("4level", KVMBPF_PAGING_4LEVEL, 0xffffffff81234567, 0x5067);
	seed_walk("4level-nx", KVMBPF_PAGING_4LEVEL, 0x7fff12345678, 0x8000000000005067);
	seed_walk("4level-reserved", KVMBPF_PAGING_4LEVEL, 0x1000, 0x8000000000050e7);
	seed_walk("5level", KVMBPF_PAGING_5LEVEL, 0xff11000000123456, 0x5067);
}

static void seeds_descriptor(void)
{
	static const struct {
		const char *name;
		uint64_t raw[3];
	} cases[] = {
		{ "code64", { 0x00af9b000000ffff } },
		{ "code32", { 0x00cf9b000000ffff } },
		{ "code16", { 0x000f9b000000ffff } },
		{ "data", { 0x00cff3000000ffff } },
		{ "tss", { 0xfe008b1230004087, 0xfffffe00 } },
		{ "tss16", { 0x0000810000000067 } },
		{ "ldt", { 0x0000820000000067, 0xffff8880 } },
		{ "interrupt-gate", { 0x81e08e0300100b90, 0xffffffff } },
		{ "trap-gate", { 0x81e0ef0000100b90, 0xffffffff } },
		{ "call-gate", { 0x1234ec1f00105678, 0xffffffff } },
		{ "call-gate16", { 0x1234e41f00105678 } },
		{ "task-gate", { 0x0000850000f80000 } },
		{ "interrupt-gate16", { 0x0000860000100b90 } },
		{ "trap-gate16", { 0x0000870000100b90 } },
		{ "null", { 0 } },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		seed("fuzz_descriptor", cases[i].name, cases[i].raw, sizeof(cases[i].raw), "", 0);
}

static void seed_text(const char *name, const char *text)
{
	seed("fuzz_sysmap", name, text, strlen(text), "", 0);
}

static void seeds_sysmap(void)
{
	seed_text("64bit", "0000000000000000 A fixed_percpu_data\nffffffff81000000 T _text\n"
			   "ffffffff81000000 T startup_64\nffffffff81000100 t helper\n"
			   "ffffffff81000200 t helper\nffffffff81000300 W __x64_sys_getpid\n"
			   "ffffffff81000300 T __pfx_x\nffffffff81000400 T _etext\n"
			   "ffffffff81001000 D __start_data\nffffffff81002000 B _end\n");
	seed_text("32bit", "c1000000 T _stext\nc1000010 T sys_getpid\nc1000020 V weak\n"
			   "c1000030 d .Llocal\nc1001000 B __brk_end\n");
	seed_text("modules", "ffffffff81000000 T _text\nffffffffc0000000 t init\t[loop]\n"
			     "ffffffffc0001000 t bpf_prog_1\t[bpf]\n");
	seed_text("hidden", "0000000000000000 T _text\n0000000000000000 D data\n");
	seed_text("stub", "ffffffffffffffff B The real System.map is in the "
			  "linux-image-<version>-dbg package\n");
	seed_text("undefined", "                 U printf\n\nffffffff81000000 T _text\n");
}

static void seed_kallsyms(const char *name, struct image_options options)
{
	uint64_t base = image_base(options.bits), percpu = options.absolute_percpu;
	struct image_symbol list[] = {
		{ percpu ? 0 : base, percpu ? 'A' : 'T', percpu ? "fixed_percpu_data" : "_stext" },
		{ base, 'T', "_text" },
		{ base + 0x100, 'T', "__x64_sys_getpid" },
		{ base + 0x200, 't', "do_one" },
		{ base + 0x200, 'T', "T_kallsyms_lookup" },
		{ base + 0x300, 'T', "_etext" },
		{ base + 0x400, 'D', "_end" },
	};
	struct image image = image_create(&options, list, sizeof(list) / sizeof(list[0]));
	struct fuzz_header header = { .bits32 = options.bits == 32 };
	uint64_t tables[7];
	size_t i;

	memcpy(tables, &image.tables, sizeof(tables));
	for (i = 0; i < 7; i++)
		header.tables[i] = tables[i] ? tables[i] - base : FUZZ_NO_TABLE;
	seed("fuzz_kallsyms", name, &header, sizeof(header), image.bytes, image.len);
	image_destroy(&image);
}

static void seeds_kallsyms(void)
{
	seed_kallsyms("5.10", (struct image_options){ IMAGE_BEFORE_6_4, 64, true, 0, true });
	seed_kallsyms("6.1", (struct image_options){ IMAGE_BEFORE_6_4, 64, true, 4, true });
	seed_kallsyms("6.1-32bit", (struct image_options){ IMAGE_BEFORE_6_4, 32, false, 4, true });
	seed_kallsyms("6.12", (struct image_options){ IMAGE_SINCE_6_4, 64, true, 0, true });
	seed_kallsyms("6.15", (struct image_options){ IMAGE_SINCE_6_4, 64, false, 0, true });
	seed_kallsyms("7.0", (struct image_options){ IMAGE_SINCE_7_0, 64, false, 0, true });
	seed_kallsyms("7.0-32bit", (struct image_options){ IMAGE_SINCE_7_0, 32, false, 0, true });
}

/* A struct with one of each kind of member that is looked for. */
static void seeds_types(void)
{
	struct btf *btf = btf__new_empty();
	int word = btf__add_int(btf, "long unsigned int", 8, 0);
	int head = btf__add_struct(btf, "list_head", 16), memory, array, unnamed, name;
	const void *bytes;
	uint32_t len;

	btf__add_field(btf, "next", head + 1, 0, 0);
	btf__add_field(btf, "prev", head + 1, 64, 0);
	btf__add_ptr(btf, head);
	memory = btf__add_struct(btf, "module_memory", 16);
	btf__add_field(btf, "base", btf__type_cnt(btf), 0, 0);
	btf__add_ptr(btf, 0);
	array = btf__add_array(btf, word, memory, 7);
	unnamed = btf__add_union(btf, NULL, 8);
	btf__add_field(btf, "deep", word, 0, 0);
	name = btf__add_array(btf, word, btf__add_int(btf, "char", 1, BTF_INT_CHAR), 56);
	btf__add_struct(btf, "module", 256);
	btf__add_field(btf, "list", btf__type_cnt(btf), 0, 0);
	btf__add_field(btf, "name", name, 8 * 16, 0);
	btf__add_field(btf, "mem", array, 8 * 72, 0);
	btf__add_field(btf, NULL, unnamed, 8 * 184, 0);
	btf__add_field(btf, "bits", word, 8 * 192, 3);
	btf__add_typedef(btf, "list_t", btf__add_const(btf, head));
	btf__add_union(btf, "union", 8);
	bytes = btf__raw_data(btf, &len);
	seed("fuzz_types", "module", bytes, len, "", 0);
	btf__free(btf);
}

/* As fuzz_reference.c has them: its parts by number, each before its length and bytes. */
enum part {
	PART_TEXT,
	PART_REPLACEMENT,
	PART_ALTERNATIVES,
	PART_PARAVIRT,
	PART_RETPOLINES,
	PART_RETURNS,
	PART_CALLS,
	PART_ENDBRS,
	PART_LOCKS,
	PART_LIMITS,
	PART_FTRACE,
	PART_LABELS,
	PART_STATIC_CALLS,
	PART_THUNK,
	PART_RELOCS_32 = 18,
	PART_RODATA = 21,
	PART_SHIFTS,
	PART_MASKS,
	PART_POINTERS,
};

static uint8_t parts[4096];
static size_t parts_len;

static void part(enum part number, const void *bytes, size_t len)
{
	parts[parts_len++] = number;
	parts[parts_len++] = (uint8_t)len;
	parts[parts_len++] = (uint8_t)(len >> 8);
	memcpy(parts + parts_len, bytes, len);
	parts_len += len;
}

/* A list of one distance: from where the list lies to a place of the text. */
static void list(enum part number, uint32_t address, uint32_t offset)
{
	uint32_t distance = 0x81000000 + offset - address;

	part(number, &distance, 4);
}

/* One place of each kind, 16 bytes apart. */
static void seeds_reference(void)
{
	static const uint8_t code[12][6] = {
		{ 0xff, 0x15, 0, 0, 0, 0 },
		{ 0xe8, 0xab, 0, 0, 0 },
		{ 0xe9, 0x5b, 1, 0, 0 },
		{ 0xe8, 0x8b, 1, 0, 0 },
		{ 0xf3, 0x0f, 0x1e, 0xfa },
		{ 0xf0, 0x48, 0x0f, 0xb1, 0x0e },
		{ 0x48, 0xb8 },
		{ 0x0f, 0x1f, 0x44, 0, 0 },
		{ 0x0f, 0x1f, 0x44, 0, 0 },
		{ 0xe8, 0x6b, 0, 0, 0 },
		{ 0xff, 0x15, 0, 0, 0, 0 },
		{ 0x90, 0x90, 0x90, 0x90 },
	};
	static const uint8_t replacement[] = { 0xe8, 0, 0, 0, 0 }, thunk[] = { 0x90, 0x90 };
	uint8_t text[0x200], alternative[14] = { 0 };
	uint64_t paravirt[2] = { 0xffffffff810000a0, 0x600 }, ftrace = 0xffffffff81000070;
	int32_t label[4] = { 0x81000080 - 0x81029000, 0x81000000 - 0x81029004 };
	int32_t call[2] = { 0x81000090 - 0x8102a000, 0x82000200 - 0x8102a004 };
	int32_t from = 0x81000000 - 0x81020000, to = 0x81010000 - 0x81020004;
	uint32_t reloc = 0x81000002;

	memset(text, 0xcc, sizeof(text));
	for (size_t i = 0; i < 12; i++)
		memcpy(text + 16 * i, code[i], sizeof(code[i]));
	memcpy(alternative, &from, 4);
	memcpy(alternative + 4, &to, 4);
	alternative[12] = 6;
	alternative[13] = 5;
	part(PART_TEXT, text, sizeof(text));
	part(PART_REPLACEMENT, replacement, sizeof(replacement));
	part(PART_ALTERNATIVES, alternative, sizeof(alternative));
	part(PART_PARAVIRT, paravirt, sizeof(paravirt));
	list(PART_RETPOLINES, 0x81022000, 0x10);
	list(PART_RETURNS, 0x81023000, 0x20);
	list(PART_CALLS, 0x81024000, 0x30);
	list(PART_ENDBRS, 0x81025000, 0x40);
	list(PART_LOCKS, 0x81026000, 0x50);
	list(PART_LIMITS, 0x81027000, 0x62);
	list(PART_SHIFTS, 0x8102f000, 0xd3);
	list(PART_MASKS, 0x81030000, 0xe2);
	list(PART_POINTERS, 0x81031000, 0xf2);
	part(PART_RODATA, alternative, sizeof(alternative));
	part(PART_FTRACE, &ftrace, sizeof(ftrace));
	part(PART_LABELS, label, sizeof(label));
	part(PART_STATIC_CALLS, call, sizeof(call));
	part(PART_THUNK, thunk, sizeof(thunk));
	part(PART_RELOCS_32, &reloc, sizeof(reloc));
	seed("fuzz_reference", "every-kind", parts, parts_len, "", 0);
}

/* A listener, a connection and a UDP socket that each lack in one table, as fuzz_audits takes them.
 */
static void seeds_audits(void)
{
	const uint64_t port = MEMORY + 0x1000, address = MEMORY + 0x1040, net = MEMORY + 0xc40;
	const uint64_t sockets[] = { MEMORY + 0x1100, MEMORY + 0x1200, MEMORY + 0x1300 };

	audit_guest_make();
	audit_guest_sockets();
	audit_guest_inet();
	audit_word(MEMORY + INET_PORTS + 8, port + 0x10);
	audit_word(port + 0x20, address + 0x10);
	audit_word(address + 0x20, sockets[0] + 0x40);
	audit_word(sockets[0] + 0x40, sockets[1] + 0x40);
	audit_word(MEMORY + INET_SLOTS2, sockets[2] + 0x40);
	for (int i = 0; i < 3; i++) {
		audit_word(sockets[i] + 0x20, net);
		audit_word(sockets[i] + 0x28, (i == 0 ? 10ull : 1) << 32);
		audit_word(sockets[i] + 0x30, 22ull << 32 | 22);
	}
	audit_word(MEMORY + INET_LISTENERS + 8, sockets[1] + 0x10);
	audit_word(MEMORY + INET_CONNECTIONS, sockets[0] + 0x10);
	seed("fuzz_audits", "sockets", audit_guest.memory, 0x800, audit_guest.memory + 0x900,
	     0xb00);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	root = argv[1];
	seeds_pagewalk();
	seeds_descriptor();
	seeds_sysmap();
	seeds_kallsyms();
	seeds_types();
	seeds_reference();
	seeds_audits();
	return 0;
}
