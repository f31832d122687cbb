// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The kernel's half of a guest's page tables, walked in parts: which of it can be executed.
 *
 * The tables are the guest's, may change meanwhile, and may lead anywhere, also to themselves: a walk
 * is at most as deep as the CPU's, and ends at a bound on the tables that are read.
 */
#include "kernel_map.h"

#include <errno.h>
#include <stdlib.h>

#include "registers.h"
#include "vm.h"

/* A guest of 1 TiB whose direct map is of 4 KiB pages has half a million. */
enum { TABLES_MAX = 1 << 20 };

int ka_kernel_map_new(const struct ka_kernel *kernel, struct ka_kernel_map **ret_map)
{
	struct ka_kernel_map *map;
	struct kvmbpf_paging_state paging = paging_state(&kernel->paging);

	/* Without NX all that is mapped can be executed. */
	if (kvmbpf_walk_levels(&paging) < 4 || !paging.nx)
		return -ENODATA;
	map = calloc(1, sizeof(*map));
	if (!map)
		return -ENOMEM;
	map->paging = paging;
	*ret_map = map;
	return 0;
}

void ka_kernel_map_free(struct ka_kernel_map *map)
{
	free(map);
}

static int add_range(struct ka_kernel_map *map, uint64_t gva, uint64_t size, uint8_t rights)
{
	struct ka_code_range *last = map->count ? &map->ranges[map->count - 1] : NULL;
	bool writable = rights & KVMBPF_RIGHT_WRITE;

	if (!(rights & KVMBPF_RIGHT_EXEC))
		return 0;
	if (last && last->end == gva && last->writable == writable) {
		last->end += size;
		return 0;
	}
	if (map->count == KERNEL_MAP_RANGES_MAX)
		return -ENOBUFS;
	map->ranges[map->count++] =
		(struct ka_code_range){ .start = gva, .end = gva + size, .writable = writable };
	return 0;
}

static unsigned int level_of(const struct ka_kernel_map *map)
{
	return kvmbpf_walk_levels(&map->paging) - (map->depth - 1);
}

bool kernel_map_next(struct ka_kernel_map *map, uint64_t *ret_gpa, int *ret_err)
{
	*ret_err = 0;
	while (map->depth) {
		struct kernel_map_table *table = &map->table[map->depth - 1];
		unsigned int level = level_of(map);
		uint64_t size = 1ULL << kvmbpf_walk_shift(&map->paging, level);
		uint64_t entry, gva;
		uint8_t rights;

		if (table->next == KERNEL_MAP_ENTRIES) {
			map->depth--;
			continue;
		}
		entry = table->entries[table->next];
		gva = table->gva + table->next * size;
		table->next++;
		if (!(entry & KVMBPF_PTE_P))
			continue;
		rights = table->rights & kvmbpf_walk_rights(&map->paging, level, entry);
		if (!(rights & KVMBPF_RIGHT_EXEC))
			continue;
		if (level > 1 && !kvmbpf_walk_large(&map->paging, level, entry)) {
			map->table[map->depth] = (struct kernel_map_table){
				.gpa = entry & kvmbpf_bits(51, 12), .gva = gva, .rights = rights
			};
			*ret_gpa = map->table[map->depth].gpa;
			return true;
		}
		*ret_err = add_range(map, gva, size, rights);
		if (*ret_err)
			return false;
	}
	return false;
}

void kernel_map_enter(struct ka_kernel_map *map)
{
	map->depth++;
	map->tables++;
}

/* The upper half of the root. */
static int begin(struct ka_vm *vm, struct ka_kernel_map *map)
{
	unsigned int levels = kvmbpf_walk_levels(&map->paging);
	struct kernel_map_table *root = &map->table[0];
	int err;

	map->count = 0;
	map->tables = 0;
	map->depth = 0;
	*root = (struct kernel_map_table){
		.gpa = map->paging.root & kvmbpf_bits(51, 12),
		.rights = KVMBPF_RIGHT_WRITE | KVMBPF_RIGHT_USER | KVMBPF_RIGHT_EXEC,
		.next = KERNEL_MAP_ENTRIES / 2,
	};
	/* So that the upper half's addresses are canonical. */
	root->gva = 0 - (uint64_t)KERNEL_MAP_ENTRIES * (1ULL << kvmbpf_walk_shift(&map->paging, levels));
	err = ka_gpa_read(vm, root->gpa, root->entries, sizeof(root->entries));
	if (!err)
		kernel_map_enter(map);
	return err;
}

int ka_kernel_map_walk(struct ka_vm *vm, struct ka_kernel_map *map, size_t tables, bool *ret_done)
{
	int err = map->depth ? 0 : begin(vm, map);
	uint64_t gpa;

	*ret_done = false;
	while (!err && tables) {
		if (!kernel_map_next(map, &gpa, &err)) {
			*ret_done = !err;
			break;
		}
		if (map->tables == TABLES_MAX) {
			err = -ENOBUFS;
			break;
		}
		tables--;
		/* One that is not in RAM maps nothing. */
		err = ka_gpa_read(vm, gpa, map->table[map->depth].entries,
				  sizeof(map->table[0].entries));
		if (!err)
			kernel_map_enter(map);
		else if (err == -ENXIO)
			err = 0;
	}
	if (err)
		map->depth = 0;
	return err;
}

const struct ka_code_range *ka_kernel_map_ranges(const struct ka_kernel_map *map, size_t *ret_count)
{
	*ret_count = map->count;
	return map->ranges;
}
