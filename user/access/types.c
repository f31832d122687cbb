// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Layouts of the structs of one kernel, from its BTF.
 *
 * The BTF may be the guest's: libbpf checks the bounds of what it gives, and here every walk through
 * it has a bound, since types may contain each other in circles.
 */
#include <bpf/btf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "types.h"

enum {
	BTF_MAX = 16 << 20,  /* bytes; a distribution's kernel has 4 to 8 MiB */
	MODIFIERS_MAX = 32,  /* typedef, const and so on in front of a type */
	NESTING_MAX = 8,     /* unnamed structs within each other */
	MEMBERS_MAX = 1 << 16, /* looked at for one name */
	NAME_MAX_BYTES = 64,
	PROBES_MAX = 64, /* slots for one name: a guest that chooses names that collide is told none */
};

struct ka_types {
	struct btf *btf;
	/* Ids of named structs and unions, by the hash of their names; 0: none. */
	uint32_t *index;
	uint32_t mask;
};

/* One member of a path such as "mem[0].base". */
struct step {
	char name[NAME_MAX_BYTES];
	uint32_t index;
	bool indexed;
};

static void typesp_free(struct ka_types **types)
{
	ka_types_free(*types);
}

void ka_types_free(struct ka_types *types)
{
	if (!types)
		return;
	btf__free(types->btf);
	free(types->index);
	free(types);
}

/* Aligned, as compilers make it and as libbpf reads it. */
static bool header_sound(const void *btf, size_t len)
{
	struct btf_header header;

	if (len < sizeof(header) || len > BTF_MAX)
		return false;
	memcpy(&header, btf, sizeof(header));
	return header.magic == BTF_MAGIC && header.hdr_len % 4 == 0 && header.type_off % 4 == 0;
}

/* FNV-1a. */
static uint32_t hash_name(const char *name, size_t len)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (uint8_t)name[i]) * 16777619u;
	return hash;
}

/* The slot of a name, or where it would be; NULL: there is no place for it. */
static uint32_t *find_slot(const struct ka_types *types, const char *name, size_t len)
{
	uint32_t hash = hash_name(name, len);

	for (uint32_t i = 0; i < PROBES_MAX; i++) {
		uint32_t *slot = &types->index[(hash + i) & types->mask];
		const struct btf_type *type = *slot ? btf__type_by_id(types->btf, *slot) : NULL;

		if (!type || !strcmp(btf__name_by_offset(types->btf, type->name_off), name))
			return slot;
	}
	return NULL;
}

/* Of namesakes the first, and a struct before a union, as libbpf's own linear search has it. */
static void index_type(struct ka_types *types, uint32_t id)
{
	const struct btf_type *type = btf__type_by_id(types->btf, id);
	const char *name = btf__name_by_offset(types->btf, type->name_off);
	size_t len = name ? strnlen(name, NAME_MAX_BYTES) : 0;
	uint32_t *slot;

	if (!len || len == NAME_MAX_BYTES)
		return;
	slot = find_slot(types, name, len);
	if (slot && (!*slot || (btf_is_struct(type) &&
				!btf_is_struct(btf__type_by_id(types->btf, *slot)))))
		*slot = id;
}

static int build_index(struct ka_types *types)
{
	uint32_t count = btf__type_cnt(types->btf), named = 0, slots = PROBES_MAX;

	for (uint32_t id = 1; id < count; id++)
		named += btf_is_composite(btf__type_by_id(types->btf, id));
	while (slots < 2 * named)
		slots *= 2;
	types->index = calloc(slots, sizeof(*types->index));
	if (!types->index)
		return -ENOMEM;
	types->mask = slots - 1;
	for (uint32_t id = 1; id < count; id++)
		if (btf_is_composite(btf__type_by_id(types->btf, id)))
			index_type(types, id);
	return 0;
}

int types_parse(const void *btf, size_t len, struct ka_types **ret_types)
{
	__attribute__((cleanup(typesp_free))) struct ka_types *types = calloc(1, sizeof(*types));

	if (!types)
		return -ENOMEM;
	if (!header_sound(btf, len))
		return -EBADMSG;
	types->btf = btf__new(btf, len);
	if (!types->btf)
		return errno == ENOMEM ? -ENOMEM : -EBADMSG;
	if (build_index(types))
		return -ENOMEM;
	*ret_types = types;
	types = NULL;
	return 0;
}

int ka_types_from_guest(struct ka_vm *vm, const struct ka_kernel *kernel,
			struct ka_types **ret_types)
{
	uint64_t start, stop;
	void *bytes;
	int err;

	if (ka_kernel_symbol(kernel, "__start_BTF", &start) ||
	    ka_kernel_symbol(kernel, "__stop_BTF", &stop))
		return -ENODATA;
	if (stop <= start || stop - start > BTF_MAX)
		return -EBADMSG;
	bytes = malloc(stop - start);
	if (!bytes)
		return -ENOMEM;
	err = ka_gva_read(vm, &kernel->paging, start, bytes, stop - start);
	if (!err)
		err = types_parse(bytes, stop - start, ret_types);
	free(bytes);
	return err;
}

/* The type behind typedefs and qualifiers; NULL if there are too many. */
static const struct btf_type *resolve(const struct btf *btf, uint32_t id)
{
	const struct btf_type *type = btf__type_by_id(btf, id);

	for (int i = 0; type && i < MODIFIERS_MAX; i++) {
		if (!btf_is_mod(type) && !btf_is_typedef(type))
			return type;
		type = btf__type_by_id(btf, type->type);
	}
	return NULL;
}

/* Bytes of a type; 0: not known. Of an array, of all its elements. */
static uint64_t size_of(const struct btf *btf, const struct btf_type *type)
{
	uint64_t count = 1;

	for (int i = 0; type && btf_is_array(type) && i < NESTING_MAX; i++) {
		count *= btf_array(type)->nelems;
		if (count > UINT32_MAX)
			return 0;
		type = resolve(btf, btf_array(type)->type);
	}
	if (!type)
		return 0;
	if (btf_is_ptr(type))
		return count * btf__pointer_size(btf);
	if (btf_is_int(type) || btf_is_composite(type) || btf_is_any_enum(type) ||
	    btf_is_float(type))
		return count * type->size;
	return 0;
}

struct search {
	const struct btf *btf;
	const char *name;
	unsigned int visited;
};

/*
 * A member by its name, also within unnamed structs and unions. Returns its type, and adds its
 * place to *offset; NULL where there is none, or it is a bit field.
 */
static const struct btf_type *find_member(struct search *search, const struct btf_type *type,
					  unsigned int nesting, uint64_t *offset)
{
	const struct btf_member *member = btf_members(type);

	for (unsigned int i = 0; i < btf_vlen(type); i++, member++) {
		const char *name = btf__name_by_offset(search->btf, member->name_off);
		const struct btf_type *found, *of = resolve(search->btf, member->type);
		uint32_t bits = btf_member_bit_offset(type, i);
		uint64_t inner = *offset + bits / 8;

		if (search->visited++ >= MEMBERS_MAX)
			return NULL;
		if (!of || !name)
			continue;
		if (*name && strcmp(name, search->name))
			continue;
		if (*name) {
			if (bits % 8 || btf_member_bitfield_size(type, i))
				return NULL;
			*offset = inner;
			return of;
		}
		if (!btf_is_composite(of) || nesting == NESTING_MAX)
			continue;
		found = find_member(search, of, nesting + 1, &inner);
		if (found) {
			*offset = inner;
			return found;
		}
	}
	return NULL;
}

/* Takes the first member off a path; NULL if it is none. */
static const char *next_step(const char *path, struct step *ret_step)
{
	size_t len = strcspn(path, ".[");
	char *end;

	if (!len || len >= sizeof(ret_step->name))
		return NULL;
	*ret_step = (struct step){};
	memcpy(ret_step->name, path, len);
	path += len;
	if (*path == '[') {
		ret_step->indexed = true;
		ret_step->index = strtoul(path + 1, &end, 10);
		if (end == path + 1 || *end != ']')
			return NULL;
		path = end + 1;
	}
	if (!*path)
		return path;
	return *path == '.' && path[1] ? path + 1 : NULL;
}

static const struct btf_type *take_step(const struct btf *btf, const struct btf_type *type,
					const struct step *step, uint64_t *offset)
{
	struct search search = { .btf = btf, .name = step->name };
	const struct btf_array *array;

	if (!btf_is_composite(type))
		return NULL;
	type = find_member(&search, type, 0, offset);
	if (!type || !step->indexed)
		return type;
	if (!btf_is_array(type) || step->index >= btf_array(type)->nelems)
		return NULL;
	array = btf_array(type);
	type = resolve(btf, array->type);
	*offset += step->index * size_of(btf, type);
	return type;
}

static const struct btf_type *find_struct(const struct ka_types *types, const char *name)
{
	size_t len = strnlen(name, NAME_MAX_BYTES);
	uint32_t *slot = len < NAME_MAX_BYTES ? find_slot(types, name, len) : NULL;

	return slot && *slot ? btf__type_by_id(types->btf, *slot) : NULL;
}

int ka_types_size(const struct ka_types *types, const char *name, uint32_t *ret_size)
{
	const struct btf_type *type = find_struct(types, name);

	if (!type)
		return -ENOENT;
	*ret_size = type->size;
	return 0;
}

int ka_types_member(const struct ka_types *types, const char *name, const char *path,
		    struct ka_member *ret_member)
{
	const struct btf_type *type = find_struct(types, name);
	uint64_t offset = 0, size;
	uint32_t whole;

	if (!type)
		return -ENOENT;
	whole = type->size;
	while (*path) {
		struct step step;

		path = next_step(path, &step);
		if (!path)
			return -EINVAL;
		type = take_step(types->btf, type, &step, &offset);
		if (!type)
			return -ENOENT;
	}
	size = size_of(types->btf, type);
	if (offset > whole || size > whole - offset)
		return -EBADMSG;
	*ret_member = (struct ka_member){ .offset = offset, .size = size };
	return 0;
}

size_t ka_types_count(const struct ka_types *types)
{
	return btf__type_cnt(types->btf);
}
