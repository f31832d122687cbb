/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel may put in a place that it patches. Pure code. */
#ifndef KVMACCESS_PATCH_JUDGE_H
#define KVMACCESS_PATCH_JUDGE_H

#include "patch_sites.h"

enum { PATCH_RETURN_THUNKS_MAX = 16, PATCH_FTRACE_CALLERS = 2 };

/* Code that ftrace sends functions through, and copies for its users; jmp 0: it has none; end 0: it
 * is not known how it is copied. */
struct patch_ftrace {
	uint64_t start, op, call, jmp, end;
};

/* The code that a kprobe's slot begins with, by offset what is filled in there; bytes NULL: none. */
struct patch_slot {
	const uint8_t *bytes;
	size_t len, clac, probe, call;
	uint64_t callback;
};

/*
 * A kernel build, or a module where it lies, and what its symbols say about patching. All addresses
 * are link-time.
 */
struct patch_judge {
	const struct patch_judge *kernel; /* of a module */
	const struct ka_reference *reference;
	struct patch_sites sites;
	const struct ka_section *text, *replacements, *call_thunk, *pv_ops;
	const struct ka_section *relocs_32, *relocs_inverse_32, *relocs_64;
	bool is_64bit;
	/* Arrays of thunks by register; 0: this kernel has none. */
	uint64_t thunk, call_thunks, jump_thunks, its_thunks;
	uint64_t return_thunk[PATCH_RETURN_THUNKS_MAX];
	size_t return_thunks;
	uint64_t static_call_return, warn_trampoline;
	struct patch_ftrace ftrace[PATCH_FTRACE_CALLERS];
	/* Called by functions that the graph tracer alone traces, up to 5.15 (0c0593b45c9b); 0: none. */
	uint64_t graph_caller;
	struct patch_slot slot;
};

/* `kernel`: that of the kernel that a module is loaded into, else NULL. */
int patch_judge_create(const struct ka_reference *reference, const struct patch_judge *kernel,
		       struct patch_judge *ret_judge);
/* For data, which has no such places. -ENODATA: the reference has none, or no relocations. */
int patch_judge_create_data(const struct ka_reference *reference, const char *section,
			    struct patch_judge *ret_judge);
void patch_judge_destroy(struct patch_judge *judge);

/*
 * Bytes of the image as KASLR leaves them at a slide. False: they are no part of the text, the
 * replacements or the call thunk.
 */
bool patch_source(const struct patch_judge *judge, uint64_t slide, uint64_t address, uint8_t *buf,
		  size_t len);

/* The five bytes of a function that is not traced; older kernels, as 5.10, have those of their CPU. */
bool patch_is_ftrace_nop(const uint8_t *bytes);

/* May the kernel have put these bytes, as many as the site is long, there? */
bool patch_accepts(const struct patch_judge *judge, struct ka_text_boot *boot,
		   const struct patch_site *site, const uint8_t *bytes);

/* Is this code, at another place than that of its source in the image, as the kernel copies it? */
bool patch_copy_matches(const struct patch_judge *judge, struct ka_text_boot *boot,
			uint64_t source, uint64_t place, const uint8_t *bytes, size_t len);

#endif
