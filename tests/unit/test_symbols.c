// SPDX-License-Identifier: LGPL-2.1-or-later
/* Loading symbols from files, whose kind is told by their contents. */
#include "access/symbols.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "access/symbols_build.h"
#include "kernel_image.h"

enum { COUNT = 600 };

static char path[] = "/tmp/kvmbpf-test-symbols-XXXXXX";

static void file_create(void)
{
	int fd = mkstemp(path);

	cr_assert(ge(int, fd, 0));
	close(fd);
}

static void file_remove(void)
{
	unlink(path);
}

static void file_write(const void *bytes, size_t len)
{
	FILE *file = fopen(path, "w");

	cr_assert(ne(ptr, file, NULL));
	cr_assert(eq(sz, fwrite(bytes, 1, len, file), len));
	fclose(file);
}

TestSuite(load, .init = file_create, .fini = file_remove);

static struct image kernel(unsigned int bits)
{
	static struct image_symbol list[COUNT];
	static char names[COUNT][32];
	struct image_options options = { IMAGE_SINCE_6_4, bits, bits == 64, 0, false };
	unsigned int i;

	for (i = 0; i < COUNT; i++) {
		snprintf(names[i], sizeof(names[i]), "function_%u", i);
		list[i] = (struct image_symbol){ image_base(bits) + 32 * i, 'T', names[i] };
	}
	list[0].name = "_stext";
	return image_create(&options, list, COUNT);
}

static uint8_t *kernel_vmlinux(unsigned int bits, size_t *ret_len)
{
	struct image image = kernel(bits);
	uint8_t *vmlinux = image_vmlinux(&image, ret_len);

	image_destroy(&image);
	return vmlinux;
}

static void check_kernel(unsigned int bits, const char *source)
{
	struct ka_symbols *symbols;
	uint64_t addr, offset, start, end;
	char id[2 * IMAGE_BUILD_ID_LEN + 1];

	cr_assert(eq(int, ka_symbols_load(path, &symbols), 0));
	cr_assert(eq(sz, symbols_count(symbols), COUNT));
	cr_assert(eq(u32, ka_symbols_64bit(symbols) ? 64 : 32, bits));
	cr_assert(eq(str, (char *)ka_symbols_source(symbols), (char *)source));
	cr_assert(eq(str, (char *)ka_symbols_release(symbols), (char *)image_release));
	for (size_t i = 0; i < IMAGE_BUILD_ID_LEN; i++)
		sprintf(&id[2 * i], "%02x", image_build_id[i]);
	cr_assert(eq(str, (char *)ka_symbols_build_id(symbols), id));
	cr_assert(eq(int, ka_symbols_find(symbols, "function_17", &addr), 0));
	cr_assert(eq(u64, addr, image_base(bits) + 32 * 17));
	cr_assert(eq(str, (char *)ka_symbols_name(symbols, addr + 3, &offset), "function_17"));
	symbols_image(symbols, &start, &end);
	cr_assert(eq(u64, start, image_base(bits)));
	cr_assert(gt(u64, end, start + 0x100000));
	ka_symbols_free(symbols);
}

Test(load, vmlinux_with_kallsyms)
{
	unsigned int bits;

	for (bits = 32; bits <= 64; bits += 32) {
		size_t len;
		uint8_t *vmlinux = kernel_vmlinux(bits, &len);

		file_write(vmlinux, len);
		check_kernel(bits, "vmlinux");
		free(vmlinux);
	}
}

Test(load, vmlinuz)
{
	static const char *const formats[] = { "xz", "zstd", "gzip", "lz4" };
	size_t vmlinux_len, payload_len, file_len, i;
	uint8_t *vmlinux = kernel_vmlinux(64, &vmlinux_len);

	for (i = 0; i < 4; i++) {
		uint8_t *payload, *file;

		payload = image_compress(formats[i], vmlinux, vmlinux_len, &payload_len);
		file = image_bzimage(payload, payload_len, vmlinux_len, &file_len);
		file_write(file, file_len);
		check_kernel(64, "vmlinuz");
		free(payload);
		free(file);
	}
	free(vmlinux);
}

static void put(uint8_t *file, size_t *at, const void *bytes, size_t len)
{
	memcpy(file + *at, bytes, len);
	*at += len;
}

/* Replaces the kallsyms tables of a vmlinux by a symbol table with sections to speak of. */
static size_t add_symtab(uint8_t *file, size_t len)
{
	static const char strings[] = "\0func\0data\0weak\0absolute\0undefined\0local\0.Lx\0f.c";
	Elf64_Sym syms[] = {
		{ 0 },
		{ 1, STB_GLOBAL << 4 | STT_FUNC, 0, 1, 0xffffffff81000100, 8 },
		{ 6, STB_GLOBAL << 4 | STT_OBJECT, 0, 2, 0xffffffff81000200, 8 },
		{ 11, STB_WEAK << 4 | STT_FUNC, 0, 1, 0xffffffff81000300, 8 },
		{ 16, STB_GLOBAL << 4 | STT_NOTYPE, 0, SHN_ABS, 0x1234, 0 },
		{ 25, STB_GLOBAL << 4 | STT_NOTYPE, 0, SHN_UNDEF, 0, 0 },
		{ 35, STB_LOCAL << 4 | STT_FUNC, 0, 1, 0xffffffff81000400, 8 },
		{ 41, STB_LOCAL << 4 | STT_NOTYPE, 0, 1, 0xffffffff81000500, 8 },
		{ 45, STB_LOCAL << 4 | STT_FILE, 0, SHN_ABS, 0, 0 },
	};
	size_t at = (len + 7) & ~7UL;
	Elf64_Shdr sections[] = {
		{ 0 },
		{ .sh_type = SHT_PROGBITS, .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
		  .sh_addr = 0xffffffff81000000 },
		{ .sh_type = SHT_NOBITS, .sh_flags = SHF_ALLOC | SHF_WRITE },
		{ .sh_type = SHT_SYMTAB, .sh_offset = at, .sh_size = sizeof(syms), .sh_link = 4,
		  .sh_entsize = sizeof(Elf64_Sym) },
		{ .sh_type = SHT_STRTAB, .sh_offset = at + sizeof(syms),
		  .sh_size = sizeof(strings) },
	};
	Elf64_Ehdr *ehdr = (Elf64_Ehdr *)file;

	put(file, &at, syms, sizeof(syms));
	put(file, &at, strings, sizeof(strings));
	at = (at + 7) & ~7UL;
	ehdr->e_shoff = at;
	ehdr->e_shentsize = sizeof(Elf64_Shdr);
	ehdr->e_shnum = 5;
	put(file, &at, sections, sizeof(sections));
	return at;
}

Test(load, vmlinux_with_symbol_table)
{
	static const struct symbols_entry expected[] = {
		{ 0x1234, "absolute", 'A' },
		{ 0xffffffff81000100, "func", 'T' },
		{ 0xffffffff81000200, "data", 'B' },
		{ 0xffffffff81000300, "weak", 'W' },
		{ 0xffffffff81000400, "local", 't' },
	};
	struct ka_symbols *symbols;
	size_t len, i;
	uint8_t *vmlinux = kernel_vmlinux(64, &len);
	uint8_t *file = calloc(1, len + 4096);

	memcpy(file, vmlinux, len);
	file_write(file, add_symtab(file, len));
	cr_assert(eq(int, ka_symbols_load(path, &symbols), 0));
	cr_assert(eq(sz, symbols_count(symbols), 5));
	for (i = 0; i < 5; i++) {
		struct symbols_entry entry = symbols_at(symbols, i);

		cr_expect(eq(u64, entry.addr, expected[i].addr));
		cr_expect(eq(str, (char *)entry.name, (char *)expected[i].name));
		cr_expect(eq(chr, entry.type, expected[i].type));
	}
	ka_symbols_free(symbols);
	free(vmlinux);
	free(file);
}

Test(load, vmlinux_without_symbols)
{
	struct ka_symbols *symbols = NULL;
	size_t len;
	uint8_t *vmlinux = kernel_vmlinux(64, &len);

	memset(vmlinux + 4096, 0, len - 4096);
	file_write(vmlinux, len);
	cr_assert(eq(int, ka_symbols_load(path, &symbols), -ENOMSG));
	cr_assert(eq(ptr, symbols, NULL), "untouched on failure");
	free(vmlinux);
}

Test(load, damaged_elf)
{
	struct ka_symbols *symbols;
	size_t len, cut;
	uint8_t *vmlinux = kernel_vmlinux(64, &len);

	for (cut = 4; cut < 4096; cut += 16) {
		file_write(vmlinux, cut);
		cr_expect(lt(int, ka_symbols_load(path, &symbols), 0));
	}
	/* Another machine's. */
	((Elf64_Ehdr *)vmlinux)->e_machine = EM_AARCH64;
	file_write(vmlinux, len);
	cr_assert(eq(int, ka_symbols_load(path, &symbols), -EBADMSG));
	free(vmlinux);
}

Test(load, text)
{
	static const char text[] = "ffffffff81000000 T _text\nffffffff81000100 T do_one\n";
	struct ka_symbols *symbols;

	file_write(text, strlen(text));
	cr_assert(eq(int, ka_symbols_load(path, &symbols), 0));
	cr_assert(eq(str, (char *)ka_symbols_source(symbols), "System.map"));
	cr_assert(eq(str, (char *)ka_symbols_build_id(symbols), ""));
	ka_symbols_free(symbols);
}

Test(load, files_of_other_kinds)
{
	struct ka_symbols *symbols;

	file_write("", 0);
	cr_assert(eq(int, ka_symbols_load(path, &symbols), -ENOEXEC));
	file_write("#!/bin/sh\n", 10);
	cr_assert(eq(int, ka_symbols_load(path, &symbols), -ENOEXEC));
	cr_assert(eq(int, ka_symbols_load("/nonexistent/file", &symbols), -ENOENT));
	cr_assert(eq(int, ka_symbols_load("/tmp", &symbols), -EISDIR));
}

Test(load, errors_have_words)
{
	static const int errors[] = { -ENOEXEC, -EBADMSG,	  -ENODATA, -EPERM,
				      -ENOMSG,	-EPROTONOSUPPORT, -EFBIG,   -ENOENT };
	size_t i, k;

	for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		for (k = 0; k < i; k++)
			cr_expect(ne(str, (char *)ka_symbols_error(errors[i]),
				     (char *)ka_symbols_error(errors[k])));
}

Test(symbols, what_runs_elsewhere_is_put_back_where_it_was_linked)
{
	struct ka_symbols *symbols;
	uint64_t addr, offset;

	cr_assert(eq(int, symbols_create(&symbols), 0));
	cr_assert(eq(int, symbols_add(symbols, 0x1f000, 'A', "cpu_number", 10), 0));
	cr_assert(eq(int, symbols_add(symbols, 0xffffffff94e00000, 'T', "_text", 5), 0));
	cr_assert(eq(int, symbols_add(symbols, 0xffffffff94e00100, 'T', "do_one", 6), 0));
	cr_assert(eq(int, symbols_add(symbols, 0xffffffff94e00200, 'B', "_end", 4), 0));
	symbols_rebase(symbols, 0x13e00000);
	cr_assert(eq(int, symbols_seal(symbols), 0));
	cr_assert(eq(int, ka_symbols_find(symbols, "cpu_number", &addr), 0));
	cr_assert(eq(u64, addr, 0x1f000));
	cr_assert(eq(int, ka_symbols_find(symbols, "_text", &addr), 0));
	cr_assert(eq(u64, addr, 0xffffffff81000000));
	cr_assert(eq(str, (char *)ka_symbols_name(symbols, 0xffffffff81000110, &offset), "do_one"));
	cr_assert(eq(sz, ka_symbols_count(symbols), 4));
	ka_symbols_free(symbols);
}
