// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * eBPF programs of the guest's kernel: those that have an identifier, as bpftool(8) shows them,
 * those that a link runs, and those whose code the kernel has a name for. Who hides from the first
 * runs on. What they are attached to, their own records or those of their links tell.
 *
 * Every link is the guest's: walks are bounded by the number of programs that the caller takes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "xarray.h"

enum {
	TRIES = 3,
	INSN_BYTES = 8,
	INSNS_MAX = 1 << 20, /* BPF_COMPLEXITY_LIMIT_INSNS: no program is longer */
	INSNS_PER_READ = 512,
	CALL = 0x85, /* BPF_JMP | BPF_CALL */
	NAMES_MAX = 1 << 14,
	PAGE_BYTES = 4096,
};

/* enum bpf_link_type of include/uapi/linux/bpf.h: those that say what they are attached to. */
enum { LINK_RAW_TRACEPOINT = 1, LINK_XDP = 6, LINK_TCX = 11 };

struct ka_bpf_layout {
	struct xarray_layout array;
	struct ka_member ids; /* idr.idr_rt */
	struct ka_member type, attach_type, len, tag, aux, insns;
	struct ka_member id, name, load_time, user, uid, prog, refs;
	struct ka_member ksym, ksym_link, ksym_prog;
	struct ka_member link_prog, link_type;
	/* What is attached to; size 0: not known. A function's name, a tracepoint, a device. */
	struct ka_member function, event, event_point, point_name, xdp_device, tcx_device,
		device_name;
};

struct scan {
	struct structs guest;
	const struct ka_bpf_layout *layout;
	struct ka_bpf_program *programs;
	size_t count, max;
};

/* What a kernel has none of, or has elsewhere, is not told. */
static void find_targets(const struct ka_types *types, unsigned int word,
			 struct ka_bpf_layout *layout)
{
	if (!STRUCTS_FIND(types, { "bpf_prog_aux", "attach_func_name", &layout->function, word }))
		layout->function.size = 0;
	if (!STRUCTS_FIND(types, { "bpf_raw_tp_link", "btp", &layout->event, word },
			  { "bpf_raw_event_map", "tp", &layout->event_point, word },
			  { "tracepoint", "name", &layout->point_name, word }))
		layout->event.size = 0;
	if (!STRUCTS_FIND(types, { "net_device", "name", &layout->device_name, 0 }))
		return;
	if (!STRUCTS_FIND(types, { "bpf_xdp_link", "dev", &layout->xdp_device, word }))
		layout->xdp_device.size = 0;
	if (!STRUCTS_FIND(types, { "tcx_link", "dev", &layout->tcx_device, word }))
		layout->tcx_device.size = 0;
}

int ka_bpf_layout_new(const struct ka_kernel *kernel, const struct ka_types *types,
		      struct ka_bpf_layout **ret_layout)
{
	unsigned int word = structs_word(kernel);
	struct ka_bpf_layout layout = {};

	if (!xarray_layout_find(types, word, &layout.array) ||
	    !STRUCTS_FIND(types, { "idr", "idr_rt", &layout.ids, 0 },
			  { "bpf_prog", "type", &layout.type, 4 },
			  { "bpf_prog", "expected_attach_type", &layout.attach_type, 4 },
			  { "bpf_prog", "len", &layout.len, 4 },
			  { "bpf_prog", "tag", &layout.tag, KA_BPF_TAG_BYTES },
			  { "bpf_prog", "aux", &layout.aux, word },
			  { "bpf_prog", "insnsi", &layout.insns, 0 },
			  { "bpf_prog_aux", "id", &layout.id, 4 },
			  { "bpf_prog_aux", "name", &layout.name, KA_BPF_NAME_MAX },
			  { "bpf_prog_aux", "load_time", &layout.load_time, 8 },
			  { "bpf_prog_aux", "user", &layout.user, word },
			  { "bpf_prog_aux", "prog", &layout.prog, word },
			  { "bpf_prog_aux", "refcnt", &layout.refs, 8 },
			  { "user_struct", "uid", &layout.uid, 4 },
			  { "bpf_prog_aux", "ksym", &layout.ksym, 0 },
			  { "bpf_ksym", "lnode", &layout.ksym_link, 2 * word },
			  { "bpf_ksym", "prog", &layout.ksym_prog, 1 },
			  { "bpf_link", "prog", &layout.link_prog, word },
			  { "bpf_link", "type", &layout.link_type, 4 }))
		return -ENODATA;
	find_targets(types, word, &layout);
	*ret_layout = malloc(sizeof(layout));
	if (!*ret_layout)
		return -ENOMEM;
	**ret_layout = layout;
	return 0;
}

void ka_bpf_layout_free(struct ka_bpf_layout *layout)
{
	free(layout);
}

/* ---- what is attached to -------------------------------------------------------------------- */

/* "" where it cannot be read: it may be gone. What follows it need not be there. */
static void read_target(const struct scan *scan, uint64_t gva,
			char target[static KA_BPF_TARGET_MAX])
{
	uint32_t page = PAGE_BYTES - (uint32_t)(gva & (PAGE_BYTES - 1)),
		 max = KA_BPF_TARGET_MAX - 1;
	struct ka_piece piece = { .address = gva, .buf = target, .len = page < max ? page : max };
	struct ka_piece more = { .address = gva + page };
	int err = gva ? structs_readv(&scan->guest, &piece, 1) : -ENOENT;

	target[err ? 0 : piece.len] = '\0';
	if (err || piece.len == max || memchr(target, '\0', piece.len))
		return;
	more.buf = target + piece.len;
	more.len = max - piece.len;
	if (structs_readv(&scan->guest, &more, 1))
		target[piece.len] = '\0';
	else
		target[max] = '\0';
}

/* struct bpf_link comes first in each kind of link. */
static void read_link_target(const struct scan *scan, uint64_t link, struct ka_bpf_program *program)
{
	const struct ka_bpf_layout *layout = scan->layout;
	const struct ka_member *device = program->link == LINK_XDP   ? &layout->xdp_device
					 : program->link == LINK_TCX ? &layout->tcx_device
								     : NULL;
	uint64_t at;
	int err;

	if (device && device->size) {
		if (!structs_read_word(&scan->guest, link + device->offset, &at) && at)
			read_target(scan, at + layout->device_name.offset, program->target);
	} else if (program->link == LINK_RAW_TRACEPOINT && layout->event.size) {
		err = structs_read_word(&scan->guest, link + layout->event.offset, &at);
		if (!err)
			err = structs_read_word(&scan->guest, at + layout->event_point.offset, &at);
		if (!err)
			err = structs_read_word(&scan->guest, at + layout->point_name.offset, &at);
		if (!err)
			read_target(scan, at, program->target);
	}
}

/* ---- one program ---------------------------------------------------------------------------- */

static int read_aux(const struct scan *scan, uint64_t aux, struct ka_bpf_program *program)
{
	const struct ka_bpf_layout *layout = scan->layout;
	uint64_t user = 0, function;
	struct ka_piece pieces[] = {
		{ .address = aux + layout->id.offset, .buf = &program->id, .len = 4 },
		{ .address = aux + layout->name.offset,
		  .buf = program->name,
		  .len = KA_BPF_NAME_MAX },
		{ .address = aux + layout->load_time.offset, .buf = &program->loaded_ns, .len = 8 },
		{ .address = aux + layout->refs.offset, .buf = &program->references, .len = 8 },
		{ .address = aux + layout->user.offset, .buf = &user, .len = scan->guest.word },
	};
	struct ka_piece uid = { .buf = &program->uid, .len = 4 };
	int err = structs_readv(&scan->guest, pieces, sizeof(pieces) / sizeof(pieces[0]));

	program->name[KA_BPF_NAME_MAX - 1] = '\0';
	if (!err && layout->function.size &&
	    !structs_read_word(&scan->guest, aux + layout->function.offset, &function))
		read_target(scan, function, program->target);
	uid.address = user + layout->uid.offset;
	return err || !user ? err : structs_readv(&scan->guest, &uid, 1);
}

static int read_program(const struct scan *scan, uint64_t gva, struct ka_bpf_program *ret_program)
{
	const struct ka_bpf_layout *layout = scan->layout;
	struct ka_bpf_program program = { .gva = gva };
	uint64_t aux = 0;
	struct ka_piece pieces[] = {
		{ .address = gva + layout->type.offset, .buf = &program.type, .len = 4 },
		{ .address = gva + layout->attach_type.offset,
		  .buf = &program.attach_type,
		  .len = 4 },
		{ .address = gva + layout->len.offset, .buf = &program.insns, .len = 4 },
		{ .address = gva + layout->tag.offset,
		  .buf = program.tag,
		  .len = KA_BPF_TAG_BYTES },
		{ .address = gva + layout->aux.offset, .buf = &aux, .len = scan->guest.word },
	};
	int err = structs_readv(&scan->guest, pieces, sizeof(pieces) / sizeof(pieces[0]));

	if (!err)
		err = read_aux(scan, aux, &program);
	if (!err)
		*ret_program = program;
	return err;
}

static struct ka_bpf_program *find(struct scan *scan, uint64_t gva)
{
	for (size_t i = 0; i < scan->count; i++)
		if (scan->programs[i].gva == gva)
			return &scan->programs[i];
	return NULL;
}

static int note(struct scan *scan, uint64_t gva, uint32_t view)
{
	struct ka_bpf_program *program = find(scan, gva);
	int err;

	if (!program) {
		if (scan->count == scan->max)
			return -ENOBUFS;
		program = &scan->programs[scan->count];
		err = read_program(scan, gva, program);
		if (err)
			return err;
		scan->count++;
	}
	program->views |= view;
	return 0;
}

/* ---- the three views ------------------------------------------------------------------------ */

static int note_numbered(void *ctx, uint64_t prog)
{
	return note(ctx, prog, KA_BPF_NUMBERED);
}

/* Links whose program went stay for a moment without one. */
static int note_linked(void *ctx, uint64_t link)
{
	struct scan *scan = ctx;
	const struct ka_bpf_layout *layout = scan->layout;
	struct ka_bpf_program *program;
	uint64_t prog = 0;
	uint32_t type = 0;
	struct ka_piece pieces[] = {
		{ .address = link + layout->link_prog.offset,
		  .buf = &prog,
		  .len = scan->guest.word },
		{ .address = link + layout->link_type.offset, .buf = &type, .len = sizeof(type) },
	};
	int err = structs_readv(&scan->guest, pieces, 2);

	if (!err && prog)
		err = note(scan, prog, KA_BPF_LINKED);
	program = err || !prog ? NULL : find(scan, prog);
	if (program) {
		program->link = type;
		read_link_target(scan, link, program);
	}
	return err;
}

/* Functions of a program have names, too, and no identifier. */
static int note_named(void *ctx, uint64_t ksym)
{
	struct scan *scan = ctx;
	uint64_t aux = ksym - scan->layout->ksym.offset, prog = 0;
	uint32_t id = 0;
	uint8_t is_prog = 0;
	struct ka_piece pieces[] = {
		{ .address = ksym + scan->layout->ksym_prog.offset, .buf = &is_prog, .len = 1 },
	};
	struct ka_piece more[] = {
		{ .address = aux + scan->layout->id.offset, .buf = &id, .len = 4 },
		{ .address = aux + scan->layout->prog.offset,
		  .buf = &prog,
		  .len = scan->guest.word },
	};
	int err = structs_readv(&scan->guest, pieces, 1);

	if (!err && is_prog)
		err = structs_readv(&scan->guest, more, 2);
	return err || !id || !prog ? err : note(scan, prog, KA_BPF_NAMED);
}

static int scan_ids(struct scan *scan, const char *symbol, int (*each)(void *ctx, uint64_t entry))
{
	uint64_t idr;

	if (ka_kernel_symbol(scan->guest.kernel, symbol, &idr))
		return -ENODATA;
	return xarray_walk(&scan->guest, &scan->layout->array, idr + scan->layout->ids.offset, each,
			   scan);
}

static int scan_all(struct scan *scan)
{
	uint64_t names;
	int err;

	scan->count = 0;
	if (ka_kernel_symbol(scan->guest.kernel, "bpf_kallsyms", &names))
		return -ENODATA;
	/* What runs first: what is loaded meanwhile is then among the numbers already. */
	err = scan_ids(scan, "link_idr", note_linked);
	if (!err)
		err = structs_walk(&scan->guest, names, scan->layout->ksym_link.offset, NAMES_MAX,
				   note_named, scan);
	return err ? err : scan_ids(scan, "prog_idr", note_numbered);
}

static int compare(const void *a, const void *b)
{
	uint32_t x = ((const struct ka_bpf_program *)a)->id;
	uint32_t y = ((const struct ka_bpf_program *)b)->id;

	return x < y ? -1 : x > y;
}

int ka_bpf_read(struct ka_vm *vm, const struct ka_kernel *kernel,
		const struct ka_bpf_layout *layout, struct ka_bpf_program *programs, size_t max,
		size_t *ret_count)
{
	struct scan scan = {
		.guest = structs_of(vm, kernel), .layout = layout, .programs = programs, .max = max
	};
	int err = registers_refresh(vm);

	for (int tries = 0; !err; tries++) {
		err = scan_all(&scan);
		if (!err || err == -EOWNERDEAD || err == -ENOBUFS || err == -ENODATA)
			break;
		err = tries == TRIES - 1 ? -EAGAIN : 0;
	}
	if (err)
		return err;
	qsort(programs, scan.count, sizeof(*programs), compare);
	*ret_count = scan.count;
	return 0;
}

/* ---- what a program does -------------------------------------------------------------------- */

/* Calls of helpers are relative to __bpf_call_base. */
static int32_t call_of(const struct ka_kernel *kernel, const char *helper)
{
	uint64_t base, function;

	if (ka_kernel_symbol(kernel, "__bpf_call_base", &base) ||
	    ka_kernel_symbol(kernel, helper, &function))
		return 0;
	return (int32_t)(function - base);
}

static uint32_t uses_of(const uint8_t *insns, size_t count, const int32_t *calls)
{
	uint32_t uses = 0;

	for (size_t i = 0; i < count; i++) {
		const uint8_t *insn = insns + i * INSN_BYTES;
		int32_t imm;

		memcpy(&imm, insn + 4, sizeof(imm));
		if (insn[0] != CALL || insn[1] >> 4 || !imm)
			continue;
		uses |= imm == calls[0] ? KA_BPF_WRITES_USER : 0;
		uses |= imm == calls[1] ? KA_BPF_OVERRIDES : 0;
	}
	return uses;
}

int ka_bpf_uses(struct ka_vm *vm, const struct ka_kernel *kernel,
		const struct ka_bpf_layout *layout, const struct ka_bpf_program *program,
		uint32_t *ret_uses)
{
	const int32_t calls[] = { call_of(kernel, "bpf_probe_write_user"),
				  call_of(kernel, "bpf_override_return") };
	uint8_t insns[INSNS_PER_READ * INSN_BYTES];
	uint32_t uses = 0;

	if (program->insns > INSNS_MAX)
		return -EAGAIN;
	for (uint32_t at = 0; at < program->insns; at += INSNS_PER_READ) {
		uint32_t left = program->insns - at;
		uint32_t count = left < INSNS_PER_READ ? left : INSNS_PER_READ;
		int err = ka_gva_read(vm, &kernel->paging,
				      program->gva + layout->insns.offset + at * INSN_BYTES, insns,
				      count * INSN_BYTES);

		if (err)
			return err;
		uses |= uses_of(insns, count, calls);
	}
	*ret_uses = uses;
	return 0;
}

const char *ka_bpf_type_name(uint32_t type)
{
	/* enum bpf_prog_type of include/uapi/linux/bpf.h, as bpftool has them. */
	static const char *const names[] = {
		"unspec",
		"socket_filter",
		"kprobe",
		"sched_cls",
		"sched_act",
		"tracepoint",
		"xdp",
		"perf_event",
		"cgroup_skb",
		"cgroup_sock",
		"lwt_in",
		"lwt_out",
		"lwt_xmit",
		"sock_ops",
		"sk_skb",
		"cgroup_device",
		"sk_msg",
		"raw_tracepoint",
		"cgroup_sock_addr",
		"lwt_seg6local",
		"lirc_mode2",
		"sk_reuseport",
		"flow_dissector",
		"cgroup_sysctl",
		"raw_tracepoint_writable",
		"cgroup_sockopt",
		"tracing",
		"struct_ops",
		"ext",
		"lsm",
		"sk_lookup",
		"syscall",
		"netfilter",
	};

	return type < sizeof(names) / sizeof(names[0]) ? names[type] : "unknown";
}

const char *ka_bpf_link_name(uint32_t link)
{
	/* enum bpf_link_type, as bpftool has them. */
	static const char *const names[] = {
		"unspec",	"raw_tracepoint", "tracing",   "cgroup",
		"iter",		"netns",	  "xdp",       "perf_event",
		"kprobe_multi", "struct_ops",	  "netfilter", "tcx",
		"uprobe_multi", "netkit",	  "sockmap",
	};

	return link < sizeof(names) / sizeof(names[0]) ? names[link] : "unknown";
}
