// SPDX-License-Identifier: LGPL-2.1-or-later
/* A kernel image as its vendor ships it: its bytes by link-time address, and its relocations. */
#define _GNU_SOURCE
#include "vmlinux.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "vmlinuz.h"

static void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static int image_read(const char *path, struct vmlinux *image)
{
	__attribute__((cleanup(closep))) int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *packed;
	size_t len;
	char *bytes;
	int err;

	if (fd < 0)
		return -errno;
	err = file_read(fd, &bytes, &len);
	if (err)
		return err;
	packed = bytes;
	image->packaged = vmlinuz_recognise(bytes, len);
	if (!image->packaged) {
		image->bytes = bytes;
		image->len = len;
		return 0;
	}
	err = vmlinuz_unpack(packed, len, &image->bytes, &image->len);
	free(packed);
	return err;
}

int vmlinux_open(const char *path, struct vmlinux *ret_image)
{
	struct vmlinux image = { 0 };
	GElf_Ehdr ehdr;
	int err = image_read(path, &image);

	if (err)
		return err;
	elf_version(EV_CURRENT);
	image.elf = elf_memory(image.bytes, image.len);
	if (!image.elf || elf_kind(image.elf) != ELF_K_ELF || !gelf_getehdr(image.elf, &ehdr)) {
		err = image.packaged ? -EBADMSG : -ENOEXEC;
	} else if (ehdr.e_machine != EM_X86_64 && ehdr.e_machine != EM_386) {
		err = -EBADMSG;
	}
	if (err) {
		vmlinux_close(&image);
		return err;
	}
	image.is_64bit = gelf_getclass(image.elf) == ELFCLASS64;
	*ret_image = image;
	return 0;
}

void vmlinux_close(struct vmlinux *image)
{
	elf_end(image->elf);
	free(image->bytes);
	image->elf = image->bytes = NULL;
}

/* The file's bytes of a section; libelf does not hold the header against the file. */
static const uint8_t *section_bytes(const struct vmlinux *image, const GElf_Shdr *shdr)
{
	if (shdr->sh_type == SHT_NOBITS || shdr->sh_offset > image->len ||
	    shdr->sh_size > image->len - shdr->sh_offset)
		return NULL;
	return (const uint8_t *)image->bytes + shdr->sh_offset;
}

/* The first one behind the `*at`-th that begins with the prefix, or is called so. */
static int section_find(const struct vmlinux *image, const char *name, bool prefix, size_t *at,
			struct ka_section *ret_section)
{
	Elf_Scn *scn;
	GElf_Shdr shdr;
	size_t names;

	if (elf_getshdrstrndx(image->elf, &names))
		return -EBADMSG;
	while ((scn = elf_getscn(image->elf, ++*at))) {
		const uint8_t *bytes;
		const char *found;

		if (!gelf_getshdr(scn, &shdr))
			return -EBADMSG;
		found = elf_strptr(image->elf, names, shdr.sh_name);
		if (!found || (prefix ? strncmp(found, name, strlen(name)) : strcmp(found, name)))
			continue;
		bytes = section_bytes(image, &shdr);
		if (!bytes || !shdr.sh_size)
			return -ENOENT;
		*ret_section = (struct ka_section){
			.address = shdr.sh_addr,
			.bytes = bytes,
			.len = shdr.sh_size,
		};
		snprintf(ret_section->name, sizeof(ret_section->name), "%s", found);
		return 0;
	}
	return -ENOENT;
}

int vmlinux_section(const struct vmlinux *image, const char *name, struct ka_section *ret_section)
{
	size_t at = 0;

	return section_find(image, name, false, &at, ret_section);
}

int vmlinux_section_next(const struct vmlinux *image, const char *prefix, size_t *at,
			 struct ka_section *ret_section)
{
	return section_find(image, prefix, true, at, ret_section);
}

const uint8_t *vmlinux_at(const struct vmlinux *image, uint64_t address, size_t len)
{
	Elf_Scn *scn = NULL;
	GElf_Shdr shdr;

	while ((scn = elf_nextscn(image->elf, scn)) && gelf_getshdr(scn, &shdr)) {
		const uint8_t *bytes;

		if (!(shdr.sh_flags & SHF_ALLOC) || address < shdr.sh_addr ||
		    address - shdr.sh_addr > shdr.sh_size ||
		    len > shdr.sh_size - (address - shdr.sh_addr))
			continue;
		bytes = section_bytes(image, &shdr);
		if (bytes)
			return bytes + (address - shdr.sh_addr);
	}
	return NULL;
}

static bool is_zero(const uint8_t *word)
{
	return !word[0] && !word[1] && !word[2] && !word[3];
}

/* One list, read backwards from its last word to the zero before its first. */
static int list_back(const uint8_t *start, const uint8_t **end, const uint8_t **ret_words,
		     size_t *ret_count)
{
	const uint8_t *at = *end;

	do {
		if (at - start < 4)
			return -EBADMSG;
		at -= 4;
	} while (!is_zero(at));
	*ret_words = at + 4;
	*ret_count = (*end - (at + 4)) / 4;
	*end = at;
	return 0;
}

/*
 * arch/x86/boot/compressed/misc.c, handle_relocations(): lists with a zero before each, of which
 * the last is that of 32-bit words; in 64-bit kernels there is one of 64-bit words before it and,
 * until per-CPU data was no longer linked at zero (Linux 6.15), one of words to subtract from
 * between.
 */
int vmlinux_relocs(const struct vmlinux *image, struct vmlinux_relocs *ret_relocs)
{
	struct vmlinux_relocs relocs = { 0 };
	const uint8_t *start, *end = (const uint8_t *)image->bytes + image->len;
	GElf_Ehdr ehdr;
	uint64_t used;
	int err;

	if (!gelf_getehdr(image->elf, &ehdr))
		return -EBADMSG;
	/* The section headers end the file. */
	used = ehdr.e_shoff + (uint64_t)ehdr.e_shnum * ehdr.e_shentsize;
	if (used >= image->len)
		return -ENODATA;
	start = (const uint8_t *)image->bytes + used;
	err = list_back(start, &end, &relocs.words32, &relocs.count32);
	if (!err && image->is_64bit)
		err = list_back(start, &end, &relocs.words64, &relocs.count64);
	if (!err && image->is_64bit && end > start) {
		relocs.inverse32 = relocs.words64;
		relocs.count_inverse32 = relocs.count64;
		err = list_back(start, &end, &relocs.words64, &relocs.count64);
	}
	if (!err && end != start)
		err = -EBADMSG;
	if (err)
		return err;
	*ret_relocs = relocs;
	return 0;
}
