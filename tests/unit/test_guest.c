// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The whole monitor core, from registers and memory to events, on a guest that is made of arrays:
 * what a rootkit does is reported, what a kernel does by itself is not, and not looking is never
 * called clean. Every event is held against the schema.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <kvmaccess.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * The files under test, with the calls that reach a host answered by the fake below. They are
 * linked into this program a second time, so their names must differ.
 */
#define guest_new tested_guest_new
#define guest_free tested_guest_free
#define guest_cycle tested_guest_cycle
#define guest_push tested_guest_push
#define guest_complete tested_guest_complete
#define guest_blind tested_guest_blind
#define guest_scan_registers tested_guest_scan_registers
#define guest_scan tested_guest_scan
#define scan_reason tested_scan_reason
#define scan_no_vmcs tested_scan_no_vmcs
#define guest_record tested_guest_record
#define guest_record_vcpu tested_guest_record_vcpu
#define guest_wait_for_boot tested_guest_wait_for_boot
#define guest_kernel_replaced tested_guest_kernel_replaced
#define record_is_due tested_record_is_due
#define guest_differs tested_guest_differs
#define guest_judge tested_guest_judge
#define guest_judge_pushed tested_guest_judge_pushed
#define guest_close_findings tested_guest_close_findings
#define guest_judge_text tested_guest_judge_text
#define guest_boot_is_certain tested_guest_boot_is_certain
#define guest_registers_expect tested_guest_registers_expect
#define guest_registers_save tested_guest_registers_save
#define guest_registers_restore tested_guest_registers_restore
#define guest_registers_differ tested_guest_registers_differ
#define guest_registers_pushed tested_guest_registers_pushed
#define judge_registers tested_judge_registers
#define judge_pushed_registers tested_judge_pushed_registers
#define look_report tested_look_report
#define look_sweep_scope tested_look_sweep_scope
#define look_sweep tested_look_sweep
#define look_done tested_look_done
#define look_failed tested_look_failed
#define guest_reference_drop tested_guest_reference_drop
#define guest_text_prepare tested_guest_text_prepare
#define guest_text_prepare_with tested_guest_text_prepare_with
#define guest_text_is tested_guest_text_is
#define guest_text_tracing tested_guest_text_tracing
#define guest_text_take tested_guest_text_take
#define guest_text_retake tested_guest_text_retake
#define guest_text_take_drop tested_guest_text_take_drop
#define guest_text_first tested_guest_text_first
#define guest_text_drop tested_guest_text_drop
#define guest_text_behind tested_guest_text_behind
#define guest_text_more tested_guest_text_more
#define guest_first_looks_allowed tested_guest_first_looks_allowed
#define guest_first_look_took tested_guest_first_look_took
#define guest_text_add tested_guest_text_add
#define guest_text_collect tested_guest_text_collect
#define guest_text_wrote tested_guest_text_wrote
#define guest_text_soon tested_guest_text_soon
#define guest_text_track tested_guest_text_track
#define guest_text_untrack tested_guest_text_untrack
#define guest_text_forget tested_guest_text_forget
#define guest_text_retrack tested_guest_text_retrack
#define guest_text_is_tracked tested_guest_text_is_tracked
#define guest_text_hot tested_guest_text_hot
#define guest_text_written tested_guest_text_written
#define guest_text_part tested_guest_text_part
#define guest_seal tested_guest_seal
#define guest_unseal tested_guest_unseal
#define guest_may_rest tested_guest_may_rest
#define guest_rest tested_guest_rest
#define guest_settle tested_guest_settle
#define guest_track tested_guest_track
#define guest_audit tested_guest_audit
#define guest_audits_drop tested_guest_audits_drop
#define guest_audits_complete tested_guest_audits_complete
#define guest_audits_wait tested_guest_audits_wait
#define guest_settled tested_guest_settled
#define guest_judge_audit tested_guest_judge_audit
#define guest_judge_symbols tested_guest_judge_symbols
#define guest_cover_first tested_guest_cover_first
#define guest_cover_text tested_guest_cover_text
#define guest_cover_vcpus tested_guest_cover_vcpus
#define audits tested_audits
#define guest_tracking_stopped tested_guest_tracking_stopped
#define guest_write tested_guest_write
#define guest_tell_writes tested_guest_tell_writes
#define guest_writes_lost tested_guest_writes_lost
#define view_offset tested_view_offset
#define view_aim tested_view_aim
#define view_copy tested_view_copy
#define view_same_place tested_view_same_place
#define view_same_bytes tested_view_same_bytes
#define view_place tested_view_place
#define view_gpa tested_view_gpa
#define view_value tested_view_value
#define reader_reserve tested_reader_reserve
#define reader_deinit tested_reader_deinit
#define reader_begin tested_reader_begin
#define reader_add tested_reader_add
#define reader_run tested_reader_run
#define reader_collect tested_reader_collect

static int fake_registers_read_all(struct ka_vm *vm, struct ka_registers *registers, size_t max,
				   size_t *ret_count);
static int fake_readv(struct ka_vm *vm, struct ka_piece *pieces, size_t count);
static int fake_gva_read(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva, void *buf,
			 size_t len);
static int fake_translate(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva,
			  struct ka_translation *ret_translation);
static int fake_kernel_find(struct ka_vm *vm, const struct ka_symbols *const *symbols, size_t count,
			    struct ka_kernel *ret_kernel);
static int fake_symbols_from_guest(struct ka_vm *vm, struct ka_symbols **ret_symbols);
static int fake_build_id_from_guest(struct ka_vm *vm, char ret_build_id[static KA_BUILD_ID_MAX]);
static int fake_types_from_guest(struct ka_vm *vm, const struct ka_kernel *kernel,
				 struct ka_types **ret_types);
static int fake_symbol_read(struct ka_vm *vm, const struct ka_kernel *kernel, const char *name,
			    void *buf, size_t len);
static int fake_syscall_table_find(struct ka_vm *vm, const struct ka_kernel *kernel,
				   enum ka_syscall_table_kind kind,
				   struct ka_syscall_table *ret_table);
static int fake_seal(struct ka_vm *vm, const struct ka_seal_vcpu *vcpus, size_t vcpu_count,
		     const struct ka_piece *pieces, size_t piece_count);
static void fake_unseal(struct ka_vm *vm);
static const struct ka_vm_info *fake_vm_info(const struct ka_vm *vm);
static void fake_close(struct ka_vm *vm);
static int fake_track_begin(struct ka_vm *vm);
static int fake_tracker_pid(struct ka_vm *vm, pid_t *ret_pid);
static int fake_track(struct ka_vm *vm, uint64_t gpa, size_t len, unsigned int flags,
		      uint64_t cookie);
static int fake_track_frames(struct ka_vm *vm, uint64_t gpa, size_t frames, uint64_t cookie);
static int fake_untrack(struct ka_vm *vm, uint64_t gpa, uint64_t len);
static int fake_tracked(struct ka_vm *vm, struct ka_tracked *tracked, size_t max,
			size_t *ret_count);

/* With arguments, since some structs have the same names. */
#define ka_registers_read_all(vm, registers, max, count)                                           \
	fake_registers_read_all(vm, registers, max, count)
#define ka_readv(vm, pieces, count) fake_readv(vm, pieces, count)
#define ka_gva_read(vm, paging, gva, buf, len) fake_gva_read(vm, paging, gva, buf, len)
#define ka_translate(vm, paging, gva, translation) fake_translate(vm, paging, gva, translation)
#define ka_kernel_find(vm, symbols, count, kernel) fake_kernel_find(vm, symbols, count, kernel)
#define ka_symbols_from_guest(vm, symbols) fake_symbols_from_guest(vm, symbols)
#define ka_build_id_from_guest(vm, build_id) fake_build_id_from_guest(vm, build_id)
#define ka_types_from_guest(vm, kernel, types) fake_types_from_guest(vm, kernel, types)
#define ka_tracing_layout_new(kernel, types, layout) ((void)(types), -ENODATA)
#define ka_symbol_read(vm, kernel, name, buf, len) fake_symbol_read(vm, kernel, name, buf, len)
#define ka_syscall_table_find(vm, kernel, kind, table)                                             \
	fake_syscall_table_find(vm, kernel, kind, table)
#define ka_seal(vm, vcpus, vcpu_count, pieces, piece_count)                                        \
	fake_seal(vm, vcpus, vcpu_count, pieces, piece_count)
#define ka_unseal(vm) fake_unseal(vm)
#define ka_vm_info(vm) fake_vm_info(vm)
#define ka_close(vm) fake_close(vm)
#define ka_track_begin(vm) fake_track_begin(vm)
#define ka_tracker_pid(vm, pid) fake_tracker_pid(vm, pid)
#define ka_track(vm, gpa, len, flags, cookie) fake_track(vm, gpa, len, flags, cookie)
#define ka_track_frames(vm, gpa, frames, cookie) fake_track_frames(vm, gpa, frames, cookie)
#define ka_untrack(vm, gpa, len) fake_untrack(vm, gpa, len)
#define ka_tracked(vm, tracked, max, count) fake_tracked(vm, tracked, max, count)

#include "monitor/guest_modules.h"
#define guest_modules_prepare_with(modules, kernel, types) ((void)(types))

#include "monitor/guest.c"
#include "monitor/guest_audit.c"
#include "monitor/guest_judge.c"
#include "monitor/guest_record.c"
#include "monitor/guest_registers.c"
#include "monitor/guest_scan.c"
#include "monitor/guest_seal.c"
#include "monitor/guest_text.c"
#include "monitor/guest_text_take.c"
#include "monitor/guest_track.c"
#include "monitor/guest_track_text.c"
#include "monitor/guest_writes.c"
#include "monitor/view.c"

/* ---- the guest ----------------------------------------------------------------------------- */

enum {
	VCPUS = 2,
	SYSCALLS = 450,
	PAGE = 4096,
	MEMORY_PAGES = 64,
	/* Pages of memory. */
	P_IDT = 1,
	P_IDT_COPY = 2,
	P_SYSCALLS = 4,
	P_GDT = 8 /* one a vCPU */,
	P_GDT_COPY = 12,
	P_TEXT = 20,
	TEXT_PAGES = 4,
	REMAPS = 8,
};

static const uint64_t gva_idt = 0xfffffe0000000000, gva_gdt = 0xfffffe0000001000,
		      gva_gdt_direct = 0xffff888000008000, gva_other = 0xffffc90000000000,
		      link_text = 0xffffffff81000000, link_table = 0xffffffff82000300;

struct remap {
	uint64_t gva; /* of a page */
	int vcpu;     /* -1: all */
	unsigned int page;
};

static struct fake {
	uint8_t memory[MEMORY_PAGES * PAGE];
	struct ka_registers registers[VCPUS];
	size_t vcpus;
	struct ka_vm_info info;
	uint64_t slide;
	uint32_t system_state;
	uint64_t cr4_pinned_bits;
	bool gone, user_cr3, kernel_hidden;
	uint32_t syscalls;     /* entries that the table seems to have */
	bool tells_symbols;    /* its memory holds those of its kernel */
	bool lies;	       /* about one of them */
	unsigned int searches; /* of its memory */
	bool searched_before_baseline;
	char build_id[41];
	struct remap remap[REMAPS];
	size_t remaps;
	/* A value that is there for one read only. */
	uint64_t torn_gpa, torn_value;
	unsigned int reads;
	struct ka_symbols *symbols;
	/* Write tracking. */
	struct ka_tracked tracked[TRACKED_RANGES_MAX];
	size_t tracked_count;
	bool tracks, stopped, dirty_logged;
	pid_t holder; /* somebody else */
	uint64_t refused_gpa;
	/* Of the first audit. */
	bool no_types;
	uint64_t records[AUDIT_DIFFERENCES_MAX + 8]; /* that differ */
	size_t record_count, record_once;	     /* of these, gone at the second look */
	int audit_error;
	unsigned int looks;
} fake;

static uint8_t *page(unsigned int number)
{
	return fake.memory + number * PAGE;
}

/* Page tables: root r of vCPU r - 1; root 100 is init_top_pgt. */
static int walk(uint64_t root, uint64_t gva, uint64_t *ret_gpa)
{
	int vcpu = root < 100 ? (int)root - 1 : -1;
	uint64_t frame = gva & ~(uint64_t)(PAGE - 1), table = link_table + fake.slide;

	for (size_t i = 0; i < fake.remaps; i++)
		if (fake.remap[i].gva == frame &&
		    (fake.remap[i].vcpu < 0 || fake.remap[i].vcpu == vcpu)) {
			*ret_gpa = fake.remap[i].page * (uint64_t)PAGE + (gva - frame);
			return 0;
		}
	if (frame == gva_idt)
		*ret_gpa = P_IDT * PAGE + (gva - frame);
	else if (frame >= gva_gdt && frame < gva_gdt + VCPUS * PAGE)
		*ret_gpa = P_GDT * PAGE + (gva - gva_gdt);
	else if (frame >= gva_gdt_direct && frame < gva_gdt_direct + VCPUS * PAGE)
		*ret_gpa = P_GDT * PAGE + (gva - gva_gdt_direct);
	else if (frame >= (table & ~(uint64_t)(PAGE - 1)) && gva < table + 8 * SYSCALLS &&
		 (!fake.user_cr3 || vcpu < 0))
		*ret_gpa = P_SYSCALLS * PAGE + (gva - (table & ~(uint64_t)(PAGE - 1)));
	else if (frame >= link_text + fake.slide &&
		 frame < link_text + fake.slide + TEXT_PAGES * PAGE)
		*ret_gpa = P_TEXT * PAGE + (gva - (link_text + fake.slide));
	else
		return -EFAULT;
	return 0;
}

static int fake_gva_read(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva, void *buf,
			 size_t len)
{
	uint64_t gpa;
	int r = fake.gone ? -EOWNERDEAD : walk(paging->root, gva, &gpa);

	(void)vm;
	if (!r)
		memcpy(buf, fake.memory + gpa, len);
	return r;
}

static int fake_readv(struct ka_vm *vm, struct ka_piece *pieces, size_t count)
{
	(void)vm;
	if (fake.gone)
		return -EOWNERDEAD;
	fake.reads++;
	for (size_t i = 0; i < count; i++) {
		struct ka_piece *piece = &pieces[i];

		piece->gpa = piece->address;
		piece->error = walk(piece->paging->root, piece->address, &piece->gpa);
		if (!piece->error && piece->buf && piece->gpa >= sizeof(fake.memory))
			piece->error = -ENXIO;
		if (piece->error || !piece->buf)
			continue;
		memcpy(piece->buf, fake.memory + piece->gpa, piece->len);
		if (fake.torn_gpa >= piece->gpa && fake.torn_gpa < piece->gpa + piece->len) {
			memcpy((uint8_t *)piece->buf + (fake.torn_gpa - piece->gpa),
			       &fake.torn_value, sizeof(fake.torn_value));
			fake.torn_gpa = 0;
		}
	}
	return 0;
}

/* ---- seals --------------------------------------------------------------------------------- */

enum { SEALED_MAX = 64 };

struct sealed_piece {
	struct ka_piece piece;
	int vcpu; /* whose page tables; -1: others */
	uint8_t bytes[PAGE];
};

/* As the library's: what was seen, and whether it is so still. */
static struct {
	bool works; /* in this test */
	bool is;
	unsigned int intact; /* looks at it that said so */
	struct ka_registers registers[VCPUS];
	struct ka_paging others[SEALED_MAX];
	struct sealed_piece piece[SEALED_MAX];
	size_t vcpus, pieces;
} sealed;

static void fake_unseal(struct ka_vm *vm)
{
	(void)vm;
	sealed.is = false;
}

static int fake_seal(struct ka_vm *vm, const struct ka_seal_vcpu *vcpus, size_t vcpu_count,
		     const struct ka_piece *pieces, size_t piece_count)
{
	fake_unseal(vm);
	if (!sealed.works)
		return -EOPNOTSUPP;
	cr_assert_leq(piece_count, SEALED_MAX);
	for (size_t i = 0; i < vcpu_count; i++)
		sealed.registers[i] = *vcpus[i].registers;
	for (size_t i = 0; i < piece_count; i++) {
		struct sealed_piece *to = &sealed.piece[i];

		if (pieces[i].error)
			return -EINVAL;
		cr_assert_leq(pieces[i].len, PAGE - pieces[i].address % PAGE);
		to->piece = pieces[i];
		to->vcpu = -1;
		sealed.others[i] = *pieces[i].paging;
		for (size_t v = 0; v < vcpu_count; v++)
			if (vcpus[v].paging == pieces[i].paging)
				to->vcpu = (int)v;
		if (pieces[i].buf)
			memcpy(to->bytes, pieces[i].buf, pieces[i].len);
	}
	sealed.vcpus = vcpu_count;
	sealed.pieces = piece_count;
	sealed.is = true;
	return 0;
}

static bool piece_intact(const struct sealed_piece *piece, size_t i)
{
	uint64_t root = piece->vcpu < 0 ? sealed.others[i].root : fake.registers[piece->vcpu].cr3;
	uint64_t gpa;

	return !walk(root, piece->piece.address, &gpa) && gpa == piece->piece.gpa &&
	       (!piece->piece.buf || !memcmp(fake.memory + gpa, piece->bytes, piece->piece.len));
}

static bool vcpu_intact(const struct ka_registers *a, const struct ka_registers *b)
{
	return a->vcpu == b->vcpu && a->flags == b->flags && a->cr0 == b->cr0 && a->cr4 == b->cr4 &&
	       a->efer == b->efer && !memcmp(&a->gdtr, &b->gdtr, sizeof(a->gdtr)) &&
	       !memcmp(&a->idtr, &b->idtr, sizeof(a->idtr)) && a->lstar == b->lstar &&
	       a->cstar == b->cstar && a->star == b->star && a->sfmask == b->sfmask &&
	       a->sysenter_cs == b->sysenter_cs && a->sysenter_esp == b->sysenter_esp &&
	       a->sysenter_eip == b->sysenter_eip && !memcmp(a->dr, b->dr, sizeof(a->dr)) &&
	       a->dr7 == b->dr7;
}

/* What the monitor knows as it comes to look. */
static enum seal_state seal_asked(void)
{
	bool intact = sealed.is && !fake.gone && fake.vcpus == sealed.vcpus;

	for (size_t i = 0; i < sealed.vcpus && intact; i++)
		intact = vcpu_intact(&fake.registers[i], &sealed.registers[i]);
	for (size_t i = 0; i < sealed.pieces && intact; i++)
		intact = piece_intact(&sealed.piece[i], i);
	sealed.intact += intact;
	return intact ? SEAL_INTACT : SEAL_BROKEN;
}

static int fake_translate(struct ka_vm *vm, const struct ka_paging *paging, uint64_t gva,
			  struct ka_translation *ret_translation)
{
	(void)vm;
	return walk(paging->root, gva, &ret_translation->gpa);
}

static int fake_registers_read_all(struct ka_vm *vm, struct ka_registers *registers, size_t max,
				   size_t *ret_count)
{
	(void)vm;
	if (fake.gone)
		return -EOWNERDEAD;
	*ret_count = fake.vcpus < max ? fake.vcpus : max;
	if (*ret_count)
		memcpy(registers, fake.registers, *ret_count * sizeof(*registers));
	return 0;
}

static int fake_kernel_find(struct ka_vm *vm, const struct ka_symbols *const *symbols, size_t count,
			    struct ka_kernel *ret_kernel)
{
	(void)vm;
	if (fake.kernel_hidden || !count)
		return -ENODATA;
	*ret_kernel = (struct ka_kernel){
		.symbols = symbols[0],
		.release = "6.1.0-56-amd64",
		.slide = fake.slide,
		.base = link_text + fake.slide,
		.text_start = link_text + fake.slide,
		.text_end = link_text + 0x100000 + fake.slide,
		.image_end = link_text + 0x2000000 + fake.slide,
		.paging = { .root = 100, .mode = KA_PAGING_4LEVEL },
	};
	strcpy(ret_kernel->build_id, fake.build_id);
	return 0;
}

static void symbols_make(struct ka_symbols **ret_symbols, bool lying);
static struct guest *guest;

static int fake_symbols_from_guest(struct ka_vm *vm, struct ka_symbols **ret_symbols)
{
	(void)vm;
	fake.searches++;
	fake.searched_before_baseline |= !guest->baseline_id[0];
	if (!fake.tells_symbols)
		return -ENODATA;
	symbols_make(ret_symbols, fake.lies);
	return 0;
}

static int fake_build_id_from_guest(struct ka_vm *vm, char ret_build_id[static KA_BUILD_ID_MAX])
{
	(void)vm;
	if (!fake.tells_symbols)
		return -ENODATA;
	strcpy(ret_build_id, fake.build_id);
	return 0;
}

static int fake_types_from_guest(struct ka_vm *vm, const struct ka_kernel *kernel,
				 struct ka_types **ret_types)
{
	(void)vm, (void)kernel, (void)ret_types;
	return fake.no_types ? -ENODATA : 0;
}

static int fake_audit_prepare(const struct audit_view *view, void **ret_state)
{
	(void)view;
	*ret_state = NULL;
	return 0;
}

static int fake_audit_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	(void)state, (void)view;
	fake.looks++;
	if (fake.audit_error)
		return fake.audit_error;
	for (size_t i = 0; i < fake.record_count; i++) {
		struct difference *difference =
			audit_add(result, CHECK_MODULES, OBJECT_MODULE, fake.records[i]);

		if (!difference)
			continue;
		strcpy(difference->name, "\xff\x1b[2Jhidden");
		difference->problem = "hidden";
		strcpy(difference->what, "is loaded, but hidden from: list");
		strcpy(difference->expected_text, "list tree");
		strcpy(difference->observed_text, "tree");
		difference->gva = fake.records[i];
		difference->target = link_text + fake.slide + 0x80;
	}
	fake.record_count -= fake.record_once;
	fake.record_once = 0;
	return 0;
}

static void fake_audit_release(void *state)
{
	cr_assert_null(state);
}

static const struct audit fake_audit = {
	.prepare = fake_audit_prepare,
	.look = fake_audit_look,
	.release = fake_audit_release,
};

static int quiet_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	(void)state, (void)view, (void)result;
	return 0;
}

static const struct audit quiet_audit = {
	.prepare = fake_audit_prepare,
	.look = quiet_look,
	.release = fake_audit_release,
};

const struct audit *const tested_audits[AUDITS] = {
	[0] = &fake_audit,
	[1 ... AUDITS - 1] = &quiet_audit,
};

static int fake_symbol_read(struct ka_vm *vm, const struct ka_kernel *kernel, const char *name,
			    void *buf, size_t len)
{
	(void)vm, (void)kernel;
	if (!strcmp(name, "system_state"))
		memcpy(buf, &fake.system_state, len);
	else if (!strcmp(name, "cr4_pinned_bits") && fake.cr4_pinned_bits)
		memcpy(buf, &fake.cr4_pinned_bits, len);
	else
		return -ENOENT;
	return 0;
}

static int fake_syscall_table_find(struct ka_vm *vm, const struct ka_kernel *kernel,
				   enum ka_syscall_table_kind kind,
				   struct ka_syscall_table *ret_table)
{
	(void)vm;
	if (kind != KA_SYSCALL_NATIVE)
		return -ENODATA;
	*ret_table = (struct ka_syscall_table){ link_table + kernel->slide, fake.syscalls, 8 };
	return 0;
}

static const struct ka_vm_info *fake_vm_info(const struct ka_vm *vm)
{
	(void)vm;
	return &fake.info;
}

static void fake_close(struct ka_vm *vm)
{
	(void)vm;
}

static int fake_track_begin(struct ka_vm *vm)
{
	(void)vm;
	if (fake.holder)
		return -EBUSY;
	fake.tracks = true;
	fake.stopped = false;
	fake.tracked_count = 0;
	return 0;
}

static int fake_tracker_pid(struct ka_vm *vm, pid_t *ret_pid)
{
	(void)vm;
	*ret_pid = fake.holder;
	return 0;
}

static int fake_track(struct ka_vm *vm, uint64_t gpa, size_t len, unsigned int flags,
		      uint64_t cookie)
{
	(void)vm;
	cr_assert(fake.tracks);
	cr_assert_leq(gpa % PAGE + len, (size_t)PAGE, "crosses a frame");
	if (fake.stopped)
		return -ESHUTDOWN;
	if (fake.refused_gpa == gpa)
		return -ENXIO;
	if (fake.dirty_logged && flags & KA_TRACK_PROTECT)
		return -EBUSY;
	fake.tracked[fake.tracked_count++] =
		(struct ka_tracked){ .gpa = gpa, .len = len, .flags = flags, .cookie = cookie };
	return 0;
}

/* Of the whole text: what no reference is made up for here. */
static int fake_track_frames(struct ka_vm *vm, uint64_t gpa, size_t frames, uint64_t cookie)
{
	(void)vm, (void)gpa, (void)frames, (void)cookie;
	cr_assert(false, "there is no text");
	return -EIO;
}

static int fake_untrack(struct ka_vm *vm, uint64_t gpa, uint64_t len)
{
	(void)vm;
	for (size_t i = 0; i < fake.tracked_count; i++)
		if (fake.tracked[i].gpa == gpa && fake.tracked[i].len == len) {
			fake.tracked[i] = fake.tracked[--fake.tracked_count];
			return 0;
		}
	return -ENOENT;
}

static int fake_tracked(struct ka_vm *vm, struct ka_tracked *tracked, size_t max, size_t *ret_count)
{
	(void)vm;
	*ret_count = fake.tracked_count < max ? fake.tracked_count : max;
	memcpy(tracked, fake.tracked, *ret_count * sizeof(*tracked));
	return 0;
}

static void gate_put(unsigned int page_number, unsigned int vector, uint64_t handler)
{
	uint64_t raw[2] = { 0x00008e0000100000, 0 };

	idt_gate_set_handler(true, raw, handler);
	memcpy(page(page_number) + 16 * vector, raw, 16);
}

static uint64_t *gdt(unsigned int vcpu)
{
	return (uint64_t *)page(P_GDT + vcpu);
}

static uint64_t *syscall_entry(unsigned int number)
{
	return (uint64_t *)(page(P_SYSCALLS) + (link_table & (PAGE - 1))) + number;
}

/* A kernel that has just booted at this slide. */
static void boot(uint64_t slide)
{
	static const uint64_t descriptors[16] = {
		[1] = 0x00cf9b000000ffff, [2] = 0x00af9b000000ffff, [3] = 0x00cf93000000ffff,
		[4] = 0x00cffb000000ffff, [5] = 0x00cff3000000ffff, [6] = 0x00affb000000ffff,
		[8] = 0xfe008b1230004087, [9] = 0x00000000fffffe00, [15] = 0x0040f50000000000,
	};

	fake.slide = slide;
	fake.system_state = 3;
	for (unsigned int v = 0; v < 256; v++)
		gate_put(P_IDT, v,
			 v < 32	    ? link_text + slide + 0x1000 + 0x40 * v
			 : v < 0xec ? link_text + slide + 0x4000 + 8 * (v - 32)
				    : link_text + slide + 0x8000 + 0x40 * (v - 0xec));
	for (unsigned int n = 0; n < SYSCALLS; n++)
		*syscall_entry(n) = link_text + slide + 0x10000 + 0x40 * n;
	for (unsigned int v = 0; v < VCPUS; v++) {
		memcpy(gdt(v), descriptors, sizeof(descriptors));
		gdt(v)[8] += (uint64_t)v << 16; /* TSS base */
		gdt(v)[15] += v;
		fake.registers[v] = (struct ka_registers){
			.vcpu = v,
			.cr0 = 0x80050033,
			.cr3 = v + 1,
			.cr4 = 0x3006f0, /* SMAP, SMEP */
			.efer = 0xd01,
			.dr7 = 0x400,
			.star = 0x0023001000000000,
			.cstar = link_text + slide + 0xc0,
			.sfmask = 0x257fd5,
			.sysenter_cs = 0x10,
			.sysenter_esp = gva_gdt + v * PAGE + 0xf00,
			.sysenter_eip = link_text + slide + 0x100,
			.gdtr = { gva_gdt + v * PAGE, 127 },
			.idtr = { gva_idt, 4095 },
			.lstar = link_text + slide + 0x80,
		};
	}
}

/* ---- the monitor around it ----------------------------------------------------------------- */

static struct event_stream stream;
static struct watch watch;
static struct guest *guest;
static json_t *events;
static char store_path[64];

static int take(void *ctx, const json_t *event, const char *text, size_t len,
		enum severity severity)
{
	(void)ctx, (void)event, (void)severity;
	json_array_append_new(events, json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL));
	return 0;
}

static void symbols_make(struct ka_symbols **ret_symbols, bool lying)
{
	char path[] = "/tmp/kvmbpf-map-XXXXXX";
	FILE *file = fdopen(mkstemp(path), "w");

	fprintf(file, "ffffffff81000000 T _text\nffffffff81000000 T _stext\n");
	fprintf(file, "ffffffff81000080 T entry_SYSCALL_64\n");
	fprintf(file, "ffffffff810000c0 T entry_SYSCALL_compat\n");
	fprintf(file, "ffffffff81000100 T entry_SYSENTER_compat\n");
	for (int v = 0; v < 32; v++)
		fprintf(file, "%lx T asm_exc_%d\n", link_text + 0x1000 + 0x40 * v, v);
	fprintf(file, "ffffffff81004000 T irq_entries_start\n");
	fprintf(file, "ffffffff81006000 T spurious_entries_start\nffffffff81007000 T asm_end\n");
	for (int v = 0xec; v < 256; v++)
		fprintf(file, "%lx T asm_sysvec_%d\n", link_text + 0x8000 + 0x40 * (v - 0xec), v);
	for (int n = 0; n < SYSCALLS; n++)
		fprintf(file, "%lx T __x64_sys_%d\n",
			link_text + 0x10000 + 0x40 * n + (lying && n == 39 ? 8 : 0), n);
	fprintf(file, "ffffffff81100000 T _etext\nffffffff82000300 D sys_call_table\n");
	fprintf(file, "ffffffff82800000 T early_idt_handler_array\n");
	fprintf(file, "ffffffff83000000 B _end\n");
	fclose(file);
	cr_assert_eq(ka_symbols_load(path, ret_symbols), 0);
	unlink(path);
}

static void guest_start(void)
{
	cr_assert_eq(guest_new(&watch, (struct ka_vm *)&fake, &guest), 0);
}

static void setup(void)
{
	char error[STORE_ERROR_MAX] = "";
	int fd;

	memset(&fake, 0, sizeof(fake));
	fake.vcpus = VCPUS;
	fake.syscalls = SYSCALLS;
	fake.info = (struct ka_vm_info){ .key = 1,
					 .pid = 42,
					 .start_ticks = 91823,
					 .vcpus = VCPUS,
					 .name = "web01",
					 .hypervisor = "qemu",
					 .manager = "none",
					 .uuid = "11111111-2222-3333-4444-555555555555",
					 .id_source = "cmdline",
					 .id_confidence = "high" };
	boot(0x1200000);
	strcpy(fake.build_id, "00112233445566778899aabbccddeeff00112233");
	symbols_make(&fake.symbols, false);
	events = json_array();
	stream = (struct event_stream){ .write = take };
	cr_assert_eq(event_stream_init(&stream), 0);
	strcpy(store_path, "/tmp/kvmbpf-guest-XXXXXX");
	fd = mkstemp(store_path);
	close(fd);
	watch = (struct watch){ .stream = &stream,
				.push_exact = true,
				.realtime_reason = "--no-realtime",
				.interval_ns = NS_PER_S,
				.audit_ppm = 1000000,
				.symbols = (const struct ka_symbols *const *)&fake.symbols,
				.symbols_count = 1 };
	cr_assert_eq(store_open(store_path, &watch.store, error), 0, "%s", error);
	guest_start();
}

static const char validator[] =
	"import json, sys, jsonschema\n"
	"schema = json.load(open('share/kvmbpf/event-v1.schema.json'))\n"
	"validator = jsonschema.Draft202012Validator(schema)\n"
	"errors = [f'{e[\"type\"]}: {x.message}' for e in json.load(open(sys.argv[1]))\n"
	"          for x in validator.iter_errors(e)]\n"
	"sys.exit('\\n'.join(errors[:5]) or 0)\n";

static void schema_holds(void)
{
	char path[] = "/tmp/kvmbpf-events-XXXXXX";
	int fd = mkstemp(path), status = 0;
	pid_t pid;

	cr_assert_eq(json_dumpfd(events, fd, 0), 0);
	close(fd);
	pid = fork();
	if (!pid) {
		execl("/usr/bin/python3", "python3", "-c", validator, path, NULL);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	unlink(path);
	cr_assert_eq(status, 0, "events do not fit the schema");
}

static void teardown(void)
{
	guest_free(guest);
	references_free(watch.references);
	store_close(watch.store);
	ka_symbols_free(fake.symbols);
	unlink(store_path);
	json_decref(events);
}

/*
 * Criterion does not count what fails after a test, so the schema is part of each. Most tests are made twice: a
 * monitor with seals finds and tells what one without does.
 */
#define WHOLE_TEST(name)                                                                           \
	static void body_##name(void);                                                             \
	Test(guest, name)                                                                          \
	{                                                                                          \
		body_##name();                                                                     \
		schema_holds();                                                                    \
	}                                                                                          \
	static void body_##name(void)

#define SEALED_TEST(name)                                                                          \
	static void body_##name(void);                                                             \
	Test(guest_sealed, name)                                                                   \
	{                                                                                          \
		sealed.works = true;                                                               \
		body_##name();                                                                     \
		schema_holds();                                                                    \
	}                                                                                          \
	static void body_##name(void)

#define GUEST_TEST(name)                                                                           \
	SEALED_TEST(name);                                                                         \
	WHOLE_TEST(name)

TestSuite(guest, .init = setup, .fini = teardown, .timeout = 60);
TestSuite(guest_sealed, .init = setup, .fini = teardown, .timeout = 60);

static void cycles(unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		cr_assert_eq(guest_cycle(guest, seal_asked()), 0);
		guest->looked_ns = clock_real();
	}
}

static size_t events_of(const char *type)
{
	size_t count = 0, i;
	json_t *event;

	json_array_foreach(events, i, event) count +=
		!strcmp(json_string_value(json_object_get(event, "type")), type);
	return count;
}

/* The nth from the end. */
static json_t *last_event(const char *type, size_t nth)
{
	for (size_t i = json_array_size(events); i-- > 0;) {
		json_t *event = json_array_get(events, i);

		if (!strcmp(json_string_value(json_object_get(event, "type")), type) && !nth--)
			return event;
	}
	cr_assert_fail("no event %s", type);
	return NULL;
}

static const char *text_at(json_t *event, const char *outer, const char *inner)
{
	const char *text = json_string_value(json_object_get(json_object_get(event, outer), inner));

	return text ? text : "(none)";
}

static json_int_t number_at(json_t *event, const char *outer, const char *inner)
{
	return json_integer_value(json_object_get(json_object_get(event, outer), inner));
}

static void baseline(void)
{
	cycles(3);
	cr_assert_eq(guest->phase, GUEST_WATCHED);
	cr_assert_eq(events_of("integrity.violation"), 0);
}

/* One violation since the last call, about this. */
static json_t *violation(size_t total, const char *kind, json_int_t index, json_int_t vcpu)
{
	json_t *event;

	cr_assert_eq(events_of("integrity.violation"), total, "%zu",
		     events_of("integrity.violation"));
	event = last_event("integrity.violation", 0);
	cr_assert_str_eq(text_at(event, "object", "kind"), kind);
	if (index >= 0)
		cr_assert_eq(number_at(event, "object", "index"), index);
	cr_assert_eq(number_at(event, "object", "vcpu"), vcpu);
	return event;
}

static void pushed(unsigned int vcpu, uint32_t changed)
{
	struct ka_registers registers = fake.registers[vcpu];

	registers.time_ns = clock_mono();
	guest_push(guest, &registers, changed);
}

/* ---- baselines ----------------------------------------------------------------------------- */

GUEST_TEST(baseline_is_recorded_once_the_objects_stood_still)
{
	json_t *event, *coverage;

	cycles(2);
	cr_assert_eq(events_of("baseline.recorded"), 0);
	gate_put(P_IDT, 0xf2, link_text + fake.slide + 0x8000 + 0x40);
	cycles(2);
	cr_assert_eq(events_of("baseline.recorded"), 0);
	cycles(1);
	event = last_event("baseline.recorded", 0);
	cr_assert_str_eq(text_at(event, "baseline", "trigger"), "first");
	cr_assert_str_eq(text_at(event, "baseline", "trust"), "tofu");
	coverage = json_object_get(json_object_get(event, "baseline"), "coverage");
	for (int check = 0; check < VCPU_CHECKS; check++)
		cr_assert(!guest_has_check(guest, check) ||
			  json_is_true(json_object_get(coverage, checks[check].name)));
	cr_assert(guest_complete(guest));
}

GUEST_TEST(no_baseline_while_the_kernel_boots)
{
	fake.system_state = 1;
	cycles(20);
	cr_assert_eq(events_of("baseline.recorded"), 0);
	cr_assert(guest_blind(guest));
	fake.system_state = 3;
	cycles(1);
	cr_assert_eq(events_of("baseline.recorded"), 1);
}

/* What a vendor's image says of this build is in the store before the guest is seen. */
static void reference_known(void)
{
	struct content *content = calloc(1, sizeof(*content));
	static const struct ka_kernel kernel;

	content->long_mode = true;
	strcpy(content->release, "6.1.0-56-amd64");
	strcpy(content->trust, "reference");
	strcpy(content->recorded_at, "2026-01-02T03:04:05.000000000Z");
	content->count[CONTENT_SYSCALL] = SYSCALLS;
	for (unsigned int n = 0; n < SYSCALLS; n++)
		content->entry[CONTENT_SYSCALL][n] =
			(struct content_entry){ { link_text + 0x10000 + 0x40 * n }, true, true };
	cr_assert_eq(store_content_save(watch.store, fake.build_id, content, &kernel), 0);
	free(content);
}

GUEST_TEST(guest_that_was_infected_before_it_was_seen_is_caught_by_a_reference)
{
	json_t *event;

	reference_known();
	*syscall_entry(39) = 0xffffffffc0001000;
	cycles(3);
	cr_assert_eq(guest->phase, GUEST_WATCHED);
	event = last_event("baseline.recorded", 0);
	cr_assert_str_eq(text_at(event, "baseline", "trust"), "reference");
	event = violation(1, "syscall_entry", 39, 0);
	cr_assert_str_eq(text_at(event, "expected", "symbol"), "__x64_sys_39");
	cr_assert_str_eq(text_at(event, "baseline", "trust"), "reference");
	cycles(5);
	violation(1, "syscall_entry", 39, 0);
}

GUEST_TEST(second_vm_of_a_build_is_held_against_the_store)
{
	uint64_t hook = link_text + 0x40 + 0x2200000;

	baseline();
	guest_free(guest);
	fake.info.key = 2;
	strcpy(fake.info.uuid, "99999999-2222-3333-4444-555555555555");
	boot(0x2200000);
	*syscall_entry(59) = hook;
	gate_put(P_IDT, 0xf3, link_text + fake.slide + 0x6000 + 8 * 7); /* this CPU lacks it */
	guest_start();
	cycles(3);
	cr_assert_str_eq(text_at(last_event("baseline.recorded", 0), "baseline", "trigger"),
			 "store");
	violation(1, "syscall_entry", 59, 0);
}

GUEST_TEST(reset_is_no_attack_and_is_held_against_the_store)
{
	uint64_t handler;

	baseline();
	fake.registers[0].cr0 = 0x60000010;
	pushed(0, KA_CHANGED_CR0);
	boot(0x3400000);
	fake.system_state = 0;
	cycles(3);
	cr_assert(guest_blind(guest));
	fake.system_state = 3;
	cycles(3);
	cr_assert_eq(events_of("integrity.violation"), 0);
	cr_assert_eq(guest->generation, 2);
	cr_assert_str_eq(text_at(last_event("baseline.recorded", 0), "baseline", "trigger"),
			 "reboot");
	/* And again, with a gate that was hooked before anyone looked. */
	fake.registers[0].cr0 = 0x60000010;
	cycles(1);
	boot(0x5600000);
	handler = gva_other + 0x123;
	gate_put(P_IDT, 14, handler);
	cycles(3);
	cr_assert_str_eq(text_at(violation(1, "idt_gate", 14, 0), "observed", "symbol"), "unknown");
}

/* Suspend to RAM, or an attacker who has paging off for a moment to make us learn anew. */
GUEST_TEST(reset_without_a_boot_teaches_nothing)
{
	baseline();
	fake.registers[0].cr0 = 0x60000010;
	pushed(0, KA_CHANGED_CR0);
	cycles(1);
	fake.registers[0].cr0 = 0x80050033;
	/* The same bytes on another page. */
	memcpy(page(P_IDT_COPY), page(P_IDT), PAGE);
	fake.remap[fake.remaps++] = (struct remap){ gva_idt, -1, P_IDT_COPY };
	cycles(8);
	cr_assert_eq(guest->generation, 1);
	cr_assert_str_eq(text_at(last_event("baseline.recorded", 0), "baseline", "trigger"),
			 "resume");
	cr_assert_gt(events_of("integrity.violation"), 0);
	cr_assert_str_eq(text_at(last_event("integrity.violation", 0), "object", "kind"), "idtr");
}

GUEST_TEST(kexec_is_no_attack)
{
	baseline();
	fake.registers[0].idtr = (struct ka_table_register){ 0, 0 };
	pushed(0, KA_CHANGED_IDTR);
	cycles(2);
	cr_assert(guest_blind(guest));
	boot(0x7800000);
	cycles(3);
	cr_assert_eq(events_of("integrity.violation"), 0);
	cr_assert_eq(guest->generation, 2);
	cr_assert(guest_complete(guest));
}

/* A decoy: all that tells a kernel, at another place, while nothing was reset or emptied. */
GUEST_TEST(kernel_that_is_just_there_is_told_loudly)
{
	json_t *event;

	baseline();
	boot(0x7800000);
	cycles(4);
	event = last_event("baseline.recorded", 0);
	cr_assert_str_eq(text_at(event, "baseline", "trigger"), "replaced");
	cr_assert_str_eq(json_string_value(json_object_get(event, "severity")), "high");
}

/* Between the old kernel's end and the new one's tables: those of its decompressor. */
static void kexec_slowly(uint64_t slide)
{
	fake.registers[0].idtr = (struct ka_table_register){ 0, 0 };
	pushed(0, KA_CHANGED_IDTR);
	cycles(1);
	fake.kernel_hidden = true;
	fake.remap[fake.remaps++] = (struct remap){ gva_other, -1, P_IDT_COPY };
	fake.registers[0].idtr = (struct ka_table_register){ gva_other, 511 };
	pushed(0, KA_CHANGED_IDTR);
	fake.registers[0].gdtr = (struct ka_table_register){ gva_other + 0x800, 47 };
	pushed(0, KA_CHANGED_GDTR);
	cycles(3);
	cr_assert_not(guest_complete(guest));
	fake.kernel_hidden = false;
	boot(slide);
}

GUEST_TEST(kexec_that_takes_its_time_is_no_attack)
{
	baseline();
	kexec_slowly(0x7800000);
	cycles(4);
	cr_assert_eq(events_of("integrity.violation"), 0);
	cr_assert_eq(guest->generation, 2);
	cr_assert(guest_complete(guest));
}

GUEST_TEST(kexec_without_symbols_is_no_attack)
{
	guest_free(guest);
	watch.symbols_count = 0;
	fake.kernel_hidden = true;
	guest_start();
	for (unsigned int nth = 1; nth <= 2; nth++) {
		cycles(3);
		guest->searches = SEARCHES_EAGER; /* of its memory, in vain */
		guest->still_since_ns -= 3 * NS_PER_S;
		cycles(1);
		cr_assert_eq(guest->phase, GUEST_WATCHED);
		cr_assert_eq(guest->generation, nth);
		if (nth == 1)
			kexec_slowly(0x7800000);
		fake.kernel_hidden = true;
	}
	cycles(1);
	cr_assert_eq(events_of("integrity.violation"), 0);
}

GUEST_TEST(table_that_moves_behind_an_empty_one_is_reported)
{
	baseline();
	fake.registers[0].idtr = (struct ka_table_register){ 0, 0 };
	pushed(0, KA_CHANGED_IDTR);
	memcpy(page(P_IDT_COPY), page(P_IDT), PAGE);
	fake.remap[fake.remaps++] = (struct remap){ gva_other, -1, P_IDT_COPY };
	fake.registers[0].idtr = (struct ka_table_register){ gva_other, 4095 };
	pushed(0, KA_CHANGED_IDTR);
	cycles(2);
	cr_assert_not(guest_complete(guest));
	guest->emptied_ns -= NEXT_KERNEL_NS;
	cycles(1);
	violation(1, "idtr", -1, 0);
}

GUEST_TEST(open_findings_end_with_their_boot)
{
	baseline();
	gdt(0)[1] ^= 3ull << 45;
	cycles(1);
	fake.registers[0].cr0 = 0x60000010;
	cycles(1);
	boot(0x3400000);
	cycles(3);
	cr_assert_str_eq(json_string_value(json_object_get(last_event("integrity.restored", 0),
							   "restored_to")),
			 "new_baseline");
	cr_assert_eq(guest->findings.count, 0);
}

GUEST_TEST(monitor_that_starts_again_knows_the_boot_and_its_places)
{
	baseline();
	guest_free(guest);
	/* The right bytes in another frame. */
	memcpy(page(P_IDT_COPY), page(P_IDT), PAGE);
	fake.remap[fake.remaps++] = (struct remap){ gva_idt, -1, P_IDT_COPY };
	guest_start();
	cycles(3);
	cr_assert_eq(guest->generation, 1);
	cr_assert_eq(events_of("integrity.violation"), 2);
	violation(2, "idtr", -1, 1);
}

GUEST_TEST(vcpu_that_comes_later_is_no_attack)
{
	fake.vcpus = 1;
	baseline();
	fake.vcpus = 2;
	fake.registers[1].cr0 = 0x60000010;
	cycles(2);
	cr_assert_not(guest_complete(guest));
	fake.registers[1].cr0 = 0x80040033; /* WP clear and early tables on the way up */
	fake.registers[1].idtr = (struct ka_table_register){ gva_other, 4095 };
	cycles(1);
	boot(fake.slide);
	cycles(4);
	cr_assert(guest_complete(guest));
	cr_assert_eq(events_of("integrity.violation"), 0);
	gdt(1)[2] ^= 3ull << 45;
	cycles(1);
	violation(1, "gdt_descriptor", 2, 1);
}

GUEST_TEST(vcpu_that_goes_down_and_up_is_no_attack)
{
	struct ka_registers up = fake.registers[1];

	baseline();
	fake.registers[1].cr0 = 0x60000010;
	pushed(1, KA_CHANGED_CR0);
	fake.registers[1].cr0 = 0x80000011;
	pushed(1, KA_CHANGED_CR0);
	fake.registers[1].gdtr.base = gva_gdt_direct + PAGE;
	fake.registers[1].idtr.base = 0x1000;
	cycles(1);
	cr_assert_not(guest_complete(guest));
	fake.registers[1] = up;
	cycles(1);
	cr_assert(guest_complete(guest));
	cr_assert_eq(events_of("integrity.violation"), 0);
	cr_assert_eq(guest->generation, 1);
}

GUEST_TEST(without_symbols_the_syscall_table_is_unobservable)
{
	guest_free(guest);
	watch.symbols_count = 0;
	guest_start();
	cycles(1);
	cr_assert_str_eq(coverage_name(guest->vcpus[0].coverage[CHECK_GDT].state), "stale");
	guest->searches = SEARCHES_EAGER;
	guest->still = 5;
	guest->still_since_ns -= 3 * NS_PER_S;
	for (size_t i = 0; i < guest->vcpu_count; i++)
		guest->vcpus[i].still = 5;
	cycles(1);
	cr_assert_eq(guest->phase, GUEST_WATCHED);
	cr_assert_eq(guest->vcpus[1].coverage[CHECK_SYSCALL_TABLE].state, COVERAGE_UNOBSERVABLE);
	cr_assert_eq(guest->vcpus[1].coverage[CHECK_IDT].state, COVERAGE_OBSERVED);
	cr_assert_not(guest_complete(guest));
	gate_put(P_IDT, 3, gva_other);
	cycles(1);
	cr_assert_str_eq(text_at(violation(1, "idt_gate", 3, 0), "observed", "symbol"), "(none)");
}

GUEST_TEST(without_a_file_the_guest_tells_its_symbols)
{
	json_t *event;
	size_t i;

	guest_free(guest);
	watch.symbols_count = 0;
	fake.tells_symbols = true;
	guest_start();
	cycles(3);
	cr_assert(guest_complete(guest));
	cr_assert_eq(fake.searches, 1);
	json_array_foreach(events, i, event) if (json_object_get(event, "baseline"))
		cr_assert(json_object_get(json_object_get(event, "baseline"), "symbols"));
	cr_assert_eq(events_of("baseline.recorded"), 1);
	gate_put(P_IDT, 3, gva_other);
	cycles(1);
	cr_assert_str_eq(text_at(violation(1, "idt_gate", 3, 0), "observed", "symbol"), "unknown");
	cr_assert_eq(fake.searches, 1);
}

GUEST_TEST(a_guest_that_tells_nothing_is_asked_ever_less)
{
	guest_free(guest);
	watch.symbols_count = 0;
	fake.system_state = 1;
	guest_start();
	cycles(2 * SEARCHES_EAGER);
	cr_assert_eq(fake.searches, SEARCHES_EAGER);
	for (unsigned int i = 0; i < 1000; i++) {
		guest->still = 0;
		cycles(1);
	}
	cr_assert_lt(fake.searches, SEARCHES_EAGER + 12);
	cr_assert_gt(fake.searches, SEARCHES_EAGER + 4);
}

GUEST_TEST(within_a_boot_the_guest_cannot_claim_to_be_another_kernel)
{
	guest_free(guest);
	watch.symbols_count = 0;
	fake.tells_symbols = true;
	guest_start();
	cycles(3);
	/* Its symbols no longer fit; others are there to be read. */
	fake.kernel_hidden = true;
	fake.registers[0].idtr.base = gva_other;
	cycles(1);
	cr_assert_eq(guest->phase, GUEST_WATCHED);
	cr_assert_eq(fake.searches, 1);
	cr_assert_eq(guest->generation, 1);
	fake.kernel_hidden = false;
}

/* ---- what changes by itself ---------------------------------------------------------------- */

GUEST_TEST(what_changes_by_itself_is_no_violation)
{
	baseline();
	for (unsigned int i = 0; i < 20; i++) {
		gdt(i % 2)[8] ^= 1ull << 41;
		gdt(0)[4] ^= 1ull << 40;
		gdt(1)[12] = i % 3 ? 0x00cff3000000ffff + (i << 16) : 0;
		gdt(0)[10] = i % 4 ? 0x800082123000ffff : 0;
		gdt(0)[11] = i % 4 ? 0x00000000ffff8880 : 0;
		/* Linux loads the writable mapping of the same GDT now and then. */
		fake.registers[0].gdtr.base = i % 2 ? gva_gdt : gva_gdt_direct;
		pushed(0, KA_CHANGED_GDTR);
		fake.registers[0].cr0 ^= 8; /* TS */
		pushed(0, KA_CHANGED_CR0);
		fake.user_cr3 = i % 2;
		cycles(1);
		cr_assert(guest_complete(guest));
	}
	cr_assert_eq(events_of("integrity.violation"), 0);
	cr_assert_eq(guest->vcpus[0].coverage[CHECK_GDT].cycles[COVERAGE_STALE], 2);
}

WHOLE_TEST(torn_read_is_decided_by_the_second)
{
	baseline();
	fake.torn_gpa = P_IDT * PAGE + 16 * 14;
	fake.torn_value = 0xdeadbeef;
	cycles(1);
	cr_assert_eq(fake.torn_gpa, 0);
	cr_assert_eq(events_of("integrity.violation"), 0);
	cr_assert(guest_complete(guest));
}

/* ---- attacks ------------------------------------------------------------------------------- */

GUEST_TEST(gdt_descriptor_of_one_vcpu)
{
	json_t *event;

	baseline();
	gdt(1)[2] ^= 3ull << 45;
	cycles(3);
	event = violation(1, "gdt_descriptor", 2, 1);
	cr_assert_str_eq(text_at(event, "expected", "value"), "0x00af9b000000ffff");
	cr_assert_str_eq(text_at(event, "observed", "value"), "0x00affb000000ffff");
	cr_assert_eq(number_at(event, "observed", "dpl"), 3);
	cr_assert_str_eq(json_string_value(json_object_get(event, "severity")), "critical");
	gdt(1)[2] ^= 3ull << 45;
	cycles(1);
	cr_assert_eq(events_of("integrity.restored"), 1);
	cr_assert_str_eq(text_at(last_event("integrity.restored", 0), "finding", "id"),
			 text_at(event, "finding", "id"));
	cr_assert_eq(number_at(last_event("integrity.restored", 0), "finding", "count"), 3);
}

GUEST_TEST(idt_gate_is_reported_once_for_all_vcpus)
{
	json_t *event;

	baseline();
	gate_put(P_IDT, 14, link_text + fake.slide + 0x1000);
	cycles(2);
	event = violation(1, "idt_gate", 14, 0);
	cr_assert_str_eq(text_at(event, "expected", "symbol"), "asm_exc_14");
	cr_assert_str_eq(text_at(event, "observed", "symbol"), "asm_exc_0");
	/* The first vCPU is not readable: the second speaks for the shared table. */
	fake.registers[0].flags = KA_REGISTERS_NESTED;
	cycles(2);
	cr_assert_eq(events_of("integrity.violation"), 1);
	cr_assert_eq(events_of("integrity.restored"), 0);
	gate_put(P_IDT, 14, link_text + fake.slide + 0x1000 + 0x40 * 14);
	cycles(1);
	cr_assert_eq(events_of("integrity.restored"), 1);
}

GUEST_TEST(idtr_of_one_vcpu_with_a_hooked_copy)
{
	baseline();
	memcpy(page(P_IDT_COPY), page(P_IDT), PAGE);
	gate_put(P_IDT_COPY, 6, gva_other);
	fake.remap[fake.remaps++] = (struct remap){ gva_other, -1, P_IDT_COPY };
	fake.registers[1].idtr.base = gva_other;
	cycles(1);
	cr_assert_eq(events_of("integrity.violation"), 2);
	violation(2, "idt_gate", 6, 1);
	cr_assert_str_eq(text_at(last_event("integrity.violation", 1), "object", "kind"), "idtr");
	fake.registers[1].idtr.base = gva_idt;
	cycles(1);
	cr_assert_eq(events_of("integrity.restored"), 2);
}

GUEST_TEST(idtr_swap_between_two_polls_is_seen_by_push)
{
	baseline();
	fake.remap[fake.remaps++] = (struct remap){ gva_other, -1, P_IDT_COPY };
	fake.registers[0].idtr.base = gva_other;
	pushed(0, KA_CHANGED_IDTR);
	fake.registers[0].idtr.base = gva_idt;
	pushed(0, KA_CHANGED_IDTR);
	violation(1, "idtr", -1, 0);
	cr_assert_str_eq(json_string_value(json_object_get(last_event("integrity.violation", 0),
							   "detected_by")),
			 "push");
	cr_assert_eq(events_of("integrity.restored"), 1);
	cr_assert(guest->check_now);
}

/* A guest that runs guests pushes its own registers after each look that met the other's. */
GUEST_TEST(pushed_table_in_its_place_asks_for_no_look)
{
	baseline();
	guest->check_now = false;
	pushed(0, KA_CHANGED_GDTR | KA_CHANGED_IDTR | KA_CHANGED_CR0);
	cr_assert_not(guest->check_now);
	gdt(0)[1] ^= 3ull << 45;
	cycles(1);
	pushed(0, KA_CHANGED_GDTR);
	cr_assert(guest->check_now);
}

/* The GDT of Linux's real-mode trampoline, as a reboot loads it (seen in the lab). */
static void load_trampoline(void)
{
	fake.remap[fake.remaps++] = (struct remap){ 0x98000, -1, P_IDT_COPY };
	fake.registers[0].gdtr = (struct ka_table_register){ 0x98030, 31 };
	pushed(0, KA_CHANGED_GDTR);
}

GUEST_TEST(trampoline_before_a_reset_is_no_violation)
{
	baseline();
	load_trampoline();
	cycles(1);
	fake.registers[0].cr0 &= ~(1ull << 31);
	pushed(0, KA_CHANGED_CR0);
	cycles(1);
	cr_assert_eq(events_of("integrity.violation"), 0);
}

GUEST_TEST(table_below_the_kernel_without_a_reset_is_reported)
{
	uint64_t deadline;
	unsigned int before;

	baseline();
	before = events_of("integrity.violation");
	deadline = clock_mono() + 5000000000ull;
	load_trampoline();
	fake.registers[0].gdtr = (struct ka_table_register){ gva_gdt, 127 };
	pushed(0, KA_CHANGED_GDTR);
	while (events_of("integrity.violation") == before && clock_mono() < deadline)
		cycles(1);
	cr_assert_eq(events_of("integrity.violation"), before + 1);
	cr_assert_str_eq(text_at(last_event("integrity.violation", 0), "object", "kind"), "gdtr");
	cycles(1);
	cr_assert_eq(events_of("integrity.restored"), 1);
}

GUEST_TEST(pushed_table_that_is_unmapped_since_is_reported)
{
	baseline();
	/* Gone from all page tables before anyone could look. */
	fake.registers[1].idtr.base = gva_other;
	pushed(1, KA_CHANGED_IDTR);
	fake.registers[1].idtr.base = gva_idt;
	pushed(1, KA_CHANGED_IDTR);
	cycles(1);
	violation(1, "idtr", -1, 1);
	cr_assert_eq(events_of("integrity.restored"), 1);
}

GUEST_TEST(syscall_entry_with_its_names)
{
	json_t *event;

	baseline();
	*syscall_entry(39) = 0xffffffffc0a81000;
	cycles(1);
	event = violation(1, "syscall_entry", 39, 0);
	cr_assert_str_eq(text_at(event, "object", "symbol"), "__x64_sys_39");
	cr_assert_str_eq(text_at(event, "expected", "symbol"), "__x64_sys_39");
	cr_assert_str_eq(text_at(event, "observed", "value"), "0xffffffffc0a81000");
	cr_assert_str_eq(text_at(event, "observed", "symbol"), "unknown");
	cr_assert_str_eq(text_at(event, "object", "gpa"), "0x0000000000004438");
	*syscall_entry(39) = link_text + fake.slide + 0x10000 + 0x40 * 40 + 4;
	cycles(1);
	event = violation(2, "syscall_entry", 39, 0);
	cr_assert_str_eq(text_at(event, "observed", "symbol"), "__x64_sys_40+0x4");
	cr_assert_str_eq(text_at(event, "finding", "state"), "ongoing");
}

GUEST_TEST(remapped_table_with_the_right_bytes)
{
	uint64_t frame = (link_table + fake.slide) & ~(uint64_t)(PAGE - 1);

	baseline();
	memcpy(page(20), page(P_SYSCALLS), PAGE);
	fake.remap[fake.remaps++] = (struct remap){ frame, 1, 20 };
	cycles(2);
	violation(1, "syscall_table", -1, 1);
	fake.remaps = 0;
	cycles(1);
	cr_assert_eq(events_of("integrity.restored"), 1);
}

GUEST_TEST(gdtr_limit)
{
	baseline();
	fake.registers[0].gdtr.limit = 0xffff;
	cycles(1);
	cr_assert_eq(number_at(violation(1, "gdtr", -1, 0), "observed", "limit"), 0xffff);
}

/* Taken out of the way for one guest, which begins anew under this policy. */
static void policy_start(const struct config_policy *policy)
{
	static struct config config;

	config = (struct config){ .policies = (struct config_policy *)policy, .policy_count = 1 };
	watch.config = &config;
	guest_free(guest);
	guest_start();
}

GUEST_TEST(check_that_is_off_is_silent_and_says_so)
{
	int off = CONFIG_CHECK_OFF;

	policy_start(&(struct config_policy){ .checks.level[CHECK_IDT] = &off });
	baseline();
	gate_put(P_IDT, 14, link_text + fake.slide + 0x1000);
	fake.registers[1].cr0 &= ~CR0_WP;
	cycles(2);
	violation(1, "cr0_wp", -1, 1);
	cr_assert_eq(guest->vcpus[0].coverage[CHECK_IDT].state, COVERAGE_UNOBSERVABLE);
	cr_assert_eq(guest->vcpus[0].coverage[CHECK_GDT].state, COVERAGE_OBSERVED);
	cr_assert(guest_complete(guest), "what is off on purpose is missed");
}

GUEST_TEST(severity_is_as_configured)
{
	int low = SEVERITY_LOW;

	policy_start(&(struct config_policy){ .checks.level[CHECK_IDT] = &low });
	baseline();
	gate_put(P_IDT, 14, link_text + fake.slide + 0x1000);
	cycles(1);
	cr_assert_str_eq(
		json_string_value(json_object_get(violation(1, "idt_gate", 14, 0), "severity")),
		"low");
}

GUEST_TEST(wp_toggle_shorter_than_the_interval)
{
	json_t *event;

	baseline();
	for (int i = 0; i < 3; i++) {
		fake.registers[1].cr0 &= ~CR0_WP;
		pushed(1, KA_CHANGED_CR0);
		fake.registers[1].cr0 |= CR0_WP;
		pushed(1, KA_CHANGED_CR0);
	}
	cycles(1);
	event = violation(3, "cr0_wp", -1, 1);
	cr_assert_str_eq(json_string_value(json_object_get(event, "severity")), "high");
	cr_assert_str_eq(json_string_value(json_object_get(event, "detected_by")), "push");
	cr_assert_str_eq(text_at(event, "observed", "value"), "0x0000000080040033");
	cr_assert_eq(events_of("integrity.restored"), 3);
	cr_assert_eq(guest->vcpus[1].coverage[CHECK_CR0_WP].state, COVERAGE_OBSERVED);
}

GUEST_TEST(wp_is_only_sampled_where_changes_are_not_pushed)
{
	baseline();
	guest->changes_lost = 3;
	cycles(1);
	cr_assert_eq(guest->vcpus[0].coverage[CHECK_CR0_WP].state, COVERAGE_SAMPLED);
	cycles(1);
	cr_assert_eq(guest->vcpus[0].coverage[CHECK_CR0_WP].state, COVERAGE_OBSERVED);
	fake.registers[0].flags = KA_REGISTERS_WP_SAMPLED;
	cycles(1);
	cr_assert_eq(guest->vcpus[0].coverage[CHECK_CR0_WP].state, COVERAGE_SAMPLED);
	fake.registers[0].cr0 &= ~CR0_WP;
	cycles(1);
	violation(1, "cr0_wp", -1, 0);
}

GUEST_TEST(lstar_alone_is_no_new_boot)
{
	baseline();
	fake.registers[0].lstar = gva_other;
	cycles(3);
	cr_assert_eq(guest->generation, 1);
	cr_assert_eq(events_of("baseline.recorded"), 1);
}

GUEST_TEST(invalid_tls_at_the_baseline_does_not_prevent_it)
{
	gdt(0)[12] = 0x00cf9b000000ffff; /* kernel code */
	cycles(3);
	cr_assert_eq(guest->phase, GUEST_WATCHED);
	violation(1, "gdt_descriptor", 12, 0);
}

GUEST_TEST(gate_outside_of_the_text_at_the_first_baseline)
{
	gate_put(P_IDT, 0x80, gva_other + 0x80);
	cycles(5);
	cr_assert_str_eq(
		json_string_value(json_object_get(violation(1, "idt_gate", 0x80, 0), "reason")),
		"outside_text");
}

GUEST_TEST(reserved_vectors_keep_their_early_stubs)
{
	gate_put(P_IDT, 22, 0xffffffff82800000 + 13 * 22 + fake.slide);
	gate_put(P_IDT, 31, 0xffffffff82800000 + 9 * 31 + fake.slide);
	baseline();
	cycles(2);
	gate_put(P_IDT, 31, 0xffffffff82800000 + 9 * 30 + fake.slide);
	cycles(1);
	violation(1, "idt_gate", 31, 0);
}

GUEST_TEST(stub_of_another_vector_is_outside_of_the_text)
{
	gate_put(P_IDT, 22, 0xffffffff82800000 + 13 * 23 + fake.slide);
	cycles(3);
	violation(1, "idt_gate", 22, 0);
}

GUEST_TEST(flood_of_pushes_is_told_of_with_few_events)
{
	size_t before;

	baseline();
	before = json_array_size(events);
	for (int i = 0; i < 10000; i++) {
		fake.registers[1].cr0 ^= CR0_WP;
		pushed(1, KA_CHANGED_CR0);
	}
	cr_assert_lt(json_array_size(events) - before, 300);
	cycles(1);
	cr_assert_eq(guest->vcpus[1].coverage[CHECK_CR0_WP].state, COVERAGE_SAMPLED);
	cycles(1);
	cr_assert_eq(guest->vcpus[1].coverage[CHECK_CR0_WP].state, COVERAGE_OBSERVED);
	cr_assert_eq(guest->findings.count, 0);
	before = events_of("integrity.violation");
	guest->pushes_since_ns -= NS_PER_S;
	fake.registers[1].cr0 ^= CR0_WP;
	pushed(1, KA_CHANGED_CR0);
	cr_assert_eq(events_of("integrity.violation"), before + 1);
}

/* A table that lacks its last entries: zeroes in the guest's memory, which end it. */
GUEST_TEST(syscall_table_cut_short_is_held_against_the_store)
{
	baseline();
	guest_free(guest);
	fake.info.key = 2;
	strcpy(fake.info.uuid, "99999999-2222-3333-4444-555555555555");
	boot(0x2200000);
	*syscall_entry(SYSCALLS - 1) = 0;
	fake.syscalls = SYSCALLS - 1;
	guest_start();
	cycles(3);
	violation(1, "syscall_entry", SYSCALLS - 1, 0);
	*syscall_entry(SYSCALLS - 1) = link_text + fake.slide + 0x10000 + 0x40 * (SYSCALLS - 1);
	cycles(1);
	cr_assert_eq(events_of("integrity.restored"), 1);
}

/* ---- kernel text --------------------------------------------------------------------------- */

static const uint8_t text_byte = 0xc3;

/* A reference whose text is one kind of byte, and a guest with that text. */
static void text_known(void)
{
	static const char names[] = "ffffffff81000000 T _text\nffffffff81000040 T function\n"
				    "ffffffff83000000 B _end\n";
	static uint8_t text[TEXT_PAGES * PAGE];
	const uint32_t relocated = 0x81003000;
	const struct ka_section parts[] = {
		{ "symbols", 0, (const uint8_t *)names, strlen(names) },
		{ ".text", link_text, text, sizeof(text) },
		{ "relocs_32", 0, (const uint8_t *)&relocated, 4 },
		{ "jump_table", link_table, text, 0 },
	};
	struct ka_reference *reference = NULL;

	memset(text, text_byte, sizeof(text));
	memcpy(page(P_TEXT), text, sizeof(text));
	*(uint32_t *)(page(P_TEXT) + 0x3000) += (uint32_t)fake.slide;
	reference_known();
	cr_assert_eq(ka_reference_create(fake.build_id, "6.1.0-56-amd64", parts, 4, &reference), 0);
	cr_assert_eq(store_reference_save(watch.store, fake.build_id, reference), 0);
	ka_reference_free(reference);
	cr_assert_eq(references_new(watch.store, &watch.references), 0);
}

GUEST_TEST(text_that_was_changed_before_it_was_seen_is_told)
{
	json_t *event;

	text_known();
	page(P_TEXT)[0x1044] = 0xe9;
	cycles(3);
	event = violation(1, "text", 0x1044, 0);
	cr_assert_str_eq(text_at(event, "object", "patch"), "text");
	cr_assert_eq(number_at(event, "object", "length"), 1);
	cr_assert_str_eq(text_at(event, "object", "symbol"), "function+0x1004");
	cr_assert_eq(strncmp(text_at(event, "observed", "bytes"), "e9c3", 4), 0);
	event = last_event("baseline.recorded", 0);
	cr_assert_str_eq(text_at(event, "baseline", "symbols"), "reference");
	cycles(5);
	violation(1, "text", 0x1044, 0);
	page(P_TEXT)[0x1044] = text_byte;
	cycles(2);
	cr_assert_eq(events_of("integrity.restored"), 1);
}

/* The build that its memory names leads to the reference; its symbols are only compared, later. */
GUEST_TEST(reference_is_found_without_reading_the_symbols)
{
	fake.tells_symbols = true;
	watch.symbols_count = 0;
	text_known();
	cycles(3);
	cr_assert_eq(guest->phase, GUEST_WATCHED);
	cr_assert_str_eq(text_at(last_event("baseline.recorded", 0), "baseline", "symbols"),
			 "reference");
	cr_assert_eq(fake.searches, 1);
	cr_assert_not(fake.searched_before_baseline);
}

GUEST_TEST(guest_that_stands_still_is_looked_at_again_before_its_turn)
{
	cycles(1);
	cr_assert_gt(guest->soon_ns, 0);
	cr_assert_leq(guest->soon_ns, clock_mono() + STILL_SPACING_MS * NS_PER_MS);
	cycles(2);
	cr_assert_eq(guest->phase, GUEST_WATCHED);
	cr_assert_eq(guest->soon_ns, 0);
}

/* The kernel itself has one wherever it patches, for a moment. */
GUEST_TEST(a_breakpoint_is_told_once_it_stays)
{
	text_known();
	baseline();
	page(P_TEXT)[0x1044] = 0xcc;
	cycles(1);
	page(P_TEXT)[0x1044] = text_byte;
	cycles(3);
	cr_assert_eq(events_of("integrity.violation"), 0);
	page(P_TEXT)[0x1044] = 0xcc;
	cycles(3);
	cr_assert_eq(events_of("integrity.violation"), 0);
	usleep(1100 * 1000);
	cycles(4);
	violation(1, "text", 0x1044, 0);
	cr_assert_eq(events_of("integrity.restored"), 0);
	page(P_TEXT)[0x1044] = text_byte;
	cycles(2);
	cr_assert_eq(events_of("integrity.restored"), 1);
}

GUEST_TEST(first_looks_leave_the_interval_to_other_guests)
{
	struct first_looks looks = { 0 };

	text_known();
	watch.first_looks = &looks;
	looks.since_ns = clock_mono();
	looks.spent_ns = NS_PER_S; /* others have had it all */
	page(P_TEXT)[0x1044] = 0xe9;
	cycles(3);
	cr_assert_eq(events_of("baseline.recorded"), 1);
	cr_assert_eq(guest->text.first, guest->text.start);
	looks.since_ns -= NS_PER_S;
	cycles(2);
	cr_assert_eq(guest->text.first, guest->text.end);
	violation(1, "text", 0x1044, 0);
}

/* Without a seal. */
WHOLE_TEST(text_is_watched_in_the_read_of_the_tables)
{
	unsigned int reads;

	text_known();
	baseline();
	cr_assert(guest_complete(guest));
	cr_assert_eq(guest->vcpus[0].coverage[CHECK_TEXT].state, COVERAGE_SAMPLED);
	reads = fake.reads;
	cycles(1);
	cr_assert_eq(fake.reads, reads + 1);
	fake.torn_gpa = P_TEXT * PAGE + 0x2000;
	fake.torn_value = 0;
	cycles(1);
	cr_assert_eq(fake.torn_gpa, 0);
	cr_assert_eq(events_of("integrity.violation"), 0);
	page(P_TEXT)[TEXT_PAGES * PAGE - 1] ^= 1;
	cycles(1);
	violation(1, "text", TEXT_PAGES * PAGE - 1, 0);
}

/* ---- seals --------------------------------------------------------------------------------- */

static uint64_t looks_counted(enum check_id check)
{
	const uint64_t *cycles = guest->vcpus[1].coverage[check].cycles;
	uint64_t sum = 0;

	guest_settle(guest);
	for (int state = 0; state < COVERAGE_STATES; state++)
		sum += cycles[state];
	return sum;
}

/* With a kernel whose symbols are known there is more to look at: its text. */
static void sealed_baseline(bool with_text)
{
	if (with_text)
		text_known();
	baseline();
	cycles(3);
	cr_assert(sealed.is);
	cr_assert(guest->seal.is);
}

SEALED_TEST(what_is_intact_is_not_read_again)
{
	unsigned int reads, whole = 0;
	uint64_t counted, judged;

	sealed_baseline(false);
	counted = looks_counted(CHECK_IDT);
	judged = guest->judged;
	for (unsigned int i = 0; i < 3 * GUEST_WHOLE_EACH; i++) {
		uint64_t ok = guest->vcpus[1].coverage[CHECK_IDT].last_ok_ns;

		reads = fake.reads;
		cycles(1);
		whole += fake.reads != reads;
		guest_settle(guest);
		cr_assert_gt(guest->vcpus[1].coverage[CHECK_IDT].last_ok_ns, ok);
	}
	cr_assert_eq(whole, 3, "%u", whole);
	cr_assert_eq(looks_counted(CHECK_IDT), counted + 3 * GUEST_WHOLE_EACH);
	cr_assert_eq(guest->judged, judged + 3 * GUEST_WHOLE_EACH);
	cr_assert(guest_complete(guest));
}

SEALED_TEST(looks_are_counted_where_they_are_told)
{
	uint64_t counted;

	sealed_baseline(false);
	guest_settle(guest);
	counted = guest->vcpus[1].coverage[CHECK_GDT].cycles[COVERAGE_OBSERVED];
	cycles(5);
	/* A push has the next look be a whole one. */
	pushed(0, KA_CHANGED_CR0);
	cr_assert_not(guest->seal.is);
	cr_assert_eq(guest->vcpus[1].coverage[CHECK_GDT].cycles[COVERAGE_OBSERVED], counted + 5);
}

SEALED_TEST(a_whole_look_finds_what_has_the_same_hash)
{
	sealed_baseline(false);
	gate_put(P_IDT, 14, gva_other);
	for (unsigned int i = 0; i < GUEST_WHOLE_EACH; i++) {
		/* The seal does not tell it. */
		cr_assert_eq(guest_cycle(guest, SEAL_INTACT), 0);
		if (events_of("integrity.violation"))
			break;
	}
	violation(1, "idt_gate", 14, 0);
	/* As long as that is open, nothing is sealed. */
	cr_assert_not(guest->seal.is);
	cr_assert_eq(guest_cycle(guest, SEAL_INTACT), 0);
	cr_assert_not(guest->seal.is);
}

SEALED_TEST(text_is_looked_at_all_the_same)
{
	sealed_baseline(true);
	page(P_TEXT)[0x1044] ^= 1;
	cycles(1);
	violation(1, "text", 0x1044, 0);
	cr_assert_gt(sealed.intact, 0);
}

/* By its policy only what the seal holds is looked at. */
static void paper_baseline(void)
{
	guest->policy.off[CHECK_TEXT] = true;
	for (int i = 0; i < AUDITS; i++)
		guest->policy.off[VCPU_CHECKS + i] = true;
	sealed_baseline(false);
}

/* What a sentry looks at meanwhile is counted; then a whole look is due. */
SEALED_TEST(a_sentry_makes_the_looks_up_to_the_next_whole_one)
{
	unsigned int looks, reads;
	uint64_t counted;

	paper_baseline();
	looks = guest_may_be_left(guest);
	cr_assert_gt(looks, GUEST_WHOLE_EACH / 2);
	cr_assert_lt(looks, GUEST_WHOLE_EACH);
	cycles(1);
	cr_assert_eq(guest_may_be_left(guest), looks - 1);
	counted = looks_counted(CHECK_GDT);
	guest_rest(guest, looks - 1);
	guest->looked_ns = clock_real();
	cr_assert_eq(looks_counted(CHECK_GDT), counted + looks - 1);
	cr_assert_eq(guest->vcpus[1].coverage[CHECK_GDT].last_ok_ns, guest->looked_ns);
	cr_assert_eq(guest_may_be_left(guest), 0);
	cr_assert(guest_whole_is_due(guest));
	reads = fake.reads;
	cycles(1);
	cr_assert_gt(fake.reads, reads);
	cr_assert_eq(guest_may_be_left(guest), GUEST_WHOLE_EACH - 1);
}

SEALED_TEST(only_a_guest_of_which_a_seal_holds_all_is_left_to_a_sentry)
{
	cr_assert_eq(guest_may_be_left(guest), 0);
	paper_baseline();
	cr_assert_gt(guest_may_be_left(guest), 0);
	watch.realtime = true;
	cr_assert_eq(guest_may_be_left(guest), 0);
	watch.realtime = false;
	guest->policy.interval_ns = 2 * watch.interval_ns;
	cr_assert_eq(guest_may_be_left(guest), 0);
	guest->policy.interval_ns = 0;
	guest->changes_lost = 1;
	cr_assert_eq(guest_may_be_left(guest), 0);
	guest->changes_lost = 0;
	guest->soon_ns = 1;
	cr_assert_eq(guest_may_be_left(guest), 0);
	guest->soon_ns = 0;
	cr_assert_gt(guest_may_be_left(guest), 0);
	guest_unseal(guest);
	cr_assert_eq(guest_may_be_left(guest), 0);
}

SEALED_TEST(a_guest_with_text_or_audits_is_left_to_no_sentry)
{
	sealed_baseline(false);
	cr_assert_eq(guest_may_be_left(guest), 0);
	guest->policy.off[CHECK_TEXT] = true;
	cr_assert_eq(guest_may_be_left(guest), 0);
}

SEALED_TEST(what_keeps_changing_is_sealed_less_and_less)
{
	unsigned int tried = 0;

	sealed_baseline(false);
	for (unsigned int i = 0; i < 200; i++) {
		uint64_t since = guest->seal.since;

		/* Not judged, but under the seal. */
		fake.registers[0].cr4 ^= 1 << 7;
		cycles(1);
		tried += guest->seal.since != since;
	}
	cr_assert_lt(tried, 12, "%u", tried);
	cr_assert_eq(events_of("integrity.violation"), 0);
	cycles(2 * 64);
	cr_assert(guest->seal.is);
}

GUEST_TEST(symbols_that_the_guest_lies_about_are_told)
{
	json_t *event;

	text_known();
	fake.tells_symbols = true;
	baseline();
	cr_assert(guest->symbols_compared);
	guest_free(guest);
	references_free(watch.references);
	watch.references = NULL;
	/* The file has them as they are, the guest's memory as it says. */
	fake.lies = true;
	fake.info.key = 2;
	guest_start();
	cycles(3);
	event = violation(1, "symbol", 0, 0);
	cr_assert_str_eq(text_at(event, "object", "symbol"), "__x64_sys_39");
	cr_assert_str_eq(text_at(event, "check", "name"), "symbols");
	cycles(5);
	violation(1, "symbol", 0, 0);
}

/* Whoever forges it has the guest trusted as it is. */
GUEST_TEST(another_build_id_than_its_release_has_is_told)
{
	json_t *event;

	text_known();
	fake.build_id[0] = '7';
	baseline();
	event = last_event("baseline.recorded", 0);
	cr_assert_str_eq(text_at(event, "baseline", "trust"), "tofu");
	cr_assert_str_eq(json_string_value(json_object_get(event, "severity")), "high");
	cr_assert(strstr(text_at(event, "baseline", "reason"), "another build-id"));
}

GUEST_TEST(text_is_no_check_where_no_reference_is)
{
	baseline();
	cr_assert(guest_complete(guest));
	cr_assert_null(json_object_get(
		json_object_get(json_object_get(last_event("baseline.recorded", 0), "baseline"),
				"coverage"),
		"text"));
}

/* ---- not looking is not clean -------------------------------------------------------------- */

GUEST_TEST(what_cannot_be_read_is_stale_and_its_findings_stay)
{
	json_t *event;

	baseline();
	gdt(1)[2] ^= 3ull << 45;
	cycles(1);
	fake.registers[1].flags = KA_REGISTERS_SMM;
	cycles(2);
	for (int check = 0; check < VCPU_CHECKS; check++)
		cr_assert_eq(guest->vcpus[1].coverage[check].state, COVERAGE_STALE);
	cr_assert_eq(events_of("integrity.restored"), 0);
	cr_assert_not(guest_complete(guest));
	event = last_event("coverage.changed", 0);
	cr_assert_str_eq(json_string_value(json_object_get(event, "severity")), "medium");
	cr_assert_eq(json_array_size(json_object_get(event, "changes")),
		     VCPU_CHECKS - !guest_has_check(guest, CHECK_TEXT) -
			     !guest_has_check(guest, CHECK_SYMBOLS));
	fake.registers[1].flags = 0;
	cycles(1);
	cr_assert(guest_complete(guest));
	cr_assert_eq(events_of("integrity.restored"), 0);
}

GUEST_TEST(encrypted_registers_are_unobservable)
{
	baseline();
	fake.registers[0].flags = fake.registers[1].flags = KA_REGISTERS_ENCRYPTED;
	cycles(1);
	cr_assert_eq(guest->vcpus[0].coverage[CHECK_IDT].state, COVERAGE_UNOBSERVABLE);
	cr_assert(guest_blind(guest));
}

/* As an Intel host without the kernel module shows a vCPU: CR0.WP is any. */
static void hide_vmcs(void)
{
	for (size_t i = 0; i < fake.vcpus; i++) {
		fake.registers[i].flags = KA_REGISTERS_NO_VMCS | KA_REGISTERS_NO_WP;
		fake.registers[i].gdtr = (struct ka_table_register){ 0 };
		fake.registers[i].cr0 &= ~CR0_WP;
		fake.registers[i].cr3 = 0;
	}
}

GUEST_TEST(without_the_vmcs_what_memory_holds_is_checked)
{
	json_t *coverage;

	hide_vmcs();
	baseline();
	coverage = json_object_get(json_object_get(last_event("baseline.recorded", 0), "baseline"),
				   "coverage");
	cr_assert(json_is_false(json_object_get(coverage, "gdt")));
	cr_assert(json_is_true(json_object_get(coverage, "idt")));
	cr_assert(json_is_true(json_object_get(coverage, "syscall_table")));
	cr_assert(json_is_false(json_object_get(coverage, "cr0_wp")));
	gate_put(P_IDT, 3, gva_other);
	cycles(1);
	violation(1, "idt_gate", 3, 0);
	*syscall_entry(39) = gva_other;
	cycles(1);
	violation(2, "syscall_entry", 39, 0);
}

GUEST_TEST(without_the_vmcs_the_rest_is_unobservable)
{
	const struct coverage *coverage;

	hide_vmcs();
	baseline();
	coverage = guest->vcpus[1].coverage;
	cr_assert_eq(coverage[CHECK_GDT].state, COVERAGE_UNOBSERVABLE);
	cr_assert_eq(coverage[CHECK_CR0_WP].state, COVERAGE_UNOBSERVABLE);
	cr_assert_eq(coverage[CHECK_IDT].state, COVERAGE_OBSERVED);
	cr_assert_not_null(strstr(coverage[CHECK_GDT].reason, "kvmbpf_helper is not loaded"));
	cr_assert_not(guest_complete(guest));
	cr_assert_not(guest_blind(guest));
	/* Not read, so neither a change nor a baseline for a later run with the module. */
	*gdt(1) ^= 1;
	cycles(2);
	cr_assert_eq(events_of("integrity.violation"), 0);
	/* That the vCPU cannot be read for a while is no better reason. */
	fake.registers[1].flags |= KA_REGISTERS_SMM;
	cycles(2);
	cr_assert_eq(coverage[CHECK_GDT].state, COVERAGE_UNOBSERVABLE);
	cr_assert_eq(coverage[CHECK_CR0_WP].state, COVERAGE_UNOBSERVABLE);
	cr_assert_eq(coverage[CHECK_IDT].state, COVERAGE_STALE);
	cr_assert_not_null(strstr(coverage[CHECK_GDT].reason, "kvmbpf_helper is not loaded"));
}

GUEST_TEST(without_the_vmcs_wp_is_told_where_it_is_seen_but_not_claimed)
{
	unsigned int told;

	hide_vmcs();
	baseline();
	told = events_of("coverage.changed");
	/* KVM has just read it. */
	fake.registers[1].flags = KA_REGISTERS_NO_VMCS | KA_REGISTERS_WP_SAMPLED;
	fake.registers[1].cr0 |= CR0_WP;
	cycles(2);
	cr_assert_eq(guest->vcpus[1].coverage[CHECK_CR0_WP].state, COVERAGE_UNOBSERVABLE);
	cr_assert_eq(events_of("coverage.changed"), told);
	cr_assert_eq(events_of("integrity.violation"), 0);
	fake.registers[1].cr0 &= ~CR0_WP;
	cycles(1);
	violation(1, "cr0_wp", -1, 1);
	/* What is not seen is not told to be over. */
	fake.registers[1].flags = KA_REGISTERS_NO_VMCS | KA_REGISTERS_NO_WP;
	cycles(2);
	cr_assert_eq(events_of("integrity.restored"), 0);
	fake.registers[1].flags = KA_REGISTERS_NO_VMCS | KA_REGISTERS_WP_SAMPLED;
	fake.registers[1].cr0 |= CR0_WP;
	cycles(1);
	cr_assert_eq(events_of("integrity.restored"), 1);
}

GUEST_TEST(without_the_vmcs_and_a_known_kernel_nothing_is_observed)
{
	hide_vmcs();
	fake.kernel_hidden = true;
	cycles(12);
	cr_assert_eq(guest->phase, GUEST_WAITING);
	cr_assert_eq(guest->vcpus[0].coverage[CHECK_IDT].state, COVERAGE_UNOBSERVABLE);
	cr_assert(guest_blind(guest));
}

GUEST_TEST(table_that_leads_nowhere_is_stale)
{
	baseline();
	fake.registers[1].idtr.base = gva_other;
	cycles(1);
	cr_assert_eq(guest->vcpus[1].coverage[CHECK_IDT].state, COVERAGE_STALE);
	cr_assert_eq(guest->vcpus[1].coverage[CHECK_GDT].state, COVERAGE_OBSERVED);
	cr_assert_eq(guest->vcpus[0].coverage[CHECK_IDT].state, COVERAGE_OBSERVED);
}

/* The memory of a passed-through device, which the CPU reads and we cannot. */
GUEST_TEST(table_where_no_ram_is_does_not_hide_behind_the_kernels_mapping)
{
	baseline();
	fake.remap[fake.remaps++] = (struct remap){ gva_gdt, 0, MEMORY_PAGES };
	fake.remap[fake.remaps++] = (struct remap){ gva_idt, 0, MEMORY_PAGES + 1 };
	cycles(1);
	cr_assert_eq(guest->vcpus[0].coverage[CHECK_GDT].state, COVERAGE_STALE);
	cr_assert_eq(guest->vcpus[0].coverage[CHECK_IDT].state, COVERAGE_STALE);
	cr_assert_eq(guest->vcpus[1].coverage[CHECK_GDT].state, COVERAGE_OBSERVED);
	cr_assert_eq(guest->vcpus[1].coverage[CHECK_IDT].state, COVERAGE_OBSERVED);
}

GUEST_TEST(cr3_of_a_process_that_ended)
{
	baseline();
	/* Nothing is mapped there any more but what every kernel root has. */
	fake.registers[1].cr3 = 99;
	fake.user_cr3 = true;
	cycles(1);
	cr_assert(guest_complete(guest));
	cr_assert_eq(events_of("integrity.violation"), 0);
}

/* A WP toggle that is not judged, since the kernel seems to go down, must not pass for clean. */
static void toggle_wp_unseen(unsigned int vcpu)
{
	fake.registers[vcpu].cr0 &= ~CR0_WP;
	pushed(vcpu, KA_CHANGED_CR0);
	fake.registers[vcpu].cr0 |= CR0_WP;
	pushed(vcpu, KA_CHANGED_CR0);
	cycles(1);
	cr_assert_eq(guest->vcpus[vcpu].phase, VCPU_JUDGED);
	cr_assert_eq(guest->vcpus[vcpu].coverage[CHECK_CR0_WP].state, COVERAGE_SAMPLED);
	cycles(1);
	cr_assert_eq(guest->vcpus[vcpu].coverage[CHECK_CR0_WP].state, COVERAGE_OBSERVED);
	cr_assert_eq(guest->vcpus[!vcpu].coverage[CHECK_CR0_WP].cycles[COVERAGE_SAMPLED], 0);
}

GUEST_TEST(pushes_behind_an_empty_idt_are_not_called_observed)
{
	baseline();
	fake.registers[1].idtr = (struct ka_table_register){ 0, 0 };
	pushed(1, KA_CHANGED_IDTR);
	fake.registers[1].idtr = (struct ka_table_register){ gva_idt, 4095 };
	pushed(1, KA_CHANGED_IDTR);
	toggle_wp_unseen(1);
}

GUEST_TEST(pushes_behind_a_moment_without_paging_are_not_called_observed)
{
	uint64_t cr0;

	baseline();
	cr0 = fake.registers[1].cr0;
	fake.registers[1].cr0 = 0x60000010;
	pushed(1, KA_CHANGED_CR0);
	fake.registers[1].cr0 = cr0;
	pushed(1, KA_CHANGED_CR0);
	toggle_wp_unseen(1);
}

GUEST_TEST(time_in_a_nested_guest_is_not_called_observed)
{
	baseline();
	fake.registers[1].flags = KA_REGISTERS_NESTED;
	fake.registers[1].cr0 &= ~CR0_WP;
	pushed(1, KA_CHANGED_CR0);
	fake.registers[1].flags = 0;
	fake.registers[1].cr0 |= CR0_WP;
	pushed(1, KA_CHANGED_CR0);
	cycles(1);
	cr_assert_eq(guest->vcpus[1].coverage[CHECK_CR0_WP].state, COVERAGE_SAMPLED);
	cr_assert_eq(guest->vcpus[0].coverage[CHECK_CR0_WP].state, COVERAGE_OBSERVED);
	cycles(1);
	cr_assert_eq(guest->vcpus[1].coverage[CHECK_CR0_WP].state, COVERAGE_OBSERVED);
	cr_assert_eq(events_of("integrity.violation"), 0);
}

GUEST_TEST(gone_is_told)
{
	baseline();
	fake.gone = true;
	cr_assert_eq(guest_cycle(guest, seal_asked()), -EOWNERDEAD);
	report_gone(guest, "exited");
	cr_assert_eq(events_of("vm.gone"), 1);
}

WHOLE_TEST(quiet_cycles_read_once_and_tell_nothing)
{
	unsigned int reads;
	size_t before;

	baseline();
	cycles(1);
	reads = fake.reads;
	before = json_array_size(events);
	cycles(100);
	cr_assert_eq(fake.reads, reads + 100);
	cr_assert_eq(json_array_size(events), before);
}

/* ---- writes --------------------------------------------------------------------------------- */

static const uint64_t module_rip = 0xffffffffc0001234;

/* A write by the guest's second vCPU, as the module tells it. */
static void guest_writes(void *to, const void *bytes, uint32_t len, uint32_t flags)
{
	struct ka_write write = {
		.gpa = (uint64_t)((uint8_t *)to - fake.memory),
		.rip = module_rip,
		.time_ns = clock_mono(),
		.vcpu = 1,
		.len = len,
		.flags = flags,
	};

	memcpy(write.old_bytes, to, len);
	memcpy(write.new_bytes, bytes, len);
	if (!(flags & KA_WRITE_UNDONE))
		memcpy(to, bytes, len);
	guest_write(guest, &write);
}

static void entry_write(unsigned int number, uint64_t value, uint32_t flags)
{
	guest_writes(syscall_entry(number), &value, sizeof(value), flags);
	guest_tell_writes(guest, clock_mono());
}

static const struct ka_tracked *tracked_at(uint64_t gpa)
{
	for (size_t i = 0; i < fake.tracked_count; i++)
		if (fake.tracked[i].gpa == gpa)
			return &fake.tracked[i];
	return NULL;
}

/* The IDT, and a system call table on two pages. */
enum { TRACKED = 3 };

static const uint64_t gpa_idt = P_IDT * PAGE, gpa_syscalls = P_SYSCALLS * PAGE + 0x300,
		      gpa_syscalls_2 = (P_SYSCALLS + 1) * PAGE;

static void realtime_baseline(void)
{
	watch.realtime = true;
	baseline();
}

/* Of a check in monitor.health: whether its writes are told, or why not. */
static void writes_are(enum check_id check, const char *state, const char *reason)
{
	json_t *json = report_check_state(guest, &guest->vcpus[0], check);

	cr_assert_str_eq(text_at(json, "writes", "state"), state);
	cr_assert_str_eq(text_at(json, "writes", "reason"), reason);
	json_decref(json);
}

GUEST_TEST(tables_are_tracked_once_the_kernel_is_up)
{
	watch.realtime = true;
	fake.system_state = 1;
	cycles(4);
	cr_assert_not(fake.tracks);
	writes_are(CHECK_IDT, "off", "the guest's kernel is not up");
	fake.system_state = 3;
	cycles(1);
	cr_assert_eq(fake.tracked_count, TRACKED);
	cr_assert_eq(tracked_at(gpa_idt)->len, PAGE);
	cr_assert_eq(tracked_at(gpa_syscalls)->len + tracked_at(gpa_syscalls_2)->len, 8 * SYSCALLS);
	cr_assert_eq(tracked_at(gpa_idt)->flags, 0);
	writes_are(CHECK_IDT, "tracked", "(none)");
	cr_assert_eq(json_array_size(json_object_get(last_event("coverage.changed", 0), "writes")),
		     2);
}

GUEST_TEST(nothing_is_tracked_unless_asked_for)
{
	baseline();
	cr_assert_not(fake.tracks);
	writes_are(CHECK_SYSCALL_TABLE, "off", "--no-realtime");
}

GUEST_TEST(write_is_told_with_its_writer_and_not_again_by_the_poll)
{
	uint64_t before;
	json_t *event;

	realtime_baseline();
	before = *syscall_entry(59);
	entry_write(59, gva_other, 0);
	event = violation(1, "syscall_entry", 59, 0);
	cr_assert_str_eq(json_string_value(json_object_get(event, "detected_by")), "write");
	cr_assert_str_eq(text_at(event, "expected", "symbol"), "__x64_sys_59");
	cr_assert_str_eq(text_at(event, "observed", "value"), "0xffffc90000000000");
	cr_assert_str_eq(text_at(event, "write", "rip"), "0xffffffffc0001234");
	cr_assert_str_eq(text_at(event, "write", "owner"), "module");
	cr_assert_str_eq(text_at(event, "write", "new"), "00000000"
							 "00c9ffff");
	cr_assert_eq(number_at(event, "write", "vcpu"), 1);
	cr_assert_eq(number_at(event, "write", "length"), 8);
	cr_assert_eq(number_at(event, "write", "count"), 1);
	cycles(3);
	violation(1, "syscall_entry", 59, 0);
	guest_tell_writes(guest, UINT64_MAX); /* the window after the first is over */
	entry_write(59, before, 0);
	guest_tell_writes(guest, UINT64_MAX);
	cr_assert_eq(events_of("integrity.restored"), 1);
	cr_assert_eq(guest->findings.count, 0);
	cycles(2);
	cr_assert_eq(events_of("integrity.violation"), 1);
	cr_assert_eq(events_of("integrity.restored"), 1);
}

GUEST_TEST(hook_that_was_set_and_removed_between_two_polls_is_told)
{
	uint64_t gate[2], hooked[2];

	realtime_baseline();
	memcpy(gate, page(P_IDT) + 16 * 14, 16);
	memcpy(hooked, gate, 16);
	idt_gate_set_handler(true, hooked, gva_other);
	/* As Linux writes a gate, in two halves; all in one window. */
	guest_writes(page(P_IDT) + 16 * 14, hooked, 8, 0);
	guest_writes(page(P_IDT) + 16 * 14 + 8, hooked + 1, 8, 0);
	guest_writes(page(P_IDT) + 16 * 14, gate, 8, 0);
	guest_writes(page(P_IDT) + 16 * 14 + 8, gate + 1, 8, 0);
	guest_tell_writes(guest, UINT64_MAX);
	cr_assert_eq(number_at(violation(1, "idt_gate", 14, 0), "write", "count"), 4);
	cr_assert_eq(events_of("integrity.restored"), 1);
	cycles(2);
	cr_assert_eq(events_of("integrity.violation"), 1);
}

GUEST_TEST(write_across_entries_concerns_each)
{
	uint64_t value = 0;

	realtime_baseline();
	guest_writes((uint8_t *)syscall_entry(10) + 6, &value, 4, 0);
	guest_tell_writes(guest, clock_mono());
	cr_assert_eq(events_of("integrity.violation"), 2);
	cr_assert_eq(number_at(last_event("integrity.violation", 1), "object", "index"), 10);
	cr_assert_eq(number_at(last_event("integrity.violation", 0), "object", "index"), 11);
	/* What the event says is there is what a poll finds. */
	cycles(3);
	cr_assert_eq(events_of("integrity.violation"), 2);
}

GUEST_TEST(undone_write_is_a_finding_that_is_restored_at_once)
{
	json_t *event;

	watch.protect[CHECK_SYSCALL_TABLE] = true;
	realtime_baseline();
	cr_assert_eq(tracked_at(gpa_syscalls)->flags, KA_TRACK_PROTECT);
	cr_assert_eq(tracked_at(gpa_idt)->flags, 0);
	writes_are(CHECK_SYSCALL_TABLE, "protected", "(none)");
	entry_write(39, gva_other, KA_WRITE_UNDONE);
	event = violation(1, "syscall_entry", 39, 0);
	cr_assert_str_eq(json_string_value(json_object_get(event, "action")), "undone");
	cr_assert_str_eq(text_at(event, "observed", "value"), "0xffffc90000000000");
	cr_assert_eq(events_of("integrity.restored"), 1);
	cycles(2);
	cr_assert_eq(events_of("integrity.violation"), 1);
	/* Protection goes on. */
	cr_assert_eq(tracked_at(gpa_syscalls)->flags, KA_TRACK_PROTECT);
}

SEALED_TEST(writes_that_are_told_are_no_hindrance)
{
	watch.protect[CHECK_SYSCALL_TABLE] = true;
	realtime_baseline();
	entry_write(39, gva_other, KA_WRITE_UNDONE);
	cr_assert_not(guest->seal.is);
	/* As long as the next write may follow. */
	guest->folds.folds[0].due_ns = UINT64_MAX;
	cycles(1);
	cr_assert_eq(guest->folds.count, 1);
	cr_assert_not(guest->seal.is);
	guest->folds.folds[0].due_ns = 0;
	cycles(64);
	cr_assert(guest->seal.is);
	cr_assert_eq(events_of("integrity.violation"), 1);
}

GUEST_TEST(what_differs_already_is_not_kept_by_protection)
{
	uint64_t before;

	watch.protect[CHECK_SYSCALL_TABLE] = true;
	realtime_baseline();
	/* By a device: no write is told. */
	before = *syscall_entry(39);
	*syscall_entry(39) = gva_other;
	cycles(2);
	violation(1, "syscall_entry", 39, 0);
	cr_assert_eq(tracked_at(gpa_syscalls)->flags, 0);
	writes_are(CHECK_SYSCALL_TABLE, "tracked", "not protected: a finding is open");
	entry_write(39, before, 0);
	cycles(1);
	cr_assert_eq(tracked_at(gpa_syscalls)->flags, KA_TRACK_PROTECT);
}

GUEST_TEST(no_kernel_but_linux_is_protected)
{
	watch.protect[CHECK_IDT] = true;
	watch.realtime = true;
	fake.kernel_hidden = true;
	fake.registers[0].lstar = fake.registers[1].lstar = 0xfffff80000001000;
	cycles(12);
	guest->still_since_ns -= 10 * NS_PER_S;
	cycles(1);
	cr_assert_eq(guest->phase, GUEST_WATCHED);
	cr_assert_eq(tracked_at(gpa_idt)->flags, 0);
	writes_are(CHECK_IDT, "tracked", "not protected: not a Linux kernel that is known");
	writes_are(CHECK_SYSCALL_TABLE, "off", "no such table is known");
}

GUEST_TEST(protection_stands_aside_for_a_live_migration)
{
	watch.protect[CHECK_IDT] = true;
	fake.dirty_logged = true;
	realtime_baseline();
	cr_assert_eq(tracked_at(gpa_idt)->flags, 0);
	writes_are(CHECK_IDT, "tracked", "not protected: live migration");
	fake.dirty_logged = false;
	cycles(1);
	cr_assert_eq(tracked_at(gpa_idt)->flags, KA_TRACK_PROTECT);
}

/* The poll may see a value before the record of its write is read. */
GUEST_TEST(poll_that_differs_waits_for_the_write_behind_it)
{
	uint64_t hook = gva_other, old;
	struct ka_write write = { .len = 8, .rip = module_rip };

	realtime_baseline();
	old = *syscall_entry(7);
	*syscall_entry(7) = hook;
	cycles(1);
	cr_assert(guest->check_now);
	cr_assert_eq(events_of("integrity.violation"), 0);
	write.gpa = gpa_syscalls + 8 * 7;
	write.time_ns = clock_mono();
	memcpy(write.old_bytes, &old, 8);
	memcpy(write.new_bytes, &hook, 8);
	guest_write(guest, &write);
	guest_tell_writes(guest, clock_mono());
	cycles(3);
	cr_assert_str_eq(json_string_value(json_object_get(violation(1, "syscall_entry", 7, 0),
							   "detected_by")),
			 "write");
}

GUEST_TEST(without_a_write_the_next_poll_decides)
{
	realtime_baseline();
	*syscall_entry(7) = gva_other;
	cycles(2);
	cr_assert_str_eq(json_string_value(json_object_get(violation(1, "syscall_entry", 7, 0),
							   "detected_by")),
			 "poll");
	cr_assert_not(guest->check_now);
}

GUEST_TEST(poll_leaves_what_is_being_written_to_the_writes)
{
	uint64_t before;

	realtime_baseline();
	before = *syscall_entry(39);
	for (unsigned int n = 0; n < 10; n++) { /* a window that outlasts this test */
		entry_write(39, gva_other + n, 0);
		guest_tell_writes(guest, UINT64_MAX);
	}
	*syscall_entry(39) = before; /* of which no record was read yet */
	cycles(2);
	cr_assert_eq(events_of("integrity.restored"), 0);
	cr_assert_eq(guest->findings.count, 1);
	guest->folds.folds[0].due_ns = 0;
	cycles(1);
	cr_assert_eq(events_of("integrity.restored"), 1);
}

GUEST_TEST(same_bytes_over_themselves_are_no_change)
{
	realtime_baseline();
	entry_write(39, *syscall_entry(39), 0);
	cr_assert_eq(events_of("integrity.violation"), 0);
	cr_assert_eq(guest->folds.count, 0);
}

GUEST_TEST(burst_is_folded_and_counted)
{
	uint64_t before, told = 0;
	size_t i;
	json_t *event;

	realtime_baseline();
	before = *syscall_entry(39);
	for (unsigned int n = 0; n < 10000; n++) {
		uint64_t value = n % 2 ? before : gva_other;

		guest_writes(syscall_entry(39), &value, sizeof(value), 0);
		guest_tell_writes(guest, clock_mono());
	}
	guest_tell_writes(guest, UINT64_MAX);
	json_array_foreach(events, i, event) told += (uint64_t)number_at(event, "write", "count");
	cr_assert_eq(told, 10000);
	cr_assert_lt(events_of("integrity.violation"), 30);
	cr_assert_eq(guest->findings.count, 0);
}

GUEST_TEST(tracking_follows_a_reboot)
{
	realtime_baseline();
	fake.registers[0].cr0 = 0x60000010;
	fake.stopped = true;
	guest_tracking_stopped(guest, UINT64_MAX, KA_STOP_KERNEL);
	writes_are(CHECK_IDT, "off", "the guest left its kernel: reset, kexec, or an emptied IDT");
	cycles(2);
	cr_assert_eq(guest->range_count, 0);
	boot(0x3400000);
	cycles(3);
	cr_assert_eq(guest->generation, 2);
	cr_assert_not(fake.stopped);
	cr_assert_eq(fake.tracked_count, TRACKED);
	writes_are(CHECK_IDT, "tracked", "(none)");
	cr_assert_eq(events_of("integrity.violation"), 0);
}

/* The stop is in the kernel at once, and told later. */
GUEST_TEST(stop_that_is_not_told_yet_is_noticed)
{
	watch.realtime = true;
	cycles(2);
	fake.stopped = true;
	fake.tracks = true;
	guest->tracks = true;
	cycles(1);
	cr_assert_eq(fake.tracked_count, 0);
	writes_are(CHECK_IDT, "off", "the guest left its kernel: reset, kexec, or an emptied IDT");
	cycles(1);
	cr_assert_eq(fake.tracked_count, TRACKED);
}

GUEST_TEST(hot_frame_is_given_up_and_the_others_are_not)
{
	realtime_baseline();
	fake_untrack(NULL, gpa_idt, PAGE);
	guest_tracking_stopped(guest, gpa_idt, KA_STOP_HOT);
	cycles(2);
	cr_assert_null(tracked_at(gpa_idt));
	cr_assert_not_null(tracked_at(gpa_syscalls));
	writes_are(CHECK_IDT, "off", "written too often: tried again after a minute");
	writes_are(CHECK_SYSCALL_TABLE, "tracked", "(none)");
	guest->tracking[CHECK_IDT].hot_until_ns = 1;
	cycles(1);
	cr_assert_not_null(tracked_at(gpa_idt));
}

GUEST_TEST(holder_of_the_tracking_is_named)
{
	fake.holder = 4711;
	realtime_baseline();
	writes_are(CHECK_IDT, "off", "held by process 4711");
	fake.holder = 0;
	cycles(1);
	writes_are(CHECK_IDT, "tracked", "(none)");
}

GUEST_TEST(refused_frame_costs_its_check_only)
{
	fake.refused_gpa = gpa_idt;
	realtime_baseline();
	writes_are(CHECK_IDT, "off", "no RAM is there");
	writes_are(CHECK_SYSCALL_TABLE, "tracked", "(none)");
}

GUEST_TEST(lost_writes_are_counted_and_lost_stops_noticed)
{
	realtime_baseline();
	fake.tracked_count = 0;
	guest_writes_lost(guest, 17);
	cr_assert_eq(guest->writes_lost, 17);
	cycles(1);
	cr_assert_eq(fake.tracked_count, TRACKED);
}

GUEST_TEST(writes_of_a_kernel_that_comes_up_are_not_judged)
{
	realtime_baseline();
	fake.registers[0].cr0 = 0x60000010;
	pushed(0, KA_CHANGED_CR0);
	entry_write(39, gva_other, 0);
	cr_assert_eq(events_of("integrity.violation"), 0);
}

/* ---- audits -------------------------------------------------------------------------------- */

GUEST_TEST(audit_tells_what_two_looks_saw_until_it_is_gone)
{
	json_t *event;

	baseline();
	fake.records[0] = 0xffffffffc0001000;
	fake.records[1] = 0xffffffffc0002000;
	fake.record_count = 2;
	fake.record_once = 1; /* the second is there for one look only */
	cycles(1);
	event = violation(1, "module", -1, 0);
	cr_assert_str_eq(text_at(event, "object", "gva"), "0xffffffffc0001000");
	cr_assert_str_eq(text_at(event, "observed", "value"), "tree");
	cr_assert_str_eq(text_at(event, "observed", "symbol"), "entry_SYSCALL_64");
	cr_assert_str_eq(text_at(event, "observed", "owner"), "kernel");
	cr_assert_str_eq(json_string_value(json_object_get(event, "reason")), "hidden");
	cycles(5);
	cr_assert_eq(events_of("integrity.violation"), 1);
	fake.record_count = 0;
	cycles(1);
	cr_assert_eq(events_of("integrity.restored"), 1);
}

GUEST_TEST(audit_that_cannot_look_is_stale_and_closes_nothing)
{
	baseline();
	cr_assert(guest_complete(guest));
	fake.records[0] = 1;
	fake.record_count = 1;
	cycles(1);
	fake.audit_error = -EFAULT;
	cycles(2);
	cr_assert_not(guest_complete(guest));
	cr_assert_eq(guest->audits.audit[0].coverage.state, COVERAGE_STALE);
	cr_assert_eq(events_of("integrity.restored"), 0);
	/* Records that change while they are read may be so for a while. */
	fake.audit_error = 0;
	cycles(1);
	fake.audit_error = -EAGAIN;
	cycles(2);
	cr_assert_eq(guest->audits.audit[0].coverage.state, COVERAGE_SAMPLED);
	cr_assert_eq(events_of("integrity.restored"), 0);
}

GUEST_TEST(audits_of_a_kernel_without_types_are_unobservable)
{
	fake.no_types = true;
	baseline();
	cycles(2);
	cr_assert_not(guest_complete(guest));
	cr_assert_eq(fake.looks, 0);
	for (int i = 0; i < AUDITS; i++)
		cr_assert_eq(guest->audits.audit[i].coverage.state, COVERAGE_UNOBSERVABLE);
}

GUEST_TEST(audits_stay_within_their_budget)
{
	unsigned int looks;

	baseline();
	looks = fake.looks;
	cr_assert_gt(looks, 0);
	watch.audit_ppm = 0;
	guest->audits.budget_ns = 0;
	cycles(5);
	cr_assert_eq(fake.looks, looks);
	watch.audit_ppm = 1000000;
	guest->audits.earned_ns -= NS_PER_S;
	cycles(1);
	cr_assert_gt(fake.looks, looks);
}

GUEST_TEST(audit_of_more_than_can_be_told_is_bounded)
{
	baseline();
	for (size_t i = 0; i < AUDIT_DIFFERENCES_MAX + 8; i++)
		fake.records[i] = i + 1;
	fake.record_count = AUDIT_DIFFERENCES_MAX + 8;
	cycles(2);
	cr_assert_eq(events_of("integrity.violation"), AUDIT_DIFFERENCES_MAX);
}

GUEST_TEST(audits_begin_anew_with_each_boot)
{
	baseline();
	fake.records[0] = 1;
	fake.record_count = 1;
	cycles(1);
	cr_assert_eq(events_of("integrity.violation"), 1);
	fake.registers[0].cr0 = 0x60000010;
	pushed(0, KA_CHANGED_CR0);
	boot(0x3400000);
	fake.record_count = 0;
	fake.system_state = 0;
	cycles(2);
	cr_assert_not(guest->audits.prepared);
	fake.system_state = 3;
	cycles(3);
	cr_assert(guest->audits.prepared);
	cr_assert(guest_complete(guest));
	cr_assert_eq(events_of("integrity.restored"), 1);
}

/* ---- MSRs, control and debug registers ------------------------------------------------------ */

static const uint64_t hook = 0xffffffffc0001000;

/* The register that the last event is about. */
static void expect_register(const char *type, const char *name, json_int_t vcpu)
{
	json_t *event = last_event(type, 0);

	cr_assert_str_eq(text_at(event, "object", "register"), name);
	cr_assert_eq(number_at(event, "object", "vcpu"), vcpu);
}

GUEST_TEST(each_msr_of_system_calls_is_watched_on_each_vcpu)
{
	const struct ka_registers clean[VCPUS] = { fake.registers[0], fake.registers[1] };
	static const char *const names[] = { "lstar",	    "cstar",	    "star",	   "sfmask",
					     "sysenter_cs", "sysenter_esp", "sysenter_eip" };
	size_t told = 0;

	baseline();
	for (unsigned int v = 0; v < VCPUS; v++) {
		struct ka_registers *r = &fake.registers[v];
		uint64_t *msrs[] = { &r->lstar,	      &r->cstar,	&r->star,	 &r->sfmask,
				     &r->sysenter_cs, &r->sysenter_esp, &r->sysenter_eip };

		for (size_t i = 0; i < array_size(msrs); i++) {
			*msrs[i] ^= 0x40;
			cycles(1);
			cr_assert_eq(events_of("integrity.violation"), ++told);
			expect_register("integrity.violation", names[i], v);
			*r = clean[v];
			cycles(1);
			cr_assert_eq(events_of("integrity.restored"), told);
			expect_register("integrity.restored", names[i], v);
		}
	}
}

GUEST_TEST(hooked_entry_says_where_it_leads)
{
	json_t *event;

	baseline();
	fake.registers[1].lstar = hook;
	cycles(1);
	event = violation(1, "msr", -1, 1);
	cr_assert_str_eq(text_at(event, "check", "id"), "KVMBPF-MSR-001");
	cr_assert_str_eq(text_at(event, "expected", "symbol"), "entry_SYSCALL_64");
	cr_assert_str_eq(text_at(event, "observed", "symbol"), "unknown");
	cr_assert_str_eq(json_string_value(json_object_get(event, "severity")), "critical");
	cycles(3);
	violation(1, "msr", -1, 1);
}

GUEST_TEST(entry_that_was_hooked_before_it_was_seen_is_told_by_its_symbol)
{
	fake.registers[0].lstar = fake.registers[1].lstar = hook;
	cycles(3);
	cr_assert_eq(events_of("integrity.violation"), 2);
	cr_assert_str_eq(text_at(last_event("integrity.violation", 0), "expected", "symbol"),
			 "entry_SYSCALL_64");
}

GUEST_TEST(vcpu_that_is_unlike_the_first_from_the_start_is_told)
{
	fake.registers[1].sfmask = 0x47700;
	cycles(3);
	violation(1, "msr", -1, 1);
	expect_register("integrity.violation", "sfmask", 1);
}

GUEST_TEST(entries_that_a_kernel_does_not_use_are_no_hooks)
{
	for (unsigned int v = 0; v < VCPUS; v++) {
		fake.registers[v].cstar = 0;
		fake.registers[v].sysenter_cs = fake.registers[v].sysenter_esp =
			fake.registers[v].sysenter_eip = 0;
	}
	baseline();
	cycles(2);
	cr_assert_eq(events_of("integrity.violation"), 0);
	fake.registers[0].cstar = hook;
	cycles(1);
	violation(1, "msr", -1, 0);
}

GUEST_TEST(of_an_amd_cpus_sysenter_the_low_half_counts)
{
	for (unsigned int v = 0; v < VCPUS; v++) {
		fake.registers[v].flags = KA_REGISTERS_SYSENTER_LOW;
		fake.registers[v].sysenter_eip &= UINT32_MAX;
	}
	baseline();
	/* As after a migration: KVM keeps no more. */
	fake.registers[0].sysenter_esp &= UINT32_MAX;
	cycles(2);
	cr_assert_eq(events_of("integrity.violation"), 0);
	fake.registers[0].sysenter_eip += 0x40;
	cycles(1);
	violation(1, "msr", -1, 0);
}

GUEST_TEST(msrs_that_the_host_does_not_tell_are_unobservable)
{
	const struct coverage *coverage;

	for (unsigned int v = 0; v < VCPUS; v++) {
		fake.registers[v].flags = KA_REGISTERS_NO_MSRS;
		fake.registers[v].star = fake.registers[v].cstar = 0;
	}
	baseline();
	cycles(2);
	coverage = &guest->vcpus[0].coverage[CHECK_MSR];
	cr_assert_eq(coverage->state, COVERAGE_UNOBSERVABLE);
	cr_assert(coverage->reason);
	cr_assert_eq(events_of("integrity.violation"), 0);
	cr_assert(!guest_complete(guest));
}

/* KVM in the guest leaves its own guest's MSRs in the CPU until it returns to its VMM. */
GUEST_TEST(msrs_are_lent_to_the_guests_own_vms_until_it_is_in_user_mode)
{
	const uint64_t vmxe = 1 << 13;

	for (unsigned int v = 0; v < VCPUS; v++)
		fake.registers[v].cr4 |= vmxe;
	fake.registers[1].sfmask = 0x4700; /* another system's */
	fake.registers[0].cpl = 3;
	baseline();
	fake.registers[0].cpl = 0;
	fake.registers[0].lstar = fake.registers[1].lstar = 0xfffff80312345678;
	cycles(3);
	cr_assert_eq(events_of("integrity.violation"), 0);
	cr_assert_eq(guest->vcpus[0].coverage[CHECK_MSR].state, COVERAGE_SAMPLED);
	/* Back in user mode they are its own, and a hook would show. */
	fake.registers[1].sfmask = 0x257fd5;
	fake.registers[1].cpl = 3;
	fake.registers[1].lstar = link_text + fake.slide + 0x80;
	cycles(2);
	cr_assert_eq(events_of("integrity.violation"), 0);
	fake.registers[0].cpl = 3;
	cycles(1);
	violation(1, "msr", -1, 0);
}

GUEST_TEST(hook_of_an_entry_between_two_cycles_is_pushed)
{
	uint64_t clean = fake.registers[0].lstar;

	baseline();
	fake.registers[0].lstar = hook;
	pushed(0, KA_CHANGED_LSTAR);
	expect_register("integrity.violation", "lstar", 0);
	fake.registers[0].lstar = clean;
	pushed(0, KA_CHANGED_LSTAR);
	cr_assert_eq(events_of("integrity.restored"), 1);
	cycles(2);
	cr_assert_eq(events_of("integrity.violation"), 1);
}

GUEST_TEST(lost_guards_of_the_kernel_are_told_by_name)
{
	json_t *event, *lost;

	baseline();
	fake.registers[1].cr4 &= ~0x100000ull;
	pushed(1, KA_CHANGED_CR4);
	event = violation(1, "control_register", -1, 1);
	expect_register("integrity.violation", "cr4", 1);
	lost = json_object_get(json_object_get(event, "observed"), "lost");
	cr_assert_eq(json_array_size(lost), 1);
	cr_assert_str_eq(json_string_value(json_array_get(lost, 0)), "SMEP");
	fake.registers[1].cr4 |= 0x100000;
	pushed(1, KA_CHANGED_CR4);
	cr_assert_eq(events_of("integrity.restored"), 1);
	/* System calls that fault, for whoever handles that; data that can be executed. */
	fake.registers[0].efer &= ~1ull;
	cycles(1);
	expect_register("integrity.violation", "efer", 0);
	fake.registers[0].efer = 0x501;
	cycles(1);
	lost = json_object_get(json_object_get(last_event("integrity.violation", 0), "observed"),
			       "lost");
	cr_assert_str_eq(json_string_value(json_array_get(lost, 0)), "NXE");
}

GUEST_TEST(bits_that_come_and_go_are_no_violation)
{
	baseline();
	for (unsigned int bit = 0; bit < 32; bit++) {
		if (bit == 11 || bit == 16 || bit == 20 || bit == 21 || bit == 23 || bit == 13)
			continue;
		fake.registers[0].cr4 ^= 1ull << bit;
		pushed(0, KA_CHANGED_CR4);
		cycles(1);
		fake.registers[0].cr4 ^= 1ull << bit;
	}
	fake.registers[0].cr0 ^= 1 << 3 | 1 << 30; /* TS, CD */
	cycles(1);
	/* Guards that are switched on. */
	fake.registers[0].cr4 |= 1 << 11;
	cycles(2);
	cr_assert_eq(events_of("integrity.violation"), 0);
}

GUEST_TEST(guard_that_was_lost_before_it_was_seen_is_told_by_what_the_kernel_pinned)
{
	fake.cr4_pinned_bits = 0x300000;
	fake.registers[0].cr4 &= ~0x200000ull;
	cycles(3);
	violation(1, "control_register", -1, 0);
}

GUEST_TEST(breakpoints_in_the_kernel_are_told_and_others_are_not)
{
	json_t *event;

	baseline();
	fake.registers[0].dr[0] = link_text + fake.slide + 0x10000;
	fake.registers[0].dr[1] = 0x7f0012345678;
	fake.registers[0].dr7 = 0x400 | 1 << 2; /* the second one, of a debugger in the guest */
	cycles(2);
	cr_assert_eq(events_of("integrity.violation"), 0);
	fake.registers[0].dr7 |= 1 << 1;
	cycles(1);
	event = violation(1, "debug_register", -1, 0);
	expect_register("integrity.violation", "dr0", 0);
	cr_assert_str_eq(text_at(event, "observed", "access"), "execute");
	cr_assert_str_eq(text_at(event, "observed", "symbol"), "__x64_sys_0");
	cr_assert_str_eq(json_string_value(json_object_get(event, "severity")), "high");
	/* One on data, as perf(1) and kgdb set them, weighs less. */
	fake.registers[0].dr7 |= 13 << 16;
	cycles(1);
	event = last_event("integrity.violation", 0);
	cr_assert_str_eq(text_at(event, "observed", "access"), "write");
	cr_assert_eq(number_at(event, "observed", "length"), 4);
	cr_assert_str_eq(json_string_value(json_object_get(event, "severity")), "medium");
	fake.registers[0].dr7 = 0x400;
	cycles(1);
	cr_assert_eq(events_of("integrity.restored"), 1);
}

GUEST_TEST(registers_are_held_against_the_store_by_a_monitor_that_comes_again)
{
	baseline();
	guest_free(guest);
	fake.registers[0].sfmask = fake.registers[1].sfmask = 0;
	fake.registers[1].cr4 &= ~0x200000ull;
	guest_start();
	cycles(3);
	cr_assert_eq(events_of("integrity.violation"), 3);
}

/* Without symbols nobody knows what should stand there, only that it stays. */
GUEST_TEST(registers_of_an_unknown_kernel_are_held_against_what_they_were)
{
	watch.symbols_count = 0;
	for (unsigned int v = 0; v < VCPUS; v++) {
		fake.registers[v].lstar = 0xfffff80012345600 + v;
		fake.registers[v].star = 0x23001000000000 + v;
	}
	for (int i = 0; i < 30 && guest->phase != GUEST_WATCHED; i++) {
		guest->still_since_ns = 1;
		cycles(1);
	}
	cr_assert_eq(guest->phase, GUEST_WATCHED);
	cr_assert_eq(events_of("integrity.violation"), 0);
	fake.registers[1].lstar += 0x1000;
	cycles(1);
	violation(1, "msr", -1, 1);
}
