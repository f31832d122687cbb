/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Symbols, build-id and release of a vmlinux. */
#ifndef KVMACCESS_ELFIMAGE_H
#define KVMACCESS_ELFIMAGE_H

#include "symbols.h"

/*
 * Adds what the ELF image says to @symbols: from its symbol table, else from the kallsyms tables in
 * its loadable segments. -EBADMSG: no x86 kernel, or damaged; -ENOMSG: neither of the two is there;
 * else as kallsyms_locate().
 */
int elfimage_parse(const void *bytes, size_t len, struct ka_symbols *symbols);

/* The same for an open file, of which only the parts that are needed are read. */
int elfimage_parse_fd(int fd, struct ka_symbols *symbols);

#endif
