// SPDX-License-Identifier: LGPL-2.1-or-later
/* eBPF programs of a made-up guest: what their own records and their links say of them. */
#include "audit_guest.h"

#include "access/vm.h"

#define registers_refresh(vm) ((void)(vm), 0)

#include "access/bpf_programs.c"
#include "access/structs.c"
#include "access/xarray.c"

#include <criterion/criterion.h>

#define LINKS (MEMORY + 0x1000)
#define PROGRAMS (MEMORY + 0x1010)
#define PROGRAM (MEMORY + 0x2000)
#define AUX (MEMORY + 0x2100)
#define LINK_GVA (MEMORY + 0x3000)
#define OTHER (MEMORY + 0x4000)
#define TEXT (MEMORY + 0x5000)

static struct ka_bpf_layout *layout;
static struct ka_bpf_program programs[4];
static size_t count;

static void members(void)
{
	audit_member("xarray", "xa_head", 0, 8);
	audit_member("xa_node", "slots", 0x10, 512);
	audit_member("xa_node", "shift", 0, 1);
	audit_member("idr", "idr_rt", 0, 16);
	audit_member("bpf_prog", "type", 0, 4);
	audit_member("bpf_prog", "expected_attach_type", 4, 4);
	audit_member("bpf_prog", "len", 8, 4);
	audit_member("bpf_prog", "tag", 0x10, KA_BPF_TAG_BYTES);
	audit_member("bpf_prog", "aux", 0x18, 8);
	audit_member("bpf_prog", "insnsi", 0x40, 0);
	audit_member("bpf_prog_aux", "id", 0, 4);
	audit_member("bpf_prog_aux", "name", 8, KA_BPF_NAME_MAX);
	audit_member("bpf_prog_aux", "load_time", 0x18, 8);
	audit_member("bpf_prog_aux", "user", 0x20, 8);
	audit_member("bpf_prog_aux", "prog", 0x28, 8);
	audit_member("bpf_prog_aux", "refcnt", 0x30, 8);
	audit_member("bpf_prog_aux", "attach_func_name", 0x38, 8);
	audit_member("bpf_prog_aux", "ksym", 0x40, 64);
	audit_member("bpf_ksym", "prog", 0x28, 1);
	audit_member("user_struct", "uid", 0, 4);
	audit_member("bpf_link", "prog", 0x18, 8);
	audit_member("bpf_link", "type", 0xc, 4);
	audit_member("bpf_raw_tp_link", "btp", 0x40, 8);
	audit_member("bpf_raw_event_map", "tp", 8, 8);
	audit_member("bpf_xdp_link", "dev", 0x40, 8);
	audit_member("net_device", "name", 0x10, 16);
}

static void begin(void)
{
	audit_guest_make();
	members();
	audit_symbol("link_idr", LINKS);
	audit_symbol("prog_idr", PROGRAMS);
	/* The first entry of an array needs no node. */
	audit_word(PROGRAMS, PROGRAM);
	audit_word(PROGRAM, 26);
	audit_word(PROGRAM + 0x18, AUX);
	audit_word(AUX, 7);
	audit_word(AUX + 0x30, 1);
	cr_assert_eq(ka_bpf_layout_new(&audit_kernel, NULL, &layout), 0);
}

static void end(void)
{
	ka_bpf_layout_free(layout);
}

static void text(uint64_t gva, const char *words)
{
	memcpy(audit_guest.memory + (gva - MEMORY), words, strlen(words));
}

static void link_put(uint32_t type, uint64_t to)
{
	audit_word(LINKS, LINK_GVA);
	audit_word(LINK_GVA + 8, (uint64_t)type << 32);
	audit_word(LINK_GVA + 0x18, PROGRAM);
	audit_word(LINK_GVA + 0x40, to);
}

/* Of the only one. */
static void expect(uint32_t views, const char *link, const char *target)
{
	cr_assert_eq(ka_bpf_read(NULL, &audit_kernel, layout, programs, 4, &count), 0);
	cr_assert_eq(count, 1);
	cr_expect_eq(programs[0].id, 7);
	cr_expect_eq(programs[0].views, views);
	cr_expect_str_eq(ka_bpf_link_name(programs[0].link), link);
	cr_expect_str_eq(programs[0].target, target);
}

TestSuite(bpf, .init = begin, .fini = end);

Test(bpf, program_without_a_link_is_attached_to_nothing)
{
	expect(KA_BPF_NUMBERED, "unspec", "");
}

Test(bpf, function_is_what_the_program_says)
{
	audit_word(AUX + 0x38, TEXT);
	text(TEXT, "do_filp_open");
	expect(KA_BPF_NUMBERED, "unspec", "do_filp_open");
	link_put(2, 0);
	expect(KA_BPF_NUMBERED | KA_BPF_LINKED, "tracing", "do_filp_open");
}

Test(bpf, device_is_what_the_link_says)
{
	link_put(6, OTHER);
	text(OTHER + 0x10, "eth0");
	expect(KA_BPF_NUMBERED | KA_BPF_LINKED, "xdp", "eth0");
	/* It has gone. */
	link_put(6, 0);
	expect(KA_BPF_NUMBERED | KA_BPF_LINKED, "xdp", "");
}

Test(bpf, tracepoint_is_what_the_link_says)
{
	link_put(1, OTHER);
	audit_word(OTHER + 8, OTHER + 0x40);
	audit_word(OTHER + 0x40, TEXT);
	text(TEXT, "sched_switch");
	expect(KA_BPF_NUMBERED | KA_BPF_LINKED, "raw_tracepoint", "sched_switch");
	audit_word(OTHER + 8, NOWHERE);
	expect(KA_BPF_NUMBERED | KA_BPF_LINKED, "raw_tracepoint", "");
}

Test(bpf, name_at_the_end_of_what_can_be_read)
{
	audit_word(AUX + 0x38, MEMORY + MEMORY_BYTES - 4);
	text(MEMORY + MEMORY_BYTES - 4, "abcd");
	expect(KA_BPF_NUMBERED, "unspec", "abcd");
}

Test(bpf, name_without_an_end_is_cut)
{
	audit_word(AUX + 0x38, TEXT - 8);
	memset(audit_guest.memory + (TEXT - MEMORY) - 8, 'x', 200);
	cr_assert_eq(ka_bpf_read(NULL, &audit_kernel, layout, programs, 4, &count), 0);
	cr_assert_eq(strlen(programs[0].target), KA_BPF_TARGET_MAX - 1);
}

Test(bpf, link_of_another_kind_says_nothing)
{
	link_put(200, OTHER);
	text(OTHER + 0x10, "eth0");
	expect(KA_BPF_NUMBERED | KA_BPF_LINKED, "unknown", "");
}
