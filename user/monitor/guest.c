// SPDX-License-Identifier: LGPL-2.1-or-later
/* The life of a watched VM: waiting for its kernel, watching it, noticing that it boots again. */
#include "guest.h"

#include "check_cr0wp.h"
#include "clock.h"
#include "report.h"
#include "../access/prefetch.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PREFETCHED_VCPUS = 4 };
/* Between two searches for a kernel that was not found in time. */
enum { LATE_CYCLES = 60 };
/* From a reboot's last instructions in paging mode to the reset itself, on an emulated host too. */
#define HELD_NS (300 * 1000 * 1000ull)
/* From a kexec's empty tables to those that tell the next kernel. */
#define NEXT_KERNEL_NS (60 * NS_PER_S)
/* More of them within a second are counted only: a guest can push as fast as it can exit. */
enum { PUSHES_PER_SECOND = 128 };

/* The UUID, or where the VMM gives none an id of this process on this host. */
static void id_make(struct guest *guest)
{
	unsigned char hash[16];
	char text[128];

	if (strlen(guest->info.uuid) == TEXT_UUID_MAX - 1) {
		snprintf(guest->id, sizeof(guest->id), "%s", guest->info.uuid);
		return;
	}
	snprintf(text, sizeof(text), "%s\n%s\n%d\n%" PRIu64 "\n%d", guest->watch->stream->host.id,
		 guest->watch->stream->host.boot_id, (int)guest->info.pid, guest->info.start_ticks,
		 guest->info.fd);
	crypto_generichash(hash, sizeof(hash), (unsigned char *)text, strlen(text), NULL, 0);
	text_uuid8(guest->id, hash);
}

int guest_new(const struct watch *watch, struct ka_vm *vm, struct guest **ret_guest)
{
	struct guest *guest = calloc(1, sizeof(*guest));
	int r;

	if (!guest) {
		ka_close(vm);
		return -ENOMEM;
	}
	guest->watch = watch;
	guest->vm = vm;
	guest->info = *ka_vm_info(vm);
	guest->appeared_mono_ns = clock_mono();
	guest->table_reason = "the guest's kernel was not found yet";
	id_make(guest);
	/* Not those of all guests at once. */
	guest->late_cycle = guest->info.key % LATE_CYCLES;
	policy_find(watch->config, &guest->info, &guest->policy);
	r = guest_scan_registers(guest);
	if (r == -EOWNERDEAD || r == -ENOMEM) {
		guest_free(guest);
		return r;
	}
	report_discovered(guest);
	*ret_guest = guest;
	return 0;
}

static void prefetch_vcpu(const struct guest_vcpu *vcpu, enum guest_ahead ahead)
{
	if (ahead == AHEAD_VCPUS) {
		prefetch(vcpu, offsetof(struct guest_vcpu, held));
		return;
	}
	prefetch(vcpu->gdt_expected.bytes, vcpu->gdt_expected.len);
	prefetch(vcpu->gdt_accepted.bytes, vcpu->gdt_accepted.len);
	prefetch(vcpu->gdt.bytes, vcpu->gdt.len);
	prefetch(vcpu->idt_expected.bytes, vcpu->idt_expected.len);
}

void guest_prefetch(const struct guest *guest, enum guest_ahead ahead, bool rests)
{
	if (rests) {
		if (ahead == AHEAD_GUEST)
			prefetch(guest, offsetof(struct guest, vcpus));
		return;
	}
	if (ahead == AHEAD_GUEST) {
		prefetch(guest, offsetof(struct guest, text.start));
		return;
	}
	if (ahead == AHEAD_VCPUS) {
		prefetch(guest->registers, sizeof(*guest->registers));
		prefetch(guest->reader.pieces, 4 * sizeof(*guest->reader.pieces));
	}
	ka_vm_prefetch(guest->vm, ahead - AHEAD_BYTES);
	for (size_t i = 0; i < guest->vcpu_count && i < PREFETCHED_VCPUS; i++)
		prefetch_vcpu(&guest->vcpus[i], ahead);
}

void guest_relabel(struct guest *guest)
{
	if (!ka_vm_relabel(guest->vm))
		memcpy(guest->info.labels, ka_vm_info(guest->vm)->labels, KA_LABELS_MAX);
}

void guest_configure(struct guest *guest)
{
	const struct policy before = guest->policy;
	bool audits_same;

	guest_unseal(guest);
	policy_find(guest->watch->config, &guest->info, &guest->policy);
	guest->next_ns = 0;
	audits_same = !memcmp(before.off + VCPU_CHECKS, guest->policy.off + VCPU_CHECKS,
			      AUDITS * sizeof(before.off[0]));
	for (size_t i = 0; i < guest->vcpu_count; i++)
		for (int check = 0; check < VCPU_CHECKS; check++)
			guest->vcpus[i].coverage[check].off = guest->policy.off[check];
	if (!audits_same)
		guest_audits_drop(guest);
}

void guest_free(struct guest *guest)
{
	if (!guest)
		return;
	for (size_t i = 0; i < guest->vcpu_count; i++) {
		free(guest->vcpus[i].gdt_expected.bytes);
		free(guest->vcpus[i].gdt_accepted.bytes);
		free(guest->vcpus[i].gdt.bytes);
		free(guest->vcpus[i].idt_expected.bytes);
		free(guest->vcpus[i].idt.bytes);
	}
	for (int t = 0; t < SYSCALL_TABLES; t++)
		free(guest->table[t].expected.bytes);
	free(guest->vcpus);
	free(guest->registers);
	reader_deinit(&guest->reader);
	finding_table_deinit(&guest->findings);
	guest_reference_drop(guest);
	fold_table_deinit(&guest->folds);
	guest_audits_drop(guest);
	guest_modules_drop(&guest->modules);
	ka_symbols_free(guest->own_symbols);
	ka_close(guest->vm);
	free(guest);
}

/* Out of paging for good: real mode, as after a reset or INIT. A nested guest's CR0 says nothing.
 */
static bool paging_off(const struct ka_registers *registers)
{
	return !(registers->cr0 & CR0_PG) &&
	       !(registers->flags &
		 (KA_REGISTERS_NESTED | KA_REGISTERS_SMM | KA_REGISTERS_ENCRYPTED));
}

static bool register_empty(const struct ka_table_register *reg)
{
	return !reg->base && !reg->limit;
}

/* What a kernel does last: idt_invalidate() before a triple fault or kexec. Nothing can be hooked
 * by an empty table, so this is no finding; but it is not clean either. */
static bool tables_emptied(const struct ka_registers *registers)
{
	if (registers->flags & KA_REGISTERS_NO_VMCS)
		return false;
	return register_empty(&registers->idtr) || register_empty(&registers->gdtr);
}

/* User space, or in a 32-bit kernel the first megabyte. */
static bool below_kernel(const struct ka_registers *registers, uint64_t gva)
{
	return ka_long_mode(registers) ? !(gva >> 63) : gva < 1 << 20;
}

static void note_power(struct guest *guest, struct guest_vcpu *vcpu)
{
	if (!paging_off(&vcpu->registers))
		return;
	if (vcpu == &guest->vcpus[0])
		guest->reset_seen = true;
	else if (vcpu->phase == VCPU_JUDGED)
		vcpu->phase = VCPU_SETTLING;
	vcpu->still = 0;
}

static void stale_all(struct guest *guest, const char *reason)
{
	guest_cover_vcpus(guest, COVERAGE_STALE, reason, clock_real());
}

static bool first_vcpu_moved(const struct guest *guest)
{
	const struct guest_vcpu *vcpu = &guest->vcpus[0];

	if (vcpu->usable)
		return false;
	for (int t = 0; t < SYSCALL_TABLES; t++)
		if (guest->table[t].known && guest->table[t].observed.error)
			return true;
	return vcpu_error(vcpu) || vcpu->registers.lstar != guest->kernel_lstar ||
	       !view_same_place(&vcpu->gdt, &vcpu->gdt_expected) ||
	       !view_same_place(&vcpu->idt, &vcpu->idt_expected);
}

/* Symbols are found only now: the baseline that was made without them is made again. */
static bool kernel_found_late(struct guest *guest)
{
	if (guest->kernel.symbols || guest->findings.count || guest->cycles < guest->late_cycle)
		return false;
	guest->late_cycle = guest->cycles + LATE_CYCLES;
	/* What has changed by then belongs to the old baseline. */
	return guest_kernel_found(guest) && !guest_scan(guest) && !guest_differs(guest);
}

/* Still where hold_trampoline() saw it, which is not judged yet. */
static bool in_trampoline(const struct guest_vcpu *vcpu)
{
	return vcpu->held_changed && (below_kernel(&vcpu->registers, vcpu->registers.gdtr.base) ||
				      below_kernel(&vcpu->registers, vcpu->registers.idtr.base));
}

/*
 * Emptied tables are those of a kernel that ends. The early ones of the next, after a kexec, are
 * not told from an attack, so nothing is judged until all is as before, or the next kernel is
 * found, or took too long.
 */
static int watch_read(struct guest *guest)
{
	int r = guest_scan(guest);
	uint64_t now = clock_mono();
	bool emptied = false;

	guest->going_down = false;
	for (size_t i = 0; i < guest->vcpu_count; i++) {
		const struct guest_vcpu *vcpu = &guest->vcpus[i];

		if (vcpu->usable || vcpu->phase != VCPU_JUDGED)
			continue;
		emptied |= tables_emptied(&vcpu->registers);
		guest->going_down |= in_trampoline(vcpu);
	}
	if (emptied)
		guest->emptied_ns = now;
	else if (now - guest->emptied_ns > NEXT_KERNEL_NS || (!r && !guest_differs(guest)))
		guest->emptied_ns = 0;
	guest->going_down |= guest->emptied_ns != 0;
	return r;
}

/* Held for long enough: no reset followed, so it was no reboot. */
static void judge_held(struct guest *guest)
{
	uint64_t now = clock_mono();

	for (size_t i = 0; i < guest->vcpu_count; i++) {
		struct guest_vcpu *vcpu = &guest->vcpus[i];
		struct ka_registers registers = vcpu->registers;

		if (!vcpu->held_changed || now - vcpu->held_since_ns < HELD_NS)
			continue;
		vcpu->registers = vcpu->held;
		vcpu->paging = ka_paging(&vcpu->held);
		if (vcpu->phase == VCPU_JUDGED)
			guest_judge_pushed(guest, vcpu, vcpu->held_changed);
		vcpu->held_changed = 0;
		vcpu->registers = registers;
		vcpu->paging = ka_paging(&registers);
	}
}

/*
 * A write that is tracked tells who wrote: where one may be behind this difference, and is not told
 * yet, it goes first, and a cycle follows.
 */
static bool wait_for_writes(struct guest *guest)
{
	guest->writes_first = guest->range_count && !guest->findings.count && !guest->writes_first;
	guest->check_now |= guest->writes_first;
	return guest->writes_first;
}

static int watch_cycle(struct guest *guest)
{
	int r;

	judge_held(guest);
	r = watch_read(guest);
	/* A torn read, or registers and page tables of different moments: the second read decides.
	 */
	if (!r && guest_differs(guest)) {
		if (wait_for_writes(guest))
			return 0;
		r = guest_scan_registers(guest);
		if (!r)
			r = watch_read(guest);
		if (!r && (guest->going_down || first_vcpu_moved(guest)) &&
		    guest_kernel_replaced(guest)) {
			bool announced = guest->going_down;

			guest_wait_for_boot(guest);
			guest->unannounced = !announced;
			guest_record(guest);
			return 0;
		}
	}
	guest->writes_first = false;
	if (r < 0) {
		stale_all(guest, scan_reason(r));
		return r;
	}
	if (guest->going_down) {
		stale_all(guest, "the kernel has left its GDT or IDT: it goes down");
		return 0;
	}
	for (size_t i = 0; i < guest->vcpu_count; i++)
		if (guest->vcpus[i].phase != VCPU_JUDGED)
			guest_record_vcpu(guest, &guest->vcpus[i]);
	guest_judge(guest);
	return 0;
}

/* What is looked at apart from what a scan reads. */
static void cycle_end(struct guest *guest, uint64_t begin)
{
	guest_audit(guest);
	guest_track(guest);
	guest_text_soon(guest);
	guest->complete = guest_complete(guest);
	guest->blind = guest_blind(guest);
	guest->cycle_us = (clock_mono() - begin) / NS_PER_US;
	report_coverage(guest);
}

/* Nothing that a scan would read has changed. */
static void cycle_at_rest(struct guest *guest)
{
	const struct ka_text *text = guest->text.text;
	uint64_t begin;

	guest_rest(guest, 1);
	guest->seal.rested = true;
	guest->soon_ns = 0;
	guest->cycle_us = 0;
	if (guest_is_all_sealed(guest))
		return;
	begin = clock_mono();
	guest_settle(guest);
	guest_text_first(guest);
	if (guest->text.text != text || guest->text.taking.bytes)
		guest_unseal(guest);
	cycle_end(guest, begin);
}

int guest_cycle(struct guest *guest, enum seal_state seal)
{
	uint64_t begin, begin_real, judged = guest->judged;
	int r;

	if (seal == SEAL_INTACT && guest_may_rest(guest)) {
		cycle_at_rest(guest);
		return 0;
	}
	begin = clock_mono();
	begin_real = clock_real();
	guest_settle(guest);
	guest->seal.rested = false;
	guest->check_now = false;
	guest->soon_ns = 0;
	guest->cycles++;
	r = guest_scan_registers(guest);
	if (r < 0) {
		guest_unseal(guest);
		stale_all(guest, scan_reason(r));
		guest->complete = guest_complete(guest);
		guest->blind = guest_blind(guest);
		report_coverage(guest);
		return r;
	}
	for (size_t i = 0; guest->phase == GUEST_WATCHED && i < guest->vcpu_count; i++)
		if (guest->vcpus[i].present)
			note_power(guest, &guest->vcpus[i]);
	if (guest->phase == GUEST_WATCHED && guest->reset_seen)
		guest_wait_for_boot(guest);
	if (guest->phase == GUEST_WATCHED && kernel_found_late(guest)) {
		guest_wait_for_boot(guest);
		guest->same_boot = true;
	}
	if (guest->phase == GUEST_WATCHED) {
		r = watch_cycle(guest);
		if (!r && guest->phase == GUEST_WATCHED && !guest->going_down)
			guest_text_first(guest);
	} else {
		guest_record(guest);
	}
	if (guest->judged == judged)
		guest_unseal(guest);
	else
		guest_seal(guest, seal, begin_real);
	cycle_end(guest, begin);
	return r == -EOWNERDEAD ? r : 0;
}

/*
 * The last thing that a rebooting kernel does in paging mode is to load the GDT of its real-mode
 * trampoline, at its physical address (arch/x86/realmode/rm/reboot.S). A change to a table below
 * the kernel's half waits for the cycle after, which a reset makes needless.
 */
static void hold_trampoline(struct guest_vcpu *vcpu, uint32_t *changed)
{
	const uint32_t tables = *changed & (KA_CHANGED_GDTR | KA_CHANGED_IDTR);
	const struct ka_registers *r = &vcpu->registers;

	if (!tables || !(below_kernel(r, r->gdtr.base) || below_kernel(r, r->idtr.base)))
		return;
	*changed &= ~tables;
	if (!vcpu->held_changed) {
		vcpu->held = *r;
		vcpu->held_since_ns = clock_mono();
	}
	vcpu->held_changed |= tables;
}

static bool push_allowed(struct guest *guest, const struct guest_vcpu *vcpu, uint32_t changed)
{
	uint64_t now = clock_mono();

	if (!(changed & (KA_CHANGED_CR0 | KA_CHANGED_GDTR | KA_CHANGED_IDTR)) &&
	    !guest_registers_pushed(vcpu, changed))
		return true;
	if (now - guest->pushes_since_ns >= NS_PER_S) {
		guest->pushes_since_ns = now;
		guest->pushes = 0;
	}
	return ++guest->pushes <= PUSHES_PER_SECOND;
}

/* False: what was pushed is not known to be in order. */
static bool push_judge(struct guest *guest, struct guest_vcpu *vcpu, uint32_t changed)
{
	if (vcpu->phase != VCPU_JUDGED || guest->reset_seen || guest->going_down ||
	    ka_registers_usable(&vcpu->registers))
		return false;
	if (tables_emptied(&vcpu->registers)) {
		guest->going_down = true;
		guest->emptied_ns = clock_mono();
		return false;
	}
	if (!push_allowed(guest, vcpu, changed))
		return false;
	vcpu->long_mode = ka_long_mode(&vcpu->registers);
	hold_trampoline(vcpu, &changed);
	guest_judge_pushed(guest, vcpu, changed);
	return true;
}

void guest_push(struct guest *guest, const struct ka_registers *registers, uint32_t changed)
{
	struct guest_vcpu *vcpu = NULL;

	for (size_t i = 0; i < guest->vcpu_count; i++)
		if (guest->vcpus[i].id == registers->vcpu)
			vcpu = &guest->vcpus[i];
	if (!vcpu || guest->phase != GUEST_WATCHED || registers->time_ns < guest->recorded_mono_ns)
		return;
	guest_unseal(guest);
	vcpu->registers = *registers;
	vcpu->paging = ka_paging(registers);
	note_power(guest, vcpu);
	if (!push_judge(guest, vcpu, changed))
		vcpu->push_missed = true;
}

bool guest_settled(const struct guest *guest)
{
	return guest->judged && !guest_audits_wait(guest);
}

bool guest_complete(const struct guest *guest)
{
	for (size_t i = 0; i < guest->vcpu_count; i++)
		for (int check = 0; check < VCPU_CHECKS; check++)
			if (!guest->policy.off[check] && guest_has_check(guest, check) &&
			    !coverage_seen(guest->vcpus[i].coverage[check].state))
				return false;
	return guest->vcpu_count && guest_audits_complete(guest);
}

bool guest_blind(const struct guest *guest)
{
	for (size_t i = 0; i < guest->vcpu_count; i++)
		for (int check = 0; check < VCPU_CHECKS; check++)
			if (coverage_seen(guest->vcpus[i].coverage[check].state))
				return false;
	return true;
}
