// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reads the registers and tables of a guest: everything of a cycle in one ka_readv(). */
#include "guest.h"

#include "check_cr0wp.h"
#include "cleanup.h"

#include <errno.h>
#include <string.h>

enum { GDT_USUAL_BYTES = 256, VIEWS_PER_VCPU = 2 + SYSCALL_TABLES };

const char scan_no_vmcs[] = "is in the VMCS, and the kernel module kvmbpf_helper is not loaded";

const char *scan_reason(int error)
{
	switch (error) {
	case -EFAULT:
		return "not mapped by the guest's page tables";
	case -ENXIO:
		return "no RAM behind the guest's page tables there";
	case -EBADMSG:
		return "reserved bits set in the guest's page tables";
	case -EINVAL:
		return "the register holds no canonical address";
	case -EAGAIN:
		return "not readable now: nested guest, SMM, or not in the kernel's paging mode";
	case -ETIMEDOUT:
		return "the VMM is to bring this memory itself (userfaultfd), and did not in time";
	case -EOPNOTSUPP:
		return "not readable on this host or guest: encrypted, or a missing feature";
	case -EPERM:
		return "not permitted on this host";
	default:
		return "not readable";
	}
}

static int view_reserve(struct view *view, uint32_t capacity)
{
	uint8_t *bytes;

	if (capacity <= view->capacity)
		return 0;
	bytes = realloc(view->bytes, capacity);
	if (!bytes)
		return -ENOMEM;
	memset(bytes + view->capacity, 0, capacity - view->capacity);
	view->bytes = bytes;
	view->capacity = capacity;
	return 0;
}

static int gdt_reserve(struct guest_vcpu *vcpu, uint32_t capacity)
{
	struct view *views[] = { &vcpu->gdt_expected, &vcpu->gdt_accepted, &vcpu->gdt };

	for (size_t i = 0; i < array_size(views); i++)
		if (view_reserve(views[i], capacity) < 0)
			return -ENOMEM;
	return 0;
}

static struct guest_vcpu *vcpu_find(struct guest *guest, unsigned int id)
{
	for (size_t i = 0; i < guest->vcpu_count; i++)
		if (guest->vcpus[i].id == id)
			return &guest->vcpus[i];
	return NULL;
}

/* Keeps vCPUs in the order of their ids: the first is the one that boots. */
static int vcpu_add(struct guest *guest, unsigned int id)
{
	struct guest_vcpu *vcpus, vcpu = { .id = id, .usable = -EAGAIN };
	size_t at = guest->vcpu_count;

	for (int check = 0; check < VCPU_CHECKS; check++)
		vcpu.coverage[check].off = guest->policy.off[check];
	vcpus = reallocarray(guest->vcpus, guest->vcpu_count + 1, sizeof(*vcpus));
	if (!vcpus)
		return -ENOMEM;
	guest->vcpus = vcpus;
	if (reader_reserve(&guest->reader, (at + 1) * VIEWS_PER_VCPU + SYSCALL_TABLES + 1) < 0 ||
	    gdt_reserve(&vcpu, GDT_USUAL_BYTES) < 0 ||
	    view_reserve(&vcpu.idt_expected, VIEW_IDT_BYTES) < 0 ||
	    view_reserve(&vcpu.idt, VIEW_IDT_BYTES) < 0) {
		free(vcpu.gdt_expected.bytes);
		free(vcpu.gdt_accepted.bytes);
		free(vcpu.gdt.bytes);
		free(vcpu.idt_expected.bytes);
		free(vcpu.idt.bytes);
		return -ENOMEM;
	}
	for (; at && vcpus[at - 1].id > id; at--)
		vcpus[at] = vcpus[at - 1];
	vcpus[at] = vcpu;
	guest->info.vcpus = (unsigned int)++guest->vcpu_count;
	return 0;
}

static int registers_reserve(struct guest *guest, size_t max)
{
	struct ka_registers *registers;

	registers = reallocarray(guest->registers, max, sizeof(*registers));
	if (!registers)
		return -ENOMEM;
	guest->registers = registers;
	guest->registers_max = max;
	return 0;
}

static int registers_read(struct guest *guest, size_t *ret_count)
{
	size_t count = 0;
	int r;

	for (;;) {
		r = ka_registers_read_all(guest->vm, guest->registers, guest->registers_max,
					  &count);
		if (r < 0)
			return r;
		/* A full array may be one that was too short. */
		if (count < guest->registers_max)
			break;
		r = registers_reserve(guest, guest->registers_max ? guest->registers_max * 2 : 8);
		if (r < 0)
			return r;
	}
	*ret_count = count;
	return 0;
}

int guest_scan_registers(struct guest *guest)
{
	size_t count = 0;
	int r = registers_read(guest, &count);

	for (size_t i = 0; i < guest->vcpu_count; i++) {
		guest->vcpus[i].present = false;
		guest->vcpus[i].usable = -EAGAIN;
	}
	for (size_t i = 0; !r && i < count; i++) {
		const struct ka_registers *registers = &guest->registers[i];
		struct guest_vcpu *vcpu = vcpu_find(guest, registers->vcpu);

		if (!vcpu) {
			r = vcpu_add(guest, registers->vcpu);
			if (r < 0)
				break;
			vcpu = vcpu_find(guest, registers->vcpu);
		}
		vcpu->present = true;
		vcpu->registers = *registers;
		vcpu->usable = ka_registers_usable(registers);
		vcpu->paging = ka_paging(registers);
		vcpu->long_mode = ka_long_mode(registers);
	}
	return r;
}

static uint32_t table_bytes(uint32_t limit, uint32_t max)
{
	return limit < max ? limit + 1 : max;
}

/* The vCPU whose IDT the others share, if it can be read now. */
static struct guest_vcpu *idt_leader(struct guest *guest)
{
	for (size_t i = 0; i < guest->vcpu_count; i++)
		if (!guest->vcpus[i].usable && guest->vcpus[i].idt_shared)
			return &guest->vcpus[i];
	return NULL;
}

static void aim_vcpu(struct guest *guest, struct guest_vcpu *vcpu)
{
	const struct ka_registers *registers = &vcpu->registers;

	/* A limit that grows once there is a baseline is a finding of its own, not a reason to read
	 * more. */
	if (vcpu->phase != VCPU_JUDGED && registers->gdtr.limit >= vcpu->gdt.capacity)
		gdt_reserve(vcpu, VIEW_GDT_BYTES);
	view_aim(&vcpu->gdt, registers->gdtr.base, registers->gdtr.limit,
		 table_bytes(registers->gdtr.limit, VIEW_GDT_BYTES));
	if (!vcpu_tables_known(vcpu))
		vcpu->gdt.error = -EOPNOTSUPP;
	view_aim(&vcpu->idt, registers->idtr.base, registers->idtr.limit,
		 table_bytes(registers->idtr.limit, VIEW_IDT_BYTES));
	for (int i = 0; i < SYSCALL_TABLES; i++) {
		const struct guest_table *table = &guest->table[i];

		vcpu->table[i].len = 0;
		if (!table->known)
			continue;
		vcpu->table[i].capacity = UINT32_MAX; /* translated only, never read */
		view_aim(&vcpu->table[i], table->where.gva, 0, table->observed.len);
	}
}

static void add_all(struct guest *guest)
{
	const struct guest_vcpu *leader = idt_leader(guest);

	reader_begin(&guest->reader);
	for (size_t i = 0; i < guest->vcpu_count; i++) {
		struct guest_vcpu *vcpu = &guest->vcpus[i];

		if (vcpu->usable)
			continue;
		aim_vcpu(guest, vcpu);
		if (vcpu_tables_known(vcpu))
			reader_add(&guest->reader, &vcpu->gdt, &vcpu->paging, true);
		reader_add(&guest->reader, &vcpu->idt, &vcpu->paging,
			   !vcpu->idt_shared || vcpu == leader);
		for (int t = 0; t < SYSCALL_TABLES; t++)
			if (guest->table[t].known)
				reader_add(&guest->reader, &vcpu->table[t], &vcpu->paging, false);
	}
	for (int t = 0; t < SYSCALL_TABLES; t++)
		if (guest->table[t].known)
			reader_add(&guest->reader, &guest->table[t].observed, &guest->kernel.paging,
				   true);
	guest->scanned = guest->reader.count;
	guest_text_add(guest);
}

static void collect_all(struct guest *guest)
{
	for (size_t i = 0; i < guest->vcpu_count; i++) {
		struct guest_vcpu *vcpu = &guest->vcpus[i];

		if (vcpu->usable)
			continue;
		if (vcpu_tables_known(vcpu))
			reader_collect(&guest->reader, &vcpu->gdt);
		reader_collect(&guest->reader, &vcpu->idt);
		for (int t = 0; t < SYSCALL_TABLES; t++)
			if (guest->table[t].known)
				reader_collect(&guest->reader, &vcpu->table[t]);
	}
	for (int t = 0; t < SYSCALL_TABLES; t++)
		if (guest->table[t].known)
			reader_collect(&guest->reader, &guest->table[t].observed);
	guest_text_collect(guest);
}

static bool same_frames(const struct view *a, const struct view *b)
{
	return !a->error && !b->error && a->len == b->len && a->pages == b->pages &&
	       !memcmp(a->gpa, b->gpa, a->pages * sizeof(a->gpa[0]));
}

/*
 * A second run for what the first could not give:
 * - the contents of an IDT that is not where the others have theirs;
 * - what the vCPU's CR3 does not map. The CR3 is that of its last exit: the process may be gone
 *   since, and its page tables with it. The kernel's own tables map the same kernel half. What it
 *   maps to where no RAM is (the memory of a device) is no such loss.
 * Returns how many views it asks for.
 */
static unsigned int add_rest(struct guest *guest)
{
	const struct guest_vcpu *leader = idt_leader(guest);
	unsigned int added = 0;

	reader_begin(&guest->reader);
	for (size_t i = 0; i < guest->vcpu_count; i++) {
		struct guest_vcpu *vcpu = &guest->vcpus[i];
		struct view *views[] = { &vcpu->gdt, &vcpu->idt };

		for (size_t v = 0; !vcpu->usable && v < array_size(views); v++) {
			bool lost = views[v]->error && guest->kernel_found && !views[v]->no_ram;
			bool alone = !views[v]->error && !views[v]->contents &&
				     !same_frames(views[v], &leader->idt);

			views[v]->piece = SIZE_MAX;
			if ((!lost && !alone) || (!v && !vcpu_tables_known(vcpu)))
				continue;
			reader_add(&guest->reader, views[v],
				   lost ? &guest->kernel.paging : &vcpu->paging, true);
			added++;
		}
	}
	return added;
}

static void collect_rest(struct guest *guest)
{
	for (size_t i = 0; i < guest->vcpu_count; i++) {
		struct guest_vcpu *vcpu = &guest->vcpus[i];

		if (vcpu->usable)
			continue;
		if (vcpu->gdt.piece != SIZE_MAX)
			reader_collect(&guest->reader, &vcpu->gdt);
		if (vcpu->idt.piece != SIZE_MAX)
			reader_collect(&guest->reader, &vcpu->idt);
	}
}

int guest_scan(struct guest *guest)
{
	int r;

	add_all(guest);
	r = reader_run(&guest->reader, guest->vm);
	if (r < 0)
		return r;
	collect_all(guest);
	if (!add_rest(guest))
		return 0;
	guest->scanned = 0;
	r = reader_run(&guest->reader, guest->vm);
	if (!r)
		collect_rest(guest);
	return r;
}
