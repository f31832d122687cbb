// SPDX-License-Identifier: LGPL-2.1-or-later
/* The vmcoreinfo text of kernels, sound and forged. */
#include "access/vmcoreinfo.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <string.h>

#define PLACE                                                                                      \
	"SYMBOL(_stext)=ffffffff94e00000\nNUMBER(phys_base)=-134217728\n"                          \
	"SYMBOL(init_top_pgt)=ffffffff97a1a000\nKERNELOFFSET=13e00000\n"
#define KALLSYMS                                                                                   \
	"SYMBOL(kallsyms_names)=ffffffff96a00010\nSYMBOL(kallsyms_num_syms)=ffffffff96a00008\n"    \
	"SYMBOL(kallsyms_token_table)=ffffffff96d00000\n"                                          \
	"SYMBOL(kallsyms_token_index)=ffffffff96d00400\n"                                          \
	"SYMBOL(kallsyms_offsets)=ffffffff96d00600\n"
#define RELEASE "OSRELEASE=6.12.1-amd64\n"

static struct vmcoreinfo info;

static int parse(const char *text)
{
	memset(&info, 0, sizeof(info));
	return vmcoreinfo_parse(text, strlen(text), &info);
}

Test(vmcoreinfo, says_where_the_kernel_and_its_tables_lie)
{
	cr_assert(eq(int,
		     parse(RELEASE "BUILD-ID=00112233445566778899aabbccddeeff01234567\n"
				   "PAGESIZE=4096\n" PLACE KALLSYMS
				   "SYMBOL(kallsyms_relative_base)=ffffffff96d90000\n"),
		     0));
	cr_assert(eq(str, info.release, "6.12.1-amd64"));
	cr_assert(info.has_build_id);
	cr_assert(eq(u8, info.build_id[1], 0x11));
	cr_assert(eq(u8, info.build_id[19], 0x67));
	cr_assert(eq(i64, info.phys_base, -134217728));
	cr_assert(eq(u64, info.slide, 0x13e00000));
	cr_assert(eq(u64, info.stext, 0xffffffff94e00000));
	cr_assert(eq(u64, info.root, 0xffffffff97a1a000));
	cr_assert(info.has_kallsyms);
	cr_assert(eq(u64, info.kallsyms.names, 0xffffffff96a00010));
	cr_assert(eq(u64, info.kallsyms.num_syms, 0xffffffff96a00008));
	cr_assert(eq(u64, info.kallsyms.token_table, 0xffffffff96d00000));
	cr_assert(eq(u64, info.kallsyms.token_index, 0xffffffff96d00400));
	cr_assert(eq(u64, info.kallsyms.offsets, 0xffffffff96d00600));
	cr_assert(eq(u64, info.kallsyms.relative_base, 0xffffffff96d90000));
}

Test(vmcoreinfo, before_6_0_it_names_no_kallsyms)
{
	cr_assert(eq(int, parse("OSRELEASE=5.10.0-30-amd64\n" PLACE), 0));
	cr_assert(not(info.has_kallsyms));
	cr_assert(not(info.has_build_id));
}

Test(vmcoreinfo, without_kaslr_there_is_no_slide)
{
	cr_assert(eq(int,
		     parse(RELEASE "SYMBOL(_stext)=ffffffff81000000\nNUMBER(phys_base)=0\n"
				   "SYMBOL(init_top_pgt)=ffffffff82a1a000\n"),
		     0));
	cr_assert(eq(u64, info.slide, 0));
}

Test(vmcoreinfo, the_root_has_two_names_that_must_agree)
{
	static const char both[] = RELEASE "SYMBOL(swapper_pg_dir)=ffffffff97a1a000\n" PLACE;
	static const char differ[] = RELEASE "SYMBOL(swapper_pg_dir)=ffffffff97a1b000\n" PLACE;

	cr_assert(eq(int, parse(both), 0));
	cr_assert(eq(int, parse(differ), -EBADMSG));
	cr_assert(eq(int,
		     parse(RELEASE "SYMBOL(swapper_pg_dir)=c1234000\nNUMBER(phys_base)=0\n"
				   "SYMBOL(_stext)=c1000000\n"),
		     0));
	cr_assert(eq(u64, info.root, 0xc1234000));
}

Test(vmcoreinfo, ends_at_a_nul_and_at_the_end_of_the_page)
{
	static const char text[] = RELEASE PLACE "\0KERNELOFFSET=1\n";

	cr_assert(eq(int, vmcoreinfo_parse(text, sizeof(text), &info), 0));
	/* Cut in its last value, which then is another: nothing behind it is read. */
	cr_assert(eq(int, vmcoreinfo_parse(text, strlen(text) - 2, &info), 0));
	cr_assert(eq(u64, info.slide, 0x13e0000));
}

Test(vmcoreinfo, what_does_not_begin_so_is_none)
{
	cr_assert(eq(int, parse(""), -EBADMSG));
	cr_assert(eq(int, parse("OSRELEASE"), -EBADMSG));
	cr_assert(eq(int, parse("\n" RELEASE PLACE), -EBADMSG));
}

Test(vmcoreinfo, a_text_without_the_place_is_of_no_use)
{
	cr_assert(eq(int, parse(RELEASE), -ENODATA));
	cr_assert(eq(int, parse("OSRELEASE=6.1"), -ENODATA));
	cr_assert(eq(int, parse(RELEASE "SYMBOL(_stext)=ffffffff81000000\n"), -ENODATA));
}

Test(vmcoreinfo, values_that_are_none_are_refused)
{
	cr_assert(eq(int, parse("OSRELEASE=\n" PLACE), -EBADMSG));
	cr_assert(eq(int, parse("OSRELEASE=6.1 x\n" PLACE), -EBADMSG));
	cr_assert(eq(int, parse("OSRELEASE=6\x1b[31m\n" PLACE), -EBADMSG));
	cr_assert(eq(int, parse(RELEASE "SYMBOL(kallsyms_names)=\n" PLACE), -EBADMSG));
	cr_assert(eq(int, parse(RELEASE "SYMBOL(kallsyms_names)=0x12\n" PLACE), -EBADMSG));
	cr_assert(eq(int, parse(RELEASE "SYMBOL(kallsyms_names)=1ffffffff96a00010\n" PLACE),
		     -EBADMSG));
	cr_assert(eq(int, parse(RELEASE "BUILD-ID=0011\n" PLACE), -EBADMSG));
	cr_assert(eq(int,
		     parse(RELEASE "BUILD-ID=0011223344556677889gaabbccddeeff01234567\n" PLACE),
		     -EBADMSG));
}

Test(vmcoreinfo, numbers_stay_within_64_bits)
{
#define NUMBER(text)                                                                               \
	RELEASE "SYMBOL(_stext)=1\nSYMBOL(init_top_pgt)=2\nNUMBER(phys_base)=" text "\n"
	cr_assert(eq(int, parse(NUMBER("-9223372036854775808")), 0));
	cr_assert(eq(i64, info.phys_base, INT64_MIN));
	cr_assert(eq(int, parse(NUMBER("9223372036854775807")), 0));
	cr_assert(eq(i64, info.phys_base, INT64_MAX));
	cr_assert(eq(int, parse(NUMBER("9223372036854775808")), -EBADMSG));
	cr_assert(eq(int, parse(NUMBER("-9223372036854775809")), -EBADMSG));
	cr_assert(eq(int, parse(NUMBER("-")), -EBADMSG));
	cr_assert(eq(int, parse(NUMBER("")), -EBADMSG));
}

Test(vmcoreinfo, a_value_that_stands_there_twice_is_refused)
{
	cr_assert(eq(int, parse(RELEASE PLACE "KERNELOFFSET=0\n"), -EBADMSG));
	cr_assert(eq(int,
		     parse(RELEASE "BUILD-ID=00112233445566778899aabbccddeeff01234567\n"
				   "BUILD-ID=00112233445566778899aabbccddeeff01234567\n" PLACE),
		     -EBADMSG));
}
