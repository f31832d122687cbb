// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Pointers to code in the kernel's data: its well-known tables of operations, entries of /proc, and
 * lists of callbacks. Each must lead to the kernel's own code, or to that of a module where modules
 * may lawfully have some.
 */
#include "operations.h"
#include "code.h"
#include "../text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { TABLE_BYTES_MAX = 1024, OPERATIONS_STEPS_MAX = 1 << 15 };

/* TAINT_PROPRIETARY_MODULE, _FORCED_MODULE, _OOT_MODULE, _UNSIGNED_MODULE of a module: not the
 * vendor's. */
static const uint64_t foreign_taints = 1 << 0 | 1 << 1 | 1 << 12 | 1 << 13;

/* By what a rootkit is after: ports, files and processes, what is typed and logged. */
static const struct {
	const char *symbol, *type;
} known_tables[] = {
	{ "tcp4_seq_ops", "seq_operations" },
	{ "tcp6_seq_ops", "seq_operations" },
	{ "udp_seq_ops", "seq_operations" },
	{ "udp6_seq_ops", "seq_operations" },
	{ "raw_seq_ops", "seq_operations" },
	{ "raw6_seq_ops", "seq_operations" },
	{ "unix_seq_ops", "seq_operations" },
	{ "packet_seq_ops", "seq_operations" },
	{ "cpuinfo_op", "seq_operations" },
	{ "modules_op", "seq_operations" },
	{ "kallsyms_op", "seq_operations" },
	{ "modules_proc_ops", "proc_ops" },
	{ "kallsyms_proc_ops", "proc_ops" },
	{ "kmsg_proc_ops", "proc_ops" },
	{ "proc_root_operations", "file_operations" },
	{ "proc_root_inode_operations", "inode_operations" },
	{ "proc_tgid_base_operations", "file_operations" },
	{ "proc_tgid_base_inode_operations", "inode_operations" },
	{ "proc_task_operations", "file_operations" },
	{ "proc_fd_operations", "file_operations" },
	{ "proc_pid_maps_operations", "file_operations" },
	{ "proc_dir_operations", "file_operations" },
	{ "proc_dir_inode_operations", "inode_operations" },
	{ "proc_reg_file_ops", "file_operations" },
	{ "proc_iter_file_ops", "file_operations" },
	{ "proc_net_operations", "file_operations" },
	{ "kmsg_fops", "file_operations" },
	{ "mem_fops", "file_operations" },
	{ "null_fops", "file_operations" },
	{ "random_fops", "file_operations" },
	{ "urandom_fops", "file_operations" },
	{ "tty_fops", "file_operations" },
	{ "socket_file_ops", "file_operations" },
	{ "pipefifo_fops", "file_operations" },
	{ "simple_dir_operations", "file_operations" },
	{ "shmem_file_operations", "file_operations" },
	{ "shmem_inode_operations", "inode_operations" },
	{ "shmem_dir_inode_operations", "inode_operations" },
	{ "ext4_file_operations", "file_operations" },
	{ "ext4_dir_operations", "file_operations" },
	{ "ext4_dir_inode_operations", "inode_operations" },
	{ "xfs_file_operations", "file_operations" },
	{ "xfs_dir_file_operations", "file_operations" },
	{ "kernfs_dir_fops", "file_operations" },
	{ "kernfs_file_fops", "file_operations" },
	{ "kernfs_dir_iops", "inode_operations" },
	{ "kobj_sysfs_ops", "sysfs_ops" },
	{ "module_ktype", "kobj_type" },
	{ "n_tty_ops", "tty_ldisc_ops" },
	{ "inet_stream_ops", "proto_ops" },
	{ "inet_dgram_ops", "proto_ops" },
	{ "unix_stream_ops", "proto_ops" },
	{ "tcp_prot", "proto" },
	{ "udp_prot", "proto" },
	{ "raw_prot", "proto" },
	{ "tcpv6_prot", "proto" },
	{ "udpv6_prot", "proto" },
};

enum { KNOWN_TABLES = sizeof(known_tables) / sizeof(known_tables[0]) };

struct operations {
	struct {
		uint64_t gva;  /* 0: this kernel has it not, or in a module */
		uint32_t size; /* bytes */
	} tables[KNOWN_TABLES];
	struct operations_proc *proc;	/* NULL: its types do not tell */
	struct operations_lists *lists; /* as above */
};

static void operations_release(void *state)
{
	struct operations *operations = state;

	operations_proc_release(operations->proc);
	free(operations->lists);
	free(operations);
}

static int operations_prepare(const struct audit_view *view, void **ret_state)
{
	struct operations *operations = calloc(1, sizeof(*operations));
	size_t found = 0;

	if (!operations)
		return -ENOMEM;
	for (size_t i = 0; i < KNOWN_TABLES; i++)
		if (!ka_types_size(view->types, known_tables[i].type,
				   &operations->tables[i].size) &&
		    operations->tables[i].size <= TABLE_BYTES_MAX &&
		    !ka_kernel_symbol(view->kernel, known_tables[i].symbol,
				      &operations->tables[i].gva))
			found++;
	if (!found || operations_proc_prepare(view, &operations->proc) ||
	    operations_lists_prepare(view, &operations->lists)) {
		operations_release(operations);
		return -ENODATA;
	}
	*ret_state = operations;
	return 0;
}

/* ---- judgement ------------------------------------------------------------------------------ */

bool operations_step(struct operations_look *look)
{
	return look->steps++ < OPERATIONS_STEPS_MAX;
}

static bool is_allowed(const struct operations_look *look, uint64_t target)
{
	const struct ka_module *module = guest_modules_at(look->view->modules, target);

	if (!code_is_foreign(look->view, target))
		return true;
	if (!module || look->rule == OPERATIONS_KERNEL)
		return false;
	return look->rule == OPERATIONS_LISTED ? module->views & KA_MODULE_LISTED
					       : !(module->taints & foreign_taints);
}

static void tell(struct operations_look *look, uint64_t place, uint64_t target, uint32_t offset)
{
	struct difference *difference =
		audit_add(look->result, CHECK_OPERATIONS, OBJECT_OPERATION, place);
	char name[48], at[16] = "";

	if (!difference)
		return;
	difference->gva = place;
	text_clean(name, sizeof(name), look->name);
	if (offset != UINT32_MAX)
		snprintf(at, sizeof(at), "+0x%x", offset);
	snprintf(difference->name, sizeof(difference->name), "%s%s", name, at);
	code_tell(look->view, difference, target, "elsewhere");
}

void operations_pointer(struct operations_look *look, uint64_t place, uint64_t target)
{
	if (!is_allowed(look, target))
		tell(look, place, target, UINT32_MAX);
}

/* Whether an address that is neither the kernel's nor a module's is code: data is not executable.
 */
static bool is_executable(const struct audit_view *view, uint64_t gva)
{
	struct ka_translation translation;

	return !ka_translate(view->vm, &view->kernel->paging, gva, &translation) &&
	       translation.rights & KA_RIGHT_EXEC && !(translation.rights & KA_RIGHT_USER);
}

static bool may_be_code(const struct audit_view *view, uint64_t word)
{
	uint64_t half = records_word(view) == 8 ? 1ull << 63 : 1ull << 31;

	if (!(word & half) || (word >= view->kernel->base && word < view->kernel->image_end))
		return false;
	return guest_modules_at(view->modules, word) || is_executable(view, word);
}

int operations_table(struct operations_look *look, uint64_t gva, uint32_t size)
{
	uint8_t bytes[TABLE_BYTES_MAX];
	struct ka_piece piece = { .address = gva, .buf = bytes, .len = size };
	unsigned int word = records_word(look->view);
	int err = size > sizeof(bytes) ? -EINVAL : records_read(look->view, &piece, 1);

	for (uint32_t offset = 0; !err && offset + word <= size; offset += word) {
		uint64_t target = records_word_at(look->view, bytes + offset);

		if (!is_allowed(look, target) && may_be_code(look->view, target))
			tell(look, gva + offset, target, offset);
	}
	return err;
}

static int operations_look(void *state, const struct audit_view *view, struct audit_result *result)
{
	struct operations *operations = state;
	struct operations_look look = { .view = view, .result = result };
	int err = 0;

	for (size_t i = 0; !err && i < KNOWN_TABLES; i++) {
		if (!operations->tables[i].gva)
			continue;
		look.name = known_tables[i].symbol;
		err = operations_table(&look, operations->tables[i].gva,
				       operations->tables[i].size);
	}
	if (!err)
		err = operations_lists_look(&look, operations->lists);
	return err ? err : operations_proc_look(&look, operations->proc);
}

const struct audit audit_operations = {
	.period_ms = 1500,
	.needs_modules = true,
	.prepare = operations_prepare,
	.look = operations_look,
	.release = operations_release,
};
