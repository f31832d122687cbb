/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Symbols from text: System.map and /proc/kallsyms. */
#ifndef KVMACCESS_SYSMAP_H
#define KVMACCESS_SYSMAP_H

#include "symbols.h"

/* Whether @text may be one of the two, judged by its first line. */
bool sysmap_recognise(const char *text, size_t len);

/*
 * Adds the symbols of @text to @symbols, but not those of modules. -EBADMSG: a line is malformed or
 * there is none; -ENODATA: Debian's stub; -EPERM: all addresses are hidden.
 */
int sysmap_parse(const char *text, size_t len, struct ka_symbols *symbols);

#endif
