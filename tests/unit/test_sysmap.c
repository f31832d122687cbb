// SPDX-License-Identifier: LGPL-2.1-or-later
/* Symbols from text: what System.map and /proc/kallsyms hold, sound and not. */
#include "access/sysmap.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <string.h>

#include "access/symbols_build.h"

static struct ka_symbols *symbols;

static int parse(const char *text)
{
	int err;

	ka_symbols_free(symbols);
	cr_assert(eq(int, symbols_create(&symbols), 0));
	err = sysmap_parse(text, strlen(text), symbols);
	return err ? err : symbols_seal(symbols);
}

static void cleanup(void)
{
	ka_symbols_free(symbols);
	symbols = NULL;
}

static const char *name_at(uint64_t addr, uint64_t *ret_offset)
{
	const char *name = ka_symbols_name(symbols, addr, ret_offset);

	return name ? name : "(none)";
}

TestSuite(sysmap, .fini = cleanup);
TestSuite(names, .fini = cleanup);

Test(sysmap, symbols_are_found_by_name_and_address)
{
	uint64_t addr, offset;

	cr_assert(eq(int, parse("ffffffff81000000 T _text\n"
				"ffffffff81000100 T do_one\n"
				"ffffffff81000200 t do_two\n"
				"ffffffff81001000 B _end\n"),
		     0));
	cr_assert(eq(sz, symbols_count(symbols), 4));
	cr_assert(ka_symbols_64bit(symbols));
	cr_assert(eq(str, (char *)ka_symbols_source(symbols), "System.map"));
	cr_assert(eq(int, ka_symbols_find(symbols, "do_two", &addr), 0));
	cr_assert(eq(u64, addr, 0xffffffff81000200));
	cr_assert(eq(int, ka_symbols_find(symbols, "do_three", &addr), -ENOENT));
	cr_assert(eq(str, (char *)name_at(0xffffffff810001ff, &offset), "do_one"));
	cr_assert(eq(u64, offset, 0xff));
}

Test(sysmap, addresses_of_8_digits_make_a_32_bit_kernel)
{
	uint64_t addr;

	cr_assert(eq(int, parse("c1000000 T _text\nc1000100 T sys_getpid\nc1002000 B _end"), 0));
	cr_assert(not(ka_symbols_64bit(symbols)));
	cr_assert(eq(int, ka_symbols_find(symbols, "sys_getpid", &addr), 0));
	cr_assert(eq(u64, addr, 0xc1000100));
}

Test(sysmap, symbols_of_modules_are_left_out)
{
	uint64_t addr;

	cr_assert(eq(int, parse("ffffffff81000000 T _text\n"
				"ffffffff81000100 T do_one\n"
				"ffffffffc0000000 t do_one\t[evil]\n"
				"ffffffffc0001000 t bpf_prog_1\t[bpf]\n"),
		     0));
	cr_assert(eq(sz, symbols_count(symbols), 2));
	cr_assert(eq(int, ka_symbols_find(symbols, "do_one", &addr), 0));
	cr_assert(eq(str, (char *)ka_symbols_source(symbols), "kallsyms"));
}

Test(sysmap, hidden_addresses_are_their_own_error)
{
	cr_assert(eq(int, parse("0000000000000000 T _text\n0000000000000000 T do_one\n"), -EPERM));
	cr_assert(eq(int, parse("0000000000000000 A percpu\nffffffff81000000 T _text\n"), 0));
}

Test(sysmap, debian_stub_is_its_own_error)
{
	static const char stub[] = "ffffffffffffffff B The real System.map is in the "
				   "linux-image-<version>-dbg package\n";

	cr_assert(sysmap_recognise(stub, strlen(stub)));
	cr_assert(eq(int, parse(stub), -ENODATA));
}

Test(sysmap, malformed_lines_are_refused)
{
	static const char *const cases[] = {
		"",
		"\n",
		"ffffffff81000000",
		"ffffffff81000000 T",
		"ffffffff81000000 T ",
		"ffffffff81000000 TT _text",
		"ffffffff81000000  _text",
		"ffffffff8100000000 T _text",
		"ffffffff81000000 T _text trailing",
		"ffffffff81000000 T na\x01me",
		"xyz T _text",
		"ffffffff81000000 T _text\ngarbage\n",
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect(eq(int, parse(cases[i]), -EBADMSG), "case %zu", i);
}

Test(sysmap, undefined_symbols_and_empty_lines_are_skipped)
{
	cr_assert(eq(int, parse("                 U foo\n\nffffffff81000000 T _text\n"), 0));
	cr_assert(eq(sz, symbols_count(symbols), 1));
}

Test(sysmap, too_long_a_name_is_refused)
{
	char line[2048] = "ffffffff81000000 T ";

	memset(line + strlen(line), 'x', SYMBOLS_NAME_MAX);
	cr_assert(eq(int, parse(line), 0));
	strcat(line, "y");
	cr_assert(eq(int, parse(line), -EBADMSG));
}

Test(sysmap, is_recognised_by_its_first_line)
{
	static const char *const no[] = { "", "#!/bin/sh\n", "\177ELF", "deadbeef", "1234\n5 T x" };
	size_t i;

	cr_assert(sysmap_recognise("ffffffff81000000 T _text\ngarbage", 33));
	for (i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		cr_expect(not(sysmap_recognise(no[i], strlen(no[i]))), "case %zu", i);
}

Test(names, several_addresses_of_one_name_are_ambiguous)
{
	uint64_t addr;

	cr_assert(eq(int, parse("ffffffff81000000 T _text\n"
				"ffffffff81000100 t helper\n"
				"ffffffff81000200 t helper\n"
				"ffffffff81000300 t twice\n"
				"ffffffff81000300 t twice\n"),
		     0));
	cr_assert(eq(int, ka_symbols_find(symbols, "helper", &addr), -ENOTUNIQ));
	cr_assert(eq(int, ka_symbols_find(symbols, "twice", &addr), 0));
	cr_assert(eq(u64, addr, 0xffffffff81000300));
}

Test(names, the_most_telling_alias_speaks)
{
	uint64_t offset;

	cr_assert(eq(int, parse("ffffffff81000000 T _text\n"
				"ffffffff81000000 T _stext\n"
				"ffffffff81000000 T startup_64\n"
				"ffffffff81000100 T __ia32_sys_getpid\n"
				"ffffffff81000100 T __x64_sys_getpid\n"
				"ffffffff81000200 T __pfx_memcpy\n"
				"ffffffff81000210 W memcpy_weak\n"
				"ffffffff81000210 T __memcpy\n"
				"ffffffff81000210 T memcpy\n"
				"ffffffff81000210 t $x\n"
				"ffffffff81000300 T __start_rodata\n"
				"ffffffff81000300 d table\n"
				"ffffffff81000400 D _end\n"),
		     0));
	cr_assert(eq(str, (char *)name_at(0xffffffff81000000, &offset), "startup_64"));
	cr_assert(eq(str, (char *)name_at(0xffffffff81000101, &offset), "__x64_sys_getpid"));
	cr_assert(eq(str, (char *)name_at(0xffffffff81000204, &offset), "__pfx_memcpy"));
	cr_assert(eq(str, (char *)name_at(0xffffffff81000210, &offset), "memcpy"));
	cr_assert(eq(str, (char *)name_at(0xffffffff81000300, &offset), "table"));
}

Test(names, nothing_is_named_outside_the_image)
{
	uint64_t offset = 77;

	cr_assert(eq(int, parse("0000000000001000 A gdt_page\n"
				"0000000000002000 D cpu_tss_rw\n"
				"ffffffff81000000 T _text\n"
				"ffffffff81000500 D data\n"
				"ffffffff81000600 A __crc_something\n"
				"ffffffff81001000 B _end\n"),
		     0));
	cr_assert(eq(ptr, (void *)ka_symbols_name(symbols, 0x1000, &offset), NULL));
	cr_assert(eq(ptr, (void *)ka_symbols_name(symbols, 0x2000, &offset), NULL));
	cr_assert(eq(ptr, (void *)ka_symbols_name(symbols, 0xffffffff80ffffff, &offset), NULL));
	cr_assert(eq(ptr, (void *)ka_symbols_name(symbols, 0xffffffff81001000, &offset), NULL));
	cr_assert(eq(ptr, (void *)ka_symbols_name(symbols, 0xffffffffc0001000, &offset), NULL));
	cr_assert(eq(u64, offset, 77), "untouched");
	cr_assert(eq(str, (char *)name_at(0xffffffff81000fff, &offset), "data"));
}

Test(names, nothing_is_named_behind_the_end_of_text)
{
	uint64_t offset;

	cr_assert(eq(int, parse("c1000000 T _text\n"
				"c1000100 T last\n"
				"c1000200 T _etext\n"
				"c1000200 T __indirect_thunk_end\n"
				"c1000800 T _sinittext\n"
				"c1000900 T init\n"
				"c1001000 B _end\n"),
		     0));
	cr_assert(eq(str, (char *)name_at(0xc10001ff, &offset), "last"));
	cr_assert(eq(str, (char *)name_at(0xc1000200, &offset), "_etext"));
	cr_assert(eq(str, (char *)name_at(0xc1000201, &offset), "(none)"));
	cr_assert(eq(str, (char *)name_at(0xc1000901, &offset), "init"));
}

Test(names, order_of_the_lines_does_not_matter)
{
	uint64_t addr, offset;

	cr_assert(eq(int, parse("ffffffff81000200 T two\n"
				"ffffffff81000000 T _text\n"
				"ffffffff81000100 T one\n"),
		     0));
	cr_assert(eq(int, ka_symbols_find(symbols, "two", &addr), 0));
	cr_assert(eq(str, (char *)name_at(0xffffffff81000180, &offset), "one"));
	cr_assert(eq(str, (char *)symbols_at(symbols, 0).name, "_text"));
	cr_assert(eq(chr, symbols_at(symbols, 2).type, 'T'));
}

Test(names, empty_table_finds_nothing)
{
	uint64_t addr, offset;

	cr_assert(eq(int, symbols_create(&symbols), 0));
	cr_assert(eq(int, symbols_seal(symbols), 0));
	cr_assert(eq(int, ka_symbols_find(symbols, "x", &addr), -ENOENT));
	cr_assert(eq(ptr, (void *)ka_symbols_name(symbols, 0, &offset), NULL));
	cr_assert(eq(str, (char *)ka_symbols_release(symbols), ""));
}

Test(names, what_two_tables_say_of_a_name_is_compared)
{
	struct ka_symbols *file;
	struct ka_symbol_difference difference = { 0 };

	cr_assert(eq(int, parse("0000000000001000 A percpu\nffffffff81000000 T _text\n"
				"ffffffff81000100 t helper\nffffffff81000200 t helper\n"
				"ffffffff81000300 T handler\nffffffff82000000 B _end\n"),
		     0));
	file = symbols;
	symbols = NULL;
	/* Per-CPU offsets, names that the file lacks, and one of several places are no lie. */
	cr_assert(eq(int, parse("0000000000002000 A percpu\nffffffff81000000 T _text\n"
				"ffffffff81000200 t helper\nffffffff81000280 t unknown\n"
				"ffffffff81000300 T handler\nffffffff82000000 B _end\n"),
		     0));
	cr_expect(eq(sz, ka_symbols_compare(file, symbols, &difference, 1), 0));
	cr_assert(eq(int, parse("ffffffff81000000 T _text\nffffffff81000180 t helper\n"
				"ffffffff81000340 T handler\nffffffff82000000 B _end\n"),
		     0));
	cr_expect(eq(sz, ka_symbols_compare(file, symbols, &difference, 1), 2));
	cr_expect(eq(str, difference.name, "helper"));
	cr_expect(eq(u64, difference.other, 0xffffffff81000180));
	ka_symbols_free(file);
}
