// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A kernel module's file as its vendor built it, and where the kernel puts its sections:
 * layout_sections() of kernel/module/main.c, which goes by the order of the file.
 */
#define _GNU_SOURCE
#include "module_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "vmlinuz.h"

enum { SECTIONS_MAX = 4096, REGION_MAX = 64 << 20, ALIGN_MAX = 1 << 21, BUILD_ID_BYTES = 20 };

/* ---- the file ------------------------------------------------------------------------------- */

static bool in_file(const struct ka_module_image *image, uint64_t offset, uint64_t size)
{
	return offset <= image->len && size <= image->len - offset;
}

/* Which region a section goes to, in the order in which the kernel goes through them. */
static int region_of(const GElf_Shdr *shdr, const char *name)
{
	if (!(shdr->sh_flags & SHF_ALLOC) || !strncmp(name, ".init", 5) ||
	    !strcmp(name, "__versions") || !strcmp(name, ".modinfo") ||
	    !strcmp(name, ".data..percpu"))
		return -1;
	if (shdr->sh_flags & SHF_EXECINSTR)
		return KA_MODULE_TEXT;
	if (!strcmp(name, ".data..ro_after_init") || !strcmp(name, "__jump_table"))
		return KA_MODULE_RO_AFTER_INIT;
	return shdr->sh_flags & SHF_WRITE ? KA_MODULE_DATA : KA_MODULE_RODATA;
}

static int section_read(struct ka_module_image *image, Elf_Scn *scn, size_t names,
			struct module_section *section)
{
	GElf_Shdr shdr;
	const char *name;

	if (!gelf_getshdr(scn, &shdr))
		return -EBADMSG;
	name = elf_strptr(image->elf, names, shdr.sh_name);
	if (!name || shdr.sh_size > REGION_MAX || shdr.sh_addralign > ALIGN_MAX ||
	    (shdr.sh_addralign & (shdr.sh_addralign - 1)) ||
	    (shdr.sh_type != SHT_NOBITS && !in_file(image, shdr.sh_offset, shdr.sh_size)))
		return -EBADMSG;
	*section = (struct module_section){
		.name = name,
		.bytes = shdr.sh_type == SHT_NOBITS
				 ? NULL
				 : (const uint8_t *)image->bytes + shdr.sh_offset,
		.size = shdr.sh_size,
		.align = shdr.sh_addralign ? shdr.sh_addralign : 1,
		.type = shdr.sh_type,
		.region = (int8_t)region_of(&shdr, name),
	};
	return 0;
}

static int sections_read(struct ka_module_image *image)
{
	Elf_Scn *scn = NULL;
	size_t names, count;
	int err = 0;

	if (elf_getshdrstrndx(image->elf, &names) || elf_getshdrnum(image->elf, &count) ||
	    count > SECTIONS_MAX)
		return -EBADMSG;
	image->sections = calloc(count + 1, sizeof(*image->sections));
	if (!image->sections)
		return -ENOMEM;
	image->count = count;
	image->sections[0] = (struct module_section){ .name = "", .region = -1 };
	while (!err && (scn = elf_nextscn(image->elf, scn))) {
		size_t i = elf_ndxscn(scn);
		struct module_section *section = &image->sections[i];
		GElf_Shdr shdr;

		if (i >= count)
			return -EBADMSG;
		err = section_read(image, scn, names, section);
		if (err || section->type != SHT_SYMTAB || !gelf_getshdr(scn, &shdr))
			continue;
		image->symbols = elf_getdata(scn, NULL);
		image->symbol_count = image->symbols ? shdr.sh_size / sizeof(Elf64_Sym) : 0;
		image->symbol_names = shdr.sh_link;
	}
	return err;
}

static int layout(struct ka_module_image *image)
{
	for (size_t i = 1; i < image->count; i++) {
		struct module_section *section = &image->sections[i];
		uint64_t *size;

		if (section->region < 0)
			continue;
		size = &image->region_size[section->region];
		section->offset = (*size + section->align - 1) & ~(section->align - 1);
		*size = section->offset + section->size;
		if (*size > REGION_MAX)
			return -EFBIG;
	}
	return 0;
}

/* What stands behind a tag among the strings of .modinfo, up to its first space. */
static int info_find(const struct ka_module_image *image, const char *tag, char *buf, size_t size)
{
	const struct module_section *info = module_section(image, ".modinfo");
	size_t tag_len = strlen(tag);

	for (size_t at = 0; info && info->bytes && at < info->size;) {
		const char *text = (const char *)info->bytes + at;
		size_t len = strnlen(text, info->size - at);

		if (len > tag_len && !strncmp(text, tag, tag_len)) {
			size_t word = strcspn(text + tag_len, " ");

			if (at + len == info->size || word >= size)
				return -EBADMSG;
			memcpy(buf, text + tag_len, word);
			buf[word] = '\0';
			return 0;
		}
		at += len + 1;
	}
	return -EBADMSG;
}

static void build_id_find(struct ka_module_image *image)
{
	static const uint8_t header[16] = { 4,	 0,   0,   0, BUILD_ID_BYTES, 0, 0, 0, 3, 0, 0, 0,
					    'G', 'N', 'U', 0 };
	const struct module_section *note = module_section(image, ".note.gnu.build-id");

	if (!note || !note->bytes || note->size < sizeof(header) + BUILD_ID_BYTES ||
	    memcmp(note->bytes, header, sizeof(header)))
		return;
	for (size_t i = 0; i < BUILD_ID_BYTES; i++)
		sprintf(image->build_id + 2 * i, "%02x", note->bytes[sizeof(header) + i]);
}

static void note_nowhere(struct ka_module_image *image);

static int image_parse(struct ka_module_image *image)
{
	GElf_Ehdr ehdr;
	int err;

	elf_version(EV_CURRENT);
	image->elf = elf_memory(image->bytes, image->len);
	if (!image->elf || elf_kind(image->elf) != ELF_K_ELF || !gelf_getehdr(image->elf, &ehdr) ||
	    ehdr.e_type != ET_REL)
		return -ENOEXEC;
	if (ehdr.e_machine != EM_X86_64)
		return -EOPNOTSUPP;
	err = sections_read(image);
	if (!err)
		err = layout(image);
	if (!err)
		err = info_find(image, "name=", image->name, sizeof(image->name));
	if (!err)
		err = info_find(image, "vermagic=", image->release, sizeof(image->release));
	if (!err) {
		build_id_find(image);
		note_nowhere(image);
	}
	/* By what else would it be known? */
	return err || image->build_id[0] ? err : -ENODATA;
}

/* Takes the bytes over, also on failure. */
static int image_adopt(char *bytes, size_t len, struct ka_module_image **ret_image)
{
	struct ka_module_image *image = calloc(1, sizeof(*image));
	int err = image ? 0 : -ENOMEM;

	if (err) {
		free(bytes);
		return err;
	}
	image->bytes = bytes;
	image->len = len;
	err = image_parse(image);
	if (err) {
		ka_module_image_free(image);
		return err;
	}
	*ret_image = image;
	return 0;
}

int ka_module_image_load(const char *path, struct ka_module_image **ret_image)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err;
	void *unpacked;
	size_t len;
	char *bytes;

	if (fd < 0)
		return -errno;
	err = file_read(fd, &bytes, &len);
	close(fd);
	if (err)
		return err;
	if (len < 4 || memcmp(bytes, ELFMAG, SELFMAG)) {
		err = vmlinuz_unpack_file(bytes, len, &unpacked, &len);
		free(bytes);
		if (err)
			return err;
		bytes = unpacked;
	}
	return image_adopt(bytes, len, ret_image);
}

int ka_module_image_create(const void *bytes, size_t len, struct ka_module_image **ret_image)
{
	char *copy = malloc(len ? len : 1);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, bytes, len);
	return image_adopt(copy, len, ret_image);
}

void ka_module_image_free(struct ka_module_image *image)
{
	if (!image)
		return;
	elf_end(image->elf);
	free(image->sections);
	free(image->bytes);
	free(image);
}

const char *ka_module_image_name(const struct ka_module_image *image)
{
	return image->name;
}

const char *ka_module_image_release(const struct ka_module_image *image)
{
	return image->release;
}

const char *ka_module_image_build_id(const struct ka_module_image *image)
{
	return image->build_id;
}

const void *ka_module_image_bytes(const struct ka_module_image *image, size_t *ret_len)
{
	*ret_len = image->len;
	return image->bytes;
}

/* ---- its parts ------------------------------------------------------------------------------ */

const struct module_section *module_section(const struct ka_module_image *image, const char *name)
{
	for (size_t i = 1; i < image->count; i++)
		if (image->sections[i].name && !strcmp(image->sections[i].name, name))
			return &image->sections[i];
	return NULL;
}

Elf_Data *module_relocations(const struct ka_module_image *image, size_t section)
{
	Elf_Scn *scn = NULL;
	GElf_Shdr shdr;

	while ((scn = elf_nextscn(image->elf, scn)))
		if (gelf_getshdr(scn, &shdr) && shdr.sh_type == SHT_RELA && shdr.sh_info == section)
			return elf_getdata(scn, NULL);
	return NULL;
}

static bool is_nowhere(const struct ka_module_image *image, const GElf_Rela *rela)
{
	size_t index = GELF_R_SYM(rela->r_info);
	const struct module_section *section;
	GElf_Sym symbol;

	if (!image->symbols || index >= image->symbol_count ||
	    !gelf_getsym(image->symbols, (int)index, &symbol) || !symbol.st_shndx ||
	    symbol.st_shndx >= image->count)
		return false;
	section = &image->sections[symbol.st_shndx];
	return section->region < 0 && strcmp(section->name, ".data..percpu");
}

uint64_t module_next_nowhere(const struct ka_module_image *image, size_t section, uint64_t from)
{
	uint64_t next = image->sections[section].size;
	Elf_Data *data =
		image->sections[section].leads_nowhere ? module_relocations(image, section) : NULL;
	size_t count = data ? data->d_size / sizeof(Elf64_Rela) : 0;

	for (size_t i = 0; i < count; i++) {
		GElf_Rela rela;

		if (gelf_getrela(data, (int)i, &rela) && rela.r_offset >= from &&
		    rela.r_offset < next && is_nowhere(image, &rela))
			next = rela.r_offset;
	}
	return next;
}

/* Few modules have any, and then few. */
static void note_nowhere(struct ka_module_image *image)
{
	for (size_t i = 1; i < image->count; i++) {
		struct module_section *section = &image->sections[i];

		section->leads_nowhere = section->region == KA_MODULE_RODATA;
		section->leads_nowhere =
			section->leads_nowhere && module_next_nowhere(image, i, 0) < section->size;
	}
}

const char *module_symbol_name(const struct ka_module_image *image, const GElf_Sym *symbol)
{
	return elf_strptr(image->elf, image->symbol_names, symbol->st_name);
}

int module_address(const struct ka_module_image *image, const struct ka_module_place *place,
		   size_t section, uint64_t *ret_gva)
{
	const struct module_section *found = &image->sections[section];

	if (section >= image->count)
		return -ENOENT;
	if (found->region >= 0)
		*ret_gva = place->base[found->region] + found->offset;
	else if (!strcmp(found->name, ".data..percpu"))
		*ret_gva = place->percpu;
	else
		return -ENOENT;
	return 0;
}

int ka_module_symbol(const struct ka_module_image *image, const struct ka_module_place *place,
		     const char *name, uint64_t *ret_gva)
{
	for (size_t i = 1; i < image->symbol_count; i++) {
		GElf_Sym symbol;
		const char *found;

		if (!gelf_getsym(image->symbols, (int)i, &symbol) ||
		    GELF_ST_BIND(symbol.st_info) == STB_LOCAL || !symbol.st_shndx ||
		    symbol.st_shndx >= SHN_LORESERVE)
			continue;
		found = module_symbol_name(image, &symbol);
		if (!found || strcmp(found, name) ||
		    module_address(image, place, symbol.st_shndx, ret_gva))
			continue;
		*ret_gva += symbol.st_value;
		return 0;
	}
	return -ENOENT;
}

int ka_module_note(const struct ka_module_image *image, const struct ka_module_place *place,
		   uint64_t *ret_gva)
{
	const struct module_section *note = module_section(image, ".note.gnu.build-id");

	return note ? module_address(image, place, (size_t)(note - image->sections), ret_gva)
		    : -ENOENT;
}
