// SPDX-License-Identifier: LGPL-2.1-or-later
/* Names what lies in a tiny guest's memory, and writes System.map and vmlinux of these names. */
#define _GNU_SOURCE
#include "guest_kernel.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest_image.h"

static const char banner[] = "Linux version " KERNEL_RELEASE " (builder@host)";

static const char *const gate_names[KERNEL_GATES] = {
	"divide_error",
	"overflow",
	"bounds",
	"invalid_op",
	"device_not_available",
	"segment_not_present",
	"general_protection",
	"page_fault",
	"coprocessor_error",
};
const unsigned int guest_kernel_vector[KERNEL_GATES] = { 0, 4, 5, 6, 7, 11, 13, 14, 16 };

/* ---- the symbols ---- */

static struct guest_symbol *symbol_find(struct guest_kernel *kernel, const char *name)
{
	for (size_t i = 0; i < kernel->count; i++)
		if (!strcmp(kernel->symbol[i].name, name))
			return &kernel->symbol[i];
	return NULL;
}

void guest_kernel_set(struct guest_kernel *kernel, const char *name, uint64_t gva)
{
	struct guest_symbol *symbol = symbol_find(kernel, name);

	if (!symbol) {
		cr_assert_lt(kernel->count, KERNEL_SYMBOLS_MAX);
		symbol = &kernel->symbol[kernel->count++];
		snprintf(symbol->name, sizeof(symbol->name), "%s", name);
	}
	symbol->gva = gva;
}

void guest_kernel_drop(struct guest_kernel *kernel, const char *name)
{
	struct guest_symbol *symbol = symbol_find(kernel, name);

	cr_assert_not_null(symbol, "%s", name);
	*symbol = kernel->symbol[--kernel->count];
}

void guest_kernel_drop_data(struct guest_kernel *kernel)
{
	static const char *const names[] = { "__start_notes", "__stop_notes", "sys_call_table",
					     "after_sys_call_table", "_end" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		guest_kernel_drop(kernel, names[i]);
}

uint64_t guest_kernel_handler(enum tinyvm_mode mode, unsigned int number)
{
	return tinyvm_gva(mode, KERNEL_HANDLERS + (uint64_t)number * KERNEL_HANDLER_SIZE);
}

static void add_handlers(struct guest_kernel *kernel)
{
	const char *prefix = tinyvm_mode_64bit(kernel->mode) ? "__x64_sys_" : "__ia32_sys_";
	static const char *const first[] = { "restart_syscall", "exit" };
	char name[48];

	for (unsigned int i = 0; i < KERNEL_CALLS; i++) {
		if (i < 2)
			snprintf(name, sizeof(name), "%s%s", prefix, first[i]);
		else
			snprintf(name, sizeof(name), "%scall_%u", prefix, i);
		guest_kernel_set(kernel, name, guest_kernel_handler(kernel->mode, i));
	}
}

void guest_kernel_init(struct guest_kernel *kernel, enum tinyvm_mode mode, uint64_t slide)
{
	bool is_64bit = tinyvm_mode_64bit(mode);
	char name[48];

	*kernel = (struct guest_kernel){ .mode = mode, .slide = slide };
	for (unsigned int i = 0; i < KERNEL_GATES; i++) {
		snprintf(name, sizeof(name), "asm_exc_%s", gate_names[i]);
		guest_kernel_set(kernel, name, guest_image_handler(mode, guest_kernel_vector[i]));
	}
	if (is_64bit)
		guest_kernel_set(kernel, "entry_SYSCALL_64", guest_image_syscall(mode));
	guest_kernel_set(kernel, "_text", tinyvm_gva(mode, GUEST_TEXT));
	guest_kernel_set(kernel, "_stext", tinyvm_gva(mode, GUEST_TEXT));
	guest_kernel_set(kernel, "_etext", tinyvm_gva(mode, KERNEL_ETEXT));
	guest_kernel_set(kernel, "_end", tinyvm_gva(mode, KERNEL_END));
	guest_kernel_set(kernel, is_64bit ? "init_top_pgt" : "swapper_pg_dir",
			 tinyvm_gva(mode, GUEST_ROOT));
	guest_kernel_set(kernel, "__start_notes", tinyvm_gva(mode, KERNEL_NOTES));
	guest_kernel_set(kernel, "__stop_notes",
			 tinyvm_gva(mode, KERNEL_NOTES) + KERNEL_NOTES_BYTES);
	guest_kernel_set(kernel, "sys_call_table", tinyvm_gva(mode, KERNEL_TABLE));
	guest_kernel_set(kernel, "after_sys_call_table",
			 tinyvm_gva(mode, KERNEL_TABLE + KERNEL_TABLE_BYTES));
	add_handlers(kernel);
}

/* ---- System.map ---- */

static char path[] = "/tmp/kvmbpf-test-kernel-XXXXXX";

static int file_create(void)
{
	int fd;

	strcpy(path + strlen(path) - 6, "XXXXXX");
	fd = mkostemp(path, O_CLOEXEC);
	cr_assert_geq(fd, 0);
	return fd;
}

static struct ka_symbols *file_load(void)
{
	struct ka_symbols *symbols = NULL;
	int rc = ka_symbols_load(path, &symbols);

	unlink(path);
	cr_assert_eq(rc, 0, "ka_symbols_load: %d", rc);
	return symbols;
}

struct ka_symbols *guest_kernel_system_map(const struct guest_kernel *kernel)
{
	int width = tinyvm_mode_64bit(kernel->mode) ? 16 : 8;
	FILE *file = fdopen(file_create(), "w");

	cr_assert_not_null(file);
	for (size_t i = 0; i < kernel->count; i++)
		fprintf(file, "%0*llx T %s\n", width,
			(unsigned long long)(kernel->symbol[i].gva - kernel->slide),
			kernel->symbol[i].name);
	cr_assert_eq(fclose(file), 0);
	return file_load();
}

/* ---- vmlinux ---- */

size_t guest_kernel_note(uint8_t *at, uint32_t type, const char *name, const void *desc,
			 uint32_t desc_len)
{
	Elf64_Nhdr note = { .n_namesz = strlen(name) + 1, .n_descsz = desc_len, .n_type = type };
	size_t name_room = (note.n_namesz + 3) & ~3u, desc_room = (desc_len + 3) & ~3u;

	memset(at, 0, sizeof(note) + name_room + desc_room);
	memcpy(at, &note, sizeof(note));
	memcpy(at + sizeof(note), name, note.n_namesz);
	memcpy(at + sizeof(note) + name_room, desc, desc_len);
	return sizeof(note) + name_room + desc_room;
}

struct section {
	const char *name; /* in section_names */
	uint32_t type;
	uint64_t flags, entsize;
	uint32_t link, info;
	Elf_Type kind;
	void *bytes;
	size_t len;
};

/* In the order of their sections, which begin at 1. */
enum { SECTION_TEXT = 1, SECTION_NOTES, SECTION_SYMTAB, SECTION_STRTAB, SECTION_NAMES };
static char section_names[] = "\0.text\0.notes\0.symtab\0.strtab\0.shstrtab";

static void section_add(Elf *elf, const struct section *section)
{
	Elf_Scn *scn = elf_newscn(elf);
	Elf_Data *data = elf_newdata(scn);
	GElf_Shdr shdr;

	cr_assert_not_null(data);
	data->d_buf = section->bytes;
	data->d_size = section->len;
	data->d_type = section->kind;
	data->d_align = 8;
	cr_assert_not_null(gelf_getshdr(scn, &shdr));
	shdr.sh_name = (const char *)memmem(section_names, sizeof(section_names), section->name,
					    strlen(section->name) + 1) -
		       section_names;
	shdr.sh_type = section->type;
	shdr.sh_flags = section->flags;
	shdr.sh_entsize = section->entsize;
	shdr.sh_link = section->link;
	shdr.sh_info = section->info;
	cr_assert(gelf_update_shdr(scn, &shdr));
}

/* Symbols and their names, in the form of the class. */
struct symtab {
	uint8_t symbols[(KERNEL_SYMBOLS_MAX + 1) * sizeof(Elf64_Sym)];
	char strings[KERNEL_SYMBOLS_MAX * sizeof(((struct guest_symbol *)0)->name)];
	size_t symbols_len, strings_len;
};

static void symtab_fill(struct symtab *symtab, const struct guest_kernel *kernel)
{
	bool is_64bit = tinyvm_mode_64bit(kernel->mode);
	size_t size = is_64bit ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym);

	*symtab = (struct symtab){ .symbols_len = size, .strings_len = 1 };
	for (size_t i = 0; i < kernel->count; i++) {
		const struct guest_symbol *symbol = &kernel->symbol[i];
		uint64_t value = symbol->gva - kernel->slide;
		Elf64_Sym wide = { .st_name = symtab->strings_len,
				   .st_value = value,
				   .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
				   .st_shndx = SECTION_TEXT };
		Elf32_Sym narrow = { .st_name = symtab->strings_len,
				     .st_value = value,
				     .st_info = wide.st_info,
				     .st_shndx = SECTION_TEXT };

		memcpy(symtab->symbols + symtab->symbols_len,
		       is_64bit ? (void *)&wide : (void *)&narrow, size);
		symtab->symbols_len += size;
		strcpy(symtab->strings + symtab->strings_len, symbol->name);
		symtab->strings_len += strlen(symbol->name) + 1;
	}
}

static void sections_add(Elf *elf, bool is_64bit, struct symtab *symtab, uint8_t *notes,
			 size_t notes_len)
{
	const struct section sections[] = {
		{ ".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, 0, 0, 0, ELF_T_BYTE,
		  (void *)banner, sizeof(banner) },
		{ ".notes", SHT_NOTE, SHF_ALLOC, 0, 0, 0, ELF_T_BYTE, notes, notes_len },
		{ ".symtab", SHT_SYMTAB, 0, is_64bit ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym),
		  SECTION_STRTAB, 1, ELF_T_BYTE, symtab->symbols, symtab->symbols_len },
		{ ".strtab", SHT_STRTAB, 0, 0, 0, 0, ELF_T_BYTE, symtab->strings,
		  symtab->strings_len },
		{ ".shstrtab", SHT_STRTAB, 0, 0, 0, 0, ELF_T_BYTE, section_names,
		  sizeof(section_names) },
	};

	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
		section_add(elf, &sections[i]);
}

static uint64_t section_offset(Elf *elf, size_t index)
{
	GElf_Shdr shdr;

	cr_assert_not_null(gelf_getshdr(elf_getscn(elf, index), &shdr));
	return shdr.sh_offset;
}

static void segments_set(Elf *elf, const struct guest_kernel *kernel, size_t notes_len)
{
	uint64_t text = tinyvm_gva(kernel->mode, GUEST_TEXT) - kernel->slide;
	GElf_Phdr image = { .p_type = PT_LOAD,
			    .p_offset = section_offset(elf, SECTION_TEXT),
			    .p_vaddr = text,
			    .p_filesz = sizeof(banner),
			    .p_memsz = KERNEL_END - GUEST_TEXT };
	GElf_Phdr notes = { .p_type = PT_NOTE,
			    .p_offset = section_offset(elf, SECTION_NOTES),
			    .p_vaddr = text,
			    .p_filesz = notes_len,
			    .p_memsz = notes_len,
			    .p_align = 4 };

	cr_assert(gelf_update_phdr(elf, 0, &image));
	cr_assert(gelf_update_phdr(elf, 1, &notes));
}

struct ka_symbols *guest_kernel_vmlinux(const struct guest_kernel *kernel, const uint8_t *build_id)
{
	bool is_64bit = tinyvm_mode_64bit(kernel->mode);
	uint8_t notes[KERNEL_NOTES_BYTES];
	size_t notes_len = guest_kernel_note(notes, 6, "Linux", "pvh", 3);
	static struct symtab symtab;
	int fd = file_create();
	GElf_Ehdr ehdr;
	Elf *elf;

	if (build_id)
		notes_len += guest_kernel_note(notes + notes_len, NT_GNU_BUILD_ID, "GNU", build_id,
					       KERNEL_BUILD_ID_BYTES);
	symtab_fill(&symtab, kernel);
	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_WRITE, NULL);
	cr_assert(elf && gelf_newehdr(elf, is_64bit ? ELFCLASS64 : ELFCLASS32));
	cr_assert(gelf_newphdr(elf, 2));
	sections_add(elf, is_64bit, &symtab, notes, notes_len);
	cr_assert_not_null(gelf_getehdr(elf, &ehdr));
	ehdr.e_ident[EI_DATA] = ELFDATA2LSB;
	ehdr.e_type = ET_EXEC;
	ehdr.e_machine = is_64bit ? EM_X86_64 : EM_386;
	ehdr.e_version = EV_CURRENT;
	ehdr.e_shstrndx = SECTION_NAMES;
	cr_assert(gelf_update_ehdr(elf, &ehdr));
	/* Once for the sections' places, which the segments name. */
	cr_assert_geq(elf_update(elf, ELF_C_NULL), 0);
	segments_set(elf, kernel, notes_len);
	cr_assert_geq(elf_update(elf, ELF_C_WRITE), 0, "%s", elf_errmsg(-1));
	elf_end(elf);
	close(fd);
	return file_load();
}
