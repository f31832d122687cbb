// SPDX-License-Identifier: LGPL-2.1-or-later
/* Loads symbols from a file of any kind that a kernel's symbols come in. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "elfimage.h"
#include "file.h"
#include "symbols.h"
#include "symbols_build.h"
#include "sysmap.h"
#include "vmlinuz.h"

static void freep(void *pointer)
{
	free(*(void **)pointer);
}

static void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static int load_vmlinuz(const void *bytes, size_t len, struct ka_symbols *symbols)
{
	__attribute__((cleanup(freep))) void *vmlinux = NULL;
	size_t vmlinux_len = 0;
	int err;

	err = vmlinuz_unpack(bytes, len, &vmlinux, &vmlinux_len);
	if (err)
		return err;
	err = elfimage_parse(vmlinux, vmlinux_len, symbols);
	if (err)
		return err;
	symbols_set_source(symbols, "vmlinuz");
	return 0;
}

static int load_text(int fd, const char *text, size_t len, struct ka_symbols *symbols)
{
	struct statfs fs;
	int err;

	err = sysmap_parse(text, len, symbols);
	if (err)
		return err;
	/* Without modules loaded its text looks like a System.map. */
	if (fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC)
		symbols_set_source(symbols, "kallsyms");
	return 0;
}

static int load_any(int fd, struct ka_symbols *symbols)
{
	__attribute__((cleanup(freep))) char *bytes = NULL;
	char magic[4] = { 0 };
	size_t len = 0;
	int err;

	/* With debug information an ELF file can be huge, most of it of no use here. */
	if (pread(fd, magic, sizeof(magic), 0) == sizeof(magic) && !memcmp(magic, "\177ELF", 4))
		return elfimage_parse_fd(fd, symbols);
	err = file_read(fd, &bytes, &len);
	if (err)
		return err;
	if (vmlinuz_recognise(bytes, len))
		return load_vmlinuz(bytes, len, symbols);
	if (sysmap_recognise(bytes, len))
		return load_text(fd, bytes, len, symbols);
	return -ENOEXEC;
}

int ka_symbols_load(const char *path, struct ka_symbols **ret_symbols)
{
	__attribute__((cleanup(symbols_freep))) struct ka_symbols *symbols = NULL;
	__attribute__((cleanup(closep))) int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = symbols_create(&symbols);
	if (!err)
		err = load_any(fd, symbols);
	if (!err)
		err = symbols_seal(symbols);
	if (err)
		return err;
	*ret_symbols = symbols;
	symbols = NULL;
	return 0;
}

const char *ka_symbols_error(int err)
{
	switch (err < 0 ? -err : err) {
	case ENOEXEC:
		return "not a vmlinuz, vmlinux, System.map or kallsyms text";
	case EBADMSG:
		return "damaged, or no x86 kernel";
	case ENODATA:
		return "only a stub: Debian ships the real System.map with the debug package; "
		       "give the vmlinuz instead";
	case EPERM:
		return "all addresses are zero: they are hidden from unprivileged readers";
	case ENOMSG:
		return "has neither a symbol table nor kallsyms tables";
	case EPROTONOSUPPORT:
		return "compressed or laid out in a way that is not supported";
	case EFBIG:
	case E2BIG:
		return "unreasonably large for a kernel";
	default:
		return strerror(err < 0 ? -err : err);
	}
}
