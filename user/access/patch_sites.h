/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The places of a kernel's text that the kernel itself patches, as its image lists them. */
#ifndef KVMACCESS_PATCH_SITES_H
#define KVMACCESS_PATCH_SITES_H

#include "reference.h"

struct patch_site {
	uint64_t address; /* link-time; in the text or in a replacement */
	uint32_t index;	  /* of the first of `count` alternatives, or of what belongs to its kind */
	uint8_t kind;	  /* enum ka_patch_kind */
	uint8_t length;
	uint8_t count;
};

struct patch_alternative {
	uint64_t replacement;
	uint8_t length;	  /* of the replacement */
	bool direct_call; /* the replacement's target stands for what an indirect call leads to */
};

struct patch_sites {
	struct patch_site *site; /* by address, the longer first */
	size_t count, room;
	struct patch_alternative *alternative;
	size_t alternatives;
	uint64_t *target; /* of jump labels; trampolines of static calls, 0: not known */
	size_t targets;
};

/* -EBADMSG: a list does not fit the text. */
int patch_sites_create(const struct ka_reference *reference, struct patch_sites *ret_sites);
void patch_sites_destroy(struct patch_sites *sites);

/* First site at or above an address; `count` of the sites: none. */
size_t patch_sites_from(const struct patch_sites *sites, uint64_t address);

#endif
