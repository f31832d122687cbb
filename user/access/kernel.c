// SPDX-License-Identifier: LGPL-2.1-or-later
/* Finds the guest's kernel: its KASLR slide, its physical place, its own page tables. */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kernel.h"
#include "symbols.h"

#define PAGE_OFFSET_32 0xc0000000ULL
#define KASLR_ALIGN_32 (1ULL << 12)
/* KERNEL_IMAGE_SIZE, beyond which Linux does not link: what a file says must not let us scan on. */
#define IMAGE_MAX_64 (1ULL << 30)
#define IMAGE_MAX_32 (1ULL << 29)
#define PAGE_SIZE 4096ULL

enum { EXCEPTIONS = 32, NOTES_MAX = 4096, BUILD_ID_BYTES = 20 };

/* Entry points that every kernel since 5.8 has, and where the CPU holds their addresses. */
enum { FROM_LSTAR = -1 };

static const struct {
	int vector;
	const char *symbol;
} entry_points[] = {
	{ FROM_LSTAR, "entry_SYSCALL_64" },
	{ 0, "asm_exc_divide_error" },
	{ 4, "asm_exc_overflow" },
	{ 5, "asm_exc_bounds" },
	{ 6, "asm_exc_invalid_op" },
	{ 7, "asm_exc_device_not_available" },
	{ 11, "asm_exc_segment_not_present" },
	{ 13, "asm_exc_general_protection" },
	{ 14, "asm_exc_page_fault" },
	{ 16, "asm_exc_coprocessor_error" },
};

_Static_assert(sizeof(entry_points) / sizeof(entry_points[0]) == KERNEL_ENTRY_POINTS,
	       "each entry point has its place in the evidence");

int kernel_gather(struct ka_vm *vm, const struct ka_registers *registers,
		  struct kernel_evidence *ret_evidence)
{
	struct kernel_evidence found = { .registers = *registers, .paging = ka_paging(registers) };
	struct ka_gate gates[KA_IDT_MAX];
	size_t count;
	int err;

	err = ka_registers_usable(registers);
	if (err)
		return err;
	if (registers->idtr.limit < EXCEPTIONS * 8)
		return -EAGAIN;
	err = ka_idt_read(vm, registers->vcpu, gates, KA_IDT_MAX, &count);
	if (err)
		return err == -EFAULT || err == -ENXIO ? -EAGAIN : err;
	/* Reading the table found it, where the registers do not tell. */
	if (registers->flags & KA_REGISTERS_NO_VMCS)
		found.registers.cr3 = found.paging.root = vm->root;
	for (size_t i = 0; i < KERNEL_ENTRY_POINTS; i++) {
		int vector = entry_points[i].vector;

		if (vector == FROM_LSTAR)
			found.address[i] = registers->flags & KA_REGISTERS_NO_MSRS ?
						   0 :
						   registers->lstar;
		else if ((size_t)vector < count && gates[vector].present)
			found.address[i] = gates[vector].offset;
	}
	*ret_evidence = found;
	return 0;
}

static bool plausible(uint64_t slide, bool is_64bit)
{
	uint64_t align = is_64bit ? KASLR_ALIGN_64 : KASLR_ALIGN_32;

	return slide < KASLR_RANGE && slide % align == 0;
}

/* The slide that most entry points agree on: one that was hooked must not mislead us. */
static int vote(const struct kernel_evidence *evidence, const struct ka_symbols *symbols,
		struct ka_kernel *kernel)
{
	bool is_64bit = ka_symbols_64bit(symbols);
	uint64_t slides[KERNEL_ENTRY_POINTS], best = 0;
	size_t count = 0, best_votes = 0;

	for (size_t i = 0; i < KERNEL_ENTRY_POINTS; i++) {
		uint64_t address;

		if (!evidence->address[i] ||
		    ka_symbols_find(symbols, entry_points[i].symbol, &address))
			continue;
		slides[count] = evidence->address[i] - address;
		if (plausible(slides[count], is_64bit))
			count++;
	}
	for (size_t i = 0; i < count; i++) {
		size_t votes = 0;

		for (size_t j = 0; j < count; j++)
			votes += slides[j] == slides[i];
		if (votes > best_votes) {
			best_votes = votes;
			best = slides[i];
		}
	}
	if (best_votes < KERNEL_VOTES_MIN)
		return -ENODATA;
	kernel->slide = best;
	kernel->votes = best_votes;
	return 0;
}

static uint64_t image_map(const struct ka_symbols *symbols)
{
	return ka_symbols_64bit(symbols) ? START_KERNEL_MAP_64 : PAGE_OFFSET_32;
}

static int symbol_gva(const struct ka_kernel *kernel, const char *name, uint64_t *ret_gva)
{
	uint64_t address;
	int err = ka_symbols_find(kernel->symbols, name, &address);

	if (!err)
		*ret_gva = address + kernel->slide;
	return err;
}

static uint64_t image_gpa(const struct ka_kernel *kernel, uint64_t gva)
{
	return gva - image_map(kernel->symbols) + kernel->phys_base;
}

/* Whether page tables whose root lies at `root` in the image map `gva` to its place. */
static int check_root(struct ka_vm *vm, const struct ka_kernel *kernel, uint64_t root, uint64_t gva)
{
	struct ka_paging paging = kernel->paging;
	struct kvmbpf_walk walk;
	int err;

	paging.root = image_gpa(kernel, root);
	err = translate_walk(vm, &paging, gva, &walk);
	if (err)
		return err;
	return walk.gpa == image_gpa(kernel, gva) ? 0 : -ENODATA;
}

/*
 * Kernels without CONFIG_KALLSYMS_ALL, such as Debian's 32-bit ones, do not name their root: it is
 * the page of the image that maps an entry point, and itself, which the user half of KPTI does not.
 */
static int search_root(struct ka_vm *vm, const struct ka_kernel *kernel, uint64_t entry,
		       uint64_t *ret_root)
{
	uint64_t root = (kernel->text_end + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);

	for (; kernel->text_end && root < kernel->image_end; root += PAGE_SIZE) {
		int err = check_root(vm, kernel, root, entry);

		if (!err)
			err = check_root(vm, kernel, root, root);
		if (err == -EOWNERDEAD)
			return err;
		if (err)
			continue;
		*ret_root = root;
		return 0;
	}
	return -ENODATA;
}

/*
 * The physical place of the image, from an entry point: even the user half of KPTI's page tables
 * maps those. Then the kernel's own root lies at a known place of the image.
 */
static int find_root(struct ka_vm *vm, const struct kernel_evidence *evidence,
		     struct ka_kernel *kernel)
{
	const char *name = ka_symbols_64bit(kernel->symbols) ? "init_top_pgt" : "swapper_pg_dir";
	struct kvmbpf_walk walk;
	uint64_t entry, root;
	int err;

	if (symbol_gva(kernel, "asm_exc_page_fault", &entry))
		return -ENODATA;
	err = translate_walk(vm, &evidence->paging, entry, &walk);
	if (err)
		return err;
	kernel->phys_base = (int64_t)(walk.gpa - (entry - image_map(kernel->symbols)));
	kernel->paging = evidence->paging;
	if (symbol_gva(kernel, name, &root))
		err = search_root(vm, kernel, entry, &root);
	else
		err = check_root(vm, kernel, root, entry);
	if (!err)
		kernel->paging.root = image_gpa(kernel, root);
	return err;
}

/* The GNU build-id among a range of ELF notes from guest memory; every length is the guest's. */
static int note_build_id(const uint8_t *notes, size_t len, char *ret_hex)
{
	size_t at = 0;

	while (len - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;
		size_t name, desc;

		memcpy(&note, notes + at, sizeof(note));
		at += sizeof(note);
		name = (note.n_namesz + 3ULL) & ~3ULL;
		desc = (note.n_descsz + 3ULL) & ~3ULL;
		if (name > len - at || desc > len - at - name)
			return -EBADMSG;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
		    !memcmp(notes + at, "GNU", 4) && note.n_descsz == BUILD_ID_BYTES) {
			for (size_t i = 0; i < BUILD_ID_BYTES; i++)
				sprintf(ret_hex + 2 * i, "%02x", notes[at + name + i]);
			return 0;
		}
		at += name + desc;
	}
	return -ENODATA;
}

static int read_build_id(struct ka_vm *vm, struct ka_kernel *kernel)
{
	uint8_t notes[NOTES_MAX];
	uint64_t start, stop;
	int err;

	err = symbol_gva(kernel, "__start_notes", &start);
	if (!err)
		err = symbol_gva(kernel, "__stop_notes", &stop);
	if (err)
		return err;
	if (stop <= start || stop - start > sizeof(notes))
		return -ENODATA;
	err = ka_gva_read(vm, &kernel->paging, start, notes, stop - start);
	return err ? err : note_build_id(notes, stop - start, kernel->build_id);
}

/*
 * The guest must say the build-id of the file. Where the file's tables do not tell where the
 * notes lie (32-bit kernels have no data symbols), the addresses alone decide, and the build-id
 * is the file's.
 */
static int check_build_id(struct ka_vm *vm, struct ka_kernel *kernel)
{
	const char *of_file = ka_symbols_build_id(kernel->symbols);
	int err = read_build_id(vm, kernel);

	if (err == -EOWNERDEAD)
		return err;
	if (err == -ENOENT) {
		snprintf(kernel->build_id, sizeof(kernel->build_id), "%s", of_file);
		return 0;
	}
	if (err)
		return -ENODATA;
	kernel->build_id_read = true;
	return !of_file[0] || !strcmp(of_file, kernel->build_id) ? 0 : -ENODATA;
}

/* Where the file's tables do not name a bound, that of its segments or symbols has to do. */
static void find_bounds(struct ka_kernel *kernel)
{
	uint64_t max = ka_symbols_64bit(kernel->symbols) ? IMAGE_MAX_64 : IMAGE_MAX_32;
	uint64_t start, end;

	symbols_image(kernel->symbols, &start, &end);
	kernel->image_end = end + kernel->slide;
	symbol_gva(kernel, "_stext", &kernel->text_start);
	symbol_gva(kernel, "_etext", &kernel->text_end);
	if (symbol_gva(kernel, "_end", &kernel->image_end))
		symbol_gva(kernel, "__brk_limit", &kernel->image_end);
	if (symbol_gva(kernel, "_text", &kernel->base))
		kernel->base = kernel->text_start ? kernel->text_start : start + kernel->slide;
	if (kernel->image_end - kernel->base > max)
		kernel->image_end = kernel->base + max;
}

int kernel_try(struct ka_vm *vm, const struct kernel_evidence *evidence,
	       const struct ka_symbols *symbols, struct ka_kernel *ret_kernel)
{
	struct ka_kernel kernel = { .symbols = symbols };
	int err;

	if (ka_symbols_64bit(symbols) != ka_long_mode(&evidence->registers))
		return -ENODATA;
	err = vote(evidence, symbols, &kernel);
	if (err)
		return err;
	find_bounds(&kernel);
	err = find_root(vm, evidence, &kernel);
	if (!err)
		err = check_build_id(vm, &kernel);
	if (err)
		return err;
	snprintf(kernel.release, sizeof(kernel.release), "%s", ka_symbols_release(symbols));
	*ret_kernel = kernel;
	return 0;
}

/* The first vCPU whose evidence fits: one that was led elsewhere must not hide the kernel. */
int ka_kernel_find(struct ka_vm *vm, const struct ka_symbols *const *symbols, size_t count,
		   struct ka_kernel *ret_kernel)
{
	struct ka_registers registers[KERNEL_VCPUS_MAX];
	int err, last = -EAGAIN;
	size_t vcpus;

	err = ka_registers_read_all(vm, registers, KERNEL_VCPUS_MAX, &vcpus);
	if (err)
		return err;
	for (size_t i = 0; i < vcpus; i++) {
		struct kernel_evidence evidence;

		err = kernel_gather(vm, &registers[i], &evidence);
		if (err == -EOWNERDEAD)
			return err;
		for (size_t j = 0; j < count && !err; j++) {
			err = kernel_try(vm, &evidence, symbols[j], ret_kernel);
			if (!err || err == -EOWNERDEAD)
				return err;
			err = 0;
		}
		/* A vCPU that could be asked, in vain, says more than one that is not up. */
		if (!err)
			last = -ENODATA;
		else if (last != -ENODATA)
			last = err;
	}
	return last;
}

int ka_kernel_symbol(const struct ka_kernel *kernel, const char *name, uint64_t *ret_gva)
{
	return symbol_gva(kernel, name, ret_gva);
}

const char *ka_kernel_name(const struct ka_kernel *kernel, uint64_t gva, uint64_t *ret_offset)
{
	return ka_symbols_name(kernel->symbols, gva - kernel->slide, ret_offset);
}

int ka_symbol_read(struct ka_vm *vm, const struct ka_kernel *kernel, const char *name, void *buf,
		   size_t len)
{
	uint64_t gva;
	int err = symbol_gva(kernel, name, &gva);

	return err ? err : ka_gva_read(vm, &kernel->paging, gva, buf, len);
}
