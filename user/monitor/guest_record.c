// SPDX-License-Identifier: LGPL-2.1-or-later
/* Decides when a guest's kernel is up, and makes the baseline of its boot. */
#include "guest.h"

#include "check_cr0wp.h"
#include "cleanup.h"
#include "clock.h"
#include "log.h"
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum {
	STILL_READS = 3,
	STILL_READS_UNLIKELY = 10,
	SYSTEM_STATE_MAX = 8,
	STILL_SPACING_MS = 100, /* of the reads that a kernel which runs has to stand still in */
	SEARCHES_EAGER = 8,	/* of a guest's memory, before they become rare */
	SEARCH_CYCLES_EAGER = 2,
	SEARCHES_RARE = 7, /* each after twice the time of the one before */
	REFERENCES_32BIT_MAX = 16,
	SOON_LOOKS_MAX = 20,
};

/* Where 64-bit Linux has its image; other systems' kernels lie elsewhere. */
static const uint64_t linux_image = 0xffffffff80000000;

static const char *const table_objects[SYSCALL_TABLES] = {
	[KA_SYSCALL_NATIVE] = "syscall_table",
	[KA_SYSCALL_IA32] = "syscall_table_ia32",
};

static const enum content_object table_contents[SYSCALL_TABLES] = {
	[KA_SYSCALL_NATIVE] = CONTENT_SYSCALL,
	[KA_SYSCALL_IA32] = CONTENT_SYSCALL_IA32,
};

bool record_is_due(enum kernel_certainty certainty, unsigned int still, uint64_t still_ns)
{
	switch (certainty) {
	case KERNEL_RUNNING:
		return still >= STILL_READS;
	case KERNEL_LIKELY:
		return still >= STILL_READS && still_ns >= 2 * NS_PER_S;
	case KERNEL_UNLIKELY:
		return still >= STILL_READS_UNLIKELY && still_ns >= 10 * NS_PER_S;
	case KERNEL_BOOTING:
		break;
	}
	return false;
}

/* ---- which kernel -------------------------------------------------------------------------- */

/* Read and judged in one cycle, so that one room serves all guests. */
static uint8_t table_room[SYSCALL_TABLES][VIEW_SYSCALL_BYTES];

static void tables_find(struct guest *guest)
{
	guest->table_reason =
		"no symbols for this kernel, neither in its memory nor in a file: give --vmlinux";
	for (int t = 0; t < SYSCALL_TABLES; t++) {
		struct guest_table *table = &guest->table[t];
		int r = guest->kernel.symbols ? 0 : -ENODATA;
		uint32_t bytes;

		table->known = false;
		if (!r)
			r = ka_syscall_table_find(guest->vm, &guest->kernel, t, &table->where);
		if (t == KA_SYSCALL_NATIVE && r < 0 && guest->kernel.symbols)
			guest->table_reason = "no system call table found in this kernel";
		if (r < 0 || !table->where.count || table->where.count > KA_SYSCALLS_MAX ||
		    (table->where.entry_size != 4 && table->where.entry_size != 8))
			continue;
		bytes = table->where.count * table->where.entry_size;
		if (!table->expected.bytes)
			table->expected.bytes = malloc(VIEW_SYSCALL_BYTES);
		table->observed.bytes = table_room[t];
		table->known = table->expected.bytes;
		table->expected.capacity = table->known ? VIEW_SYSCALL_BYTES : 0;
		table->observed.capacity = table->expected.capacity;
		view_aim(&table->expected, table->where.gva, 0, bytes);
		view_aim(&table->observed, table->where.gva, 0, bytes);
	}
}

/* The table ends where guest memory says so, which must not shorten what is known of this build. */
static void tables_lengthen(struct guest *guest)
{
	_cleanup_free_ struct content *content = calloc(1, sizeof(*content));

	if (!content || !guest->kernel.symbols || !guest->kernel.build_id[0] ||
	    store_content_load(guest->watch->store, guest->kernel.build_id, content) < 0)
		return;
	for (int t = 0; t < SYSCALL_TABLES; t++) {
		struct guest_table *table = &guest->table[t];
		uint32_t count = content->count[table_contents[t]];

		if (!table->known || count <= table->where.count || count > KA_SYSCALLS_MAX)
			continue;
		table->where.count = count;
		view_aim(&table->expected, table->where.gva, 0, count * table->where.entry_size);
		view_aim(&table->observed, table->where.gva, 0, count * table->where.entry_size);
	}
}

static bool looks_like_linux(const struct guest_vcpu *vcpu)
{
	return vcpu->long_mode && vcpu->registers.lstar >= linux_image &&
	       vcpu->registers.idtr.base >> 63;
}

/* In vain: the memory of a guest that hides its kernel, or has none, is searched ever less. */
static void search_put_off(struct guest *guest)
{
	unsigned int rare = guest->searches < SEARCHES_EAGER ? 0 : guest->searches - SEARCHES_EAGER;

	if (rare < SEARCHES_RARE)
		guest->searches++;
	guest->search_cycle = guest->cycles + (SEARCH_CYCLES_EAGER << rare);
}

/* Among the files, else with the reference or the symbols that were read from the guest before. */
static int kernel_known(struct guest *guest, struct ka_kernel *ret_kernel)
{
	const struct ka_symbols *own =
		guest->reference ? ka_reference_symbols(guest->reference) : guest->own_symbols;
	int r = ka_kernel_find(guest->vm, guest->watch->symbols, guest->watch->symbols_count,
			       ret_kernel);

	return r == -ENODATA && own ? ka_kernel_find(guest->vm, &own, 1, ret_kernel) : r;
}

/*
 * Whoever forges the build-id in a guest's memory has it trusted as it is: a kernel whose release
 * is known under another one deserves a look.
 */
static void reference_missing(struct guest *guest)
{
	bool any = false, release = false;
	char text[sizeof(guest->kernel.release)];

	text_clean(text, sizeof(text), guest->kernel.release);
	if (!guest->watch->references ||
	    store_references_known(guest->watch->store, text, &any, &release) < 0 || !any)
		return;
	guest->no_reference = release ? "the store has a reference of this kernel's release, but "
					"its memory bears another build-id"
				      : "the store has no reference of this kernel's build";
	guest->no_reference_severity = release ? SEVERITY_HIGH : SEVERITY_LOW;
}

/*
 * The vendor's image of this build has the last word about names: nobody in the guest wrote them.
 * A kernel that bears a build-id and is not that build keeps what was found.
 */
static void reference_take(struct guest *guest)
{
	const struct ka_reference *reference =
		references_get(guest->watch->references, guest->kernel.build_id);
	const struct ka_symbols *symbols = reference ? ka_reference_symbols(reference) : NULL;
	struct ka_kernel kernel;

	guest->no_reference = NULL;
	if (!reference) {
		reference_missing(guest);
		return;
	}
	if (ka_kernel_find(guest->vm, &symbols, 1, &kernel) < 0) {
		guest->no_reference = "its memory bears the build-id of a reference, but it does "
				      "not lie there as its vendor's image does";
		guest->no_reference_severity = SEVERITY_HIGH;
		log_warning(
			"%s: the kernel with build-id %s does not lie in memory as its vendor's "
			"image does",
			guest->info.name, guest->kernel.build_id);
		references_put(guest->watch->references, reference);
		return;
	}
	guest->reference = reference;
	guest->kernel = kernel;
}

void guest_reference_drop(struct guest *guest)
{
	/* What was taken at first sight goes by the kernel's symbols, too. */
	guest_text_drop(guest);
	if (!guest->reference)
		return;
	memset(&guest->kernel, 0, sizeof(guest->kernel));
	guest->kernel_found = false;
	references_put(guest->watch->references, guest->reference);
	guest->reference = NULL;
}

/* May the guest's memory be searched for its kernel in this cycle? */
static bool search_is_due(const struct guest *guest)
{
	return guest->cycles >= guest->search_cycle && looks_like_linux(&guest->vcpus[0]);
}

/* Is the guest's kernel the one that this is the reference of? */
static int reference_try(struct guest *guest, const char *build_id)
{
	const struct ka_reference *reference = references_get(guest->watch->references, build_id);
	const struct ka_symbols *symbols;
	struct ka_kernel kernel;
	int r;

	if (!reference)
		return -ENODATA;
	symbols = ka_reference_symbols(reference);
	r = ka_kernel_find(guest->vm, &symbols, 1, &kernel);
	if (r < 0) {
		references_put(guest->watch->references, reference);
		return r;
	}
	guest->searches = 0;
	guest->reference = reference;
	guest->no_reference = NULL;
	guest->kernel = kernel;
	return 0;
}

/* The memory of a 32-bit guest names no build that could be relied on: each is tried, but not for
 * firmware and boot loaders, which live in the lower half. */
static int reference_32bit(struct guest *guest)
{
	const struct ka_registers *registers = &guest->vcpus[0].registers;
	unsigned int tried = 0;
	char key[STORE_KEY_MAX];
	int r = -ENODATA;

	if (!(registers->flags & KA_REGISTERS_NO_VMCS) && registers->idtr.base < 0x80000000)
		return -ENODATA;
	/* Each is loaded for that, which other guests wait for: in vain it is done ever less. */
	if (guest->cycles < guest->search_cycle)
		return -ENODATA;
	for (unsigned int n = 0; r == -ENODATA && n < REFERENCES_32BIT_MAX; n++) {
		if (store_reference_32bit(guest->watch->store, n, key) < 0)
			break;
		r = reference_try(guest, key);
		if (r == -ENODATA)
			tried++;
	}
	if (r == -ENODATA && tried)
		search_put_off(guest);
	return r;
}

/*
 * By the build that the guest's memory names, where its vendor's image is known: that spares
 * reading the symbols from there before the first check.
 */
static int kernel_referenced(struct guest *guest)
{
	const struct guest_vcpu *vcpu = &guest->vcpus[0];
	char build_id[KA_BUILD_ID_MAX];
	int r;

	if (!references_any(guest->watch->references))
		return -ENODATA;
	if (!vcpu->long_mode)
		return reference_32bit(guest);
	if (!search_is_due(guest))
		return -ENODATA;
	r = ka_build_id_from_guest(guest->vm, build_id);
	return r < 0 ? r : reference_try(guest, build_id);
}

/* Else with those that are read from the guest now: *ret_fresh is then the caller's. */
static int kernel_search(struct guest *guest, struct ka_kernel *ret_kernel,
			 struct ka_symbols **ret_fresh)
{
	struct ka_symbols *fresh = NULL;
	const struct ka_symbols *own;
	int r = kernel_known(guest, ret_kernel);

	if (r != -ENODATA || !search_is_due(guest))
		return r;
	r = ka_symbols_from_guest(guest->vm, &fresh);
	own = fresh;
	if (!r)
		r = ka_kernel_find(guest->vm, &own, 1, ret_kernel);
	if (r < 0) {
		ka_symbols_free(fresh);
		search_put_off(guest);
		return r;
	}
	guest->searches = 0;
	*ret_fresh = fresh;
	return 0;
}

static void kernel_find(struct guest *guest, const struct guest_vcpu *boot_vcpu)
{
	uint64_t lstar = boot_vcpu->registers.lstar, idtr = boot_vcpu->registers.idtr.base;
	bool same = guest->kernel_lstar == lstar && guest->kernel_idtr == idtr;
	uint64_t begin = clock_mono();
	struct ka_symbols *fresh = NULL;
	int r;

	if (same && guest->kernel_found)
		return;
	/* A guest that is no Linux is asked less often. */
	if (same && guest->kernel_error != -EAGAIN && guest->cycles % 8 &&
	    guest->cycles != guest->search_cycle)
		return;
	guest->kernel_lstar = lstar;
	guest->kernel_idtr = idtr;
	guest_reference_drop(guest);
	r = kernel_referenced(guest);
	if (r < 0)
		r = kernel_search(guest, &guest->kernel, &fresh);
	guest->kernel_error = r;
	guest->kernel_found = !r;
	if (r < 0)
		memset(&guest->kernel, 0, sizeof(guest->kernel));
	if (fresh) {
		ka_symbols_free(guest->own_symbols);
		guest->own_symbols = fresh;
	}
	if (!r && !guest->reference)
		reference_take(guest);
	log_debug("%s: kernel: %s, symbols from %s, build-id %s, slide 0x%" PRIx64 ", %" PRIu64
		  " ms",
		  guest->info.name, r < 0 ? strerror(-r) : "found",
		  guest->kernel.symbols ? ka_symbols_source(guest->kernel.symbols) : "nowhere",
		  guest->kernel.build_id, guest->kernel.slide, (clock_mono() - begin) / NS_PER_MS);
	tables_find(guest);
	tables_lengthen(guest);
}

bool guest_kernel_found(struct guest *guest)
{
	struct ka_symbols *fresh = NULL;
	struct ka_kernel kernel;
	bool found;

	/* There is nothing to find it by. */
	if (!guest->watch->symbols_count && !guest->own_symbols && !search_is_due(guest))
		return false;
	found = !kernel_search(guest, &kernel, &fresh);
	/* Read again when the baseline is made. */
	ka_symbols_free(fresh);
	return found;
}

static enum kernel_certainty certainty_of(struct guest *guest, const struct guest_vcpu *vcpu)
{
	const struct ka_registers *registers = &vcpu->registers;
	uint64_t half = vcpu->long_mode ? 1ull << 63 : 0x80000000;
	uint32_t state = 0;

	if (guest->kernel.symbols &&
	    !ka_symbol_read(guest->vm, &guest->kernel, "system_state", &state, sizeof(state)))
		/* SYSTEM_RUNNING is 3, and was 2 before 5.16 (a name for freeing initmem came in).
		 */
		return state >= 2 && state <= SYSTEM_STATE_MAX ? KERNEL_RUNNING : KERNEL_BOOTING;
	/* Firmware and boot loaders live in the lower half. */
	if (registers->idtr.base < half)
		return KERNEL_BOOTING;
	if (guest->kernel_error == -EAGAIN && guest->watch->symbols_count)
		return KERNEL_UNLIKELY;
	/* Its memory may hold the symbols once it has come further. */
	if (!guest->kernel.symbols && looks_like_linux(vcpu) && guest->searches < SEARCHES_EAGER)
		return KERNEL_UNLIKELY;
	if (vcpu->long_mode && !registers->lstar && !(registers->flags & KA_REGISTERS_NO_MSRS))
		return KERNEL_UNLIKELY;
	return KERNEL_LIKELY;
}

bool guest_kernel_replaced(struct guest *guest)
{
	const struct guest_vcpu *first = &guest->vcpus[0];
	struct ka_kernel kernel;

	/* Nothing tells kernels apart, but the old one has ended, and both tables are elsewhere. */
	if (!guest->kernel.symbols)
		return guest->emptied_ns && !first->usable && !vcpu_error(first) &&
		       !view_same_place(&first->gdt, &first->gdt_expected) &&
		       !view_same_place(&first->idt, &first->idt_expected);
	/*
	 * Symbols that are read only now do not count: twenty bytes changed in the notes and in
	 * vmcoreinfo would make any attack another kernel.
	 */
	if (kernel_known(guest, &kernel) < 0)
		return false;
	/* LSTAR alone may be a hook; ka_kernel_find() wants the IDT and the build-id to agree. */
	return kernel.symbols && (kernel.slide != guest->kernel.slide ||
				  strcmp(kernel.build_id, guest->kernel.build_id));
}

/* ---- standing still ------------------------------------------------------------------------ */

/* Takes what was read as the candidate; counts the reads in a row that found the same. */
static void vcpu_candidate(struct guest_vcpu *vcpu)
{
	const struct gdt_layout *layout = gdt_layout(vcpu->long_mode, vcpu->gdt.limit);

	if (vcpu->usable || vcpu_error(vcpu)) {
		vcpu->still = 0;
		return;
	}
	/* While it boots, Linux moves IDTR to a read-only mapping of the same frame. */
	if (vcpu->still && vcpu->gdt.gva == vcpu->gdt_expected.gva &&
	    vcpu->idt.gva == vcpu->idt_expected.gva &&
	    view_same_place(&vcpu->gdt, &vcpu->gdt_expected) &&
	    view_same_place(&vcpu->idt, &vcpu->idt_expected) &&
	    view_same_bytes(&vcpu->idt, &vcpu->idt_expected) &&
	    (view_same_bytes(&vcpu->gdt, &vcpu->gdt_expected) ||
	     !gdt_differences(layout, vcpu->gdt_expected.bytes, vcpu->gdt.bytes, vcpu->gdt.len,
			      NULL, 0))) {
		vcpu->still++;
		return;
	}
	view_copy(&vcpu->gdt_expected, &vcpu->gdt);
	view_copy(&vcpu->idt_expected, &vcpu->idt);
	vcpu->still = 1;
}

static unsigned int tables_candidate(struct guest *guest)
{
	unsigned int still = UINT32_MAX;

	for (int t = 0; t < SYSCALL_TABLES; t++) {
		struct guest_table *table = &guest->table[t];

		if (!table->known)
			continue;
		if (table->observed.error) {
			still = 0;
		} else if (!guest->still || !view_same_place(&table->observed, &table->expected) ||
			   !view_same_bytes(&table->observed, &table->expected)) {
			view_copy(&table->expected, &table->observed);
			still = 1;
		}
	}
	return still;
}

static void candidate(struct guest *guest, uint64_t mono_ns)
{
	unsigned int still = tables_candidate(guest);

	for (size_t i = 0; i < guest->vcpu_count; i++) {
		struct guest_vcpu *vcpu = &guest->vcpus[i];

		vcpu_candidate(vcpu);
		if (vcpu->still && vcpu->still < still)
			still = vcpu->still;
	}
	if (!guest->vcpus[0].still)
		still = 0;
	/* A table that stood still has no count of its own. */
	guest->still = still > guest->still + 1 ? guest->still + 1 : still;
	if (guest->still <= 1)
		guest->still_since_ns = mono_ns;
}

/* ---- the baseline -------------------------------------------------------------------------- */

static void hash_hex(char ret_hex[static 33], const char *text)
{
	unsigned char hash[16];

	crypto_generichash(hash, sizeof(hash), (const unsigned char *)text, strlen(text), NULL, 0);
	text_bytes(ret_hex, hash, sizeof(hash));
}

static void fingerprint(const struct guest *guest, char ret_hex[static 33])
{
	char text[512];

	snprintf(text, sizeof(text),
		 "%s\n%s\n%d\n%" PRIu64 "\n%d\n%s\n%" PRIx64 "\n%" PRIx64 "\n%" PRIx64, guest->id,
		 guest->watch->stream->host.boot_id, (int)guest->info.pid, guest->info.start_ticks,
		 guest->info.fd, guest->kernel.build_id, guest->kernel.slide,
		 (uint64_t)guest->kernel.phys_base,
		 guest->kernel.symbols ? 0 : guest->vcpus[0].registers.lstar);
	hash_hex(ret_hex, text);
}

static void content_take(const struct guest *guest, struct content *content, uint64_t real_ns)
{
	const struct guest_vcpu *vcpu = &guest->vcpus[0];

	content->long_mode = vcpu->long_mode;
	text_clean(content->release, sizeof(content->release), guest->kernel.release);
	strcpy(content->trust, "tofu");
	text_time(content->recorded_at, real_ns);
	content_take_gdt(content, gdt_layout(vcpu->long_mode, vcpu->gdt.limit),
			 vcpu->gdt_expected.bytes, vcpu->gdt_expected.len);
	content_take_idt(content, &guest->kernel, vcpu->idt_expected.bytes, vcpu->idt_expected.len);
	for (int t = 0; t < SYSCALL_TABLES; t++)
		if (guest->table[t].known)
			content_take_syscalls(content, table_contents[t], &guest->kernel,
					      guest->table[t].where.entry_size,
					      guest->table[t].expected.bytes,
					      guest->table[t].expected.len);
}

/* From the candidate of a vCPU to what is expected of it. */
static void vcpu_expect(struct guest *guest, struct guest_vcpu *vcpu, const struct content *content)
{
	const struct gdt_layout *layout = gdt_layout(vcpu->long_mode, vcpu->gdt.limit);

	gdt_settle(layout, vcpu->gdt_expected.bytes, vcpu->gdt_expected.len);
	if (content->long_mode == vcpu->long_mode) {
		content_apply_gdt(content, layout, vcpu->gdt_expected.bytes,
				  vcpu->gdt_expected.len);
		content_apply_idt(content, &guest->kernel, vcpu->idt_expected.bytes,
				  vcpu->idt_expected.len);
	}
	/* A table of another length than the build has differs in its register's limit. */
	if (content->count[CONTENT_GDT] &&
	    content->count[CONTENT_GDT] != vcpu->gdt_expected.len / 8)
		vcpu->gdt_expected.limit = content->count[CONTENT_GDT] * 8 - 1;
	if (content->count[CONTENT_IDT] &&
	    content->count[CONTENT_IDT] != vcpu->idt_expected.len / idt_gate_size(vcpu->long_mode))
		vcpu->idt_expected.limit =
			content->count[CONTENT_IDT] * idt_gate_size(vcpu->long_mode) - 1;
	vcpu->gdt_accepted.len = 0;
	vcpu->phase = VCPU_JUDGED;
	guest_registers_expect(guest, vcpu);
}

static void vcpu_expect_idt_place(struct guest *guest, struct guest_vcpu *vcpu)
{
	struct guest_vcpu *first = &guest->vcpus[0];

	/* Linux has one IDT for all CPUs. Where this is no Linux, each may have its own. */
	if (guest->kernel.symbols && first->phase == VCPU_JUDGED)
		view_copy(&vcpu->idt_expected, &first->idt_expected);
	vcpu->idt_shared = view_same_place(&vcpu->idt_expected, &first->idt_expected) &&
			   view_same_bytes(&vcpu->idt_expected, &first->idt_expected);
}

static void mark_outside_text(struct guest *guest)
{
	const struct guest_vcpu *vcpu = &guest->vcpus[0];
	unsigned int size = idt_gate_size(vcpu->long_mode);
	uint64_t raw[2];

	memset(guest->outside_text, 0, sizeof(guest->outside_text));
	for (unsigned int i = 0; i < vcpu->idt_expected.len / size && i < KA_IDT_MAX; i++) {
		view_value(&vcpu->idt_expected, i * size, size, raw);
		if (guest->kernel.symbols &&
		    idt_gate_outside_text(&guest->kernel, vcpu->long_mode, raw) &&
		    !idt_gate_is_early(&guest->kernel, vcpu->long_mode, i, raw))
			guest->outside_text[i / 8] |= (uint8_t)(1u << i % 8);
	}
}

static void place_restore(struct guest *guest, const char *object, int vcpu, struct view *view)
{
	struct view stored = { 0 };

	if (store_place_find(guest->watch->store, guest->id, guest->generation, object, vcpu,
			     &stored) < 0)
		return;
	view->gva = stored.gva;
	view->limit = stored.limit;
	view->pages = stored.pages;
	memcpy(view->gpa, stored.gpa, sizeof(view->gpa));
}

static int places_save(struct guest *guest)
{
	struct store *store = guest->watch->store;
	int r = 0;

	for (size_t i = 0; !r && i < guest->vcpu_count; i++) {
		const struct guest_vcpu *vcpu = &guest->vcpus[i];

		if (vcpu->phase != VCPU_JUDGED)
			continue;
		if (vcpu_tables_known(vcpu))
			r = store_place_save(store, guest->id, guest->generation, "gdtr",
					     (int)vcpu->id, &vcpu->gdt_expected);
		if (!r)
			r = store_place_save(store, guest->id, guest->generation, "idtr",
					     (int)vcpu->id, &vcpu->idt_expected);
		if (!r)
			r = guest_registers_save(guest, vcpu);
	}
	for (int t = 0; !r && t < SYSCALL_TABLES; t++)
		if (guest->table[t].known)
			r = store_place_save(store, guest->id, guest->generation, table_objects[t],
					     OBJECT_SHARED, &guest->table[t].expected);
	return r;
}

bool guest_boot_is_certain(const struct guest *guest)
{
	return guest->kernel.slide || !guest->kernel.symbols;
}

/* The monitor was started again in the same boot: places that moved meanwhile have moved. */
static void places_restore(struct guest *guest)
{
	for (size_t i = 0; i < guest->vcpu_count; i++) {
		struct guest_vcpu *vcpu = &guest->vcpus[i];

		if (vcpu->phase != VCPU_JUDGED)
			continue;
		place_restore(guest, "gdtr", (int)vcpu->id, &vcpu->gdt_expected);
		place_restore(guest, "idtr", (int)vcpu->id, &vcpu->idt_expected);
		guest_registers_restore(guest, vcpu);
	}
	for (int t = 0; t < SYSCALL_TABLES; t++)
		if (guest->table[t].known)
			place_restore(guest, table_objects[t], OBJECT_SHARED,
				      &guest->table[t].expected);
}

/*
 * Which boot of the VM this is, counted by the store across runs of the monitor. A kernel that
 * KASLR placed where it was, virtually and physically, has not booted since: its vCPU left paging
 * for a while (suspend to RAM, or to have us learn anew).
 */
static int generation_find(const struct guest *guest, const char *fingerprint,
			   unsigned int *ret_generation, bool *ret_again)
{
	struct store_boot latest;
	int r;

	if (guest->same_boot) {
		*ret_generation = guest->generation;
		*ret_again = false;
		return 0;
	}
	r = guest->boots_before && !guest->kernel.slide
		    ? -ENOENT
		    : store_boot_find(guest->watch->store, guest->id, fingerprint, &latest);
	*ret_again = !r;
	if (r == -ENOENT)
		r = store_boot_find(guest->watch->store, guest->id, NULL, &latest);
	if (r < 0 && r != -ENOENT)
		return r;
	*ret_generation = *ret_again ? latest.generation : r ? 1 : latest.generation + 1;
	return 0;
}

/* Describes the boot. *ret_again: the store has had this very boot. */
static int boot_enter(const struct guest *guest, uint64_t real_ns, struct store_boot *ret_boot,
		      bool *ret_again)
{
	struct store_boot boot = { .slide = guest->kernel.slide };
	int r;

	fingerprint(guest, boot.fingerprint);
	r = generation_find(guest, boot.fingerprint, &boot.generation, ret_again);
	if (r < 0)
		return r;
	snprintf(boot.vm_id, sizeof(boot.vm_id), "%s", guest->id);
	text_clean(boot.vm_name, sizeof(boot.vm_name), guest->info.name);
	text_time(boot.recorded_at, real_ns);
	if (guest->kernel.symbols && guest->kernel.build_id[0])
		snprintf(boot.kernel_key, sizeof(boot.kernel_key), "%s", guest->kernel.build_id);
	else
		snprintf(boot.kernel_key, sizeof(boot.kernel_key), "vm:%s/%u", boot.fingerprint,
			 boot.generation);
	*ret_boot = boot;
	return 0;
}

static void expect_all(struct guest *guest, const struct content *content)
{
	for (size_t i = 0; i < guest->vcpu_count; i++)
		if (guest->vcpus[i].still)
			vcpu_expect(guest, &guest->vcpus[i], content);
	for (size_t i = 0; i < guest->vcpu_count; i++)
		if (guest->vcpus[i].phase == VCPU_JUDGED)
			guest->vcpus[i].idt_shared =
				view_same_place(&guest->vcpus[i].idt_expected,
						&guest->vcpus[0].idt_expected) &&
				view_same_bytes(&guest->vcpus[i].idt_expected,
						&guest->vcpus[0].idt_expected);
	for (int t = 0; t < SYSCALL_TABLES; t++)
		if (guest->table[t].known)
			content_apply_syscalls(content, table_contents[t], &guest->kernel,
					       guest->table[t].where.entry_size,
					       guest->table[t].expected.bytes,
					       guest->table[t].expected.len);
	mark_outside_text(guest);
}

static void baseline_describe(struct guest *guest, const struct store_boot *boot,
			      const struct content *content, const char *trigger)
{
	char text[320];

	content_digest(content, guest->baseline_digest);
	snprintf(text, sizeof(text), "%s\n%u\n%s\n%s", boot->vm_id, boot->generation,
		 boot->kernel_key, guest->baseline_digest);
	hash_hex(guest->baseline_id, text);
	snprintf(guest->baseline_trust, sizeof(guest->baseline_trust), "%s", content->trust);
	snprintf(guest->baseline_trigger, sizeof(guest->baseline_trigger), "%s", trigger);
	snprintf(guest->baseline_recorded_at, sizeof(guest->baseline_recorded_at), "%s",
		 content->recorded_at);
	guest->baseline_objects = content_kept(content);
}

static const char *trigger_of(const struct guest *guest, bool again, bool known)
{
	if (!guest->boots_before || guest->same_boot)
		return known ? "store" : "first";
	if (again)
		return "resume";
	return guest->unannounced ? "replaced" : "reboot";
}

static int baseline_make(struct guest *guest, uint64_t real_ns)
{
	_cleanup_free_ struct content *content = calloc(1, sizeof(*content));
	struct store *store = guest->watch->store;
	bool again = false, known;
	struct store_boot boot;
	int r = content ? boot_enter(guest, real_ns, &boot, &again) : -ENOMEM;

	if (r < 0)
		return r;
	r = store_content_load(store, boot.kernel_key, content);
	if (r < 0 && r != -ENOENT)
		return r;
	known = !r;
	if (!known)
		content_take(guest, content, real_ns);
	if (!again)
		guest_close_findings(guest, "new_baseline");
	guest->generation = boot.generation;
	expect_all(guest, content);
	if (again && guest_boot_is_certain(guest))
		places_restore(guest);
	r = store_begin(store);
	if (!r && !known)
		r = store_content_save(store, boot.kernel_key, content, &guest->kernel);
	if (!r)
		r = store_boot_save(store, &boot);
	if (!r)
		r = places_save(guest);
	if (!r)
		r = store_commit(store);
	if (r < 0) {
		store_rollback(store);
		return r;
	}
	baseline_describe(guest, &boot, content, trigger_of(guest, again, known));
	return 0;
}

/*
 * Where a file or reference tells the guest's symbols, what the guest itself says of them is read
 * for this alone, and takes too much memory to be kept.
 */
static void symbols_compare(struct guest *guest)
{
	if (!guest->own_symbols && guest->kernel.symbols && looks_like_linux(&guest->vcpus[0]) &&
	    ka_symbols_from_guest(guest->vm, &guest->own_symbols) < 0)
		log_debug("%s: its own symbols cannot be read", guest->info.name);
	guest_judge_symbols(guest);
	if (!guest->symbols_compared)
		return;
	ka_symbols_free(guest->own_symbols);
	guest->own_symbols = NULL;
}

static void record(struct guest *guest, uint64_t real_ns, uint64_t mono_ns)
{
	int r = baseline_make(guest, real_ns);

	if (r < 0) {
		if (!(guest->cycles % 60) || guest->still == STILL_READS)
			log_error("%s: no baseline: the store cannot be read or written: %s",
				  guest->info.name, store_error(guest->watch->store));
		for (size_t i = 0; i < guest->vcpu_count; i++) {
			guest->vcpus[i].phase = VCPU_NEW;
			guest->vcpus[i].still = 0;
			guest->vcpus[i].idt_shared = false;
		}
		guest->still = 1;
		guest_cover_vcpus(guest, COVERAGE_STALE, "the store cannot be read or written",
				  real_ns);
		return;
	}
	guest->phase = GUEST_WATCHED;
	guest->soon_looks = 0;
	guest->boots_before = true;
	guest->same_boot = false;
	guest->recorded_mono_ns = mono_ns;
	guest_text_drop(guest);
	report_baseline(guest, real_ns, mono_ns);
	guest_judge(guest);
	/* What takes longer waits until the tables were looked at. */
	guest_text_prepare(guest);
	symbols_compare(guest);
	guest_text_first(guest);
	guest_cover_first(guest);
}

void guest_record(struct guest *guest)
{
	uint64_t real_ns = clock_real(), mono_ns = clock_mono();
	struct guest_vcpu *vcpu = guest->vcpus;
	enum kernel_certainty certainty;
	int r;

	if (!guest->vcpu_count)
		return;
	if (vcpu->usable) {
		guest->still = 0;
		guest->kernel_found = false;
		guest_cover_vcpus(guest, COVERAGE_STALE, scan_reason(vcpu->usable), real_ns);
		return;
	}
	kernel_find(guest, vcpu);
	if (!vcpu_tables_known(vcpu) && !guest->kernel_found) {
		guest->still = 0;
		guest_cover_vcpus(
			guest, COVERAGE_UNOBSERVABLE,
			"no kernel found in the guest's memory; the CPU's registers that lead to "
			"it "
			"are in the VMCS, and the kernel module kvmbpf_helper is not loaded",
			real_ns);
		return;
	}
	r = guest_scan(guest);
	if (!r)
		r = vcpu_error(vcpu);
	if (r < 0) {
		guest->still = 0;
		guest_cover_vcpus(guest, COVERAGE_STALE, scan_reason(r), real_ns);
		return;
	}
	certainty = certainty_of(guest, vcpu);
	candidate(guest, mono_ns);
	if (!record_is_due(certainty, guest->still, mono_ns - guest->still_since_ns)) {
		guest_cover_vcpus(guest, COVERAGE_STALE,
				  certainty == KERNEL_BOOTING
					  ? "the guest's kernel is not up yet"
					  : "no baseline yet: the objects must stand still",
				  real_ns);
		/* One that never stands still has its turns only. */
		if (certainty == KERNEL_RUNNING && guest->soon_looks++ < SOON_LOOKS_MAX)
			guest->soon_ns = clock_mono() + STILL_SPACING_MS * NS_PER_MS;
		return;
	}
	record(guest, real_ns, mono_ns);
}

/* A vCPU that came up later: its per-CPU part is new, the rest is what the others have. */
void guest_record_vcpu(struct guest *guest, struct guest_vcpu *vcpu)
{
	const struct gdt_layout *layout = gdt_layout(vcpu->long_mode, vcpu->gdt.limit);
	const struct guest_vcpu *first = &guest->vcpus[0];

	if (vcpu->usable || vcpu_error(vcpu)) {
		vcpu->still = 0;
		return;
	}
	if (vcpu->phase == VCPU_SETTLING) {
		/* On its way up a CPU has early tables, and WP clear for a moment. */
		bool up = view_same_place(&vcpu->gdt, &vcpu->gdt_expected) &&
			  view_same_place(&vcpu->idt, &vcpu->idt_expected) &&
			  !cr0_wp_clear(vcpu->registers.cr0) &&
			  !guest_registers_differ(guest, vcpu);

		vcpu->still = up ? STILL_READS : vcpu->still + 1;
		if (vcpu->still >= STILL_READS)
			vcpu->phase = VCPU_JUDGED;
		return;
	}
	vcpu_candidate(vcpu);
	if (vcpu->still < STILL_READS || first->phase != VCPU_JUDGED ||
	    first->long_mode != vcpu->long_mode)
		return;
	gdt_settle(layout, vcpu->gdt_expected.bytes, vcpu->gdt_expected.len);
	for (uint32_t at = 0; at + 8 <= vcpu->gdt_expected.len && at + 8 <= first->gdt_expected.len;
	     at += 8)
		if (gdt_rule(layout, at / 8) == GDT_FIXED)
			memcpy(vcpu->gdt_expected.bytes + at, first->gdt_expected.bytes + at, 8);
	vcpu->gdt_accepted.len = 0;
	vcpu_expect_idt_place(guest, vcpu);
	guest_registers_expect(guest, vcpu);
	vcpu->phase = VCPU_JUDGED;
	if (places_save(guest) < 0)
		log_warning("%s: the places of vCPU %u are not in the store: %s", guest->info.name,
			    vcpu->id, store_error(guest->watch->store));
}

void guest_wait_for_boot(struct guest *guest)
{
	guest_unseal(guest);
	/* What was written to the kernel that ends now. */
	guest_tell_writes(guest, UINT64_MAX);
	fold_table_deinit(&guest->folds);
	guest->phase = GUEST_WAITING;
	guest->reset_seen = guest->going_down = guest->kernel_found = guest->unannounced = false;
	guest->symbols_compared = false;
	guest->emptied_ns = 0;
	guest->still = 0;
	guest_reference_drop(guest);
	guest_audits_drop(guest);
	guest_modules_drop(&guest->modules);
	memset(&guest->kernel, 0, sizeof(guest->kernel));
	/* The next kernel says for itself what it is. */
	ka_symbols_free(guest->own_symbols);
	guest->own_symbols = NULL;
	guest->searches = 0;
	guest->search_cycle = 0;
	for (int t = 0; t < SYSCALL_TABLES; t++)
		guest->table[t].known = false;
	for (size_t i = 0; i < guest->vcpu_count; i++) {
		guest->vcpus[i].phase = VCPU_NEW;
		guest->vcpus[i].still = 0;
		guest->vcpus[i].idt_shared = false;
		guest->vcpus[i].held_changed = 0;
	}
}
