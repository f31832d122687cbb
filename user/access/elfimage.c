// SPDX-License-Identifier: LGPL-2.1-or-later
/* Symbols, build-id and release of a vmlinux. */
#define _GNU_SOURCE
#include "elfimage.h"

#include <ctype.h>
#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <string.h>

#include "kallsyms.h"
#include "symbols_build.h"

static void elf_endp(Elf **elf)
{
	elf_end(*elf);
}

/* Lowest address that a kernel is linked at: the per-CPU segment of x86-64 lies at 0. */
static uint64_t kernel_half(Elf *elf)
{
	return gelf_getclass(elf) == ELFCLASS64 ? 1ULL << 63 : 0x40000000;
}

/* A loadable segment's bytes as they are in the file; libelf checks that they lie in it. */
static int segment_get(Elf *elf, size_t index, GElf_Phdr *ret_phdr, Elf_Data **ret_data)
{
	GElf_Phdr phdr;
	Elf_Data *data;

	if (!gelf_getphdr(elf, index, &phdr))
		return -EBADMSG;
	if (phdr.p_type != PT_LOAD || phdr.p_vaddr < kernel_half(elf) || !phdr.p_filesz)
		return -ENOENT;
	data = elf_getdata_rawchunk(elf, phdr.p_offset, phdr.p_filesz, ELF_T_BYTE);
	if (!data || !data->d_buf)
		return -EBADMSG;
	*ret_phdr = phdr;
	*ret_data = data;
	return 0;
}

/* Image */

static int image_set(Elf *elf, size_t segments, struct ka_symbols *symbols)
{
	uint64_t start = UINT64_MAX, end = 0;
	size_t i;

	for (i = 0; i < segments; i++) {
		GElf_Phdr phdr;

		if (!gelf_getphdr(elf, i, &phdr))
			return -EBADMSG;
		if (phdr.p_type != PT_LOAD || phdr.p_vaddr < kernel_half(elf))
			continue;
		if (phdr.p_memsz > UINT64_MAX - phdr.p_vaddr)
			return -EBADMSG;
		if (phdr.p_vaddr < start)
			start = phdr.p_vaddr;
		if (phdr.p_vaddr + phdr.p_memsz > end)
			end = phdr.p_vaddr + phdr.p_memsz;
	}
	if (start >= end)
		return -EBADMSG;
	symbols_set_image(symbols, start, end);
	return 0;
}

/* "Linux version 6.1.0-50-amd64 (...": the text that the kernel prints first (linux_banner). */
static bool release_find(const char *bytes, size_t len, struct ka_symbols *symbols)
{
	static const char banner[] = "Linux version ";
	const char *end = bytes + len;
	const char *at = bytes;

	while ((at = memmem(at, end - at, banner, strlen(banner)))) {
		size_t release = 0;

		at += strlen(banner);
		while (at + release < end && isgraph((unsigned char)at[release]) &&
		       release < SYMBOLS_RELEASE_MAX)
			release++;
		/* linux_proc_banner and others have a conversion there. */
		if (release && isdigit((unsigned char)at[0]) && at + release < end &&
		    at[release] == ' ') {
			symbols_set_release(symbols, at, release);
			return true;
		}
	}
	return false;
}

static int release_set(Elf *elf, size_t segments, struct ka_symbols *symbols)
{
	size_t i;

	for (i = 0; i < segments; i++) {
		GElf_Phdr phdr;
		Elf_Data *data;
		int err = segment_get(elf, i, &phdr, &data);

		if (err == -ENOENT)
			continue;
		if (err)
			return err;
		if (release_find(data->d_buf, data->d_size, symbols))
			break;
	}
	return 0;
}

static void build_id_from_notes(Elf_Data *data, struct ka_symbols *symbols)
{
	size_t at = 0, name, desc;
	GElf_Nhdr nhdr;

	while ((at = gelf_getnote(data, at, &nhdr, &name, &desc)) > 0) {
		const char *bytes = data->d_buf;

		if (nhdr.n_type != NT_GNU_BUILD_ID || nhdr.n_namesz != sizeof("GNU") ||
		    memcmp(bytes + name, "GNU", sizeof("GNU")))
			continue;
		symbols_set_build_id(symbols, (const uint8_t *)bytes + desc, nhdr.n_descsz);
		return;
	}
}

static void build_id_set(Elf *elf, size_t segments, struct ka_symbols *symbols)
{
	size_t i;

	for (i = 0; i < segments; i++) {
		GElf_Phdr phdr;
		Elf_Data *data;

		if (!gelf_getphdr(elf, i, &phdr) || phdr.p_type != PT_NOTE)
			continue;
		data = elf_getdata_rawchunk(elf, phdr.p_offset, phdr.p_filesz, ELF_T_NHDR);
		if (data && data->d_buf)
			build_id_from_notes(data, symbols);
	}
}

/* Symbol table */

/* The letter that nm(1) prints for a symbol. */
static char symbol_type(Elf *elf, const GElf_Sym *sym)
{
	bool global = GELF_ST_BIND(sym->st_info) != STB_LOCAL;
	GElf_Shdr shdr;
	char letter;

	if (GELF_ST_BIND(sym->st_info) == STB_WEAK)
		return GELF_ST_TYPE(sym->st_info) == STT_OBJECT ? 'V' : 'W';
	if (sym->st_shndx == SHN_ABS)
		letter = 'a';
	else if (!gelf_getshdr(elf_getscn(elf, sym->st_shndx), &shdr))
		letter = 'n';
	else if (shdr.sh_flags & SHF_EXECINSTR)
		letter = 't';
	else if (shdr.sh_type == SHT_NOBITS)
		letter = 'b';
	else
		letter = shdr.sh_flags & SHF_WRITE ? 'd' : 'r';
	return global ? toupper(letter) : letter;
}

static bool symbol_wanted(const GElf_Sym *sym, const char *name)
{
	if (sym->st_shndx == SHN_UNDEF || !name || !name[0])
		return false;
	if (strncmp(name, ".L", 2) == 0 || name[0] == '$')
		return false;
	switch (GELF_ST_TYPE(sym->st_info)) {
	case STT_NOTYPE:
	case STT_OBJECT:
	case STT_FUNC:
		return true;
	default:
		return false;
	}
}

static int symtab_add(Elf *elf, Elf_Scn *section, const GElf_Shdr *shdr, struct ka_symbols *symbols)
{
	Elf_Data *data = elf_getdata(section, NULL);
	size_t i, count;
	GElf_Sym sym;

	if (!data || !shdr->sh_entsize)
		return -EBADMSG;
	count = data->d_size / shdr->sh_entsize;
	for (i = 0; i < count && gelf_getsym(data, i, &sym); i++) {
		const char *name = elf_strptr(elf, shdr->sh_link, sym.st_name);
		int err;

		if (!symbol_wanted(&sym, name))
			continue;
		err = symbols_add(symbols, sym.st_value, symbol_type(elf, &sym), name,
				  strlen(name));
		/* No kernel symbol is that long; who looks for it will not find it. */
		if (err && err != -ENAMETOOLONG)
			return err;
	}
	return 0;
}

static int symtab_parse(Elf *elf, struct ka_symbols *symbols)
{
	size_t before = symbols_count(symbols);
	Elf_Scn *section = NULL;
	GElf_Shdr shdr;
	int err;

	while ((section = elf_nextscn(elf, section))) {
		if (!gelf_getshdr(section, &shdr) || shdr.sh_type != SHT_SYMTAB)
			continue;
		err = symtab_add(elf, section, &shdr, symbols);
		if (err)
			return err;
	}
	return symbols_count(symbols) == before ? -ENOMSG : 0;
}

/* Kallsyms */

static int segment_kallsyms(Elf *elf, size_t index, struct ka_symbols *symbols)
{
	struct kallsyms_tables tables;
	struct kallsyms_image image;
	GElf_Phdr phdr;
	Elf_Data *data;
	int err;

	err = segment_get(elf, index, &phdr, &data);
	if (err)
		return err;
	image = (struct kallsyms_image){
		.bytes = data->d_buf,
		.len = data->d_size,
		.base = phdr.p_vaddr,
		.bits = gelf_getclass(elf) == ELFCLASS64 ? 64 : 32,
	};
	err = kallsyms_locate(&image, &tables);
	if (err)
		return err;
	return kallsyms_parse(&image, &tables, symbols);
}

static int kallsyms_from_segments(Elf *elf, size_t segments, struct ka_symbols *symbols)
{
	size_t i;
	int err;

	for (i = 0; i < segments; i++) {
		err = segment_kallsyms(elf, i, symbols);
		if (err != -ENOENT)
			return err;
	}
	return -ENOMSG;
}

static int elfimage_parse_any(Elf *elf, struct ka_symbols *symbols)
{
	size_t segments;
	GElf_Ehdr ehdr;
	int err;

	if (elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &ehdr))
		return -EBADMSG;
	if (ehdr.e_machine != EM_X86_64 && ehdr.e_machine != EM_386)
		return -EBADMSG;
	if (elf_getphdrnum(elf, &segments))
		return -EBADMSG;
	err = image_set(elf, segments, symbols);
	if (err)
		return err;
	symbols_set_bits(symbols, gelf_getclass(elf) == ELFCLASS64 ? 64 : 32);
	err = release_set(elf, segments, symbols);
	if (err)
		return err;
	build_id_set(elf, segments, symbols);
	err = symtab_parse(elf, symbols);
	if (err == -ENOMSG)
		err = kallsyms_from_segments(elf, segments, symbols);
	if (err)
		return err;
	symbols_set_source(symbols, "vmlinux");
	return 0;
}

int elfimage_parse(const void *bytes, size_t len, struct ka_symbols *symbols)
{
	__attribute__((cleanup(elf_endp))) Elf *elf = NULL;

	elf_version(EV_CURRENT);
	/* Not written to: only ELF_C_RDWR would. */
	elf = elf_memory((char *)bytes, len);
	return elf ? elfimage_parse_any(elf, symbols) : -EBADMSG;
}

int elfimage_parse_fd(int fd, struct ka_symbols *symbols)
{
	__attribute__((cleanup(elf_endp))) Elf *elf = NULL;

	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	return elf ? elfimage_parse_any(elf, symbols) : -EBADMSG;
}
