// SPDX-License-Identifier: LGPL-2.1-or-later
/* The guest's system call table: where it lies, and its handlers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symbols.h"
#include "vm.h"

enum {
	PAGE = 4096,
	SCAN_CHUNK = 16 * PAGE,
	/* A table that begins in a chunk may reach beyond it. */
	SCAN_BYTES = SCAN_CHUNK + KA_SYSCALLS_MAX * 4,
	RUN_MIN = 64,
};

static int read_words(struct ka_vm *vm, const struct ka_kernel *kernel,
		      const struct ka_syscall_table *table, uint64_t *handlers)
{
	uint8_t bytes[KA_SYSCALLS_MAX * 8];
	int err;

	err = ka_gva_read(vm, &kernel->paging, table->gva, bytes,
			  (size_t)table->count * table->entry_size);
	if (err)
		return err;
	for (uint32_t i = 0; i < table->count; i++) {
		handlers[i] = 0;
		memcpy(&handlers[i], bytes + (size_t)i * table->entry_size, table->entry_size);
	}
	return 0;
}

/* The table ends where the next symbol begins, less the zeroes that align it. */
static int find_by_symbol(struct ka_vm *vm, const struct ka_kernel *kernel, const char *name,
			  struct ka_syscall_table *ret_table)
{
	struct ka_syscall_table table = {
		.entry_size = ka_symbols_64bit(kernel->symbols) ? 8 : 4,
	};
	uint64_t handlers[KA_SYSCALLS_MAX], address, end;
	int err;

	if (ka_symbols_find(kernel->symbols, name, &address))
		return -ENODATA;
	end = symbols_next(kernel->symbols, address);
	if (!end)
		return -ENODATA;
	table.gva = address + kernel->slide;
	table.count = KA_SYSCALLS_MAX;
	if ((end - address) / table.entry_size < KA_SYSCALLS_MAX)
		table.count = (end - address) / table.entry_size;
	err = read_words(vm, kernel, &table, handlers);
	if (err)
		return err;
	while (table.count && !handlers[table.count - 1])
		table.count--;
	if (!table.count)
		return -ENODATA;
	*ret_table = table;
	return 0;
}

/* ---- 32-bit kernels export no symbol of data: look for the run of handlers ------------------- */

static bool is_handler(const struct ka_kernel *kernel, uint32_t word)
{
	uint64_t offset;
	const char *name = ka_kernel_name(kernel, word, &offset);

	return name && !offset && strstr(name, "sys_");
}

static bool find_handler(const struct ka_kernel *kernel, const char *const *names, uint32_t *ret)
{
	uint64_t gva;

	for (; *names; names++)
		if (!ka_kernel_symbol(kernel, *names, &gva)) {
			*ret = gva;
			return true;
		}
	return false;
}

/* A run begins with restart_syscall and exit, numbers 0 and 1 of the i386 ABI. */
static uint32_t run_length(const struct ka_kernel *kernel, const uint32_t *words, size_t count)
{
	uint32_t run = 0;

	while (run < count && run < KA_SYSCALLS_MAX && is_handler(kernel, words[run]))
		run++;
	return run;
}

/* Of pages that the guest does not map, zeroes: no table has those, and its neighbours may. */
static int read_mapped(struct ka_vm *vm, const struct ka_kernel *kernel, uint64_t gva, void *buf)
{
	struct ka_piece pieces[SCAN_BYTES / PAGE];
	size_t count = sizeof(pieces) / sizeof(pieces[0]);
	int err;

	for (size_t i = 0; i < count; i++)
		pieces[i] = (struct ka_piece){
			.paging = &kernel->paging,
			.address = gva + i * PAGE,
			.buf = (char *)buf + i * PAGE,
			.len = PAGE,
		};
	err = ka_readv(vm, pieces, count);
	for (size_t i = 0; i < count && !err; i++)
		if (pieces[i].error)
			memset(pieces[i].buf, 0, PAGE);
	return err;
}

static int find_by_run(struct ka_vm *vm, const struct ka_kernel *kernel,
		       struct ka_syscall_table *ret_table)
{
	static const char *const restart_names[] = { "__ia32_sys_restart_syscall",
						     "sys_restart_syscall", NULL };
	static const char *const exit_names[] = { "__ia32_sys_exit", "sys_exit", NULL };
	uint32_t words[SCAN_BYTES / 4], restart, exit_handler;
	uint64_t start = kernel->text_end > kernel->base ? kernel->text_end : kernel->base;
	int err;

	if (!find_handler(kernel, restart_names, &restart) ||
	    !find_handler(kernel, exit_names, &exit_handler))
		return -ENODATA;
	/* For ka_readv(), which goes by the memslots that are known. */
	err = registers_refresh(vm);
	for (uint64_t gva = start & ~(PAGE - 1ULL); !err && gva < kernel->image_end;
	     gva += SCAN_CHUNK) {
		size_t count = sizeof(words) / 4;

		if (kernel->image_end - gva < sizeof(words))
			count = (kernel->image_end - gva) / 4;
		err = read_mapped(vm, kernel, gva, words);
		for (size_t i = 0; !err && i < SCAN_CHUNK / 4 && i + 1 < count; i++) {
			uint32_t run;

			if (words[i] != restart || words[i + 1] != exit_handler)
				continue;
			run = run_length(kernel, words + i, count - i);
			if (run < RUN_MIN)
				continue;
			*ret_table = (struct ka_syscall_table){ gva + i * 4, run, 4 };
			return 0;
		}
	}
	return err ? err : -ENODATA;
}

int ka_syscall_table_find(struct ka_vm *vm, const struct ka_kernel *kernel,
			  enum ka_syscall_table_kind kind, struct ka_syscall_table *ret_table)
{
	bool is_64bit = ka_symbols_64bit(kernel->symbols);
	int err;

	if (kind == KA_SYSCALL_IA32)
		return is_64bit ? find_by_symbol(vm, kernel, "ia32_sys_call_table", ret_table) :
				  -ENODATA;
	err = find_by_symbol(vm, kernel, "sys_call_table", ret_table);
	if (err == -ENODATA && !is_64bit)
		err = find_by_run(vm, kernel, ret_table);
	return err;
}

int ka_syscall_table_read(struct ka_vm *vm, const struct ka_kernel *kernel,
			  const struct ka_syscall_table *table, uint64_t *handlers, size_t max,
			  size_t *ret_count)
{
	struct ka_syscall_table part = *table;
	int err;

	if (part.count > KA_SYSCALLS_MAX || (part.entry_size != 4 && part.entry_size != 8))
		return -EINVAL;
	if (part.count > max)
		part.count = max;
	err = read_words(vm, kernel, &part, handlers);
	if (!err)
		*ret_count = part.count;
	return err;
}

int ka_syscall_table_write(struct ka_vm *vm, const struct ka_kernel *kernel,
			   const struct ka_syscall_table *table, unsigned int number,
			   uint64_t handler)
{
	if (number >= table->count || (table->entry_size != 4 && table->entry_size != 8))
		return -EINVAL;
	if (table->entry_size == 4 && handler >> 32)
		return -EINVAL;
	return ka_gva_write(vm, &kernel->paging, table->gva + (uint64_t)number * table->entry_size,
			    &handler, table->entry_size);
}
